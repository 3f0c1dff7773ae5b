"""Render what all processes have counted in Prometheus' text format, with registry:2's spelling."""

import platform
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from math import isnan
from pathlib import Path

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from entrepot.telemetry.directory import read_server
from entrepot.telemetry.families import (
    FAMILIES,
    REQUEST_SIZE,
    REQUESTS,
    RESPONSE_SIZE,
    Family,
)
from entrepot.telemetry.process import Usage, usage
from entrepot.telemetry.series import Key, Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of what `render` returns."""


class _Server(Collector):
    """Everything known about one server at one moment."""

    def __init__(self, snapshots: Sequence[Snapshot], *, server: int | None) -> None:
        self._snapshots = snapshots
        self._server = server

    def collect(self) -> Iterator[Metric]:
        totals = _add_up(self._snapshots)
        _count_empty_bodies(totals)
        for family in FAMILIES:
            yield _metric(family, totals.get(family.name, {}))
        alive = {snapshot.pid: snapshot.role for snapshot in self._snapshots if snapshot.alive}
        yield GaugeMetricFamily(
            "entrepot_workers",
            "Worker processes that serve requests",
            value=sum(role == "worker" for role in alive.values()),
        )
        build = GaugeMetricFamily(
            "entrepot_build_info", "The program that runs", labels=("version", "python")
        )
        build.add_metric((_version(), platform.python_version()), 1)
        yield build
        yield from _process_metrics(usage(alive, server=self._server))


def render(snapshots: Sequence[Snapshot], *, directory: Path) -> bytes:
    """Return the text of all metrics: the sum over `snapshots`, and the state of the processes."""
    return generate_latest(_Server(snapshots, server=read_server(directory)))


def _add_up(snapshots: Iterable[Snapshot]) -> dict[str, dict[Key, list[float]]]:
    """Sum the values of all processes: metric name -> label values -> values.

    What processes that are gone have counted belongs to the totals, but they have nothing in
    flight any more. Of times the latest counts.
    """
    latest = {family.name for family in FAMILIES if family.latest}
    gauges = {family.name for family in FAMILIES if family.kind == "gauge"} - latest
    totals: dict[str, dict[Key, list[float]]] = defaultdict(dict)
    for snapshot in snapshots:
        for (name, *labels), values in snapshot.values.items():
            if name in gauges and not snapshot.alive:
                continue
            series = totals[name].setdefault(tuple(labels), [0.0] * len(values))
            for index, value in enumerate(values):
                series[index] = (
                    max(series[index], value) if name in latest else series[index] + value
                )
    return totals


def _count_empty_bodies(totals: dict[str, dict[Key, list[float]]]) -> None:
    """Put the requests whose body, or whose answer's, has not been counted into the first bucket:
    it was empty.
    """
    requests: dict[Key, float] = defaultdict(float)
    for (handler, *_), (count,) in totals[REQUESTS.name].items():
        requests[handler,] += count
    for family in (REQUEST_SIZE, RESPONSE_SIZE):
        for key, (_, *counts) in totals[family.name].items():
            totals[family.name][key][1] += max(0.0, requests[key] - sum(counts))


def _metric(family: Family, series: dict[Key, list[float]]) -> Metric:
    rows = sorted(series.items())
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for labels, (total, *counts) in rows:
            histogram.add_metric(labels, _cumulative(family.buckets, counts), total)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name.removesuffix("_total"), family.help, labels=family.labels)
    if not family.labels:
        rows = rows or [((), [0.0])]
    for labels, (value,) in rows:
        if not isnan(value):  # what was shown once and is gone
            metric.add_metric(labels, value)
    return metric


def _cumulative(buckets: Sequence[float], counts: Sequence[float]) -> list[tuple[str, float]]:
    """Return the buckets as Prometheus wants them, their limits written as Go does (1, not 1.0)."""
    limits = [*(_go_text(bucket) for bucket in buckets), "+Inf"]
    rows = []
    below = 0.0
    for limit, count in zip(limits, counts, strict=True):
        below += count
        rows.append((limit, below))
    return rows


def _go_text(number: float) -> str:
    text = str(floatToGoString(number))  # type: ignore[no-untyped-call]
    return text.removesuffix(".0")


def _process_metrics(used: Usage) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "process_cpu_seconds",
        "Total user and system CPU time spent in seconds, all processes of the server together",
        value=used.cpu_seconds,
    )
    yield GaugeMetricFamily(
        "process_resident_memory_bytes",
        "Memory of all processes of the server together, shared pages counted once",
        value=used.memory_bytes,
    )
    yield GaugeMetricFamily(
        "process_virtual_memory_bytes",
        "Virtual memory size in bytes, all processes of the server together",
        value=used.virtual_bytes,
    )
    yield GaugeMetricFamily(
        "process_open_fds",
        "Number of open file descriptors, all processes of the server together",
        value=used.open_files,
    )
    yield GaugeMetricFamily(
        "process_max_fds",
        "Maximum number of open file descriptors of one process",
        value=used.most_files,
    )
    yield GaugeMetricFamily(
        "process_start_time_seconds",
        "Start time of the server since unix epoch in seconds",
        value=used.started,
    )


@cache
def _version() -> str:
    try:
        return version("entrepot")
    except PackageNotFoundError:
        return "unknown"
