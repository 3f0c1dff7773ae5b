"""The accounts in the index, as one process knows them.

Rows are read when somebody first asks for them, and kept until the revision has grown, which is
looked at once a second: a changed password, a disabled user and a revoked secret count everywhere
about a second later.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from entrepot.core.access import Identity
from entrepot.core.accounts import LOCAL, SECRET, Holder, User
from entrepot.core.errors import EntrepotError

_LOOK_EVERY: Final = 1.0
_MOST: Final = 16_384


@dataclass(frozen=True, slots=True)
class Rows:
    """How the directory reads the index: a user by name, whom a secret stands for by its
    fingerprint or its id, and the revision.
    """

    user: Callable[[str], Awaitable[User | None]]
    holder: Callable[[bytes], Awaitable[Holder | None]]
    credential: Callable[[int], Awaitable[Holder | None]]
    revision: Callable[[], Awaitable[int]]


class Directory:
    """Who there is. `passwords` says whether the passwords of the index count, so that a name that
    has one belongs to it alone. `now` is in microseconds since 1970.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        passwords: bool,
        now: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rows = rows
        self._now = now
        self._passwords = passwords
        self._clock = clock
        self._fresh_until = float("-inf")
        self._revision = -1
        self._users: dict[str, User | None] = {}
        self._holders: dict[bytes, Holder] = {}

    @property
    def revision(self) -> int:
        """The revision as of a second ago or so, while `run` runs."""
        return self._revision

    async def run(self) -> None:
        """Look at the revision every second, until cancelled."""
        while True:
            with suppress(EntrepotError):  # while the index is away nobody can change it
                await self.look()
            await asyncio.sleep(_LOOK_EVERY)

    async def renew(self, holder: Identity, *, since: float) -> Identity | None:
        """Return somebody who logged in at `since` (seconds since 1970) as they are now; None if
        they may not any more, or have another password or secret.
        """
        kind, _, number = holder.credential.partition(":")
        if kind == SECRET and number.isdigit():
            found = await self._rows.credential(int(number))
            return None if found is None or not found.is_good(self._now()) else found.identity()
        if holder.method != LOCAL:
            return await self.adopt(holder)
        user = await self.user(holder.name)
        if user is None or user.disabled or user.password is None or not self._passwords:
            return None
        return user.identity(LOCAL) if user.password_changed_at <= since * 1_000_000 else None

    async def user(self, name: str) -> User | None:
        """Return the user of this name, or None."""
        if self._clock() >= self._fresh_until:
            await self.look()
        try:
            return self._users[name]
        except KeyError:
            revision = self._revision
            found = await self._rows.user(name)
            if revision == self._revision:
                _make_room(self._users)
                self._users[name] = found
            return found

    async def holder(self, fingerprint: bytes) -> Holder | None:
        """Return whom a secret stands for, or None."""
        if self._clock() >= self._fresh_until:
            await self.look()
        known = self._holders.get(fingerprint)
        if known is not None:
            return known
        revision = self._revision
        found = await self._rows.holder(fingerprint)
        if found is not None and revision == self._revision:
            _make_room(self._holders)
            self._holders[fingerprint] = found
        return found

    async def adopt(self, identity: Identity) -> Identity | None:
        """Return somebody whom another source knows with what the account of the same name adds:
        groups, and being an administrator. None if that account is disabled, or has a password of
        its own, so that the name is not the other source's to give.
        """
        user = await self.user(identity.name)
        if user is None:
            return identity
        if user.disabled or (self._passwords and user.password is not None):
            return None
        return Identity(
            identity.name,
            identity.method,
            groups=tuple(dict.fromkeys((*identity.groups, *user.groups))),
            administrator=identity.administrator or user.administrator,
        )

    async def look(self) -> None:
        """Ask for the revision now, and forget everything if it has grown."""
        self._fresh_until = self._clock() + _LOOK_EVERY
        try:
            revision = await self._rows.revision()
        except BaseException:
            self._fresh_until = float("-inf")
            raise
        if revision != self._revision:
            self._revision = revision
            self._users = {}
            self._holders = {}


def _make_room(known: "dict[str, User | None] | dict[bytes, Holder]") -> None:
    if len(known) >= _MOST:
        known.clear()
