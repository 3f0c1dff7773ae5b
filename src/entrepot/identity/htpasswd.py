"""`auth: htpasswd`: users of an htpasswd file with bcrypt passwords (RFC 7617, Basic).

What it guards against, and how:

1. Guessing: a wrong credential always costs a bcrypt run, at most two at a time in a process, and
   only so many wait. A right one is remembered for ten minutes, so that it costs one run and not
   one for each request.
2. Finding out names: an unknown user costs a bcrypt run at a cost taken from the file, always the
   same for the same name; all refusals look the same.
3. Reading memory: of remembered credentials only a hash with a key that was made when the process
   started is kept.
4. A user who is removed or gets another password: remembered credentials count only as long as
   the file holds the hash they were verified with.
"""

import asyncio
import base64
import binascii
import hashlib
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bcrypt
import msgspec
import structlog

from entrepot.core.access import Identity, Origin
from entrepot.core.errors import TooManyRequestsError, UnauthorizedError
from entrepot.identity.errors import IdentityError
from entrepot.identity.users import Users, read_users, read_users_again
from entrepot.telemetry import Metrics

METHOD = "htpasswd"

_LONGEST_HEADER = 8192
_BCRYPT_BYTES = 72
_COST_WITHOUT_USERS = 10
_THREADS = 2
_MOST_CHECKS = 64
_MOST_CHECKS_OF_ONE_NAME = 8
_MOST_REMEMBERED = 4096
_REMEMBER_SECONDS = 600.0
_REREAD_EVERY_SECONDS = 1.0

_log = structlog.get_logger("entrepot.identity")


class _Remembered(msgspec.Struct, frozen=True):
    identity: Identity
    name: bytes
    hashed: bytes
    until: float


class _Check(msgspec.Struct, frozen=True):
    name: bytes
    task: asyncio.Task[Identity | None]


class Htpasswd:
    """Authenticates against an htpasswd file, which is read again when it has changed.

    A change counts one second later at the latest. If the file then can't be read, or holds
    something but no usable line, the users known so far stay and the log says so; an empty file
    lets nobody in.
    """

    def __init__(
        self,
        path: Path,
        *,
        realm: str,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the users. Raises IdentityError if that is impossible (see `users.read_users`)."""
        self.challenge = f"Basic realm={_quote(realm)}"
        self._path = path
        self._count = metrics.authentication
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._keyed = hashlib.blake2b(key=self._key, digest_size=32)
        self._remembered: dict[bytes, _Remembered] = {}
        self._checks: dict[bytes, _Check] = {}
        self._verifiers = ThreadPoolExecutor(_THREADS, thread_name_prefix="bcrypt")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="htpasswd")
        self._rereading: asyncio.Task[None] | None = None
        self._complaint = ""
        self._users = Users({})
        self._use(read_users(path))
        self._fresh_until = clock() + _REREAD_EVERY_SECONDS

    async def authenticate(self, authorization: str | None, origin: Origin) -> Identity:  # noqa: ARG002
        """See `Authenticator.authenticate`."""
        if not authorization:
            self._count(METHOD, "absent")
            raise UnauthorizedError
        now = self._clock()
        if now >= self._fresh_until:
            await self._reread()
        if not authorization.isascii() or len(authorization) > _LONGEST_HEADER:
            self._count(METHOD, "malformed")
            raise UnauthorizedError
        keyed = self._keyed.copy()
        keyed.update(authorization.encode("ascii"))
        mark = keyed.digest()
        known = self._remembered.get(mark)
        if (
            known is not None
            and now < known.until
            and self._users.hashes.get(known.name) == known.hashed
        ):
            self._count(METHOD, "remembered")
            return known.identity
        return await self._verify(authorization, mark)

    def close(self) -> None:
        """End the threads. Checks that wait are given up."""
        self._verifiers.shutdown(wait=False, cancel_futures=True)
        self._reader.shutdown(wait=False, cancel_futures=True)

    async def _verify(self, authorization: str, mark: bytes) -> Identity:
        """Check a credential that is not remembered, together with all who bring the same."""
        credential = parse_basic(authorization)
        if credential is None:
            self._count(METHOD, "malformed")
            raise UnauthorizedError
        check = self._checks.get(mark)
        if check is None:
            name, password = credential
            same = sum(1 for other in self._checks.values() if other.name == name)
            if len(self._checks) >= _MOST_CHECKS or same >= _MOST_CHECKS_OF_ONE_NAME:
                self._count(METHOD, "busy")
                raise TooManyRequestsError(retry_after=1)
            task = asyncio.create_task(self._check(mark, name, password))
            check = self._checks[mark] = _Check(name, task)
            task.add_done_callback(lambda _: self._checks.pop(mark, None))
        # One who goes away must not take the answer from the others.
        identity = await asyncio.shield(check.task)
        if identity is None:
            self._count(METHOD, "refused")
            raise UnauthorizedError
        self._count(METHOD, "verified")
        return identity

    async def _check(self, mark: bytes, name: bytes, password: bytes) -> Identity | None:
        hashed = self._users.hashes.get(name)
        against = hashed if hashed is not None else self._decoy(name)
        loop = asyncio.get_running_loop()
        right = await loop.run_in_executor(self._verifiers, matches, password, against)
        if hashed is None:
            _log.info("authentication of an unknown user refused")
            return None
        if not right or self._users.hashes.get(name) != hashed:
            _log.info("authentication refused", **{"user.name": name.decode()})
            return None
        identity = Identity(name.decode(), METHOD)
        self._remembered.pop(mark, None)
        while len(self._remembered) >= _MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        until = self._clock() + _REMEMBER_SECONDS
        self._remembered[mark] = _Remembered(identity, name, hashed, until)
        return identity

    def _decoy(self, name: bytes) -> bytes:
        """Return a hash for somebody unknown that costs what some user's hash costs."""
        drawn = hashlib.blake2b(name, key=self._key, digest_size=8).digest()
        cost = self._costs[int.from_bytes(drawn) % len(self._costs)]
        return b"$2b$%02d$" % cost + b"." * 53

    async def _reread(self) -> None:
        """Wait until the file has been looked at; a file system that hangs is waited for once."""
        if self._rereading is None:
            self._rereading = asyncio.create_task(self._read_again())
        await asyncio.wait({self._rereading}, timeout=_REREAD_EVERY_SECONDS)
        self._fresh_until = self._clock() + _REREAD_EVERY_SECONDS

    async def _read_again(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            users = await loop.run_in_executor(
                self._reader, read_users_again, self._path, self._users
            )
        except IdentityError as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                _log.error(
                    "htpasswd file is unusable, the users known so far stay",
                    path=str(self._path),
                    error=error,
                )
        else:
            self._complaint = ""
            self._use(users)
        finally:
            self._rereading = None

    def _use(self, users: Users) -> None:
        """Let `users` count from now on, and tell what is new about them."""
        known, self._users = self._users, users
        self._costs = users.costs or [_COST_WITHOUT_USERS]
        if users.problems != known.problems:
            for problem in users.problems:
                _log.warning(
                    "htpasswd line is not as it should be",
                    path=str(self._path),
                    line=problem.line,
                    reason=problem.reason,
                )
        if users.hashes != known.hashes:
            _log.info("htpasswd file read", path=str(self._path), users=len(users.hashes))


def parse_basic(authorization: str) -> tuple[bytes, bytes] | None:
    """Return user name and password of a Basic credential, None if it is malformed (RFC 7617).

    Both are bytes: a name that is not UTF-8 belongs to nobody, a password may be anything but
    hold NUL, which the RFC forbids and bcrypt would take for the password's end.
    """
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(token.strip(" "), validate=True)
    except (binascii.Error, ValueError):
        return None
    name, colon, password = decoded.partition(b":")
    if not colon or b"\0" in decoded:
        return None
    return name, password


def matches(password: bytes, hashed: bytes) -> bool:
    """Tell whether `hashed` is a bcrypt hash of `password`; takes as long as its cost says.

    bcrypt looks at the first 72 bytes of a password. Programs that make hashes refuse longer ones
    (Go) or cut them (Apache's htpasswd); comparing cuts, here as in registry:2, so that whoever
    has such a hash can log in.
    """
    try:
        return bcrypt.checkpw(password[:_BCRYPT_BYTES], hashed)
    except ValueError:
        return False


def _quote(realm: str) -> str:
    """Return a quoted-string (RFC 9110, 5.6.4); what no header may hold becomes `?`."""
    shown = "".join(
        character if character.isascii() and character.isprintable() else "?" for character in realm
    )
    return '"' + shown.replace("\\", "\\\\").replace('"', '\\"') + '"'
