"""The file: what is accepted, what it becomes, and what is said about what is wrong in it."""

import pickle
from pathlib import Path

import pytest

from entrepot.config import Config, ConfigError, Origin, load, loading, resolve_path
from entrepot.config.schema_storage import Filesystem, InMemory
from entrepot.core.errors import EntrepotError
from tests.unit.config.writing import load_text, problems_of


def test_defaults_without_a_file() -> None:
    """No file and no variables: a registry in /var/lib/registry on port 5000."""
    loaded = load(None, {"HOME": "/root"})
    assert loaded.config == Config()
    assert loaded.origins == {}
    assert loaded.notices == ()
    assert loaded.path is None
    assert loaded.config.storage.root == Path("/var/lib/registry")
    assert loaded.config.http.addr == ":5000"
    assert loaded.config.storage.delete.enabled
    assert loaded.config.http.draintimeout == 30.0


def test_registry_2_default_file(tmp_path: Path) -> None:
    """The file in the image of registry:2 is accepted, with a notice for its cache."""
    loaded = load_text(
        tmp_path,
        """
        log:
          fields:
            service: registry
        storage:
          cache:
            blobdescriptor: inmemory
          filesystem:
            rootdirectory: /var/lib/registry
        http:
          addr: :5000
          headers:
            X-Content-Type-Options: [nosniff]
        health:
          storagedriver:
            enabled: true
            interval: 10s
            threshold: 3
        """,
    )
    assert loaded.config.log.fields == {"service": "registry"}
    assert loaded.config.http.headers == {"X-Content-Type-Options": ("nosniff",)}
    assert loaded.config.health.storagedriver.interval == 10.0
    assert [notice.key for notice in loaded.notices] == ["storage.cache"]


def test_registry_2_example_file(tmp_path: Path) -> None:
    """The newer example: deletion, tag lookup and the debug server."""
    loaded = load_text(
        tmp_path,
        """
        log: {fields: {service: registry}}
        storage:
          delete: {enabled: true}
          cache: {blobdescriptor: inmemory}
          filesystem: {rootdirectory: /var/lib/registry}
          tag: {concurrencylimit: 5}
        http:
          addr: :5000
          debug:
            addr: :5001
            prometheus: {enabled: true, path: /metrics}
        """,
    )
    debug = loaded.config.http.debug_listen()
    assert debug is not None
    assert debug.port == 5001
    assert loaded.config.http.debug.prometheus.enabled
    assert {notice.key for notice in loaded.notices} == {"storage.tag", "storage.cache"}


@pytest.mark.parametrize("version", ["0.2", "1", "", "[1]", "0.10"])
def test_version_must_be_0_1(tmp_path: Path, version: str) -> None:
    """Any other version is refused by name, and so is none."""
    problems = problems_of(tmp_path, "storage: inmemory", version=version)
    assert problems[0].startswith("config.yml:1: version: unsupported version")


def test_version_is_required(tmp_path: Path) -> None:
    """An empty file has no version."""
    path = tmp_path / "config.yml"
    for content in ("", "---\n", "http: {addr: ':5000'}\n"):
        path.write_text(content)
        with pytest.raises(ConfigError, match='unsupported version: ""'):
            load(path, {})


def test_quoted_version(tmp_path: Path) -> None:
    """The version may be quoted."""
    assert load_text(tmp_path, "", version='"0.1"').config.version == "0.1"


@pytest.mark.parametrize(
    "text, driver",
    [
        ("storage: inmemory", InMemory()),
        ("storage: {inmemory: }", InMemory()),
        ("storage: {inmemory: {}}", InMemory()),
        ("storage: filesystem", Filesystem()),
        ("storage: {filesystem: }", Filesystem()),
        ("storage: {delete: {enabled: false}}", Filesystem()),
        ("storage: ", Filesystem()),
        ("storage: {filesystem: {rootdirectory: 5}}", Filesystem(rootdirectory="5")),
    ],
)
def test_storage_forms(tmp_path: Path, text: str, driver: object) -> None:
    """A driver is named by a bare word or by its key; without any it is the filesystem."""
    storage = load_text(tmp_path, text).config.storage
    chosen = storage.inmemory if storage.driver == "inmemory" else storage.filesystem
    assert chosen == driver


@pytest.mark.parametrize(
    "text, kind",
    [
        ("auth: none", "none"),
        ("auth: None", "none"),
        ("auth: {none: {}}", "none"),
        ("auth: {none: }", "none"),
        ("auth: ", "none"),
        ("auth: ''", "none"),
        ("auth: {}", "none"),
        ("auth: {htpasswd: {realm: r, path: /p}}", "htpasswd"),
    ],
)
def test_auth_forms(tmp_path: Path, text: str, kind: str) -> None:
    """Authentication is a section or a bare word."""
    assert load_text(tmp_path, text).config.auth.type == kind


@pytest.mark.parametrize(
    "text, level",
    [
        ("loglevel: debug", "debug"),
        ("loglevel: DEBUG", "debug"),
        ("log: {level: Warn}", "warn"),
        ("log: {level: error}\nloglevel: debug", "error"),
        ("log: {level: }\nloglevel: debug", "debug"),
        ("", "info"),
    ],
)
def test_log_level(tmp_path: Path, text: str, level: str) -> None:
    """`loglevel` is used where log.level isn't given; case doesn't matter."""
    config = load_text(tmp_path, text).config
    assert config.log.level == level
    assert config.loglevel is None


@pytest.mark.parametrize(
    "text, key, seconds",
    [
        ("http: {draintimeout: 1m30s}", "http.draintimeout", 90.0),
        ("http: {draintimeout: 0}", "http.draintimeout", 0.0),
        ("http: {draintimeout: 5000000000}", "http.draintimeout", 5.0),
        ("http: {draintimeout: }", "http.draintimeout", 30.0),
        (
            "storage: {maintenance: {uploadpurging: {age: 24h}}}",
            "storage.maintenance.uploadpurging.age",
            86400.0,
        ),
        (
            "storage: {maintenance: {uploadpurging: {enabled: false}}}",
            "storage.maintenance.uploadpurging.age",
            604800.0,
        ),
    ],
)
def test_durations(tmp_path: Path, text: str, key: str, seconds: float) -> None:
    """Go durations; bare integers are nanoseconds; parts of uploadpurging have defaults."""
    value: object = load_text(tmp_path, text).config
    for step in key.split("."):
        value = getattr(value, step)
    assert value == seconds


def test_optional_duration(tmp_path: Path) -> None:
    """A duration that needn't be given is read like any other."""
    proxy = load_text(tmp_path, "proxy: {exec: {lifetime: 1h}}").config.proxy
    assert proxy is not None
    assert proxy.exec is not None
    assert proxy.exec.lifetime == 3600.0


def test_nanoseconds_are_pointed_out(tmp_path: Path) -> None:
    """`draintimeout: 60` is 60 ns, as in registry:2; who wrote it probably meant seconds."""
    (notice,) = load_text(tmp_path, "http: {draintimeout: 60}").notices
    assert str(notice).endswith("http.draintimeout: 60 is 60 nanoseconds; for seconds write 60s")


def test_numbers_and_flags_are_texts_where_texts_are_expected(tmp_path: Path) -> None:
    """As registry:2 reads them: the text is taken as it was written."""
    text = "http: {secret: 0123, host: }\nlog: {fields: {a: 2001-01-01, b: 1:30, c: 010, d: on}}"
    config = load_text(tmp_path, text).config
    assert config.http.secret == "0123"
    assert config.http.host == ""
    assert config.log.fields == {"a": "2001-01-01", "b": "1:30", "c": 8, "d": True}


@pytest.mark.parametrize("key, section", [("maxentries", "catalog"), ("maxtags", "tags")])
@pytest.mark.parametrize("number", [0, -1])
def test_page_sizes_of_nothing_are_the_default(
    tmp_path: Path, section: str, key: str, number: int
) -> None:
    """registry:2 takes 1000 for an empty or negative number."""
    config = load_text(tmp_path, f"{section}: {{{key}: {number}}}").config
    assert getattr(getattr(config, section), key) == 1000


def test_anchors_and_merges(tmp_path: Path) -> None:
    """YAML's ways to say a thing once work; a key of its own wins over a merged one."""
    text = """
        x: &purge {age: 24h, dryrun: true}
        storage: {maintenance: {uploadpurging: {<<: *purge, dryrun: false}}}
        """
    (problem,) = problems_of(tmp_path, text)
    assert problem.startswith("config.yml:3: x: unknown key")
    text = """
        health:
          tcp:
          - &check {addr: a:1, interval: 5s}
          - {<<: *check, addr: b:1}
        """
    (first, second) = load_text(tmp_path, text).config.health.tcp
    assert (first.addr, second.addr, second.interval) == ("a:1", "b:1", 5.0)


@pytest.mark.parametrize(
    "text, problem",
    [
        ("htpp: {}", '2: htpp: unknown key; did you mean "http"?'),
        ("http:\n  adrr: ':1'", '3: http.adrr: unknown key; did you mean "addr"?'),
        (
            "storage: {filesystem: {rootDirectory: /x}}",
            '2: storage.filesystem.rootDirectory: unknown key; did you mean "rootdirectory"?',
        ),
        (
            "rootdirectory: /x",
            '2: rootdirectory: unknown key; did you mean "storage.filesystem.rootdirectory"?',
        ),
        ("storage: inmemry", '2: storage.inmemry: unknown key; did you mean "inmemory"?'),
        ("catalog: {zzz: 1}", "2: catalog.zzz: unknown key; known here: maxentries"),
        ("storage: {inmemory: {zzz: 1}}", "2: storage.inmemory.zzz: unknown key; nothing can be"),
        ("http: {workers: two}", '2: http.workers: found the text "two", expected a whole number'),
        ("http: {workers: 1.5}", "2: http.workers: found the number 1.5, expected a whole number"),
        ("http: {workers: -1}", "2: http.workers: found the number -1, expected a whole number, 0"),
        ("http: {workers: true}", "2: http.workers: found the flag true, expected a whole number"),
        ("http: {relativeurls: 1}", "2: http.relativeurls: found the number 1, expected true or"),
        ('http: {relativeurls: "true"}', '2: http.relativeurls: found the text "true", expected'),
        ("http: {addr: [a]}", "2: http.addr: found a list, expected a text"),
        ("http: {tls: on}", "2: http.tls: found a flag, expected a section"),
        ("http: {draintimeout: soon}", '2: http.draintimeout: found the text "soon", expected a'),
        ("http: {draintimeout: -1s}", '2: http.draintimeout: found the text "-1s", expected a'),
        ("http: {draintimeout: 1.5}", "2: http.draintimeout: found the number 1.5, expected a"),
        ("http: {headers: {a: b}}", '2: http.headers.a: found the text "b", expected a list'),
        ("http: {headers: {a: [[]]}}", "2: http.headers.a[0]: found a list, expected a text"),
        (
            "http: {headers: {a: [ ]}, tls: {clientcas: /a}}",
            "2: http.tls.clientcas: found the text",
        ),
        ("http: {limits: {manifestsize: 0}}", "2: http.limits.manifestsize: found the number 0"),
        ("log: {level: wrn}", '2: log.level: found the text "wrn", expected one of debug, error'),
        ("health: {file: [{interval: 1s}]}", "2: health.file[0]: file is missing"),
        ("health: {file: [x]}", "2: health.file[0]: found a text, expected a section"),
        ("auth: {htpasswd: {realm: r}}", "2: auth.htpasswd: path is missing"),
        ("auth: {htpasswd: {realm: '', path: p}}", "2: auth.htpasswd: realm is missing"),
        ("http: {addr: ':1'}\nhttp: {}", "3: http: given twice, first in line 2"),
        ("? [a]\n: b", "2: a key must be a word, not a list"),
        ("http: {addr: !!binary aGk=}", "2: a value has a YAML tag that is not known"),
        ('http: {addr: "a\\0"}', "2: a value has a character that can't be used"),
        ('http: {host: "a\\ud800"}', "2: a value has a character that can't be used"),
        ('"a\\0": b', "2: a key has a character that can't be used"),
        ("http: {<<: 5}", "2: <<: only mappings can be merged"),
        ("http: {addr: ]", "2: not YAML: "),
        ("http: \tx", "2: not YAML: "),
        ("http: *unknown", "2: not YAML: found undefined alias"),
        ("--- \na: b", "2: not YAML: "),
    ],
)
def test_one_problem(tmp_path: Path, text: str, problem: str) -> None:
    """Each problem names file, line, key, what was found and what was expected."""
    (found,) = problems_of(tmp_path, text)
    assert found.startswith(f"config.yml:{problem}")


def test_all_problems_at_once(tmp_path: Path) -> None:
    """Nobody should have to start ten times to find ten mistakes; they come in the file's order."""
    text = """
        http: {workers: many, adr: ':1'}
        storage:
          s3: {bucket: b}
          filesystem: {rootdirectory: [a]}
        log: {level: loud}
        """
    found = problems_of(tmp_path, text, {"REGISTRY_HTTP_PREFX": "x", "REGISTRY_TAGS_MAXTAGS": "x"})
    starts = [problem.split(": ")[0] for problem in found]
    assert starts == [
        "config.yml:3",
        "config.yml:3",
        "config.yml:4",
        "config.yml:5",
        "config.yml:6",
        "config.yml:7",
        "REGISTRY_HTTP_PREFX",
        "REGISTRY_TAGS_MAXTAGS",
    ]


def test_the_error_is_one_of_ours_and_can_be_sent_to_another_process(tmp_path: Path) -> None:
    """ConfigError is an EntrepotError, lists every problem, and survives pickling."""
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, "a: 1\nb: 2")
    assert isinstance(caught.value, EntrepotError)
    assert str(caught.value).startswith("2 configuration errors:\n  ")
    assert pickle.loads(pickle.dumps(caught.value)).problems == caught.value.problems


def test_the_configuration_can_be_sent_to_another_process(tmp_path: Path) -> None:
    """Worker processes get the same values."""
    config = load_text(tmp_path, "http: {headers: {a: [b]}}\nlog: {fields: {a: [1]}}").config
    assert pickle.loads(pickle.dumps(config)) == config


def test_unreadable_files(tmp_path: Path) -> None:
    """A file that is missing, a directory or no text is a problem with the file's name."""
    with pytest.raises(ConfigError, match=r"missing\.yml: can't be read: No such file"):
        load(tmp_path / "missing.yml", {})
    with pytest.raises(ConfigError, match="can't be read: Is a directory"):
        load(tmp_path, {})
    binary = tmp_path / "binary.yml"
    binary.write_bytes(b"version: 0.1\n\x00\xff")
    with pytest.raises(ConfigError, match="forbids"):
        load(binary, {})


@pytest.mark.parametrize("text", ["[" * 5000, "a: " * 1, "{a: " * 200 + "}" * 200])
def test_documents_that_are_no_configuration(tmp_path: Path, text: str) -> None:
    """However deep the nesting, the answer is a ConfigError."""
    path = tmp_path / "config.yml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load(path, {})


def test_aliases_that_explode_are_refused(tmp_path: Path) -> None:
    """A few lines must not become millions of values."""
    levels = [f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]" for i in range(1, 9)]
    text = "\n".join(["x0: &x0 [1]", *levels])
    assert any("too many values" in problem for problem in problems_of(tmp_path, text))


def test_origins(tmp_path: Path) -> None:
    """Every key that was given has the line of its key, or its variable."""
    text = "http:\n  tls:\n    clientcas:\n    - /a\n  addr: :1\n"
    with pytest.raises(ConfigError):
        load_text(tmp_path, text)
    loaded = load_text(
        tmp_path, "http:\n  addr: :1\n  headers:\n    A:\n    - b", {"REGISTRY_HTTP_PREFIX": "/x/"}
    )
    file = str(tmp_path / "config.yml")
    assert loaded.origins["http.addr"] == Origin(file=file, line=3)
    assert loaded.origins["http.headers.A[0]"] == Origin(file=file, line=6)
    assert loaded.origins["http.prefix"] == Origin(variable="REGISTRY_HTTP_PREFIX")
    assert "http.host" not in loaded.origins
    assert str(Origin()) == "default"


def test_loglevel_is_the_origin_of_log_level(tmp_path: Path) -> None:
    """The old key's line is where the level comes from."""
    loaded = load_text(tmp_path, "loglevel: debug")
    assert loaded.origins["log.level"] == Origin(file=str(tmp_path / "config.yml"), line=2)


def test_resolve_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument wins over the variable, and that over the default paths, in their order."""
    first, second = tmp_path / "first.yml", tmp_path / "second.yml"
    monkeypatch.setattr(loading, "DEFAULT_PATHS", (first, second))
    variable = {"REGISTRY_CONFIGURATION_PATH": "/variable.yml"}
    assert resolve_path(Path("/argument.yml"), variable) == Path("/argument.yml")
    assert resolve_path(None, variable) == Path("/variable.yml")
    assert resolve_path(None, {"REGISTRY_CONFIGURATION_PATH": ""}) is None
    assert resolve_path(None, {}) is None
    second.touch()
    assert resolve_path(None, {}) == second
    first.touch()
    assert resolve_path(None, {}) == first


def test_default_paths() -> None:
    """Ours, then those of registry:3 and registry:2."""
    assert [str(path) for path in loading.DEFAULT_PATHS] == [
        "/etc/entrepot/config.yml",
        "/etc/distribution/config.yml",
        "/etc/docker/registry/config.yml",
    ]


def test_database_url(tmp_path: Path) -> None:
    """Below the root unless stated; in memory with the memory driver."""
    root = "storage: {filesystem: {rootdirectory: /data}}"
    assert (
        load_text(tmp_path, root).config.database_url() == "sqlite:////data/entrepot/index.sqlite3"
    )
    assert load_text(tmp_path, "storage: inmemory").config.database_url() == "sqlite://"
    stated = load_text(tmp_path, "database: {url: 'sqlite:////x/y.db'}").config
    assert stated.database_url() == "sqlite:////x/y.db"


def test_worker_count(tmp_path: Path) -> None:
    """0 is the number of processors, at most 8; the memory driver has one process."""
    assert load_text(tmp_path, "http: {workers: 3}").config.worker_count() == 3
    assert 1 <= load_text(tmp_path, "").config.worker_count() <= 8
    both = load_text(tmp_path, "storage: inmemory\nhttp: {workers: 3}").config
    assert both.worker_count() == 1


def test_memory_has_no_root() -> None:
    """Asking the memory driver for a directory is an error of ours, not a wrong path."""
    config = load(None, {"REGISTRY_STORAGE": "inmemory"}).config
    with pytest.raises(ConfigError):
        _ = config.storage.root
    assert config.storage.durability == "relaxed"


def test_a_long_path_is_told_whole(tmp_path: Path) -> None:
    """It is what the user has to open."""
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    path = folder / "config.yml"
    path.write_text("version: 0.1\nhtpp: {}\n")
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert f"{path}:2: htpp: unknown key" in str(caught.value)
