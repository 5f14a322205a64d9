"""How an application is made quiet, as people write it: the group by names, the agent what they mean."""

from pathlib import Path

import pytest

from drsync.config.load import load_agent, load_any, load_group
from drsync.config.problems import ConfigError, Problem
from drsync.model.consistency import Consistency, OnFailure, QuietStep, StepKind
from drsync.model.group import GroupPolicy
from drsync.wire import control
from drsync.wire.policy import PolicyForm

GROUP = 'name = "g"\npreferred_owner = "a"\nmembers = ["a", "b"]\n[[volumes]]\nname = "v"\nsize = "1 MiB"\n'
FREEZE = 'before = [{ fsfreeze = "/srv/orders/" }]\n'


def mistakes(path: Path, text: str) -> dict[str, Problem]:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_any(path)
    return {problem.path: problem for problem in caught.value.problems}


def policy(tmp_path: Path, text: str) -> GroupPolicy:
    path = tmp_path / "g.toml"
    path.write_text(f"{GROUP}[policy.consistency]\n{text}")
    return load_group(path).policy


def test_steps_are_written_by_kind_and_name(tmp_path: Path) -> None:
    found = policy(
        tmp_path,
        FREEZE.replace("]", ', { postgresql = "orders" }, { program = "hold-orders" }]')
        + 'after = [{ program = "go" }]\nevery = "15m"\nmax_freeze = "500ms"\n'
        'timeout = "1m"\non_failure = "none"\nmax_age = "1h"\n',
    )
    assert found.consistency == Consistency(
        before=(
            QuietStep(StepKind.FSFREEZE, "/srv/orders"),
            QuietStep(StepKind.POSTGRESQL, "orders"),
            QuietStep(StepKind.PROGRAM, "hold-orders"),
        ),
        after=(QuietStep(StepKind.PROGRAM, "go"),),
        every_s=900.0,
        max_freeze_s=0.5,
        timeout_s=60.0,
        on_failure=OnFailure.NONE,
        max_age_s=3600.0,
    )
    form = PolicyForm.model_validate(found)
    again = control.parse(PolicyForm, control.load(control.dump(form.fields())))
    assert again.word() == found, "it is in the charter as it was written"


def test_a_charter_of_older_software_asks_for_nothing() -> None:
    fields = PolicyForm.model_validate(GroupPolicy()).fields()
    del fields["consistency"]
    assert control.parse(PolicyForm, fields).word() == GroupPolicy()


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ('before = [{ fsfreeze = "/" }]', "before[0].fsfreeze", "root of the machine"),
        ('before = [{ fsfreeze = "srv" }]', "before[0].fsfreeze", "no absolute path"),
        ('before = [{ program = "/bin/sh" }]', "before[0].program", "is no name of a hook"),
        ('before = [{ program = "x", postgresql = "y" }]', "before[0]", "is exactly one of"),
        ("before = [{}]", "before[0]", "is exactly one of"),
        ('before = [{ fsfreze = "/srv" }]', "before[0].fsfreze", "is not a known key"),
        (f'{FREEZE}after = [{{ fsfreeze = "/srv" }}]', "after[0]", "thawed by itself"),
        ('every = "15m"', "every", "nothing makes the application quiet"),
        (f'{FREEZE}max_freeze = "11s"', "max_freeze", "between 50 ms and 10 s"),
        (f'{FREEZE}timeout = "3m"', "timeout", "between 100 ms and 2 m"),
        (f'{FREEZE}on_failure = "ignore"', "on_failure", "not one of crash-consistent, none"),
    ],
)
def test_mistakes_are_named_with_their_place(tmp_path: Path, text: str, place: str, words: str) -> None:
    found = mistakes(tmp_path / "g.toml", f"{GROUP}[policy.consistency]\n{text}\n")
    assert words in found[f"policy.consistency.{place}"].what


def test_an_agent_says_what_names_mean(folder: Path) -> None:
    path = folder / "agent.toml"
    path.write_text(
        f"{path.read_text()}\n[hooks]\n"
        'allow = ["/usr/local/lib/hooks"]\nfreeze = ["/srv/orders"]\n'
        'postgresql = { orders = "service=orders connect_timeout=5" }\n'
        'programs = { hold = ["hold", "--db", "orders"] }\n'
    )
    hooks = load_agent(path).hooks
    assert hooks.freeze == ("/srv/orders",)
    assert hooks.postgresql == (("orders", "service=orders connect_timeout=5"),)
    assert hooks.programs == (("hold", ("hold", "--db", "orders")),)


@pytest.mark.parametrize(
    ("line", "place", "words"),
    [
        ('freeze = ["/"]', "hooks.freeze[0]", "root of the machine"),
        ('postgresql = { x = "host=a password=b" }', "hooks.postgresql.x", "holds a password"),
        ('postgresql = { x = "postgresql://me:secret@host/db" }', "hooks.postgresql.x", "holds a password"),
        ("programs = { x = [] }", "hooks.programs.x", "must not be empty"),
    ],
)
def test_an_agent_allows_nothing_that_gives_something_away(
    folder: Path, line: str, place: str, words: str
) -> None:
    path = folder / "agent.toml"
    found = mistakes(path, f"{path.read_text()}\n[hooks]\n{line}\n")
    assert words in found[place].what
