"""The proofs of recovery points at a center: a small file beside the copy, no part of it.

``<copy>/proofs.json``: ``{"version": 1, "checksum": "…", "proofs": […]}``; the checksum is BLAKE3 of the
canonical JSON of the proofs (`PointProof.fields`).
A file that does not read well, or is of a later version, is passed over: points are unproved again, no more.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from blake3 import blake3

from drsync.adapters.segments.files import Files, OsFiles, read_up_to, sync_directory, write_all
from drsync.core.point_proofs import by_point
from drsync.model.point_proof import PointProof

VERSION: Final = 1
PROOFS_MAX: Final = 256  # because a window of a week has 168 points an hour apart
BYTES_MAX: Final = 1 << 20  # because 256 proofs take 300 KiB at most, and a larger file is something else


class ProofBook:
    """What one center knows of one group. `load` and `write` block.

    Attributes:
        proofs: at most `PROOFS_MAX`, one for each point; whoever writes sets them.
    """

    def __init__(self, directory: Path, files: Files | None = None) -> None:
        """`directory` is that of the copy; `files`: system calls."""
        self._path = directory / "proofs.json"
        self._files: Files = OsFiles() if files is None else files
        self.proofs: tuple[PointProof, ...] = ()

    def load(self) -> str:
        """Read what a former process kept; why it is passed over, empty when it is not."""
        try:
            fd = self._files.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return ""
        except OSError as error:
            return f"cannot read {self._path}: {error}"
        try:
            self.proofs = _read(bytes(read_up_to(self._files, fd, BYTES_MAX, 0)))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            return f"{self._path} does not read well and is passed over: {error}"
        finally:
            self._files.close(fd)
        return ""

    def added(self, proof: PointProof, held: Sequence[PointProof]) -> tuple[PointProof, ...]:
        """`held` and `proof`, without the oldest points beyond the limit; for `write`."""
        mine = by_point([*held, proof]).values()
        return tuple(sorted(mine, key=lambda one: (one.position.seq, one.at_us))[-PROOFS_MAX:])

    def write(self, proofs: tuple[PointProof, ...]) -> None:
        """Durable on return. Raises OSError: what was written before is still there."""
        fresh = self._path.with_suffix(".new")
        fd = self._files.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(self._files, fd, [_written(proofs)], 0)
            self._files.fsync(fd)
        finally:
            self._files.close(fd)
        self._files.rename(fresh, self._path)
        sync_directory(self._files, self._path.parent)


def _canonical(proofs: object) -> bytes:
    return json.dumps(proofs, sort_keys=True, separators=(",", ":")).encode("ascii")


def _written(proofs: Sequence[PointProof]) -> bytes:
    listed = [proof.fields() for proof in proofs]
    checksum = blake3(_canonical(listed)).hexdigest()
    return _canonical({"version": VERSION, "checksum": checksum, "proofs": listed})


def _read(raw: bytes) -> tuple[PointProof, ...]:
    body = json.loads(raw)
    if not isinstance(body, dict) or body.get("version") != VERSION:
        raise ValueError(f"it is not of version {VERSION}")
    listed = body["proofs"]
    if blake3(_canonical(listed)).hexdigest() != body["checksum"]:
        raise ValueError("its checksum does not fit")
    return tuple(PointProof.read(one) for one in listed)[-PROOFS_MAX:]
