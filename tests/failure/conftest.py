"""A registry that tests may disturb, and clients that don't check what comes back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import httpx
import pytest

from tests.servers import Registry
from tests.uploads import Uploads, uploads_of

_NUMBER = itertools.count()


@pytest.fixture(scope="session")
def sturdy(shared: Registry) -> Iterator[Registry]:
    """A registry with two workers for tests that leave it running, on each kind of index and
    storage in turn.
    """
    yield shared
    log = shared.log()
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
def uploads(request: pytest.FixtureRequest, sturdy: Registry) -> Uploads:
    """What can be seen of its unfinished uploads."""
    in_objects = "s3" in sturdy.config["storage"]
    return uploads_of(sturdy, request.getfixturevalue("seaweedfs") if in_objects else None)
