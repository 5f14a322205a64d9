"""A stage as a directory of files: `FileStage`.

Order of durability, which is the argument for safety: blocks, then the entries that speak of them, then the
redo. So an entry never speaks of bytes that are not durable; where an entry is missing its granules are sent
again; and where a granule was written again over a durable entry and that was interrupted, `verify` finds it.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Final

from drsync.adapters.stage import entries
from drsync.adapters.stage.direct import Direct
from drsync.adapters.stage.entries import NO_HASH, Entry, Kind, Table
from drsync.adapters.stage.files import (
    Files,
    cannot_punch,
    is_full,
    read_all,
    remove_tree,
    sync_directory,
    write_all,
)
from drsync.core.extents import GRANULE, Extents
from drsync.model.epoch import Epoch
from drsync.model.errors import DrsyncError, FailedCopyError, NoSpaceError
from drsync.model.group import VolumeSpec
from drsync.model.position import Position
from drsync.ports.journal import Buffer, Journal
from drsync.ports.stage import FailedStageError, StagedRun, StageInfo

SESSION: Final = "session"
LOG: Final = "extents"
REDO: Final = "journal"
FORMAT: Final = 1
_SUM_BYTES: Final = 16
SESSION_BYTES_MAX: Final = 4096  # because ten numbers and names are a tenth of it
VERIFY_BYTES: Final = 16 * GRANULE  # read back at a time, because calls cost as much as bytes below that
_ZEROS: Final = bytes(GRANULE)
NOT_AS_PUT: Final = "is not what was put aside"
READ_BYTES: Final = 4096 * entries.ENTRY_BYTES  # of the log at a time

OpenRedo = Callable[[Path, Position], Journal]
"""Makes the journal that begins after a position, in a directory that is not there yet."""


def encode_session(session: StageInfo) -> bytes:
    """Canonical JSON, a line end, and the hexadecimal BLAKE2b (16 bytes) of both."""
    fields = asdict(session) | {"format": FORMAT, "p0": _place(session.p0), "base": _place(session.base)}
    body = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    return body + blake2b(body, digest_size=_SUM_BYTES).hexdigest().encode()


def decode_session(raw: bytes) -> StageInfo | None:
    """Inverse of `encode_session`; None when it is not valid, or of another format."""
    body, digest = raw[: -2 * _SUM_BYTES], raw[-2 * _SUM_BYTES :]
    if blake2b(body, digest_size=_SUM_BYTES).hexdigest().encode() != digest:
        return None
    fields = json.loads(body)
    if fields.pop("format", None) != FORMAT:
        return None
    epoch = Epoch(fields.pop("epoch"))
    p0, base = _position(fields.pop("p0")), _position(fields.pop("base"))
    return StageInfo(epoch=epoch, p0=p0, base=base, **fields)


def _place(position: Position) -> list[object]:
    return [position.epoch, position.seq, position.chain.hex()]


def _position(place: list[object]) -> Position:
    epoch, seq, chain = place
    assert isinstance(epoch, int)
    assert isinstance(seq, int)
    return Position(Epoch(epoch), seq, bytes.fromhex(str(chain)))


def blocks_name(volume: VolumeSpec) -> str:
    """Of the file in a stage's directory with what is staged of a volume, bytes at their own offsets."""
    return f"{volume.id}.blocks"


class FileStage:
    """`drsync.ports.stage.Stage` on files. `create` or `open` makes one.

    Args:
        directory: of the stage.
        session: what it is for.
        volumes: of the group.
        open_redo: makes the staged journal.
        files: system calls; None for the real ones.
    """

    def __init__(
        self,
        directory: Path,
        session: StageInfo,
        volumes: Iterable[VolumeSpec],
        open_redo: OpenRedo,
        files: Files,
    ) -> None:
        self._directory = directory
        self._session = session
        self._volumes = {volume.index: volume for volume in volumes}
        self._open_redo = open_redo
        self._files = files
        self._tables = {index: Table.of(volume.size) for index, volume in self._volumes.items()}
        self._handles: dict[int, int] = {}
        self._direct: dict[int, Direct] = {}
        self._spoiled: list[tuple[int, int, int]] = []  # volume, first and end of what a write failed in
        self._written: set[int] = set()  # volumes with bytes that are not durable
        self._pending: list[Entry] = []
        self._has_new_names = False
        self._log_fd = -1
        self._log_end = 0
        self._redo: Journal | None = None
        self._failed = ""

    @staticmethod
    def create(
        directory: Path,
        session: StageInfo,
        volumes: Iterable[VolumeSpec],
        open_redo: OpenRedo,
        files: Files,
    ) -> "FileStage":
        """An empty stage; whatever was in the directory goes. Blocks.

        Raises:
            NoSpaceError: the disk is full.
            FailedStageError: another error.
        """
        made = FileStage(directory, session, volumes, open_redo, files)
        with made._trying("create it"):
            drop(made._files, directory)
            made._files.make_directory(directory)
            sync_directory(made._files, directory.parent)
            made._open_log(os.O_CREAT)
            sync_directory(made._files, directory)
            made._store_session()
        return made

    @staticmethod
    def open(
        directory: Path, volumes: Iterable[VolumeSpec], open_redo: OpenRedo, files: Files
    ) -> "FileStage | None":
        """What a former process left, without its redo; None when there is none that reads well. Blocks."""
        try:
            session = read_session(files, directory)
            if session is None:
                return None
            found = FileStage(directory, session, volumes, open_redo, files)
            return found if found._read_log() else None
        except (OSError, FailedStageError):
            return None

    # --- what it holds

    @property
    def session(self) -> StageInfo:
        """See the port."""
        return self._session

    @property
    def staged(self) -> Extents:
        """See the port."""
        return entries.staged(self._tables)

    @property
    def fresh(self) -> Extents:
        """See the port."""
        return entries.fresh(self._tables)

    def entries(self) -> Iterator[StagedRun]:
        """See the port."""
        return entries.runs(self._tables)

    # --- putting aside

    def put(self, volume: int, offset: int, data: Buffer) -> None:
        """See the port."""
        spec = self._volumes[volume]
        length = len(data)
        assert not offset % GRANULE
        assert offset + length <= spec.size
        assert not length % GRANULE or offset + length == spec.size
        first, table = offset // GRANULE, self._tables[volume]
        end = first + -(-length // GRANULE)
        table.was_read(first, end)  # before they are others
        try:
            with self._trying(f"write volume {volume}, byte {offset}"):
                fd = self._handle(volume, os.O_CREAT)
                if not self._direct[volume].write(data, offset):
                    write_all(self._files, fd, data, offset)
                    self._files.write_back(fd, offset, length)
        except DrsyncError:
            self._spoiled.append((volume, first, end))  # perhaps half of them are others
            table.must_be_read(first, end)
            raise
        self._written.add(volume)
        view, number = memoryview(data), self._session.rounds
        self._pending += [
            Entry(
                volume, Kind.DATA, first + at // GRANULE, 1, number, entries.hash_of(view[at : at + GRANULE])
            )
            for at in range(0, length, GRANULE)
        ]

    def zero(self, volume: int, first: int, end: int) -> None:
        """See the port."""
        entry = Entry(volume, Kind.ZEROS, first, end - first, self._session.rounds, NO_HASH)
        assert self._tables[volume].is_fitting(entry)
        self._pending.append(entry)

    def begin_round(self, session: StageInfo) -> None:
        """See the port."""
        self.sync()
        self.forget_redo()
        self._session = session
        for table in self._tables.values():
            table.forget_round()
        with self._trying("begin a round"):
            self._store_session()

    def redo(self) -> Journal:
        """See the port."""
        if self._redo is None:
            self.forget_redo()
            self._redo = self._open_redo(self._directory / REDO, self._session.p0)
            with self._trying("begin the redo"):
                sync_directory(self._files, self._directory)
        return self._redo

    def forget_redo(self) -> None:
        """See the port."""
        if self._redo is not None:
            self._redo.close()
            self._redo = None
        with self._trying("forget the redo"):
            remove_tree(self._files, self._directory / REDO)
            sync_directory(self._files, self._directory)

    def sync(self) -> None:
        """See the port."""
        pending, self._pending = self._pending, []
        with self._trying("sync it"):
            self._sync_blocks()
            if pending:
                start = entries.seed(self._session.session)
                raw = b"".join(entries.encode(entry, start) for entry in pending)
                try:
                    write_all(self._files, self._log_fd, raw, self._log_end)
                except OSError:
                    self._pending = pending + self._pending  # written again when there is space
                    raise
                self._sync_file(self._log_fd)
                self._log_end += len(raw)
        for entry in pending:
            self._tables[entry.volume].take(entry, self._session.rounds)
        if self._redo is not None:
            try:
                self._redo.sync()
            except FailedCopyError as error:
                raise self._fail(str(error)) from error

    def _sync_blocks(self) -> None:
        for volume in sorted(self._written):
            self._sync_file(self._handles[volume])
        self._written.clear()
        if self._has_new_names:
            sync_directory(self._files, self._directory)
            self._has_new_names = False

    def _sync_file(self, fd: int) -> None:
        """An error of fsync is never forgiven, not even a full disk: pages may have been dropped."""
        try:
            self._files.fsync(fd)
        except OSError as error:
            raise self._fail(f"cannot be made durable: {error}") from error

    def shape(self) -> bool:
        """See the port."""
        assert not self._pending
        for index, volume in sorted(self._volumes.items()):
            fd = self._handle(index, os.O_CREAT)
            with self._trying(f"shape volume {index}"):
                self._files.truncate(fd, volume.size)
                for run in entries.without_data(index, self._tables[index]):
                    at, end = run.first * GRANULE, min(run.end * GRANULE, volume.size)
                    try:
                        self._files.punch(fd, at, end - at)
                    except OSError as error:
                        if cannot_punch(error):
                            return False
                        raise
            self._written.add(index)
        with self._trying("sync it"):
            self._sync_blocks()
        return True

    # --- reading

    def compare(self, volume: int, read_into: Callable[[int, memoryview], None]) -> None:
        """See the port."""
        table, size = self._tables[volume], self._volumes[volume].size
        buffer = memoryview(bytearray(GRANULE))
        for granule in range(-(-size // GRANULE)):
            offset = granule * GRANULE
            piece = buffer[: min(GRANULE, size - offset)]
            read_into(offset, piece)
            if table.is_data(granule):
                is_same = entries.hash_of(piece) == table.hash(granule)
            else:
                is_same = piece.tobytes() == _ZEROS[: len(piece)]  # views compare slowly
            if not is_same:
                raise self._fail(f"volume {volume}, byte {offset} {NOT_AS_PUT}")

    def verify(self) -> None:
        """See the port."""
        buffer = memoryview(bytearray(VERIFY_BYTES))
        spoiled, self._spoiled = self._spoiled, []  # while they were read back, perhaps
        for volume, first, end in spoiled:
            self._tables[volume].must_be_read(first, end)
        for run in entries.unread(self._tables):
            table, size = self._tables[run.volume], self._volumes[run.volume].size
            for first in range(run.first, run.end, VERIFY_BYTES // GRANULE):
                end = min(first + VERIFY_BYTES // GRANULE, run.end)
                at = first * GRANULE
                piece = buffer[: min(end * GRANULE, size) - at]
                self._fill(run.volume, at, piece)
                for granule in self._others(run.volume, at, piece):
                    if table.is_unread(granule):  # else it was put aside anew meanwhile
                        raise self._fail(f"volume {run.volume}, byte {granule * GRANULE} {NOT_AS_PUT}")
                table.was_read(first, end)

    def read_into(self, volume: int, offset: int, target: memoryview) -> None:
        """See the port."""
        self._fill(volume, offset, target)
        if offset % GRANULE:
            return
        for granule in self._others(volume, offset, target):
            raise self._fail(f"volume {volume}, byte {granule * GRANULE} {NOT_AS_PUT}")

    def _fill(self, volume: int, offset: int, target: memoryview) -> None:
        with self._trying(f"read volume {volume}, byte {offset}"):
            fd = self._handle(volume, 0)
            if not self._direct[volume].read(target, offset):
                done = read_all(self._files, fd, target, offset)
                target[done:] = bytes(len(target) - done)

    def _others(self, volume: int, offset: int, content: memoryview) -> Iterator[int]:
        """Whole granules in `content` that are not what was put aside last."""
        table, size = self._tables[volume], self._volumes[volume].size
        for at in range(0, len(content), GRANULE):
            piece, granule = content[at : at + GRANULE], (offset + at) // GRANULE
            is_whole = len(piece) == GRANULE or offset + len(content) == size
            if is_whole and entries.hash_of(piece) != table.hash(granule):
                yield granule

    # --- the end

    def close(self) -> None:
        """See the port."""
        if self._redo is not None:
            self._redo.close()
            self._redo = None
        for direct in self._direct.values():
            direct.close()
        for fd in (*self._handles.values(), *([self._log_fd] if self._log_fd >= 0 else [])):
            self._files.close(fd)
        self._handles, self._direct, self._log_fd = {}, {}, -1
        self._failed = self._failed or "it was closed"

    def drop(self) -> None:
        """See the port."""
        self.close()
        try:
            drop(self._files, self._directory)
        except OSError as error:
            raise FailedStageError(f"stage {self._directory} cannot be removed: {error}") from error

    # --- how

    def _handle(self, volume: int, flags: int) -> int:
        fd = self._handles.get(volume)
        if fd is None:
            path = self._directory / blocks_name(self._volumes[volume])
            fd = self._handles[volume] = self._files.open(path, os.O_RDWR | flags)
            self._direct[volume] = Direct(self._files, path)
            self._has_new_names = self._has_new_names or bool(flags)
            if flags:  # because a write beyond the end of a file waits for all others
                self._files.truncate(fd, max(self._files.size(fd), self._volumes[volume].size))
        return fd

    def _open_log(self, flags: int) -> None:
        self._log_fd = self._files.open(self._directory / LOG, os.O_RDWR | flags)

    def _read_log(self) -> bool:
        """Take the entries that were durable, and cut what is torn; whether all of it can be."""
        self._open_log(0)
        size = self._files.size(self._log_fd)
        start = entries.seed(self._session.session)
        while self._log_end < size:
            buffer = bytearray(min(READ_BYTES, size - self._log_end))
            read_all(self._files, self._log_fd, memoryview(buffer), self._log_end)
            count = 0
            for entry in entries.decode_all(buffer, start):
                table = self._tables.get(entry.volume)
                if table is None or not table.is_fitting(entry):
                    self.close()
                    return False
                table.take(entry, self._session.rounds)
                count += 1
            self._log_end += count * entries.ENTRY_BYTES
            if count * entries.ENTRY_BYTES < len(buffer):
                self._files.truncate(self._log_fd, self._log_end)
                self._files.fsync(self._log_fd)
                break
        return True

    def _store_session(self) -> None:
        """Under its name only when it is whole."""
        path = self._directory / f"{SESSION}.new"
        fd = self._files.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(self._files, fd, encode_session(self._session), 0)
            self._sync_file(fd)
        finally:
            self._files.close(fd)
        self._files.rename(path, self._directory / SESSION)
        sync_directory(self._files, self._directory)

    @contextmanager
    def _trying(self, what: str) -> Iterator[None]:
        if self._failed:
            raise FailedStageError(f"stage {self._directory} cannot be used: {self._failed}")
        try:
            yield
        except OSError as error:
            if is_full(error):
                raise NoSpaceError(f"no space for stage {self._directory}: {error.strerror}") from error
            raise self._fail(f"cannot {what}: {error}") from error

    def _fail(self, reason: str) -> FailedStageError:
        self._failed = self._failed or reason
        return FailedStageError(f"stage {self._directory}: {reason}", remedy="look at the disk")


def read_session(files: Files, directory: Path) -> StageInfo | None:
    """What a directory holds a stage for; None when there is none. Raises OSError."""
    path = directory / SESSION
    if not files.exists(path):
        return None
    fd = files.open(path, os.O_RDONLY)
    try:
        size = files.size(fd)
        raw = bytearray(min(size, SESSION_BYTES_MAX))
        read_all(files, fd, memoryview(raw), 0)
    finally:
        files.close(fd)
    return decode_session(bytes(raw))


def drop(files: Files, directory: Path) -> None:
    """Remove a stage, so that a crash in between leaves none that could be gone on with. Raises OSError."""
    if not files.exists(directory):
        return
    path = directory / SESSION
    if files.exists(path):
        files.unlink(path)
        sync_directory(files, directory)
    remove_tree(files, directory)
    sync_directory(files, directory.parent)
