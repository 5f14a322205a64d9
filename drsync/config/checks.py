"""Mistakes that only show between two keys.

They look at the raw document, so that they are found in the same run as mistakes in single keys; what has the
wrong shape is left to the schema.
"""

from collections.abc import Iterator, Mapping

from drsync.config.problems import MistakeError, nearest
from drsync.config.quantities import format_duration, parse_duration, parse_size
from drsync.config.toml_lines import Place
from drsync.core.link import heartbeat_s
from drsync.model.group import Failover, GroupPolicy, Mode
from drsync.model.self_drill import Check

Document = Mapping[str, object]
SHOWN_MAX = 40  # because keys are long and a message is one line
HEARTBEATS_MISSED = 2  # because one that is late is no sign of anything

Finding = tuple[Place, str, str]
"""Where, what is wrong, and the nearest correct value (may be empty)."""


def check_agent(document: Document) -> Iterator[Finding]:
    """An agent does not dial itself, and every key proves one process only."""
    peers = _table(document, "peers")
    me = _table(document, "center").get("name")
    if isinstance(me, str) and me in peers:
        yield ("peers", me), "is this center itself; list only the others", ""
    addresses = _values(peers, "peers", "address")
    own = _table(document, "ssh").get("listen")
    for place, address in addresses:
        if address == own:
            yield place, f"{address} is where this agent itself listens", ""
    yield from _twice([*addresses, *_of(document, "coordinator", "address")])
    yield from _twice([*_values(peers, "peers", "client_key"), *_of(document, "coordinator", "client_key")])


def check_coordinator(document: Document) -> Iterator[Finding]:
    """Every agent has a key and a designation of its own."""
    agents = _table(document, "agents")
    yield from _twice(_values(agents, "agents", "client_key"))
    yield from _twice(_values(agents, "agents", "designation"))


def check_group(document: Document) -> Iterator[Finding]:
    """Members and volumes are named once, and the preferred owner is a member."""
    members = document.get("members")
    if isinstance(members, list):
        yield from _twice([(("members", index), name) for index, name in enumerate(members)])
        owner = document.get("preferred_owner")
        if isinstance(owner, str) and owner not in members:
            names = [name for name in members if isinstance(name, str)]
            yield (
                ("preferred_owner",),
                f"{owner!r} is not one of the members ({', '.join(names)})",
                nearest(owner, names),
            )
    for what in ("volumes", "filesets"):
        listed = document.get(what)
        if isinstance(listed, list):
            yield from _twice(
                [((what, index, "name"), entry.get("name")) for index, entry in _entries(listed)]
            )
    if not document.get("volumes") and not document.get("filesets"):
        yield ("volumes",), "a group protects something: at least one of [[volumes]] and [[filesets]]", ""
    yield from _check_roots(document)
    yield from _check_failover(_table(document, "policy"))
    yield from _check_retention(_table(document, "policy"))
    yield from _check_self_drill(_table(_table(document, "policy"), "self_drill"))
    yield from _check_consistency(_table(_table(document, "policy"), "consistency"))


def _check_failover(policy: Document) -> Iterator[Finding]:
    """Losing an owner is judged by times that fit each other, and somebody may take over."""
    usual = GroupPolicy()
    lease, detect = _seconds(policy, "lease", usual.lease_s), _seconds(policy, "detect", usual.detect_s)
    beats_s = HEARTBEATS_MISSED * heartbeat_s(lease)
    if detect < beats_s:
        what = f"{format_duration(detect)} is less than {HEARTBEATS_MISSED} heartbeats of this lease take"
        yield ("policy", "detect"), f"{what} ({format_duration(beats_s)})", ""
    outage_s = lease + detect
    if _seconds(policy, "anti_flap", usual.anti_flap_s) < outage_s:
        what = "is less than lease and detect together: one outage could move the group twice"
        yield ("policy", "anti_flap"), f"{what} ({format_duration(outage_s)})", ""
    mode = policy.get("mode", usual.mode.value)
    if policy.get("failover") == Failover.AUTOMATIC and mode in (Mode.ASYNC, Mode.SYNC_STRICT):
        why = "nobody is in sync who could take over" if mode == Mode.ASYNC else "it waits for its mate"
        yield ("policy", "failover"), f"a group of mode {mode} is for a person: without its owner {why}", ""


def _check_retention(policy: Document) -> Iterator[Finding]:
    """People are told before the quota is reached, and a full journal leaves no more than there is."""
    usual = GroupPolicy()
    window_s = _seconds(policy, "window", usual.window_s)
    if _seconds(policy, "window_floor", usual.window_floor_s) > window_s:
        yield ("policy", "window_floor"), f"is longer than window ({format_duration(window_s)})", ""
    quota = _bytes(policy, "quota", usual.journal_quota_bytes)
    if _bytes(policy, "soft_quota", 0) > quota:
        yield ("policy", "soft_quota"), f"is more than quota ({quota >> 20} MiB)", ""


def _check_self_drill(policy: Document) -> Iterator[Finding]:
    """A program is named where one is to be run, and nowhere else; nobody waits for what is never done."""
    check, program = policy.get("check", Check.HASH.value), policy.get("program")
    if check == Check.PROGRAM and not program:
        yield ("policy", "self_drill", "program"), 'is missing: check = "program" runs one', ""
    if check != Check.PROGRAM and program:
        what = f'is not run: check is "{check}", not "program"'
        yield ("policy", "self_drill", "program"), what, ""
    if check == Check.NONE and _seconds(policy, "max_age", 0.0):
        what = 'nothing gets proved: check is "none"'
        yield ("policy", "self_drill", "max_age"), what, ""


def _check_consistency(policy: Document) -> Iterator[Finding]:
    """Whoever wants such points says how, and nothing is thawed that was never frozen."""
    after = policy.get("after")
    for index, step in _entries(after if isinstance(after, list) else []):
        if "fsfreeze" in step:
            what = "is for before: what was frozen is thawed by itself"
            yield ("policy", "consistency", "after", index), what, ""
    for key in ("every", "max_age"):
        if _seconds(policy, key, 0.0) and not policy.get("before"):
            what = "nothing makes the application quiet: before has no steps"
            yield ("policy", "consistency", key), what, ""


def _bytes(table: Document, key: str, usual: int) -> int:
    """A size; what is no size is left to the schema."""
    value = table.get(key)
    try:
        return parse_size(value) if isinstance(value, str) else usual
    except MistakeError:
        return usual


def _seconds(table: Document, key: str, usual: float) -> float:
    """A duration; what is no duration is left to the schema."""
    value = table.get(key)
    try:
        return parse_duration(value) if isinstance(value, str) else usual
    except MistakeError:
        return usual


def _check_roots(document: Document) -> Iterator[Finding]:
    """Roots are given for members, and no center has two trees in one place."""
    listed, members = document.get("filesets"), document.get("members")
    if not isinstance(listed, list) or not isinstance(members, list):
        return
    places: list[tuple[Place, object]] = []
    for index, entry in _entries(listed):
        for center, root in _table(entry, "roots").items():
            place: Place = ("filesets", index, "roots", center)
            if center not in members:
                yield place, f"{center!r} is not one of the members", nearest(center, map(str, members))
            places.append((place, f"{root} at {center}"))
    yield from _twice(places)


def _entries(volumes: list[object]) -> Iterator[tuple[int, Document]]:
    for index, entry in enumerate(volumes):
        if isinstance(entry, Mapping):
            yield index, entry


def _table(document: Document, key: str) -> Document:
    value = document.get(key)
    return value if isinstance(value, Mapping) else {}


def _of(document: Document, section: str, key: str) -> list[tuple[Place, object]]:
    value = _table(document, section).get(key)
    return [] if value is None else [((section, key), value)]


def _values(tables: Document, section: str, key: str) -> list[tuple[Place, object]]:
    found = [((section, name, key), _table(tables, name).get(key)) for name in tables]
    return [(place, value) for place, value in found if value is not None]


def _twice(values: list[tuple[Place, object]]) -> Iterator[Finding]:
    """Texts that appear more than once, at their later places."""
    seen: dict[str, Place] = {}
    for place, value in values:
        if not isinstance(value, str):
            continue
        first = seen.setdefault(value, place)
        if first != place:
            yield place, f"{_short(value)} is already {show(first)}", ""


def _short(value: str) -> str:
    return repr(value) if len(value) <= SHOWN_MAX else repr(value[:SHOWN_MAX] + "…")


def show(place: Place) -> str:
    """A place as people write it: ``volumes[1].size``."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
