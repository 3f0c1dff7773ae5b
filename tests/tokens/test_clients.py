"""Real clients that log in and get tokens; the folder `clients` has all they do with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.clients.sites import Client
from tests.images_on_disk import digest_of, make_image
from tests.servers import Registry, start_registry, wait_until

pytestmark = pytest.mark.clients

USER, PASSWORD = "ada", "in: und wieder out"


@pytest.fixture(scope="module")
def issuing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that issues tokens to its one local user."""
    local = {"admin": {"name": USER, "password": PASSWORD}}
    place = tmp_path_factory.mktemp("tokens") / "registry"
    with start_registry(place, config={"auth": {"local": local}}) as registry:
        yield registry


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("images") / "layout"
    make_image(place, "one", files={"/greeting": "one\n"})
    return place


@pytest.fixture
def client(tmp_path: Path) -> Client:
    home = tmp_path / "home"
    policy = home / ".config" / "containers" / "policy.json"
    policy.parent.mkdir(parents=True)
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    return Client(home, variables={"DOCKER_CONFIG": str(home / ".docker")})


def grants_in(log: str) -> list[str]:
    """The requests for tokens that a log tells of."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    asked = [line for line in lines if line.get("url.path") == "/auth/token"]
    return [f"{line['http.request.method']} {line['http.response.status_code']}" for line in asked]


def test_skopeo_uses_what_docker_was_given(issuing: Registry, client: Client, layout: Path) -> None:
    """docker login keeps a refresh token and no password; skopeo reads it from docker's file."""
    login = ["docker", "login", "--username", USER, "--password-stdin", issuing.host]
    assert "Login Succeeded" in client.run(*login, given=PASSWORD)
    kept = json.loads((client.home / ".docker" / "config.json").read_text())
    entry = kept["auths"][issuing.host]
    assert entry["identitytoken"].startswith("entr_ref_")
    assert PASSWORD not in json.dumps(kept)
    image = f"docker://{issuing.host}/clients/one:1"
    client.run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:one", image)
    seen = json.loads(client.run("skopeo", "inspect", "--tls-verify=false", image))
    assert seen["Digest"] == digest_of(layout, "one")
    wait_until(lambda: "POST 200" in grants_in(issuing.log()), what="the log of a refresh")
    assert "POST 401" not in grants_in(issuing.log())


def test_tokens_and_passwords_are_not_in_the_log(issuing: Registry) -> None:
    """Nor in the query of a request that holds one where it should not."""
    answer = httpx.get(f"{issuing.url}/auth/token", auth=(USER, PASSWORD))
    token = answer.json()["token"]
    form = {"grant_type": "refresh_token", "refresh_token": "entr_ref_secretsecret"}
    httpx.post(f"{issuing.url}/auth/token", data=form)
    httpx.post(f"{issuing.url}/auth/token", params={"refresh_token": "entr_ref_secretsecret"})
    httpx.get(f"{issuing.url}/v2/", headers={"Authorization": f"Bearer {token}x"})
    log = issuing.log()
    assert "entr_ref_secretsecret" not in log
    assert token not in log
    assert "und wieder" not in log
