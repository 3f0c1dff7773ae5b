"""Runs load against one server and times it: wrk, own clients, and client processes."""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

from bench.clients import Load
from bench.errors import BenchError, WrongAnswerError
from bench.measure import Sample, cpu_seconds
from bench.servers import Server
from bench.tools import path_of

_SCRIPT = Path(__file__).with_name("wrk.lua")
FORK = multiprocessing.get_context("fork")

Prepare = Callable[[], Callable[[], None]]
"""Makes everything a client sends (untimed) and returns the client's timed part."""


def wrk(
    server: Server, path: str, *, headers: str, connections: int, seconds: float, paths: int = 0
) -> Load:
    """GET with wrk, one thread; with `paths`, that many in turn, which have numbers from 1 at their
    ends. Raises WrongAnswerError if any request failed.
    """
    lines = [line for line in (headers + server.headers).split("\r\n") if line]
    command = [path_of("wrk"), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
    command += ["--timeout", "20s", "-s", str(_SCRIPT)]
    for line in lines:
        command += ["-H", line]
    environment = {**os.environ, "BENCH_PATHS": str(paths)} if paths else None
    output = subprocess.run(
        [*command, server.url + path], capture_output=True, text=True, check=False, env=environment
    ).stdout
    found = re.search(r"^RESULT (.*)$", output, re.MULTILINE)
    if found is None:
        raise BenchError(f"wrk said: {output}")
    figures = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", found[1])}
    if figures["errors"]:
        raise WrongAnswerError(f"{server.name}: GET {path} failed under load: {output}")
    return Load(
        requests=figures["requests"],
        seconds=figures["microseconds"] / 1e6,
        received=figures["bytes"],
        p50=figures["p50"] / 1e6,
        p99=figures["p99"] / 1e6,
    )


def per_operation(server: Server, *, operations: float, seconds: float, cpu: float) -> Sample:
    """Rate and CPU per operation; without the CPU where the server's processes are not known."""
    if not operations:
        raise WrongAnswerError(f"{server.name} answered nothing within {seconds:.1f} s")
    sample = {"rate": operations / seconds}
    if server.pids:
        sample["cpu"] = cpu / operations
    return sample


def settle() -> None:
    """Let the disk finish what others left, so that nobody is charged for another's writes."""
    os.sync()


def time_one_by_one(server: Server, prepare: Prepare, *, times: int, each: float) -> Sample:
    """Prepare (untimed) and run (timed) `times` times; each counts for `each` operations."""
    settle()
    before = cpu_seconds(server.pids)
    seconds = 0.0
    for _ in range(times):
        run = prepare()
        start = time.perf_counter()
        run()
        seconds += time.perf_counter() - start
    cpu = cpu_seconds(server.pids) - before
    return per_operation(server, operations=times * each, seconds=seconds, cpu=cpu)


def time_together(
    server: Server,
    clients: Sequence[Prepare],
    *,
    operations: float,
    observer: AbstractContextManager[object] | None = None,
) -> Sample:
    """Run clients at the same time, a process each, from the first's start to the last's end.

    The observer is entered when all clients are ready, and left when all are done.
    """
    pipes: list[Pipe] = []
    processes = []
    for prepare in clients:
        ours, theirs = FORK.Pipe()
        process = FORK.Process(target=_client, args=(theirs, prepare), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        _receive_all(pipes)
        settle()
        before = cpu_seconds(server.pids)
        with observer or nullcontext():
            for pipe in pipes:
                pipe.send("go")
            spans = _receive_all(pipes)
        cpu = cpu_seconds(server.pids) - before
    finally:
        for process in processes:
            process.join(1.0)
            process.kill()
    seconds = max(end for _, end in spans) - min(start for start, _ in spans)
    return per_operation(server, operations=operations, seconds=seconds, cpu=cpu)


def _receive_all(pipes: Sequence[Pipe]) -> list[tuple[float, float]]:
    received = []
    for pipe in pipes:
        try:
            answer = pipe.recv()
        except EOFError:
            raise BenchError("a client process died") from None
        if isinstance(answer, str):
            raise BenchError(f"a client failed: {answer}")
        received.append(answer)
    return received


def _client(pipe: Pipe, prepare: Prepare) -> None:
    """The body of a client process: (0, 0) when ready, (start, end) when done, text on failure."""
    try:
        run = prepare()
        pipe.send((0.0, 0.0))
        pipe.recv()
        start = time.monotonic()
        run()
        pipe.send((start, time.monotonic()))
    except (BenchError, OSError) as error:
        pipe.send(f"{type(error).__name__}: {error}")
