"""Logging in with a password: right, wrong, changed, locked, slow."""

from __future__ import annotations

import time

import pytest
from structlog.testing import capture_logs

from entrepot.core.access import Identity, Origin
from entrepot.core.errors import TooManyRequestsError, UnauthorizedError, UnavailableError
from entrepot.db import Transaction
from entrepot.identity.hashing import Argon2
from entrepot.identity.passwords import Passwords
from tests.accounts.conftest import World
from tests.unit.identity.credentials import basic

pytestmark = pytest.mark.anyio

GOOD = "correct horse battery"
HERE = Origin("192.0.2.1")
THERE = Origin("198.51.100.1")


async def login(
    passwords: Passwords, name: str, password: str, origin: Origin = HERE
) -> Identity | str:
    try:
        return await passwords.authenticate(basic(name, password), origin)
    except UnauthorizedError:
        return "refused"
    except TooManyRequestsError as error:
        return f"retry after {error.headers['Retry-After']}"


async def test_right_and_wrong(world: World) -> None:
    await world.users.create("ada", password=GOOD, by="test", groups=["g"], administrator=True)
    await world.users.create("eve", password=None, by="test")
    passwords = world.authenticator()
    expected = Identity("ada", "local", groups=("g",), administrator=True)
    assert await login(passwords, "ada", GOOD) == expected
    assert await login(passwords, "ada", GOOD) == expected
    for name, password in (("ada", "x"), ("bob", GOOD), ("eve", ""), ("eve", "nobody's"), ("", "")):
        assert await login(passwords, name, password) == "refused", name


async def test_changes_count_in_every_process_a_second_later(world: World) -> None:
    """A changed password, a disabled user, groups, a removed user."""
    await world.users.create("root", password=GOOD, by="test", administrator=True)
    await world.users.create("ada", password=GOOD, by="test")
    processes = [world.authenticator(), world.authenticator()]

    async def answers(password: str) -> list[Identity | str]:
        world.clock.go(1.1)
        return [await login(process, "ada", password) for process in processes]

    await answers(GOOD)
    await world.users.change("ada", by="test", join=["g"])
    assert await answers(GOOD) == [Identity("ada", "local", groups=("g",))] * 2
    await world.users.set_password("ada", "another long phrase", by="test")
    assert await answers(GOOD) == ["refused"] * 2
    assert await answers("another long phrase") == [Identity("ada", "local", groups=("g",))] * 2
    await world.users.change("ada", by="test", disabled=True)
    assert await answers("another long phrase") == ["refused"] * 2
    await world.users.change("ada", by="test", disabled=False)
    assert await answers("another long phrase") == [Identity("ada", "local", groups=("g",))] * 2
    await world.users.delete("ada", by="test")
    assert await answers("another long phrase") == ["refused"] * 2
    await world.users.create("ada", password=GOOD, by="test", groups=["h"])
    assert await answers(GOOD) == [Identity("ada", "local", groups=("h",))] * 2


async def test_a_password_is_hashed_again_when_the_parameters_changed(world: World) -> None:
    """At the next login, and those that are remembered elsewhere stay so."""
    await world.users.create("ada", password=GOOD, by="test")
    elsewhere = world.authenticator()
    assert isinstance(await login(elsewhere, "ada", GOOD), Identity)
    before = await world.users.find("ada")
    passwords = world.authenticator(Argon2(time_cost=2, memory_cost=128))
    assert await login(passwords, "ada", "x") == "refused"
    assert await world.users.find("ada") == before
    assert isinstance(await login(passwords, "ada", GOOD), Identity)
    after = await world.users.find("ada")
    assert after.password != before.password
    assert after.password is not None
    assert "m=128,t=2" in after.password
    assert isinstance(await login(elsewhere, "ada", GOOD), Identity)
    assert isinstance(await login(world.authenticator(), "ada", GOOD), Identity)


async def test_failures_lock_an_account_for_every_process(world: World) -> None:
    """Longer each time; the right password is not looked at meanwhile, from nowhere."""
    await world.users.create("ada", password=GOOD, by="test")
    first, second = (world.authenticator(guard=world.guard()) for _ in range(2))
    for _ in range(3):
        assert await login(first, "ada", "wrong") == "refused"
    assert await login(second, "ada", GOOD, THERE) == "retry after 1"
    world.clock.go(1.1)
    assert await login(second, "ada", "wrong", THERE) == "refused"
    assert await login(first, "ada", GOOD) == "retry after 2"
    world.clock.go(2.1)
    assert isinstance(await login(first, "ada", GOOD), Identity)
    assert await login(first, "ada", "wrong") == "refused"
    assert isinstance(await login(second, "ada", GOOD), Identity), "a success forgets"


async def test_an_unknown_name_is_locked_just_the_same(world: World) -> None:
    passwords = world.authenticator(guard=world.guard())
    answers = [await login(passwords, "nobody", "x") for _ in range(4)]
    assert answers == ["refused", "refused", "refused", "retry after 1"]


async def test_who_is_remembered_goes_on(world: World) -> None:
    """Or anybody could shut somebody else out."""
    await world.users.create("ada", password=GOOD, by="test")
    passwords = world.authenticator(guard=world.guard())
    await login(passwords, "ada", GOOD)
    for _ in range(4):
        await login(passwords, "ada", "wrong", THERE)
    assert await login(passwords, "ada", "wrong", THERE) == "retry after 1"
    assert isinstance(await login(passwords, "ada", GOOD), Identity)


async def test_failures_lock_an_address(world: World) -> None:
    """Whatever the names; a success of one of them doesn't help, another address may go on."""
    await world.users.create("ada", password=GOOD, by="test")
    passwords = world.authenticator(guard=world.guard())
    for number in range(5):
        assert await login(passwords, f"guess{number}", "x") == "refused"
    assert isinstance(await login(passwords, "ada", GOOD), Identity)
    assert await login(passwords, "guess5", "x") == "refused"
    assert await login(passwords, "guess6", "x") == "retry after 1"
    assert await login(passwords, "guess6", "x", THERE) == "refused"


async def test_locks_are_listed_and_lifted(world: World) -> None:
    await world.users.create("ada", password=GOOD, by="test")
    passwords = world.authenticator(guard=world.guard())
    for _ in range(3):
        await login(passwords, "ada", "wrong")
    found = {(each.kind, each.subject, each.count) for each in await world.lockouts.list()}
    assert found == {("account", "ada", 3), ("address", "192.0.2.1", 3)}
    assert await login(passwords, "ada", GOOD) == "retry after 1"
    with capture_logs() as logs:
        assert await world.lockouts.lift("ada", by="root")
        assert not await world.lockouts.lift("ada", by="root")
    assert [entry["event.action"] for entry in logs] == ["user.unlock"]
    assert isinstance(await login(passwords, "ada", GOOD), Identity)
    assert await world.lockouts.lift_all(by="root") == 1
    assert await world.lockouts.list() == []


async def test_a_new_password_lifts_the_lock(world: World) -> None:
    await world.users.create("ada", password=GOOD, by="test")
    passwords = world.authenticator(guard=world.guard())
    for _ in range(3):
        await login(passwords, "ada", "wrong")
    await world.users.set_password("ada", "another long phrase", by="test")
    assert isinstance(await login(passwords, "ada", "another long phrase"), Identity)


async def test_old_failures_are_forgotten(world: World) -> None:
    passwords = world.authenticator(guard=world.guard())
    await login(passwords, "old", "x")
    world.clock.go(8 * 24 * 3600)
    await login(passwords, "new", "x", THERE)
    assert {each.subject for each in await world.lockouts.list()} == {"new", "198.51.100.1"}


class CountingArgon2(Argon2):
    """Notes with which parameters passwords are compared."""

    def __init__(self) -> None:
        super().__init__(time_cost=2, memory_cost=128)
        self.compared: list[str] = []

    def matches(self, password: bytes, hashed: str) -> bool:
        """See `Argon2.matches`."""
        self.compared.append(hashed.rpartition("p=")[0])
        return super().matches(password, hashed)


async def test_time_tells_no_names(world: World) -> None:
    """Unknown, wrong password, disabled, without a password: one comparison each, by a hash that
    costs the same.
    """
    argon2 = CountingArgon2()
    world.users._hash = argon2.hash  # as the server's own parameters
    for name in ("known", "disabled"):
        await world.users.create(name, password=GOOD, by="test")
    await world.users.create("bare", password=None, by="test")
    await world.users.change("disabled", by="test", disabled=True)
    passwords = world.authenticator(argon2)
    for name, password in (
        ("known", "wrong"),
        ("unknown", "wrong"),
        ("disabled", GOOD),
        ("bare", "wrong"),
        ("", "wrong"),
        ("\N{SNOWMAN}" * 200, "wrong"),
        ("known", ""),
        ("unknown", ""),
        ("known", "x" * 5000),
        ("unknown", "x" * 5000),
    ):
        argon2.compared.clear()
        assert await login(passwords, name, password) == "refused", name
        assert argon2.compared == ["$argon2id$v=19$m=128,t=2,"], (name, password[:9])


async def test_a_locked_name_is_answered_no_sooner(world: World) -> None:
    """Nothing is compared then, so it waits for as long as that usually takes."""
    argon2 = Argon2(time_cost=3, memory_cost=8192)
    world.users._hash = argon2.hash
    await world.users.create("known", password=GOOD, by="test")
    passwords = world.authenticator(argon2, guard=world.guard())
    for name in ("known", "unknown"):
        for number in range(3):
            assert await login(passwords, name, f"wrong{number}") == "refused"
        began = time.perf_counter()
        assert await login(passwords, name, "wrong") == "retry after 1"
        assert time.perf_counter() - began >= passwords._usual > 0
        world.clock.go(120)


async def test_an_index_that_is_away_opens_no_door(world: World) -> None:
    await world.users.create("ada", password=GOOD, by="test")
    passwords = world.authenticator(guard=world.guard())

    async def break_it(transaction: Transaction) -> None:
        await transaction.execute("ALTER TABLE users RENAME TO gone", {})

    await world.index.write(break_it)
    with pytest.raises(UnavailableError):
        await passwords.authenticate(basic("ada", GOOD), HERE)
    assert {each.kind for each in await world.lockouts.list()} == {"address"}
