"""The htpasswd file: reading it, noticing changes, making the first one.

Form: one `name:hash` on a line, `#` starts a comment line; of several lines for one name the last
counts (as in registry:2). Only bcrypt hashes (`$2a$`, `$2b$`, `$2y$`) are accepted.
"""

import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import bcrypt
import msgspec
import structlog

from entrepot.identity.errors import IdentityError
from entrepot.telemetry import Revealed

DEFAULT_USER = "docker"
_DEFAULT_COST = 10
_HIGHEST_COST = 18
_BCRYPT = re.compile(rb"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_LARGEST = 16 * 1024 * 1024
_SETTLED_NANOSECONDS = 2_000_000_000

_log = structlog.get_logger("entrepot.identity")


class Signature(msgspec.Struct, frozen=True):
    """What tells one state of a file from another without reading it."""

    device: int
    inode: int
    size: int
    modified: int


class Problem(msgspec.Struct, frozen=True):
    """A line that nobody can log in with, or that hides another, and why."""

    line: int
    reason: str


class Users(msgspec.Struct, frozen=True):
    """The users of an htpasswd file at one moment: name as bytes -> bcrypt hash."""

    hashes: Mapping[bytes, bytes]
    problems: tuple[Problem, ...] = ()
    signature: Signature | None = None
    """None if the file may change without its signature changing, so it must be read again."""

    @property
    def costs(self) -> list[int]:
        """The bcrypt cost of each user, sorted."""
        return sorted(int(hashed[4:6]) for hashed in self.hashes.values())


def parse_users(content: bytes) -> Users:
    """Return the usable entries of an htpasswd file, and what is wrong with the others."""
    hashes: dict[bytes, bytes] = {}
    problems: list[Problem] = []
    for number, name, hashed in _entries(content):
        reason = _fault(name, hashed)
        if reason:
            problems.append(Problem(number, reason))
            continue
        if name in hashes:
            problems.append(Problem(number, "the user has an earlier line, which no longer counts"))
        hashes[name] = hashed
    return Users(hashes, tuple(problems))


def read_users(path: Path) -> Users:
    """Read the htpasswd file at `path`.

    Raises IdentityError if the file can't be read or if there is something in it but no line is
    usable, as while it is being written or when it is another file altogether.
    """
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise IdentityError(f"htpasswd file {path} can't be read: {error.strerror}") from error
    if len(content) > _LARGEST:
        raise IdentityError(f"htpasswd file {path} is larger than {_LARGEST} bytes")
    users = parse_users(content)
    if users.problems and not users.hashes:
        raise IdentityError(
            f"htpasswd file {path} has no usable line: each needs a name, a colon and a bcrypt "
            "hash; `htpasswd -B` makes them"
        )
    # A file that was written a moment ago may be written again within the same tick of its clock.
    settled = time.time_ns() - facts.st_mtime_ns > _SETTLED_NANOSECONDS
    return msgspec.structs.replace(users, signature=_signature(facts) if settled else None)


def read_users_again(path: Path, known: Users) -> Users:
    """Return `known` if the file has not changed since it was read, else read it (`read_users`)."""
    try:
        if known.signature == _signature(path.stat()):
            return known
    except OSError:
        pass  # reading tells what is the matter
    return read_users(path)


def create_users_file(path: Path) -> bool:
    """Make the htpasswd file with the user `docker` and a random password if there is none.

    The password is written to the log, once, as registry:2 does; returns whether that was so. The
    file appears complete, with mode 0600, and of several processes that try one succeeds. Call it
    before the workers start. Raises IdentityError if the file can't be made.
    """
    if path.exists():
        return False
    password = secrets.token_urlsafe(32)
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(_DEFAULT_COST, prefix=b"2a"))
    try:
        path.parent.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
        created = _write_new(path, b"%s:%s\n" % (DEFAULT_USER.encode(), hashed))
    except OSError as error:
        raise IdentityError(
            f"htpasswd file {path} does not exist and can't be made: {error.strerror}; make it "
            f"with `htpasswd -cB {path} NAME`"
        ) from error
    if created:
        _log.warning(
            "htpasswd is missing, provisioning with default user",
            user=DEFAULT_USER,
            password=Revealed(password),
            path=str(path),
        )
    return created


def _entries(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    for number, raw in enumerate(content.split(b"\n"), start=1):
        line = raw.strip()
        if line and not line.startswith(b"#"):
            name, _, hashed = line.partition(b":")
            yield number, name, hashed


def _fault(name: bytes, hashed: bytes) -> str:
    """Return why nobody can log in with this line, or nothing. Does not repeat what it says."""
    try:
        readable = name.decode("utf-8").isprintable()
    except UnicodeDecodeError:
        readable = False
    if not name or not readable:
        return "the name is empty, not UTF-8 or has control characters"
    if not hashed:
        return "there is no colon and no hash after the name"
    match = _BCRYPT.fullmatch(hashed)
    if match is None:
        return "the hash is not bcrypt ($2a$, $2b$, $2y$); `htpasswd -B` makes such"
    if not 4 <= int(match[1]) <= _HIGHEST_COST:
        return f"the cost of the bcrypt hash is not between 4 and {_HIGHEST_COST}"
    return ""


def _signature(facts: os.stat_result) -> Signature:
    return Signature(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)


def _write_new(path: Path, content: bytes) -> bool:
    """Make a file with all of `content`, durable, unless it exists; return whether it was made."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            # Unlike a rename, a link fails if another process was first.
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return True
