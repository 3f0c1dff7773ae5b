"""A registry of its own for hostile input, in a directory whose every other file is watched."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.conformance.answers import assert_acceptable
from tests.footing import SHARED, open_footing
from tests.fuzz.raw import Target
from tests.servers import Registry, start_registry

WATCHED: Final = "watched.txt"

_EXTERNAL: Final = os.environ.get("ENTREPOT_TEST_URL")


def tree(directory: Path, *, without: Path) -> dict[str, str]:
    """Every file and folder below `directory` but those in `without`, with a hash of each file."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path == without or without in path.parents or path.suffix == ".log":
            continue
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(directory))] = hashlib.sha256(content).hexdigest()
    return found


@pytest.fixture(scope="session", params=["external"] if _EXTERNAL else list(SHARED))
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of index and storage in turn, unless the registry is another one."""
    return str(request.param)


@pytest.fixture(scope="session")
def attacked(
    request: pytest.FixtureRequest, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """A registry whose root lies three folders deep among files that nobody may touch; or objects,
    in a bucket of its own.

    After all attacks: the files outside of the root are as before, nothing unknown lies at the
    root's top, nor elsewhere in the bucket, and the log has no traceback.
    """
    parent = tmp_path_factory.mktemp("fuzz")
    root = parent / "private" / "data" / "root"
    root.mkdir(parents=True)
    for folder in (parent, parent / "private", parent / "private" / "data"):
        (folder / WATCHED).write_text("nobody may read or write this")
    with open_footing(request, kind) as footing:
        config, bucket = footing.config(), f"fuzz-{uuid.uuid4()}"
        if footing.seaweedfs:
            footing.seaweedfs.make_bucket(bucket)
            config["storage"]["s3"] |= {"bucket": bucket, "rootdirectory": "private/root"}
        with start_registry(root, config=config) as registry:
            outside = tree(parent, without=root)
            top = {path.name for path in root.iterdir()}
            yield registry
            assert tree(parent, without=root) == outside
            assert {path.name for path in root.iterdir()} - top <= {"docker"}
            assert "Traceback (most recent call last)" not in registry.log()
        if footing.seaweedfs:
            for key in footing.seaweedfs.listing(bucket, ""):
                assert key.startswith(("private/root/docker/", "private/root/entrepot/")), key


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest, kind: str) -> Target:
    """Where raw requests go: our own server, or the one that `ENTREPOT_TEST_URL` names."""
    if _EXTERNAL:
        url = httpx.URL(_EXTERNAL)
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
