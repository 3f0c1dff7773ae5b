"""How busy a server is."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrepot.telemetry import Load, Metrics


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds = [100.0]
    monkeypatch.setattr("entrepot.telemetry.load.time.monotonic", lambda: seconds[0])
    return seconds


def settled(load: Load, clock: list[float]) -> float:
    for _ in range(20):
        clock[0] += 1.0
        load()
    return load()


def test_short_requests_count_although_no_look_finds_one(
    tmp_path: Path, clock: list[float]
) -> None:
    """A quarter of each second is spent on requests, all of which are over when it is looked."""
    metrics = Metrics(tmp_path)
    load = Load(tmp_path)
    load()
    for _ in range(20):
        clock[0] += 1.0
        metrics.started("manifest")
        metrics.finished("manifest", "GET", 200, 0.25, 0, 0)
        load()
    assert load() == pytest.approx(0.25, abs=0.001)
    assert settled(load, clock) == pytest.approx(0.0, abs=0.001)


def test_long_requests_count_while_they_go_on(tmp_path: Path, clock: list[float]) -> None:
    """One in one of two workers is a half."""
    metrics, other = Metrics(tmp_path), Metrics(tmp_path)
    load = Load(tmp_path)
    metrics.started("blob")
    other.started("blob")
    other.finished("blob", "GET", 200, 0.0, 0, 0)
    assert settled(load, clock) == pytest.approx(0.5, abs=0.001)


def test_it_is_never_more_than_all(tmp_path: Path, clock: list[float]) -> None:
    metrics = Metrics(tmp_path)
    load = Load(tmp_path)
    for _ in range(5):
        metrics.started("blob")
    assert settled(load, clock) == pytest.approx(1.0, abs=0.001)
