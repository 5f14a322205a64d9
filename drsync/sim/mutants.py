"""Wrong rules in the running daemons: each shipped decision replaced by a plausible mistake, one at a time.

The mistakes are those of the world in miniature. There a rule is an argument; here the function that the
engines call is replaced while a world runs. Engines call decisions through their modules, so that this works.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields

from drsync.sim import engine_mistakes, resync_mistakes
from drsync.sim.engine_mistakes import spoiled
from drsync.sim.miniature.mutants import MUTANTS as MISTAKES
from drsync.sim.miniature.rules import Rules

ENGINES = engine_mistakes.MISTAKES | resync_mistakes.MISTAKES

Decision = Callable[..., object]  # type: ignore[explicit-any]  # decisions of any shape


@dataclass(frozen=True, slots=True)
class Place:
    """Where the engines look a decision up: a name in a module."""

    module: str
    name: str


def _core(module: str, name: str) -> tuple[Place, ...]:
    return (Place(f"drsync.core.{module}", name),)


PLACES: dict[str, tuple[Place, ...]] = {
    "belongs": _core("lineage", "belongs"),
    "mint_generation": _core("lineage", "mint_generation"),
    "compare": _core("compare", "compare"),
    "is_droppable": _core("compare", "is_droppable"),
    "may_cut": _core("compare", "may_cut"),
    "group_log": (Place("drsync.engine.term", "GroupLog"),),
    "apply_bound": _core("group_log", "apply_bound"),
    "acknowledged": _core("group_log", "acknowledged"),
    "shrink": _core("ownership", "shrink"),
    "grow": _core("ownership", "grow"),
    "outcome": _core("ownership", "outcome"),
    "learned": _core("ownership", "learned"),
    "accepts": _core("ownership", "accepts"),
    "may_seal": _core("ownership", "may_seal"),
    "may_prepare": _core("ownership", "may_prepare"),
    "may_open": _core("ownership", "may_open"),
    "lease_started": (Place("drsync.core.lease.LeaseBook", "started"),),
    "may_go_on_without_store": _core("lease", "may_go_on_without_store"),
    "may_confirm": _core("lease", "may_confirm"),
    "keeps_confirmation": _core("lease", "bound_after_start"),
    "store_ready": _core("store_trust", "ready"),
    "regressed": (Place("drsync.adapters.sqlite.members", "regressed"),),
    "check_token": (Place("drsync.adapters.sqlite.members", "check_token"),),
    "plan_opening": _core("failover", "plan"),
    "plan_switchover": _core("switchover", "plan"),
}
"""Rule of the miniature -> where the daemons ask for it."""

ELSEWHERE = frozenset({"asked"})
"""Rules of the miniature that are no decision of their own in the daemons: `outcome` decides that as well."""


def _adapted(rule: str, mistake: Decision) -> Decision:
    """The mistake, called as the engines call the decision."""
    if rule == "may_confirm":
        return lambda word, epoch, *, is_checked: mistake(word, epoch, is_checked)
    if rule == "may_prepare":
        return lambda promised, epoch, follow: mistake(promised, epoch, follow, epoch - 1)
    if rule == "keeps_confirmation":
        return lambda bound, _now, _seconds, *, has_rebooted: bound if mistake() and not has_rebooted else 0.0
    if rule == "apply_bound":
        return lambda commit, durable, limit=None: (
            mistake(commit, durable) if limit is None else min(mistake(commit, durable), limit)
        )
    return mistake


def differences(rules: Rules) -> dict[str, Decision]:
    """The rules that are not the shipped ones."""
    shipped = Rules()
    return {
        field.name: getattr(rules, field.name)
        for field in fields(rules)
        if getattr(rules, field.name) is not getattr(shipped, field.name)
    }


def running_mutants() -> dict[str, str]:
    """Mistakes that can be made in the running daemons: name -> what is wrong."""
    decisions = {
        name: mutant.flaw
        for name, mutant in MISTAKES.items()
        if set(differences(mutant.rules)) <= set(PLACES) | ELSEWHERE
    }
    return decisions | {name: mistake.flaw for name, mistake in ENGINES.items()}


def _holder(place: Place) -> object:
    try:
        return importlib.import_module(place.module)
    except ModuleNotFoundError:
        module, _, name = place.module.rpartition(".")
        return getattr(importlib.import_module(module), name)


@contextmanager
def in_force(mutant: str | None) -> Iterator[None]:
    """Make a mistake for a while. Raises KeyError: there is no such mutant for running daemons."""
    if mutant is None:
        yield
        return
    if mutant not in running_mutants():
        raise KeyError(mutant)
    if mutant in ENGINES:
        with spoiled(ENGINES[mutant]):
            yield
        return
    with ExitStack() as stack:
        for rule, mistake in differences(MISTAKES[mutant].rules).items():
            for place in PLACES.get(rule, ()):
                stack.enter_context(_replaced(_holder(place), place.name, _adapted(rule, mistake)))
        yield


@contextmanager
def _replaced(holder: object, name: str, mistake: Decision) -> Iterator[None]:
    """Replace one name. While the mistake runs the shipped decision is in place: mistakes ask it, too."""
    shipped = vars(holder)[name] if isinstance(holder, type) else getattr(holder, name)
    if isinstance(mistake, type):
        setattr(holder, name, mistake)
    else:

        def mistaken(*args: object, **named: object) -> object:
            setattr(holder, name, shipped)
            try:
                return mistake(*args, **named)
            finally:
                setattr(holder, name, replacement)

        replacement: object = staticmethod(mistaken) if isinstance(holder, type) else mistaken
        setattr(holder, name, replacement)
    try:
        yield
    finally:
        setattr(holder, name, shipped)
