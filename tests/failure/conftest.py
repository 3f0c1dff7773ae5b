"""A registry that tests may disturb, and clients that don't check what comes back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.servers import Registry, start_registry

_NUMBER = itertools.count()


@pytest.fixture(scope="package")
def sturdy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with two workers for tests that leave it running."""
    with start_registry(tmp_path_factory.mktemp("failure") / "registry", workers=2) as running:
        yield running
        log = running.log()
        assert "Traceback (most recent call last)" not in log, log


@pytest.fixture
def http(sturdy: Registry) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sturdy.url, timeout=30) as client:
        yield client


@pytest.fixture
def repo() -> str:
    """A repository that no other test uses."""
    return f"failure/{next(_NUMBER)}"


@pytest.fixture
def uploads(sturdy: Registry) -> Path:
    """Where the bytes of unfinished uploads lie."""
    return sturdy.root / "entrepot" / "uploads"
