"""docker and skopeo with somebody of a directory."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.daemons import dockerd
from tests.clients.provide import path_of
from tests.directory.slapd import PASSWORD, slapd
from tests.directory.test_server import config
from tests.servers import Registry, start_registry


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("directory")
    with (
        slapd(folder / "slapd") as server,
        start_registry(folder / "registry", config=config(server)) as running,
    ):
        yield running


def run(home: Path, *command: str, given: str = "", fails: bool = False, **more: str) -> str:
    """Run a client whose home is empty; what it printed."""
    done = subprocess.run(
        [path_of(command[0]), *command[1:]],
        check=False,
        capture_output=True,
        text=True,
        input=given,
        timeout=120,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", **more},
    )
    assert (done.returncode != 0) is fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_docker(registry: Registry, tmp_path: Path) -> None:
    """docker logs in, pushes where the group may, and pulls; not with a wrong password."""
    image = f"{registry.host}/team-a/docker:1"
    archive = tmp_path / "image.tar"
    subprocess.run(["tar", "-cf", str(archive), "-C", "/etc", "hostname"], check=True)
    login = ["docker", "login", registry.host, "--username", "ada", "--password-stdin"]
    with dockerd({}) as address:
        assert "unauthorized" in run(
            tmp_path, *login, given="wrong", fails=True, DOCKER_HOST=address
        )
        assert "Login Succeeded" in run(tmp_path, *login, given=PASSWORD, DOCKER_HOST=address)
        run(tmp_path, "docker", "import", str(archive), image, DOCKER_HOST=address)
        run(tmp_path, "docker", "push", image, DOCKER_HOST=address)
        run(tmp_path, "docker", "rmi", image, DOCKER_HOST=address)
        run(tmp_path, "docker", "pull", image, DOCKER_HOST=address)
        other = f"{registry.host}/team-b/docker:1"
        run(tmp_path, "docker", "tag", image, other, DOCKER_HOST=address)
        run(tmp_path, "docker", "push", other, fails=True, DOCKER_HOST=address)


def test_skopeo(registry: Registry, tmp_path: Path) -> None:
    """skopeo logs in; not with a wrong password."""
    login = ["skopeo", "login", "--tls-verify=false", "--username=ada", "--password-stdin"]
    assert "invalid username/password" in run(
        tmp_path, *login, registry.host, given="wrong", fails=True
    )
    assert "Login Succeeded" in run(tmp_path, *login, registry.host, given=PASSWORD)
