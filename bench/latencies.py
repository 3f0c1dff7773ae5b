"""Latencies of single requests, from client processes that run side by side for some seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection as Pipe

from bench.errors import BenchError
from bench.loads import FORK

Steps = Callable[[], Callable[[], None]]
"""Makes a client (untimed) and returns what it does again and again, each time of which counts."""


def measure_latencies(
    clients: Sequence[tuple[Steps, float]], *, seconds: float
) -> list[list[float]]:
    """What each client's steps took, in seconds; each pauses for so long after every step."""
    running = []
    for steps, pause in clients:
        ours, theirs = FORK.Pipe(duplex=False)
        given = (theirs, steps, pause, seconds)
        process = FORK.Process(target=_client, args=given, daemon=True)
        process.start()
        theirs.close()
        running.append((process, ours))
    found = []
    for process, pipe in running:
        try:
            answer = pipe.recv()
        except EOFError:
            raise BenchError("a client process died") from None
        process.join(10.0)
        process.kill()
        if isinstance(answer, str):
            raise BenchError(f"a client failed: {answer}")
        found.append(answer)
    return found


def _client(pipe: Pipe, steps: Steps, pause: float, seconds: float) -> None:
    try:
        step = steps()
        taken = []
        until = time.perf_counter() + seconds
        while (began := time.perf_counter()) < until:
            step()
            taken.append(time.perf_counter() - began)
            time.sleep(pause)
        pipe.send(taken)
    except (BenchError, OSError) as error:
        pipe.send(f"{type(error).__name__}: {error}")


def percentiles(latencies: Sequence[float]) -> dict[str, float]:
    """p50 and p99 in seconds."""
    ordered = sorted(latencies)
    return {"p50": ordered[len(ordered) // 2], "p99": ordered[len(ordered) * 99 // 100]}
