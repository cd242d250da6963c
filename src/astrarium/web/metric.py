"""Metrics in Prometheus' text format: histograms that cost a few additions, families of samples, and the exposition.

The exposition is written here rather than by prometheus-client, which takes 10 µs a sample: series of DAGs that did nothing since the
last scrape are kept as text. The series of the process and of Python are prometheus-client's own.
"""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..lazy import library

if TYPE_CHECKING:
    import prometheus_client
else:
    prometheus_client = library("prometheus_client")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHERS = "_other"
"""The label value under which what is beyond a limit of labels is added up."""


def labels_text(labels: Mapping[str, str]) -> str:
    """`a="x",b="y"`, values escaped."""
    return ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items())


def escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Family:
    """All samples of one name. `kind` is gauge, counter or histogram."""

    def __init__(self, name: str, kind: str, meaning: str) -> None:
        self.name = name
        self._lines = [f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n"]

    def add(self, value: float, labels: Mapping[str, str] | None = None) -> Family:
        inside = f"{{{labels_text(labels)}}}" if labels else ""
        self._lines.append(f"{self.name}{inside} {value:.17g}\n")
        return self

    def add_histograms(self, histograms: Iterable[Histogram]) -> Family:
        self._lines.extend(histogram.text(self.name) for histogram in histograms)
        return self

    def text(self) -> str:
        return "".join(self._lines)


class Histogram:
    """One series of a histogram: how many observations were at most each of `bounds`. Observing is two additions and a search."""

    __slots__ = ("_counts", "_labels", "_text", "bounds", "total")

    def __init__(self, bounds: tuple[float, ...], labels: Mapping[str, str] | None = None) -> None:
        self.bounds = bounds
        self.total = 0.0
        self._counts = [0] * (len(bounds) + 1)
        self._labels = labels_text(labels) if labels else ""
        self._text = ""

    @property
    def count(self) -> int:
        return sum(self._counts)

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self.bounds, value)] += 1
        self.total += value
        self._text = ""

    def text(self, name: str) -> str:
        """Its samples; made anew only when something was observed."""
        if not self._text:
            comma = "," if self._labels else ""
            lines, seen = [], 0
            for bound, count in zip((*map(shown_bound, self.bounds), "+Inf"), self._counts, strict=True):
                seen += count
                lines.append(f'{name}_bucket{{{self._labels}{comma}le="{bound}"}} {seen}\n')
            inside = f"{{{self._labels}}}" if self._labels else ""
            lines.append(f"{name}_sum{inside} {self.total:.17g}\n{name}_count{inside} {seen}\n")
            self._text = "".join(lines)
        return self._text


def shown_bound(bound: float) -> str:
    """As Prometheus' own libraries write it: `1.0`, `0.25`."""
    return repr(float(bound))


class Histograms:
    """One series for each value of one label, at most `most`; the others share the series `_other`."""

    def __init__(self, label: str, bounds: tuple[float, ...], most: int) -> None:
        self._label = label
        self._bounds = bounds
        self._most = most
        self._series: dict[str, Histogram] = {}

    def observe(self, label: str, value: float) -> None:
        found = self._series.get(label)
        if found is None:
            if len(self._series) >= self._most:
                label = OTHERS
            found = self._series.get(label)
            if found is None:
                found = self._series[label] = Histogram(self._bounds, {self._label: label})
        found.observe(value)

    def all(self) -> Iterable[Histogram]:
        return self._series.values()


@functools.cache
def of_process() -> prometheus_client.CollectorRegistry:
    """The series of this process and of Python."""
    registry = prometheus_client.CollectorRegistry()
    for collector in (prometheus_client.ProcessCollector, prometheus_client.PlatformCollector, prometheus_client.GCCollector):
        collector(registry=registry)
    return registry


def exposition(families: Iterable[Family]) -> bytes:
    """The families, then the series of this process and of Python."""
    return "".join(family.text() for family in families).encode() + prometheus_client.generate_latest(of_process())
