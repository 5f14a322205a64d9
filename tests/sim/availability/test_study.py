"""The study as a whole: the same numbers for the same seed, whoever computes them."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from drsync.report.study import words
from drsync.sim.availability import statistics, study, whatif
from drsync.sim.availability.faults import Cause, history
from drsync.sim.availability.picture import COLORS, draw
from drsync.sim.availability.rates import shipped
from drsync.sim.availability.study import Order, Report

SHORT = Order(shipped(), years=4, repetitions=3, seed=5)


@pytest.fixture(scope="module")
def report() -> Report:
    return study.study(SHORT)


def test_a_seed_gives_the_same_report_in_any_process(report: Report) -> None:
    script = (
        "import json\nfrom drsync.sim.availability import study\nfrom drsync.sim.availability.rates import "
        "shipped\norder = study.Order(shipped(), years=4, repetitions=3, seed=5)\n"
        "print(json.dumps(study.study(order)))\n"
    )
    for hash_seed in ("1", "77"):
        ended = subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(ended.stdout) == report


def test_the_report_does_not_depend_on_the_number_of_processes(report: Report) -> None:
    assert study.study(SHORT, jobs=2) == report


def test_another_seed_gives_other_years(report: Report) -> None:
    other = study.study(Order(shipped(), years=4, repetitions=3, seed=6, has_what_ifs=False))
    assert other["topologies"][0]["down_minutes"] != report["topologies"][0]["down_minutes"]


def test_a_row_of_the_table_does_not_move_the_faults_of_another() -> None:
    more_disks = whatif.altered(shipped(), "faults.disk.per_year", 3.0)
    kept = [
        [event for event in history(table, 5, 1, 0) if event.fault.name == "stall"]
        for table in (shipped(), more_disks)
    ]
    times = [[(event.at, event.begins) for event in events] for events in kept]
    assert times[0] == times[1] != []


def test_the_report_has_the_form_that_programs_rely_on(report: Report) -> None:
    assert report["schema"] == "drsync.availability-study/1"
    assert list(report) == [
        "schema",
        "seed",
        "years",
        "repetitions",
        "target",
        "budget_minutes",
        "interval",
        "base",
        "topologies",
        "what_ifs",
        "assumptions",
    ]
    figures = [
        "availability",
        "down_minutes",
        "planned_minutes",
        "down_minutes_by_cause",
        "planned_minutes_by_cause",
        "outages_per_year",
        "good_years",
        "verdict",
        "loss",
        "openings_per_year",
    ]
    for one in report["topologies"]:
        assert list(one) == ["name", "centers", "store", "members", "failover", "detection_s", *figures]
    for change in report["what_ifs"]:
        assert list(change) == ["name", "detection_s", "difference_minutes", "is_significant", *figures]
    assert [one["name"] for one in report["topologies"]] == study.names()
    json.dumps(report, allow_nan=False)


def test_the_parts_add_up(report: Report) -> None:
    for one in (*report["topologies"], *report["what_ifs"]):
        assert sum(one["down_minutes_by_cause"].values()) == pytest.approx(
            one["down_minutes"]["mean"], rel=1e-6
        )
        assert one["availability"]["low"] <= one["availability"]["mean"] <= one["availability"]["high"]
        assert 0 <= one["good_years"] <= 1


def test_quicker_detection_is_not_worse_in_the_shipped_world() -> None:
    """Not run by run, because who moved is elsewhere at the next fault; in the mean."""
    rates = shipped()
    means = []
    for seconds in (5.0, 60.0):
        order = Order(
            rates, 50, 4, detection_s=seconds, names=("three-centers-witness-automatic",), has_what_ifs=False
        )
        means.append(study.study(order)["topologies"][0]["down_minutes"]["mean"])
    assert means[0] < means[1]


def test_progress_ends_with_all_years() -> None:
    told: list[tuple[float, float]] = []
    order = Order(shipped(), years=2, repetitions=2, names=("single-site",), has_what_ifs=False)
    study.study(order, beat=lambda done, total: told.append((done, total)))
    assert told[-1] == (4.0, 4.0)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_picture_is_xml_with_a_bar_for_each_topology(report: Report, lang: str) -> None:
    say = words(lang)
    root = ET.fromstring(draw(report, say))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for one in report["topologies"]:
        assert any(say[one["name"]] in (text or "") for text in texts)
    for rect in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert float(rect.attrib["width"]) >= 0


def test_the_words_are_the_same_in_all_languages(report: Report) -> None:
    assert set(words("en")) == set(words("zh"))
    needed = {one["name"] for one in report["topologies"]} | {cause.value for cause in Cause}
    needed |= {one["name"] for one in report["what_ifs"]}
    assert needed <= set(words("en"))
    assert len(COLORS) == len(Cause)


def test_an_interval_by_student() -> None:
    assert statistics.t_quantile(29) == pytest.approx(2.045, abs=0.001)
    assert statistics.t_quantile(5) == pytest.approx(2.571, abs=0.015)
    found = statistics.estimate([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.high - found.mean == pytest.approx(4.303 / 3**0.5)
    assert statistics.rate([0.0, 0.0], 300).high == 0.01  # three over the years
    assert statistics.difference([2.0, 12.0], [1.0, 11.0]).low == 1.0  # the same difference each time
