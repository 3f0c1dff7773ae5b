"""Values that are right each, and don't fit together."""

from pathlib import Path

import pytest

from tests.unit.config.writing import load_text, problems_of


@pytest.mark.parametrize(
    "text, problem",
    [
        (
            "storage: {filesystem: {rootdirectory: ''}}",
            "storage.filesystem.rootdirectory: found an",
        ),
        ("storage: {filesystem: , inmemory: }", "storage: multiple storage drivers specified"),
        ("storage: {s3: {region: r}}", "storage.s3.bucket: no bucket is given"),
        ("storage: {s3: {bucket: b}}", "storage.s3.region: no region is given"),
        (
            "storage: {s3: {bucket: b, region: r, accesskey: a}}",
            "storage.s3.secretkey: accesskey is given without it",
        ),
        (
            "storage: {s3: {bucket: b, region: r, secretkey: a}}",
            "storage.s3.accesskey: secretkey is given without it",
        ),
        (
            "storage: {s3: {bucket: b, region: r, v4auth: false}}",
            "storage.s3.v4auth: signatures of version 2 are not supported",
        ),
        (
            "storage: {s3: {bucket: b, regionendpoint: 'ftp://a'}}",
            "storage.s3.regionendpoint: expected a URL",
        ),
        (
            "http: {accel: nginx}\nstorage: {s3: {bucket: b, region: r}}",
            "http.accel: needs the filesystem driver",
        ),
        ("auth: {none: , htpasswd: {realm: a, path: b}}", "auth: must provide exactly one type"),
        ("database: {url: 'mysql://u:p@h/d'}", "database.url: expected sqlite:////path"),
        ("database: {url: 'postgresql://u:p@ss@h/d'}", "database.url: expected sqlite:////path"),
        ("database: {url: 'postgresql://u:p/w@h/d'}", "database.url: expected sqlite:////path"),
        ("database: {url: 'postgresql://u:p@h:port/d'}", "database.url: expected sqlite:////path"),
        ("database: {url: 'postgresql://u:p@[::1/d'}", "database.url: expected sqlite:////path"),
        (
            "database: {url: 'postgresql://u:p@h/d?sslmode'}",
            "database.url: expected sqlite:////path",
        ),
        ("database: {url: 'postgresql://u:p@h/d#x'}", "database.url: expected sqlite:////path"),
        ("database: {statementtimeout: 0s}", "database.statementtimeout: expected more than 0"),
        ("database: {url: 'sqlite:///relative'}", "database.url: expected sqlite:////path"),
        ("database: {url: 'sqlite:////'}", "database.url: expected sqlite:////path"),
        ("database: {url: 'sqlite:////a?mode=ro'}", "database.url: expected sqlite:////path"),
        ("database: {url: index.db}", "database.url: expected sqlite:////path"),
        ("http: {addr: '5000'}", "http.addr: no port in '5000'"),
        ("http: {addr: ''}", "http.addr: no port in ''"),
        ("http: {addr: ':5000', debug: {addr: 'x:y'}}", "http.debug.addr: the port in 'x:y'"),
        ("http: {net: unix, addr: ':5000'}", "http.addr: with net: unix expected the absolute"),
        ("http: {host: registry.example.com}", "http.host: expected a URL"),
        ("http: {host: 'registry.example.com:5000'}", "http.host: expected a URL"),
        ("http: {host: 'https://a:x'}", "http.host: expected a URL"),
        ("http: {host: 'https://[a'}", "http.host: expected a URL"),
        ("http: {prefix: '/a?b'}", "http.prefix: expected a path"),
        ("http: {prefix: '/a//b'}", "http.prefix: expected a path"),
        ("http: {debug: {prometheus: {path: m}}}", "http.debug.prometheus.path: expected a path"),
        ("http: {accelprefix: x}", "http.accelprefix: expected a path"),
        ("http: {accel: nginx}\nstorage: inmemory", "http.accel: needs the filesystem driver"),
        ("http: {tls: {certificate: /a}}", "http.tls: certificate is given without key"),
        ("http: {tls: {key: /a}}", "http.tls: key is given without certificate"),
        ("http: {tls: {clientcas: [/a]}}", "http.tls.clientcas: client certificates need TLS"),
        (
            "http: {tls: {certificate: a, key: b, clientauth: require-and-verify-client-cert}}",
            "http.tls.clientauth: client certificates need clientcas",
        ),
        (
            "http: {tls: {key: a, certificate: b, clientcas: [c],clientauth: request-client-cert}}",
            "http.tls.clientauth: unverified client certificates are not supported",
        ),
        ("http: {headers: {'a b': [c]}}", "http.headers.a b: not a name of a header"),
        ('http: {headers: {a: ["b\\r\\nc: d"]}}', "http.headers.a: a value has characters"),
        ("http: {headers: {a: [日]}}", "http.headers.a: a value has characters"),
        ("health: {http: [{uri: 'ftp://a'}]}", "health.http[0].uri: expected a URL"),
        (
            "validation: {manifests: {urls: {allow: ['a', '(']}}}",
            "validation.manifests.urls.allow[1]: not a regular expression",
        ),
        (
            "validation: {manifests: {urls: {deny: ['[']}}}",
            "validation.manifests.urls.deny[0]: not a regular expression",
        ),
    ],
)
def test_one_broken_rule(tmp_path: Path, text: str, problem: str) -> None:
    """The key is named that has to be changed, with its line."""
    (found,) = problems_of(tmp_path, text)
    assert found.startswith(f"config.yml:2: {problem}")


@pytest.mark.parametrize(
    "text",
    [
        "http: {host: 'https://registry.example.com'}",
        "http: {host: 'http://10.0.0.1:5000'}",
        "http: {host: 'https://[::1]:5000/hub/'}",
        "http: {prefix: /hub/}",
        "http: {net: unix, addr: /run/registry.sock}",
        "http: {net: tcp}",
        "http: {accel: nginx}",
        "http: {tls: {certificate: a, key: b, clientcas: [c], minimumtls: tls1.3}}",
        "validation: {manifests: {urls: {allow: ['^https?://([^/]+\\.)*example\\.com/']}}}",
        "validation: {manifests: {indexes: {platforms: list, platformlist: []}}}",
    ],
)
def test_what_fits(tmp_path: Path, text: str) -> None:
    """No rule is stricter than it has to be."""
    assert load_text(tmp_path, text).notices == ()


@pytest.mark.parametrize(
    "tls, certificates",
    [
        ("", "none"),
        ("clientcas: [c]", "required"),
        ("clientcas: [c], clientauth: require-and-verify-client-cert", "required"),
        ("clientcas: [c], clientauth: verify-client-cert-if-given", "optional"),
    ],
)
def test_client_certificates(tmp_path: Path, tls: str, certificates: str) -> None:
    """With authorities a certificate is required unless the configuration says otherwise."""
    text = f"http: {{tls: {{certificate: a, key: b, {tls}}}}}"
    found = load_text(tmp_path, text).config.http.tls
    assert found.enabled
    assert found.client_certificates == certificates
    assert found.minimum_version == "tls1.2"


@pytest.mark.parametrize(
    "text, key",
    [
        ("storage: inmemory\nhttp: {workers: 2}", "http.workers"),
        ("storage: inmemory\ndatabase: {url: 'sqlite:////a'}", "database.url"),
        ("http: {debug: {prometheus: {enabled: true}}}", "http.debug.prometheus"),
        ("http: {tls: {minimumtls: tls1.3}}", "http.tls.minimumtls"),
        (
            "validation: {manifests: {indexes: {platformlist: [{os: a, architecture: b}]}}}",
            "validation.manifests.indexes.platformlist",
        ),
    ],
)
def test_without_effect(tmp_path: Path, text: str, key: str) -> None:
    """What has no effect beside the other values is named."""
    (notice,) = load_text(tmp_path, text).notices
    assert notice.key == key
