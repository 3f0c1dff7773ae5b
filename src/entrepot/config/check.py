"""Trying a configuration out: what can be found wrong before the registry is started with it."""

import errno
import os
import re
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from entrepot.config.address import Address, UnixAddress
from entrepot.config.check_tls import check_tls
from entrepot.config.finding import Finding, error, ok, warning
from entrepot.config.schema import Config

LITTLE_SPACE = 1 << 30
"""Free bytes below which a warning is given."""

_BCRYPT = re.compile(rb"\$2[abxy]\$(\d\d)\$[./A-Za-z0-9]{53}")


def check(config: Config, *, now: datetime) -> Iterator[Finding]:
    """Every finding about storage, index, TLS, users and addresses; changes nothing. Servers that
    the registry would connect to are tried by `entrepot.app.check_servers`.

    A probe file is made in the root directory, if that exists, and removed again.
    """
    yield from _storage(config)
    yield from check_tls(config.http.tls, now=now)
    yield from _htpasswd(config)
    yield from _listening(config)
    yield from _exposure(config)


def _storage(config: Config) -> Iterator[Finding]:
    if config.storage.driver == "inmemory":
        yield warning("storage", "in memory: everything is lost when the registry stops")
    elif config.storage.driver == "filesystem":
        root = config.storage.root
        yield _directory("storage.filesystem.rootdirectory", root)
        yield _free_space(root)
    elif not config.database.url:
        path = Path(config.database_url().removeprefix("sqlite://"))
        yield _directory("database.url", path.parent)
        message = f"the index is kept on this machine, in {path}: keep it, and back it up"
        yield warning("database.url", message)
    if config.database.url.startswith("sqlite:"):
        yield _index(Path(config.database.url.removeprefix("sqlite://")))


def _index(path: Path) -> Finding:
    what = "database.url"
    try:
        if path.is_dir():
            return error(what, f"{path} is a directory")
    except OSError as failure:
        return error(what, f"{path} can't be used: {failure.strerror}")
    return _directory(what, path.parent)


def _directory(what: str, path: Path) -> Finding:
    """Whether the directory can be written to, or made if it doesn't exist."""
    try:
        if path.exists():
            with tempfile.NamedTemporaryFile(dir=path, prefix=".entrepot-check-"):
                return ok(what, f"{path} is writable")
        parent = _existing(path)
        if not parent.is_dir():
            return error(what, f"{path} can't be made: {parent} is not a directory")
        if not os.access(parent, os.W_OK | os.X_OK, effective_ids=True):
            return error(what, f"{path} can't be made: {parent} is not writable")
    except OSError as failure:
        return error(what, f"{path} is not writable: {failure.strerror}")
    return ok(what, f"{path} doesn't exist; it will be made")


def _existing(path: Path) -> Path:
    """The path, or the nearest directory above it that exists."""
    absolute = path.absolute()
    return next(p for p in (absolute, *absolute.parents) if p.exists() or p == p.parent)


def _free_space(root: Path) -> Finding:
    try:
        usage = shutil.disk_usage(_existing(root))
    except OSError as failure:
        return error("free space", f"can't be found out: {failure.strerror}")
    share = 100 * usage.free // usage.total if usage.total else 0
    text = f"{usage.free / (1 << 30):.1f} GiB free ({share} %)"
    return (warning if usage.free < LITTLE_SPACE else ok)("free space", text)


def _htpasswd(config: Config) -> Iterator[Finding]:
    if config.auth.htpasswd is None:
        return
    what, path = "auth.htpasswd.path", Path(config.auth.htpasswd.path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        made = _directory(what, path.parent)
        if made.level == "error":
            yield made
        else:
            yield warning(what, f"{path} doesn't exist; it will be made with the user docker")
        return
    except OSError as failure:
        yield error(what, f"{path} can't be read: {failure.strerror}")
        return
    wrong = list(_wrong_lines(content))
    yield from (error(what, f"{path}:{number}: {message}") for number, message in wrong)
    users = sum(bool(_entry(line)) for line in content.splitlines())
    if not wrong:
        say = ok if users else warning
        yield say(what, f"{path} has {users} user{'' if users == 1 else 's'}")


def _entry(line: bytes) -> bytes:
    """The line without white space; empty for comments."""
    return b"" if line.lstrip().startswith(b"#") else line.strip()


def _wrong_lines(content: bytes) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(content.splitlines(), 1):
        user, colon, password = _entry(line).partition(b":")
        if not user and not colon:
            continue
        if not user or not colon:
            yield number, "expected user:password"
        elif not (match := _BCRYPT.fullmatch(password)):
            yield number, "the password is not hashed with bcrypt (htpasswd -B)"
        elif not 4 <= int(match[1]) <= 31:
            yield number, "the cost of the bcrypt hash is not between 4 and 31"


def _listening(config: Config) -> Iterator[Finding]:
    main, debug = config.http.listen(), config.http.debug_listen()
    if isinstance(main, UnixAddress):
        yield _unix_socket(Path(main.path))
    else:
        yield _port("http.addr", main)
    if debug is None:
        return
    if isinstance(main, Address) and main.port == debug.port != 0 and _overlap(main, debug):
        yield error("http.debug.addr", f"{debug} is taken by http.addr")
    else:
        yield _port("http.debug.addr", debug)


def _overlap(one: Address, other: Address) -> bool:
    anywhere = ("", "::", "0.0.0.0")  # noqa: S104 (compared, not bound)
    return one.host == other.host or one.host in anywhere or other.host in anywhere


def _port(what: str, address: Address) -> Finding:
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            address.bind_host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
            probe.listen(1)
    except (OSError, UnicodeError) as failure:
        return error(what, f"{address}: {_bind_failure(failure, address)}")
    return ok(what, f"{address} is free")


def _bind_failure(failure: OSError | UnicodeError, address: Address) -> str:
    if isinstance(failure, UnicodeError | socket.gaierror):
        return f"the host name {address.host} can't be resolved"
    match failure.errno:
        case errno.EADDRINUSE:
            return "another program listens there, or this registry does"
        case errno.EACCES:
            return f"not allowed; port {address.port} needs the capability CAP_NET_BIND_SERVICE"
        case errno.EADDRNOTAVAIL:
            return "this machine doesn't have the address"
    return failure.strerror or str(failure)


def _unix_socket(path: Path) -> Finding:
    what = "http.addr"
    try:
        if not path.exists():
            return _directory(what, path.parent)
        if not stat.S_ISSOCK(path.stat().st_mode):
            return error(what, f"{path} exists and is not a socket")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            probe.connect(str(path))
    except ConnectionRefusedError:
        return ok(what, f"{path} is left over; it will be replaced")
    except OSError as failure:
        return error(what, f"{path}: {failure.strerror or failure}")
    return error(what, f"{path}: another program listens there, or this registry does")


def _exposure(config: Config) -> Iterator[Finding]:
    address = config.http.listen()
    if isinstance(address, UnixAddress) or address.is_loopback:
        return
    if config.auth.type in {"none", "silly"}:
        yield warning("auth", f"whoever can reach {address} may push and delete")
    elif not config.http.tls.enabled:
        yield warning("http.tls", f"passwords sent to {address} are not encrypted without a proxy")
