"""What is said about `auth.ldap` and `auth.oidc` before anybody logs in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from entrepot.config import ConfigError, load
from tests.servers import merged

LDAP = {"urls": ["ldaps://ldap.example"], "base": "ou=people,dc=example"}
OIDC = {"name": "sso", "issuer": "https://sso.example", "clientid": "registry"}


def problems(folder: Path, auth: dict[str, Any]) -> str:
    """What is wrong with a configuration; empty if it is right."""
    path = folder / "config.yml"
    path.write_text(json.dumps({"version": 0.1, "storage": {"inmemory": {}}, "auth": auth}))
    try:
        load(path, {})
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "change, said",
    [
        ({}, ""),
        ({"urls": ["ldap://[::1]:389", "ldap://a/"], "starttls": True}, ""),
        ({"urls": []}, "auth.ldap.urls: name at least one server"),
        ({"urls": ["https://a"]}, "auth.ldap.urls[0]: expected ldaps://HOST"),
        ({"urls": ["ldaps://a/dc=x"]}, "auth.ldap.urls[0]: expected ldaps://HOST"),
        ({"urls": ["ldaps://a:port"]}, "auth.ldap.urls[0]: expected ldaps://HOST"),
        ({"urls": ["ldaps://a", "ldap://b"]}, "auth.ldap.urls[1]: passwords would be sent"),
        ({"urls": ["ldap://b"], "plaintext": True}, ""),
        ({"starttls": True}, "auth.ldap.urls[0]: ldaps:// has TLS from the start"),
        ({"binddn": "cn=a"}, "auth.ldap.binddn: give both"),
        ({"bindpassword": "a"}, "auth.ldap.binddn: give both"),
        ({"binddn": "cn=a", "bindpassword": "a", "bindpasswordfile": "/a"}, "remove one of them"),
        (
            {"binddn": "cn=a", "bindpassword": "a", "directbind": "uid={username}"},
            "auth.ldap.directbind: whoever logs in searches themselves",
        ),
        ({"directbind": "uid=a"}, "auth.ldap.directbind: {username} is missing"),
        ({"filter": "(uid=*)"}, "auth.ldap.filter: {username} is missing"),
        ({"domains": ["CORP", "corp.example.com"]}, ""),
        ({"domains": ["CORP\\"]}, "auth.ldap.domains: expected names of domains"),
        ({"domains": [""]}, "auth.ldap.domains: expected names of domains"),
        ({"base": ""}, "auth.ldap.base: "),
        ({"groups": {"filter": "(cn=*)"}}, "auth.ldap.groups.filter: neither"),
        ({"cachelife": "-1s"}, "auth.ldap.cachelife"),
    ],
)
def test_ldap(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    """What can't work, and what would give passwords or rights away, is refused with its key."""
    found = problems(tmp_path, {"ldap": merged(LDAP, change)})
    assert (said in found) if said else found == ""


@pytest.mark.parametrize(
    "auth, said",
    [
        ({"oidc": [OIDC]}, ""),
        ({"oidc": [OIDC], "ldap": LDAP, "local": {}}, ""),
        ({"oidc": [{**OIDC, "issuer": "sso.example"}]}, "auth.oidc[0].issuer: expected a URL"),
        ({"oidc": [{**OIDC, "username": ""}]}, "auth.oidc[0].username: must not be empty"),
        ({"oidc": [{**OIDC, "prefix": "sso"}]}, "auth.oidc[0].prefix: expected"),
        ({"oidc": [{**OIDC, "clientsecret": "a", "clientsecretfile": "/a"}]}, "remove one of them"),
        ({"oidc": [OIDC, {**OIDC, "name": "b"}]}, "each provider needs a prefix of its own"),
        ({"oidc": [OIDC, {**OIDC, "prefix": "b:"}]}, "each provider needs a name of its own"),
        ({"oidc": [OIDC, {**OIDC, "name": "b", "prefix": "b:"}]}, ""),
        ({"oidc": [OIDC], "tokens": {"enabled": False}}, "auth.oidc: whoever logs in gets tokens"),
        ({"oidc": [OIDC], "none": {}}, "auth.none: can't stand beside oidc"),
        ({"ldap": LDAP, "none": {}}, "auth.none: can't stand beside ldap"),
        ({"ldap": LDAP, "htpasswd": {"realm": "r", "path": "/p"}}, "administrators is missing"),
        ({"oidc": [OIDC], "htpasswd": {"realm": "r", "path": "/p"}}, "administrators is missing"),
    ],
)
def test_openid_and_others(tmp_path: Path, auth: dict[str, Any], said: str) -> None:
    """Names of two sources can't be one by accident, and nobody is everybody beside others."""
    found = problems(tmp_path, auth)
    assert (said in found) if said else found == ""
