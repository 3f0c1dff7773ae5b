"""Sessions as the services see them, in each engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import pytest

from entrepot.core.access import Identity, Origin
from entrepot.core.accounts import AccountUnknownError
from entrepot.core.audit import Actor
from entrepot.core.errors import UnauthorizedError
from entrepot.core.passwords import PasswordPolicy
from entrepot.db.accounts import find_user
from entrepot.db.address import IndexAddress
from entrepot.db.browser_sessions import note_seen
from entrepot.db.credentials import find_holder, find_holder_by_id
from entrepot.db.opening import open_index
from entrepot.db.revision import find_revision
from entrepot.identity.directory import Directory, Rows
from entrepot.services.accounts import Accounts
from entrepot.services.audit import Trail
from entrepot.services.browser_sessions import BrowserSessions, Lives
from entrepot.services.robots import Lifetimes, Tokens
from entrepot.services.uses import Uses
from tests.access.worlds import SECOND, Clock

pytestmark = pytest.mark.anyio

ADA = Identity("ada", "oidc", groups=("devs", "team-a"))
HERE = Origin("127.0.0.1")
WHO = Actor("ada", "user", "oidc", address="127.0.0.1")
HOUR = 3600 * SECOND


class Node:
    """What one process has, and what administers it."""

    def __init__(self, address: IndexAddress) -> None:
        self.clock = Clock()
        self.index = open_index(address)
        rows = Rows(
            user=partial(find_user, self.index),
            holder=partial(find_holder, self.index),
            credential=partial(find_holder_by_id, self.index),
            revision=partial(find_revision, self.index),
        )
        self.directory = Directory(
            rows, passwords=True, now=self.clock, clock=lambda: self.clock.now / SECOND
        )
        self.trail = Trail(self.index, now=self.clock)
        self.seen = Uses(self.index, note_seen, again_after=0)
        self.sessions = BrowserSessions(
            self.index,
            now=self.clock,
            trail=self.trail,
            standing=self.directory,
            lives=Lives(lifetime=12 * 3600, idle=2 * 3600),
            used=self.seen.note,
        )
        policy = PasswordPolicy()
        self.users = Accounts(self.index, now=self.clock, policy=policy, hash=lambda _: "hash")
        lifetimes = Lifetimes(overlap=0, longest=0)
        self.tokens = Tokens(self.index, now=self.clock, lifetimes=lifetimes, trail=self.trail)

    async def enter(self, identity: Identity = ADA) -> str:
        return await self.sessions.begin(identity, provider="sso", by=WHO)

    async def known(self, cookie: str) -> bool:
        try:
            await self.sessions.authenticate(cookie, HERE)
        except UnauthorizedError:
            return False
        return True


@asynccontextmanager
async def opened(address: IndexAddress) -> AsyncIterator[Node]:
    node = Node(address)
    try:
        yield node
    finally:
        await node.index.close()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_session_ends_by_itself(index_address: IndexAddress) -> None:
    """When it was not used for two hours, and twelve hours after the login however much it was."""
    async with opened(index_address) as node:
        cookie, idle = await node.enter(), await node.enter()
        for _ in range(11):
            node.clock.now += HOUR
            assert await node.known(cookie)
            await node.seen.write()
        assert not await node.known(idle)
        assert [each.seen_at for each in await node.sessions.list("ada")] == [node.clock.now]
        node.clock.now += HOUR - 1
        assert await node.known(cookie)
        await node.seen.write()
        node.clock.now += 1
        assert not await node.known(cookie)
        assert await node.sessions.list("ada") == []
        await node.enter()
        rows = await node.index.fetch_all("SELECT id FROM browser_sessions", {})
        assert len(rows) == 1, "the others are forgotten"


async def test_who_comes_for_the_first_time_gets_an_account(index_address: IndexAddress) -> None:
    """Without a password; and is recorded. Whoever has one keeps it as it is."""
    async with opened(index_address) as node:
        cookie = await node.enter()
        identity = await node.sessions.authenticate(cookie, HERE)
        assert msgspec.structs.replace(identity, credential="") == ADA
        user = await node.users.find("ada")
        assert (user.password, user.groups, user.administrator) == (None, (), False)
        await node.users.change("ada", by="test", administrator=True, join=["ours"])
        await node.enter()
        assert (await node.users.find("ada")).groups == ("ours",)
        rows = await node.index.fetch_all(
            "SELECT action, reason FROM audit_events WHERE actor = 'ada' ORDER BY id", {}
        )
        assert [tuple(row) for row in rows] == [
            ("user.create", "the first login in a browser"),
            ("login", "known by oidc, in a browser"),
            ("login", "known by oidc, in a browser"),
        ]


async def test_tokens_have_the_groups_of_the_last_login(index_address: IndexAddress) -> None:
    """By the provider, and those of the account; on every process."""
    async with opened(index_address) as node:
        await node.enter()
        token, _ = await node.tokens.create("ada", "laptop", by="test")
        await node.users.change("ada", by="test", join=["ours"])

        async def groups() -> tuple[str, ...]:
            holder = await find_holder_by_id(node.index, token.id)
            assert holder is not None
            return holder.groups

        assert await groups() == ("devs", "ours", "team-a")
        before = await find_revision(node.index)
        await node.enter(Identity("ada", "oidc", groups=("devs", "ours", "team-a")))
        assert await find_revision(node.index) == before, "nothing changed"
        await node.enter(Identity("ada", "oidc", groups=("ours",)))
        assert await groups() == ("ours",)
        assert await find_revision(node.index) > before


async def test_what_ends_all_sessions_of_somebody(index_address: IndexAddress) -> None:
    """For good: whoever is enabled again logs in again. Those of others go on."""
    async with opened(index_address) as node:
        bob = await node.enter(Identity("bob", "ldap"))

        async def disable() -> None:
            await node.users.change("ada", disabled=True, by="test")
            with pytest.raises(UnauthorizedError):
                await node.enter()
            await node.users.change("ada", disabled=False, by="test")

        async def renew() -> None:
            await node.users.set_password("ada", "correct horse battery", by="test")
            await node.users.set_password("ada", None, by="test")

        async def log_out() -> None:
            await node.users.log_out("ada", by="test")

        async def delete() -> None:
            await node.users.delete("ada", by="test")

        for end in (disable, renew, log_out, delete):
            cookies = [await node.enter(), await node.enter()]
            assert all([await node.known(cookie) for cookie in cookies])
            await end()
            assert not any([await node.known(cookie) for cookie in cookies]), end
        assert await node.known(bob)
        with pytest.raises(AccountUnknownError):
            await node.users.log_out("nobody", by="test")


async def test_nobody_ends_the_session_of_somebody_else(index_address: IndexAddress) -> None:
    async with opened(index_address) as node:
        cookie = await node.enter()
        (session,) = await node.sessions.list("ada")
        with pytest.raises(AccountUnknownError):
            await node.sessions.end("bob", session.id, by="bob")
        assert await node.known(cookie)
        await node.sessions.end("ada", session.id, by="ada")
        assert not await node.known(cookie)
        with pytest.raises(AccountUnknownError):
            await node.sessions.end("ada", session.id, by="ada")
