"""The workloads that need a server of their own: what it takes to start and to keep running."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.content import RepeatedBlob, make_repeated_blob, push_repeated
from bench.index import fill_manifests
from bench.loads import Prepare, settle, time_together
from bench.measure import MIB, PeakMemory, Sample, pss_bytes
from bench.servers import Server
from bench.settings import Settings
from bench.yard import Yard

_REPOSITORY = "bench/memory"
_PIECE = 256 * MIB
_PIECES = 8
_QUIET_SECONDS = 2.0
_MANIFESTS = 1_000_000


def measure_memory(yard: Yard, name: str, _: Settings) -> Sample:
    """A fresh server: idle, and at most while one client pushes 2 GiB and another pulls 2 GiB.

    Nothing else of the same program may run, for shared pages count in proportion.
    """
    with yard.fresh(name) as server:
        time.sleep(_QUIET_SECONDS)
        idle = pss_bytes(server.pids)
        blob = make_repeated_blob(_PIECE, times=_PIECES)
        with server.connect() as connection:
            push_repeated(connection, _REPOSITORY, blob)
        settle()
        observer = PeakMemory(server.pids)
        sample = time_together(
            server,
            [_pusher(server), _puller(server, blob)],
            operations=2 * _PIECES * _PIECE / MIB,
            observer=observer,
        )
        peak = observer.peak_bytes
        return {**sample, "idle": idle, "peak": peak, "extra": max(0, peak - idle)}


def _pusher(server: Server) -> Prepare:
    def prepare() -> Callable[[], None]:
        blob = make_repeated_blob(_PIECE, times=_PIECES)
        connection = server.connect()
        return lambda: push_repeated(connection, _REPOSITORY, blob)

    return prepare


def _puller(server: Server, blob: RepeatedBlob) -> Prepare:
    def prepare() -> Callable[[], None]:
        connection = server.connect()

        def pull() -> None:
            connection.download(f"/v2/{_REPOSITORY}/blobs/{blob.digest}")

        return pull

    return prepare


def measure_start(yard: Yard, name: str, _: Settings) -> Sample:
    """From exec to the first 200 of /readyz, with 1,000,000 manifests in the index."""
    directory = yard.storage("start", lambda root: fill_manifests(root, count=_MANIFESTS))
    settle()
    start = time.perf_counter()
    with yard.fresh(name, directory=directory):
        return {"ready": time.perf_counter() - start}
