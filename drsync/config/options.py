"""What the daemons are told: small frozen values, built from a checked file. No pydantic here."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from typing_extensions import override

from drsync.model.group import GroupPolicy, Objectives
from drsync.model.topology import Center

BUSY_POLL_S = 0.0001
"""Because a lone write's answer brings the next request within 20 to 60 us on an idle machine, and a center
in the same city answers within 150; twice as long wastes twice as much and gains little more."""
BUSY_POLL_US_MAX = 1000  # because whoever sends so seldom is not delayed by a wake-up


class Address(NamedTuple):
    """Where to listen or to dial. `host` is a name or an IP address without brackets."""

    host: str
    port: int

    @override
    def __str__(self) -> str:
        """``host:port``, as it is written in the file."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class LogFormat(StrEnum):
    """How log lines look."""

    AUTO = "auto"  # for people on a terminal, for machines everywhere else
    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The least important lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What is logged and how."""

    level: LogLevel = LogLevel.INFO
    format: LogFormat = LogFormat.AUTO


@dataclass(frozen=True, slots=True)
class SshOptions:
    """Our side of every link.

    Attributes:
        listen: where peers reach us; port 0 picks a free one.
        host_key: file of the private key that proves us to those who dial us.
        client_key: file of the private key that proves us to those whom we dial.
    """

    listen: Address
    host_key: Path
    client_key: Path


@dataclass(frozen=True, slots=True)
class PeerOptions:
    """Another process that we dial or that dials us; its keys are pinned.

    Attributes:
        name: center, or ``coordinator``.
        address: where it listens.
        host_key: its public key when we dial it, in the form ``type base64``.
        client_key: its public key when it dials us; empty if it never does.
    """

    name: str
    address: Address
    host_key: str
    client_key: str = ""


@dataclass(frozen=True, slots=True)
class HookOptions:
    """What runbooks and checkpoints may do on the agent's machine; nothing unless it is said.

    Attributes:
        allow: programs, and directories whose programs may be run, as the agent's user.
        mounts: attach and mount served volumes, make network namespaces (needs root).
        freeze: mount points of file systems that may be frozen for a checkpoint (needs root).
        postgresql: (name, connection string of libpq) of servers that may be asked for a CHECKPOINT.
        programs: (name, argv) of what a group may have run for a checkpoint; `allow` holds as well.
    """

    allow: tuple[Path, ...] = ()
    mounts: bool = False
    freeze: tuple[str, ...] = ()
    postgresql: tuple[tuple[str, str], ...] = ()
    programs: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """One agent: one center of one cluster on one host."""

    cluster_id: str
    center: Center
    state_dir: Path
    run_dir: Path
    ssh: SshOptions
    coordinator: PeerOptions
    peers: tuple[PeerOptions, ...] = ()
    log: LogOptions = LogOptions()
    file_roots: tuple[str, ...] = ()
    """Directories below which trees of file sets may lie, beside our own state directory."""
    hooks: HookOptions = HookOptions()
    metrics: Address | None = None
    """Where figures are served for Prometheus, without encryption and without a password."""
    busy_poll_s: float = BUSY_POLL_S
    """How long to wait awake for what mostly comes at once; 0: not at all."""


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """The coordinator's address for people and tools, beside its unix socket.

    Attributes:
        listen: loopback address; port 0 picks a free one.
        token_file: file with the bearer token that every request must carry.
    """

    listen: Address
    token_file: Path


@dataclass(frozen=True, slots=True)
class KnownAgent:
    """An agent that may dial the coordinator.

    Attributes:
        center: what it speaks for, and for nothing else.
        client_key: the public key it proves itself with, in the form ``type base64``.
        host_key: the public key its own listener has; empty if not pinned here.
    """

    center: Center
    client_key: str
    host_key: str = ""


@dataclass(frozen=True, slots=True)
class CoordinatorOptions:
    """One coordinator and the agents it knows."""

    cluster_id: str
    state_dir: Path
    run_dir: Path
    ssh: SshOptions
    agents: tuple[KnownAgent, ...]
    http: HttpOptions | None = None
    log: LogOptions = LogOptions()
    metrics: Address | None = None


class VolumeRequest(NamedTuple):
    """A volume as asked for: alias, and size in bytes (a multiple of 4096)."""

    name: str
    size: int


class FileSetRequest(NamedTuple):
    """A file set as asked for: alias, and (center, absolute directory) where its tree lives."""

    name: str
    roots: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class GroupRequest:
    """A protection group as asked for by `drsync group apply`; the coordinator gives it ids and centers.

    Attributes:
        name: alias.
        preferred_owner: center that owns it in normal times; one of `members`.
        members: names of the centers that hold a copy.
        volumes: in the order of the file.
        filesets: in the order of the file.
        objectives: targets.
        policy: behaviour.
    """

    name: str
    preferred_owner: str
    members: tuple[str, ...]
    volumes: tuple[VolumeRequest, ...]
    objectives: Objectives = field(default_factory=Objectives)
    policy: GroupPolicy = field(default_factory=GroupPolicy)
    filesets: tuple[FileSetRequest, ...] = ()
