"""People: making, changing and removing them, in an index of either engine."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from entrepot.core.accounts import AccountError, AccountUnknownError
from tests.accounts.conftest import CHEAP, World

pytestmark = pytest.mark.anyio

GOOD = "correct horse battery"


async def test_a_user_is_made_once(world: World) -> None:
    made = await world.users.create("ada", password=GOOD, by="test", groups=["b", "a", "b"])
    assert (made.name, made.groups, made.administrator, made.disabled) == (
        "ada",
        ("a", "b"),
        False,
        False,
    )
    assert made.password is not None
    assert CHEAP.matches(GOOD.encode(), made.password)
    assert GOOD not in made.password
    with pytest.raises(AccountError, match="already"):
        await world.users.create("ada", password=GOOD, by="test")
    assert await world.users.list() == [made]


async def test_what_is_changed_and_what_stays(world: World) -> None:
    await world.users.create("ada", password=GOOD, by="test", groups=["a", "b"])
    changed = await world.users.change("ada", by="test", join=["c"], leave=["a"])
    assert changed.groups == ("b", "c")
    changed = await world.users.change("ada", by="test", description="Countess")
    assert (changed.groups, changed.description) == (("b", "c"), "Countess")
    with pytest.raises(AccountUnknownError, match="no user bob"):
        await world.users.change("bob", by="test", disabled=True)


async def test_the_last_administrator_stays(world: World) -> None:
    """Not disabled, not demoted, not removed, not without a password, unless there is another."""
    await world.users.create("ada", password=GOOD, by="test", administrator=True)
    await world.users.create("bob", password=GOOD, by="test")

    async def attempts() -> list[str]:
        failed = []
        for name, attempt in {
            "disable": world.users.change("ada", by="test", disabled=True),
            "demote": world.users.change("ada", by="test", administrator=False),
            "delete": world.users.delete("ada", by="test"),
            "passwd": world.users.set_password("ada", None, by="test"),
        }.items():
            with pytest.raises(AccountError, match="last administrator"):
                await attempt
            failed.append(name)
        return failed

    before = await world.users.find("ada")
    assert await attempts() == ["disable", "demote", "delete", "passwd"]
    assert await world.users.find("ada") == before
    await world.users.create("eve", password=None, by="test", administrator=True)
    assert await attempts() == ["disable", "demote", "delete", "passwd"], "eve has no password"
    await world.users.change("bob", by="test", administrator=True)
    await world.users.delete("ada", by="test")
    with pytest.raises(AccountUnknownError):
        await world.users.find("ada")


async def test_two_administrators_can_not_remove_each_other(world: World) -> None:
    """At the same moment; one of them stays."""
    for name in ("ada", "bob"):
        await world.users.create(name, password=GOOD, by="test", administrator=True)
    await asyncio.gather(
        *(world.users.change(name, by="test", disabled=True) for name in ("ada", "bob")),
        return_exceptions=True,
    )
    assert sum(not user.disabled for user in await world.users.list()) == 1


async def test_the_first_administrator_is_made_once(world: World) -> None:
    def password() -> str:
        return GOOD

    assert await world.users.ensure_administrator("admin", password)
    assert not await world.users.ensure_administrator("other", password)
    (only,) = await world.users.list()
    assert (only.name, only.administrator) == ("admin", True)


async def test_recovering(world: World) -> None:
    """Whatever was before: nobody of that name, or somebody disabled and demoted."""
    await world.users.recover("admin", GOOD, by="test")
    await world.users.create("other", password=GOOD, by="test", administrator=True)
    await world.users.change("admin", by="test", administrator=False, disabled=True)
    await world.users.recover("admin", "another long phrase", by="test")
    admin = await world.users.find("admin")
    assert admin.administrator
    assert not admin.disabled
    assert admin.password is not None
    assert CHEAP.matches(b"another long phrase", admin.password)


async def test_what_is_done_is_recorded_without_secrets(world: World) -> None:
    with capture_logs() as logs:
        await world.users.create("ada", password=GOOD, by="root")
        await world.users.set_password("ada", "another long phrase", by="root")
        await world.users.delete("ada", by="root")
    done = [
        (entry["event.action"], entry["user.name"], entry["user.target.name"]) for entry in logs
    ]
    assert done == [
        ("user.create", "root", "ada"),
        ("user.passwd", "root", "ada"),
        ("user.delete", "root", "ada"),
    ]
    assert GOOD not in str(logs)
    assert "another long phrase" not in str(logs)
