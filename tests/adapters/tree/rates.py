"""Measures how fast a tree is read and changed, in names a second.

python -m tests.adapters.tree.rates DIRECTORY [FILES]
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drsync.adapters.tree.tree import LinuxTree
from drsync.model.fileset import FileKind, Signature
from drsync.ports.tree import PutOutcome
from tests.adapters.tree.conftest import FILESET
from tests.adapters.tree.rebuild import key_of
from tests.adapters.tree.variety import Grower


@contextmanager
def measured(what: str, count: int) -> Iterator[None]:
    began, cpu = time.perf_counter(), time.process_time()
    yield
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    sys.stdout.write(
        f"{what:28} {took * 1000:8.1f} ms {count / took:9.0f}/s {cpu * 1000:8.1f} ms of processor\n"
    )


def main(folder: Path, files: int) -> None:
    Grower(folder / "source").plain(files)
    (folder / "target").mkdir()
    source, target = (LinuxTree(str(folder / name), FILESET) for name in ("source", "target"))
    source.scan()
    with measured("scan", files):
        scan = source.scan()
    with measured("entry (hash)", files):
        entries = [source.entry(seen) for seen in scan.seen]
    plain = [entry for entry in entries if entry.kind is FileKind.FILE]
    folders = [entry for entry in entries if entry.kind is FileKind.DIRECTORY]
    keys = {entry.path: key_of(entry) for entry in plain}
    contents = {entry.path: source.read(entry.path, 0, entry.size) for entry in plain}
    signatures: dict[bytes, Signature | None] = {}
    for what in ("new", "replaced"):
        with measured(f"stage and seal, {what}", files):
            for entry in plain:
                staged = target.stage(keys[entry.path], entry.size)
                staged.write(0, contents[entry.path])
                staged.seal(entry)
        with measured("sync", files):
            target.sync()
        for entry in folders:
            target.put(entry, target.glance(entry.path))
        with measured(f"put_file, {what}", files):
            for entry in plain:
                result = target.put_file(entry, keys[entry.path], signatures.get(entry.path))
                assert result.outcome is PutOutcome.DONE
                signatures[entry.path] = result.signature
        with measured("finish", files):
            target.finish(folders)
    with measured("clone", files):
        target.clone(str(folder / "clone"))
    with measured("remove", files):
        for path, signature in signatures.items():
            assert signature is not None
            assert target.remove(path, signature).outcome is PutOutcome.DONE


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10_000)
