"""Collectors and clients that come in between each other's steps: cases that need a plan, where
tests/collection/test_machine.py leaves it to chance.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from entrepot.core.audit import NOBODY
from entrepot.core.digest import Digest
from entrepot.core.errors import BlobUnknownError, ManifestUnknownError
from entrepot.services import pull
from entrepot.services.protection import place_hold, protect_tags, release_hold
from entrepot.services.trash import expire_trash
from tests.collection.sites import GRACE, SECOND, TRASH, A, Site
from tests.collection.turnstiles import StoppingIndex, StoppingStore, Turnstile
from tests.wire import images

pytestmark = pytest.mark.anyio

HALF = GRACE // 2


class Stopping:
    """Collectors of a site that stop before each step."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.gate = Turnstile(lambda: site.clocks.ran)
        site.memory = self.store = StoppingStore(self.gate, now=site.clocks)
        site.stores = site.stores_on(site.index, self.store)
        site.uploads._stores = site.stores
        site.collector = site.collect_as("site")
        self.stores = site.stores_on(StoppingIndex(site.index, self.gate), self.store)

    async def begin(self, owner: str) -> asyncio.Task[Any]:
        return await self.gate.begin(self.site.collect_as(owner, stores=self.stores).look())

    async def advance_to(self, task: asyncio.Task[Any], step: str) -> bool:
        """Let a task go on until it stops before a step; return whether it did, and has not
        ended.
        """
        while not task.done() and self.gate.waits(task)[0] != step:
            await self.gate.advance(task)
        return not task.done()

    async def doomed(self) -> list[tuple[str, int]]:
        """Objects that are to be deleted, and until when somebody may."""
        rows = await self.site.index.fetch_all(
            "SELECT digest, lease_expires_at FROM doomed_blobs WHERE deleted_at IS NULL", {}
        )
        return [(Digest.unpack(row[0]), row[1]) for row in rows]


@pytest.fixture
def stopping(site: Site) -> Stopping:
    return Stopping(site)


async def test_a_collector_that_was_held_up_deletes_only_what_is_surely_its_own(
    stopping: Stopping,
) -> None:
    """However long its transactions took: when a deletion begins, its lease lasts for another
    minute at least, after which nothing of the deletion is under way.
    """
    site, began = stopping.site, 0
    for number in range(8):
        made = images.image(f"image {number}")
        await site.push("a", made.digest, made)
        await site.push_blob("a", f"unused {number}".encode())
    await site.collect_for(GRACE + SECOND, pieces=2)
    for held_up in (20, 50, 70, 100, 130):
        site.clocks.go(HALF)
        task = await stopping.begin(f"held up by {held_up}")
        while not task.done():
            step, _ = stopping.gate.waits(task)
            if step == "write":
                site.clocks.go(held_up * SECOND)
            if step == "delete":
                began += 1
                for _, until in await stopping.doomed():
                    assert until >= site.clocks.wall + 60 * SECOND
            await stopping.gate.advance(task)
    assert began > 0


async def test_a_deletion_that_failed_is_not_followed_by_another_at_once(
    stopping: Stopping,
) -> None:
    """Something of it may be under way still, and would delete what is put after the second."""
    site = stopping.site
    digest = await site.push_blob("a", b"unused")
    stopping.store.error = "no answer"
    while not await stopping.doomed():
        await site.collect_for(HALF)
    stopping.store.error = ""
    failed_at = site.clocks.wall
    while stopping.store.every():
        assert site.clocks.wall < failed_at + 10 * 60 * SECOND
        site.clocks.go(SECOND)
        await site.collector.look()
    assert site.clocks.wall >= failed_at + 60 * SECOND
    assert await site.push_blob("a", b"unused") == digest


async def test_what_left_the_trash_is_kept_for_who_was_told_of_it(site: Site) -> None:
    """No look waited at a link that was only kept by the trash: it is new."""
    made = images.image("trashed", layer_count=1)
    await site.push("a", made.digest, made)
    await site.delete("a", made.digest)
    blob = Digest(made.blobs[0].digest)
    await site.change("DELETE FROM link_reviews")
    site.clocks.go(TRASH)
    assert await pull.blob_size(site.stores, A, blob)
    assert await expire_trash(site.stores, now=site.clocks.wall) == 1
    while await site.collector.look():
        pass
    site.clocks.go(HALF - SECOND)
    while await site.collector.look():
        pass
    assert await pull.blob_size(site.stores, A, blob)
    await site.collect_for(2 * GRACE)
    with pytest.raises(BlobUnknownError):
        await pull.blob_size(site.stores, A, blob)


async def test_what_lost_its_last_user_during_a_hold_goes_after_it(site: Site) -> None:
    """It was pushed long before, and never had a tag."""
    child = images.image("child")
    parent = images.index([child])
    await site.push("a", "latest", parent)
    await site.collect_for(4 * TRASH, pieces=4)
    hold = await place_hold(
        site.stores, A, Digest(child.digest), reason="law", owner="somebody", by=NOBODY
    )
    await site.delete("a", parent.digest)
    await site.collect_for(4 * TRASH)
    assert await site.pull("a", child.digest) == child.manifest.data
    await release_hold(site.stores, hold.id, by=NOBODY)
    await site.collect_for(TRASH + 4 * GRACE)
    with pytest.raises(ManifestUnknownError):
        await site.pull("a", child.digest)
    assert await site.objects() == set()


async def _hold(site: Site, signature: str) -> None:
    await place_hold(site.stores, A, Digest(signature), reason="law", owner="somebody", by=NOBODY)


async def _protect(site: Site, _: str) -> None:
    await protect_tags(
        site.stores, "/", repositories="**", tags="sha256-*", exception=False, by=NOBODY
    )


@pytest.mark.parametrize("keep", [_hold, _protect])
async def test_tags_that_may_not_go_stay_after_their_subject(
    site: Site, keep: Callable[[Site, str], Any]
) -> None:
    subject, signature = images.image("subject"), images.artifact("signature")
    await site.push("a", "latest", subject)
    tag = f"{images.fallback_tag(subject.digest)}.sig"
    await site.push("a", tag, signature)
    await keep(site, signature.digest)
    await site.untag("a", "latest")
    await site.collect_for(TRASH + 4 * GRACE)
    assert await site.manifests() == {signature.digest}
    assert await site.pull("a", tag) == signature.manifest.data
