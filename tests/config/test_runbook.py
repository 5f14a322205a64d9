"""Every mistake in a runbook is told at once: file, line, column, what is wrong, and what to do."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.config.runbook import FILE_BYTES_MAX, load_runbook, parse_runbook
from drsync.config.runbook_checks import check_cluster
from drsync.config.runbook_mistakes import RunbookError
from drsync.config.runbook_schema import json_schema
from drsync.model.runbook import Action, OnFailure, RunMode

ROOT = Path(__file__).parents[2]
SAMPLE = Path(__file__).parent / "samples" / "runbook-wrong.yaml"
GOLDEN = ROOT / "tests" / "golden" / "runbook"
SHIPPED = sorted((ROOT / "runbooks").glob("*.yaml"))
HEAD = 'apiVersion: drsync.io/v1\nkind: Runbook\nmetadata: {name: x, version: "1"}\n'
PLAIN = HEAD + "spec:\n  rto: 1m\n  steps:\n"


def mistakes(text: str | bytes, **params: object) -> list[str]:
    raw = text.encode() if isinstance(text, str) else text
    with pytest.raises(RunbookError) as caught:
        parse_runbook(raw, "x.yaml", params or None)
    return [one.sentence("x.yaml") for one in caught.value.mistakes]


def codes(text: str | bytes) -> set[str]:
    raw = text.encode() if isinstance(text, str) else text
    with pytest.raises(RunbookError) as caught:
        parse_runbook(raw, "x.yaml")
    return {one.code for one in caught.value.mistakes}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_runbook_has_no_mistake(path: Path) -> None:
    book = load_runbook(path)
    assert book.of_mode(RunMode.DRILL)
    assert book.of_mode(RunMode.FAILOVER)
    assert path.with_suffix(".md").exists(), "and a page for three in the morning"


def test_all_mistakes_are_told_at_once() -> None:
    """To accept a change: write the text to the golden file and read every sentence of it."""
    with pytest.raises(RunbookError) as caught:
        parse_runbook(SAMPLE.read_bytes(), "wrong.yaml")
    found = "".join(f"{one.sentence('wrong.yaml')}\n" for one in caught.value.mistakes)
    assert found == (GOLDEN / "wrong.txt").read_text()
    kinds = {one.code for one in caught.value.mistakes}
    assert kinds >= {
        "unknown_key", "unknown_action", "bad_duration", "duplicate_id", "missing_need", "cycle",
        "undo_without_action", "nothing_to_undo", "unknown_mode", "no_mode", "limit", "budget", "wrong_type",
        "wrong_version", "unknown_reference", "wrong_mode", "need_not_in_mode",
    }  # fmt: skip


def test_text_that_is_no_yaml_says_where() -> None:
    assert mistakes(PLAIN + "    - id: [a\n    - b: c\n")[0].startswith("x.yaml:8:")
    assert codes("a: b: c\n") == {"yaml_syntax"}
    assert codes("a: 1\n---\nb: 2\n") == {"yaml_syntax"}
    assert codes("a: \x01\n") == {"yaml_syntax"}
    assert codes("") == {"wrong_type"}


def test_bytes_that_are_no_text_say_where() -> None:
    assert mistakes(b"apiVersion: drsync.io/v1\nkind: \xff\n") == [
        "x.yaml:2:7: is not UTF-8 text. Save it as UTF-8."
    ]


def test_what_the_format_allows_and_a_runbook_does_not() -> None:
    assert "alias" in codes(PLAIN + "    - &a {id: one, action: cleanup}\n    - *a\n")
    assert "tag" in codes(PLAIN + "    - {id: !!python/object:os.system one, action: cleanup}\n")
    assert "duplicate_key" in codes(PLAIN + "    - {id: one, id: two, action: cleanup}\n")


def test_a_bomb_is_refused_before_it_is_built() -> None:
    assert codes("[" * 5000 + "]" * 5000) == {"yaml_syntax"}
    assert codes("a: [" + "1," * 30000 + "]") == {"yaml_syntax"}
    assert codes(b"a" * (FILE_BYTES_MAX + 1)) == {"limit"}
    bomb = "a: &a [x,x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}]\n" for n in range(8))
    assert "alias" in codes(bomb)


def test_words_are_words() -> None:
    """YAML 1.1 would make booleans and numbers of these."""
    book = parse_runbook(
        (PLAIN + "    - {id: no, action: probe.command, with: {run: [yes, 1:30, 0x10, 22]}}\n").encode(), "x"
    )
    assert book.steps[0].id == "no"
    assert book.steps[0].do.values["run"] == ["yes", "1:30", "0x10", "22"]


def test_parameters_take_the_place_of_their_names() -> None:
    text = HEAD + (
        "spec:\n  rto: 1m\n  params:\n    port: {type: integer}\n    host: {type: string, default: '::1'}\n"
        '  steps:\n    - {id: a, action: probe.tcp, with: {port: "{{ port }}", host: "{{host}}"}}\n'
    )
    book = parse_runbook(text.encode(), "x.yaml", {"port": "8080"})
    assert (book.steps[0].do.values["port"], book.steps[0].do.values["host"]) == (8080, "::1")
    assert "the parameter 'port' has no default" in mistakes(text, host="x")[0]
    assert "there is no parameter 'prot'" in " ".join(mistakes(text, port=1, prot=2))
    assert "'much' is no integer" in mistakes(text, port="much")[0]


def test_names_that_a_cluster_does_not_have() -> None:
    text = HEAD + (
        "spec:\n  rto: 1m\n  group: ordres\n  steps:\n"
        "    - {id: a, action: cleanup, at: remtoe}\n"
        "    - {id: b, action: volume.attach, with: {volume: log}}\n"
    )
    book = parse_runbook(text.encode(), "x.yaml")
    assert check_cluster(book, {"orders": {"volumes": ["data"]}}, ["remote"]) == [
        "spec.group: there is no group 'ordres'. Did you mean orders?",
        "spec.steps[0].at: there is no center 'remtoe'. Did you mean remote?",
    ]
    assert check_cluster(book, {"ordres": {"volumes": ["data"]}}, ["remtoe"]) == [
        "spec.steps[1].with.volume: group ordres has no volume 'log'. Known: data."
    ]


def test_a_step_takes_part_where_its_action_makes_sense() -> None:
    book = parse_runbook((PLAIN + "    - {id: a, action: repl.promote}\n").encode(), "x.yaml")
    assert book.steps[0].modes == set(RunMode) - {RunMode.DRILL}
    assert book.steps[0].do.action is Action.PROMOTE
    assert book.steps[0].on_failure is OnFailure.HALT
    assert book.digest.startswith("sha256:")


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_text_gives_a_runbook_or_mistakes(text: str) -> None:
    for raw in (text, PLAIN + text, f"{PLAIN}    - {{id: a, action: cleanup, {text}}}\n"):
        with suppress(RunbookError):
            assert parse_runbook(raw.encode(errors="replace"), "x.yaml").steps


def test_the_schema_in_the_repository_is_the_one_in_force() -> None:
    """To accept a change: python -m drsync.config.runbook_schema > runbooks/schema.json"""
    assert json.loads((ROOT / "runbooks" / "schema.json").read_text()) == json_schema()
