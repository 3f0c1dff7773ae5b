"""Accounts in a real index of either engine, and authenticators over them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from entrepot.core.guarding import Rule
from entrepot.core.passwords import PasswordPolicy
from entrepot.db import Database
from entrepot.db.accounts import find_user
from entrepot.db.address import IndexAddress
from entrepot.db.credentials import find_holder, find_holder_by_id
from entrepot.db.opening import open_index
from entrepot.db.revision import find_revision
from entrepot.identity.directory import Directory, Rows
from entrepot.identity.guard import Guard, Tally
from entrepot.identity.hashing import Argon2
from entrepot.identity.local import Local
from entrepot.identity.passwords import Passwords
from entrepot.identity.secrets import Secrets
from entrepot.services.accounts import Accounts
from entrepot.services.guarding import Lockouts
from entrepot.services.robots import Lifetimes, Robots, Tokens
from entrepot.services.uses import Uses
from entrepot.telemetry import Metrics

SECOND = 1_000_000
DAY = 86_400.0
CHEAP = Argon2(time_cost=1, memory_cost=64, parallelism=1)
"""Hashes for tests whose time does not matter."""

ACCOUNT = Rule(attempts=3, delay=1.0, longest=60.0, memory=600.0)
ADDRESS = Rule(attempts=6, delay=1.0, longest=60.0, memory=600.0)


class Clock:
    """A clock that goes when it is told to: microseconds since 1970, or seconds."""

    def __init__(self) -> None:
        self.now = 1_700_000_000 * SECOND

    def __call__(self) -> int:
        return self.now

    def seconds(self) -> float:
        return self.now / SECOND

    def go(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


class World:
    """One index with accounts, as a process sees them."""

    def __init__(self, index: Database, clock: Clock, metrics: Metrics) -> None:
        self.index = index
        self.clock = clock
        self.metrics = metrics
        lifetimes = Lifetimes(overlap=3600.0, longest=100 * DAY)
        self.users = Accounts(index, now=clock, policy=PasswordPolicy(), hash=CHEAP.hash)
        self.robots = Robots(index, now=clock, lifetimes=lifetimes)
        self.tokens = Tokens(index, now=clock, lifetimes=lifetimes)
        self.lockouts = Lockouts(index, now=clock)
        self.uses = Uses(index)
        self.opened: list[Passwords] = []

    def directory(self) -> Directory:
        """What another process would know of the accounts."""
        rows = Rows(
            user=partial(find_user, self.index),
            holder=partial(find_holder, self.index),
            credential=partial(find_holder_by_id, self.index),
            revision=partial(find_revision, self.index),
        )
        return Directory(rows, passwords=True, now=self.clock, clock=self.clock.seconds)

    def guard(self) -> Guard:
        tally = Tally(find=self.lockouts.find, add=self.lockouts.add, clear=self.lockouts.clear)
        return Guard(tally, account=ACCOUNT, address=ADDRESS, now=self.clock, metrics=self.metrics)

    def authenticator(self, argon2: Argon2 = CHEAP, *, guard: Guard | None = None) -> Passwords:
        """An authenticator over the accounts, as another process has one."""
        directory = self.directory()
        passwords = Passwords(
            [Local(directory, argon2, rehash=self.users.rehash)],
            realm="Tests",
            metrics=self.metrics,
            guard=guard,
            secrets=Secrets(directory, now=self.clock, used=self.uses.note),
            clock=self.clock.seconds,
        )
        self.opened.append(passwords)
        return passwords


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def metrics(tmp_path: Path) -> Metrics:
    directory = tmp_path / "metrics"
    directory.mkdir()
    return Metrics(directory)


@pytest.fixture
async def world(index_address: IndexAddress, metrics: Metrics) -> AsyncIterator[World]:
    """An index without accounts."""
    index = open_index(index_address)
    made = World(index, Clock(), metrics)
    yield made
    for passwords in made.opened:
        passwords.close()
    await index.close()
