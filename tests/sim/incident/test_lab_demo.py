"""A demo of the lab, recorded with real processes: asked again by every later version, and told in prose.

`tests/golden/incident/lab-demo.txt` is read as a story. When its words changed on purpose, write it anew::

    python -m tests.sim.incident.test_lab_demo
"""

import json
import string
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drsync.core import eligibility
from drsync.core.safety import Reason
from drsync.model.copy import CopyState
from drsync.model.errors import MalformedError
from drsync.report.incident import words
from drsync.sim.incident.document import document
from drsync.sim.incident.record import Incident, read
from drsync.sim.incident.replay import candidates, deciding, differences
from drsync.sim.incident.sentences import Sentences
from drsync.sim.incident.story import Story
from drsync.sim.incident.what_if import alternatives
from drsync.wire.incident import Sealer, unseal

GOLDEN = Path(__file__).parents[2] / "golden" / "incident"
RECORD = GOLDEN / "lab-demo.jsonl"
STORY = GOLDEN / "lab-demo.txt"


def clock(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")


def demo() -> Incident:
    return read(RECORD.read_bytes())


def transcript(incident: Incident, lang: str) -> str:
    say, lines = words(lang), []
    for case in incident.cases:
        lines += [
            "  " * told.depth + "  ".join(part for part in (told.label, told.text) if part)
            for told in Story(say, clock).case(incident, case)
        ]
        shown = deciding(case)
        assert shown is not None
        lines.append("  " + say["what_if"].format(n=shown.n))
        for one in alternatives(shown):
            mark = "*" if one.is_other else " "
            lines.append(f"  {mark} " + " | ".join(Sentences(say).alternative(one)))
        lines.append("")
    return "\n".join(lines)


def test_this_version_decides_as_the_one_that_ran_the_demo() -> None:
    assert differences(demo()) == []


def test_its_story_is_told_as_it_was_reviewed() -> None:
    assert transcript(demo(), "en") == STORY.read_text("utf-8")


def test_it_is_told_in_chinese_too_with_the_same_facts() -> None:
    told = transcript(demo(), "zh")
    assert "same_city 在纪元 2 中拥有该组。" in told
    assert told.count("\n") == transcript(demo(), "en").count("\n")


def test_both_languages_have_the_same_words_with_the_same_gaps() -> None:
    def gaps(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    english, chinese = words("en"), words("zh")
    assert set(english) == set(chinese)
    assert {key for key in english if gaps(english[key]) != gaps(chinese[key])} == set()


def test_the_failover_says_who_was_silent_and_since_when_and_who_could_have_opened() -> None:
    failover = demo().cases[0]
    shown = deciding(failover)
    assert shown is not None
    silent = shown.silent["production"]
    assert silent.statement is not None
    assert silent.statement.state is CopyState.OWNER
    assert silent.heard_s is not None
    assert 0 < silent.heard_s < 5
    could = {one.center: not one.verdict.reasons for one in candidates(shown.seen)}
    assert could == {"production": False, "same_city": True, "remote": True}


def test_a_version_with_another_rule_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were nobody's log completed by donors or cut first, it would have committed at once."""
    monkeypatch.setattr("drsync.core.failover._is_prepared", lambda *_: True)
    found = differences(demo())
    assert [one.kept.plan for one in found] != []
    assert all(one.kept.plan != one.now for one in found)
    body = document(demo(), demo().cases, found)
    assert body["differences"] == [one.kept.n for one in found]


def test_a_version_that_breaks_on_a_decision_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bool:
        raise KeyError("remote")

    monkeypatch.setattr("drsync.core.failover._is_prepared", broken)
    found = differences(demo())
    assert found != []
    assert all("The rules break on it: KeyError('remote')" in str(one.now) for one in found)


def test_better_sentences_are_no_other_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drsync.core.file_loss.safety.files_late", _said_otherwise)
    assert differences(demo()) == []


def _said_otherwise(name: str, fileset: str, seconds: float, limit_s: float) -> Reason:
    return Reason("files_late", f"{fileset} at {name}: {seconds} > {limit_s}", "Wait.")


def test_the_document_for_tools_is_json_and_complete() -> None:
    incident = demo()
    body = json.loads(json.dumps(document(incident, incident.cases, differences(incident))))
    assert [one["kind"] for one in body["operations"]] == ["failover", "switchover", "switchover"]
    failover = body["operations"][0]
    assert failover["what_if"][0]["ending"]["owner"] == "same_city"
    assert all(one["is_same"] for one in failover["decisions"])


@pytest.mark.parametrize("number", [2, 30])
def test_a_line_that_cannot_be_understood_is_named(number: int) -> None:
    sealer, parts = Sealer(), []
    for line in unseal(RECORD.read_bytes()):
        body = {"observation": {}} if line.number == number else line.body
        kind = "decision" if line.number == number else line.kind
        parts.append(sealer.line(kind, body))
    with pytest.raises(MalformedError, match=f"^line {number}: "):
        read(b"".join([*parts, sealer.end()]))


def test_what_a_newer_version_adds_is_ignored() -> None:
    sealer = Sealer()
    lines = [sealer.line(line.kind, {**line.body, "added": 1}) for line in unseal(RECORD.read_bytes())]
    lines += [sealer.line("weather", {"rain": True}), sealer.end()]
    assert read(b"".join(lines)).cases == demo().cases


def test_judging_candidates_leaves_the_rules_alone() -> None:
    """Whoever was chosen without an accepted loss was a candidate without reasons against it."""
    for case in demo().cases:
        for kept in case.decisions:
            for one in candidates(kept.seen):
                if not one.verdict.reasons:
                    assert one.center in eligibility.voices(kept.seen)


if __name__ == "__main__":
    STORY.write_text(transcript(demo(), "en"), "utf-8")
