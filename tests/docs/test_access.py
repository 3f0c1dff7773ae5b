"""The guides of docs/access.md, from nothing to each way to log in, are followed as they are
written: only hosts, files and the credentials of those who are asked are others.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from tests.directory import slapd as directory
from tests.directory.openid import CLIENT, SECRET, log_in_by_device, openid
from tests.programs import environment, run
from tests.servers import Registry, start_registry
from tests.tokens.issuers import AUDIENCE, start_issuer

DOCS: Final = Path(__file__).parents[2] / "docs"
FIRST: Final = "# /etc/entrepot/config.yml\n"
PASSWORD: Final = "a password of these tests"
TYPED: Final = {"user passwd admin": PASSWORD, "user create ada --group team-a": PASSWORD}
"""What is asked for."""


def blocks(page: str) -> list[str]:
    """The examples of a page."""
    text = (DOCS / page).read_text()
    found = re.findall(r"(?m)(?:^ {4}.*\n(?:\n(?= {4}))?)+", text)
    return [re.sub(r"(?m)^ {4}", "", block) for block in found]


def bare(block: str) -> str:
    """An example without what is said in it."""
    lines = (re.sub(r"(^|\s+)#.*$", "", line).rstrip() for line in block.splitlines())
    return "\n".join(line for line in lines if line)


def guides() -> list[tuple[dict[str, Any], list[str]]]:
    """Those that begin with nothing: the configuration, and the commands."""
    found = []
    for block in blocks("access.md"):
        if block.startswith(FIRST):
            text, _, commands = block.partition("\n\n")
            found.append((yaml.safe_load(text), bare(commands).splitlines()))
    return found


def guide(source: str) -> tuple[dict[str, Any], list[str]]:
    """The guide to the first that has that source of identities, to be changed at will."""
    return next((config, lines) for config, lines in guides() if source in config["auth"])


@contextmanager
def followed(folder: Path, config: dict[str, Any], commands: list[str]) -> Iterator[Registry]:
    """A registry of a guide, where all commands were given but those of other programs."""
    assert config.pop("version") == 0.1
    assert config.pop("storage") == {"filesystem": {"rootdirectory": "/var/lib/registry"}}
    config.pop("http", None)
    before = commands.index("entrepot serve")
    with start_registry(folder / "registry", config=config) as registry:
        known = environment(REGISTRY_CONFIGURATION_PATH=str(registry.config_path))
        if before:
            registry.stop()
        for line in commands:
            words = shlex.split(line)
            if before and words[1] == "serve":
                registry.start()
            if words[0] != "entrepot" or words[1] in {"serve", "login"}:
                continue
            typed = TYPED.get(" ".join(words[1:]), "")
            more = ["--password-stdin"] if typed else []
            done = run(*words[1:], *more, env=known, text=typed)
            assert done.returncode == 0, (line, done.stdout, done.stderr)
        yield registry


def begins(registry: Registry, auth: httpx.Auth | tuple[str, str], repository: str) -> int:
    """Begin an upload, and return the answer's status."""
    url = f"{registry.url}/v2/{repository}/blobs/uploads/"
    return httpx.post(url, auth=auth, timeout=30).status_code


def test_both_languages_say_the_same() -> None:
    for english, chinese in zip_longest(blocks("access.md"), blocks("access.zh-CN.md")):
        if "entr_pat_" not in english:
            assert bare(english) == bare(chinese)
    assert [sorted(config["auth"]) for config, _ in guides()] == [
        ["local"],
        ["ldap"],
        ["oidc"],
        ["local", "workloads"],
    ]


def test_from_nothing_to_users(tmp_path: Path) -> None:
    config, commands = guide("local")
    with followed(tmp_path, config, commands) as registry:
        assert registry.log().count('"entrepot.password":') == 1
        for name in ("admin", "ada"):
            assert f"docker login registry.example.com -u {name}" in commands
            get = httpx.get(f"{registry.url}/auth/token", auth=(name, PASSWORD), timeout=30)
            assert get.status_code == 200


def test_from_nothing_to_a_directory(tmp_path: Path) -> None:
    config, commands = guide("ldap")
    secret = tmp_path / "ldap-password"
    secret.write_text(directory.SECRET)
    with directory.slapd(tmp_path / "slapd") as people:
        here = {
            "urls": [people.tls_url],
            "base": f"ou=people,{directory.SUFFIX}",
            "binddn": directory.ADMIN,
            "bindpasswordfile": str(secret),
        }
        assert set(config["auth"]["ldap"]) == set(here)
        config["auth"]["ldap"] = {**here, "cafile": str(people.ca)}
        with followed(tmp_path, config, commands) as registry:
            assert begins(registry, ("ada", directory.PASSWORD), "team-a/app") == 202
            assert begins(registry, ("bob", directory.PASSWORD), "team-a/app") == 404


def test_from_nothing_to_single_sign_on(tmp_path: Path) -> None:
    config, commands = guide("oidc")
    secret = tmp_path / "oidc-secret"
    secret.write_text(SECRET)
    with openid(tmp_path / "openid") as provider:
        (entry,) = config["auth"]["oidc"]
        assert {"issuer", "clientid", "clientsecretfile"} <= set(entry)
        entry |= {"issuer": provider.url, "clientid": CLIENT, "clientsecretfile": str(secret)}
        with followed(tmp_path, config, commands) as registry:
            assert "entrepot login registry.example.com" in commands
            known = environment(DOCKER_CONFIG=str(tmp_path), HOME=str(tmp_path))
            log_in_by_device(registry.url, "ada", environment=known)
            entries = json.loads((tmp_path / "config.json").read_text())["auths"]
            form = {
                "grant_type": "refresh_token",
                "refresh_token": entries[registry.host]["identitytoken"],
                "service": "entrepot",
                "client_id": "docker",
                "scope": "repository:team-a/app:pull,push",
            }
            answer = httpx.post(f"{registry.url}/auth/token", data=form, timeout=30)
            token = answer.raise_for_status().json()["access_token"]
            assert begins(registry, Bearing(token), "team-a/app") == 202


def test_from_nothing_to_jobs_without_a_secret(tmp_path: Path) -> None:
    config, commands = guide("workloads")
    with start_issuer() as issuer:
        (entry,) = config["auth"]["workloads"]
        entry |= {"issuer": issuer.url, "audience": AUDIENCE}
        with followed(tmp_path, config, commands) as registry:
            for ref, status in (("refs/heads/main", 202), ("refs/heads/other", 401)):
                job = issuer.token(repository="acme/app", ref=ref)
                assert begins(registry, ("oidc", job), "team-a/app") == status


class Bearing(httpx.Auth):
    """Brings a token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request
