"""An index in each engine, with a clock that goes when it is told to, and token servers on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from entrepot.core.access import Action, Identity
from entrepot.core.tokens import Wish, parse_scopes
from entrepot.db.address import IndexAddress
from entrepot.db.opening import open_index
from entrepot.services.access import Access, AccessRules
from entrepot.services.audit import Trail
from entrepot.services.signing_keys import Schedule, SigningKeys
from entrepot.services.stores import Stores
from entrepot.services.tokens import Terms, TokenServer
from entrepot.storage.memory import MemoryStore

SECRET = b"a secret of the configuration"
DAY = 86_400.0
SCHEDULE = Schedule(rotation=30 * DAY, ahead=3 * DAY, after=420.0)
TERMS = Terms(
    issuer="entrepot",
    services=("entrepot", "other.example"),
    lifetime=300.0,
    refresh_lifetime=10 * DAY,
    leeway=60.0,
    rotate=False,
)
ALICE = Identity("alice", "local", groups=("team",))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Clock:
    """Microseconds since 1970."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.now

    def seconds(self) -> float:
        return self.now / 1_000_000

    def go(self, seconds: float) -> None:
        self.now += int(seconds * 1_000_000)


@dataclass
class People:
    """Who may log in; `gone` may not any more, `changed` had to log in anew after that time."""

    revision: int = 1
    gone: set[str] = field(default_factory=set)
    changed: float = 0.0

    async def renew(self, holder: Identity, *, since: float) -> Identity | None:
        return None if holder.name in self.gone or since < self.changed else holder


@dataclass
class Node:
    """One process of a registry, as far as tokens are concerned."""

    stores: Stores
    clock: Clock
    people: People

    def keys(self, *, secret: bytes = SECRET, schedule: Schedule = SCHEDULE) -> SigningKeys:
        return SigningKeys(self.stores, secret=secret, schedule=schedule, clock=self.clock.seconds)

    def server(
        self,
        terms: Terms = TERMS,
        *,
        keys: SigningKeys | None = None,
        rules: AccessRules | None = None,
    ) -> TokenServer:
        access = Access(self.stores.index, now=self.clock, rules=rules)
        return TokenServer(
            self.stores, keys or self.keys(), terms, access=access, standing=self.people
        )


@pytest.fixture
async def nodes(index_address: IndexAddress) -> AsyncIterator[Callable[[], Node]]:
    """Make nodes on one index, in each engine in turn."""
    clock, people, indexes = Clock(), People(), []

    def make() -> Node:
        index, store = open_index(index_address), MemoryStore()
        indexes.append(index)
        return Node(Stores(index, store, store, clock, Trail(index, now=clock)), clock, people)

    yield make
    for index in indexes:
        await index.close()


@pytest.fixture
def node(nodes: Callable[[], Node]) -> Node:
    return nodes()


def wish(
    *scopes: str, service: str = "entrepot", client: str = "docker", offline: bool = False
) -> Wish:
    return Wish(service, client, parse_scopes(scopes), offline=offline)


PULL = frozenset({Action.PULL})
