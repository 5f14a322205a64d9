"""The report is evidence: its JSON is stable, its page complete, quiet and harmless."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typing_extensions import override

from drsync.model.drill import (
    Cleanup,
    Content,
    DrillPoint,
    DrillReport,
    TreeFinding,
    Verdict,
    VolumeFinding,
)
from drsync.model.epoch import Epoch
from drsync.model.operation import Step, StepOutcome
from drsync.report.drill import bars, drill_json, drill_page, seconds, utc
from drsync.report.messages import LANGUAGES, best, table

GOLDEN = Path(__file__).parent.parent / "golden" / "report"
START_US = 1_800_000_000_000_000

HASH = "blake3:" + "ab" * 32
STEPS = (
    Step(
        1, "group.checkpoint", "production", START_US + 1_000, 0.004, StepOutcome.DONE, "drill at record 787"
    ),
    Step(2, "wait.durable", "remote", START_US + 6_000, 0.102, StepOutcome.DONE, "durable up to record 798"),
    Step(3, "view.open", "remote", START_US + 109_000, 0.017, StepOutcome.DONE, "data"),
    Step(
        4, "view.probe", "remote", START_US + 127_000, 0.002, StepOutcome.SKIPPED, "this agent knows no probe"
    ),
    Step(5, "view.hash", "remote", START_US + 130_000, 0.134, StepOutcome.DONE, "272 MiB"),
    Step(6, "view.close", "remote", START_US + 265_000, 0.002, StepOutcome.DONE, "closed"),
)
PASSED = DrillReport(
    id="8494bd82bd446a187d236bed1a31d65b",
    group="orders",
    center="remote",
    owner="production",
    epoch=Epoch(3),
    position=787,
    point=DrillPoint(787, START_US, "drill-8494bd82"),
    actor="ops",
    reason="quarterly drill",
    started_us=START_US,
    ended_us=START_US + 270_000,
    rpo_s=0.103,
    remote_lag_s=0.103,
    rto_s=0.021,
    rto_steps=("view.open", "view.probe"),
    total_s=0.269,
    rpo_target_s=15.0,
    rto_target_s=300.0,
    verdict=Verdict.PASSED,
    content=Content.EQUAL,
    reasons=(),
    volumes=(VolumeFinding("data", HASH, HASH, Content.EQUAL, "ext4"),),
    cleanup=(Cleanup("remote", "drill-8494bd82bd446a18-copy", is_proved=True, detail="closed"),),
    steps=STEPS,
    trees=(TreeFinding("documents", 42, "cd" * 32, "cd" * 32, 1234, 5 << 20, Content.EQUAL),),
)
FAILED = replace(
    PASSED,
    verdict=Verdict.FAILED,
    content=Content.NOT_CHECKED,
    reasons=("<b>The disk</b> & the rest burned.",),
    point=None,
    rpo_s=None,
    rto_s=None,
    remote_lag_s=None,
    volumes=(VolumeFinding("data"),),
    trees=(TreeFinding("documents", 42),),
    cleanup=(Cleanup("remote", "v", is_proved=False, detail="no answer"),),
    steps=(replace(STEPS[0], outcome=StepOutcome.FAILED),),
)
NOTHING = replace(FAILED, cleanup=(), volumes=(), trees=(), steps=(), total_s=0.0, reasons=())


class Reader(HTMLParser):
    """Collects what a browser would fetch and whether tags balance."""

    VOID = frozenset(("meta", "br", "link", "img"))

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.open: list[str] = []

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.outside += [str(value) for name, value in attrs if name in {"src", "href", "action"}]
        if tag in {"script", "iframe", "link", "img", "form"}:
            self.outside.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    @override
    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("report", [PASSED, FAILED, NOTHING], ids=["passed", "failed", "nothing"])
def test_every_page_is_whole_and_fetches_nothing(report: DrillReport, lang: str) -> None:
    reader = Reader()
    reader.feed(drill_page(report, lang))
    reader.close()
    assert (reader.open, reader.outside) == ([], [])


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_page_is_as_it_was_reviewed(lang: str) -> None:
    """To accept a change: write `page` to the golden file, and look at it in a browser."""
    page = drill_page(PASSED, lang)
    assert page == (GOLDEN / f"drill-{lang}.html").read_text("utf-8")


def test_what_people_and_agents_wrote_is_escaped() -> None:
    page = drill_page(FAILED)
    assert "&lt;b&gt;The disk&lt;/b&gt; &amp; the rest" in page
    assert "<b>The disk" not in page


def test_the_json_form_is_stable() -> None:
    body = json.loads(json.dumps(drill_json(PASSED)))
    assert body == json.loads((GOLDEN / "drill.json").read_text("utf-8"))


def test_all_languages_say_the_same_things() -> None:
    keys = {frozenset(table(lang)) for lang in LANGUAGES}
    assert len(keys) == 1
    assert all(text for lang in LANGUAGES for text in table(lang).values())
    for words in (Verdict, Content, StepOutcome):
        assert {word.value for word in words} <= set(table("en"))
    assert (best("zh"), best("zh-TW"), best("en-GB"), best("")) == ("zh-CN", "zh-CN", "en", "en")


def test_bars_stay_inside_even_when_the_wall_clock_jumped() -> None:
    jumped = replace(STEPS[0], started_us=START_US - 10**9), replace(STEPS[1], started_us=START_US + 10**9)
    for bar in bars(jumped, START_US, 0.2, ()):
        assert 0 <= bar.left <= bar.left + bar.width <= 100.01


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 ms"),
        (0.0214, "21 ms"),
        (1.0, "1 s"),
        (12.345, "12.3 s"),
        (60, "1 min"),
        (119.9, "2 min"),
        (300, "5 min"),
    ],
)
def test_durations_are_for_people(value: float, text: str) -> None:
    assert seconds(value) == text
    assert utc(0) == ""
