"""Robots and personal access tokens: shown once, limited, renewed, ended."""

from __future__ import annotations

from secrets import token_bytes

import pytest

from entrepot.core.access import Action, Identity, Origin, Scope
from entrepot.core.accounts import AccountError, AccountUnknownError
from entrepot.core.credentials import RANDOM_BYTES, make_secret
from entrepot.core.errors import TooManyRequestsError, UnauthorizedError
from entrepot.identity.passwords import Passwords
from tests.accounts.conftest import DAY, World
from tests.unit.identity.credentials import basic

pytestmark = pytest.mark.anyio

HERE = Origin("192.0.2.1")
PULL = (Scope("team-a/**", frozenset({Action.PULL, Action.PUSH})),)


async def login(passwords: Passwords, secret: str, name: str = "whoever") -> Identity | None:
    try:
        return await passwords.authenticate(basic(name, secret), HERE)
    except (UnauthorizedError, TooManyRequestsError):
        return None


async def test_a_robot_logs_in_by_any_name(world: World) -> None:
    robot, secret = await world.robots.create("", "ci", by="test", scopes=PULL)
    assert robot.name == "robot$ci"
    passwords = world.authenticator(guard=world.guard())
    for name in ("robot$ci", "whoever", ""):
        found = await login(passwords, secret, name)
        assert found is not None
        assert (found.name, found.method, found.kind) == ("robot$ci", "robot", "robot")
        assert found.scopes == PULL
        assert found.credential.startswith("secret:")
    assert await login(passwords, secret[:-1] + ("1" if secret.endswith("0") else "0")) is None
    assert await login(passwords, "entr_rob_" + "0" * 38) is None


async def test_no_secret_is_kept(world: World) -> None:
    """Neither is the secret in the index, nor anything from which it could be made."""
    _, secret = await world.robots.create("", "ci", by="test")
    rows = await world.index.fetch_all("SELECT * FROM credentials", {})
    assert secret not in str(rows)
    assert secret.encode()[9:40] not in b"".join(v for row in rows for v in row if type(v) is bytes)


async def test_robots_need_their_namespace(world: World) -> None:
    with pytest.raises(AccountUnknownError, match="no namespace team-a"):
        await world.robots.create("team-a", "ci", by="test")
    await world.robots.create("", "ci", by="test")
    with pytest.raises(AccountError, match="already"):
        await world.robots.create("", "ci", by="test")
    assert [robot.name for robot in await world.robots.list()] == ["robot$ci"]


async def test_the_old_secret_goes_on_for_a_while(world: World) -> None:
    _, old = await world.robots.create("", "ci", by="test")
    passwords = world.authenticator()
    assert await login(passwords, old)
    new = await world.robots.rotate("robot$ci", by="test")
    for seconds in (0, 2, 3500):
        world.clock.go(seconds)
        assert await login(passwords, old), seconds
        assert await login(passwords, new), seconds
    world.clock.go(100)
    assert await login(passwords, old) is None
    assert await login(passwords, new)
    at_once = await world.robots.rotate("robot$ci", by="test", overlap=0)
    world.clock.go(2)
    assert await login(passwords, new) is None
    assert await login(passwords, at_once)
    _, secrets = await world.robots.find("robot$ci")
    assert len(secrets) == 2, "what ended before is forgotten"


async def test_a_revoked_robot_is_out_a_second_later(world: World) -> None:
    """In every process, although it was remembered there."""
    _, secret = await world.robots.create("", "ci", by="test")
    processes = [world.authenticator(), world.authenticator()]
    assert all([await login(process, secret) for process in processes])
    await world.robots.revoke("robot$ci", by="test")
    world.clock.go(1.1)
    assert not any([await login(process, secret) for process in processes])
    with pytest.raises(AccountUnknownError):
        await world.robots.find("robot$ci")


async def test_secrets_expire(world: World) -> None:
    await world.users.create("ada", password=None, by="test")
    _, secret = await world.tokens.create("ada", "x", by="test", expires_in=60)
    _, robot = await world.robots.create("", "ci", by="test", expires_in=120)
    passwords = world.authenticator()
    world.clock.go(59)
    assert await login(passwords, secret)
    world.clock.go(2)
    assert await login(passwords, secret) is None
    assert await login(passwords, robot)
    world.clock.go(60)
    assert await login(passwords, robot) is None
    with pytest.raises(AccountError, match="lifetime"):
        await world.tokens.create("ada", "x", by="test", expires_in=101 * DAY)


async def test_a_personal_token_is_its_user(world: World) -> None:
    """With groups and rights as they are now, and nothing when the user is disabled or gone."""
    await world.users.create("root", password="some long phrase", by="test", administrator=True)
    await world.users.create("ada", password=None, by="test", groups=["team-a"])
    token, secret = await world.tokens.create("ada", "laptop", by="test", scopes=PULL)
    passwords = world.authenticator()
    found = await login(passwords, secret)
    assert found is not None
    assert (found.name, found.method, found.kind) == ("ada", "personal-token", "user")
    assert (found.groups, found.administrator, found.scopes) == (("team-a",), False, PULL)
    await world.users.change("ada", by="test", join=["team-b"], administrator=True)
    world.clock.go(1.1)
    found = await login(passwords, secret)
    assert found is not None
    assert (found.groups, found.administrator) == (("team-a", "team-b"), True)
    await world.users.change("ada", by="test", disabled=True)
    world.clock.go(1.1)
    assert await login(passwords, secret) is None
    await world.users.change("ada", by="test", disabled=False)
    made, renewed = await world.tokens.rotate("ada", token.id, by="test", overlap=0)
    world.clock.go(1.1)
    assert await login(passwords, secret) is None
    assert await login(passwords, renewed)
    assert (made.name, made.scopes) == ("laptop", PULL)
    await world.tokens.revoke("ada", made.id, by="test")
    world.clock.go(1.1)
    assert await login(passwords, renewed) is None
    with pytest.raises(AccountUnknownError):
        await world.tokens.revoke("ada", made.id, by="test")


async def test_the_last_use_is_written_seldom(world: World) -> None:
    """Nothing is written while requests are served, and then once a quarter of an hour at most."""
    await world.users.create("ada", password=None, by="test")
    _, secret = await world.tokens.create("ada", "x", by="test")
    passwords = world.authenticator()

    async def used_at() -> int | None:
        await world.uses.write()
        (token,) = await world.tokens.list("ada")
        return token.used_at

    assert await used_at() is None
    await login(passwords, secret)
    (token,) = await world.tokens.list("ada")
    assert token.used_at is None
    first = await used_at()
    assert first == world.clock.now
    world.clock.go(600)
    await login(passwords, secret)
    assert await used_at() == first
    world.clock.go(600)
    await login(passwords, secret)
    assert await used_at() == world.clock.now


async def test_a_locked_address_lets_a_right_secret_in(world: World) -> None:
    """It can't have been guessed. Wrong ones are held up; no account is to blame for them."""
    _, secret = await world.robots.create("", "ci", by="test")
    passwords = world.authenticator(guard=world.guard())
    for _ in range(6):
        wrong = make_secret("rob", token_bytes(RANDOM_BYTES))
        with pytest.raises(UnauthorizedError):
            await passwords.authenticate(basic("ada", wrong), HERE)
    with pytest.raises(TooManyRequestsError):
        await passwords.authenticate(basic("ada", "entr_rob_mistyped"), HERE)
    assert await login(passwords, secret)
    assert {each.kind for each in await world.lockouts.list()} == {"address"}
