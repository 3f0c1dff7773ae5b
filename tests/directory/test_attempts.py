"""A guesser has as many attempts at an account as there are for one name, however it is typed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from entrepot.core.access import Origin
from entrepot.identity.ldap_answers import as_compared
from entrepot.identity.local import Local
from entrepot.identity.passwords import Passwords
from entrepot.identity.sources import Source
from tests.accounts.conftest import CHEAP, World, metrics, world  # noqa: F401 - fixtures
from tests.accounts.test_logins import GOOD, login
from tests.directory.active import Active, active
from tests.directory.conftest import Open
from tests.directory.slapd import PASSWORD
from tests.directory.test_active import ADA, rules

pytestmark = pytest.mark.anyio

DOMAINS = ["CORP", "corp.example"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def server() -> Iterator[Active]:
    with active({ADA: {"sAMAccountName": ["ada"]}}, password=PASSWORD) as running:
        yield running


def authenticator(world: World, *sources: Source) -> Passwords:  # noqa: F811 - a fixture
    made = Passwords(
        sources,
        realm="Tests",
        metrics=world.metrics,
        guard=world.guard(),
        clock=world.clock.seconds,
    )
    world.opened.append(made)
    return made


@pytest.mark.parametrize("name", ["ada", "bob"])
async def test_all_ways_to_type_a_name_are_counted_together(
    world: World,  # noqa: F811 - a fixture
    server: Active,
    opened: Open,
    name: str,
) -> None:
    """Also of a name that the directory doesn't have, so that the locks tell nothing; and however
    many blanks somebody adds. The names of somebody else are not locked.
    """
    passwords = authenticator(world, opened(rules(server, domains=DOMAINS)))
    for number, typed in enumerate(
        (
            f"CORP\\{name}",
            f"{name}@corp.example",
            name.upper(),
            f"corp\\{name}@CORP.example",
            f"{name}{' ' * 200}",
            name.replace("a", "\u00e1").replace("o", "\uff2f"),
        )
    ):
        answer = await login(passwords, typed, "wrong", Origin(f"192.0.2.{number}"))
        assert answer == ("refused" if number < 3 else "retry after 1"), typed
    assert [entry.subject for entry in await world.lockouts.list() if entry.kind == "account"] == [
        name
    ]
    assert await login(passwords, "carol", "wrong", Origin("198.51.100.1")) == "refused"
    world.clock.go(1.1)
    if name == "ada":
        assert not isinstance(await login(passwords, "Corp\\ADA", PASSWORD), str)
        assert not [each for each in await world.lockouts.list() if each.subject == "ada"]


async def test_a_success_is_no_one_elses(
    world: World,  # noqa: F811 - a fixture
    server: Active,
    opened: Open,
) -> None:
    """Local users `Ada` and `ada` are two people, and the directory's name is both: whoever has the
    password of one gets no more attempts at the other.
    """
    await world.users.create("Ada", password=GOOD, by="test")
    directory = world.directory()
    local = Local(directory, CHEAP, rehash=world.users.rehash)
    passwords = authenticator(world, local, opened(rules(server, domains=DOMAINS)))
    for _ in range(2):
        assert await login(passwords, "ada", "wrong") == "refused"
    assert not isinstance(await login(passwords, "Ada", GOOD), str)
    assert await login(passwords, "ada", "wrong") == "refused"
    assert await login(passwords, "ada", PASSWORD) == "retry after 1"


@pytest.mark.parametrize(
    "typed, compared",
    [
        ("Ada", "ada"),
        ("CORP\\ada@corp.example", "ada"),
        ("OTHER\\ada", "other\\ada"),
        ("ada@other.example", "ada@other.example"),
        ("Jos\u00e9  Stra\u00dfe", "jose strasse"),
        ("\uff41da\ufe0f", "ada"),
        ("CORP\\", ""),
        ("", ""),
    ],
)
def test_names_as_they_are_compared(typed: str, compared: str) -> None:
    assert as_compared(typed, frozenset({"corp", "corp.example"})) == compared
