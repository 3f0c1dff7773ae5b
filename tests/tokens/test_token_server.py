"""What tokens are issued for, refresh tokens, and what becomes of tokens after a change."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from entrepot.core.access import Action, Identity, Scope
from entrepot.core.audit import Actor
from entrepot.core.decision import Grant
from entrepot.core.errors import UnauthorizedError
from entrepot.core.tokens import TokenRefusedError
from entrepot.db.tokens import find_refresh_token
from entrepot.services.access import AccessRules
from entrepot.services.auditing import AuditLog
from entrepot.services.tokens import GRACE, TokenServer
from tests.tokens.conftest import ALICE, DAY, TERMS, Node, wish

pytestmark = pytest.mark.anyio

RULES = AccessRules(
    enabled=True,
    mappings=(
        Grant(id=0, namespace="", subject_kind="group", subject="team", role="reader"),
        Grant(id=0, namespace="", subject_kind="user", subject="bob", role="developer"),
    ),
)
NOBODY = Identity("", "anonymous", "anonymous")


async def refuse(server: TokenServer, token: str, *, service: str = "entrepot") -> None:
    with pytest.raises(TokenRefusedError):
        await server.refresh(token, wish("repository:a:pull", service=service))


async def test_partial_grants_are_intersections(node: Node) -> None:
    """What isn't allowed is left out, and so is what this registry has nothing to do with."""
    server = node.server(rules=RULES)
    issued = await server.issue(
        ALICE,
        wish(
            "repository:a/b:pull,push", "repository:c:delete", "registry:catalog:*", "oven:x:bake"
        ),
    )
    assert issued.scope == "repository:a/b:pull registry:catalog:*"
    assert issued.expires_in == 300
    good = await server.check(issued.token)
    assert good.identity.scopes == (
        Scope("a/b", frozenset({Action.PULL})),
        Scope("", frozenset({Action.LIST})),
    )
    assert (good.identity.name, good.identity.method) == ("alice", "token")
    assert good.holder.groups == ("team",)


async def test_the_star_is_what_one_may(node: Node) -> None:
    server = node.server(rules=RULES)
    bob = Identity("bob", "local")
    assert (await server.issue(bob, wish("repository:a:*"))).scope == "repository:a:pull,push"


async def test_nothing_is_no_error(node: Node) -> None:
    server = node.server(rules=RULES)
    stranger = Identity("eve", "local")
    assert (await server.issue(stranger, wish("repository:a:pull,push"))).scope == ""
    assert (await server.issue(NOBODY, wish("repository:a:pull"))).scope == ""


async def test_nobody_gets_a_token_where_there_are_no_rules(node: Node) -> None:
    """Without access control everybody who is known may do everything; nobody else may."""
    with pytest.raises(UnauthorizedError):
        await node.server().issue(NOBODY, wish("repository:a:pull"))


async def test_a_limited_credential_makes_limited_tokens(node: Node) -> None:
    limited = msgspec.structs.replace(ALICE, scopes=(Scope("a/**", frozenset({Action.PULL})),))
    issued = await node.server(rules=RULES).issue(
        limited, wish("repository:a/x:pull", "repository:b:pull")
    )
    assert issued.scope == "repository:a/x:pull"


async def test_a_token_is_for_one_service(node: Node) -> None:
    """One for another registry, signed by the very same key, lets nobody in here."""
    server = node.server()
    issued = await server.issue(ALICE, wish("repository:a:pull", service="other.example"))
    with pytest.raises(TokenRefusedError, match="another service"):
        await server.check(issued.token)


async def test_a_token_of_another_registry_is_refused(
    node: Node, nodes: Callable[[], Node]
) -> None:
    """The same index, but an issuer of another name."""
    theirs = nodes().server(msgspec.structs.replace(TERMS, issuer="elsewhere"))
    token = (await theirs.issue(ALICE, wish("repository:a:pull"))).token
    with pytest.raises(TokenRefusedError, match="issuer"):
        await node.server().check(token)


@pytest.mark.parametrize("leeway", [0.0, 60.0, 600.0])
async def test_a_token_lives_for_minutes(node: Node, leeway: float) -> None:
    """On a node whose clock differs by as much as is configured, too."""
    server = node.server(msgspec.structs.replace(TERMS, leeway=leeway))
    token = (await server.issue(ALICE, wish())).token
    node.clock.go(-leeway)
    await server.check(token)
    node.clock.go(leeway + 299 + leeway)
    await server.check(token)
    node.clock.go(2)
    with pytest.raises(TokenRefusedError, match="expired"):
        await server.check(token)


# Refresh tokens ----------------------------------------------------------------------------------


async def test_a_refresh_token_is_given_when_asked_for(node: Node) -> None:
    """To those whose end the index tells of. It comes back as it was, as the specification says."""
    server = node.server()
    assert (await server.issue(ALICE, wish("repository:a:pull"))).refresh_token is None
    other = msgspec.structs.replace(ALICE, method="htpasswd")
    assert (await server.issue(other, wish(offline=True))).refresh_token is None
    token = (await server.issue(ALICE, wish(offline=True))).refresh_token
    assert token is not None
    for _ in range(2):
        identity, issued = await server.refresh(token, wish("repository:a:pull"))
        assert identity == ALICE
        assert issued.scope == "repository:a:pull"
        assert issued.refresh_token == token
    assert await find_refresh_token(node.stores.index, token.encode()) is None


async def test_a_refresh_token_is_bound(node: Node) -> None:
    """To its service, and to its client, where docker and those who read its file are one."""
    server = node.server()
    token = (await server.issue(ALICE, wish(offline=True))).refresh_token
    assert token is not None
    await server.refresh(token, wish(client="buildkit-client"))
    await refuse(server, token, service="other.example")
    with pytest.raises(TokenRefusedError):
        await server.refresh(token, wish(client="somebody"))
    await refuse(server, token + "x")
    await refuse(server, "")
    await refuse(server, "x" * 100_000)


async def test_a_refresh_token_ends(node: Node) -> None:
    """At its time, by revocation, with its holder, and with the holder's password."""
    server = node.server()

    async def fresh() -> str:
        issued = await server.issue(ALICE, wish(offline=True))
        assert issued.refresh_token is not None
        return issued.refresh_token

    token = await fresh()
    await server.revoke(token)
    await server.revoke(token)
    await refuse(server, token)
    token = await fresh()
    node.people.changed = node.clock.seconds() + 1
    await refuse(server, token)
    node.people.changed = 0.0
    node.people.gone = {"alice"}
    await refuse(server, token)
    node.people.gone = set()
    node.clock.go(10 * DAY - 1)
    await server.refresh(token, wish())
    node.clock.go(1)
    await refuse(server, token)
    await fresh()
    left = await node.stores.index.fetch_all("SELECT 1 FROM refresh_tokens", {})
    assert len(left) == 1, "those that have expired go when there is a new one"


async def test_rotation_of_refresh_tokens(node: Node) -> None:
    """The old one is good for some minutes more. Who brings it later still has stolen it, or was
    stolen from: nothing of its line is good from then on.
    """
    server = node.server(msgspec.structs.replace(TERMS, rotate=True))
    first = (await server.issue(ALICE, wish(offline=True))).refresh_token
    assert first is not None
    _, issued = await server.refresh(first, wish())
    second = issued.refresh_token
    assert second not in {None, first}
    assert second is not None
    node.clock.go(GRACE)
    await server.refresh(first, wish())
    await server.refresh(second, wish())
    node.clock.go(1)
    await refuse(server, first)
    await refuse(server, second)


async def test_refresh_tokens_are_in_the_audit_log(node: Node) -> None:
    """When one is given, succeeded, ended by whoever has it, or by its use after it was replaced;
    whose it is, and from where that was done.
    """
    server = node.server(msgspec.structs.replace(TERMS, rotate=True))
    here, there = Actor(address="192.0.2.1", request="r1"), Actor(address="192.0.2.66")
    first = (await server.issue(ALICE, wish(offline=True), by=here)).refresh_token
    other = (await server.issue(ALICE, wish(offline=True), by=here)).refresh_token
    assert first is not None
    assert other is not None
    await server.refresh(first, wish(), by=here)
    await server.revoke(other, by=there)
    await server.revoke(other, by=there)
    node.clock.go(GRACE + 1)
    with pytest.raises(TokenRefusedError):
        await server.refresh(first, wish(), by=there)
    page = await AuditLog(node.stores.index).search(
        {"action": "session"}, since=0, until=2**62, limit=100
    )
    records = [found.record for found in reversed(page.found)]
    assert [(each.action, each.outcome, each.address) for each in records] == [
        ("session.create", "success", "192.0.2.1"),
        ("session.create", "success", "192.0.2.1"),
        ("session.rotate", "success", "192.0.2.1"),
        ("session.revoke", "success", "192.0.2.66"),
        ("session.revoke", "denied", "192.0.2.66"),
    ]
    assert {(each.actor, each.method) for each in records} == {("alice", "local")}
    assert records[0].request_id == "r1"
    told = " ".join(f"{each.detail} {each.reason}" for each in records)
    assert "entr_ref_" not in told
