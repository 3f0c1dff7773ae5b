"""People: who there is, with which password, in which groups."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from entrepot.core.accounts import (
    AccountConflictError,
    AccountUnknownError,
    User,
    check_group_name,
    check_user_name,
)
from entrepot.core.audit import Actor, Event, event
from entrepot.core.passwords import PasswordPolicy
from entrepot.db.accounts import (
    add_user,
    change_user,
    count_administrators,
    find_user,
    list_users,
    rehash_password,
    remove_user,
    set_password,
)
from entrepot.db.browser_sessions import remove_browser_sessions_of
from entrepot.db.engine import Database, Transaction
from entrepot.db.grants import remove_grants_of
from entrepot.db.guarding import remove_failures
from entrepot.db.revision import bump_revision
from entrepot.services.audit import Notes, Trail

Change = Callable[[Transaction], Awaitable[None]]

_ALL = 2**62


class Accounts:
    """Every change counts on every process and node a second later or so, and is recorded with
    `by`, whoever makes it. `hash` makes a slow hash of a password; it is called in a thread.
    """

    def __init__(
        self,
        index: Database,
        *,
        now: Callable[[], int],
        policy: PasswordPolicy,
        hash: Callable[[str], str],  # noqa: A002 - there is no better word
        trail: Trail | None = None,
    ) -> None:
        self._index = index
        self._now = now
        self._policy = policy
        self._hash = hash
        self._trail = trail or Trail(index, now=now)

    async def list(self, *, after: str = "", limit: int = _ALL) -> Sequence[User]:
        """Return at most `limit` users whose names come after `after`, by name."""
        return await list_users(self._index, after=after, limit=limit)

    async def find(self, name: str) -> User:
        """Return a user. Raises AccountUnknownError."""
        return _known(await find_user(self._index, name), name)

    async def create(
        self,
        name: str,
        *,
        password: str | None,
        by: Actor | str,
        administrator: bool = False,
        groups: Sequence[str] = (),
        description: str = "",
    ) -> User:
        """Make a user; without a password for somebody whom another source knows.

        Raises:
            AccountError: the name is taken or not allowed, or the password too easy.
        """
        now = self._now()
        user = User(
            id=0,
            name=check_user_name(name),
            password=await self._hashed(name, password),
            administrator=administrator,
            disabled=False,
            description=description,
            created_at=now,
            password_changed_at=now,
            groups=_groups(groups),
        )

        async def work(transaction: Transaction, notes: Notes) -> None:
            await bump_revision(transaction)
            if not await add_user(transaction, user):
                raise AccountConflictError(f"there is a user {name} already")
            notes.add(event("user.create", target=name, administrator=administrator))

        await self._trail.write(work, by=by)
        return await self.find(name)

    async def change(
        self,
        name: str,
        *,
        by: Actor | str,
        administrator: bool | None = None,
        disabled: bool | None = None,
        description: str | None = None,
        join: Sequence[str] = (),
        leave: Sequence[str] = (),
    ) -> User:
        """Change what is given.

        Raises:
            AccountUnknownError: there is no such user.
            AccountError: a group's name is not allowed, or no administrator would be left.
        """
        joined = _groups(join)
        given: dict[str, object] = {
            "administrator": administrator,
            "disabled": disabled,
            "description": description,
        }
        changes = {key: value for key, value in given.items() if value is not None}

        async def work(transaction: Transaction) -> None:
            user = _known(await find_user(transaction, name), name)
            groups = sorted({*user.groups, *joined} - set(leave))
            changed = msgspec.structs.replace(user, groups=tuple(groups), **changes)
            await change_user(transaction, changed)
            if changed.disabled:
                await remove_browser_sessions_of(transaction, name)

        told = event("user.change", target=name, join=joined, leave=leave, changes=changes)
        await self._write(work, told, by=by)
        return await self.find(name)

    async def set_password(self, name: str, password: str | None, *, by: Actor | str) -> None:
        """Give a user another password, or none; the old one counts no more, nor do failed logins,
        and sessions in a browser end.

        Raises:
            AccountUnknownError: there is no such user.
            AccountError: the password is too easy, or no administrator would be left.
        """
        hashed = await self._hashed(name, password)

        async def work(transaction: Transaction) -> None:
            user = _known(await find_user(transaction, name), name)
            await set_password(transaction, user.id, password=hashed, now=self._now())
            await remove_failures(transaction, "account", name)
            await remove_browser_sessions_of(transaction, name)

        await self._write(work, event("user.passwd", target=name), by=by)

    async def log_out(self, name: str, *, by: Actor | str) -> None:
        """End every session of a user in a browser. Raises AccountUnknownError."""

        async def work(transaction: Transaction, notes: Notes) -> None:
            _known(await find_user(transaction, name), name)
            ended = await remove_browser_sessions_of(transaction, name)
            notes.add(event("logout", target=name, sessions=ended))

        await self._trail.write(work, by=by)

    async def delete(self, name: str, *, by: Actor | str) -> None:
        """Remove a user with the personal access tokens.

        Raises:
            AccountUnknownError: there is no such user.
            AccountError: no administrator would be left.
        """

        async def work(transaction: Transaction) -> None:
            user = _known(await find_user(transaction, name), name)
            await remove_user(transaction, user.id)
            await remove_grants_of(transaction, "user", name)

        await self._write(work, event("user.delete", target=name), by=by)

    async def ensure_administrator(self, name: str, password: Callable[[], str]) -> bool:
        """Make the first administrator unless there is one; return whether that was so. Of several
        processes that try, one succeeds.

        Raises:
            AccountError: the name is not allowed or taken, or the password too easy.
        """
        if any(user.administrator for user in await self.list()):
            return False
        await self.create(name, password=password(), by="the first start", administrator=True)
        return True

    async def recover(self, name: str, password: str, *, by: Actor | str) -> None:
        """Make sure that `name` is an administrator who can log in with `password`, whatever was
        before.

        Raises:
            AccountError: the name is not allowed, or the password too easy.
        """
        hashed = await self._hashed(check_user_name(name), password)
        now = self._now()

        async def work(transaction: Transaction, notes: Notes) -> None:
            await bump_revision(transaction)
            notes.add(event("admin.recover", target=name))
            new = User(
                id=0,
                name=name,
                password=hashed,
                administrator=True,
                disabled=False,
                description="",
                created_at=now,
                password_changed_at=now,
            )
            if await add_user(transaction, new):
                return
            user = _known(await find_user(transaction, name), name)
            await change_user(
                transaction, msgspec.structs.replace(user, administrator=True, disabled=False)
            )
            await set_password(transaction, user.id, password=hashed, now=now)

        await self._trail.write(work, by=by)

    async def rehash(self, user: User, hashed: str) -> None:
        """Keep another hash of the same password."""

        async def work(transaction: Transaction) -> None:
            await rehash_password(transaction, user, password=hashed)

        await self._index.write_lazily(work)

    async def _hashed(self, name: str, password: str | None) -> str | None:
        if password is None:
            return None
        self._policy.check(password, name=name)
        return await asyncio.to_thread(self._hash, password)

    async def _write(self, change: Change, told: Event, *, by: Actor | str) -> None:
        """Carry a change out, unless it takes the last administrator away who can log in.

        The revision is written first, so that on PostgreSQL changes wait for each other.
        """

        async def work(transaction: Transaction, notes: Notes) -> None:
            await bump_revision(transaction)
            before = await count_administrators(transaction)
            await change(transaction)
            notes.add(told)
            after = await count_administrators(transaction)
            if (before.passwords and not after.passwords) or (before.all and not after.all):
                raise AccountConflictError(
                    "this would take away the last administrator; make another one first with "
                    "`entrepot user create NAME --administrator`"
                )

        await self._trail.write(work, by=by)


def _known(user: User | None, name: str) -> User:
    if user is None:
        raise AccountUnknownError(f"there is no user {name}")
    return user


def _groups(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({check_group_name(name) for name in names}))
