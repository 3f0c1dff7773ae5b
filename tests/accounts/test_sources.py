"""What every source of names and passwords promises (`identity.sources.Source`), and what several
authenticators make of each other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest

from entrepot.core.access import Identity, Origin
from entrepot.core.errors import (
    DeniedError,
    EntrepotError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
)
from entrepot.identity.anonymous import Anonymous
from entrepot.identity.authenticator import Recalled
from entrepot.identity.htpasswd import Htpasswd, Roles
from entrepot.identity.local import Local
from entrepot.identity.rates import RateLimited, Rates
from entrepot.identity.secrets import Secrets
from entrepot.identity.several import Several
from entrepot.identity.sources import Source
from tests.accounts.conftest import CHEAP, Clock, World

pytestmark = pytest.mark.anyio

GOOD = "correct horse battery"
HERE = Origin("192.0.2.1")


@dataclass
class Case:
    """A source that knows ada, her password there, and how it is taken from her."""

    source: Source
    password: bytes
    take: Callable[[], Awaitable[None]]
    identity: Identity


@pytest.fixture(params=["local", "htpasswd", "secret"])
async def case(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> AsyncIterator[Case]:
    password = GOOD.encode()

    async def disable() -> None:
        await world.users.change("ada", by="test", disabled=True)

    if request.param == "local":
        await world.users.create("ada", password=GOOD, by="test", groups=["g"])
        source: Source = Local(world.directory(), CHEAP, rehash=world.users.rehash)
        identity = Identity("ada", "local", groups=("g",))
    elif request.param == "htpasswd":
        hashed = bcrypt.hashpw(password, bcrypt.gensalt(rounds=4))
        (tmp_path / "htpasswd").write_bytes(b"ada:" + hashed + b"\n")
        await world.users.create("ada", password=None, by="test", groups=["h"])
        roles = Roles(("ada",), {"g": ("ada", "bob"), "other": ("bob",)})
        adopt = world.directory().adopt
        clock = world.clock.seconds
        source = Htpasswd(tmp_path / "htpasswd", roles=roles, adopt=adopt, clock=clock)
        identity = Identity("ada", "htpasswd", groups=("g", "h"), administrator=True)
    else:
        await world.users.create("ada", password=None, by="test", groups=["g"])
        token, secret = await world.tokens.create("ada", "", by="test")
        password = secret.encode()
        source = Secrets(world.directory(), now=world.clock, used=world.uses.note)
        credential = f"secret:{token.id}"
        identity = Identity("ada", "personal-token", groups=("g",), credential=credential)
    yield Case(source, password, disable, identity)
    source.close()


async def test_right_and_wrong(case: Case) -> None:
    proof = await case.source.verify(b"ada", case.password)
    assert proof is not None
    assert proof.identity == case.identity
    assert await case.source.renew(proof) == case.identity
    for wrong in (b"", b"x", case.password + b"x", b"\xff", b"entr_pat_"):
        assert await case.source.verify(b"ada", wrong) is None, wrong


@pytest.mark.parametrize("name", [b"", b"bob", b"\xff\xfe", b"ada " * 2000, "ädä".encode()])
async def test_strangers(case: Case, name: bytes) -> None:
    """Any bytes may be a name; a wrong password is refused with each."""
    assert await case.source.verify(name, b"wrong") is None


async def test_what_is_taken_counts_soon(case: Case, world: World) -> None:
    proof = await case.source.verify(b"ada", case.password)
    assert proof is not None
    await case.take()
    world.clock.go(2)
    assert await case.source.renew(proof) is None
    assert await case.source.verify(b"ada", case.password) is None


async def test_groups_that_change_count_soon(case: Case, world: World) -> None:
    proof = await case.source.verify(b"ada", case.password)
    assert proof is not None
    await world.users.change("ada", by="test", join=["z"])
    world.clock.go(2)
    now = await case.source.renew(proof)
    assert now is not None
    assert now.groups == (*case.identity.groups, "z")


# Tokens that live longer than a request ----------------------------------------------------------


async def test_who_logged_in_is_looked_at_again(case: Case, world: World) -> None:
    """As long as they may, they are who they are now; then they are nobody."""
    directory = world.directory()
    since = world.clock.seconds()
    world.clock.go(1)
    assert await directory.renew(case.identity, since=since) is not None
    await world.users.change("ada", by="test", join=["z"])
    world.clock.go(2)
    now = await directory.renew(case.identity, since=since)
    assert now is not None
    assert "z" in now.groups
    await case.take()
    world.clock.go(2)
    assert await directory.renew(case.identity, since=since) is None


async def test_another_password_ends_what_the_old_one_began(world: World) -> None:
    await world.users.create("ada", password=GOOD, by="test")
    directory = world.directory()
    ada = Identity("ada", "local")
    since = world.clock.seconds()
    assert await directory.renew(ada, since=since) == ada
    world.clock.go(5)
    await world.users.set_password("ada", "another long phrase", by="test")
    world.clock.go(5)
    assert await directory.renew(ada, since=since) is None
    assert await directory.renew(ada, since=world.clock.seconds()) == ada


async def test_a_revoked_secret_ends_what_it_began(world: World) -> None:
    robot, _ = await world.robots.create("", "ci", by="test")
    _, (credential,) = await world.robots.find(robot.name)
    holder = Identity(robot.name, "robot", kind="robot", credential=f"secret:{credential.id}")
    assert await world.directory().renew(holder, since=world.clock.seconds()) == holder
    await world.robots.revoke(robot.name, by="test")
    assert await world.directory().renew(holder, since=world.clock.seconds()) is None


async def test_a_name_with_a_password_is_nobody_elses(world: World) -> None:
    """Neither a file's nor a certificate's to give away."""
    await world.users.create("ada", password=GOOD, by="test", administrator=True)
    directory = world.directory()
    assert await directory.adopt(Identity("ada", "htpasswd")) is None
    assert await directory.adopt(Identity("bob", "htpasswd")) == Identity("bob", "htpasswd")


# Several -----------------------------------------------------------------------------------------


class Fixed:
    """An authenticator that always does the same."""

    def __init__(self, outcome: Identity | EntrepotError, challenge: str | None = None) -> None:
        self.challenge = challenge
        self._outcome = outcome

    async def authenticate(self, authorization: str | None, origin: Origin) -> Identity:  # noqa: ARG002 - the contract
        if isinstance(self._outcome, EntrepotError):
            raise self._outcome
        return self._outcome

    def recall(self, authorization: str | None) -> Recalled | None:  # noqa: ARG002 - the contract
        return None if isinstance(self._outcome, EntrepotError) else Recalled(self._outcome)


ADA, BOB = Identity("ada", "one"), Identity("bob", "two")


@pytest.mark.parametrize(
    "outcomes, expected",
    [
        ([ADA, BOB], ADA),
        ([UnauthorizedError(), BOB], BOB),
        ([UnauthorizedError(), UnauthorizedError()], UnauthorizedError),
        ([EntrepotError("away"), BOB], BOB),
        ([EntrepotError("away"), UnauthorizedError()], UnavailableError),
        ([UnauthorizedError(), EntrepotError("away")], UnavailableError),
        ([UnavailableError(), UnauthorizedError()], UnavailableError),
        ([TooManyRequestsError(), BOB], TooManyRequestsError),
        ([DeniedError(), BOB], DeniedError),
        ([], UnauthorizedError),
    ],
)
async def test_several(
    outcomes: list[Identity | EntrepotError], expected: Identity | type[EntrepotError]
) -> None:
    """The first who knows; nobody gets in because somebody else is away."""
    several = Several([Fixed(outcome) for outcome in outcomes])
    if isinstance(expected, Identity):
        assert await several.authenticate(None, HERE) == expected
    else:
        with pytest.raises(expected):
            await several.authenticate(None, HERE)


def test_the_challenge_of_several() -> None:
    several = Several([Fixed(ADA), Fixed(ADA, "Basic"), Fixed(ADA, "Other")])
    assert several.challenge == "Basic"


async def test_requests_are_limited_by_identity(tmp_path: Path) -> None:
    """Ten at once, then two a second; strangers by address."""
    clock = Clock()
    waits: set[str] = set()

    async def sent(authenticator: RateLimited, number: int, origin: Origin = HERE) -> int:
        """How many of some requests get through."""
        through = 0
        for _ in range(number):
            try:
                await authenticator.authenticate(None, origin)
            except TooManyRequestsError as error:
                waits.add(error.headers["Retry-After"])
            else:
                through += 1
        return through

    def rates() -> Rates:
        return Rates(tmp_path / "rates", rate=2, burst=10, clock=clock.seconds)

    ada = RateLimited(Fixed(ADA), rates())
    assert await sent(ada, 30) == 10
    clock.go(2)
    assert await sent(ada, 30) == 4
    clock.go(1000)
    assert await sent(ada, 30) == 10
    assert await sent(RateLimited(Fixed(ADA), rates()), 30) == 0, "another process counts on"
    strangers = RateLimited(Anonymous(), rates())
    assert await sent(strangers, 30) == 10
    assert await sent(strangers, 30, Origin("192.0.2.2")) == 10
    assert waits == {"1"}


async def test_whoever_brings_no_credentials_is_limited_by_address(tmp_path: Path) -> None:
    """Also where they are asked for some, and then let in to what is public."""
    clock = Clock()
    rates = Rates(tmp_path / "rates", rate=1, burst=3, clock=clock.seconds)
    source = RateLimited(Several([]), rates)
    kinds = []
    for _ in range(5):
        try:
            await source.authenticate(None, HERE)
        except (UnauthorizedError, TooManyRequestsError) as error:
            kinds.append(type(error))
    assert kinds == [UnauthorizedError] * 3 + [TooManyRequestsError] * 2
    with pytest.raises(UnauthorizedError):
        await source.authenticate(None, Origin("192.0.2.2"))
    with pytest.raises(UnauthorizedError):
        await source.authenticate("Basic x", HERE)


def test_many_identities_need_no_more_memory(tmp_path: Path) -> None:
    """Of very many at once the fullest buckets are given up; who sends too much stays limited."""
    clock = Clock()
    rates = Rates(tmp_path / "rates", rate=1, burst=100, clock=clock.seconds)
    assert [rates.take("busy") for _ in range(100)] == [0.0] * 100
    for number in range(100_000):
        assert rates.take(f"stranger {number}") == 0.0
    assert rates.take("busy") == pytest.approx(1.0)
    assert (tmp_path / "rates").stat().st_size == 256 * 1024
    clock.go(2.5)
    assert [rates.take("busy") == 0 for _ in range(3)] == [True, True, False]
