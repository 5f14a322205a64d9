"""What a toxic does to bytes, by the words of Toxiproxy's HTTP API. No I/O.

A toxic belongs to a proxy and to one direction of it: `upstream` from the client to the server, `downstream`
back. Each direction of each connection asks `Course` what becomes of a piece and when it leaves.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

STREAMS = ("upstream", "downstream")
ATTRIBUTES: Mapping[str, Mapping[str, int]] = {
    "latency": {"latency": 0, "jitter": 0},  # ms
    "bandwidth": {"rate": 0},  # KB/s
    "slow_close": {"delay": 0},  # ms
    "timeout": {"timeout": 0},  # ms; 0: bytes vanish until the toxic is removed
    "reset_peer": {"timeout": 0},  # ms
    "limit_data": {"bytes": 0},
    "slicer": {"average_size": 0, "size_variation": 0, "delay": 0},  # bytes, bytes, us
}
"""Known types, with the default of each attribute."""
QUEUE_BYTES = 16 << 20  # because a fast line with 100 ms holds that much
SLOW_QUEUE_BYTES = 64 << 10  # because a slow line must not hide seconds of traffic in its queue
RATE_UNIT = 1000  # bytes in a KB of Toxiproxy


class InvalidError(Exception):
    """The client asked for something that does not exist (status 400)."""


@dataclass(eq=False)
class Toxic:
    """One toxic of a proxy. Compared by identity: the same name again is another toxic."""

    name: str
    type: str
    stream: str
    toxicity: float
    attributes: dict[str, int]

    def shown(self) -> dict[str, object]:
        """As the API shows it."""
        return {
            "name": self.name,
            "type": self.type,
            "stream": self.stream,
            "toxicity": self.toxicity,
            "attributes": self.attributes,
        }

    def update(self, body: Mapping[str, object]) -> None:
        """Take new attributes or another toxicity. Raises InvalidError."""
        self.attributes = self.attributes | _attributes(self.type, body.get("attributes", {}))
        self.toxicity = _number(body.get("toxicity", self.toxicity), "toxicity")


def made(body: Mapping[str, object]) -> Toxic:
    """The toxic that a request describes. Raises InvalidError."""
    kind, stream = str(body.get("type", "")), str(body.get("stream") or "downstream")
    if kind not in ATTRIBUTES:
        raise InvalidError(f"invalid toxic type {kind!r}")
    if stream not in STREAMS:
        raise InvalidError("stream was invalid, can be either upstream or downstream")
    name = str(body.get("name") or f"{kind}_{stream}")
    attributes = dict(ATTRIBUTES[kind]) | _attributes(kind, body.get("attributes", {}))
    return Toxic(name, kind, stream, _number(body.get("toxicity", 1.0), "toxicity"), attributes)


def _attributes(kind: str, given: object) -> dict[str, int]:
    if not isinstance(given, dict):
        raise InvalidError("attributes must be an object")
    known = ATTRIBUTES[kind]
    return {key: int(_number(value, key)) for key, value in given.items() if key in known}


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidError(f"{name} must be a number")
    return float(value)


class Fate(Enum):
    """What becomes of a connection's direction."""

    PASS = auto()
    VANISH = auto()
    CLOSE = auto()
    RESET = auto()


@dataclass
class Course:
    """One direction of one connection.

    Attributes:
        toxics: of the proxy's direction; the list changes while the connection lives.
        dice: decides by toxicity who is hit, and rolls jitter.
        began: when the connection was made.
        passed: bytes let through so far.
    """

    toxics: Sequence[Toxic]
    dice: random.Random
    began: float
    passed: int = 0
    _hit: dict[Toxic, float] = field(default_factory=dict)
    _free_at: float = 0.0
    _due: float = 0.0

    def active(self, now: float) -> list[Toxic]:
        """The toxics that hit this connection; toxicity is rolled once for each."""
        for toxic in self.toxics:
            if toxic not in self._hit:
                self._hit[toxic] = now if self.dice.random() < toxic.toxicity else math.inf
        return [toxic for toxic in self.toxics if self._hit[toxic] < math.inf]

    def ends_at(self, now: float) -> tuple[float, Fate]:
        """When a toxic ends this connection, and how; never is infinite."""
        ends = [(math.inf, Fate.CLOSE)]
        for toxic in self.active(now):
            seconds = toxic.attributes.get("timeout", 0) / 1000
            if toxic.type == "timeout" and seconds:
                ends.append((self._hit[toxic] + seconds, Fate.CLOSE))
            elif toxic.type == "reset_peer":
                ends.append((self._hit[toxic] + seconds, Fate.RESET))
        return min(ends, key=lambda end: end[0])

    def take(self, piece: bytes, now: float) -> tuple[Fate, list[tuple[float, bytes]]]:
        """What becomes of a piece: fate, and what leaves when."""
        active = self.active(now)
        if any(toxic.type in ("timeout", "reset_peer") for toxic in active):
            return Fate.VANISH, []
        fate = Fate.PASS
        left = [toxic.attributes["bytes"] - self.passed for toxic in active if toxic.type == "limit_data"]
        if left and min(left) <= len(piece):
            piece, fate = piece[: max(min(left), 0)], Fate.CLOSE
        self.passed += len(piece)
        return fate, [(self._leave(len(part), now, active), part) for part in self._sliced(piece, active)]

    def _sliced(self, piece: bytes, active: Sequence[Toxic]) -> list[bytes]:
        for toxic in active:
            size, variation = (
                toxic.attributes.get("average_size", 0),
                toxic.attributes.get("size_variation", 0),
            )
            if toxic.type == "slicer" and size > 0:
                parts, at = [], 0
                while at < len(piece):
                    length = max(1, size + self.dice.randint(-variation, variation))
                    parts.append(piece[at : at + length])
                    at += length
                return parts
        return [piece] if piece else []

    def _leave(self, length: int, now: float, active: Sequence[Toxic]) -> float:
        """The moment at which a part leaves: never before the one before it."""
        due = now
        for toxic in active:
            given = toxic.attributes
            if toxic.type == "latency":
                jitter = given["jitter"]
                due += max(0.0, given["latency"] + self.dice.uniform(-jitter, jitter)) / 1000
            elif toxic.type == "slicer":
                due = max(due, self._due) + given["delay"] / 1e6
        for toxic in active:
            if toxic.type == "bandwidth":
                rate = max(toxic.attributes["rate"] * RATE_UNIT, 1)
                self._free_at = due = max(due, self._free_at) + length / rate
        self._due = max(self._due, due)
        return self._due

    def queue_bytes(self, now: float) -> int:
        """How much may wait to leave."""
        is_slow = any(toxic.type == "bandwidth" for toxic in self.active(now))
        return SLOW_QUEUE_BYTES if is_slow else QUEUE_BYTES

    def closing_delay(self, now: float) -> float:
        """Seconds between the end of one side and the other side's hearing of it."""
        return sum(t.attributes["delay"] for t in self.active(now) if t.type == "slow_close") / 1000
