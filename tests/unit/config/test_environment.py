"""REGISTRY_* variables: the rules of registry:2, and errors where it had warnings."""

from pathlib import Path

import pytest

from entrepot.config import ConfigError, load
from entrepot.config.environment import is_service_link
from entrepot.config.fields import places
from entrepot.config.schema import Config
from tests.unit.config.writing import load_text, problems_of


def value_at(config: object, key: str) -> object:
    """The value of an attribute path such as "health.file.0.interval"."""
    for step in key.split("."):
        config = config[int(step)] if isinstance(config, tuple) else getattr(config, step)
    return config


@pytest.mark.parametrize(
    "environ, key, value",
    [
        ({"REGISTRY_HTTP_ADDR": "127.0.0.1:6000"}, "http.addr", "127.0.0.1:6000"),
        ({"REGISTRY_HTTP_SECRET": "0123"}, "http.secret", "0123"),
        ({"REGISTRY_HTTP_RELATIVEURLS": "true"}, "http.relativeurls", True),
        ({"REGISTRY_HTTP_RELATIVEURLS": "y"}, "http.relativeurls", True),
        ({"REGISTRY_STORAGE_DELETE_ENABLED": "false"}, "storage.delete.enabled", False),
        ({"REGISTRY_LOGLEVEL": "debug"}, "log.level", "debug"),
        ({"REGISTRY_LOG_LEVEL": "debug"}, "log.level", "debug"),
        ({"REGISTRY_STORAGE": "inmemory"}, "storage.driver", "inmemory"),
        ({"REGISTRY_STORAGE_INMEMORY": ""}, "storage.driver", "inmemory"),
        ({"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/d"}, "storage.root", Path("/d")),
        ({"REGISTRY_STORAGE_FILESYSTEM": "{rootdirectory: /d}"}, "storage.root", Path("/d")),
        ({"REGISTRY_STORAGE": "{filesystem: {rootdirectory: /d}}"}, "storage.root", Path("/d")),
        ({"REGISTRY_HTTP_DRAINTIMEOUT": "1m"}, "http.draintimeout", 60.0),
        ({"REGISTRY_HTTP_DRAINTIMEOUT": "1000000000"}, "http.draintimeout", 1.0),
        ({"REGISTRY_HTTP_HEADERS": "{X-A: [b]}"}, "http.headers", {"X-A": ("b",)}),
        ({"REGISTRY_HTTP_HEADERS_X-Foo": "[b]"}, "http.headers", {"x-foo": ("b",)}),
        ({"REGISTRY_HTTP_HEADERS_X-Foo_0": "b"}, "http.headers", {"x-foo": ("b",)}),
        ({"REGISTRY_LOG_FIELDS_ENVIRONMENT": "prod"}, "log.fields", {"environment": "prod"}),
        ({"REGISTRY_LOG_FIELDS_A_B": "3"}, "log.fields", {"a": {"b": 3}}),
        ({"REGISTRY_LOG_FIELDS": "{A: [1, {b: c}]}"}, "log.fields", {"A": (1, {"b": "c"})}),
        ({"REGISTRY_HEALTH_FILECHECKERS_0_FILE": "/f"}, "health.file.0.file", "/f"),
        ({"REGISTRY_HEALTH_HTTPCHECKERS_0_URI": "http://a/"}, "health.http.0.uri", "http://a/"),
        ({"REGISTRY_HEALTH_TCPCHECKERS_0_ADDR": "a:1"}, "health.tcp.0.addr", "a:1"),
        (
            {"REGISTRY_HEALTH_FILECHECKERS": "- {file: /f, interval: 1s}"},
            "health.file.0.interval",
            1.0,
        ),
        ({"REGISTRY_HEALTH_STORAGEDRIVER_ENABLED": "true"}, "health.storagedriver.enabled", True),
        ({"REGISTRY_CATALOG_MAXENTRIES": "5"}, "catalog.maxentries", 5),
        ({"REGISTRY_TAGS_MAXTAGS": "5"}, "tags.maxtags", 5),
        ({"REGISTRY_DATABASE_URL": "sqlite:////a"}, "database.url", "sqlite:////a"),
        ({"REGISTRY_HTTP_LIMITS_MANIFESTSIZE": "9"}, "http.limits.manifestsize", 9),
        ({"REGISTRY_STORAGE_FILESYSTEM_DURABILITY": "relaxed"}, "storage.durability", "relaxed"),
        ({"REGISTRY_AUTH": "none"}, "auth.type", "none"),
        (
            {"REGISTRY_VALIDATION_MANIFESTS_URLS_ALLOW_0": "^a"},
            "validation.manifests.urls.allow.0",
            "^a",
        ),
    ],
)
def test_one_variable(environ: dict[str, str], key: str, value: object) -> None:
    """A variable sets the key that it names, to the YAML in it."""
    assert value_at(load(None, environ).config, key) == value


OVER_A_FILE: list[tuple[str, dict[str, str], str, object]] = [
    # A variable wins over the file; an empty one gives the default back.
    ("http: {addr: ':1'}", {"REGISTRY_HTTP_ADDR": ":2"}, "http.addr", ":2"),
    ("http: {addr: ':1'}", {"REGISTRY_HTTP_ADDR": ""}, "http.addr", ":5000"),
    ("http: {addr: ':1', prefix: /a}", {"REGISTRY_HTTP": "{addr: ':2'}"}, "http.prefix", ""),
    # In the order of their names: the section first, then what is in it.
    (
        "storage: inmemory",
        {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/d", "REGISTRY_STORAGE": "filesystem"},
        "storage.root",
        Path("/d"),
    ),
    (
        "storage: {filesystem: {rootdirectory: /d}, delete: {enabled: false}}",
        {"REGISTRY_STORAGE": "inmemory"},
        "storage.delete.enabled",
        True,
    ),
    (
        "auth: {htpasswd: {realm: r, path: /p}}",
        {"REGISTRY_AUTH": "none"},
        "auth.type",
        "none",
    ),
    (
        "auth: none",
        {
            "REGISTRY_AUTH": "htpasswd",
            "REGISTRY_AUTH_HTPASSWD_REALM": "r",
            "REGISTRY_AUTH_HTPASSWD_PATH": "/p",
        },
        "auth.htpasswd.path",
        "/p",
    ),
    # A bare driver is entered like the section that it stands for.
    (
        "storage: filesystem",
        {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/d"},
        "storage.root",
        Path("/d"),
    ),
    (
        "storage: inmemory",
        {"REGISTRY_STORAGE_DELETE_ENABLED": "no"},
        "storage.driver",
        "inmemory",
    ),
    # Maps: a last step writes the lower-cased key beside another of different case...
    (
        "http: {headers: {X-Foo: [a]}}",
        {"REGISTRY_HTTP_HEADERS_X-FOO": "[b]"},
        "http.headers",
        {"X-Foo": ("a",), "x-foo": ("b",)},
    ),
    # ... and an earlier step enters the existing key of any case.
    (
        "http: {headers: {X-Foo: [a]}}",
        {"REGISTRY_HTTP_HEADERS_X-FOO_1": "b"},
        "http.headers",
        {"X-Foo": ("a", "b")},
    ),
    (
        "log: {fields: {Deep: {Er: 1}}}",
        {"REGISTRY_LOG_FIELDS_DEEP_OTHER": "2"},
        "log.fields",
        {"Deep": {"Er": 1, "other": 2}},
    ),
    (
        "log: {fields: {Deep: }}",
        {"REGISTRY_LOG_FIELDS_DEEP_OTHER": "2"},
        "log.fields",
        {"Deep": None, "deep": {"other": 2}},
    ),
    (
        "log: {fields: {list: [1]}}",
        {"REGISTRY_LOG_FIELDS_LIST_1": "2"},
        "log.fields",
        {"list": (1, 2)},
    ),
    # Lists: an index replaces, the next one appends.
    (
        "health: {file: [{file: /a, interval: 5s}]}",
        {"REGISTRY_HEALTH_FILECHECKERS_0_FILE": "/b"},
        "health.file.0.interval",
        5.0,
    ),
    (
        "health: {file: [{file: /a}]}",
        {"REGISTRY_HEALTH_FILECHECKERS_1_FILE": "/b"},
        "health.file.1.file",
        "/b",
    ),
    (
        "validation: {manifests: {urls: {allow: [a, b]}}}",
        {"REGISTRY_VALIDATION_MANIFESTS_URLS_ALLOW_0": "c"},
        "validation.manifests.urls.allow",
        ("c", "b"),
    ),
    (
        "",
        {f"REGISTRY_VALIDATION_MANIFESTS_URLS_DENY_{i}": f"u{i}" for i in range(12)},
        "validation.manifests.urls.deny.11",
        "u11",
    ),
]


@pytest.mark.parametrize("text, environ, key, value", OVER_A_FILE)
def test_over_a_file(
    tmp_path: Path, text: str, environ: dict[str, str], key: str, value: object
) -> None:
    """Variables are laid over the file."""
    assert value_at(load_text(tmp_path, text, environ).config, key) == value


@pytest.mark.parametrize(
    "name, value, problem",
    [
        ("REGISTRY_HTTP_ADRR", "x", "unknown variable; did you mean REGISTRY_HTTP_ADDR?"),
        ("REGISTRY_http_addr", "x", "unknown variable; did you mean REGISTRY_HTTP_ADDR?"),
        ("REGISTRY_HTTPADDR", "x", "unknown variable; did you mean REGISTRY_HTTP_ADDR?"),
        ("REGISTRY_HTTP_ADDR_HOST", "x", "unknown variable; did you mean REGISTRY_HTTP_HOST?"),
        (
            "REGISTRY_STORAGE_MAINTENANCE_UPLOAD_PURGING_DRY_RUN",
            "true",
            "unknown variable; did you mean REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_DRYRUN?",
        ),
        (
            "REGISTRY_HEALTH_FILE_3_FILE",
            "x",
            "unknown variable; did you mean REGISTRY_HEALTH_FILECHECKERS_0_FILE?",
        ),
        (
            "REGISTRY_NOTIFICATIONS_EVENTS_INCLUDEREFERENCES",
            "true",
            "unknown variable; did you mean REGISTRY_NOTIFICATIONS_EVENTCONFIG_INCLUDEREFERENCES?",
        ),
        ("REGISTRY_AUTH_FILE", "/auth.json", "unknown variable; it belongs to podman and skopeo"),
        ("REGISTRY_ZZZZZZZZZ", "x", "unknown variable"),
        ("REGISTRY_", "x", "unknown variable"),
        ("REGISTRY_HTTP_", "x", "unknown variable; did you mean REGISTRY_HTTP?"),
        ("REGISTRY_HTTP_HEADERS_", "[x]", "unknown variable; did you mean REGISTRY_HTTP_HEADERS?"),
        ("REGISTRY_HTTP_PORT", "5000", "unknown variable; did you mean REGISTRY_HTTP_HOST?"),
        (
            "REGISTRY_HTTP_WORKERS",
            "two",
            'http.workers: found the text "two", expected a whole number, 0 or more',
        ),
        (
            "REGISTRY_HTTP_ADDR",
            "[",
            "not YAML: expected the node content, but found '<stream end>'",
        ),
        (
            "REGISTRY_HEALTH_FILECHECKERS_1_FILE",
            "/x",
            "undefined index 1: the list has 0 elements",
        ),
        ("REGISTRY_HEALTH_FILECHECKERS_X_FILE", "/x", "X is not an index of a list"),
        ("REGISTRY_HEALTH_FILECHECKERS_-1_FILE", "/x", "-1 is not an index of a list"),
        ("REGISTRY_HTTP_HEADERS_X-A", "b", 'http.headers.x-a: found the text "b", expected a list'),
        ("REGISTRY_STORAGE_S3_BUCKET", "b", "storage.s3.region: no region is given"),
        ("REGISTRY_STORAGE_S4_BUCKET", "b", "unknown variable; did you mean REGISTRY_STORAGE_S3"),
    ],
)
def test_one_wrong_variable(name: str, value: str, problem: str) -> None:
    """The variable is named, and what it should have been."""
    with pytest.raises(ConfigError) as caught:
        load(None, {name: value})
    (found,) = (str(found) for found in caught.value.problems)
    assert found.startswith(f"{name}: {problem}")


def test_two_drivers(tmp_path: Path) -> None:
    """The classic trap: the image's file says filesystem, a variable adds another driver."""
    text = "storage: {filesystem: {rootdirectory: /d}}"
    found = problems_of(tmp_path, text, {"REGISTRY_STORAGE_INMEMORY": "{}"})
    assert len(found) == 1
    assert found[0].startswith("config.yml:2: storage: multiple storage drivers specified: ")
    assert found[0].endswith("(REGISTRY_STORAGE=inmemory replaces the file's)")


def test_two_authenticators(tmp_path: Path) -> None:
    """registry:2 would pick one at random."""
    text = "auth: none"
    environ = {"REGISTRY_AUTH_HTPASSWD": "{realm: r, path: /p}"}
    (found,) = problems_of(tmp_path, text, environ)
    assert "auth: must provide exactly one type, found none, htpasswd" in found


def test_a_section_that_is_none_is_reported_once(tmp_path: Path) -> None:
    """A variable below a value of the wrong type doesn't hide it."""
    found = problems_of(tmp_path, "http: 5", {"REGISTRY_HTTP_ADDR": ":1"})
    assert found == ["config.yml:2: http: found a number, expected a section (keys with values)"]
    found = problems_of(tmp_path, "health: {file: x}", {"REGISTRY_HEALTH_FILECHECKERS_0_FILE": "f"})
    assert found == ['config.yml:2: health.file: found the text "x", expected a list']
    found = problems_of(tmp_path, "http: {headers: x}", {"REGISTRY_HTTP_HEADERS_A": "[f]"})
    assert found == [
        "config.yml:2: http.headers: found a text, expected a mapping of names to values"
    ]


def test_other_variables_are_not_ours() -> None:
    """Only REGISTRY_ counts; REGISTRY_CONFIGURATION_PATH names the file and is no key."""
    environ = {
        "ENTREPOT_HTTP_ADDR": ":1",
        "REGISTRY": "x",
        "REGISTRYX_HTTP_ADDR": ":1",
        "XREGISTRY_HTTP_ADDR": ":1",
        "REGISTRY_CONFIGURATION_PATH": "/nowhere",
    }
    loaded = load(None, environ)
    assert loaded.config == Config()
    assert loaded.notices == ()


def test_the_version_is_the_files(tmp_path: Path) -> None:
    """REGISTRY_VERSION, often set for other reasons, changes nothing."""
    loaded = load_text(tmp_path, "", {"REGISTRY_VERSION": "2.8.3"})
    assert loaded.config.version == "0.1"
    assert [notice.key for notice in loaded.notices] == ["version"]


KUBERNETES = {
    "REGISTRY_PORT": "tcp://10.0.0.1:5000",
    "REGISTRY_PORT_5000_TCP": "tcp://10.0.0.1:5000",
    "REGISTRY_PORT_5000_TCP_ADDR": "10.0.0.1",
    "REGISTRY_PORT_5000_TCP_PORT": "5000",
    "REGISTRY_PORT_5000_TCP_PROTO": "tcp",
    "REGISTRY_SERVICE_HOST": "10.0.0.1",
    "REGISTRY_SERVICE_PORT": "5000",
    "REGISTRY_SERVICE_PORT_HTTP": "5000",
    "REGISTRY_SERVICE_PORT_HTTP_ALT": "5000",
}


def test_service_links_are_ignored() -> None:
    """What Kubernetes sets for a service called "registry" (or "registry-ui") is no mistake."""
    others = {name.replace("REGISTRY_", "REGISTRY_UI_"): v for name, v in KUBERNETES.items()}
    redis = {name.replace("REGISTRY_", "REGISTRY_REDIS_"): v for name, v in KUBERNETES.items()}
    docker = {"REGISTRY_NAME": "/web/registry"}
    loaded = load(None, {**KUBERNETES, **others, **redis, **docker})
    assert loaded.config == Config()
    (notice,) = loaded.notices
    assert notice.key == "environment"
    for name in (*KUBERNETES, *others, *docker):
        assert name in notice.message


@pytest.mark.parametrize(
    "name, value",
    [
        ("REGISTRY_PORT", "5000"),
        ("REGISTRY_HTTP_PORT", "5000"),
        ("REGISTRY_SERVICE_HOST", "registry.example.com"),
        ("REGISTRY_SERVICE_PORT", "http"),
        ("REGISTRY_PORT_5000_TCP_ADDR", "here"),
        ("REGISTRY_PORT_5000_TCP", "5000"),
        ("REGISTRY_PORT_TCP", "tcp://10.0.0.1:5000"),
        ("REGISTRY_NAME", "hub"),
        ("REGISTRY_HTTP_ADDR", "tcp://10.0.0.1:5000"),
    ],
)
def test_what_only_looks_like_a_service_link(name: str, value: str) -> None:
    """Name and value must both be of the form; anything else is judged like any variable."""
    assert not is_service_link(name, value)
    with pytest.raises(ConfigError):
        load(None, {name: value})


def test_ipv6_service_links() -> None:
    """Clusters with IPv6 set the same variables."""
    assert is_service_link("REGISTRY_SERVICE_HOST", "fd00::1")
    assert is_service_link("REGISTRY_PORT", "tcp://[fd00::1]:5000")


@pytest.mark.parametrize(
    "name", sorted({place.variable for place in places(Config) if "<" not in place.variable})
)
def test_every_key_can_be_named(name: str) -> None:
    """No key of the schema is out of reach, except those with `_` in their own name."""
    try:
        load(None, {name: ""})
    except ConfigError as error:
        unknown = any("unknown variable" in problem.message for problem in error.problems)
        assert unknown == any(f"_{key}" in name for key in UNREACHABLE)


UNREACHABLE = (
    "COPY_STATUS",
    "MAX_RETRIES",
    "RETRY_DELAY",
    "PROJECT_ID",
    "PRIVATE_KEY",
    "CLIENT_EMAIL",
    "CLIENT_ID",
    "AUTH_URI",
    "TOKEN_URI",
    "AUTH_PROVIDER_X509",
    "CLIENT_X509",
    "UNIVERSE_DOMAIN",
)
"""As in registry:2: `_` separates steps, so these can only be set with the whole section."""
