"""A registry that runs, and the program on its host and elsewhere."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests import programs
from tests.api.test_description import LOCAL, PASSWORD
from tests.servers import Registry, start_registry
from tests.wire.images import Image

AUTH = ("admin", PASSWORD)
CONFIG = {**LOCAL, "storage": {"delete": {"enabled": True}}}

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("undo") / "registry"
    with start_registry(folder, config=CONFIG, workers=1) as running:
        yield running


@pytest.fixture
def http(registry: Registry) -> Iterator[httpx.Client]:
    with httpx.Client(auth=AUTH, base_url=registry.url, timeout=30) as client:
        yield client


@pytest.fixture
def run(registry: Registry, tmp_path: Path) -> Run:
    """Runs the program here or, with `there`, over the API."""
    docker = {"auths": {registry.host: {"username": AUTH[0], "password": AUTH[1]}}}
    (tmp_path / "config.json").write_text(json.dumps(docker))
    known = programs.environment(DOCKER_CONFIG=str(tmp_path))

    def start(*words: str, there: bool = False) -> subprocess.CompletedProcess[str]:
        place = ("--url", registry.url) if there else ("--config", str(registry.config_path))
        return programs.run(*words, *place, env=known)

    return start


def push(http: httpx.Client, name: str, made: Image, *references: str) -> httpx.Response:
    """Push an image with all that it needs; return the last answer, also if it is a refusal."""
    for child in made.children:
        assert push(http, name, child, child.digest).status_code == 201
    for blob in made.blobs:
        began = http.post(
            f"/v2/{name}/blobs/uploads/", params={"digest": blob.digest}, content=blob.data
        )
        assert began.status_code == 201, began.text
    kind = {"content-type": made.manifest.media_type}
    answers = [
        http.put(f"/v2/{name}/manifests/{each}", content=made.manifest.data, headers=kind)
        for each in references
    ]
    return answers[-1]


def tags(http: httpx.Client, name: str) -> list[str]:
    """The tags of a repository; none of one that is not there."""
    answer = http.get(f"/v2/{name}/tags/list")
    return list(answer.json()["tags"]) if answer.status_code == 200 else []


def points_at(http: httpx.Client, name: str, reference: str) -> str:
    """The digest that a reference leads to; empty if it leads nowhere."""
    answer = http.head(f"/v2/{name}/manifests/{reference}")
    return str(answer.headers.get("docker-content-digest", ""))
