"""The coordinator's figures: its status at the moment of a scrape, as numbers."""

from collections import Counter
from collections.abc import Callable, Iterator

from drsync import __version__
from drsync.adapters.metrics import catalog
from drsync.adapters.metrics.reading import Reading, make_registry
from drsync.adapters.metrics.server import MetricsServer
from drsync.core.star import Resyncable
from drsync.model.operation import OperationKind

Json = dict[str, object]
US = 1e6  # microseconds in a second


def server(status: Callable[[], Json], running: Callable[[], list[str]]) -> MetricsServer:
    """A server of these figures; not listening yet.

    Args:
        status: the document of ``GET /v1/status``.
        running: the kind of each operation under way.
    """
    registry, collector = make_registry(catalog.COORDINATOR)
    collector.add(lambda: [Reading(catalog.BUILD, (__version__, "coordinator", ""), 1)])
    collector.add(lambda: about_operations(running()))
    collector.add(lambda: about_status(status()))
    return MetricsServer(registry)


def about_operations(running: list[str]) -> Iterator[Reading]:
    """How many of each kind are under way."""
    found = Counter(running)
    for kind in OperationKind:
        yield Reading(catalog.RUNNING, (kind.value,), found[kind.value])


def about_status(status: Json) -> Iterator[Reading]:
    """Centers and groups."""
    for name, center in _table(status, "centers").items():
        yield Reading(catalog.AGENT_UP, (name,), bool(center.get("connected")))
    for name, group in _table(status, "groups").items():
        yield from _about_group(name, group)


def _about_group(name: str, group: Json) -> Iterator[Reading]:
    objectives, rto, service = (_doc(group, key) for key in ("objectives", "rto", "availability"))
    budget, used = _number(service, "budget_s"), _number(service, "used_s")
    figures: dict[catalog.Metric, float | None] = {
        catalog.READY: bool(group.get("ready")),
        catalog.TARGET: _number(objectives, "rpo_s"),
        catalog.RTO_TARGET: _number(objectives, "rto_s"),
        catalog.RTO_PREDICTED: _number(rto, "predicted_s"),
        catalog.AVAILABILITY_TARGET: _number(objectives, "availability"),
        catalog.BUDGET: budget,
        catalog.BUDGET_LEFT: None if budget is None or used is None else budget - used,
    }
    for metric, value in figures.items():
        if value is not None:
            yield Reading(metric, (name,), value)
    for center, copy in _table(group, "centers").items():
        yield Reading(catalog.ELSEWHERE, (name, center), center == group.get("owner"))
        actual, proved = _number(copy, "rpo_actual_s"), _number(copy, "rpo_proved_s")
        if actual is not None:
            yield Reading(catalog.RPO_ACTUAL, (name, center), actual)
        if proved is not None:
            yield Reading(catalog.RPO_PROVED, (name, center), proved)
        if _number(copy, "heard_s") is not None:
            yield from _about_trees(name, center, copy)
    yield from _about_drill(name, _doc(group, "last_drill"))
    yield from _about_pairs(name, group)


def _about_pairs(group: str, shown: Json) -> Iterator[Reading]:
    pairs = shown.get("star")
    for pair in pairs if isinstance(pairs, list) else ():
        one, other = sorted(pair["centers"])
        for how in Resyncable:
            labels = (group, one, other, how.value)
            yield Reading(catalog.RESYNCABLE, labels, pair["resyncable"] == how.value)


def _about_trees(group: str, center: str, copy: Json) -> Iterator[Reading]:
    """Of a center that has told about its copy."""
    for fileset, tree in _table(copy, "files").items():
        labels = (group, fileset, center)
        yield Reading(catalog.FILES_HELD_AT, labels, bool(tree.get("hold")))
        age = _number(tree, "rpo_s")
        if age is not None:
            yield Reading(catalog.FILES_RPO, labels, age)


def _about_drill(group: str, drill: Json) -> Iterator[Reading]:
    ended_us, rto_s = _number(drill, "ended_us"), _number(drill, "rto_s")
    if ended_us is None:
        return
    yield Reading(catalog.DRILL_PASSED, (group,), drill.get("verdict") == "passed")
    yield Reading(catalog.DRILL_AT, (group,), ended_us / US)
    if rto_s is not None:
        yield Reading(catalog.DRILL_RTO, (group,), rto_s)


def _doc(body: Json, key: str) -> Json:
    value = body.get(key)
    return value if isinstance(value, dict) else {}


def _table(body: Json, key: str) -> dict[str, Json]:
    return {name: value for name, value in _doc(body, key).items() if isinstance(value, dict)}


def _number(body: Json, key: str) -> float | None:
    value = body.get(key)
    return float(value) if isinstance(value, int | float) else None
