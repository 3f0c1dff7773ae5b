"""A blob whose object is being deleted is not taken over as if it were there."""

from __future__ import annotations

import asyncio

import pytest

from entrepot import app
from entrepot.core.digest import Digest
from tests.takeover.conftest import FREED, Old
from tests.wire.images import image

pytestmark = pytest.mark.anyio

MADE = image("doomed")
NEVER = 2**62


def doom(old: Old, digest: str, *, deleted_at: str) -> None:
    """Have the collector, who was interrupted, delete an object, or have deleted it."""
    packed = Digest(digest).packed.hex()
    old.index(
        "INSERT INTO doomed_blobs (digest, size, doomed_at, owner, lease_expires_at, deleted_at) "
        f"VALUES (x'{packed}', 1, 1, 'somebody', {NEVER}, {deleted_at}) "
        "ON CONFLICT (digest) DO UPDATE SET deleted_at = excluded.deleted_at"
    )


async def test_a_takeover_waits_for_deletions(old: Old) -> None:
    """Requests are answered 503 meanwhile, and the index gets no row; once the object is gone it
    is missing, and nothing else is.
    """
    old.volume.push("app", MADE, "latest")
    other = image("whole")
    old.volume.push("other", other, "latest")
    layer = MADE.blobs[-1].digest
    await asyncio.to_thread(app.prepare, old.config)
    doom(old, layer, deleted_at="NULL")
    async with old.held() as site:
        for path in (f"/v2/app/blobs/{layer}", "/v2/app/manifests/latest"):
            assert (await site.get(path)).status == 503
        doom(old, layer, deleted_at=str(NEVER))
        assert (await site.get(f"/v2/app/blobs/{layer}")).status == 503, "it was deleted just now"
        doom(old, layer, deleted_at="1")
        old.volume.blob_path(layer).unlink()
        assert (await site.get(f"/v2/app/blobs/{layer}")).status == 404
        doom(old, layer, deleted_at="NULL")
        packed = Digest(layer).packed.hex()
        assert old.index(f"SELECT 1 FROM blobs WHERE digest = x'{packed}'") == []
    async with old.held() as site:
        old.index(FREED)
        async with asyncio.timeout(30):
            while not old.index("SELECT 1 FROM imports WHERE lease_owner IS NOT NULL"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert old.index("SELECT COUNT(*) FROM manifests") == [(0,)], "it waits"
        doom(old, layer, deleted_at="1")
        await old.finished()
        assert (await site.get("/v2/other/manifests/latest")).body == other.manifest.data
        assert (await site.get("/v2/app/manifests/latest")).status == 404
    assert set(await old.findings()) == {f"app@{MADE.digest}", "app:latest"}
