"""The table of failure rates and repair times: its form, the shipped one, and a user's own over it.

What the figures are and where they come from stands in `rates.yaml` beside this file; here is only its form.
"""

from enum import StrEnum
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from drsync.config.problems import ConfigError, MistakeError, Problem, nearest
from drsync.config.quantities import parse_duration
from drsync.config.runbook_yaml import Tree, UnreadableError, read
from drsync.model.errors import UsageError

PER_YEAR_MAX = 1000.0  # because a thing that fails three times a day is no thing to build on, but a slip
SPREAD_MAX = 3.0  # because beyond it one repair in a thousand takes a thousand times the median
FILE_BYTES_MAX = 1 << 20  # because a table has a hundred rows, and a wrong path may name a disk image
COPIES_MAX = 100  # because no center's copy needs more disks, and no line has more paths


class Basis(StrEnum):
    """How well founded a figure is."""

    PUBLISHED = "published"
    DERIVED = "derived"
    MEASURED = "measured"
    ASSUMPTION = "assumption"
    OWN = "own"  # of the user's table


def _seconds(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else _refuse(value)


def _refuse(value: object) -> object:
    if value == 0:
        return 0.0
    raise MistakeError('must be a duration with a unit, for example "4h"')


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]
Length = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]
PerYear = Annotated[float, Field(ge=0, le=PER_YEAR_MAX, allow_inf_nan=False, strict=True)]
Spread = Annotated[float, Field(ge=0, le=SPREAD_MAX, allow_inf_nan=False, strict=True)]
Chance = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]
Count = Annotated[int, Field(ge=1, le=COPIES_MAX, strict=True)]


class Row(BaseModel):
    """What every row says of itself: how well founded it is, by whom, and what was made of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    basis: Basis = Basis.OWN
    source: str = "the user's table"
    year: int | None = None
    note: str = ""


class Fault(Row):
    """Something that fails by itself: how often each one does in a year, and the mean time to repair it."""

    per_year: PerYear
    repair: Length
    spread: Spread = 1.0


class Delay(Row):
    """How long people take."""

    mean: Seconds
    spread: Spread = 1.0


class Plan(Row):
    """Something that is done on purpose, so and so often."""

    per_year: PerYear
    lasts: Length


class Step(Row):
    """How long something takes, always."""

    lasts: Seconds


class Odds(Row):
    """How likely something is."""

    value: Chance


class Faults(BaseModel):
    """All that fails."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    agent_crash: Fault
    agent_hang: Fault
    stall: Fault
    host_reboot: Fault
    host_failure: Fault
    disk: Fault
    center_power: Fault
    center_network: Fault
    center_destroyed: Fault
    city_blackout: Fault
    city_disaster: Fault
    line_same_city: Fault
    line_long: Fault
    line_equipment: Fault
    software_everywhere: Fault
    coordinator_crash: Fault
    coordinator_host: Fault
    operator_mistake: Fault
    latent_fault: Fault


class People(BaseModel):
    """The delays of a failover that a person asks for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alarm: Delay
    answer: Delay
    decide: Delay
    decide_loss: Delay


class Planned(BaseModel):
    """What is done on purpose."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    maintenance: Plan
    drill: Plan
    failback_after: Step


class Chances(BaseModel):
    """What goes wrong with a certain likelihood."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    generator_fails: Odds
    disaster_destroys: Odds
    force_by_mistake: Odds


class Steps(BaseModel):
    """What drsync itself takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: Step
    open: Step
    switchover: Step
    resync: Step
    store_rebuild: Step
    restore: Step


class Model(Row):
    """Plain figures of the installation and of the group's policy."""

    disks: Count = 1
    paths: Count = 2
    lag: Seconds = 1.0
    unsynced: Seconds = 0.3
    catch_up: Annotated[float, Field(gt=1, le=PER_YEAR_MAX, allow_inf_nan=False)] = 4.0
    lease: Length = 10.0
    sync_timeout: Length = 5.0
    anti_flap: Seconds = 600.0


class Rates(BaseModel):
    """The whole table. Times in seconds, rates in events a year."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    faults: Faults
    people: People
    planned: Planned
    chances: Chances
    steps: Steps
    model: Model


@cache
def template() -> str:
    """The shipped table as text, with its sources and reasons."""
    return files("drsync.sim.availability").joinpath("rates.yaml").read_text("utf-8")


@cache
def shipped() -> Rates:
    """The shipped table."""
    return parse(template(), "rates.yaml")


def load(path: Path) -> Rates:
    """A user's table over the shipped one.

    Raises:
        UsageError: it cannot be read.
        ConfigError: its mistakes, all of them.
    """
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise UsageError(f"{path} is too large to be a table of rates", remedy="Name the right file.")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read {path}: {error}", remedy="See drsync sim availability --rates-template."
        ) from error
    return parse(text, str(path), over=template())


def parse(text: str, source: str, over: str = "") -> Rates:
    """The table in `text`, over the one in `over` (row by row, figure by figure).

    Raises:
        ConfigError: not YAML, or all that is wrong with it.
    """
    tree = _tree(text, source)
    problems = [Problem(m.path, m.what, m.spot.line) for m in tree.mistakes]
    value = tree.value if tree.value is not None else {}
    if not isinstance(value, dict):
        raise ConfigError(source, [*problems, Problem("", "must be a mapping of sections", 1)])
    merged: object = value
    if over:
        merged = _merged(_tree(over, "rates.yaml").value, value)
    try:
        rates = Rates.model_validate(merged)
    except ValidationError as error:
        problems += [_problem(tree, detail) for detail in error.errors(include_url=False)]
    else:
        if not problems:
            return rates
    raise ConfigError(source, problems)


def _tree(text: str, source: str) -> Tree:
    try:
        return read(text)
    except UnreadableError as error:
        mistake = error.mistake
        raise ConfigError(source, [Problem(mistake.path, mistake.what, mistake.spot.line)]) from None


def _merged(base: object, over: object) -> object:
    """`over` wins. A row that the user touched no longer leans on the shipped source."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    merged = {key: value for key, value in base.items() if key not in _ABOUT or not _is_row(base)}
    for key, value in over.items():
        merged[key] = _merged(base[key], value) if key in base and key not in _ABOUT else value
    return merged


_ABOUT = frozenset(("basis", "source", "year", "note"))


def _is_row(section: dict[object, object]) -> bool:
    return "basis" in section


def _problem(tree: Tree, detail: ErrorDetails) -> Problem:
    place = detail["loc"]
    path = ".".join(str(step) for step in place)
    line = tree.spot(place, of_key=True).line if place else 1
    match detail["type"]:
        case "extra_forbidden":
            return Problem(path, "is not a known key here", line, nearest(str(place[-1]), _known(place[:-1])))
        case "missing":
            return Problem(path, "is missing", line)
        case "enum":
            known = [basis.value for basis in Basis]
            value = str(detail["input"])
            return Problem(path, f"{value!r} is not one of {', '.join(known)}", line, nearest(value, known))
        case "model_type" | "model_attributes_type" | "dict_type":
            return Problem(path, "must be a mapping", line)
        case _:
            return Problem(path, detail["msg"].removeprefix("Value error, "), line)


def _known(place: tuple[int | str, ...]) -> list[str]:
    section: type[BaseModel] | None = Rates
    for step in place:
        field = section.model_fields.get(str(step)) if section else None
        kind = field.annotation if field else None
        section = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
    return list(section.model_fields) if section else []
