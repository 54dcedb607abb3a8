"""Counts of several processes, added up."""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

Tally: TypeAlias = list[tuple[str, str, dict[str, str], float]]
"""Samples: the metric's name, the sample's, its labels, its value."""

SUMMABLE = ("counter", "histogram")
"""Kinds of metrics of which a front has its part; the others are the core's."""


def tally(registry: CollectorRegistry) -> Tally:
    """What was counted in this process."""
    return [
        (metric.name, sample.name, sample.labels, sample.value)
        for metric in registry.collect()
        if metric.type in SUMMABLE
        for sample in metric.samples
    ]


def merged(tallies: Iterable[Tally]) -> Tally:
    """Their sum."""
    sums: dict[tuple[str, str, tuple[tuple[str, str], ...]], float] = {}
    for part in tallies:
        for name, sample, labels, value in part:
            key = name, sample, tuple(labels.items())
            sums[key] = _joined(sample, sums[key], value) if key in sums else value
    return [(name, sample, dict(labels), value) for (name, sample, labels), value in sums.items()]


class Sum(Collector):
    """A registry's metrics with the tallies of other processes added."""

    def __init__(self, registry: CollectorRegistry, tallies: Iterable[Tally]) -> None:
        self._registry = registry
        self._tally = merged([tally(registry), *tallies])

    def collect(self) -> Iterator[Metric]:
        """Each metric once."""
        for own in self._registry.collect():
            if own.type not in SUMMABLE:
                yield own
                continue
            metric = Metric(own.name, own.documentation, own.type, own.unit)
            for name, sample, labels, value in self._tally:
                if name == own.name:
                    metric.add_sample(sample, labels, value)
            yield metric


def _joined(sample: str, one: float, other: float) -> float:
    """Two processes' values as one; counting began with the first."""
    return min(one, other) if sample.endswith("_created") else one + other
