"""How busy a server is."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrepot.telemetry import Load, Metrics


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def settled(load: Load, clock: Clock) -> float:
    for _ in range(20):
        clock.seconds += 1.0
        load()
    return load()


def test_short_requests_count_although_no_look_finds_one(tmp_path: Path) -> None:
    """A quarter of each second is spent on requests, all of which are over when it is looked."""
    metrics = Metrics(tmp_path)
    clock = Clock()
    load = Load(tmp_path, clock=clock)
    load()
    for _ in range(20):
        clock.seconds += 1.0
        metrics.started("manifest")
        metrics.finished("manifest", "GET", 200, 0.25, 0, 0)
        load()
    assert load() == pytest.approx(0.25, abs=0.001)
    assert settled(load, clock) == pytest.approx(0.0, abs=0.001)


def test_long_requests_count_while_they_go_on(tmp_path: Path) -> None:
    """One in one of two workers is a half."""
    metrics, other = Metrics(tmp_path), Metrics(tmp_path)
    clock = Clock()
    load = Load(tmp_path, clock=clock)
    metrics.started("blob")
    other.started("blob")
    other.finished("blob", "GET", 200, 0.0, 0, 0)
    assert settled(load, clock) == pytest.approx(0.5, abs=0.001)


def test_it_is_never_more_than_all(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    clock = Clock()
    load = Load(tmp_path, clock=clock)
    for _ in range(5):
        metrics.started("blob")
    assert settled(load, clock) == pytest.approx(1.0, abs=0.001)
