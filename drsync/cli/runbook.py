"""`drsync runbook`: every mistake before a bad night, and exactly what would be done in it."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from drsync.adapters.api_client.doc import Doc, Json
from drsync.cli.client import Client, run
from drsync.cli.errors import EXIT_CODES, USAGE
from drsync.cli.options import Talk, coordinator_options, json_option
from drsync.cli.output import BAD, GOOD, console, line, print_json, row, table
from drsync.cli.runbook_options import PARAM, read_params
from drsync.cli.text import clean, format_duration
from drsync.config.runbook import load_runbook, parse_runbook, read_bytes
from drsync.config.runbook_checks import check_cluster
from drsync.config.runbook_mistakes import RunbookError
from drsync.core.runbook import longest_budget, stages, undo_order
from drsync.model.errors import UsageError
from drsync.model.runbook import Do, Runbook, RunbookStep, RunMode

SUFFIXES = (".yaml", ".yml")


@click.group()
def runbook() -> None:
    """Check and show runbooks."""


@coordinator_options
@runbook.command("check", epilog=EXIT_CODES)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--cluster", is_flag=True, help="Ask the coordinator, too: are there such groups and centers?")
def check(files: tuple[Path, ...], cluster: bool) -> None:
    """Tell every mistake in the FILES (or folders) at once: file, line, column, and what to do.

    \b
    Examples:
      drsync runbook check runbooks/
      drsync runbook check orders.yaml --cluster
    """
    talk = Talk.here()
    known = run(_cluster(talk)) if cluster else None
    found = [_check(path, known) for path in _files(files)]
    if talk.as_json:
        print_json({"ok": all(one["ok"] for one in found), "files": found})
    else:
        for one in found:
            _show_checked(Doc(one))
    if not all(one["ok"] for one in found):
        click.get_current_context().exit(USAGE)


def _files(paths: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        inside = sorted(one for one in path.rglob("*") if one.suffix in SUFFIXES) if path.is_dir() else [path]
        if not inside:
            raise UsageError(f"there is no runbook in {path}", remedy=f"Their names end with {SUFFIXES[0]}.")
        found += inside
    return found


def _check(path: Path, known: "tuple[dict[str, Json], list[str]] | None") -> Json:
    try:
        book = load_runbook(path)
    except RunbookError as error:
        mistakes: list[Json] = [
            {
                "code": one.code,
                "line": one.spot.line,
                "column": one.spot.column,
                "path": one.path,
                "what": one.what,
                "remedy": one.remedy,
                "text": one.sentence(str(path)),
            }
            for one in error.mistakes
        ]
        return {"file": str(path), "ok": False, "mistakes": mistakes}
    wrong = check_cluster(book, *known) if known is not None else []
    unknown: list[Json] = [{"code": "unknown_name", "text": f"{path}: {text}"} for text in wrong]
    return {
        "file": str(path),
        "ok": not wrong,
        "mistakes": unknown,
        "name": book.name,
        "version": book.version,
        "digest": book.digest,
    }


def _show_checked(one: Doc) -> None:
    mistakes = one.docs("mistakes")
    for mistake in mistakes:
        line(mistake.text("text"))
    if mistakes:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        line(f"{one.text('file')}: {count}", BAD)
    else:
        line(f"{one.text('file')}: no mistakes ({one.text('name')}, version {one.text('version')})", GOOD)


async def _cluster(talk: Talk) -> tuple[dict[str, Json], list[str]]:
    """Volumes by group, and the centers, as the coordinator knows them."""
    async with Client(talk.coordinator, talk.token_file) as client:
        groups = await client.get("/v1/groups")
        status = await client.get("/v1/status")
    volumes: dict[str, Json] = {}
    for group in groups.docs("groups"):
        names: list[object] = [volume.text("name") for volume in group.docs("volumes")]
        volumes[group.text("name")] = {"volumes": names}
    return volumes, [name for name, _ in status.table("centers")]


@json_option
@runbook.command("show", epilog=EXIT_CODES)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--mode", type=click.Choice([mode.value for mode in RunMode]), help="Only this one. [default: all]"
)
@PARAM
def show(file: Path, mode: str | None, params: tuple[str, ...]) -> None:
    """The exact actions in order, what runs in parallel, times, and how it is undone.

    \b
    Examples:
      drsync runbook show runbooks/sqlite-service.yaml --mode drill
      drsync runbook show runbooks/sqlite-service.yaml --param port=9000 --json
    """
    book = parse_runbook(read_bytes(file), str(file), read_params(params) or None)
    modes = [RunMode(mode)] if mode else [one for one in RunMode if book.of_mode(one)]
    if Talk.here().as_json:
        print_json(_as_json(book, modes))
        return
    line(f"{book.name}, version {book.version}: {book.title}".rstrip(": "), "bold")
    line(f"  {book.digest}; plan {format_duration(book.rto_s)}")
    for one in modes:
        _show_mode(book, one)


def _show_mode(book: Runbook, mode: RunMode) -> None:
    steps = book.of_mode(mode)
    if not steps:
        line(f"mode {mode.value}: no step", "yellow")
        return
    here = {step.id for step in steps}
    seconds, path = longest_budget(steps)
    line()
    line(f"mode {mode.value}", "bold")
    shown = table([">stage", "step", "action", "at", ">timeout", ">budget", "on failure"])
    for n, stage in enumerate(stages(book, mode), start=1):
        for step in stage:
            budget = format_duration(step.budget_s) if step.budget_s is not None else "-"
            timeout = format_duration(step.timeout_s)
            row(shown, str(n), step.id, step.do.action.value, step.do.at, timeout, budget, _failure(step))
    console().print(shown)
    for step in (one for stage in stages(book, mode) for one in stage):
        for text in _details(step, here):
            line(f"  {step.id}: {text}")
    undone = " → ".join(step.id for step in undo_order(book, mode))
    when = (
        "at the end, and when a step fails" if mode is RunMode.DRILL else "when a step says on_failure: undo"
    )
    line(f"  undone {when}: {undone or 'nothing'}")
    budget = f"{format_duration(seconds)} of {format_duration(book.rto_s)}"
    line(f"  longest path {' → '.join(path) or '-'}: {budget}")


def _failure(step: RunbookStep) -> str:
    tries = f"{step.retries} retries, " if step.retries > 1 else "1 retry, " if step.retries else ""
    return f"{tries}{step.on_failure.value}"


def _details(step: RunbookStep, here: set[str]) -> Iterable[str]:
    values = _values(step.do)
    if values:
        yield values
    needs = [need.id for need in step.needs if need.id in here]
    if needs:
        yield f"needs {', '.join(needs)}"
    if step.check is not None:
        within = format_duration(step.check.within_s)
        yield f"checked by {step.check.probe.action.value} within {within}: {_values(step.check.probe)}"
    if step.undo is not None:
        yield f"undone by {step.undo.action.value}: {_values(step.undo)}".rstrip(": ")


def _values(do: Do) -> str:
    return clean(", ".join(f"{key} {_word(value)}" for key, value in do.values.items() if _is_said(value)))


def _is_said(value: object) -> bool:
    return value is not False and value not in ("", None, {}, [0])


def _word(value: object) -> str:
    if isinstance(value, list):
        return " ".join(str(one) for one in value)
    return str(dict(value)) if isinstance(value, Mapping) else str(value)


def _as_json(book: Runbook, modes: Iterable[RunMode]) -> Json:
    return {
        "name": book.name,
        "version": book.version,
        "digest": book.digest,
        "group": book.group,
        "rto_s": book.rto_s,
        "modes": {
            mode.value: {
                "stages": [[_step_json(step) for step in stage] for stage in stages(book, mode)],
                "undo": [step.id for step in undo_order(book, mode)],
                "longest_s": longest_budget(book.of_mode(mode))[0],
            }
            for mode in modes
        },
    }


def _step_json(step: RunbookStep) -> Json:
    return {
        "id": step.id,
        **_do_json(step.do),
        "needs": [need.id for need in step.needs],
        "timeout_s": step.timeout_s,
        "retries": step.retries,
        "retry_wait_s": step.retry_wait_s,
        "on_failure": step.on_failure.value,
        "budget_s": step.budget_s,
        "undo": _do_json(step.undo) if step.undo else None,
        "check": {**_do_json(step.check.probe), "within_s": step.check.within_s} if step.check else None,
    }


def _do_json(do: Do) -> Json:
    return {"action": do.action.value, "at": do.at, "with": dict(do.values)}
