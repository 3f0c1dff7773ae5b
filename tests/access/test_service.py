"""What one process keeps in memory of rights, and when it notices that they have changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from entrepot.core.access import Action, Identity, Scope
from entrepot.core.decision import AccessError, AccessUnknownError, Grant
from entrepot.core.errors import DeniedError
from entrepot.core.roles import RoleInvalidError
from entrepot.db.address import IndexAddress
from entrepot.db.engine import Row, Values
from entrepot.db.opening import open_index
from entrepot.services import access as module
from entrepot.services.access import LOOK_EVERY, AccessRules
from tests.access.worlds import ALICE, ON, SECOND, Rights, made

NOBODY = Identity("", "anonymous", kind="anonymous")


pytestmark = pytest.mark.anyio


async def test_a_decision_is_not_asked_twice(rights: Rights) -> None:
    await rights.namespaces.create("team", by="test")
    await rights.give(made("team", "user:alice", "developer"))
    assert await rights.may(Action.PUSH, "team/app")
    asked = rights.index.asked
    for _ in range(100):
        assert await rights.may(Action.PUSH, "team/app")
        assert await rights.may(Action.PUSH, "team/other")
        assert not await rights.may(Action.PUSH, "app")
    assert rights.index.asked == asked


async def test_a_change_counts_within_two_seconds_and_at_once_where_it_is_made(
    rights: Rights,
) -> None:
    await rights.namespaces.create("team", by="test")
    assert not await rights.may(Action.PULL, "team/app")
    number = await rights.give(made("team", "user:alice", "reader"))
    assert not await rights.may(Action.PULL, "team/app"), "it is not looked at all the time"
    rights.clock.now += LOOK_EVERY
    assert await rights.may(Action.PULL, "team/app")
    await rights.here.revoke([number], by="test")
    assert not await rights.may(Action.PULL, "team/app")


async def test_the_index_is_asked_for_the_revision_once_in_two_seconds(rights: Rights) -> None:
    await rights.may(Action.PULL, "a")
    asked = rights.index.asked
    for _ in range(20):
        rights.clock.now += LOOK_EVERY // 10
        await rights.may(Action.PULL, "a")
    assert rights.index.asked == asked + 2


async def test_what_ends_by_itself_ends_on_time(rights: Rights) -> None:
    ends = rights.clock.now + 90 * SECOND
    await rights.give(made("", "user:alice", "reader", expires_at=ends))
    for seconds, allowed in ((0, True), (89, True), (90, False), (10_000, False)):
        rights.clock.now = ends - 90 * SECOND + seconds * SECOND
        assert await rights.may(Action.PULL, "a/b") is allowed, seconds


async def test_a_denial_that_ends_gives_back(rights: Rights) -> None:
    ends = rights.clock.now + SECOND
    await rights.give(
        made("", "user:alice", "reader"),
        made("", "group:devs", "reader", effect="deny", expires_at=ends),
    )
    assert not await rights.may(Action.PULL, "a")
    rights.clock.now = ends
    assert await rights.may(Action.PULL, "a")


async def test_every_kind_of_change_counts(rights: Rights) -> None:
    """Namespaces, visibility, roles, grants: whatever a decision looks at."""

    async def now(action: Action, who: Identity = ALICE) -> bool:
        rights.clock.now += LOOK_EVERY
        return await rights.may(action, "team/app", who)

    await rights.namespaces.create("team", by="test", visibility="public")
    assert await now(Action.PULL, NOBODY)
    await rights.namespaces.change("team", by="test", visibility=None)
    assert not await now(Action.PULL, NOBODY)
    await rights.grants.create_role("pusher", frozenset({Action.PUSH}), by="test")
    number = await rights.give(made("team", "group:devs", "pusher"))
    assert await now(Action.PUSH)
    assert not await now(Action.PULL)
    with pytest.raises(AccessError, match=f"grant {number} gives"):
        await rights.grants.delete_role("pusher", by="test")
    await rights.namespaces.delete("team", by="test")
    assert not await now(Action.PUSH)
    await rights.grants.delete_role("pusher", by="test")


async def test_if_nobody_can_say_what_counts_nobody_gets_in(index_address: IndexAddress) -> None:
    index = open_index(index_address)
    rights = Rights(index, ON)
    await rights.give(made("", "user:alice", "reader"))
    assert await rights.may(Action.PULL, "a")

    async def broken(sql: str, values: Values) -> Row | None:
        raise OSError("gone")

    rights.index.fetch_one = broken  # type: ignore[method-assign]
    assert await rights.may(Action.PULL, "a"), "for two seconds"
    rights.clock.now += LOOK_EVERY
    for _ in range(2):
        with pytest.raises(OSError, match="gone"):
            await rights.may(Action.PULL, "a")
    await index.close()


async def test_memory_is_bounded(rights: Rights, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept is dropped when it is too much, and decisions stay right."""
    monkeypatch.setattr(module, "_MOST_DECISIONS", 50)
    monkeypatch.setattr(module, "_MOST_GRANTS", 20)
    await rights.give(*(made("", f"user:user{n}", "reader") for n in range(60)))
    for n in range(60):
        who = Identity(f"user{n}", "local")
        for name in ("a", "b"):
            assert await rights.may(Action.PULL, name, who)
            assert not await rights.may(Action.PUSH, name, who)
    kept = sum(len(view.known) for view in rights.access._views.values())
    assert kept <= 50
    assert len(rights.access._subjects) <= 22


async def test_permitted_is_what_a_token_may_get(rights: Rights) -> None:
    await rights.give(made("", "user:alice", "developer", repositories="a/*"))
    every = [Action.PULL, Action.PUSH, Action.DELETE]
    assert await rights.access.permitted(ALICE, "a/b", every) == {Action.PULL, Action.PUSH}
    assert await rights.access.permitted(ALICE, "b", every) == frozenset()
    limited = Identity("alice", "token", scopes=(Scope("a/**", frozenset({Action.PULL})),))
    assert await rights.access.permitted(limited, "a/b", every) == {Action.PULL}


async def test_an_explanation_has_all_that_was_looked_at(rights: Rights) -> None:
    await rights.namespaces.create("team", by="test")
    await rights.give(
        made("team", "user:alice", "reader"),
        made("", "group:devs", "reader"),
        made("", "user:bob", "reader"),
    )
    answer = await rights.access.explain(ALICE, Action.PULL, "team/app")
    assert answer.decision.allowed
    assert [grant.subject for grant in answer.grants] == ["alice", "devs"]
    answer = await rights.access.explain(ALICE, Action.MEMBERS, "team")
    assert not answer.decision.allowed
    assert str(answer.target) == "namespace team"


async def test_what_the_configuration_gives(index_address: IndexAddress) -> None:
    index = open_index(index_address)
    rules = AccessRules(
        enabled=True,
        administrators=frozenset({"boss"}),
        administrator_groups=frozenset({"admins"}),
        mappings=(made("team", "group:devs", "developer"), made("", "user:eve", "reader")),
    )
    rights = Rights(index, rules)
    assert await rights.may(Action.PUSH, "team/app"), "the namespace need not exist"
    assert not await rights.may(Action.PUSH, "app")
    assert await rights.may(Action.PULL, "app", Identity("eve", "htpasswd"))
    for boss in (Identity("boss", "htpasswd"), Identity("x", "ldap", groups=("admins",))):
        assert await rights.may(Action.DELETE, "app", boss)
    assert not await rights.may(Action.PULL, "app", Identity("boss", "robot", kind="robot"))
    await index.close()


async def test_without_access_control_only_credentials_limit(index_address: IndexAddress) -> None:
    index = open_index(index_address)
    rights = Rights(index, AccessRules())
    for who in (ALICE, NOBODY):
        for action in Action:
            assert (await rights.access.decide(who, action)).allowed
            assert await rights.may(action, "a", who)
        assert await rights.access.visible(who, Action.LIST) is None
    assert rights.index.asked == 0
    limited = Identity("ci", "token", scopes=(Scope("a/**", frozenset({Action.PULL})),))
    assert await rights.may(Action.PULL, "a/b", limited)
    assert not await rights.may(Action.PUSH, "a/b", limited)
    visible = await rights.access.visible(limited, Action.PULL)
    assert visible is not None
    assert [name for name in ("a/b", "b") if visible.shows(name)] == ["a/b"]
    await index.close()


# Namespaces and grants ----------------------------------------------------------------------------


async def test_the_same_grant_is_one(rights: Rights) -> None:
    first = await rights.give(made("", "user:alice", "reader"))
    again = await rights.give(made("", "user:alice", "reader", expires_at=2**52))
    assert again == first
    (grant,) = [grant async for grant in rights.grants.list()]
    assert grant.expires_at == 2**52


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"namespace": "nope"}, "there is no namespace nope"),
        ({"role": "king"}, "there is no role king; there are reader, developer"),
        ({"subject": ""}, "can't be the name of a user"),
        ({"subject": "a\nb"}, "can't be the name of a user"),
        ({"subject": "x" * 256}, "can't be the name of a user"),
        ({"subject_kind": "robot"}, "is no robot"),
        ({"expires_at": 1}, "ends before it begins"),
        ({"expires_at": 2**60}, "too far away"),
    ],
)
async def test_what_is_no_grant_is_refused_with_the_reason(
    rights: Rights, change: Mapping[str, Any], reason: str
) -> None:
    """And nothing of what was asked for together with it is done."""
    fields = {"id": 0, "namespace": "", "subject_kind": "user", "subject": "al", "role": "reader"}
    wrong = Grant(**{**fields, **change})
    with pytest.raises(AccessError, match=reason):
        await rights.grants.grant([made("", "user:bob", "reader"), wrong], by="test")
    assert [grant async for grant in rights.grants.list()] == []


async def test_what_is_not_there_can_not_be_taken_back(rights: Rights) -> None:
    number = await rights.give(made("", "user:alice", "reader"))
    with pytest.raises(AccessUnknownError, match="there is no grant 99"):
        await rights.grants.revoke([number, 99], by="test")
    assert len([grant async for grant in rights.grants.list("/")]) == 1
    for name in ("reader", "nope"):
        with pytest.raises((AccessUnknownError, RoleInvalidError)):
            await rights.grants.delete_role(name, by="test")
    await rights.grants.create_role("mine", frozenset({Action.TAG}), by="test")
    with pytest.raises(AccessError, match="already"):
        await rights.grants.create_role("mine", frozenset({Action.TAG}), by="test")
    assert (await rights.grants.roles())["mine"] == {Action.TAG}
    with pytest.raises(AccessUnknownError):
        _ = [grant async for grant in rights.grants.list("nope")]


async def test_a_change_during_a_look_counts_at_once(rights: Rights) -> None:
    """A look that began before the change must not make what it saw good for two seconds."""
    number = await rights.give(made("", "user:alice", "reader"))
    assert await rights.may(Action.PULL, "a")
    rights.clock.now += LOOK_EVERY
    ask = rights.index.fetch_one

    async def slow(sql: str, values: Values) -> Row | None:
        rights.index.fetch_one = ask  # type: ignore[method-assign]
        row = await ask(sql, values)
        await rights.here.revoke([number], by="test")
        return row

    rights.index.fetch_one = slow  # type: ignore[method-assign]
    assert not await rights.may(Action.PULL, "a")


async def test_nobody_gives_what_they_lack(rights: Rights) -> None:
    """Whoever may change members gives roles of which they have everything, and no others."""
    await rights.namespaces.create("team", by="test")
    await rights.grants.create_role("members", frozenset({Action.MEMBERS}), by="test")
    await rights.grants.create_role("watch", frozenset({Action.AUDIT}), by="test")
    await rights.give(
        made("team", "user:alice", "admin"),
        made("", "user:bob", "members"),
        made("", "user:carol", "admin"),
    )
    root = Identity("root", "local", administrator=True)
    for name, role, place, allowed in (
        ("alice", "admin", "team", True),
        ("alice", "operator", "team", True),
        ("alice", "reader", "", False),
        ("bob", "members", "team", True),
        ("bob", "reader", "team", False),
        ("carol", "admin", "", True),
        ("carol", "watch", "", False),
        ("root", "watch", "", True),
    ):
        giver = root if name == "root" else Identity(name, "local")
        if allowed:
            await rights.access.check_giver(giver, role, namespace=place)
        else:
            with pytest.raises(DeniedError):
                await rights.access.check_giver(giver, role, namespace=place)
