"""Pulls like one a moment ago: a token that is remembered, and what was decided about it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from entrepot.identity import Authenticator
from entrepot.services.grants import Grants
from tests.access.worlds import PASSWORD, SECOND, Estate, Open, made
from tests.unit.api.conftest import Answer
from tests.unit.api.test_cost import MOST_FRAMES, STATEMENTS, STORE_CALLS, Costs
from tests.unit.identity.credentials import basic
from tests.unit.server.sites import Site as SiteOnPort
from tests.unit.server.sites import get, serving
from tests.wire.images import image

IMAGE = image("access-remembered")
TOKENS = {"REGISTRY_AUTH_TOKENS_ENABLED": "true"}
PATH = "/v2/team/app/manifests/v1"


class Puller:
    """Alice, with a token for `team/app`, where she is a reader; `grant` is what gives her that."""

    def __init__(self, registry: Estate, token: str, grant: int) -> None:
        self.registry = registry
        self.grant = grant
        self.token = token

    async def pull(self, path: str = PATH, method: str = "GET", proxied: bytes = b"") -> Answer:
        headers = [(b"authorization", f"Bearer {self.token}".encode())]
        if proxied:
            headers.append((b"x-forwarded-for", proxied))
        return await self.registry.site.ask(method, path, headers=tuple(headers))

    async def recorded(self, **wanted: str) -> list[Any]:
        """The events of Alice, the newest first."""
        await self.registry.stores.trail.flush()
        page = await self.registry.application._context.accounts.audit.search(
            {"actor": "alice", **wanted}, since=0, until=2**62, limit=99
        )
        return [found.record for found in page.found]


@asynccontextmanager
async def pulling(estate: Open, text: str = "", **variables: str) -> AsyncIterator[Puller]:
    """A registry, from which Alice has pulled once."""
    async with estate("alice", text=text, variables=TOKENS | variables) as registry:
        await registry.namespaces.create("team", by="test")
        (grant,) = await registry.give(made("team", "user:alice", "reader"))
        assert (await registry.push("team/app", IMAGE, tag="v1")).status == 201
        given = await registry.site.ask(
            "GET",
            "/auth/token",
            query=b"scope=repository:team/app:pull",
            headers=((b"authorization", basic("alice", PASSWORD).encode()),),
        )
        alice = Puller(registry, json.loads(given.body)["token"], grant)
        assert (await alice.pull(proxied=b"192.0.2.1")).status == 200
        yield alice


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_it_costs_what_an_open_one_costs(estate: Open, method: str) -> None:
    """The index is asked for the manifest alone; once more about Alice, after rights were changed,
    of which this process learns at a moment of its own.
    """
    async with pulling(estate) as alice:
        alice.registry.access._fresh_until = 2**63  # as within the two seconds after a look
        for left in (2, 1, 0):
            assert (await alice.registry.push("team/other", IMAGE, tag="v1")).status == 201
            costs = Costs(alice.registry.application)
            assert (await alice.pull(method=method)).status == 200
            if left and len(costs.statements) > STATEMENTS:
                continue
            assert len(costs.statements) == STATEMENTS, costs.statements
            assert len(costs.frames[0]) <= MOST_FRAMES, costs.frames
            assert len(costs.store_calls) == STORE_CALLS
            break


@pytest.mark.anyio
async def test_what_was_taken_away_is_refused_and_noted(estate: Open) -> None:
    """Nothing that is remembered makes it late, nor keeps the refusal out of the audit log."""
    async with pulling(estate) as alice:
        assert (await alice.pull()).status == 200
        await alice.registry.grants.revoke([alice.grant], by="test")
        for _ in range(2):
            assert (await alice.pull()).status == 404
        denied = await alice.recorded(outcome="denied")
        assert [(found.action, found.method) for found in denied] == [
            ("manifest.pull", "token")
        ] * 2
        await alice.registry.give(made("team", "user:alice", "reader"))
        assert (await alice.pull()).status == 200


@pytest.mark.anyio
async def test_a_token_is_good_for_what_it_is_for(estate: Open) -> None:
    """What its holder may pull besides is another question, also after the first one."""
    async with pulling(estate) as alice:
        assert (await alice.registry.push("team/other", IMAGE, tag="v1")).status == 201
        assert (await alice.pull()).status == 200
        assert (await alice.pull("/v2/team/other/manifests/v1")).status == 401
        assert (await alice.pull(method="DELETE")).status == 403
        assert (await alice.pull(f"/v2/team/app/blobs/{IMAGE.blobs[0].digest}")).status == 200


@asynccontextmanager
async def connected(
    alice: Puller,
) -> AsyncIterator[tuple[SiteOnPort, Callable[[], Awaitable[int]]]]:
    """A server of HTTP/1.1, and a pull of Alice's on one connection, which tells the status."""
    async with serving(application=alice.registry.application) as site:
        reader, writer = await site.open()

        async def pull() -> int:
            writer.write(get(PATH, f"Authorization: Bearer {alice.token}"))
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
            await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
            return int(head.split()[1])

        yield site, pull


@pytest.mark.anyio
async def test_the_same_bytes_again_need_no_token_on_their_connection(estate: Open) -> None:
    """Which is not looked at any more; on another connection it is."""
    async with pulling(estate) as alice, connected(alice) as (site, pull):
        access, application = alice.registry.access, alice.registry.application
        assert [await pull() for _ in range(3)] == [200] * 3
        access._fresh_until = 2**63  # as within the two seconds after a look
        context = application._context
        assert await pull() == 200
        application._context = replace(context, authenticator=cast("Authenticator", None))
        assert await pull() == 200
        request = get(PATH, f"Authorization: Bearer {alice.token}")
        assert (await site.say(request)).startswith(b"HTTP/1.1 500 ")
        (exp,) = [json.loads(base64.urlsafe_b64decode(alice.token.split(".")[1] + "=="))["exp"]]
        seen, known = [], access._now
        for moment in (exp * SECOND, (exp + 60) * SECOND - 1, (exp + 60) * SECOND):
            access._now = lambda moment=moment: moment  # type: ignore[misc]
            seen.append(await pull())
        assert seen == [200, 200, 500], "a token ends, a minute late at most, as clocks differ"
        access._now = known
        application._context = context
        assert await pull() == 200


@pytest.mark.anyio
async def test_the_same_bytes_again_are_refused_when_rights_have_changed(estate: Open) -> None:
    """At once, whoever changed them wherever."""
    async with pulling(estate) as alice, connected(alice) as (_, pull):
        registry, grants = alice.registry, [alice.grant]
        elsewhere = Grants(registry.stores.index, now=registry.stores.now, changed=lambda: None)
        for changing in (registry.grants, elsewhere, elsewhere):
            assert [await pull() for _ in range(4)] == [200] * 4
            await changing.revoke(grants, by="test")
            assert [await pull() for _ in range(2)] == [404] * 2
            grants = await registry.give(made("team", "user:alice", "reader"))


@pytest.mark.anyio
async def test_each_pull_is_recorded_where_pulls_are(estate: Open) -> None:
    """With who it was, from where, and why it was allowed."""
    text = "audit: {pulls: true}\nhttp: {trustedproxies: [127.0.0.1]}\n"
    async with pulling(estate, text) as alice:
        assert (await alice.pull(proxied=b"192.0.2.2")).status == 200
        found = await alice.recorded(action="manifest.pull")
        assert [record.address for record in found] == ["192.0.2.2", "192.0.2.1"]
        for record in found:
            assert (record.method, record.tag, record.grant_id) == ("token", "v1", alice.grant)
            assert record.reason.startswith(f"grant {alice.grant} gives user alice the role reader")


@pytest.mark.anyio
async def test_requests_are_limited_all_the_same(estate: Open) -> None:
    """Each pull counts: of more than may come at once and in a second, one is refused."""
    limits = {"REGISTRY_AUTH_LIMITS_REQUESTS": "1", "REGISTRY_AUTH_LIMITS_BURST": "20"}
    async with pulling(estate, **limits) as alice:
        assert any([(await alice.pull()).status == 429 for _ in range(500)])
