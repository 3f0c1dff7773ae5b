"""`auth.htpasswd`: users of an htpasswd file with bcrypt passwords.

A user who is removed or gets another password: what was verified before counts only as long as the
file holds the hash that it was verified with. An unknown user costs a bcrypt run at a cost taken
from the file, always the same for the same name.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bcrypt
import structlog

from entrepot.core.access import Identity
from entrepot.identity.errors import IdentityError
from entrepot.identity.sources import Proof
from entrepot.identity.users import Users, read_users, read_users_again

METHOD = "htpasswd"

_BCRYPT_BYTES = 72
_COST_WITHOUT_USERS = 10
_THREADS = 2
_REREAD_EVERY_SECONDS = 1.0

_log = structlog.get_logger("entrepot.identity")

Adopt = Callable[[Identity], Awaitable[Identity | None]]


class Roles:
    """What the users of a file are besides: `administrators` by name, or all of them if it holds
    `*`, and members of `groups`, each with the names of its users.
    """

    def __init__(
        self,
        administrators: tuple[str, ...] = (),
        groups: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self._administrators = frozenset(administrators)
        self._groups = dict(groups or {})
        self._known: dict[str, Identity] = {}

    def identity(self, name: str) -> Identity:
        """Return who the user of a name in the file is."""
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = Identity(
                name,
                METHOD,
                groups=tuple(group for group, names in self._groups.items() if name in names),
                administrator=not self._administrators.isdisjoint({name, "*"}),
            )
        return known


class Htpasswd:
    """A source (see `identity.sources.Source`): an htpasswd file, read again when it has changed.

    A change counts two seconds later at the latest. If the file then can't be read, or holds
    something but no usable line, the users known so far stay and the log says so; an empty file
    lets nobody in. `adopt` has the last word on who somebody is, and whether.
    """

    method = METHOD

    def __init__(
        self,
        path: Path,
        *,
        roles: Roles | None = None,
        adopt: Adopt | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the users. Raises IdentityError if that is impossible (see `users.read_users`)."""
        self._path = path
        self._roles = roles or Roles()
        self._adopt = adopt
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._verifiers = ThreadPoolExecutor(_THREADS, thread_name_prefix="bcrypt")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="htpasswd")
        self._rereading: asyncio.Task[None] | None = None
        self._complaint = ""
        self._users = Users({})
        self._use(read_users(path))
        self._fresh_until = clock() + _REREAD_EVERY_SECONDS

    def account_of(self, name: bytes) -> bytes:
        """See `Source.account_of`: every name is one of its own."""
        return name

    async def verify(self, name: bytes, password: bytes) -> Proof | None:
        """See `Source.verify`."""
        if self._clock() >= self._fresh_until:
            await self._reread()
        hashed = self._users.hashes.get(name)
        against = hashed if hashed is not None else self._decoy(name)
        loop = asyncio.get_running_loop()
        right = await loop.run_in_executor(self._verifiers, matches, password, against)
        if hashed is None:
            _log.info("authentication of an unknown user refused")
            return None
        shown = name.decode()
        proof = Proof(self._roles.identity(shown), hashed)
        identity = await self.renew(proof) if right else None
        if identity is None:
            _log.info("authentication refused", **{"user.name": shown})
            return None
        return Proof(identity, hashed)

    async def renew(self, proof: Proof) -> Identity | None:
        """See `Source.renew`."""
        if self._clock() >= self._fresh_until:
            await self._reread()
        name = proof.identity.name
        if self._users.hashes.get(name.encode()) != proof.stamp:
            return None
        return (
            proof.identity if self._adopt is None else await self._adopt(self._roles.identity(name))
        )

    def close(self) -> None:
        """See `Source.close`."""
        self._verifiers.shutdown(wait=False, cancel_futures=True)
        self._reader.shutdown(wait=False, cancel_futures=True)

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
