"""Mistakes in a runbook that only show between two keys: ids, edges, modes, budgets, references."""

from collections.abc import Iterator, Mapping

from drsync.config.problems import MistakeError, nearest
from drsync.config.quantities import format_duration, parse_duration
from drsync.config.runbook_mistakes import Mistake, Place
from drsync.config.runbook_schema import AGENT_TIMEOUT_MAX_S
from drsync.config.runbook_sketch import Part, Sketch, StepSketch
from drsync.config.runbook_yaml import Tree
from drsync.core.runbook import longest_budget
from drsync.core.runbook_refs import references
from drsync.model.runbook import (
    SOURCE,
    TARGET,
    TRAITS,
    Action,
    Do,
    Need,
    OnFailure,
    Runbook,
    RunbookStep,
    RunMode,
)


def check_document(
    tree: Tree, document: Mapping[str, object], found: Sketch, known: Mapping[str, object]
) -> Iterator[Mistake]:
    """Everything that is wrong between keys."""
    yield from _ids(tree, found)
    yield from _edges(tree, found)
    yield from _cycles(tree, found)
    yield from _modes(tree, found)
    yield from _undo(tree, found)
    yield from _undo_actions(tree, found)
    yield from _timeouts(tree, found)
    yield from _references(tree, found, known)
    yield from _services(tree, found)
    yield from _budgets(tree, document, found)


def check_cluster(book: Runbook, groups: Mapping[str, Mapping[str, object]], centers: list[str]) -> list[str]:
    """What a runbook names that this cluster does not have; sentences.

    Args:
        book: the runbook.
        groups: volumes (a list of names under ``volumes``) by name of the group.
        centers: names.
    """
    wrong: list[str] = []
    if book.group and book.group not in groups:
        wrong.append(f"spec.group: there is no group {book.group!r}. {_one_of(book.group, list(groups))}")
    for index, step in enumerate(book.steps):
        for part in (step.do, step.undo):
            if part is not None and part.at not in (TARGET, SOURCE, *centers):
                said = f"spec.steps[{index}].at: there is no center {part.at!r}."
                wrong.append(f"{said} {_one_of(part.at, [TARGET, SOURCE, *centers])}")
        wrong += _volume(book, index, step.do, groups)
    return wrong


def _volume(book: Runbook, index: int, do: Do, groups: Mapping[str, Mapping[str, object]]) -> list[str]:
    group, wanted = groups.get(book.group), do.values.get("volume")
    volumes = group.get("volumes") if group is not None else None
    if not isinstance(volumes, list) or wanted is None or wanted in volumes:
        return []
    said = f"spec.steps[{index}].with.volume: group {book.group} has no volume {wanted!r}."
    return [f"{said} {_one_of(str(wanted), [str(name) for name in volumes])}"]


def _one_of(word: str, known: list[str]) -> str:
    close = nearest(word, known)
    return f"Did you mean {close}?" if close else f"Known: {', '.join(known) or 'none'}."


# --- ids and edges


def _ids(tree: Tree, found: Sketch) -> Iterator[Mistake]:
    first: dict[str, StepSketch] = {}
    for step in found.steps:
        if not step.id:
            continue
        other = first.setdefault(step.id, step)
        if other is not step:
            place = (*step.place, "id")
            line = tree.spot((*other.place, "id")).line
            what = f"{step.id!r} is already the id of the step in line {line}"
            yield Mistake("duplicate_id", tree.spot(place), place, what, "Give each step an id of its own.")


def _edges(tree: Tree, found: Sketch) -> Iterator[Mistake]:
    by_id = found.by_id()
    for step in found.steps:
        for index, need in enumerate(step.needs):
            place = (*step.place, "needs", index)
            other = by_id.get(need.removesuffix("?"))
            if other is None:
                what = f"there is no step {need.removesuffix('?')!r}"
                close = nearest(need.removesuffix("?"), by_id)
                remedy = f"Did you mean {close}?" if close else "Name a step of this runbook, or remove it."
                yield Mistake("missing_need", tree.spot(place), place, what, remedy)
            elif not need.endswith("?") and step.modes - other.modes:
                left = ", ".join(sorted(step.modes - other.modes))
                what = f"{need} takes no part in {left}, in which {step.id} does"
                remedy = f'Write "{need}?" if it may be missing there.'
                yield Mistake("need_not_in_mode", tree.spot(place), place, what, remedy)


def _cycles(tree: Tree, found: Sketch) -> Iterator[Mistake]:
    """Each cycle once, at the first of its steps in the file."""
    by_id = found.by_id()
    seen: set[str] = set()
    for step in found.steps:
        path = _cycle(by_id, step.id) if step.id not in seen else []
        if path:
            seen.update(path)
            place = (*step.place, "needs")
            what = f"a cycle: {' needs '.join([*path, path[0]])}"
            yield Mistake("cycle", tree.spot(place), place, what, "Remove one of these needs.")


def _cycle(by_id: Mapping[str, StepSketch], start: str) -> list[str]:
    """A way from `start` back to itself; without recursion, because a file may hold a long chain."""
    came_from: dict[str, str] = {}
    queue = [start]
    for current in queue:
        step = by_id.get(current)
        for need in step.needs if step is not None else ():
            name = need.removesuffix("?")
            if name == start:
                path = [current]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return path[::-1]
            if name in by_id and name not in came_from:
                came_from[name] = current
                queue.append(name)
    return []


def _ancestors(by_id: Mapping[str, StepSketch], step: StepSketch) -> set[str]:
    found: set[str] = set()
    queue = [step]
    for current in queue:
        for need in current.needs:
            name = need.removesuffix("?")
            if name in by_id and name not in found:
                found.add(name)
                queue.append(by_id[name])
    return found


# --- modes, undo, limits


def _modes(tree: Tree, found: Sketch) -> Iterator[Mistake]:
    for step in found.steps:
        action = step.do.action
        written = step.raw.get("modes")
        if action is None or not isinstance(written, list):
            continue
        wrong = step.modes - TRAITS[action].modes
        if wrong:
            place = (*step.place, "modes")
            allowed = ", ".join(sorted(TRAITS[action].modes))
            what = f"{action.value} takes no part in {', '.join(sorted(wrong))}"
            yield Mistake("wrong_mode", tree.spot(place), place, what, f"It belongs to {allowed}.")


def _undo(tree: Tree, found: Sketch) -> Iterator[Mistake]:
    by_id = found.by_id()
    for step in found.steps:
        if step.raw.get("on_failure") != OnFailure.UNDO.value:
            continue
        before = [by_id[name] for name in _ancestors(by_id, step)]
        if any(one.undo is not None or "undo" in one.raw or one.makes for one in (step, *before)):
            continue
        place = (*step.place, "on_failure")
        what = f"neither {step.id} nor a step before it can be undone"
        yield Mistake("nothing_to_undo", tree.spot(place), place, what, "Give a step an undo, or use halt.")


def _undo_actions(tree: Tree, found: Sketch) -> Iterator[Mistake]:
    """What the coordinator's own procedures do is taken back by them, not by an undo."""
    for step in found.steps:
        action = step.undo.action if step.undo is not None else None
        if action is not None and not TRAITS[action].by_agent:
            place = (*step.place, "undo", "action")
            what = f"{action.value} undoes nothing"
            remedy = "Use an action of an agent, for example service.stop or probe.command."
            yield Mistake("unknown_action", tree.spot(place), place, what, remedy)


def _timeouts(tree: Tree, found: Sketch) -> Iterator[Mistake]:
    for step in found.steps:
        action = step.do.action
        if action is None or not TRAITS[action].by_agent:
            continue
        seconds = _seconds(step.raw.get("timeout"))
        if seconds is not None and seconds > AGENT_TIMEOUT_MAX_S:
            place = (*step.place, "timeout")
            most = format_duration(AGENT_TIMEOUT_MAX_S)
            what = f"an agent performs {action.value} within {most}, or not at all"
            yield Mistake("limit", tree.spot(place), place, what, "Use a shorter one, and probe for the end.")


def _seconds(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        return parse_duration(value)
    except MistakeError:
        return None


# --- references


def _references(tree: Tree, found: Sketch, known: Mapping[str, object]) -> Iterator[Mistake]:
    by_id = found.by_id()
    for step in found.steps:
        before = {name: by_id[name] for name in _ancestors(by_id, step)}
        for part, seen in ((step.do, before), (step.undo, {**before, step.id: step})):
            if part is not None:
                yield from _unknown(tree, part, seen, known)
        if step.check is not None:
            yield from _unknown(tree, step.check, {**before, step.id: step}, known)


def _unknown(
    tree: Tree, part: Part, before: Mapping[str, StepSketch], known: Mapping[str, object]
) -> Iterator[Mistake]:
    outputs = {
        f"{name}.{output}"
        for name, step in before.items()
        if step.do.action is not None
        for output in TRAITS[step.do.action].outputs
    }
    for place, name in _places(part.values, (*part.place, "with")):
        if name in outputs:
            continue
        what = f"{{{{ {name} }}}} is neither a parameter nor an output of a step that comes before"
        words = sorted({*known, *outputs})
        close = nearest(name, words)
        remedy = f"Did you mean {close}?" if close else f"Known here: {', '.join(words) or 'nothing'}."
        yield Mistake("unknown_reference", tree.spot(place), place, what, remedy)


def _places(value: object, place: Place) -> Iterator[tuple[Place, str]]:
    """Each reference with the innermost place that holds it."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _places(inner, (*place, str(key)))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _places(inner, (*place, index))
    else:
        yield from ((place, name) for name in references(value))


def _services(tree: Tree, found: Sketch) -> Iterator[Mistake]:
    by_id = found.by_id()
    services = [name for name, step in by_id.items() if step.do.action is Action.SERVICE_START]
    for part in found.parts:
        if part.action is not Action.SERVICE_STOP or not isinstance(part.values, Mapping):
            continue
        service = part.values.get("service")
        if isinstance(service, str) and service not in services:
            place = (*part.place, "with", "service")
            what = f"no step {service!r} starts a service"
            close = nearest(service, services)
            remedy = f"Did you mean {close}?" if close else f"Known: {', '.join(services) or 'none'}."
            yield Mistake("missing_need", tree.spot(place), place, what, remedy)


# --- budgets


def _budgets(tree: Tree, document: Mapping[str, object], found: Sketch) -> Iterator[Mistake]:
    spec = document.get("spec")
    rto = _seconds(spec.get("rto")) if isinstance(spec, Mapping) else None
    if rto is None:
        return
    for mode in RunMode:
        steps = [_budgeted(step) for step in found.steps if mode in step.modes]
        seconds, path = longest_budget(steps)
        if seconds > rto:
            place = ("spec", "rto")
            said = f"in mode {mode.value} the budgets of {' + '.join(path)} are {format_duration(seconds)}"
            what = f"{said}, which is more than the plan's {format_duration(rto)}"
            yield Mistake("budget", tree.spot(place), place, what, "Raise rto, or lower a budget.")
            return


def _budgeted(step: StepSketch) -> RunbookStep:
    needs = tuple(Need(need.removesuffix("?")) for need in step.needs)
    do = Do(step.do.action or Action.COMMAND)
    return RunbookStep(step.id, do, step.modes, needs, budget_s=_seconds(step.raw.get("budget")))
