"""A real registry with people of a directory, from outside, and what it does without that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tests.certificates import Authority
from tests.directory.slapd import ADMIN, PASSWORD, SECRET, SUFFIX, Slapd, slapd
from tests.programs import run
from tests.servers import Registry, start_registry

LIMITS = {"attempts": 1000, "addressattempts": 1000}


def config(*servers: Slapd, **changes: Any) -> dict[str, Any]:
    """A registry in which the directory's team-a develops team-a."""
    ldap = {
        "urls": [server.tls_url for server in servers],
        "cafile": str(servers[0].ca),
        "binddn": ADMIN,
        "bindpassword": SECRET,
        "base": f"ou=people,{SUFFIX}",
        "groups": {"base": f"ou=groups,{SUFFIX}", "nested": True},
        "connecttimeout": "10s",
        "timeout": "10s",
        **changes,
    }
    mapping = {"group": "team-a", "namespace": "team-a", "roles": ["developer"]}
    return {
        "auth": {"ldap": ldap, "limits": LIMITS},
        "access": {"mappings": [mapping], "administratorgroups": ["everybody-else"]},
    }


def token(registry: Registry, name: str, password: str, scope: str = "") -> httpx.Response:
    """Ask for a token, as docker does."""
    parameters = {"service": "entrepot", "scope": scope, "offline_token": "true"}
    auth = httpx.BasicAuth(name, password)
    url = f"{registry.url}/auth/token"
    return httpx.get(url, params=parameters, auth=auth, timeout=30)


def push(registry: Registry, name: str, repository: str) -> int:
    """Begin an upload with a token, and return the answer's status."""
    issued = token(registry, name, PASSWORD, f"repository:{repository}:pull,push").json()["token"]
    url = f"{registry.url}/v2/{repository}/blobs/uploads/"
    return httpx.post(url, headers={"Authorization": f"Bearer {issued}"}, timeout=30).status_code


def test_groups_of_the_directory_have_roles(tmp_path: Path) -> None:
    """Ada is in team-a and may push there; Bob isn't, and may not. No refresh token outlives what
    the directory says."""
    with (
        slapd(tmp_path / "slapd") as server,
        start_registry(tmp_path / "registry", config=config(server)) as registry,
    ):
        assert push(registry, "ada", "team-a/one") == 202
        assert push(registry, "ada", "team-b/one") == 404
        assert push(registry, "bob", "team-a/one") == 404
        assert token(registry, "ada", "wrong").status_code == 401
        assert token(registry, "ada", "").status_code == 401
        assert "refresh_token" not in token(registry, "ada", PASSWORD).json()
        log = registry.log_path.read_text()
    assert PASSWORD not in log


def test_the_directory_is_away(tmp_path: Path) -> None:
    """Who logged in a moment ago goes on for a while; others get 503, and the log names the server.
    When it is back they get in."""
    changes = {"http": {"workers": 1}}
    with slapd(tmp_path / "slapd") as server:
        given = {**config(server, cachelife="1h"), **changes}
        with start_registry(tmp_path / "registry", config=given) as registry:
            assert token(registry, "ada", PASSWORD).status_code == 200
            server.stop()
            assert token(registry, "ada", PASSWORD).status_code == 200
            for name, password in (("bob", PASSWORD), ("ada", "wrong"), ("nobody", "x")):
                assert token(registry, name, password).status_code == 503
            assert server.tls_url in registry.log_path.read_text()
            server.start()
            assert token(registry, "bob", PASSWORD).status_code == 200
            assert token(registry, "ada", "wrong").status_code == 401


def test_config_check_asks_the_directory(tmp_path: Path) -> None:
    """`entrepot config check` tells whether each server can be searched."""
    authority = Authority(tmp_path / "ca")
    with slapd(tmp_path / "one", authority) as first, slapd(tmp_path / "two", authority) as second:
        with start_registry(tmp_path / "registry", config=config(first, second)) as registry:
            path = registry.config_path
        done = run("config", "check", str(path))
        assert f"{second.tls_url} can be asked" in done.stdout, done.stdout + done.stderr
        second.stop()
        done = run("config", "check", str(path))
        assert done.returncode != 0
        assert f"{second.tls_url} can't be reached" in done.stdout + done.stderr
