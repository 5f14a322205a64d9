"""A served volume as a block device of this machine, where the machine allows it; and its clean removal.

The recipe: nbdfuse makes a file of an NBD export, a loop device makes a disk of the file.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TOOLS = ("nbdfuse", "losetup", "mount", "umount", "mkfs.ext4", "e2fsck")
COMMAND_S = 20.0
APPEAR_S = 10.0
ENVIRONMENT = os.environ | {"LC_ALL": "C", "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}


def run(*argv: str | Path, codes: tuple[int, ...] = (0,)) -> str:
    """Run a tool to its end; what it printed."""
    ended = subprocess.run(
        [str(word) for word in argv],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=COMMAND_S,
        check=False,
    )
    assert ended.returncode in codes, f"{argv[0]} ended with {ended.returncode}: {ended.stdout}"
    return ended.stdout


def why_not() -> str:
    """Why no block device can be made here; empty when it can."""
    missing = [tool for tool in TOOLS if shutil.which(tool, path=ENVIRONMENT["PATH"]) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid() != 0:
        return "needs root"
    if not Path("/dev/fuse").exists() or not Path("/dev/loop-control").exists():
        return "needs /dev/fuse and /dev/loop-control"
    found = subprocess.run(
        ["losetup", "-f"], env=ENVIRONMENT, capture_output=True, check=False, timeout=COMMAND_S
    )
    return "" if found.returncode == 0 else "needs a free loop device"


@dataclass(slots=True)
class BlockDevice:
    """An NBD export as a disk of this machine, below a folder."""

    folder: Path
    uri: str
    process: "subprocess.Popen[bytes] | None" = None
    device: str = ""

    @property
    def tree(self) -> Path:
        """Where its file system is mounted."""
        return self.folder / "tree"

    def attach(self) -> None:
        """Make the disk."""
        fuse = self.folder / "fuse"
        for path in (fuse, self.tree):
            path.mkdir(parents=True, exist_ok=True)
        log = (self.folder / "nbdfuse.log").open("wb")
        with log:
            self.process = subprocess.Popen(
                ["nbdfuse", "-C", "4", fuse / "nbd", self.uri], env=ENVIRONMENT, stdout=log, stderr=log
            )
        deadline = time.monotonic() + APPEAR_S
        while not (fuse / "nbd").exists():
            words = (self.folder / "nbdfuse.log").read_text()
            assert self.process.poll() is None, f"nbdfuse ended: {words}"
            assert time.monotonic() < deadline, f"nbdfuse shows nothing: {words}"
            time.sleep(0.02)
        self.device = run("losetup", "-f", "--show", fuse / "nbd").strip()

    def make_file_system(self) -> None:
        """ext4 with its journal, mounted."""
        run("mkfs.ext4", "-q", "-F", self.device)
        run("mount", "-t", "ext4", self.device, self.tree)

    def detach(self) -> None:
        """Take it away, whatever state it is in."""
        release_all(self.folder)
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait(5)


@contextlib.contextmanager
def block_device(folder: Path, uri: str) -> Iterator[BlockDevice]:
    """A disk for the length of a block; gone afterwards even when its server died."""
    made = BlockDevice(folder, uri)
    try:
        made.attach()
        yield made
    finally:
        made.detach()


@contextlib.contextmanager
def mounted(image: Path, tree: Path, *options: str) -> Iterator[Path]:
    """An image of a file system, mounted through a loop device."""
    tree.mkdir(parents=True, exist_ok=True)
    run("mount", "-o", ",".join(("loop", *options)), image, tree)
    try:
        yield tree
    finally:
        run("umount", tree)


def release_all(folder: Path) -> None:
    """Unmount everything below `folder`, and free the loop devices whose files are there. Never fails."""
    for device, tree, kind in reversed(_mounts()):
        if tree.startswith(f"{folder}/") and not kind.startswith("fuse"):
            _quietly("umount", "-l", tree)
            if device.startswith("/dev/loop"):
                _quietly("losetup", "-d", device)
    for line in _quietly("losetup", "-l", "-n", "-O", "NAME,BACK-FILE").splitlines():
        device, _, file = line.strip().partition(" ")
        if file.strip().startswith(f"{folder}/"):
            _quietly("losetup", "-d", device)
    for _, tree, kind in reversed(_mounts()):
        if tree.startswith(f"{folder}/") and kind.startswith("fuse"):
            _quietly("umount", "-l", tree)


def _mounts() -> list[tuple[str, str, str]]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [(fields[0], fields[1], fields[2]) for fields in (line.split() for line in lines)]


def _quietly(*argv: str) -> str:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(
            argv, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=COMMAND_S
        ).stdout
    return ""
