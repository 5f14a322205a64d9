"""The shape of a runbook file, and the parameters of each action; `model.runbook` says what they mean."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, WithJsonSchema

from drsync.config.fields import check_duration, check_name
from drsync.config.problems import MistakeError
from drsync.model.runbook import (
    API_VERSION,
    FILESYSTEMS,
    FORBIDDEN_VARIABLES,
    KIND,
    Action,
    OnFailure,
    ParamKind,
    RunMode,
)

STEPS_MAX = 100  # because a person must be able to follow it at night
NEEDS_MAX = 32
ARGUMENTS_MAX = 64
ARGUMENT_CHARS_MAX = 4096  # because an argument is a path or an option, and text belongs into a file
ENVIRONMENT_MAX = 32
RETRIES_MAX = 10  # because what fails ten times will fail again, and the plan's time goes by
TIMEOUT_MIN_S, TIMEOUT_MAX_S = 0.1, 3600.0
AGENT_TIMEOUT_MAX_S = 240.0  # because an agent gives up on any request after 300 s
RTO_MAX_S = 24 * 3600.0
TITLE_CHARS_MAX = 2000  # because a title is a sentence or two, and explanations belong into comments

_ID = re.compile(r"[a-z][a-z0-9-]{0,23}")
_NEED = re.compile(r"[a-z][a-z0-9-]{0,23}\??")
_ENV = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


def _id(value: object) -> str:
    if not isinstance(value, str) or _ID.fullmatch(value) is None:
        raise MistakeError(f"{value!r} is no id; use up to 24 of a-z, 0-9 and -, a letter first")
    return value


def _need(value: object) -> str:
    if not isinstance(value, str) or _NEED.fullmatch(value) is None:
        raise MistakeError(
            f"{value!r} is no id of a step; write for example open, or open? where it may be missing"
        )
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise MistakeError(f"must be a whole number, not {_kind(value)}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise MistakeError(f"must be text, not {_kind(value)}; put it in quotes")
    if "\0" in value:
        raise MistakeError("must not contain a NUL character")
    return value


def _word(value: object) -> str:
    """An argument; a number is written as it stands."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return _text(str(value) if is_number else value)


def _list(value: object) -> object:
    if not isinstance(value, list):
        raise MistakeError(
            f"must be a list of words, not {_kind(value)}; there is no shell: write [program, argument]"
        )
    return value


def _env_name(value: object) -> str:
    name = _text(value)
    if _ENV.fullmatch(name) is None:
        raise MistakeError(f"{name!r} is no name of a variable; use A-Z, 0-9 and _")
    if name.startswith(FORBIDDEN_VARIABLES):
        raise MistakeError(f"{name} chooses what code runs and cannot be set")
    return name


def _kind(value: object) -> str:
    words = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "a mapping",
    }
    return words.get(type(value), "nothing")


def _span(low: float, high: float, text: str) -> AfterValidator:
    def check(seconds: float) -> float:
        if not low <= seconds <= high:
            raise LimitError(f"must be {text}")
        return seconds

    return AfterValidator(check)


class LimitError(MistakeError):
    """A value that is of the right kind and too small or too large."""


def _retries(value: int) -> int:
    if not 0 <= value <= RETRIES_MAX:
        raise LimitError(f"must be between 0 and {RETRIES_MAX}")
    return value


_DURATION = {
    "type": "string",
    "pattern": r"^([0-9]+(\.[0-9]+)?\s*(us|ms|s|m|h|d)\s*)+$",
    "examples": ["15s", "1m30s"],
}
_ID_SCHEMA = {"type": "string", "pattern": f"^{_ID.pattern}$"}

Id: TypeAlias = Annotated[str, BeforeValidator(_id), WithJsonSchema(_ID_SCHEMA)]
NeedId: TypeAlias = Annotated[
    str, BeforeValidator(_need), WithJsonSchema({"type": "string", "pattern": f"^{_NEED.pattern}$"})
]
Text: TypeAlias = Annotated[str, BeforeValidator(_text)]
Title: TypeAlias = Annotated[Text, Field(max_length=TITLE_CHARS_MAX)]
Word: TypeAlias = Annotated[
    str,
    BeforeValidator(_word),
    Field(max_length=ARGUMENT_CHARS_MAX),
    WithJsonSchema({"type": ["string", "integer"], "maxLength": ARGUMENT_CHARS_MAX}),
]
Whole: TypeAlias = Annotated[int, BeforeValidator(_whole)]
NameOf: TypeAlias = Annotated[
    str,
    BeforeValidator(check_name),
    WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$"}),
]
Port: TypeAlias = Annotated[Whole, Field(ge=1, le=65535)]
Duration: TypeAlias = Annotated[float, BeforeValidator(check_duration), WithJsonSchema(_DURATION)]
Timeout: TypeAlias = Annotated[Duration, _span(TIMEOUT_MIN_S, TIMEOUT_MAX_S, "between 100 ms and an hour")]
Within: TypeAlias = Annotated[Duration, _span(TIMEOUT_MIN_S, AGENT_TIMEOUT_MAX_S, "between 100 ms and 4 m")]
Wait: TypeAlias = Annotated[Duration, _span(0, 600, "between 0 and 10 m")]
Budget: TypeAlias = Annotated[Duration, _span(0, RTO_MAX_S, "between 0 and a day")]
Plan: TypeAlias = Annotated[Duration, _span(1, RTO_MAX_S, "between 1 s and a day")]
Retries: TypeAlias = Annotated[Whole, AfterValidator(_retries)]
Argv: TypeAlias = Annotated[list[Word], BeforeValidator(_list), Field(min_length=1, max_length=ARGUMENTS_MAX)]
Environment: TypeAlias = Annotated[
    dict[Annotated[str, BeforeValidator(_env_name)], Word], Field(max_length=ENVIRONMENT_MAX)
]


class Section(BaseModel):
    """Base: unknown keys are mistakes, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


# --- parameters of actions


class NoValues(Section):
    """An action without parameters."""


class CheckpointValues(Section):
    """``repl.checkpoint``: the owner writes a named recovery point."""

    name: Annotated[Text, Field(max_length=64)] = ""


class AttachValues(Section):
    """``volume.attach``: the served volume as a file of the center's machine."""

    volume: NameOf
    read_only: StrictBool = False


class MountValues(AttachValues):
    """``volume.mount``: the file system in the served volume, mounted."""

    filesystem: Literal["ext4", "xfs", "btrfs"] = "ext4"


class ServiceStartValues(Section):
    """``service.start``: a program that stays. In a drill it is ended after `lifetime` at the latest."""

    run: Argv
    netns: Word = ""
    env: Environment = {}
    lifetime: Annotated[Duration, _span(1, 24 * 3600, "between 1 s and a day")] = 600.0


class ServiceStopValues(Section):
    """``service.stop``: end what the step `service` started; SIGTERM first, SIGKILL after `grace`."""

    service: Id
    grace: Annotated[Duration, _span(0, 120, "between 0 and 2 m")] = 10.0


class CommandValues(Section):
    """``probe.command``: a program that ends by itself; its exit code and output are the answer."""

    run: Argv
    netns: Word = ""
    env: Environment = {}
    codes: Annotated[list[Annotated[Whole, Field(ge=0, le=255)]], Field(min_length=1, max_length=16)] = [0]
    expect: Word = ""


class TcpValues(Section):
    """``probe.tcp``: a connection is accepted."""

    host: Annotated[Text, Field(min_length=1, max_length=255)] = "127.0.0.1"
    port: Port
    netns: Word = ""


VALUES: Mapping[Action, type[Section]] = MappingProxyType(
    {
        Action.CHECKPOINT: CheckpointValues,
        Action.OPEN: NoValues,
        Action.COMPARE: NoValues,
        Action.PROMOTE: NoValues,
        Action.ATTACH: AttachValues,
        Action.MOUNT: MountValues,
        Action.NETNS: NoValues,
        Action.SERVICE_START: ServiceStartValues,
        Action.SERVICE_STOP: ServiceStopValues,
        Action.COMMAND: CommandValues,
        Action.TCP: TcpValues,
        Action.CLEANUP: NoValues,
    }
)
PROBE_NAMES = {"command": Action.COMMAND, "tcp": Action.TCP}

# --- the file


class DoSection(Section):
    """An action with its parameters."""

    action: Action
    values: dict[str, object] = Field(default_factory=dict, alias="with")
    at: NameOf = "target"


class CheckSection(Section):
    """A probe that must succeed in time."""

    probe: Literal["command", "tcp"]
    values: dict[str, object] = Field(default_factory=dict, alias="with")
    within: Within = 30.0


class StepSection(DoSection):
    """A step."""

    id: Id
    title: Title = ""
    modes: Annotated[list[RunMode], Field(min_length=1)] | None = None
    needs: Annotated[list[NeedId], Field(max_length=NEEDS_MAX)] = []
    timeout: Timeout = 60.0
    retries: Retries = 0
    retry_wait: Wait = 1.0
    on_failure: OnFailure = OnFailure.HALT
    undo: DoSection | None = None
    check: CheckSection | None = None
    budget: Budget | None = None


class ParamSection(Section):
    """A parameter of the runbook."""

    type: ParamKind
    default: Text | StrictBool | Whole | None = None
    title: Title = ""


class Metadata(Section):
    """What the author calls it."""

    name: NameOf
    version: Annotated[Text, Field(min_length=1, max_length=32)]
    title: Title = ""


class Spec(Section):
    """What is done."""

    group: NameOf | Literal[""] = ""
    rto: Plan
    params: dict[Id, ParamSection] = {}
    steps: Annotated[list[StepSection], Field(min_length=1, max_length=STEPS_MAX)]


class RunbookFile(Section):
    """The whole file."""

    api_version: Literal["drsync.io/v1"] = Field(alias="apiVersion")
    kind: Literal["Runbook"]
    metadata: Metadata
    spec: Spec


assert (API_VERSION, KIND) == ("drsync.io/v1", "Runbook")
assert FILESYSTEMS == ("ext4", "xfs", "btrfs")


def json_schema() -> dict[str, object]:
    """The JSON Schema (2020-12) of a file, with the parameters of each action."""
    schema: dict[str, object] = RunbookFile.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    assert isinstance(definitions, dict)
    for section in dict.fromkeys(VALUES.values()):
        found = section.model_json_schema(ref_template="#/$defs/{model}")
        found.pop("$defs", None)
        definitions[section.__name__] = found
    choice = [
        {
            "if": {"properties": {"action": {"const": action.value}}, "required": ["action"]},
            "then": {"properties": {"with": {"$ref": f"#/$defs/{section.__name__}"}}},
        }
        for action, section in VALUES.items()
    ]
    for name in ("DoSection", "StepSection"):
        definitions[name]["allOf"] = choice
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://drsync.io/schema/v1/runbook.json",
        **schema,
    }


if __name__ == "__main__":
    import json
    import sys

    json.dump(json_schema(), sys.stdout, indent=1)
    sys.stdout.write("\n")
