"""What is read from the body of a runbook's request; every value is checked before anything looks at it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from drsync.model.errors import MalformedError, RefusedError
from drsync.model.runbook import FILESYSTEMS, FORBIDDEN_VARIABLES

Json = dict[str, object]

TEXT_MAX = 4096  # because arguments are paths and options
LIST_MAX = 64
DIGEST_DIGITS = 16  # because it tells what one person wrote from what he wrote before
TIMEOUT_S_MAX = 290.0  # because a request is given up after 300 s


@dataclass(frozen=True, slots=True)
class HookRequest:
    """One step for this agent.

    Attributes:
        scope, item: under what name things are made.
        group, view: id of the group, and of the open view in a drill.
        is_drill: whether what is made goes away with the drill.
        timeout_s: for the whole step.
        values: parameters of the action.
    """

    scope: str
    item: str
    group: str
    view: str
    is_drill: bool
    timeout_s: float
    values: Mapping[str, object]

    @staticmethod
    def read(body: Json) -> "HookRequest":
        """From a body. Raises MalformedError."""
        values, timeout = body.get("with", {}), body.get("timeout_s")
        if not isinstance(values, dict):
            raise MalformedError("with: an object was expected")
        is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
        if not is_number or not 0 < float(str(timeout)) <= TIMEOUT_S_MAX:
            raise MalformedError(f"timeout_s: a number up to {TIMEOUT_S_MAX:g} was expected")
        return HookRequest(
            scope=_text(body, "scope"),
            item=_text(body, "item"),
            group=_text(body, "group"),
            view=_text(body, "view"),
            is_drill=body.get("is_drill") is True,
            timeout_s=float(str(timeout)),
            values=values,
        )

    @property
    def digest(self) -> str:
        """Short, of the parameters."""
        written = json.dumps(self.values, sort_keys=True)
        return hashlib.sha256(written.encode(errors="surrogatepass")).hexdigest()[:DIGEST_DIGITS]

    def text(self, key: str) -> str:
        """A text; empty when it is missing."""
        return _text(self.values, key)

    def flag(self, key: str) -> bool:
        """True only if it says so."""
        return self.values.get(key) is True

    def number(self, key: str) -> int:
        """A whole number. Raises MalformedError."""
        value = self.values.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise MalformedError(f"{key}: a whole number was expected")
        return value

    def seconds(self, key: str) -> float:
        """Seconds. Raises MalformedError."""
        value = self.values.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
            raise MalformedError(f"{key}: seconds were expected")
        return float(value)

    def words(self, key: str) -> list[str]:
        """A list of texts with at least one. Raises MalformedError."""
        value = self.values.get(key)
        if not isinstance(value, list) or not 1 <= len(value) <= LIST_MAX:
            raise MalformedError(f"{key}: a list of 1 to {LIST_MAX} texts was expected")
        return [_word(key, one) for one in value]

    def numbers(self, key: str) -> list[int]:
        """A list of whole numbers. Raises MalformedError."""
        value = self.values.get(key)
        if not isinstance(value, list) or not all(isinstance(one, int) for one in value):
            raise MalformedError(f"{key}: a list of whole numbers was expected")
        return [int(one) for one in value]

    @property
    def environment(self) -> dict[str, str]:
        """Variables that the step sets."""
        value = self.values.get("env", {})
        if not isinstance(value, dict) or len(value) > LIST_MAX:
            raise MalformedError("env: an object was expected")
        found = {_word("env", key): _word("env", word) for key, word in value.items()}
        for name in found:
            if name.startswith(FORBIDDEN_VARIABLES):
                raise RefusedError(f"{name[:64]} chooses what code runs", code="hook_not_allowed")
        return found

    @property
    def filesystem(self) -> str:
        """One that may be mounted."""
        name = self.text("filesystem")
        if name not in FILESYSTEMS:
            raise RefusedError(f"{name[:64]!r} is not mounted here", code="hook_not_allowed")
        return name


def _text(body: Mapping[str, object], key: str) -> str:
    return _word(key, body.get(key, ""))


def _word(key: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > TEXT_MAX or "\0" in value:
        raise MalformedError(f"{key}: a text of at most {TEXT_MAX} characters was expected")
    return value
