"""Control records: what checkpoints, heartbeats and epoch starts carry, and how to find them in batches.

A mark is a batch of its own with exactly one record, so that finding marks costs one byte per batch.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from drsync.delta.batch import RECORD, RECORD_BYTES, Buffer, Header, Kind
from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError
from drsync.model.fileset import Generation
from drsync.model.objectives import Beat

MARK_BYTES_MAX = 4096  # because a mark holds a name and a few numbers
NAME_MAX = 128  # because a name is typed by people
_KIND_AT = 26
_UNREADABLE = (ValueError, KeyError, TypeError, OverflowError, RecursionError)
"""What reading JSON can come to: it is none, fields are missing, numbers are too large, it nests too deep."""


class TreeMark(NamedTuple):
    """The state of a tree: small number of its file set in the group, generation, digest in hex."""

    fileset: int
    generation: Generation
    digest: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A mark where all volumes of the group agree.

    Attributes:
        seq: its record; the checkpoint is the position after it.
        time_us: owner's wall clock label.
        name: given by a person, or empty.
        is_app_consistent: its hook succeeded in time.
        confirms: an earlier checkpoint that is application-consistent, as was found out since; 0: none.
        trees: (small number of the file set, generation, digest) of every tree that was cut before it.
        ratio: raw to compressed of a sample of what was written to volumes since the checkpoint before;
            1.0 when it does not shrink; None when nothing was written, or the owner did not sample yet.
    """

    seq: int
    time_us: int
    name: str = ""
    is_app_consistent: bool = False
    trees: tuple[TreeMark, ...] = ()
    ratio: float | None = None
    confirms: int = 0

    @property
    def payload(self) -> bytes:
        """What its record carries."""
        return checkpoint_payload(
            self.name,
            is_app_consistent=self.is_app_consistent,
            trees=self.trees,
            ratio=self.ratio,
            confirms=self.confirms,
        )


def sole_kind(buffer: Buffer, at: int, header: Header) -> int:
    """Kind of the only record of the batch at `at`; 0 when it holds several."""
    if header.table_len != RECORD_BYTES:
        return 0
    return buffer[at + header.table_start + _KIND_AT]


def _payload(buffer: Buffer, at: int, header: Header, kind: Kind) -> bytes | None:
    """What the mark in the batch at `at` carries; None when it holds something else."""
    if sole_kind(buffer, at, header) != kind:
        return None
    start = at + header.payload_start
    return bytes(buffer[start : start + min(header.payload_len, MARK_BYTES_MAX)])


def checkpoint_payload(
    name: str,
    *,
    is_app_consistent: bool,
    trees: Sequence[TreeMark] = (),
    ratio: float | None = None,
    confirms: int = 0,
) -> bytes:
    """What a CHECKPOINT record carries; without trees, ratio and confirmation the same bytes as ever."""
    assert len(name) <= NAME_MAX
    body: dict[str, object] = {"app": is_app_consistent, "name": name}
    if confirms:
        body["confirms"] = confirms
    if trees:
        body["trees"] = [[t.fileset, *t.generation, t.digest] for t in trees]
    if ratio is not None:
        body["ratio"] = ratio
    return json.dumps(body, sort_keys=True).encode()


def _trees(listed: object) -> tuple[TreeMark, ...]:
    if not isinstance(listed, list):
        raise TypeError("trees: a list was expected")
    return tuple(
        TreeMark(int(fileset), Generation(Epoch(int(epoch)), int(number)), str(digest)[:NAME_MAX])
        for fileset, epoch, number, digest in listed
    )


def _confirms(found: object, seq: int) -> int:
    if isinstance(found, bool) or not isinstance(found, int):
        raise TypeError("confirms: a record number was expected")
    if not 0 <= found < seq:
        raise ValueError(f"confirms: record {found} is not before record {seq}")
    return found


def _ratio(found: object) -> float | None:
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise TypeError("ratio: a number was expected")
    ratio = float(found)
    if not math.isfinite(ratio) or ratio <= 0:
        raise ValueError(f"ratio: {ratio} is out of limits")
    return ratio


@dataclass(frozen=True, slots=True)
class GenerationCut:
    """A mark where a tree was in a certain generation.

    Attributes:
        seq: its record.
        time_us: owner's wall clock label.
        fileset: small number of the file set in the group.
        generation: the tree's generation from here on.
        digest: of its entries (`drsync.delta.entries`), hex.
        entries, bytes: size of the tree.
    """

    seq: int
    time_us: int
    fileset: int
    generation: Generation
    digest: str
    entries: int
    bytes: int


def cut_payload(cut: GenerationCut) -> bytes:
    """What a GEN_CUT record carries; `seq` and `time_us` are the record's own."""
    body = {
        "bytes": cut.bytes,
        "digest": cut.digest,
        "entries": cut.entries,
        "epoch": cut.generation.epoch,
        "fileset": cut.fileset,
        "number": cut.generation.number,
    }
    return json.dumps(body, sort_keys=True).encode()


def read_cut(buffer: Buffer, at: int, header: Header) -> GenerationCut | None:
    """The generation cut in the batch at `at`, None when it holds something else.

    Raises:
        MalformedError: a GEN_CUT record whose payload cannot be read.
    """
    raw = _payload(buffer, at, header, Kind.GEN_CUT)
    if raw is None:
        return None
    try:
        body = json.loads(raw)
        generation = Generation(Epoch(int(body["epoch"])), int(body["number"]))
        return GenerationCut(
            header.last_seq,
            header.time_us,
            int(body["fileset"]),
            generation,
            str(body["digest"])[:NAME_MAX],
            int(body["entries"]),
            int(body["bytes"]),
        )
    except _UNREADABLE as error:
        raise MalformedError(f"generation cut at record {header.first_seq}: {error}") from error


def epoch_payload(epoch: Epoch, uuid: str, fork_seq: int) -> bytes:
    """What an EPOCH_START record carries, so that a journal explains itself without a charter."""
    return json.dumps({"epoch": epoch, "fork_seq": fork_seq, "uuid": uuid}, sort_keys=True).encode()


def read_checkpoint(buffer: Buffer, at: int, header: Header) -> Checkpoint | None:
    """The checkpoint in the batch at `at`, None when it holds something else.

    Raises:
        MalformedError: a CHECKPOINT record whose payload cannot be read.
    """
    raw = _payload(buffer, at, header, Kind.CHECKPOINT)
    if raw is None:
        return None
    try:
        body = json.loads(raw)
        name, is_app = str(body["name"])[:NAME_MAX], bool(body["app"])
        trees, ratio = _trees(body.get("trees", [])), _ratio(body.get("ratio"))
        confirms = _confirms(body.get("confirms", 0), header.last_seq)
    except _UNREADABLE as error:
        raise MalformedError(f"checkpoint at record {header.first_seq}: {error}") from error
    return Checkpoint(header.last_seq, header.time_us, name, is_app, trees, ratio, confirms)


def resize_at(buffer: Buffer, at: int, header: Header) -> tuple[int, int] | None:
    """Volume index and new size of the RESIZE in the batch at `at`; None when it holds something else."""
    if sole_kind(buffer, at, header) != Kind.RESIZE:
        return None
    size, _hash, _length, _at, volume, _kind, _reserved, _flags = RECORD.unpack_from(
        buffer, at + header.table_start
    )
    return volume, size


def beat_payload(time_us: int, number: int) -> bytes:
    """What a HEARTBEAT record carries: its label (see `Beat`), and how many there were in its term."""
    return json.dumps({"number": number, "time_us": time_us}, sort_keys=True).encode()


def read_beat(buffer: Buffer, at: int, header: Header) -> Beat | None:
    """The heartbeat in the batch at `at`, None when it holds something else.

    Raises:
        MalformedError: a HEARTBEAT record whose payload cannot be read.
    """
    raw = _payload(buffer, at, header, Kind.HEARTBEAT)
    if raw is None:
        return None
    try:
        time_us = int(json.loads(raw)["time_us"])
    except _UNREADABLE as error:
        raise MalformedError(f"heartbeat at record {header.first_seq}: {error}") from error
    if not 0 <= time_us < 1 << 63:
        raise MalformedError(f"heartbeat at record {header.first_seq}: time_us {time_us} out of limits")
    return Beat(header.last_seq, time_us, header.epoch)
