"""What this version can't do is said, and refused where going on would be unsafe or wrong."""

from pathlib import Path

import pytest

from entrepot.config.fields import places
from entrepot.config.honoured import NOT_HONOURED
from entrepot.config.schema import Config
from tests.unit.config.writing import load_text, problems_of

REFUSED = [
    ("storage.swift", "storage: {swift: }"),
    ("storage.oss", "storage: {oss: {bucket: b}}"),
    ("middleware", "middleware: {storage: [{name: redirect, options: {baseurl: 'http://a'}}]}"),
    ("proxy.remoteurl", "proxy: {remoteurl: 'https://registry-1.docker.io'}"),
    ("http.tls.letsencrypt.cachefile", "http: {tls: {letsencrypt: {cachefile: /c, email: a@b}}}"),
]

NOTICED = [
    ("storage.s3.loglevel", "storage: {s3: {region: r, bucket: b, loglevel: debug}}"),
    ("log.hooks", "log: {hooks: [{type: mail, levels: [panic], options: {from: a@b, to: [c@d]}}]}"),
    ("log.reportcaller", "log: {reportcaller: true}"),
    ("storage.filesystem.maxthreads", "storage: {filesystem: {maxthreads: 100}}"),
    ("storage.tag", "storage: {tag: {concurrencylimit: 8}}"),
    ("storage.cache", "storage: {cache: {blobdescriptor: redis}}"),
    ("storage.cache", "storage: {cache: {layerinfo: redis}}"),
    ("redis", "redis: {addr: 'redis:6379', pool: {maxidle: 16, idletimeout: 300s}}"),
    ("redis", "redis: {addrs: ['redis:6379'], tls: {rootcas: [/a]}}"),
    ("reporting", "reporting: {bugsnag: {apikey: k}}"),
    (
        "notifications.endpoints",
        "notifications: {endpoints: [{name: a, url: 'http://a', timeout: 1s, threshold: 5}]}",
    ),
    ("compatibility.schema1", "compatibility: {schema1: {enabled: true}}"),
    ("policy.repository.classes", "policy: {repository: {classes: [image]}}"),
    ("validation.enabled", "validation: {enabled: true}"),
    ("validation.enabled", "validation: {enabled: false}"),
    ("http.tls.ciphersuites", "http: {tls: {ciphersuites: [TLS_AES_128_GCM_SHA256]}}"),
    (
        "http.tls.letsencrypt.cachefile",
        "http: {tls: {certificate: /c, key: /k, letsencrypt: {cachefile: /l}}}",
    ),
]


@pytest.mark.parametrize("key, text", REFUSED)
def test_refused(tmp_path: Path, key: str, text: str) -> None:
    """Starting without it would be unsafe or wrong."""
    (problem,) = problems_of(tmp_path, text)
    assert problem.startswith(f"config.yml:2: {key}: ")


@pytest.mark.parametrize("key, text", NOTICED)
def test_noticed(tmp_path: Path, key: str, text: str) -> None:
    """It has no effect, and the reason is given with its line."""
    (notice,) = load_text(tmp_path, text).notices
    assert notice.key == key
    assert notice.origin.line == 2
    assert notice.message


@pytest.mark.parametrize(
    "text",
    [
        "log: {hooks: [{type: mail, disabled: true, levels: [panic]}]}",
        "middleware: {storage: [{name: cloudfront, disabled: true, options: {baseurl: a}}]}",
        "middleware: {}",
        "middleware: ",
        "proxy: {remoteurl: ''}",
        "proxy: ",
        "redis: ",
        "storage: {cache: {blobdescriptor: ''}}",
        "storage: {redirect: {disable: true}}",
        "notifications: {endpoints: []}",
        "notifications: {events: {includereferences: true}}",
        "notifications: {endpoints: [{name: a, url: 'http://a', disabled: true}]}",
        "compatibility: {schema1: {enabled: false}}",
        "http: {tls: {letsencrypt: {email: a@b}}, h2c: {enabled: false}}",
    ],
)
def test_what_asks_for_nothing_is_passed_over(tmp_path: Path, text: str) -> None:
    """Sections that are there but switched off or empty change nothing."""
    assert load_text(tmp_path, text).notices == ()


def test_every_row_is_tested_and_every_key_exists() -> None:
    """The table has no row that can't happen."""
    known = {place.path for place in places(Config)}
    rows = {row.key for row in NOT_HONOURED}
    assert rows <= known
    assert rows == {key for key, _ in (*REFUSED, *NOTICED)}
    assert {row.key for row in NOT_HONOURED if row.effect == "error"} == {k for k, _ in REFUSED}
    assert all(row.reason for row in NOT_HONOURED)


def test_every_key_has_a_description() -> None:
    """The reference, the JSON Schema and editors show it."""
    for place in places(Config):
        assert place.field.description.endswith("."), place.path
        assert place.field.type.kind != "section" or place.field.type.struct.__doc__, place.path
