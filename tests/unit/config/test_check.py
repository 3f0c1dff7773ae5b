"""`check` finds what would go wrong, before it does."""

import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bcrypt
import msgspec
import pytest

from entrepot.config import Address, Config, check
from entrepot.config.check import check as findings_of
from entrepot.config.finding import Finding
from entrepot.config.schema import Auth, Database, Htpasswd
from entrepot.config.schema_http import Debug, Http, Tls
from entrepot.config.schema_storage import Filesystem, InMemory, Storage
from tests.unit.config.certificates import Pair, make_pair

NOW = datetime(2030, 6, 1, tzinfo=UTC)
YEAR = timedelta(days=365)


def config_in(
    root: Path,
    *,
    http: Http | None = None,
    auth: Auth | None = None,
    database: Database | None = None,
) -> Config:
    """A configuration with its storage at `root`, listening on a free port of 127.0.0.1."""
    return Config(
        storage=Storage(filesystem=Filesystem(rootdirectory=str(root))),
        http=http or Http(addr="127.0.0.1:0"),
        auth=auth or Auth(),
        database=database or Database(),
    )


def about(config: Config, what: str) -> list[Finding]:
    """What is found about one key."""
    return [found for found in findings_of(config, now=NOW) if found.what == what]


def only(config: Config, what: str) -> Finding:
    """The one finding about a key."""
    (found,) = about(config, what)
    return found


ROOT = "storage.filesystem.rootdirectory"


def test_nothing_wrong(tmp_path: Path) -> None:
    """Nothing but ok, one line each, and no trace in the directory."""
    findings = list(findings_of(config_in(tmp_path), now=NOW))
    assert {found.level for found in findings} <= {"ok"}
    assert all(str(found).isprintable() for found in findings)
    assert list(tmp_path.iterdir()) == []


def test_root_that_does_not_exist(tmp_path: Path) -> None:
    """It will be made, so that is fine; nothing is made now."""
    found = only(config_in(tmp_path / "a" / "b"), ROOT)
    assert found.level == "ok"
    assert "will be made" in found.message
    assert list(tmp_path.iterdir()) == []


def test_root_that_is_a_file(tmp_path: Path) -> None:
    """Neither a file nor something below a file can be the root."""
    (tmp_path / "file").touch()
    assert only(config_in(tmp_path / "file"), ROOT).level == "error"
    assert only(config_in(tmp_path / "file" / "x"), ROOT).level == "error"


def test_root_that_can_not_be_written_to() -> None:
    """/proc is writable for nobody, root included."""
    assert only(config_in(Path("/proc")), ROOT).level == "error"
    found = only(config_in(Path("/proc/entrepot/registry")), ROOT)
    assert found.level == "error" or "will be made" in found.message


@pytest.fixture
def nobody() -> Iterator[None]:
    """Without root's rights, which know no permissions."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


def test_directory_without_permission(nobody: None) -> None:
    """A directory of mode 0555 can't be written to."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o555)
        assert only(config_in(directory), ROOT).level == "error"
        assert only(config_in(directory / "x"), ROOT).level == "error"
        directory.chmod(0o000)
        assert only(config_in(directory / "x"), ROOT).level == "error"
        assert only(config_in(directory / "x"), "free space").level == "error"
        database = Database(url=f"sqlite:///{directory}/x/y")
        assert only(config_in(directory, database=database), "database.url").level == "error"
        http = Http(net="unix", addr=f"{directory}/x/y")
        assert only(config_in(directory, http=http), "http.addr").level == "error"
        directory.chmod(0o755)


def test_little_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than 1 GiB is warned of."""
    usage = shutil.disk_usage(tmp_path)
    assert only(config_in(tmp_path), "free space").level == "ok"
    monkeypatch.setattr(check, "LITTLE_SPACE", usage.total + 1)
    assert only(config_in(tmp_path), "free space").level == "warning"


def test_memory() -> None:
    """Who stores in memory should know it."""
    config = Config(storage=Storage(inmemory=InMemory()), http=Http(addr="127.0.0.1:0"))
    assert only(config, "storage").level == "warning"


def test_index_elsewhere(tmp_path: Path) -> None:
    """The directory of the index must be writable as well."""
    (tmp_path / "file").touch()

    def found(path: str) -> str:
        database = Database(url=f"sqlite:///{path}")
        return only(config_in(tmp_path, database=database), "database.url").level

    assert found(f"{tmp_path}/index.db") == "ok"
    assert found(f"{tmp_path}/file") == "ok"
    assert found(f"{tmp_path}") == "error"
    assert found(f"{tmp_path}/file/index.db") == "error"


# --- users ---

GOOD = bcrypt.hashpw(b"x", b"$2b$04$" + b"a" * 21 + b"u").decode()


@pytest.mark.parametrize(
    "content, levels, message",
    [
        (f"me:{GOOD}\n", ["ok"], "1 user"),
        (f"# people\n\nme:{GOOD}\nyou:{GOOD.replace('$2b$', '$2y$')}\r\n", ["ok"], "2 users"),
        ("", ["warning"], "0 users"),
        ("me:{SHA}abc\n", ["error"], ":1: the password is not hashed with bcrypt"),
        (f"me:{GOOD}\nyou:plain", ["error"], ":2: the password is not hashed"),
        ("me\n:x\n", ["error", "error"], ":1: expected user:password"),
        (f"me:{GOOD.replace('$04$', '$99$')}", ["error"], "cost"),
    ],
)
def test_htpasswd(tmp_path: Path, content: str, levels: list[str], message: str) -> None:
    """Every line is user and bcrypt hash."""
    path = tmp_path / "htpasswd"
    path.write_text(content)
    auth = Auth(htpasswd=Htpasswd(realm="r", path=str(path)))
    found = about(config_in(tmp_path, auth=auth), "auth.htpasswd.path")
    assert [finding.level for finding in found] == levels
    assert message in found[0].message
    assert "plain" not in found[0].message


def test_htpasswd_that_does_not_exist(tmp_path: Path) -> None:
    """It will be made, if it can be."""
    (tmp_path / "file").touch()
    for path, level in (("new", "warning"), ("file/new", "error"), (".", "error")):
        auth = Auth(htpasswd=Htpasswd(realm="r", path=str(tmp_path / path)))
        assert only(config_in(tmp_path, auth=auth), "auth.htpasswd.path").level == level


# --- addresses ---


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of 127.0.0.1 on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_port(tmp_path: Path, taken: int) -> None:
    """A port is free, taken, not this machine's, or of a host that doesn't exist."""

    def found(addr: str) -> Finding:
        return only(config_in(tmp_path, http=Http(addr=addr)), "http.addr")

    assert found("127.0.0.1:0").level == "ok"
    assert found("localhost:0").level == "ok"
    assert found(f"127.0.0.1:{taken}").message.endswith("listens there, or this registry does")
    assert found(f":{taken}").level == "error"
    assert found("192.0.2.1:0").message.endswith("this machine doesn't have the address")
    assert found("a..b:0").message.endswith("can't be resolved")


def test_privileged_port() -> None:
    """Who isn't allowed to use a low port is told what it takes."""
    message = check._bind_failure(
        PermissionError(errno.EACCES, "Permission denied"), Address("", 443)
    )
    assert "CAP_NET_BIND_SERVICE" in message


def test_host_that_does_not_exist() -> None:
    """What the resolver says; asking a real one would need a network."""
    failure = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    message = check._bind_failure(failure, Address("nowhere.invalid", 443))
    assert message == "the host name nowhere.invalid can't be resolved"


def test_debug_port(tmp_path: Path, taken: int) -> None:
    """The debug server needs a port of its own."""

    def found(addr: str, debug: str) -> Finding:
        http = Http(addr=addr, debug=Debug(addr=debug))
        return only(config_in(tmp_path, http=http), "http.debug.addr")

    assert found("127.0.0.1:0", "127.0.0.1:0").level == "ok"
    assert found("127.0.0.1:0", f"127.0.0.1:{taken}").level == "error"
    assert found(":5999", "127.0.0.1:5999").message.endswith("is taken by http.addr")


def test_unix_socket(tmp_path: Path) -> None:
    """A socket may be left over, but not in use, and nothing else may have its path."""
    path = tmp_path / "registry.sock"

    def found(path: Path) -> Finding:
        http = Http(net="unix", addr=str(path))
        return only(config_in(tmp_path, http=http), "http.addr")

    assert found(path).level == "ok"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert found(path).message.endswith("listens there, or this registry does")
    assert found(path).message.endswith("left over; it will be replaced")
    (tmp_path / "file").touch()
    assert found(tmp_path / "file").message.endswith("is not a socket")


def test_exposure(tmp_path: Path) -> None:
    """Open to everybody, or passwords in the clear: allowed, but said."""
    (tmp_path / "htpasswd").write_text(f"me:{GOOD}")
    auth = Auth(htpasswd=Htpasswd(realm="r", path=str(tmp_path / "htpasswd")))
    public = Http(addr=":0")
    assert only(config_in(tmp_path, http=public), "auth").level == "warning"
    closed = config_in(tmp_path, http=public, auth=auth)
    assert [found.level for found in about(closed, "http.tls")] == ["ok", "warning"]
    local = config_in(tmp_path, auth=auth)
    assert [found.level for found in about(local, "http.tls")] == ["ok"]


# --- TLS ---


def tls_findings(tmp_path: Path, tls: Tls) -> dict[str, Finding]:
    """The worst finding about each key."""
    worst: dict[str, Finding] = {}
    order = ["ok", "warning", "error"]
    config = config_in(tmp_path, http=Http(addr="127.0.0.1:0", tls=tls))
    for found in findings_of(config, now=NOW):
        known = worst.get(found.what)
        if known is None or order.index(found.level) > order.index(known.level):
            worst[found.what] = found
    return worst


def tls_of(pair: Pair) -> Tls:
    """TLS with a certificate and its key."""
    return Tls(certificate=str(pair.certificate), key=str(pair.key))


@pytest.fixture
def good(tmp_path: Path) -> Pair:
    """A pair that is valid for a long time."""
    return make_pair(tmp_path, "good", start=NOW - YEAR, lifetime=3 * YEAR)


def test_good_certificate(tmp_path: Path, good: Pair) -> None:
    """Certificate, key, authorities and version are fine."""
    tls = msgspec.structs.replace(tls_of(good), clientcas=(str(good.certificate),))
    found = tls_findings(tmp_path, tls)
    for key in ("certificate", "key", "clientcas[0]", "minimumtls"):
        assert found[f"http.tls.{key}"].level == "ok"


@pytest.mark.parametrize(
    "start, days, level, message",
    [
        (NOW - YEAR, 364, "error", "expired on 2030-05-31"),
        (NOW + timedelta(days=1), 90, "error", "is not valid before 2030-06-02 00:00 UTC"),
        (NOW - YEAR, 365 + 29, "warning", "expires in 29 days, on 2030-06-30"),
        (NOW - YEAR, 365 + 30, "ok", "is valid until 2030-07-01"),
    ],
)
def test_validity(tmp_path: Path, start: datetime, days: int, level: str, message: str) -> None:
    """Expired or not yet valid is an error, less than 30 days is warned of."""
    pair = make_pair(tmp_path, "pair", start=start, lifetime=timedelta(days=days))
    found = tls_findings(tmp_path, tls_of(pair))["http.tls.certificate"]
    assert found.level == level
    assert found.message.endswith(message)


def test_key_of_another_certificate(tmp_path: Path, good: Pair) -> None:
    """They must belong together."""
    other = make_pair(tmp_path, "other", start=NOW - YEAR, lifetime=3 * YEAR)
    found = tls_findings(tmp_path, tls_of(Pair(good.certificate, other.key)))
    assert found["http.tls.key"].message.endswith("doesn't belong to the certificate")


def test_files_that_can_not_be_read(tmp_path: Path, good: Pair) -> None:
    """Missing, or something else."""
    missing, other = tmp_path / "missing", tmp_path / "other"
    other.write_text("hello")
    assert (
        "can't be read"
        in tls_findings(tmp_path, tls_of(Pair(missing, good.key)))["http.tls.certificate"].message
    )
    assert (
        "can't be read"
        in tls_findings(tmp_path, tls_of(Pair(good.certificate, missing)))["http.tls.key"].message
    )
    found = tls_findings(tmp_path, tls_of(Pair(other, other)))
    assert "no PEM certificates" in found["http.tls.certificate"].message
    assert "no PEM private key" in found["http.tls.key"].message
    tls = msgspec.structs.replace(tls_of(good), clientcas=(str(other), str(missing)))
    found = tls_findings(tmp_path, tls)
    assert found["http.tls.clientcas[0]"].level == "error"
    assert found["http.tls.clientcas[1]"].level == "error"
    assert found["http.tls.key"].level == "ok"
    found = tls_findings(tmp_path, tls_of(Pair(other, good.key)))
    assert found["http.tls.key"].level == "ok"


def test_key_with_a_password(tmp_path: Path) -> None:
    """Nobody could type it at start."""
    pair = make_pair(tmp_path, "p", start=NOW - YEAR, lifetime=3 * YEAR, password=b"hunter2")
    found = tls_findings(tmp_path, tls_of(pair))
    assert "encrypted with a password" in found["http.tls.key"].message


def test_certificate_without_names(tmp_path: Path) -> None:
    """Clients look at the subject alternative names only."""
    pair = make_pair(tmp_path, "p", start=NOW - YEAR, lifetime=3 * YEAR, names=())
    found = tls_findings(tmp_path, tls_of(pair))
    assert found["http.tls.certificate"].level == "warning"


def test_expired_client_authority(tmp_path: Path, good: Pair) -> None:
    """No client would get in any more."""
    old = make_pair(tmp_path, "old", start=NOW - YEAR, lifetime=timedelta(days=1))
    tls = msgspec.structs.replace(tls_of(good), clientcas=(str(old.certificate),))
    assert tls_findings(tmp_path, tls)["http.tls.clientcas[0]"].level == "error"
