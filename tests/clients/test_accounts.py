"""Local users, robots and personal access tokens with the clients that people have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.clients.daemons import dockerd
from tests.clients.provide import path_of
from tests.clients.sites import PASSWORD, Client, Site
from tests.images_on_disk import manifest_of
from tests.programs import environment, run
from tests.servers import Registry, start_registry

KINDS: Final = ["user", "robot", "token"]


@dataclass(frozen=True, slots=True)
class Account:
    """What somebody types when logging in."""

    name: str
    password: str


def _entrepot(registry: Registry, *arguments: str, given: str = "") -> Any:
    """Run a command beside the server; what it printed, as JSON."""
    known = environment(REGISTRY_CONFIGURATION_PATH=str(registry.config_path))
    done = run(*arguments, "--output", "json", env=known, text=given)
    done.check_returncode()
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("accounts")
    limits = {"attempts": 1000, "addressattempts": 1000}
    config = {"auth": {"local": {"admin": {"password": PASSWORD}}, "limits": limits}}
    with start_registry(folder / "registry", config=config) as registry:
        yield registry


@pytest.fixture(scope="module")
def accounts(running: Registry) -> dict[str, Account]:
    """One of each kind, who may push everywhere."""
    _entrepot(running, "user", "create", "ada", "--password-stdin", given=PASSWORD)
    robot = _entrepot(running, "robot", "create", "ci", "--scope", "**:pull,push")
    token = _entrepot(running, "token", "create", "ada", "--name", "laptop")
    whom = ["--user", "ada", "--robot", robot["name"]]
    _entrepot(running, "access", "grant", "/", "--roles", "developer", *whom)
    return {
        "user": Account("ada", PASSWORD),
        "robot": Account(robot["name"], robot["secret"]),
        "token": Account("ada", token["secret"]),
    }


@pytest.fixture(scope="module")
def site(running: Registry, tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("trusted")
    return Site(running.host, folder=folder, tls=False, accounts=True)


@pytest.fixture(params=KINDS)
def account(request: pytest.FixtureRequest, accounts: dict[str, Account]) -> Account:
    return accounts[request.param]


@pytest.fixture(scope="module")
def engine(site: Site) -> Iterator[str]:
    with dockerd({}) as address:
        yield address


def test_docker(site: Site, client: Client, engine: str, account: Account, tmp_path: Path) -> None:
    """docker logs in, pushes and pulls; with a wrong password it doesn't log in."""
    docker = Client(client.home, variables={**client.variables, "DOCKER_HOST": engine})
    login = ["docker", "login", site.host, "--password-stdin", "--username", account.name]
    assert "unauthorized" in _refused(docker, *login)
    image = f"{site.host}/docker/accounts:1"
    archive = tmp_path / "image.tar"
    subprocess.run(["tar", "-cf", str(archive), "-C", str(client.home), "."], check=True)
    docker.run("docker", "import", str(archive), image)
    assert "Login Succeeded" in docker.run(*login, given=account.password)
    docker.run("docker", "push", image)
    docker.run("docker", "rmi", image)
    docker.run("docker", "pull", image)
    docker.run("docker", "rmi", image)


def test_podman(site: Site, client: Client, account: Account, layout: Path) -> None:
    """podman logs in, pushes and pulls."""
    storage, place = client.home / "storage.conf", client.home / "storage"
    storage.write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{place}/graph"\nrunroot = "{place}/run"\n'
    )
    variables = {**client.variables, "CONTAINERS_STORAGE_CONF": str(storage)}
    client = Client(client.home, variables=variables)
    login = ["podman", "login", "--tls-verify=false", f"--username={account.name}"]
    assert "invalid username/password" in _refused(client, *login, "--password-stdin", site.host)
    printed = client.run(*login, "--password-stdin", site.host, given=account.password)
    assert "Login Succeeded" in printed
    image = f"{site.host}/podman/accounts:one"
    loaded = client.run("podman", "pull", "--quiet", f"oci:{layout}:one").strip()
    client.run("podman", "push", "--tls-verify=false", loaded, image)
    client.run("podman", "rmi", "--force", loaded)
    client.run("podman", "pull", "--tls-verify=false", image)


def test_skopeo(site: Site, client: Client, account: Account, layout: Path, tmp_path: Path) -> None:
    login = ["skopeo", "login", "--tls-verify=false", f"--username={account.name}"]
    assert "invalid username/password" in _refused(client, *login, "--password-stdin", site.host)
    client.run(*login, "--password-stdin", site.host, given=account.password)
    image = f"docker://{site.host}/skopeo/accounts:one"
    client.run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:one", image)
    client.run("skopeo", "copy", "--src-tls-verify=false", image, f"oci:{tmp_path}/back:one")
    # The same image: its layers may be those that podman has compressed, which skopeo knows of.
    back, there = (
        json.loads(manifest_of(place, "one"))["config"] for place in (tmp_path / "back", layout)
    )
    assert back == there


def test_helm(site: Site, client: Client, account: Account) -> None:
    chart = client.home / "chart"
    chart.mkdir()
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: chart\nversion: 1.0.0\n")
    client.run("helm", "package", str(chart), "--destination", str(client.home))
    login = ["helm", "registry", "login", "--plain-http", f"--username={account.name}"]
    assert "unauthorized" in _refused(client, *login, "--password-stdin", site.host).lower()
    client.run(*login, "--password-stdin", site.host, given=account.password)
    charts = f"oci://{site.host}/helm"
    package = client.home / "chart-1.0.0.tgz"
    client.run("helm", "push", str(package), charts, "--plain-http")
    (client.home / "back").mkdir()
    client.run("helm", "pull", f"{charts}/chart", "--plain-http", "-d", str(client.home / "back"))
    assert (client.home / "back" / package.name).read_bytes() == package.read_bytes()


def test_oras(site: Site, client: Client, account: Account, tmp_path: Path) -> None:
    login = ["oras", "login", "--plain-http", f"--username={account.name}", "--password-stdin"]
    assert "unauthorized" in _refused(client, *login, site.host).lower()
    client.run(*login, site.host, given=account.password)
    (client.home / "notes.txt").write_text("from the warehouse\n")
    artifact = f"{site.host}/oras/accounts:1"
    client.run("oras", "push", "--plain-http", artifact, "notes.txt:text/plain")
    client.run("oras", "pull", "--plain-http", "--output", str(tmp_path / "out"), artifact)
    assert (tmp_path / "out" / "notes.txt").read_text() == "from the warehouse\n"


def test_entrepot_login(site: Site, client: Client, account: Account) -> None:
    """Other clients find what `entrepot login` kept; a wrong password is not kept."""
    command = [sys.executable, "-m", "entrepot", "login", f"http://{site.host}"]
    command += ["--username", account.name, "--password-stdin"]
    kept = client.home / ".docker" / "config.json"
    kept.parent.mkdir()
    kept.write_text('{"auths": {"elsewhere": {"auth": "x"}}, "experimental": "enabled"}')
    before = kept.read_bytes()
    assert "refuses this name and password" in _refused(client, *command)
    assert kept.read_bytes() == before
    client.run(*command, given=account.password)
    assert kept.stat().st_mode & 0o777 == 0o600
    assert json.loads(kept.read_text())["experimental"] == "enabled"
    (client.home / "notes.txt").write_text("from the warehouse\n")
    artifact = f"{site.host}/oras/kept:1"
    client.run("oras", "push", "--plain-http", artifact, "notes.txt:text/plain")


def test_entrepot_login_and_a_credential_store(
    site: Site, client: Client, accounts: dict[str, Account]
) -> None:
    """Where docker is told of a store, that has the secret and the file has not."""
    store = client.home / "bin" / "docker-credential-shelf"
    store.parent.mkdir()
    store.write_text(f"#!/bin/sh\n[ $1 = store ] && cat > {client.home}/shelf\n")
    store.chmod(0o755)
    kept = client.home / ".docker" / "config.json"
    kept.parent.mkdir()
    kept.write_text('{"credsStore": "shelf"}')
    path = f"{store.parent}:{os.environ['PATH']}"
    client = Client(client.home, variables={**client.variables, "PATH": path})
    command = [sys.executable, "-m", "entrepot", "login", f"http://{site.host}"]
    token = accounts["token"]
    client.run(*command, "-u", token.name, "--password-stdin", given=token.password)
    shelved = json.loads((client.home / "shelf").read_text())
    assert shelved == {"ServerURL": site.host, "Username": "ada", "Secret": token.password}
    assert kept.read_text() == '{"credsStore": "shelf"}'


def test_a_scope_is_a_limit(
    site: Site, running: Registry, accounts: dict[str, Account], client: Client, layout: Path
) -> None:
    """A personal token that is for pulling does not push, although its user may."""
    pulling = _entrepot(running, "token", "create", "ada", "--scope", "skopeo/**:pull")
    image = f"docker://{site.host}/skopeo/scoped:one"
    source = f"oci:{layout}:one"
    copy = ["skopeo", "copy", "--dest-tls-verify=false"]
    client.run(*copy, f"--dest-creds=ada:{PASSWORD}", source, image)
    limited = f"ada:{pulling['secret']}"
    look = ["skopeo", "inspect", "--tls-verify=false", f"--creds={limited}"]
    client.run(*look, image)
    client.fails(*copy, f"--dest-creds={limited}", source, image)
    client.run(*copy, f"--dest-creds=ada:{PASSWORD}", source, f"docker://{site.host}/else/x:one")
    client.fails(*look, f"docker://{site.host}/else/x:one")


def _refused(client: Client, *command: str) -> str:
    """What a client says to a wrong password."""
    done = subprocess.run(
        [path_of(command[0]), *command[1:]],
        input="wrong",
        capture_output=True,
        text=True,
        check=False,
        cwd=client.home,
        env=client.environment(),
        timeout=60,
    )
    assert done.returncode != 0, done.stdout + done.stderr
    return done.stdout + done.stderr
