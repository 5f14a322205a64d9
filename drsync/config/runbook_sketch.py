"""A first look at a document that may be wrong: steps, edges and actions, as far as they can be read.

Checks between several keys look at this, so that they are made in the same run as checks of single keys.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from drsync.config.runbook_mistakes import Mistake, Place
from drsync.config.runbook_schema import PROBE_NAMES, VALUES, Section
from drsync.config.runbook_yaml import Tree
from drsync.core.runbook_refs import replaced
from drsync.model.runbook import TRAITS, Action, ParamKind, RunMode

SAMPLES: Mapping[ParamKind, object] = {
    ParamKind.STRING: "text",
    ParamKind.INTEGER: 1,
    ParamKind.BOOLEAN: True,
}
"""What a parameter without a default is taken for while a runbook is only checked."""
TYPES = {ParamKind.STRING: str, ParamKind.INTEGER: int, ParamKind.BOOLEAN: bool}


@dataclass(frozen=True, slots=True)
class Part:
    """Something with an action and parameters: a step, an undo, a check.

    Attributes:
        place: of the mapping that has the key ``with``.
        action: None when it cannot be told.
        values: as written, with the runbook's parameters replaced.
        schema: what the parameters must look like.
    """

    place: Place
    action: Action | None
    values: object
    schema: type[Section] | None
    at: str = ""


@dataclass(frozen=True, slots=True)
class StepSketch:
    """A step, as far as it can be read."""

    place: Place
    id: str
    needs: tuple[str, ...]
    modes: frozenset[RunMode]
    do: Part
    undo: Part | None
    check: Part | None
    raw: Mapping[str, object]

    @property
    def makes(self) -> bool:
        """Whether its action brings its own undo."""
        return self.do.action is not None and TRAITS[self.do.action].makes


@dataclass(frozen=True, slots=True)
class Sketch:
    """All steps that are mappings."""

    steps: tuple[StepSketch, ...] = ()

    @property
    def parts(self) -> Iterator[Part]:
        """Everything that has parameters."""
        for step in self.steps:
            yield from (part for part in (step.do, step.undo, step.check) if part is not None)

    def by_id(self) -> dict[str, StepSketch]:
        """The first step of each id."""
        found: dict[str, StepSketch] = {}
        for step in self.steps:
            found.setdefault(step.id, step)
        return found


@dataclass(slots=True)
class _Params:
    known: dict[str, object] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)


def bound_params(
    tree: Tree, document: Mapping[str, object], given: Mapping[str, object] | None
) -> tuple[dict[str, object], list[Mistake]]:
    """The runbook's parameters with the values that are in force."""
    found = _Params()
    spec = document.get("spec")
    declared = spec.get("params") if isinstance(spec, Mapping) else None
    place: Place = ("spec", "params")
    for name, entry in declared.items() if isinstance(declared, Mapping) else ():
        if isinstance(entry, Mapping):
            _bind(found, tree, (*place, str(name)), entry, given)
    for name in given or {}:
        if name not in found.known:
            what = f"there is no parameter {name!r}"
            known = ", ".join(sorted(found.known)) or "none"
            found.mistakes.append(
                Mistake(
                    "unknown_param", tree.spot(place), place, what, f"Parameters of this runbook: {known}."
                )
            )
    return found.known, found.mistakes


def _bind(
    found: _Params,
    tree: Tree,
    place: Place,
    entry: Mapping[object, object],
    given: Mapping[str, object] | None,
) -> None:
    name = str(place[-1])
    kinds = {kind.value: kind for kind in ParamKind}
    kind = kinds.get(str(entry.get("type")))
    if kind is None:
        found.known[name] = entry.get("default")
        return
    default = entry.get("default")
    value = default if given is None or name not in given else _read(given[name], kind)
    if value is None:
        value = SAMPLES[kind]
        if given is not None:
            what = f"the parameter {name!r} has no default"
            remedy = f"Give it: --param {name}=VALUE."
            found.mistakes.append(Mistake("missing_param", tree.spot(place), place, what, remedy))
    if not _fits(value, kind):
        what = f"{value!r} is no {kind.value}"
        remedy = f"Write a value of type {kind.value}."
        found.mistakes.append(Mistake("wrong_type", tree.spot((*place, "default")), place, what, remedy))
        value = SAMPLES[kind]
    found.known[name] = value


def _fits(value: object, kind: ParamKind) -> bool:
    is_boolean = isinstance(value, bool)
    return isinstance(value, TYPES[kind]) and is_boolean == (kind is ParamKind.BOOLEAN)


def _read(value: object, kind: ParamKind) -> object:
    """A value given on a command line is text; anything else is taken as it is."""
    if not isinstance(value, str):
        return value
    if kind is ParamKind.INTEGER and value.removeprefix("-").isdecimal() and value.isascii():
        return int(value)
    if kind is ParamKind.BOOLEAN and value in ("true", "false"):
        return value == "true"
    return value


def sketch(document: Mapping[str, object], known: Mapping[str, object]) -> Sketch:
    """The steps of a document."""
    spec = document.get("spec")
    steps = spec.get("steps") if isinstance(spec, Mapping) else None
    if not isinstance(steps, list):
        return Sketch()
    return Sketch(
        tuple(
            _step(("spec", "steps", index), raw, known)
            for index, raw in enumerate(steps)
            if isinstance(raw, Mapping)
        )
    )


def _step(place: Place, raw: Mapping[str, object], known: Mapping[str, object]) -> StepSketch:
    needs, undo, check = raw.get("needs"), raw.get("undo"), raw.get("check")
    do = _part(place, raw, known)
    return StepSketch(
        place=place,
        id=str(raw.get("id", "")),
        needs=tuple(str(need) for need in needs) if isinstance(needs, list) else (),
        modes=_modes(raw.get("modes"), do.action),
        do=do,
        undo=_part((*place, "undo"), undo, known) if isinstance(undo, Mapping) else None,
        check=_probe((*place, "check"), check, known) if isinstance(check, Mapping) else None,
        raw=raw,
    )


def _modes(written: object, action: Action | None) -> frozenset[RunMode]:
    words = {mode.value: mode for mode in RunMode}
    if isinstance(written, list):
        return frozenset(words[word] for word in written if isinstance(word, str) and word in words)
    return TRAITS[action].modes if action is not None else frozenset(RunMode)


def _part(place: Place, raw: Mapping[str, object], known: Mapping[str, object]) -> Part:
    actions = {action.value: action for action in Action}
    action = actions.get(str(raw.get("action")))
    schema = VALUES[action] if action is not None else None
    return Part(place, action, replaced(raw.get("with", {}), known), schema, str(raw.get("at", "target")))


def _probe(place: Place, raw: Mapping[str, object], known: Mapping[str, object]) -> Part:
    action = PROBE_NAMES.get(str(raw.get("probe")))
    schema = VALUES[action] if action is not None else None
    return Part(place, action, replaced(raw.get("with", {}), known), schema)
