"""Field types of the files: text that becomes an address, a path, a key, a size.

A wrong one raises `MistakeError`. Paths are relative to the folder of the file, which arrives as the
validation context.
"""

import base64
import binascii
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from drsync.config.options import Address
from drsync.config.problems import MistakeError
from drsync.config.quantities import parse_duration, parse_fraction, parse_size

NAME_MAX = 32  # because the name of a group is part of a unix socket path, and those end at 107 bytes
CLUSTER_ID_MAX = 64  # because it is sent with every opening of a link
PORT_MAX = 65535
AVAILABILITY_MIN = 0.5  # because a smaller target is a slip of the decimal point
SOCKET_PATH_MAX = 107  # because sun_path of unix(7) holds 108 bytes and the last one is zero
KEY_FILE_BYTES_MAX = 64 * 1024  # because no key is larger, and a wrong path may name a disk image
VOLUME_ALIGNMENT = 4096  # because records and images are laid out in blocks of this size
VOLUME_SIZE_MAX = (16 << 40) - 4096  # because an image is a file, and a file on ext4 ends there
QUOTA_MIN = 64 << 20  # because a journal needs room for a few batches of the largest size beside those in use

Context: TypeAlias = dict[str, Path]
"""What validation is told besides the document: ``base``, the folder that relative paths start from."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HOOK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_PASSWORD = re.compile(r"(?i)(^|[\s?&])password\s*=|://[^/@]*:[^/@]*@")
_KEY_TYPE = re.compile(r"(ssh-[a-z0-9-]+|ecdsa-[a-z0-9-]+|sk-[a-z0-9@.-]+)\s")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise MistakeError("must be text in quotes")
    return value


def check_name(value: object) -> str:
    """A name of a center, group or volume."""
    name = _text(value)
    if not 1 <= len(name) <= NAME_MAX:
        raise MistakeError(f"a name has 1 to {NAME_MAX} characters")
    if _NAME.fullmatch(name) is None:
        raise MistakeError(f"{name!r} is no name; use letters, digits, - and _, a letter or digit first")
    return name


def check_cluster(value: object) -> str:
    """The id of a cluster: every process of it states it and refuses others."""
    cluster = _text(value)
    if len(cluster) > CLUSTER_ID_MAX or _CLUSTER.fullmatch(cluster) is None:
        raise MistakeError(
            f"a cluster id has 1 to {CLUSTER_ID_MAX} letters, digits, dots, - and _, a letter or digit first"
        )
    return cluster


def check_address(value: object) -> Address:
    """``host:port`` or ``[ipv6]:port``."""
    text = _text(value)
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise MistakeError(f'"{text}": write an IPv6 address in brackets, for example "[::1]:7300"')
    if not colon or not host or not port.isascii() or not port.isdigit():
        raise MistakeError(f'"{text}" is no address; write host:port, for example "10.0.0.5:7300"')
    if int(port) > PORT_MAX:
        raise MistakeError(f"port {port} does not exist; ports end at {PORT_MAX}")
    return Address(host, int(port))


def check_peer_address(address: Address) -> Address:
    """An address that is dialed has a port."""
    if address.port == 0:
        raise MistakeError("port 0 cannot be dialed; write the port the other side listens on")
    return address


def check_loopback(address: Address) -> Address:
    """The HTTP interface has no encryption of its own."""
    if address.host not in {"127.0.0.1", "::1", "localhost"}:
        raise MistakeError(f"{address.host} is no loopback address; this is not encrypted, use 127.0.0.1")
    return address


def check_path(value: object, info: ValidationInfo[Context]) -> Path:
    """A path, relative to the file it is written in."""
    text = _text(value)
    if not text or "\0" in text:
        raise MistakeError("is not a path")
    base = info.context["base"] if info.context else Path()
    return Path(os.path.normpath(base.absolute() / Path(text).expanduser()))


def check_agent_run_dir(path: Path) -> Path:
    """Sockets of served volumes are ``<run_dir>/nbd/<group>.sock`` and must fit."""
    return _room_for(path, f"nbd/{'g' * NAME_MAX}.sock")


def check_coordinator_run_dir(path: Path) -> Path:
    """The socket for people and tools is ``<run_dir>/coordinator.sock`` and must fit."""
    return _room_for(path, "coordinator.sock")


def _room_for(path: Path, longest: str) -> Path:
    room = SOCKET_PATH_MAX - len(longest) - 1
    length = len(os.fsencode(path))
    if length > room:
        raise MistakeError(
            f"{path} is {length} bytes long; at most {room}, because the path of a unix socket in it "
            f"must fit into {SOCKET_PATH_MAX}"
        )
    return path


def check_private_key(path: Path) -> Path:
    """A private key of ours: there, readable, nobody else's."""
    try:
        status = path.stat()
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise MistakeError(f"cannot read {path}: {error.strerror}") from None
    if b"PRIVATE KEY" not in head:
        raise MistakeError(f"{path} is not a private key")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise MistakeError(f"{path} can be read by other users; run: chmod 600 {path}")
    return path


def check_public_key(value: object, info: ValidationInfo[Context]) -> str:
    """A pinned public key: its text, or the path of a file with it. Returns ``type base64``."""
    text = _text(value).strip()
    if _KEY_TYPE.match(text):
        return parse_public_key(text)
    path = check_path(text, info)
    try:
        with path.open("rb") as file:
            content = file.read(KEY_FILE_BYTES_MAX).decode("ascii", "replace").strip()
    except OSError as error:
        raise MistakeError(f"is neither a public key nor a readable file: {path}: {error.strerror}") from None
    if "PRIVATE KEY" in content:
        raise MistakeError(f"{path} is a private key; name the .pub file beside it")
    return parse_public_key(content, f"{path}: ")


def parse_public_key(text: str, where: str = "") -> str:
    """``type base64`` of one line in the format of OpenSSH (``type base64 comment``).

    Raises:
        MistakeError: not such a line, or the type inside (RFC 4253 section 6.6) is another one.
    """
    kind, _, rest = text.partition(" ")
    key = rest.split(" ", 1)[0]
    if not key or "\n" in text:
        raise MistakeError(f"{where}is no public key; it looks like: ssh-ed25519 AAAA… name")
    try:
        blob = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    if next(_ssh_strings(blob), b"") != kind.encode() or None in _ssh_strings(blob):
        raise MistakeError(f"{where}is a damaged public key of type {kind}; copy the whole line again")
    return f"{kind} {key}"


def _ssh_strings(blob: bytes) -> Iterator[bytes | None]:
    """The strings a key consists of (RFC 4251 section 5); None where one is cut short."""
    at = 0
    while at < len(blob):
        end = at + 4 + int.from_bytes(blob[at : at + 4], "big")
        yield blob[at + 4 : end] if end <= len(blob) else None
        at = end


def check_tree_root(value: object) -> str:
    """The directory of a file set: absolute, clean, and not the whole machine."""
    return _place_at_center(
        value,
        "it is a directory of the center, not of this machine",
        "the root of the machine cannot be a file set; name a directory below it",
    )


def check_mount_point(value: object) -> str:
    """Where a file system is mounted at the center: absolute, clean, and not the whole machine."""
    return _place_at_center(
        value,
        "it is where a file system is mounted at the center",
        "the root of the machine cannot be frozen; name what is mounted below it",
    )


def _place_at_center(value: object, meaning: str, why_no_root: str) -> str:
    text = _text(value)
    if not text.startswith("/") or "\0" in text:
        raise MistakeError(f"{text!r} is no absolute path; {meaning}")
    clean = os.path.normpath(text)
    if clean == "/":
        raise MistakeError(why_no_root)
    return clean


def check_hook_name(value: object) -> str:
    """What an agent's configuration calls a hook."""
    text = _text(value)
    if _HOOK_NAME.fullmatch(text) is None:
        raise MistakeError(
            f"{text!r} is no name of a hook: letters, digits, '.', '-' and '_', at most 63; "
            "what it does is said in [hooks] of the agents"
        )
    return text


def check_conninfo(value: object) -> str:
    """How a server is reached (a connection string of libpq), without a password: `ps` would show it."""
    text = _text(value)
    if not text or "\0" in text or "\n" in text:
        raise MistakeError('must be a connection string of libpq, for example "service=orders"')
    if _PASSWORD.search(text):
        raise MistakeError(
            "holds a password, which every user of the machine could read; use passfile=… or a service"
        )
    return text


def check_size(value: object) -> int:
    """A size in bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise MistakeError('must be a size, for example "256 MiB"')
    return parse_size(value)


def check_volume_size(size: int) -> int:
    """Volumes consist of whole blocks."""
    if not VOLUME_ALIGNMENT <= size <= VOLUME_SIZE_MAX:
        raise MistakeError("a volume has at least 4 KiB and less than 16 TiB")
    if size % VOLUME_ALIGNMENT:
        larger = -(-size // VOLUME_ALIGNMENT) * VOLUME_ALIGNMENT
        raise MistakeError(
            f"{size} bytes is not a multiple of {VOLUME_ALIGNMENT}; the next larger is {larger}"
        )
    return size


def check_quota(size: int) -> int:
    """Disk a journal may take."""
    if size < QUOTA_MIN:
        raise MistakeError(f"must be at least {QUOTA_MIN >> 20} MiB")
    return size


def check_duration(value: object) -> float:
    """A duration in seconds; a bare number could mean anything and is refused."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise MistakeError(f'{value} lacks a unit; write for example "{value}s"')
    if not isinstance(value, str):
        raise MistakeError('must be a duration, for example "15s"')
    return parse_duration(value)


def between(low: float, high: float, unit: str) -> AfterValidator:
    """Durations within bounds; `unit` says them for people."""

    def check(seconds: float) -> float:
        if not low <= seconds <= high:
            raise MistakeError(f"must be {unit}")
        return seconds

    return AfterValidator(check)


def check_share(value: object) -> float:
    """A share of the time that something may take: 0.05 or ``5 %``."""
    fraction = parse_fraction(str(value))
    if not 0 < fraction <= 1:
        raise MistakeError(f'{value} is no share; write for example "5 %"')
    return fraction


def check_rate(size: int) -> int:
    """Bytes per second that are read at most."""
    if not size:
        raise MistakeError('nothing would be read; leave the check out with check = "none"')
    return size


def check_availability(value: object) -> float:
    """A share of the time: 0.9999 or ``99.99 %``."""
    fraction = parse_fraction(str(value))
    if not AVAILABILITY_MIN <= fraction < 1:
        raise MistakeError(f'{value} is no availability target; write for example "99.99 %"')
    return fraction


Name: TypeAlias = Annotated[str, BeforeValidator(check_name)]
ClusterId: TypeAlias = Annotated[str, BeforeValidator(check_cluster)]
ListenAddress: TypeAlias = Annotated[Address, BeforeValidator(check_address)]
LoopbackAddress: TypeAlias = Annotated[ListenAddress, AfterValidator(check_loopback)]
PeerAddress: TypeAlias = Annotated[ListenAddress, AfterValidator(check_peer_address)]
FilePath: TypeAlias = Annotated[Path, BeforeValidator(check_path)]
AgentRunDir: TypeAlias = Annotated[FilePath, AfterValidator(check_agent_run_dir)]
CoordinatorRunDir: TypeAlias = Annotated[FilePath, AfterValidator(check_coordinator_run_dir)]
PrivateKey: TypeAlias = Annotated[FilePath, AfterValidator(check_private_key)]
PublicKey: TypeAlias = Annotated[str, BeforeValidator(check_public_key)]
TreeRoot: TypeAlias = Annotated[str, BeforeValidator(check_tree_root)]
MountPoint: TypeAlias = Annotated[str, BeforeValidator(check_mount_point)]
HookName: TypeAlias = Annotated[str, BeforeValidator(check_hook_name)]
Conninfo: TypeAlias = Annotated[str, BeforeValidator(check_conninfo)]
Size: TypeAlias = Annotated[int, BeforeValidator(check_size)]
Quota: TypeAlias = Annotated[Size, AfterValidator(check_quota)]
VolumeSize: TypeAlias = Annotated[Size, AfterValidator(check_volume_size)]
Duration: TypeAlias = Annotated[float, BeforeValidator(check_duration)]
Rate: TypeAlias = Annotated[Size, AfterValidator(check_rate)]
Share: TypeAlias = Annotated[float, BeforeValidator(check_share)]
Availability: TypeAlias = Annotated[float, BeforeValidator(check_availability)]
