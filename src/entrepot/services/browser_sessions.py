"""Sessions in a browser: who logged in there, until they log out or are ended.

A session is 256 random bits in a cookie, of which the index has the SHA-256. It is looked up with
every request, so one that was ended is over on every node at once. Who somebody is stands there as
of the login; what the index says of them since, such as that they are disabled, counts as with
every other credential.
"""

import hashlib
import secrets
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from entrepot.core.access import Identity, Origin
from entrepot.core.accounts import AccountUnknownError, BrowserSession, User
from entrepot.core.audit import Actor, event
from entrepot.core.errors import UnauthorizedError
from entrepot.db.accounts import add_user, find_user
from entrepot.db.browser_sessions import (
    add_browser_session,
    find_browser_session,
    forget_browser_sessions,
    list_browser_sessions,
    remove_browser_session,
    replace_claimed_groups,
)
from entrepot.db.engine import Database, Transaction
from entrepot.db.revision import bump_revision
from entrepot.identity.bearer import Standing
from entrepot.services.audit import Notes, Trail

SESSION: Final = "session"
"""What `Identity.credential` begins with for a session; a colon and its id follow."""

_SECOND: Final = 1_000_000
_BYTES: Final = 32
_LONGEST: Final = 256
_FIRST: Final = "the first login in a browser"


class Lives(Struct, frozen=True):
    """How many seconds a session lives: at most, and without being used."""

    lifetime: float
    idle: float


class BrowserSessions:
    """The sessions of one registry; an `Authenticator` that gets the cookie in place of a header.

    `standing` says who somebody is now, `used` is told the id of a session and the time whenever
    one is used. `now` is in microseconds since 1970.
    """

    challenge = None

    def __init__(
        self,
        index: Database,
        *,
        now: Callable[[], int],
        trail: Trail,
        standing: Standing,
        lives: Lives,
        used: Callable[[int, int], None],
    ) -> None:
        self.lives = lives
        self._index = index
        self._now = now
        self._trail = trail
        self._standing = standing
        self._used = used

    async def authenticate(self, authorization: str | None, origin: Origin) -> Identity:  # noqa: ARG002 - the contract
        """Return whose session a cookie stands for, as they are now.

        Raises:
            UnauthorizedError: it stands for none, or for one that has ended.
        """
        if not authorization:
            raise UnauthorizedError
        found = await find_browser_session(self._index, _fingerprint(authorization))
        if found is None or not self._is_live(found):
            raise UnauthorizedError
        holder = msgspec.json.decode(found.holder, type=Identity)
        identity = await self._standing.renew(holder, since=found.created_at / _SECOND)
        if identity is None:
            raise UnauthorizedError
        self._used(found.id, self._now())
        return msgspec.structs.replace(identity, credential=f"{SESSION}:{found.id}")

    def recall(self, authorization: str | None) -> None:
        """See `Authenticator.recall`: a session is looked up each time."""

    async def begin(self, identity: Identity, *, provider: str, by: Actor) -> str:
        """Begin a session of somebody who has just logged in, and return its cookie. Whoever comes
        for the first time gets an account without a password, so that it can be disabled, and the
        groups by their provider are noted for their personal access tokens.

        Raises:
            UnauthorizedError: the account was disabled meanwhile.
        """
        cookie = secrets.token_urlsafe(_BYTES)
        now = self._now()
        session = BrowserSession(
            id=0,
            user=identity.name,
            holder=msgspec.json.encode(identity).decode(),
            provider=provider,
            address=by.address,
            created_at=now,
            seen_at=now,
            expires_at=now + int(self.lives.lifetime * _SECOND),
        )

        async def work(transaction: Transaction, notes: Notes) -> None:
            user = await _account(transaction, notes, identity.name, now=now)
            if user.disabled:
                raise UnauthorizedError
            await _claim(transaction, user, identity)
            idle_since = now - int(self.lives.idle * _SECOND)
            await forget_browser_sessions(transaction, now=now, idle_since=idle_since)
            added = await add_browser_session(
                transaction, _fingerprint(cookie), session, user=user.id
            )
            reason = f"known by {identity.method}, in a browser"
            notes.add(event("login", reason=reason, provider=provider or None, session=added))

        await self._trail.write(work, by=by)
        return cookie

    async def note_groups(self, identity: Identity, *, by: Actor) -> None:
        """Note the groups that somebody has by their provider as of now, for their personal access
        tokens; whoever has no account has none of those.
        """

        async def work(transaction: Transaction, notes: Notes) -> None:
            user = await find_user(transaction, identity.name)
            if user is not None and await _claim(transaction, user, identity):
                reason = f"as known by {identity.method} at this login"
                notes.add(event("user.groups", target=user.name, reason=reason))

        await self._trail.write(work, by=by)

    async def list(self, user: str) -> Sequence[BrowserSession]:
        """Return the sessions of a user that are live, the oldest first."""
        found = await list_browser_sessions(self._index, user, now=self._now())
        return [session for session in found if self._is_live(session)]

    async def end(self, user: str, session: int, *, by: Actor | str) -> None:
        """End a session of a user. Raises AccountUnknownError."""
        if session not in {found.id for found in await self.list(user)}:
            raise AccountUnknownError(f"{user} has no session {session}")

        async def work(transaction: Transaction, notes: Notes) -> None:
            if await remove_browser_session(transaction, session):
                notes.add(event("logout", target=user, session=session))

        await self._trail.write(work, by=by)

    def _is_live(self, session: BrowserSession) -> bool:
        now = self._now()
        idle = session.seen_at + int(self.lives.idle * _SECOND)
        return now < session.expires_at and now < idle


async def _claim(transaction: Transaction, user: User, identity: Identity) -> bool:
    """Note the groups that only the provider knows of; return whether they changed."""
    claimed = sorted({*identity.groups} - {*user.groups})
    changed = await replace_claimed_groups(transaction, user.id, claimed)
    if changed:
        await bump_revision(transaction)
    return changed


async def _account(transaction: Transaction, notes: Notes, name: str, *, now: int) -> User:
    """Return the account of this name, made if there is none."""
    known = await find_user(transaction, name)
    if known is not None:
        return known
    new = User(
        id=0,
        name=name,
        password=None,
        administrator=False,
        disabled=False,
        description="",
        created_at=now,
        password_changed_at=now,
    )
    await bump_revision(transaction)
    await add_user(transaction, new)
    notes.add(event("user.create", target=name, reason=_FIRST))
    added = await find_user(transaction, name)
    if added is None:
        raise AccountUnknownError(f"there is no user {name}")
    return added


def _fingerprint(cookie: str) -> bytes:
    """Return what the index has of a cookie; one that is too long can't be one."""
    return hashlib.sha256(cookie[:_LONGEST].encode("utf-8", "replace")).digest()
