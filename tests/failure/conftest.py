"""A registry that tests may disturb, and clients that don't check what comes back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.objectstores import SeaweedFS
from tests.servers import SHARED, Registry

_NUMBER = itertools.count()


@pytest.fixture(scope="session", params=list(SHARED))
def sturdy(request: pytest.FixtureRequest) -> Iterator[Registry]:
    """A registry with two workers for tests that leave it running, on each kind of index and
    storage in turn.
    """
    running: Registry = request.getfixturevalue(SHARED[request.param])
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


class Uploads:
    """What unfinished uploads hold, as files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self) -> set[str]:
        """The names of those that hold anything."""
        return {path.name for path in self._folder.iterdir()}

    def held(self, location: str) -> bytes | None:
        """What an upload holds, by its address, or None if that can't be seen."""
        return (self._folder / name_of(location)).read_bytes()


class UploadsInObjects(Uploads):
    """The same as objects and parts."""

    def __init__(self, seaweedfs: SeaweedFS, root: str) -> None:
        self._seaweedfs = seaweedfs
        self._prefix = f"{root}/entrepot/uploads/"

    def all(self) -> set[str]:
        keys = self._seaweedfs.listing("tests", self._prefix)
        return {key.removeprefix(self._prefix).partition("/")[0] for key in keys}

    def held(self, location: str) -> bytes | None:  # noqa: ARG002
        return None


def name_of(location: str) -> str:
    """The name of an upload, from its address."""
    return location.partition("?")[0].rpartition("/")[2]


@pytest.fixture
def uploads(request: pytest.FixtureRequest, sturdy: Registry) -> Uploads:
    """What can be seen of unfinished uploads from outside."""
    objects = sturdy.config["storage"].get("s3")
    if objects:
        return UploadsInObjects(request.getfixturevalue("seaweedfs"), objects["rootdirectory"])
    return Uploads(sturdy.root / "entrepot" / "uploads")
