"""What the configuration of tokens must fulfil, and what `config check` says about keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrepot.app import check_servers
from entrepot.config import ConfigError, load
from tests.tokens.signing import EC, key_set, pem, self_signed

TOKEN = "realm: 'https://a/t', service: s, issuer: i"
WORKLOAD = "name: ci, issuer: 'https://ci.example', audience: a"
SCOPES = "scopes: [{repositories: 'A'}]"
LOCAL = "local: {admin: {name: ada}}"


def config_of(folder: Path, text: str) -> Path:
    path = folder / "config.yml"
    path.write_text(f"version: 0.1\nstorage: inmemory\n{text}\n")
    return path


def problems(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as error:
        load(config_of(folder, text), {})
    return "\n".join(problem.message for problem in error.value.problems)


@pytest.mark.parametrize(
    "text, key",
    [
        ("auth: {token: {service: s, issuer: i, jwks: k}}", "auth.token.realm"),
        ("auth: {token: {realm: nonsense, service: s, issuer: i, jwks: k}}", "auth.token.realm"),
        (f"auth: {{token: {{{TOKEN}}}}}", "auth.token: needs at least one key"),
        (
            f"auth: {{token: {{{TOKEN}, jwks: k, signingalgorithms: [none]}}}}",
            "auth.token.signingalgorithms[0]",
        ),
        (
            f"auth: {{token: {{{TOKEN}, jwks: k, autoredirectpath: x}}}}",
            "auth.token.autoredirectpath",
        ),
        (f"auth: {{token: {{{TOKEN}, jwks: k}}, {LOCAL}}}", "auth.token: can't stand beside"),
        (
            f"auth: {{token: {{{TOKEN}, jwks: k}}, tokens: {{enabled: true}}}}",
            "auth.tokens.enabled",
        ),
        ("auth: {token: {realm: 'http://a'}}", "service is missing"),
        ("auth: {silly: {realm: r}}", "service is missing"),
        (f"auth: {{{LOCAL}, tokens: {{lifetime: 30s}}}}", "auth.tokens.lifetime"),
        (f"auth: {{workloads: [{{{WORKLOAD}}}]}}", "auth.workloads[0].rules"),
        (
            f"auth: {{workloads: [{{{WORKLOAD}, rules: [{{robot: r}}]}}]}}",
            "auth.workloads[0].rules[0].claims",
        ),
        (
            f"auth: {{workloads: [{{{WORKLOAD}, rules: [{{claims: {{sub: '*'}}, robot: r}}]}}]}}",
            "auth.workloads[0].rules[0].claims",
        ),
        (
            f"auth: {{workloads: [{{{WORKLOAD}, rules: [{{claims: {{sub: x}}}}]}}]}}",
            "auth.workloads[0].rules[0]: give either",
        ),
        (
            f"auth: {{workloads: [{{{WORKLOAD}, rules: [{{claims: {{sub: x}}, {SCOPES}}}]}}]}}",
            "auth.workloads[0].rules[0].scopes[0].repositories",
        ),
    ],
)
def test_what_does_not_fit(tmp_path: Path, text: str, key: str) -> None:
    assert key in problems(tmp_path, text)


@pytest.mark.parametrize(
    "auth, issues",
    [
        ("none", False),
        (f"{{{LOCAL}}}", True),
        (f"{{{LOCAL}, tokens: {{enabled: false}}}}", False),
        ("{htpasswd: {realm: r, path: p}}", False),
        ("{htpasswd: {realm: r, path: p}, tokens: {enabled: true}}", True),
        ("{silly: {realm: r, service: s}}", False),
        (f"{{token: {{{TOKEN}, jwks: k}}}}", False),
    ],
)
def test_who_issues_tokens(tmp_path: Path, auth: str, issues: bool) -> None:
    """By default where there is more than registry:2 had."""
    config = load(config_of(tmp_path, f"auth: {auth}"), {}).config
    assert config.auth.issues_tokens is issues


def test_keys_are_looked_at(tmp_path: Path) -> None:
    """`config check` says of each file with keys whether it can be used."""
    bundle, keys = tmp_path / "bundle.pem", tmp_path / "keys.json"
    text = f"auth: {{token: {{{TOKEN}, rootcertbundle: '{bundle}', jwks: '{keys}'}}}}"
    config = load(config_of(tmp_path, text), {}).config

    def levels() -> dict[str, str]:
        return {finding.what: finding.level for finding in check_servers(config)}

    what = ("auth.token.rootcertbundle", "auth.token.jwks")
    assert levels() == dict.fromkeys(what, "error")
    bundle.write_bytes(b"nonsense")
    keys.write_bytes(b'{"keys": []}')
    assert levels() == dict.fromkeys(what, "error")
    bundle.write_bytes(pem([self_signed(EC)]))
    keys.write_bytes(key_set(EC))
    assert levels() == dict.fromkeys(what, "ok")
