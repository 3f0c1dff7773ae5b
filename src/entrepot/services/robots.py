"""Robots and personal access tokens: secrets that are shown once."""

from collections.abc import Callable, Sequence
from secrets import token_bytes

from entrepot.core.access import Scope
from entrepot.core.accounts import (
    AccountConflictError,
    AccountError,
    AccountUnknownError,
    Credential,
    Robot,
    User,
    robot_name,
)
from entrepot.core.audit import Actor, event
from entrepot.core.credentials import RANDOM_BYTES, SecretKind, fingerprint, make_secret
from entrepot.db.accounts import find_user
from entrepot.db.credentials import (
    add_credential,
    expire_credential,
    forget_expired,
    list_credentials,
    remove_credential,
)
from entrepot.db.engine import Database, Reader, Transaction
from entrepot.db.grants import remove_grants_of
from entrepot.db.revision import bump_revision
from entrepot.db.robots import (
    add_robot,
    find_robot,
    find_robots_namespace,
    list_robots,
    remove_robot,
)
from entrepot.services.audit import Notes, Trail

_MICROSECONDS = 1_000_000


class Lifetimes:
    """How long secrets live, in seconds: the old one beside a new one, and any at most (0: for
    ever).
    """

    def __init__(self, *, overlap: float, longest: float) -> None:
        self.overlap = overlap
        self._longest = longest

    def end(self, now: int, seconds: float | None) -> int | None:
        """Return when a secret of `now` ends that shall live for some seconds (None: for as long
        as it may), or raise AccountError.
        """
        if seconds is None:
            seconds = self._longest or None
        elif seconds <= 0:
            raise AccountError("a secret must live for more than no time")
        elif self._longest and seconds > self._longest:
            raise AccountError(f"auth.secrets.lifetime allows {self._longest:.0f} s at most")
        return None if seconds is None else now + int(seconds * _MICROSECONDS)


class Robots:
    """Programs' accounts. Changes count everywhere a second later or so."""

    def __init__(
        self,
        index: Database,
        *,
        now: Callable[[], int],
        lifetimes: Lifetimes,
        random: Callable[[int], bytes] = token_bytes,
        trail: Trail | None = None,
    ) -> None:
        self._index = index
        self._now = now
        self._lifetimes = lifetimes
        self._random = random
        self._trail = trail or Trail(index, now=now)

    async def list(self) -> Sequence[Robot]:
        """Return every robot by name."""
        return await list_robots(self._index)

    async def find(self, name: str) -> tuple[Robot, Sequence[Credential]]:
        """Return a robot and its secrets. Raises AccountUnknownError."""
        robot = await _robot(self._index, name)
        return robot, await list_credentials(self._index, robot=robot.id)

    async def create(
        self,
        namespace: str,
        name: str,
        *,
        by: Actor | str,
        description: str = "",
        scopes: tuple[Scope, ...] | None = None,
        expires_in: float | None = None,
    ) -> tuple[Robot, str]:
        """Make a robot in a namespace (empty: the root); return it with its secret.

        Raises:
            AccountError: there is no such namespace, or the name is taken or not allowed.
        """
        now = self._now()
        whole = robot_name(namespace, name)
        robot = Robot(
            id=0,
            name=whole,
            namespace=namespace,
            description=description,
            scopes=scopes,
            created_at=now,
            created_by=str(by),
            expires_at=None if expires_in is None else self._lifetimes.end(now, expires_in),
        )
        secret = make_secret("rob", self._random(RANDOM_BYTES))

        async def work(transaction: Transaction, notes: Notes) -> Robot:
            await bump_revision(transaction)
            place = await find_robots_namespace(transaction, namespace)
            if place is None:
                raise AccountUnknownError(f"there is no namespace {namespace}")
            if not await add_robot(transaction, robot, namespace=place):
                raise AccountConflictError(f"there is a robot {whole} already")
            added = await _robot(transaction, whole)
            await self._add(transaction, added, secret, now)
            notes.add(event("robot.create", target=whole))
            return added

        made = await self._trail.write(work, by=by)
        return made, secret

    async def rotate(self, name: str, *, by: Actor | str, overlap: float | None = None) -> str:
        """Give a robot another secret and return it; the old ones end after `overlap` seconds
        (None: as configured). Raises AccountUnknownError.
        """
        now = self._now()
        seconds = self._lifetimes.overlap if overlap is None else max(overlap, 0.0)
        secret = make_secret("rob", self._random(RANDOM_BYTES))

        async def work(transaction: Transaction, notes: Notes) -> None:
            await bump_revision(transaction)
            robot = await _robot(transaction, name)
            await forget_expired(transaction, robot.id, now=now)
            for old in await list_credentials(transaction, robot=robot.id):
                await expire_credential(transaction, old.id, at=now + int(seconds * _MICROSECONDS))
            await self._add(transaction, robot, secret, now)
            notes.add(event("robot.rotate", target=name, overlap=seconds))

        await self._trail.write(work, by=by)
        return secret

    async def revoke(self, name: str, *, by: Actor | str) -> None:
        """Remove a robot with its secrets and grants. Raises AccountUnknownError."""

        async def work(transaction: Transaction, notes: Notes) -> None:
            await bump_revision(transaction)
            await remove_robot(transaction, (await _robot(transaction, name)).id)
            await remove_grants_of(transaction, "robot", name)
            notes.add(event("robot.revoke", target=name))

        await self._trail.write(work, by=by)

    async def _add(self, transaction: Transaction, robot: Robot, secret: str, now: int) -> None:
        await add_credential(
            transaction,
            fingerprint(secret),
            owner=(robot.id, None),
            name="",
            scopes=None,
            now=now,
            expires_at=self._lifetimes.end(now, None),
        )


class Tokens:
    """Personal access tokens. Changes count everywhere a second later or so."""

    def __init__(
        self,
        index: Database,
        *,
        now: Callable[[], int],
        lifetimes: Lifetimes,
        random: Callable[[int], bytes] = token_bytes,
        trail: Trail | None = None,
    ) -> None:
        self._index = index
        self._now = now
        self._lifetimes = lifetimes
        self._random = random
        self._trail = trail or Trail(index, now=now)

    async def list(self, user: str) -> Sequence[Credential]:
        """Return a user's tokens, the oldest first. Raises AccountUnknownError."""
        return await list_credentials(self._index, user=(await _user(self._index, user)).id)

    async def create(
        self,
        user: str,
        name: str,
        *,
        by: Actor | str,
        scopes: tuple[Scope, ...] | None = None,
        expires_in: float | None = None,
    ) -> tuple[Credential, str]:
        """Make a token of a user; return it with its secret. Raises AccountUnknownError."""
        now = self._now()
        ends = self._lifetimes.end(now, expires_in)
        kind: SecretKind = "pat"
        secret = make_secret(kind, self._random(RANDOM_BYTES))

        async def work(transaction: Transaction, notes: Notes) -> Credential:
            await bump_revision(transaction)
            owner = await _user(transaction, user)
            added = await add_credential(
                transaction,
                fingerprint(secret),
                owner=(None, owner.id),
                name=name,
                scopes=scopes,
                now=now,
                expires_at=ends,
            )
            notes.add(event("token.create", target=user, id=added))
            every = await list_credentials(transaction, user=owner.id)
            return next(token for token in every if token.id == added)

        made = await self._trail.write(work, by=by)
        return made, secret

    async def rotate(
        self, user: str, token: int, *, by: Actor | str, overlap: float | None = None
    ) -> tuple[Credential, str]:
        """Make a token like another one, which ends after `overlap` seconds (None: as configured).

        Raises:
            AccountUnknownError: the user has no such token.
        """
        old = await self._token(user, token)
        left = None if old.expires_at is None else (old.expires_at - old.created_at) / _MICROSECONDS
        made, secret = await self.create(user, old.name, by=by, scopes=old.scopes, expires_in=left)
        seconds = self._lifetimes.overlap if overlap is None else max(overlap, 0.0)

        async def work(transaction: Transaction, notes: Notes) -> None:
            await bump_revision(transaction)
            at = self._now() + int(seconds * _MICROSECONDS)
            await expire_credential(transaction, old.id, at=at)
            notes.add(event("token.rotate", target=user, id=old.id, overlap=seconds))

        await self._trail.write(work, by=by)
        return made, secret

    async def revoke(self, user: str, token: int, *, by: Actor | str) -> None:
        """Remove a token. Raises AccountUnknownError."""
        known = await self._token(user, token)

        async def work(transaction: Transaction, notes: Notes) -> None:
            await bump_revision(transaction)
            await remove_credential(transaction, known.id)
            notes.add(event("token.revoke", target=user, id=token))

        await self._trail.write(work, by=by)

    async def _token(self, user: str, token: int) -> Credential:
        for credential in await self.list(user):
            if credential.id == token:
                return credential
        raise AccountUnknownError(f"{user} has no token {token}")


async def _robot(reader: Reader, name: str) -> Robot:
    found = await find_robot(reader, name)
    if found is None:
        raise AccountUnknownError(f"there is no robot {name}")
    return found


async def _user(reader: Reader, name: str) -> User:
    found = await find_user(reader, name)
    if found is None:
        raise AccountUnknownError(f"there is no user {name}")
    return found
