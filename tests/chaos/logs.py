"""The log of a center as its journal's files hold it, and the charters: what `history` is checked against."""

import os
from pathlib import Path

from drsync.adapters.api_client.doc import Doc
from drsync.adapters.segments.files import OsFiles, read_up_to
from drsync.adapters.segments.opening import segment_paths
from drsync.adapters.segments.scan import reader, scan_segment
from drsync.adapters.segments.segment import read_header
from drsync.delta.batch import KIND_WRITE, peek, records
from tests.chaos.crew import BLOCK, number_in
from tests.chaos.history import Entry, Log


def read_log(journal: Path, volume: int) -> Log:
    """Every whole batch of a journal, also while its process runs."""
    entries: list[Entry] = []
    first = 0
    chains: dict[int, bytes] = {}
    files = OsFiles()
    for path in segment_paths(journal):
        fd = files.open(path, os.O_RDONLY)
        try:
            header = read_header(files, fd)
            first = first or header.prior.seq + 1
            assert header.prior.seq == max(chains, default=first - 1), f"{path} does not continue the log"
            found = scan_segment(reader(files, fd), header.prior)
            data = bytes(read_up_to(files, fd, found.stop.offset, 0))
        finally:
            files.close(fd)
        for at in found.directory.offsets:
            entries += _writes(data, at, volume)
            batch = peek(data, at)
            chains[batch.first_seq + batch.count - 1] = bytes(batch.chain)
    return Log(tuple(entries), chains, first or 1)


def _writes(data: bytes, at: int, volume: int) -> list[Entry]:
    header = peek(data, at)
    found = []
    for index, (offset, _hash, length, start, index_of_volume, kind, _reserved, _flags) in enumerate(
        records(data, at, header)
    ):
        if kind == KIND_WRITE and index_of_volume == volume:
            assert length == BLOCK, f"a write of {length} bytes"
            first = at + header.payload_start + start
            content = data[first : first + BLOCK]
            entry = Entry(header.epoch, header.first_seq + index, offset // BLOCK, number_in(content))
            found.append(entry)
    return found


def owners_of(history: Doc) -> dict[int, str]:
    """Epoch -> owner, from ``GET …/charter/history``."""
    owners: dict[int, str] = {}
    for entry in history.docs("history"):
        charter = entry.doc("charter")
        owner, epoch = charter.text("owner"), charter.whole("epoch")
        if owner:
            assert owners.setdefault(epoch, owner) == owner, f"epoch {epoch} had two owners"
    return owners
