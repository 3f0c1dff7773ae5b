"""Whole passes of collection: they do at a stretch what goes on all the time, by the same rules."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from entrepot.core.collected import COLLECT
from entrepot.core.digest import Digest
from entrepot.core.work import FORMS
from entrepot.services.collecting import CollectionBusyError
from entrepot.services.collection_status import find_status
from entrepot.services.passing import Passes
from entrepot.services.runs import Runs
from entrepot.services.timekeeping import Clock
from entrepot.services.work import Runner
from tests.collection.sites import GRACE, SECOND, TRASH, Site
from tests.wire import images

pytestmark = pytest.mark.anyio

HALF = GRACE // 2
WRITTEN = ("runs", "jobs", "settings", "audit_events")
"""Tables in which work itself is recorded."""


def passes_of(site: Site) -> Passes:
    return Passes(
        site.stores,
        collect=lambda: site.collect_as("pass"),
        read_time=Clock(site.index, site.keeping, site.clocks.read).read_time,
        find_owned_since=site.find_owned_since,
    )


async def run(site: Site, **settings: bool) -> dict[str, Any]:
    """Make a pass as a server does, and return its report."""
    runs = Runs(site.index, now=site.clocks, trail=site.stores.trail, kinds=FORMS)
    kinds = {COLLECT: passes_of(site).run}
    runner = Runner(site.index, now=site.clocks, trail=site.stores.trail, kinds=kinds, node="test")
    asked = await runs.request(COLLECT, settings, by="test")
    await runner.turn()
    await asyncio.gather(*runner._running.values())
    done = await runs.find(asked.id)
    assert done.outcome == "success", done.report
    return done.report


async def content(site: Site) -> dict[str, Sequence[object]]:
    """All that there is, but what work records of itself."""
    tables = await site.index.fetch_all(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'", {}
    )
    names = [name for (name,) in tables if name not in WRITTEN]
    rows = {name: await site.index.fetch_all(f"SELECT * FROM {name}", {}) for name in names}
    return {**rows, "objects": sorted(await site.objects())}


async def test_a_pass_does_all_that_is_due_and_nothing_sooner(site: Site) -> None:
    """Also with objects that the index does not know; and what it says is what it did."""
    kept, gone = images.image("kept", layer_count=1), images.image("gone", layer_count=2)
    await site.push("a", "kept", kept)
    await site.push("a", "gone", gone)
    await site.push("b", "gone", gone)
    await site.memory.put(Digest.of(b"stranger"), b"stranger")
    for name in ("a", "b"):
        await site.untag(name, "gone")
    report = await run(site)
    assert (report["manifests"], report["blobs"], report["links"]) == (0, 0, 0)
    assert {each["event"] for each in report["waiting"]} == {"tag.deleted"}
    site.clocks.go(TRASH + SECOND)
    report = await run(site)
    assert (report["manifests"], report["blobs"]) == (0, 1), "the trash has let it go just now"
    assert report["deleted"] == [Digest.of(b"stranger")]
    assert report["freed"] == len(b"stranger")
    site.clocks.go(HALF + SECOND)
    report = await run(site)
    assert report["manifests"] == 2
    assert set(report["removed"]) == {f"a@{gone.digest}", f"b@{gone.digest}"}
    assert await site.fetch("a", gone.blobs[0].digest) == gone.blobs[0].data
    site.clocks.go(HALF + SECOND)
    report = await run(site)
    only_gone = {b.digest for b in gone.blobs} - {b.digest for b in kept.blobs}
    assert set(report["deleted"]) == only_gone
    assert report["freed"] == sum(len(b.data) for b in gone.blobs if b.digest in only_gone)
    assert report["marked"] == len(kept.blobs)
    assert await site.objects() == {b.digest for b in kept.blobs}
    site.clocks.go(GRACE)
    report = await run(site)
    assert report["waiting"] == []
    status = await find_status(site.stores)
    assert status.reclaimed.blobs == len(only_gone) + 1
    assert status.last is not None
    assert status.queue.waiting == status.queue.doomed == 0


async def test_a_dry_run_changes_nothing_and_foresees_the_pass(site: Site) -> None:
    """What two repositories give up goes; what one of them keeps stays."""
    both, one = images.image("both", layer_count=2), images.image("one", layer_count=1)
    for name in ("a", "b"):
        await site.push(name, "both", both)
        await site.push(name, "one", one)
        await site.untag(name, "both")
    await site.untag("a", "one")
    await site.push_blob("c", b"unused")
    await site.memory.put(Digest.of(b"stranger"), b"stranger")
    sums = ("manifests", "links", "blobs", "freed", "queued", "marked")
    repositories = 0
    for late in (SECOND, TRASH, HALF + SECOND, GRACE, GRACE, GRACE):
        site.clocks.go(late)
        before = await content(site)
        foreseen = await run(site, dry_run=True, delete_untagged=True)
        assert await content(site) == before
        done = await run(site, delete_untagged=True)
        assert {name: foreseen[name] for name in sums} == {name: done[name] for name in sums}
        for name in ("removed", "deleted", "asked"):
            assert sorted(foreseen[name]) == sorted(done[name])
        repositories += done["repositories"]
        assert foreseen["repositories"] == 0, "it is not empty before the pass"
    assert await site.objects() == {blob.digest for blob in one.blobs}
    assert repositories == 1, "c has nothing in it any more"


async def test_a_dry_run_foresees_what_keeps_only_each_other(site: Site) -> None:
    """An index that lists its own subject, as soon as both are due."""
    subject = images.image("subject")
    fields = {"subject": subject.manifest.descriptor()}
    own = images.index([subject], fields=fields)
    await site.push("a", "latest", own)
    await site.untag("a", "latest")
    gone: list[str] = []
    for late in (SECOND, TRASH, HALF + SECOND, GRACE, GRACE, GRACE):
        site.clocks.go(late)
        before = await content(site)
        foreseen = await run(site, dry_run=True)
        assert await content(site) == before
        done = await run(site)
        assert sorted(foreseen["removed"]) == sorted(done["removed"])
        gone += done["removed"]
    assert len(gone) == 2
    assert await site.objects() == set()


async def test_what_is_asked_to_go_late_in_a_pass_stays_as_long(site: Site) -> None:
    """Whoever was told of a manifest before its review was written relies on half a grace period,
    however long the pass had taken until then.
    """
    for number in range(501):
        lonely = images.index([], fields={"annotations": {"number": str(number)}})
        await site.put("a", lonely.digest, lonely)
    await site.change("DELETE FROM manifest_reviews")

    def slow() -> int:
        site.clocks.go(SECOND)
        return site.clocks.wall

    site.stores = dataclasses.replace(site.stores, now=slow)
    assert (await run(site, delete_untagged=True))["queued"] == 501
    rows = await site.index.fetch_all(
        "SELECT review_after, COUNT(*) FROM manifest_reviews GROUP BY 1 ORDER BY 1", {}
    )
    (early, many), (late, one) = rows
    assert (many, one) == (500, 1)
    assert late > early


@pytest.mark.parametrize("untagged", [True, False], ids=["usual", "kept otherwise"])
async def test_deleting_the_untagged_takes_nothing_that_something_needs(
    site: Site, untagged: bool
) -> None:
    """As `registry:2` left it: no review waits. Children of an index stay, and what is about an
    image that is there; asking again and again puts nothing off.
    """
    site.keeping = replace(site.keeping, untagged=untagged)
    site.stores = site.stores_on(site.index, site.memory)
    index, subject = images.multi_platform("several"), images.image("subject")
    signature = images.artifact("signature", subject=subject.manifest)
    old = images.image("old")
    await site.push("a", "latest", index)
    await site.push("a", "signed", subject)
    await site.push("a", signature.digest, signature)
    await site.push("a", old.digest, old)
    site.clocks.go(2 * GRACE)
    await site.change("DELETE FROM manifest_reviews")
    report = await run(site)
    assert (report["queued"], report["manifests"]) == (0, 0)
    report = await run(site, delete_untagged=True)
    assert report["asked"] == [f"a@{old.digest}"]
    assert old.digest in await site.manifests(), "somebody may have been told that it is there"
    for _ in range(4):
        site.clocks.go(HALF // 3)
        await run(site, delete_untagged=True)
    children = {each.digest for each in index.every_manifest()}
    assert await site.manifests() == children | {subject.digest, signature.digest}
    site.clocks.go(GRACE)
    await run(site, delete_untagged=True)
    assert await site.objects() == {
        blob.digest for made in (index, subject, signature) for blob in made.every_blob()
    }


async def test_an_untagged_index_goes_with_its_children(site: Site) -> None:
    index = images.multi_platform("several")
    await site.push("a", index.digest, index)
    await site.change("DELETE FROM manifest_reviews")
    report = await run(site, delete_untagged=True)
    assert report["asked"] == [f"a@{index.digest}"]
    await site.collect_for(4 * GRACE, pieces=20)
    assert await site.manifests() == await site.objects() == set()


async def test_what_is_asked_for_by_its_digest_stays_although_it_was_asked_to_go(
    site: Site,
) -> None:
    """A cluster that runs an image by its digest goes on doing so."""
    old = images.image("deployed")
    await site.push("a", old.digest, old)
    await site.change("DELETE FROM manifest_reviews")
    await run(site, delete_untagged=True)
    for _ in range(12):
        site.clocks.go(HALF // 2)
        assert await site.pull("a", old.digest) == old.manifest.data
        await run(site, delete_untagged=True)


async def test_nothing_goes_while_something_is_taken_over(site: Site) -> None:
    made = images.image("gone")
    await site.push("a", "latest", made)
    await site.untag("a", "latest")
    site.clocks.go(3 * TRASH)
    await site.change(
        "INSERT INTO imports (source, in_place, verify, phase, position, started_at) "
        "VALUES ('old', :yes, :no, 'listing', '', 1)",
        yes=True,
        no=False,
    )
    for settings in ({}, {"dry_run": True}, {"delete_untagged": True}):
        before = await content(site)
        report = await run(site, **settings)
        assert "is being taken over" in report["ended"]
        assert await content(site) == before
    assert await site.pull("a", made.digest) == made.manifest.data


async def test_one_collects_at_a_time(site: Site) -> None:
    """A pass does nothing while another has the lease."""
    assert await site.collector.hold()
    with pytest.raises(CollectionBusyError):
        async for _ in site.collect_as("pass").everything():
            pass


async def test_the_collector_rests_for_a_pass_and_goes_on_after_it(site: Site) -> None:
    site.keeping = replace(site.keeping, grace=SECOND, trash=0)
    site.stores = site.stores_on(site.index, site.memory)
    site.collector = site.collect_as("one")
    going = asyncio.create_task(site.collector.run())
    try:
        async with asyncio.timeout(30):
            await _held(site)
            await run(site)
            await _held(site)
    finally:
        going.cancel()
        await asyncio.wait({going})
    assert (await find_status(site.stores)).holder == ""


async def _held(site: Site) -> None:
    """Wait until the collector works."""
    while (await find_status(site.stores)).holder != "one":  # noqa: ASYNC110 - in the index
        await asyncio.sleep(0.01)
