"""What `entrepot login` keeps for other clients, and what limits a personal access token."""

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

from tests.clients.provide import path_of
from tests.clients.sites import PASSWORD, Client, Site
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
