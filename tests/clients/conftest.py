"""The kinds of site that every client is tried on, and what the clients push there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from tests.certificates import Authority
from tests.clients.sites import PASSWORD, SITES, USER, Client, Site
from tests.images_on_disk import GREETING, make_image
from tests.servers import start_registry


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the clients that ./dev test installs."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.clients)


@pytest.fixture(scope="session", params=SITES)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A registry over plain HTTP or TLS, open or with accounts, where `tokens` means that clients
    get tokens of its own token server.
    """
    tls, accounts = "tls" in request.param, "open" not in request.param
    folder = tmp_path_factory.mktemp("site")
    trusted = folder / "trusted"  # clients take every key in such a folder for one to show
    trusted.mkdir()
    config: dict[str, Any] = {"http": {}}
    if tls:
        authority = Authority(folder / "certificates")
        shutil.copy(authority.certificate, trusted / "ca.crt")
        pair = authority.server()
        config["http"]["tls"] = {"certificate": str(pair.certificate), "key": str(pair.key)}
    if "tokens" in request.param:
        config["auth"] = {"local": {"admin": {"name": USER, "password": PASSWORD}}}
    elif accounts:
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(rounds=5)).decode()
        (folder / "htpasswd").write_text(f"{USER}:{hashed}\n")
        htpasswd = {"realm": "Tests", "path": str(folder / "htpasswd")}
        config["auth"] = {"htpasswd": htpasswd}
    with start_registry(folder / "registry", config=config) as registry:
        yield Site(registry.host, folder=trusted, tls=tls, accounts=accounts)
        assert _faults(registry.log()) == []


def _faults(log: str) -> list[str]:
    """The lines of a log that tell of an answer with a status of 500 or above."""
    return [line for line in log.splitlines() if _status(line) >= 500]


def _status(line: str) -> int:
    if not line.startswith("{"):
        return 0
    return int(json.loads(line).get("http.response.status_code", 0))


@pytest.fixture
def client(tmp_path: Path, site: Site) -> Client:
    """A client with an empty home, which trusts the site's certificate but knows no password."""
    home = tmp_path / "home"
    policy = home / ".config" / "containers" / "policy.json"
    policy.parent.mkdir(parents=True)
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    (home / "auth.json").write_text("{}")  # podman insists that the file it is told is there
    variables = {
        "DOCKER_CONFIG": str(home / ".docker"),
        "REGISTRY_AUTH_FILE": str(home / "auth.json"),
    }
    if site.tls:
        variables["SSL_CERT_FILE"] = str(site.ca)
    return Client(home, variables=variables)


@pytest.fixture(scope="session")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI layout with the images `one`, `two` (shares a layer with it) and `arm` (for arm64)."""
    place = tmp_path_factory.mktemp("images") / "layout"
    make_image(place, "one", files={GREETING: "one\n"})
    make_image(place, "two", files={GREETING: "two\n", "/etc/more": "more\n"})
    make_image(place, "arm", files={GREETING: "arm\n"}, architecture="arm64")
    return place
