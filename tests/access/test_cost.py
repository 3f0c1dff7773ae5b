"""What a pull costs where rights are decided: no more frames, statements or calls than without."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from entrepot.db import Database
from entrepot.storage import BlobStore
from tests.access.worlds import Counting, Open, made
from tests.unit.api.test_cost import MOST_FRAMES, STATEMENTS, STORE_CALLS, Costs, Counted
from tests.wire.images import image

IMAGE = image("access-cost")


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("reference", ["v1", IMAGE.digest], ids=["tag", "digest"])
async def test_an_authorised_manifest(estate: Open, method: str, reference: str) -> None:
    """Once it is known who asks and what they may: the index is asked for the manifest alone."""
    async with estate("alice") as registry:
        await registry.namespaces.create("team", by="test")
        await registry.give(made("team", "group:devs", "reader"))
        assert (await registry.push("team/app", IMAGE, tag="v1")).status == 201
        path = f"/v2/team/app/manifests/{reference}"
        assert (await registry.ask("alice", "HEAD", path)).status == 200
        assert (await registry.push("team/other", IMAGE, tag="v1")).status == 201
        registry.access._fresh_until = 2**63  # as within the two seconds after a look
        costs = Costs(registry.application)
        answer = await registry.ask("alice", method, path)
        assert answer.status == 200
        assert len(costs.statements) == STATEMENTS, costs.statements
        assert len(costs.frames[0]) <= MOST_FRAMES, costs.frames
        assert len(costs.store_calls) == STORE_CALLS


@pytest.mark.anyio
async def test_what_is_hidden_costs_as_much_as_nothing(estate: Open) -> None:
    """Also where the index is asked: for a mount from wherever the blob is, and by lists."""
    async with estate("alice") as registry:
        for name in ("mine", "dark"):
            await registry.namespaces.create(name, by="test")
        await registry.give(made("mine", "user:alice", "developer"))
        assert (await registry.push("mine/app", image("access-mine"), tag="v1")).status == 201
        requests = [
            ("POST", "/v2/mine/app/blobs/uploads/", f"mount={IMAGE.blobs[0].digest}"),
            ("POST", "/v2/mine/app/blobs/uploads/", f"mount={IMAGE.blobs[0].digest}&from=dark/app"),
            ("GET", "/v2/_catalog", ""),
            ("GET", "/v2/_catalog", "n=1"),
            ("GET", "/api/v1/repositories", ""),
            ("GET", "/v2/dark/app/tags/list", ""),
            ("GET", f"/v2/dark/app/referrers/{IMAGE.digest}", ""),
            ("GET", f"/v2/mine/app/referrers/{IMAGE.digest}", ""),
        ]

        async def costs() -> list[tuple[int, int, int]]:
            """For each request its status, and what was asked of the index and the store."""
            context, found = registry.application._context, []
            for method, path, query in requests:
                registry.stores.limits.changed()  # else quotas are read again after two seconds
                asked, used = Counting(registry.stores.index), list[str]()
                stores = replace(
                    registry.stores,
                    index=cast("Database", asked),
                    blobs=cast("BlobStore", Counted(registry.stores.blobs, used)),
                )
                registry.application._context = replace(context, stores=stores)
                answer = await registry.ask("alice", method, path, query=query)
                found.append((answer.status, asked.asked, len(used)))
            registry.application._context = context
            return found

        before = await costs()
        assert (await registry.push("dark/app", IMAGE, tag="v1")).status == 201
        assert await costs() == before
        assert [status for status, *_ in before] == [202, 202, 200, 200, 200, 404, 404, 200]
        assert all(asked for status, asked, _ in before if status == 200)


@pytest.mark.anyio
async def test_a_refusal_asks_the_index_for_nothing(estate: Open) -> None:
    """So it takes as long for what is there as for what is not."""
    async with estate("alice") as registry:
        assert (await registry.push("team/app", IMAGE, tag="v1")).status == 201
        path = "/v2/team/app/manifests/v1"
        assert (await registry.ask("alice", "GET", path)).status == 404
        registry.access._fresh_until = 2**63
        costs = Costs(registry.application)
        for name in ("team/app", "team/nope", "nope"):
            for end in ("manifests/v1", f"blobs/{IMAGE.blobs[0].digest}", "tags/list"):
                assert (await registry.ask("alice", "GET", f"/v2/{name}/{end}")).status == 404
        assert costs.store_calls == []
        assert costs.statements == []
