"""From values that a daemon reads at the moment of a scrape to what Prometheus expects. No state is kept."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from typing_extensions import override

from drsync.adapters.metrics.catalog import Kind, Metric

Family = GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily


class Reading(NamedTuple):
    """One value: its metric, the values of its labels in the metric's order, the number."""

    metric: Metric
    labels: tuple[str, ...]
    value: float


class Histogram(NamedTuple):
    """One histogram: upper bounds, how many fell into each (one more than bounds), and their sum."""

    metric: Metric
    labels: tuple[str, ...]
    bounds: Sequence[float]
    counts: Sequence[int]
    total: float


Source = Callable[[], Iterable[Reading | Histogram]]
"""Reads the state of a daemon. Called from the event loop at each scrape; must not block."""


class StateCollector(Collector):
    """Asks its sources at each scrape."""

    def __init__(self, known: Sequence[Metric]) -> None:
        """`known`: what may come, in the order in which it is shown."""
        self._known = known
        self._sources: list[Source] = []

    def add(self, source: Source) -> None:
        """Ask this one as well from now on."""
        self._sources.append(source)

    @override
    def collect(self) -> Iterator[Family]:
        """Families in the order of the catalog; a family without values is left out."""
        families: dict[str, Family] = {}
        for source in self._sources:
            for value in source():
                metric = value.metric
                family = families.get(metric.name)
                if family is None:
                    family = families[metric.name] = _family(metric)
                _add(family, value)
        for metric in self._known:
            if metric.name in families:
                yield families[metric.name]


def _family(metric: Metric) -> Family:
    match metric.kind:
        case Kind.GAUGE:
            return GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
        case Kind.COUNTER:
            return CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
        case Kind.HISTOGRAM:
            return HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)


def _add(family: Family, value: Reading | Histogram) -> None:
    if isinstance(value, Histogram):
        assert isinstance(family, HistogramMetricFamily)
        family.add_metric(value.labels, _buckets(value), value.total)
    else:
        assert not isinstance(family, HistogramMetricFamily)
        family.add_metric(value.labels, value.value)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        below += count
        buckets.append(("+Inf" if bound == float("inf") else repr(bound), below))
    return buckets


def make_registry(known: Sequence[Metric]) -> tuple[CollectorRegistry, StateCollector]:
    """A registry of this process: its own figures (``process_…``) and those of the sources to be added."""
    registry, collector = CollectorRegistry(), StateCollector(known)
    ProcessCollector(registry=registry)
    registry.register(collector)
    return registry, collector
