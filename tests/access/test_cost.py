"""What a pull costs where rights are decided: no more frames, statements or calls than without."""

from __future__ import annotations

import pytest

from tests.access.worlds import Open, made
from tests.unit.api.test_cost import MOST_FRAMES, STATEMENTS, STORE_CALLS, Costs
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
