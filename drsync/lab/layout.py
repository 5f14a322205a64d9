"""Names and places: who takes part in a lab, and where everything of it lies. Nothing is read or written."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from drsync.model.topology import Center, Designation

COORDINATOR = "coordinator"
PRODUCTION = "production"
SAME_CITY = "same_city"
REMOTE = "remote"
CENTERS = (
    Center(PRODUCTION, Designation.PRODUCTION, "beijing"),
    Center(SAME_CITY, Designation.SAME_CITY, "beijing"),
    Center(REMOTE, Designation.REMOTE, "guangzhou"),
)
CENTER_NAMES = tuple(center.name for center in CENTERS)
PROCESSES = (COORDINATOR, *CENTER_NAMES)
"""In the order they are started."""

GROUP = "demo"
DISK = "disk"
LEDGER = "ledger"
LEDGER_BYTES = 16 << 20

SOCKET_PATH_MAX = 107  # because sun_path of unix(7) holds 108 bytes and the last one is zero
LONGEST_SOCKET = f"/{PRODUCTION}/nbd/{'g' * 32}.sock"
SHORT_DIR = "/tmp"  # noqa: S108  # a long TMPDIR would defeat the purpose; its owner and mode are checked


@dataclass(frozen=True, slots=True)
class Layout:
    """Places in a lab's directory, which is an absolute path."""

    root: Path

    @property
    def record(self) -> Path:
        """What the lab remembers of itself."""
        return self.root / "lab.json"

    @property
    def lock(self) -> Path:
        """Held while the record is changed."""
        return self.root / "lab.lock"

    @property
    def starting(self) -> Path:
        """Held while a lab is started and filled."""
        return self.root / "up.lock"

    @property
    def keys(self) -> Path:
        """SSH keys of every process, and the token of the HTTP interface."""
        return self.root / "keys"

    @property
    def token(self) -> Path:
        """The bearer token for people and tools."""
        return self.keys / "token"

    @property
    def image(self) -> Path:
        """The disk image that the lab makes by itself."""
        return self.root / "image" / f"{DISK}.img"

    @property
    def reports(self) -> Path:
        """Pages of the drills that the demo ran."""
        return self.root / "reports"

    @property
    def scratch(self) -> Path:
        """Short-lived files; may be emptied whenever no command runs."""
        return self.root / "scratch"

    @property
    def trees(self) -> Path:
        """Protected trees of all centers: what agents are allowed to use for file sets."""
        return self.root / "trees"

    def tree(self, center: str, name: str) -> Path:
        """A file set's directory at a center."""
        return self.trees / center / name

    def home(self, process: str) -> Path:
        """Everything of one process."""
        return self.root / process

    def config(self, process: str) -> Path:
        """Its configuration."""
        return self.home(process) / "config.toml"

    def state(self, process: str) -> Path:
        """Its data."""
        return self.home(process) / "state"

    def log(self, process: str) -> Path:
        """What it printed."""
        return self.home(process) / "log"

    def host_key(self, process: str) -> Path:
        """Proves it to those who dial it; the public half is beside it."""
        return self.keys / f"{process}.host"

    def client_key(self, process: str) -> Path:
        """Proves it to those whom it dials."""
        return self.keys / f"{process}.client"

    @property
    def run_root(self) -> Path:
        """Where the sockets are: below the lab, or in a short place when the path would be too long."""
        inside = self.root / "run"
        if len(os.fsencode(str(inside) + LONGEST_SOCKET)) <= SOCKET_PATH_MAX:
            return inside
        digest = hashlib.sha256(f"{os.getuid()}:{self.root}".encode(errors="surrogateescape")).hexdigest()
        return short_place() / f"drsync-lab-{digest[:12]}"

    @property
    def is_run_root_outside(self) -> bool:
        """Whether the sockets had to be put elsewhere."""
        return not self.run_root.is_relative_to(self.root)

    def run(self, process: str) -> Path:
        """The process's sockets."""
        return self.run_root / process

    @property
    def coordinator_socket(self) -> Path:
        """Where the coordinator answers on this machine without a token."""
        return self.run(COORDINATOR) / "coordinator.sock"


def short_place() -> Path:
    """The folder for temporary files, unless its own path is long."""
    chosen = Path(tempfile.gettempdir())
    longest = f"{chosen}/drsync-lab-{'0' * 12}{LONGEST_SOCKET}"
    return chosen if len(os.fsencode(longest)) <= SOCKET_PATH_MAX else Path(SHORT_DIR)
