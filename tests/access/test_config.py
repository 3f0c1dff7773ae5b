"""The `access` section: when rights count, and what the configuration gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from entrepot.config import ConfigError, load
from entrepot.config.schema import Way
from entrepot.core.access import Action
from tests.access.worlds import Open
from tests.wire.images import image

HTPASSWD = "auth: {htpasswd: {realm: r, path: /nowhere"
IMAGE = image("access-config")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yml"
    path.write_text(f"version: 0.1\nstorage: inmemory\n{text}\n")
    return path


@pytest.mark.parametrize(
    "text, enabled",
    [
        ("", False),
        ("auth: none", False),
        ("auth: {silly: {realm: r, service: s}}", False),
        (f"{HTPASSWD}}}}}", False),
        (f"{HTPASSWD}, administrators: [root]}}}}", True),
        (f"{HTPASSWD}, administrators: []}}}}", True),
        (f"{HTPASSWD}, groups: {{a: [b]}}}}}}", True),
        (f"{HTPASSWD}}}}}\naccess: {{enabled: true}}", True),
        ("auth: {local: {}}", True),
        ("auth: {local: {}}\naccess: {enabled: false}", False),
        ("auth: {local: {}}\naccess: {enabled: true}", True),
    ],
)
def test_when_rights_count(tmp_path: Path, text: str, enabled: bool) -> None:
    assert load(write(tmp_path, text), {}).config.access_enabled is enabled


@pytest.mark.parametrize(
    "mapping, problem",
    [
        ("{roles: [reader]}", "access.mappings[0]: give either user or group"),
        ("{user: a, group: b, roles: [reader]}", "access.mappings[0]: give either user or group"),
        ("{user: a, roles: []}", "access.mappings[0].roles: no role is given"),
        ("{user: a, roles: [Not A Role]}", "access.mappings[0].roles: 'Not A Role' can't be a"),
        ("{user: a, namespace: A, roles: [reader]}", "access.mappings[0].namespace: 'A' can't be"),
        ("{user: a}", "access.mappings[0].roles"),
    ],
)
def test_what_does_not_fit(tmp_path: Path, mapping: str, problem: str) -> None:
    text = f"auth: {{local: {{}}}}\naccess: {{mappings: [{mapping}]}}"
    with pytest.raises(ConfigError) as raised:
        load(write(tmp_path, text), {})
    assert any(str(found).find(problem) >= 0 for found in raised.value.problems), raised.value


WAYS = {
    "local": "{}",
    "ldap": "{urls: ['ldaps://d'], base: dc=x}",
    "oidc": "[{name: sso, issuer: 'https://i', clientid: c, clientsecret: s}]",
    "certificate": "{}",
    "workloads": (
        "[{name: ci, issuer: 'https://i', audience: a,"
        " rules: [{claims: {sub: x}, robot: 'robot$ci'}]}]"
    ),
}
PROXIES = "http: {trustedproxies: [127.0.0.1]}\n"


@pytest.mark.parametrize("way", WAYS)
def test_a_second_source_makes_nobody_an_administrator(tmp_path: Path, way: str) -> None:
    """Beside an htpasswd file: who of it may do everything must be said, and rights count then."""
    second = f", {way}: {WAYS[way]}}}"
    with pytest.raises(ConfigError, match=f"beside {way} say who of the file"):
        load(write(tmp_path, f"{PROXIES}{HTPASSWD}}}{second}"), {})
    for administrators in ("['*']", "[]", "[ada]"):
        text = f"{PROXIES}{HTPASSWD}, administrators: {administrators}}}{second}"
        assert load(write(tmp_path, text), {}).config.access_enabled


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "alone",
    [
        "none: {}",
        "silly: {realm: r, service: s}",
        "token: {realm: r, service: s, issuer: i, rootcertbundle: /nowhere}",
    ],
)
def test_what_stands_alone(tmp_path: Path, way: str, alone: str) -> None:
    with pytest.raises(ConfigError, match="can't stand beside"):
        load(write(tmp_path, f"{PROXIES}auth: {{{alone}, {way}: {WAYS[way]}}}"), {})


def test_every_source_is_one_of_those(tmp_path: Path) -> None:
    assert set(WAYS) | {"htpasswd"} == set(get_args(Way))


def test_who_makes_an_account_is_told_that_nothing_limits_it(tmp_path: Path) -> None:
    """Beside an htpasswd file as `registry:2` has it, where everybody may do everything."""
    for rights in ("", ", administrators: [ada]"):
        path = tmp_path / "config.yml"
        path.write_text(
            f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path / 'registry'}}}}}\n"
            f"{HTPASSWD}{rights}}}}}\n"
        )
        name = f"ci{len(rights)}"
        done = subprocess.run(
            [sys.executable, "-m", "entrepot", "robot", "create", name, "--config", str(path)],
            env={k: v for k, v in os.environ.items() if not k.startswith("REGISTRY_")},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert ("access control is off here" in done.stderr) is (not rights)


def test_rights_need_somebody_who_is_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nobody is known with auth: none"):
        load(write(tmp_path, "access: {enabled: true}"), {})


@pytest.mark.anyio
async def test_what_the_configuration_gives_counts(estate: Open) -> None:
    """Administrators and mappings, of users and of the groups of an htpasswd file."""
    text = """
access:
  administrators: [boss]
  administratorgroups: [chiefs]
  mappings:
    - {group: devs, namespace: team, roles: [developer]}
    - {user: eve, namespace: /, roles: [reader, monitoring]}
"""
    async with estate("alice", "eve", "boss", text=text) as registry:
        assert (await registry.push("team/app", IMAGE, tag="v1", who="alice")).status == 201
        assert (await registry.push("other/app", IMAGE, tag="v1", who="alice")).status == 404
        assert (await registry.push("other/app", IMAGE, tag="v1", who="boss")).status == 201
        for path, who, status in (
            ("/v2/other/app/manifests/v1", "eve", 200),
            ("/v2/other/app/manifests/v1", "alice", 404),
            ("/metrics", "boss", 200),
            ("/metrics", "eve", 403),
        ):
            assert (await registry.ask(who, "GET", path)).status == status, (who, path)
        await registry.grants.create_role("monitoring", frozenset({Action.OBSERVE}), by="test")
        assert (await registry.ask("eve", "GET", "/metrics")).status == 200


@pytest.mark.anyio
async def test_without_rights_everybody_who_is_known_may_do_everything(estate: Open) -> None:
    async with estate("alice", text="access: {enabled: false}") as registry:
        assert (await registry.push("any/thing", IMAGE, tag="v1", who="alice")).status == 201
        assert (await registry.ask("alice", "GET", "/v2/_catalog")).status == 200
        assert (await registry.ask("", "GET", "/v2/_catalog")).status == 401
