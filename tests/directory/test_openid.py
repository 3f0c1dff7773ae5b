"""A real provider, a real registry, and people who log in by device."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.accounts.test_server import as_json
from tests.directory.openid import CLIENT, SECRET, OpenId, enter, log_in_by_device, new_key, openid
from tests.programs import environment, run
from tests.servers import Registry, start_registry, wait_until

GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def config(provider: OpenId, **changes: Any) -> dict[str, Any]:
    """A registry in which the provider's team-a develops team-a."""
    sso = {
        "name": "sso",
        "issuer": provider.url,
        "clientid": CLIENT,
        "clientsecret": SECRET,
        "scopes": ["profile", "email", "groups"],
        **changes,
    }
    mapping = {"group": "team-a", "namespace": "team-a", "roles": ["developer"]}
    return {"auth": {"oidc": [sso]}, "access": {"mappings": [mapping]}, "http": {"workers": 2}}


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenId]:
    with openid(tmp_path_factory.mktemp("openid")) as running:
        yield running


@pytest.fixture(scope="module")
def registry(provider: OpenId, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    with start_registry(folder / "registry", config=config(provider)) as running:
        yield running


def post(registry: Registry, path: str, **form: str) -> httpx.Response:
    return httpx.post(f"{registry.url}{path}", data=form, timeout=30)


def begin(registry: Registry, **form: str) -> dict[str, Any]:
    answer = post(registry, "/auth/device", client_id="docker", **form)
    assert answer.status_code == 200, answer.text
    assert "no-store" in answer.headers["cache-control"]
    begun: dict[str, Any] = answer.json()
    return begun


def finish(registry: Registry, begun: dict[str, Any], scope: str = "") -> httpx.Response:
    return post(
        registry,
        "/auth/token",
        grant_type=GRANT,
        device_code=begun["device_code"],
        client_id="docker",
        access_type="offline",
        scope=scope,
    )


def log_in(registry: Registry, name: str, scope: str = "") -> httpx.Response:
    begun = begin(registry)
    enter(begun["verification_uri_complete"], name)
    return finish(registry, begun, scope)


def claims(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    said: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return said


def push(registry: Registry, token: str, repository: str) -> int:
    url = f"{registry.url}/v2/{repository}/blobs/uploads/"
    return httpx.post(url, headers={"Authorization": f"Bearer {token}"}, timeout=30).status_code


def test_whoever_enters_the_code_is_logged_in(registry: Registry) -> None:
    """Not before, and once; with the groups of the userinfo; with a token that can be refreshed."""
    begun = begin(registry)
    assert finish(registry, begun).json()["error"] == "authorization_pending"
    enter(begun["verification_uri_complete"], "ada")
    scope = "repository:team-a/one:pull,push"
    answer = finish(registry, begun, scope)
    assert answer.status_code == 200, answer.text
    assert finish(registry, begun).json()["error"] == "expired_token"
    given = answer.json()
    assert claims(given["token"])["sub"] == "ada"
    assert claims(given["token"])["entrepot"]["groups"] == ["devs", "team-a"]
    assert push(registry, given["token"], "team-a/one") == 202
    again = post(
        registry,
        "/auth/token",
        grant_type="refresh_token",
        refresh_token=given["refresh_token"],
        client_id="docker",
        scope=scope,
    )
    assert push(registry, again.json()["token"], "team-a/one") == 202


def test_groups_decide(registry: Registry) -> None:
    """Bob's only group is no list, and not team-a."""
    token = log_in(registry, "bob", "repository:team-a/one:pull,push").json()["token"]
    assert claims(token)["entrepot"]["groups"] == ["devs"]
    assert push(registry, token, "team-a/one") == 404


@pytest.mark.parametrize("name", ["mallory", "trent"])
def test_nobody_takes_a_name_or_a_group_that_is_none(registry: Registry, name: str) -> None:
    """A robot's name, or groups that aren't names, let nobody in."""
    assert log_in(registry, name).json()["error"] == "access_denied"


def test_a_login_that_is_refused(registry: Registry) -> None:
    begun = begin(registry)
    enter(begun["verification_uri_complete"], "ada", abort=True)
    assert finish(registry, begun).json()["error"] == "access_denied"

    def reasons() -> list[str]:
        found = as_json(registry, "audit", "search", "--action=login", "--outcome=failure")
        assert isinstance(found, list)
        return [event["reason"] for event in found]

    wait_until(
        lambda: "the login at the provider ended: access_denied" in reasons(),
        seconds=30,
        what="the event",
    )


@pytest.mark.parametrize("code", ["", "x", "a" * 5000, "é", "AAAA" * 20])
def test_a_code_that_is_none(registry: Registry, code: str) -> None:
    """Only codes that this registry gave out lead to its provider."""
    answer = finish(registry, {"device_code": code})
    assert answer.status_code == 400
    assert answer.json()["error"] == "expired_token"


def test_a_provider_that_there_is_not(registry: Registry) -> None:
    answer = post(registry, "/auth/device", provider="other")
    assert answer.status_code == 400
    assert "sso" in answer.json()["error_description"]


def test_groups_are_mapped_and_names_prefixed(provider: OpenId, tmp_path: Path) -> None:
    """The provider's groups have our names, and its people a prefix; other groups don't count."""
    given = config(provider, prefix="sso:", mapping={"ours": ["team-a"], "not": ["none"]})
    with start_registry(tmp_path / "registry", config=given) as registry:
        said = claims(log_in(registry, "ada").json()["token"])
        assert said["sub"] == "sso:ada"
        assert said["entrepot"]["groups"] == ["ours"]


def test_only_verified_addresses_of_the_domains_count(provider: OpenId, tmp_path: Path) -> None:
    """Neither an address that nobody verified, nor a domain that only begins alike."""
    given = config(provider, domains=["Example.com"])
    with start_registry(tmp_path / "registry", config=given) as registry:
        assert log_in(registry, "ada").status_code == 200
        assert log_in(registry, "bob").json()["error"] == "access_denied"
        assert log_in(registry, "eve").json()["error"] == "access_denied"


def test_groups_in_the_id_token(tmp_path: Path) -> None:
    """Where the provider puts them there nobody is asked for userinfo."""
    with (
        openid(tmp_path / "openid", conform=False) as provider,
        start_registry(tmp_path / "registry", config=config(provider)) as registry,
    ):
        said = claims(log_in(registry, "ada").json()["token"])
        assert said["entrepot"]["groups"] == ["devs", "team-a"]


def test_the_provider_is_away_and_comes_back_with_another_key(tmp_path: Path) -> None:
    """503, and its name in the log; who has logged in goes on. A new key is found by itself."""
    with openid(tmp_path / "openid") as provider:
        given = {**config(provider), "http": {"workers": 1}}
        with start_registry(tmp_path / "registry", config=given) as registry:
            token = log_in(registry, "ada", "repository:team-a/one:pull,push").json()["token"]
            begun = begin(registry)
            provider.stop()
            assert post(registry, "/auth/device", client_id="docker").status_code == 503
            assert finish(registry, begun).status_code == 503
            assert push(registry, token, "team-a/one") == 202
            log = registry.log_path.read_text()
            assert provider.url in log
            assert "sso" in log
            assert SECRET not in log
            provider.key = new_key()
            provider.start()
            first = log_in(registry, "ada")
            # Unknown keys are asked for every ten seconds at most.
            wait_until(
                lambda: first.status_code == 200 or log_in(registry, "ada").status_code == 200,
                seconds=60,
                what="the new key",
            )


def test_a_disabled_account_keeps_its_name_out(provider: OpenId, tmp_path: Path) -> None:
    """Whoever is disabled here gets in no more, nor by a token from before."""
    with start_registry(tmp_path / "registry", config=config(provider)) as registry:
        given = log_in(registry, "ada").json()
        known = environment(REGISTRY_CONFIGURATION_PATH=str(registry.config_path))
        for command in (["create", "ada", "--no-password"], ["disable", "ada"]):
            run("user", *command, env=known).check_returncode()

        def refused() -> bool:
            form = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
            return post(registry, "/auth/token", client_id="docker", **form).status_code == 401

        wait_until(refused, seconds=30, what="the end of the refresh token")

        def kept_out() -> bool:
            return bool(log_in(registry, "ada").json().get("error") == "access_denied")

        wait_until(kept_out, what="every worker to know it")  # each learns it by itself


def test_the_command_keeps_a_token_for_clients(registry: Registry, tmp_path: Path) -> None:
    """`entrepot login` shows where to go, and then a token is in docker's file, for nobody else to
    read; `tests/clients` has what uses it.
    """
    known = {**os.environ, "DOCKER_CONFIG": str(tmp_path), "HOME": str(tmp_path)}
    log_in_by_device(registry.url, "ada", environment=known)
    path = tmp_path / "config.json"
    assert path.stat().st_mode & 0o077 == 0
    entry = json.loads(path.read_text())["auths"][registry.host]
    assert entry["identitytoken"].startswith("entr_ref_")
