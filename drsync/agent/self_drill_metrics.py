"""An agent's figures of its self-drills, read from how they go at the moment of a scrape."""

from collections.abc import Iterator

from drsync.adapters.metrics import catalog
from drsync.adapters.metrics.reading import Reading
from drsync.agent.self_drills import SelfDrills
from drsync.engine.member import Member
from drsync.ports.clock import Clock


def about_proofs(drills: SelfDrills | None, members: list[Member], clock: Clock) -> Iterator[Reading]:
    """Every group; ages by the wall clock, as labels are."""
    for member in members if drills is not None else ():
        assert drills is not None
        course, labels = drills.course(member), (member.copy.spec.name,)
        if course.proved_us:
            age_s = max(0.0, (clock.wall_us() - course.proved_us) / 1e6)
            yield Reading(catalog.PROVED_AGE, labels, age_s)
        yield Reading(catalog.POINTS_FAILING, labels, len(course.standing(member).failed))
        yield Reading(catalog.PROOFS_LATE, labels, course.is_late)
        yield Reading(catalog.SELF_DRILLS, labels, course.checks)
        yield Reading(catalog.SELF_DRILL_FAILURES, labels, course.failures)
        yield Reading(catalog.SELF_DRILL_SECONDS, labels, course.seconds)
