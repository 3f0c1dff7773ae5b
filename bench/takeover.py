"""The takeover of a storage of `registry:2` by a server that serves meanwhile."""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from bench.errors import BenchError
from bench.index import INDEX
from bench.loads import per_operation, settle
from bench.measure import PeakMemory, Sample, cpu_seconds
from bench.old_layout import write_old_layout
from bench.servers import Server
from bench.settings import Settings
from bench.yard import Yard

MANIFESTS = 20_000
_DEADLINE = 300.0
_PAUSE = 0.02


def measure_import(yard: Yard, name: str, _: Settings) -> Sample:
    """From the first request that could be answered to the last row; one client pulls a manifest
    every 20 ms. The rate counts from when the takeover began, before the server was ready.
    """
    directory = yard.storage("import", lambda root: write_old_layout(root, manifests=MANIFESTS))
    shutil.rmtree(directory / "data" / "entrepot", ignore_errors=True)
    settle()
    with yard.fresh(name, directory=directory) as server:
        observer = PeakMemory(server.pids, interval=0.2)
        cpu = cpu_seconds(server.pids)
        with observer:
            latencies = _pull_until_done(server, directory / "data" / INDEX)
        cpu = cpu_seconds(server.pids) - cpu
    sample = per_operation(
        server, operations=MANIFESTS, seconds=_seconds(directory / "data" / INDEX), cpu=cpu
    )
    latencies.sort()
    return {
        **sample,
        "p50": latencies[len(latencies) // 2],
        "p99": latencies[len(latencies) * 99 // 100],
        "peak": observer.peak_bytes,
    }


def _pull_until_done(server: Server, index: Path) -> list[float]:
    latencies = []
    deadline = time.monotonic() + _DEADLINE
    with server.connect() as connection:
        number = 0
        while not _finished(index):
            if time.monotonic() > deadline:
                raise BenchError(f"{server.name}: the takeover took more than {_DEADLINE:.0f} s")
            path = f"/v2/team{number % 10}/app{number % 100:05}/manifests/v{number % 200}"
            began = time.perf_counter()
            connection.request("GET", path).expect(200)
            latencies.append(time.perf_counter() - began)
            number += 1
            time.sleep(_PAUSE)
    return latencies


def _finished(index: Path) -> bool:
    with closing(sqlite3.connect(index)) as connection:
        found = connection.execute("SELECT indexed, finished_at FROM imports").fetchone()
    if found[1] is not None and found[0] != MANIFESTS:
        raise BenchError(f"{found[0]} of {MANIFESTS} manifests were taken over")
    return found[1] is not None


def _seconds(index: Path) -> float:
    with closing(sqlite3.connect(index)) as connection:
        found = connection.execute("SELECT finished_at - started_at FROM imports").fetchone()
    return float(found[0]) / 1e6
