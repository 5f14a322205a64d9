"""What Prometheus gets: well named, well formed, documented, and only while somebody listens."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from aiohttp import ClientSession
from prometheus_client import generate_latest

from drsync.adapters.metrics.catalog import (
    AGENT,
    COMMIT_SECONDS,
    COORDINATOR,
    LAG_SECONDS,
    WRITES,
    Kind,
    Metric,
)
from drsync.adapters.metrics.reading import Histogram, Reading, make_registry
from drsync.adapters.metrics.server import CONTENT_TYPE, MetricsServer
from drsync.model.errors import TransientError

ROOT = Path(__file__).resolve().parents[3]
ALL = tuple(dict.fromkeys((*AGENT, *COORDINATOR)))
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian package prometheus)"
)


def example(metric: Metric) -> Reading | Histogram:
    labels = tuple(f"some {label}" for label in metric.labels)
    if metric.kind is Kind.HISTOGRAM:
        return Histogram(metric, labels, (0.1, 1.0), (3, 2, 1), 4.5)
    return Reading(metric, labels, 7)


def exposition(known: tuple[Metric, ...]) -> str:
    registry, collector = make_registry(known)
    collector.add(lambda: [example(metric) for metric in known])
    return generate_latest(registry).decode()


@needs_promtool
@pytest.mark.parametrize("known", [AGENT, COORDINATOR], ids=["agent", "coordinator"])
def test_promtool_has_nothing_to_say(known: tuple[Metric, ...]) -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=exposition(known), text=True, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@needs_promtool
def test_the_alert_rules_are_accepted() -> None:
    rules = ROOT / "agents/prometheus/rules.yaml"
    checked = subprocess.run(
        ["promtool", "check", "rules", rules], text=True, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_promtool
def test_alerts_come_when_they_should_and_only_then() -> None:
    story = Path(__file__).with_name("alerts.yaml")
    checked = subprocess.run(
        ["promtool", "test", "rules", story], text=True, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_alert_rules_name_metrics_that_exist() -> None:
    rules = (ROOT / "agents/prometheus/rules.yaml").read_text()
    assert set(re.findall(r"\bdrsync_[a-z_]+", rules)) <= {metric.name for metric in ALL}


def test_the_document_has_every_metric_as_it_is() -> None:
    document = (ROOT / "docs/metrics.md").read_text()
    rows = [f"| `{m.name}` | {m.kind.value} | {', '.join(m.labels)} | {m.help} |" for m in ALL]
    assert [row for row in rows if row not in document] == []
    named = set(re.findall(r"^\| `(drsync_[a-z_]+)` \|", document, re.MULTILINE))
    assert named == {metric.name for metric in ALL}


def test_names_follow_the_conventions() -> None:
    assert len({metric.name for metric in ALL}) == len(ALL)
    for metric in ALL:
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
        assert metric.help.endswith("."), metric.name


def test_a_histogram_counts_upwards() -> None:
    registry, collector = make_registry((COMMIT_SECONDS,))
    collector.add(lambda: [Histogram(COMMIT_SECONDS, ("orders",), (0.1, 1.0), (3, 2, 1), 4.5)])
    text = generate_latest(registry).decode()
    assert 'drsync_commit_seconds_bucket{group="orders",le="1.0"} 5.0' in text
    assert 'drsync_commit_seconds_bucket{group="orders",le="+Inf"} 6.0' in text
    assert 'drsync_commit_seconds_count{group="orders"} 6.0' in text
    assert 'drsync_commit_seconds_sum{group="orders"} 4.5' in text


def test_what_is_not_known_is_left_out_and_each_scrape_asks_again() -> None:
    registry, collector = make_registry((WRITES, LAG_SECONDS))
    values = [Reading(WRITES, ("orders",), 1)]
    collector.add(lambda: values)
    assert "drsync_peer_lag_seconds" not in generate_latest(registry).decode()
    values.append(Reading(LAG_SECONDS, ("orders", "remote"), 0.25))
    text = generate_latest(registry).decode()
    assert 'drsync_peer_lag_seconds{group="orders",peer="remote"} 0.25' in text
    assert 'drsync_volume_writes_total{group="orders"} 1.0' in text


def test_names_with_quotes_break_nothing() -> None:
    registry, collector = make_registry((WRITES,))
    collector.add(lambda: [Reading(WRITES, ('a"b\\c\nd',), 1)])
    assert r'group="a\"b\\c\nd"' in generate_latest(registry).decode()


async def test_figures_are_served_on_one_path_only() -> None:
    registry, collector = make_registry((WRITES,))
    collector.add(lambda: [Reading(WRITES, ("orders",), 3)])
    server = MetricsServer(registry)
    address = await server.listen("127.0.0.1", 0)
    async with ClientSession() as client:
        async with client.get(f"http://{address}/metrics") as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == CONTENT_TYPE
            text = await answer.text()
            assert 'drsync_volume_writes_total{group="orders"} 3.0' in text
            assert "process_resident_memory_bytes" in text
        for path in ("/", "/v1/status"):
            async with client.get(f"http://{address}{path}") as answer:
                assert answer.status == 404
        async with client.post(f"http://{address}/metrics") as answer:
            assert answer.status == 405
        taken = MetricsServer(registry)
        with pytest.raises(TransientError, match="cannot serve metrics on"):
            await taken.listen("127.0.0.1", int(address.rpartition(":")[2]))
    await server.close()
    await server.close()


async def test_who_asks_without_rest_does_not_hold_the_daemon_up(monkeypatch: pytest.MonkeyPatch) -> None:
    registry, collector = make_registry((WRITES,))
    asked: list[int] = []

    def source() -> list[Reading]:
        asked.append(1)
        return [Reading(WRITES, ("orders",), len(asked))]

    collector.add(source)
    before = len(asked)  # a registry asks for names when a collector enters it
    server = MetricsServer(registry)
    address = await server.listen("127.0.0.1", 0)
    async with ClientSession() as client:
        text = ""
        for _ in range(5):
            async with client.get(f"http://{address}/metrics") as answer:
                text = await answer.text()
        assert len(asked) == before + 1
        monkeypatch.setattr("drsync.adapters.metrics.server.FRESH_S", 0.0)
        async with client.get(f"http://{address}/metrics") as answer:
            assert await answer.text() != text
    await server.close()
