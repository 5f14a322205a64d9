"""NBD URIs: `nbd+unix:///NAME?socket=PATH` and `nbd://HOST:PORT/NAME`, as other NBD tools read them."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from drsync.model.errors import UsageError

PORT_DEFAULT = 10809  # because it is the one registered for NBD


@dataclass(frozen=True, slots=True)
class Address:
    """Where an export is served: on `socket` if that is set, else on `host` and `port`."""

    name: str
    socket: Path | None = None
    host: str = ""
    port: int = PORT_DEFAULT


def make_uri(name: str, socket: Path) -> str:
    """The URI of an export on a UNIX socket."""
    return f"nbd+unix:///{quote(name)}?socket={quote(str(socket))}"


def parse_uri(uri: str) -> Address:
    """Take a URI apart.

    Raises:
        UsageError: not an NBD URI that can be used here.
    """
    try:
        parts = urlsplit(uri)
        port = parts.port or PORT_DEFAULT
    except ValueError as error:
        raise UsageError(f"not an NBD URI: {uri} ({error})") from error
    name = unquote(parts.path.removeprefix("/"))
    if parts.scheme == "nbd+unix":
        sockets = parse_qs(parts.query).get("socket", [])
        if len(sockets) != 1:
            raise UsageError(f"names no socket: {uri}", remedy="write nbd+unix:///NAME?socket=PATH")
        return Address(name, Path(sockets[0]))
    if parts.scheme == "nbd" and parts.hostname:
        return Address(name, host=parts.hostname, port=port)
    raise UsageError(
        f"not an NBD URI: {uri}", remedy="write nbd+unix:///NAME?socket=PATH or nbd://HOST:PORT/NAME"
    )
