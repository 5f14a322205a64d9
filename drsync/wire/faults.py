"""Errors on the wire: the class and code of an error travel, and the same class is raised at the other side.

ERROR body: ``{class, code, message, remedy}``. The classes are transient, permanent, refused,
malformed and usage; a failed copy is permanent to everybody else.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from drsync.model.errors import (
    DrsyncError,
    FailedCopyError,
    MalformedError,
    PermanentError,
    RefusedError,
    TransientError,
    UsageError,
)

MESSAGE_CHARACTERS_MAX: Final = 2000
"""Because an ERROR has at most 16 KiB, and a character takes up to 6 bytes of ASCII JSON."""
BUG: Final = "bug"
"""Code of what escaped a handler and was no DrsyncError."""

_CLASSES: Final[Mapping[str, type[DrsyncError]]] = MappingProxyType(
    {
        "transient": TransientError,
        "permanent": PermanentError,
        "refused": RefusedError,
        "malformed": MalformedError,
        "usage": UsageError,
    }
)
_NAMES: Final[Mapping[type[DrsyncError], str]] = MappingProxyType(
    {**{kind: name for name, kind in _CLASSES.items()}, FailedCopyError: "permanent"}
)


def to_body(error: DrsyncError) -> dict[str, object]:
    """The ERROR body of an error; long texts are cut."""
    kinds = (_NAMES[kind] for kind in type(error).__mro__ if kind in _NAMES)
    return {
        "class": next(kinds, "permanent"),
        "code": error.code[:64],
        "message": str(error)[:MESSAGE_CHARACTERS_MAX],
        "remedy": error.remedy[: MESSAGE_CHARACTERS_MAX // 4],
    }


def from_body(body: Mapping[str, object]) -> DrsyncError:
    """The error in an ERROR body; an unknown class is permanent, so that nobody retries it for ever."""
    kind = _CLASSES.get(_text(body, "class"), PermanentError)
    return kind(
        _text(body, "message") or "the peer gave no reason",
        code=_text(body, "code") or None,
        remedy=_text(body, "remedy"),
    )


def _text(body: Mapping[str, object], name: str) -> str:
    value = body.get(name, "")
    if not isinstance(value, str):
        return ""
    # A peer's words reach logs and terminals: no control characters (P69).
    return "".join(one if one.isprintable() else "?" for one in value[:MESSAGE_CHARACTERS_MAX])


def from_bye(peer: str, body: Mapping[str, object]) -> DrsyncError:
    """Why a link ended that the peer closed in peace."""
    return TransientError(f"{peer} closed the link: {_text(body, 'reason') or 'no reason'}", code="closed")
