"""Clients that run side by side, and what their steps took."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from bench.errors import BenchError, WrongAnswerError
from bench.latencies import measure_latencies, percentiles


def slow() -> Callable[[], None]:
    def step() -> None:
        until = time.perf_counter() + 0.01
        while time.perf_counter() < until:
            pass

    return step


def quick() -> Callable[[], None]:
    return lambda: None


def failing() -> Callable[[], None]:
    def step() -> None:
        raise WrongAnswerError("expected (200,)")

    return step


def test_each_client_tells_what_its_steps_took_without_the_pauses() -> None:
    busy, idle = measure_latencies([(slow, 0.0), (quick, 0.01)], seconds=1)
    assert busy
    assert min(busy) >= 0.01
    assert idle
    assert min(idle) < 0.01


def test_a_client_that_fails_ends_the_run() -> None:
    with pytest.raises(BenchError, match="WrongAnswerError: expected"):
        measure_latencies([(quick, 0.01), (failing, 0.0)], seconds=0.1)


def test_percentiles_are_of_what_was_measured() -> None:
    assert percentiles([number / 1000 for number in range(200, 0, -1)]) == {
        "p50": 0.101,
        "p99": 0.199,
    }
