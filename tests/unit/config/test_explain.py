"""Every value with its origin, and no secret anywhere: not in it, and not in any message."""

import json
from pathlib import Path

import pytest

from entrepot.config import ConfigError, Loaded, load
from entrepot.config.explain import explain
from entrepot.config.masking import MASK, mask, mask_named, mask_url
from tests.unit.config.writing import load_text, problems_of


def explained(loaded: Loaded) -> dict[str, tuple[object, str]]:
    """Value and origin by key."""
    return {value.key: (value.value, str(value.origin)) for value in explain(loaded)}


def test_defaults_are_all_there() -> None:
    """Without a file every value is a default; sections without defaults aren't shown."""
    values = explained(load(None, {}))
    assert {origin for _, origin in values.values()} == {"default"}
    assert values["http.addr"] == (":5000", "default")
    assert values["http.limits.idletimeout"] == ("1m", "default")
    assert values["storage.delete.enabled"] == (True, "default")
    assert values["http.headers"] == ({}, "default")
    assert not any(key.startswith(("storage.s3", "redis", "proxy")) for key in values)


def test_origins(tmp_path: Path) -> None:
    """A line of the file, a variable, or the default, for every element of lists and maps too."""
    text = """
        storage: inmemory
        http:
          headers:
            A: [b, c]
        health:
          file:
          - file: /f
        """
    values = explained(load_text(tmp_path, text, {"REGISTRY_HEALTH_FILECHECKERS_0_INTERVAL": "5s"}))
    file = tmp_path / "config.yml"
    assert values["storage.inmemory"] == ({}, f"{file}:3")
    assert values["http.headers.A[1]"] == ("c", f"{file}:6")
    assert values["health.file[0].file"] == ("/f", f"{file}:9")
    assert values["health.file[0].interval"] == (
        "5s",
        "REGISTRY_HEALTH_FILECHECKERS_0_INTERVAL",
    )
    assert values["health.file[0].threshold"] == (0, "default")


SECRETS = """
    http:
      secret: hunter2
      headers: {Set-Cookie: [hunter2], X-Harmless: [shown]}
    log:
      fields:
        api_token: hunter2
        service: shown
        deep: {password: hunter2, list: [{key: hunter2}]}
      hooks: [{type: mail, options: {smtp: {addr: "a:1", password: hunter2}}}]
    redis: {password: hunter2, sentinelpassword: hunter2}
    notifications:
      endpoints: [{name: a, url: "http://me:hunter2@a/", headers: {Authorization: [hunter2]}}]
    reporting: {bugsnag: {apikey: hunter2}, newrelic: {licensekey: hunter2}}
    health:
      http: [{uri: "http://me:hunter2@a/?token=hunter2", headers: {X: [hunter2]}}]
    proxy: {password: hunter2}
    middleware: {storage: [{name: cloudfront, disabled: true, options: {x: hunter2}}]}
    """


def test_secrets_are_masked(tmp_path: Path) -> None:
    """Passwords, tokens and keys, in the schema's keys and in free ones."""
    loaded = load_text(tmp_path, SECRETS)
    values = explained(loaded)
    assert "hunter2" not in json.dumps(values)
    assert "hunter2" not in " ".join(str(notice) for notice in loaded.notices)
    assert values["http.secret"][0] == MASK
    assert values["http.headers.X-Harmless[0]"][0] == "shown"
    assert values["log.fields.service"][0] == "shown"
    assert values["health.http[0].uri"][0] == f"http://{MASK}@a/?token={MASK}"


@pytest.mark.parametrize(
    "text",
    [
        "http: {secret: [hunter2]}",
        "http: {secret: {hunter: 2}}",
        "storage: {s3: {secretkey: [hunter2]}}",
        "redis: redis://me:hunter2@a/",
        "redis: {password: [hunter2]}",
        "database: postgresql://me:hunter2@a/",
        "database: {url: 'postgresql://me:hunter2@a:b/'}",
        "health: {http: [{uri: 'me:hunter2@a'}]}",
        "health: {http: [{uri: 'http://a', headers: {A: hunter2}}]}",
        "http: {headers: {Authorization: hunter2}}",
        "http: {sekret: hunter2}",
        "notifications: {endpoints: [{headers: hunter2}]}",
        "middleware: {storage: [{name: a, options: hunter2}]}",
        "proxy: {remoteurl: 'https://me:hunter2@a/'}",
    ],
)
def test_problems_show_no_secrets(tmp_path: Path, text: str) -> None:
    """Not even a value in the wrong place or of the wrong type is repeated if it may be secret."""
    assert "hunter2" not in " ".join(problems_of(tmp_path, text))


@pytest.mark.parametrize(
    "secret",
    ["[hunter2", "hunter2: a: b", "'hunter2", "%hunter2", "*hunter2", "!hunter2 x", "&hunter2 [a]"],
)
def test_variables_with_secrets_that_are_no_yaml(secret: str) -> None:
    """A password with brackets or colons breaks the YAML; it isn't printed."""
    with pytest.raises(ConfigError) as caught:
        load(None, {"REGISTRY_HTTP_SECRET": secret})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url, masked",
    [
        ("", ""),
        ("sqlite:////a/b", "sqlite:////a/b"),
        ("http://a/b", "http://a/b"),
        ("http://u:p@a/b", f"http://{MASK}@a/b"),
        ("http://u:p@ss/w@a/b", f"http://{MASK}@a/b"),
        ("u:p@a", f"{MASK}@a"),
        ("http://a/?sig=x&b=c", f"http://a/?sig={MASK}&b=c"),
        ("http://a/?x_token=y#z", f"http://a/?x_token={MASK}#z"),
    ],
)
def test_urls(url: str, masked: str) -> None:
    """The rest of a URL is worth seeing."""
    assert mask_url(url) == masked
    assert mask(url, "url") == masked


def test_masks() -> None:
    """Empty values are shown to be empty: that a secret is missing is no secret."""
    assert mask("", "all") == ""
    assert mask("x", "all") == MASK
    assert mask("x", "") == "x"
    assert mask_named("a", {"token": "x", "b": ({"password": 5},)}) == {
        "token": MASK,
        "b": ({"password": MASK},),
    }
