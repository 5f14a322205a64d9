"""The plain status page, and who may see pages over TCP."""

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from drsync.model.operation import Event
from drsync.report.drill import utc

PAGES = Environment(
    loader=PackageLoader("drsync.coordinator"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
PAGES.filters["utc"] = utc


def home(status: Mapping[str, object], events: Sequence[Event]) -> str:
    """Groups and centers at a glance; asks the browser to come back every two seconds."""
    return PAGES.get_template("home.html.j2").render(status=status, events=list(reversed(events)))


def may_pass(request: web.Request, token: str) -> bool:
    """Everybody on the unix socket; over TCP who bears the token, or gives it as a browser's password."""
    name = request.transport.get_extra_info("sockname") if request.transport is not None else None
    if not isinstance(name, tuple):
        return True
    kind, _, word = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "basic":
        word = _password(word)
    elif kind.lower() != "bearer":
        return False
    return bool(token) and hmac.compare_digest(word.strip().encode(), token.encode())


def asks_for_password(request: web.Request) -> bool:
    """Whether a browser should show its password window: for pages only."""
    return request.path == "/" or request.path.endswith(".html")


def _password(word: str) -> str:
    try:
        return base64.b64decode(word, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
