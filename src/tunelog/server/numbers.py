"""The service's numbers for Prometheus, of all of its processes together.

They hold no name of a project, job, key or metric, since they are served without a key.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client import generate_latest as text_of
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from tunelog import __version__
from tunelog.server.siblings import Sibling
from tunelog.server.tally import Name

_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, float("inf"))
_BOUNDS = tuple(map(floatToGoString, _BUCKETS))
_PROCESS, _UNDER_WAY, _SENT = ("process",), ("under way",), ("sent",)
_OF_ONE = ("process_start_time_seconds", "process_max_fds")
"""Numbers of a process that are not added up: of the first one to start, and of each the same."""


class Numbers(Collector):
    """Counts what this process does, and tells what it and its siblings did."""

    def __init__(self, sibling: Sibling) -> None:
        """`sibling` is this process."""
        self._tallies, self._tally = sibling.tallies, sibling.tally
        self._tally.set(_PROCESS, os.getpid())
        self._tally.set(_UNDER_WAY, 0)  # whatever a process that died in this place had begun
        self._tally.add(_SENT, 0)
        self._registry = CollectorRegistry()
        for collector in (PlatformCollector(registry=None), self):
            self._registry.register(collector)

    def begun(self) -> None:
        """Count a request that is to be answered."""
        self._tally.add(_UNDER_WAY)

    def ended(self, operation: str, status: int, seconds: float, size: int) -> None:
        """Count it as answered."""
        self._tally.add(_UNDER_WAY, -1)
        self._tally.add(("requests", operation, str(status)))
        self._tally.add(("seconds", operation, _BOUNDS[bisect_left(_BUCKETS, seconds)]))
        self._tally.add(("sum of seconds", operation), seconds)
        self._tally.add(_SENT, size)

    def text(self) -> bytes:
        """The numbers in Prometheus's text format."""
        return text_of(self._registry)

    def collect(self) -> Iterator[Metric]:
        """All of them but Python's."""
        sums: defaultdict[Name, float] = defaultdict(float)
        pids = []
        for tally in self._tallies:
            for name, number in tally.items():
                if name == _PROCESS:
                    pids.append(int(number))
                else:
                    sums[name] += number
        yield from _of_processes(pids if len(self._tallies) == 1 else [os.getppid(), *pids])
        info = GaugeMetricFamily("tunelog_info", "The running version.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        yield _requests(sums)
        yield _seconds(sums)
        yield CounterMetricFamily("tunelog_sent_bytes", "Bytes of answers.", sums[_SENT])
        yield GaugeMetricFamily(
            "tunelog_requests_under_way", "Requests being answered.", sums[_UNDER_WAY]
        )


def _requests(sums: Mapping[Name, float]) -> Metric:
    family = CounterMetricFamily("tunelog_requests", "Requests.", labels=["operation", "status"])
    for name, number in sums.items():
        if name[0] == "requests":
            family.add_metric(name[1:], number)
    return family


def _seconds(sums: Mapping[Name, float]) -> Metric:
    family = HistogramMetricFamily(
        "tunelog_request_seconds",
        "Time from a request's headers to the end of its answer.",
        labels=["operation"],
    )
    for name, seconds in list(sums.items()):
        if name[0] == "sum of seconds":
            counts = accumulate(sums.get(("seconds", name[1], bound), 0.0) for bound in _BOUNDS)
            family.add_metric(name[1:], list(zip(_BOUNDS, counts, strict=True)), seconds)
    return family


def _of_processes(pids: Sequence[int]) -> Iterable[Metric]:
    """CPU, memory and files of these processes together; of one that is no more there is none."""
    added: dict[str, Metric] = {}
    for pid in pids:
        for family in ProcessCollector(pid=partial(int, pid), registry=None).collect():
            if family.name not in added:
                added[family.name] = family
            elif family.name not in _OF_ONE:
                (one,), (other,) = added[family.name].samples, family.samples
                added[family.name].samples = [one._replace(value=one.value + other.value)]
    return added.values()
