"""A registry of its own for hostile input, in a directory whose every other file is watched."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.conformance.answers import assert_acceptable
from tests.fuzz.raw import Target
from tests.servers import Registry, start_registry

WATCHED: Final = "watched.txt"


def tree(directory: Path, *, without: Path) -> dict[str, str]:
    """Every file and folder below `directory` but those in `without`, with a hash of each file."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path == without or without in path.parents or path.suffix == ".log":
            continue
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(directory))] = hashlib.sha256(content).hexdigest()
    return found


@pytest.fixture(scope="session")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry whose root lies three folders deep among files that nobody may touch.

    After all attacks: the files outside of the root are as before, nothing unknown lies at the
    root's top, and the log has no traceback.
    """
    parent = tmp_path_factory.mktemp("fuzz")
    root = parent / "private" / "data" / "root"
    root.mkdir(parents=True)
    for folder in (parent, parent / "private", parent / "private" / "data"):
        (folder / WATCHED).write_text("nobody may read or write this")
    with start_registry(root) as registry:
        outside = tree(parent, without=root)
        top = {path.name for path in root.iterdir()}
        yield registry
        assert tree(parent, without=root) == outside
        assert {path.name for path in root.iterdir()} - top <= {"docker"}
        assert "Traceback (most recent call last)" not in registry.log()


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Target:
    """Where raw requests go: our own server, or the one that `ENTREPOT_TEST_URL` names."""
    external = os.environ.get("ENTREPOT_TEST_URL")
    if external:
        url = httpx.URL(external)
        return Target(url.host, url.port or 80)
    registry: Registry = request.getfixturevalue("attacked")
    host, _, port = registry.host.rpartition(":")
    return Target(host, int(port))


@pytest.fixture(scope="session")
def http(target: Target) -> Iterator[httpx.Client]:
    """A client that fails on any answer that no registry may give."""

    def check(response: httpx.Response) -> None:
        response.read()
        assert_acceptable(response)

    with httpx.Client(base_url=target.url, timeout=30, event_hooks={"response": [check]}) as client:
        yield client
