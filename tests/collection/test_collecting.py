"""What goes and what stays, step by step; nobody comes in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from msgspec.structs import replace

from entrepot.core.audit import NOBODY
from entrepot.core.digest import Digest
from entrepot.core.errors import BlobUnknownError, ManifestUnknownError, UnsupportedError
from entrepot.core.names import Tag
from entrepot.db.collection import measure_queue
from entrepot.db.doomed import list_failed_deletions
from entrepot.services import pull
from entrepot.services.delete import delete_blob
from entrepot.services.push import ManifestRules, PushedManifest, put_manifest
from entrepot.services.removing import LEASE
from entrepot.services.trash import Selection, restore
from entrepot.storage.memory import MemoryStore
from tests.collection.sites import DAY, GRACE, SECOND, START, TRASH, A, B, Site
from tests.wire import images

pytestmark = pytest.mark.anyio

HALF = GRACE // 2


def digests(*made: images.Image) -> set[str]:
    """Of all blobs."""
    return {blob.digest for image in made for blob in image.every_blob()}


# The whole way ----------------------------------------------------------------------------------


async def test_an_image_goes_with_all_that_it_had(engine_site: Site) -> None:
    """When the trash does not keep it any more; what is shared stays, and nothing is left."""
    site = engine_site
    shared = images.layer("shared")
    kept = images.image("kept", layer_count=1)
    gone = images.image("gone", layer_count=2)
    await site.push("a", "kept", kept)
    await site.push("a", "gone", gone)
    await site.push("b", "gone", gone)
    await site.push_blob("a", shared.data)
    await site.untag("a", "gone")
    await site.collect_for(TRASH - SECOND)
    assert await site.manifests() == {kept.digest, gone.digest}
    assert await site.pull("a", gone.digest) == gone.manifest.data
    await site.collect_for(2 * GRACE + HALF)
    with pytest.raises(ManifestUnknownError):
        await site.pull("a", gone.digest)
    for blob in gone.blobs:
        if blob.digest not in digests(kept):
            with pytest.raises(BlobUnknownError):
                await site.fetch("a", blob.digest)
        assert await site.fetch("b", blob.digest) == blob.data
    assert await site.objects() == await site.blobs() == digests(kept, gone)
    await site.untag("b", "gone")
    await site.collect_for(TRASH + GRACE + HALF)
    assert await site.objects() == await site.blobs() == digests(kept)
    assert await site.manifests() == {kept.digest}
    await site.collect_for(GRACE)
    for table in ("manifest_reviews", "link_reviews", "doomed_blobs"):
        assert await site.count(table) == 0, table


async def test_what_is_uploaded_and_never_used_goes(engine_site: Site) -> None:
    site = engine_site
    digest = await site.push_blob("a", b"never used")
    await site.collect_for(GRACE)
    assert await site.fetch("a", digest) == b"never used"
    await site.collect_for(GRACE + HALF)
    assert await site.objects() == await site.blobs() == set()


async def test_a_repository_that_never_had_anything_else_goes(site: Site) -> None:
    await site.push_blob("a", b"never used")
    await site.push("b", "latest", images.image("kept"))
    await site.collect_for(4 * GRACE)
    rows = await site.index.fetch_all("SELECT name FROM repositories", {})
    assert rows == [("b",)]


async def test_a_mount_is_an_upload(site: Site) -> None:
    digest = await site.push_blob("a", b"content")
    await site.collect_for(GRACE - SECOND)
    assert await site.uploads.mount(B, digest, source=A)
    await site.collect_for(GRACE - SECOND)
    assert await site.fetch("b", digest) == b"content"
    await site.collect_for(HALF)
    with pytest.raises(BlobUnknownError):
        await site.fetch("a", digest)


# What keeps a manifest --------------------------------------------------------------------------


async def test_children_of_an_index_stay_with_it(site: Site) -> None:
    made = images.multi_platform("children")
    await site.push("a", "latest", made)
    await site.collect_for(4 * GRACE)
    assert await site.manifests() == {each.digest for each in made.every_manifest()}
    await site.untag("a", "latest")
    await site.collect_for(TRASH + 2 * GRACE)
    assert await site.manifests() == set()
    assert await site.objects() == set()


async def test_referrers_stay_with_their_subject(site: Site) -> None:
    subject = images.image("subject")
    await site.push("a", "latest", subject)
    signature = images.artifact("signature", subject=subject.manifest)
    about_signature = images.artifact("about it", subject=signature.manifest)
    await site.push("a", signature.digest, signature)
    await site.push("a", about_signature.digest, about_signature)
    await site.collect_for(4 * GRACE)
    assert len(await site.manifests()) == 3
    await site.untag("a", "latest")
    await site.collect_for(TRASH + 3 * GRACE)
    assert await site.manifests() == await site.objects() == set()


async def test_what_clients_keep_under_a_tag_of_its_own_goes_with_its_subject(site: Site) -> None:
    """cosign's signatures, and lists of referrers of old clients; but those of what is elsewhere
    stay: somebody may keep signatures in a repository of their own.
    """
    subject, elsewhere = images.image("subject"), images.image("elsewhere")
    signature, other = images.artifact("signature"), images.artifact("other")
    listed = images.artifact("listed", subject=subject.manifest)
    listing = images.index([listed])
    tag = images.fallback_tag(subject.digest)
    await site.push("a", "latest", subject)
    await site.push("a", f"{tag}.sig", signature)
    await site.push("a", tag, listing)
    await site.push("a", f"{images.fallback_tag(elsewhere.digest)}.sig", other)
    await site.collect_for(4 * GRACE)
    assert len(await site.manifests()) == 5
    await site.untag("a", "latest")
    await site.collect_for(2 * TRASH + 4 * GRACE, pieces=20)
    assert await site.manifests() == {other.digest}
    assert await site.objects() == digests(other)


async def test_a_tag_that_left_keeps_for_a_while(site: Site) -> None:
    """As long as it can be put back; and for good if it is."""
    first, second = images.image("first"), images.image("second")
    await site.push("a", "latest", first)
    await site.push("a", "latest", second)
    await site.collect_for(TRASH - SECOND)
    await site.push("a", "again", first)
    await site.collect_for(3 * TRASH)
    assert await site.manifests() == {first.digest, second.digest}


@pytest.mark.parametrize("whole", [True, False], ids=["repository", "image"])
async def test_a_hold_beats_everything(site: Site, whole: bool) -> None:
    made = images.image("held")
    digest = Digest(made.digest)
    await site.push("a", "latest", made)
    await site.untag("a", "latest")
    await site.change(
        "INSERT INTO holds (repository_id, digest, reason, owner, created_at, expires_at) "
        "SELECT repository_id, :digest, 'law', 'somebody', 0, :until FROM manifests",
        digest=None if whole else digest.packed,
        until=START + 10 * TRASH,
    )
    await site.collect_for(8 * TRASH)
    assert await site.pull("a", made.digest) == made.manifest.data
    await site.collect_for(2 * TRASH + 3 * GRACE)
    assert await site.objects() == set()


async def test_the_trash_keeps_what_it_needs(site: Site) -> None:
    """A deleted index that can be restored needs its children and their blobs."""
    made, child = images.image("trashed"), images.image("child")
    for image in (made, child):
        await site.push("a", image.digest, image)
    await site.change(
        "INSERT INTO trash (repository_id, kind, digest, created_at, deleted_at, operation, "
        "expires_at) SELECT repository_id, 'manifest', digest, 0, 0, 'x', :until FROM manifests "
        "WHERE digest = :digest",
        until=START + 10 * GRACE,
        digest=Digest(made.digest).packed,
    )
    for needed in (child.digest, *(blob.digest for blob in made.blobs)):
        await site.change(
            "INSERT INTO trash_references (trash_id, digest) SELECT id, :digest FROM trash",
            digest=Digest(needed).packed,
        )
    await site.change("DELETE FROM manifests WHERE digest = :d", d=Digest(made.digest).packed)
    await site.collect_for(9 * GRACE)
    assert await site.manifests() == {child.digest}
    assert await site.objects() == digests(made, child)
    await site.change("DELETE FROM trash")
    await site.collect_for(4 * GRACE)
    assert await site.objects() == set()


async def test_untagged_manifests_stay_if_that_is_wanted(site: Site) -> None:
    made = images.image("stays")
    site.keeping = replace(site.keeping, untagged=False)
    site.stores = site.stores_on(site.index, site.memory)
    site.collector = site.collect_as("one")
    await site.push("a", made.digest, made)
    await site.collect_for(4 * GRACE)
    assert await site.manifests() == {made.digest}


# What somebody was told -------------------------------------------------------------------------


async def test_what_is_asked_for_again_and_again_stays(site: Site) -> None:
    """For half a grace period from each time on."""
    made = images.image("asked")
    await site.push("a", made.digest, made)
    blob = Digest(made.blobs[0].digest)
    unused = await site.push_blob("a", b"unused")
    for _ in range(20):
        await site.collect_for(HALF - SECOND)
        assert await site.pull("a", made.digest)
        assert await pull.blob_size(site.stores, A, unused) == 6
    await site.collect_for(4 * GRACE)
    assert await site.objects() == set()
    with pytest.raises(BlobUnknownError):
        await site.fetch("a", blob)


# Objects ----------------------------------------------------------------------------------------


class Failing(MemoryStore):
    """A store that can't delete as long as it is told so."""

    error = ""

    async def delete(self, digests: Sequence[Digest]) -> Mapping[Digest, str]:
        if self.error:
            return dict.fromkeys(digests, self.error)
        return await super().delete(digests)


async def test_a_store_that_fails_is_asked_again_until_it_does_not(site: Site) -> None:
    """Later each time; it is seen in the index meanwhile, and the blob can't be uploaded."""
    failing = Failing(now=site.clocks)
    site.memory = failing
    site.stores = site.stores_on(site.index, failing)
    site.uploads._stores = site.stores
    site.collector = site.collect_as("one")
    digest = await site.push_blob("a", b"unused")
    failing.error = "the disk is broken"
    await site.collect_for(3 * GRACE, pieces=100)
    assert await site.blobs() == set()
    assert await site.objects() == {digest}
    (failed,) = await list_failed_deletions(site.index, limit=10)
    assert (failed.digest, failed.size, failed.error) == (digest, 6, "the disk is broken")
    assert 3 <= failed.attempts <= 10
    assert (await measure_queue(site.index, overdue=0)).doomed == 1
    failing.error = ""
    await site.collect_for(2 * GRACE)
    assert await site.objects() == set()
    assert await list_failed_deletions(site.index, limit=10) == []
    assert await site.push_blob("a", b"unused") == digest
    assert await site.fetch("a", digest) == b"unused"


async def test_objects_that_the_index_does_not_know(site: Site) -> None:
    """They are what a process left that died before it wrote a row."""
    await site.push("a", "latest", images.image("kept"))
    kept = await site.objects()
    orphan, young = Digest.of(b"orphan"), Digest.of(b"young")
    await site.memory.put(orphan, b"orphan")
    await site.collect_for(GRACE)
    await site.memory.put(young, b"young")
    await site.collect_for(GRACE // 2, pieces=1)
    assert await site.objects() == kept | {young}
    await site.collect_for(2 * GRACE)
    assert await site.objects() == kept


async def test_objects_of_a_store_that_may_be_somebody_else_s_stay(site: Site) -> None:
    async def never() -> int | None:
        return None

    async def lately() -> int | None:
        return began

    site.find_owned_since = never
    site.collector = site.collect_as("one")
    await site.memory.put(Digest.of(b"orphan"), b"orphan")
    await site.collect_for(4 * GRACE)
    assert len(await site.objects()) == 1
    site.find_owned_since = lately
    site.collector = site.collect_as("one")
    began = site.clocks.wall
    await site.collect_for(GRACE - SECOND)
    assert len(await site.objects()) == 1
    await site.collect_for(GRACE + SECOND)
    assert await site.objects() == set()


async def test_files_of_manifests_that_are_there_stay(site: Site) -> None:
    """`registry:2` kept them beside the blobs, and whoever goes back to it needs them."""
    made = images.image("old")
    await site.push("a", "latest", made)
    await site.memory.put(Digest(made.digest), made.manifest.data)
    await site.collect_for(4 * GRACE)
    assert made.digest in await site.objects()
    await site.untag("a", "latest")
    await site.collect_for(TRASH + 3 * GRACE)
    assert await site.objects() == set()


async def test_a_blob_that_was_unlinked_goes(site: Site) -> None:
    """There is no link to look at: its row is found by the sweep."""
    digest = await site.push_blob("a", b"unused")
    await delete_blob(site.stores, A, digest, by=NOBODY)
    await site.collect_for(3 * GRACE)
    assert await site.objects() == await site.blobs() == set()


async def test_children_that_come_after_their_index_stay_with_it(engine_site: Site) -> None:
    """Where an index need not be complete; also when one comes while the index is in the trash."""
    site = engine_site
    first, second, third = (images.image(f"child {number}") for number in range(3))
    index = images.index([first, second, third])
    await site.push("a", first.digest, first)
    payload, kind = index.manifest.data, index.manifest.media_type
    pushed = PushedManifest(A, Tag("latest"), payload, kind)
    sparse = ManifestRules(platforms=frozenset())
    await put_manifest(site.stores, pushed, rules=sparse)
    await site.push("a", second.digest, second)
    with pytest.raises(UnsupportedError):
        await site.delete("a", second.digest)
    await site.delete("a", index.digest)
    await site.push("a", third.digest, third)
    restored = await restore(site.stores, Selection(repository="a"), by=NOBODY)
    assert (restored.manifests, restored.tags) == (1, 1)
    await site.collect_for(2 * TRASH + 3 * GRACE)
    every = {index.digest, first.digest, second.digest, third.digest}
    assert await site.manifests() == every
    assert await site.count("absent_children") == 0
    await site.untag("a", "latest")
    await site.collect_for(TRASH + 6 * GRACE, pieces=24)
    assert await site.manifests() == await site.blobs() == set()


@pytest.mark.parametrize("deeper", [False, True])
async def test_manifests_that_keep_only_each_other_go_together(site: Site, deeper: bool) -> None:
    """An index that lists its own subject, itself or by another index; what they need goes, too."""
    subject = images.image("subject")
    listed = images.index([subject]) if deeper else subject
    fields = {"subject": subject.manifest.descriptor()}
    own = images.index([listed], fields=fields)
    signature = images.artifact("signature", subject=own.manifest)
    await site.push("a", "latest", own)
    await site.push("a", signature.digest, signature)
    every = {subject.digest, listed.digest, own.digest, signature.digest}
    await site.collect_for(2 * TRASH)
    assert await site.manifests() == every
    await site.untag("a", "latest")
    await site.collect_for(TRASH - SECOND)
    await site.pull("a", subject.digest)
    await site.collect_for(GRACE // 2 - SECOND)
    assert await site.manifests() == every
    await site.collect_for(6 * GRACE, pieces=24)
    assert await site.manifests() == await site.blobs() == set()
    assert await site.count("manifest_reviews") == 0


async def test_a_transaction_is_short_while_the_server_is_busy(site: Site) -> None:
    """A tenth of what it looks at otherwise, and at something at least."""
    for number in range(6):
        image = images.image(f"one of many {number}")
        await site.push("a", image.digest, image)
    site.clocks.go(GRACE + SECOND)
    for batch, busy, looked in ((20, 1.0, 2), (3, 0.5, 1), (2, 0.0, 2)):
        collector = site.collect_as(f"{batch}", batch=batch, busy=busy)
        assert await collector.hold()
        assert len((await collector.look()).manifests) == looked
        await collector.let_go()


# The clock, and others --------------------------------------------------------------------------


async def test_nothing_is_collected_while_something_is_imported(site: Site) -> None:
    await site.push_blob("a", b"unused")
    await site.change(
        "INSERT INTO imports (source, in_place, verify, phase, position, started_at) "
        "VALUES ('x', TRUE, FALSE, 'indexing', '', 0)"
    )
    await site.collect_for(10 * GRACE)
    assert len(await site.objects()) == 1
    await site.change("UPDATE imports SET finished_at = 1")
    await site.collect_for(2 * GRACE)
    assert await site.objects() == set()


@pytest.mark.parametrize("days", [-1, 1])
async def test_a_clock_that_is_set_deletes_nothing_early(site: Site, days: int) -> None:
    """What was pushed before, and what is pushed after."""
    before = await site.push_blob("a", b"before")
    await site.collect_for(GRACE // 4)
    site.clocks.wall += days * DAY
    after = await site.push_blob("a", b"after")
    await site.collect_for(GRACE // 2)
    assert await site.objects() == {before, after}
    await site.collect_for(GRACE // 4 - SECOND)
    assert await site.objects() == {before, after}
    site.clocks.wall -= days * DAY
    await site.collect_for(GRACE // 4)
    assert after in await site.objects()
    await site.collect_for(DAY + 2 * TRASH + 4 * GRACE, pieces=100)
    assert await site.objects() == set()


async def test_a_clock_that_was_ahead_for_long_holds_nothing_up(site: Site) -> None:
    """It was, until that did not matter any more, and is set back then. What was written meanwhile
    is of the future: sweeps and leases, and a deletion whose owner died.
    """
    await site.collect()
    site.clocks.wall += DAY
    await site.collect_for(2 * TRASH, pieces=20)
    assert await site.collector._clock.tell_time() == site.clocks.wall
    assert await site.collector.hold()
    left = Digest.of(b"left")
    await site.memory.put(left, b"left")
    await site.change(
        "INSERT INTO doomed_blobs (digest, size, doomed_at, owner, lease_expires_at) "
        "VALUES (:digest, 4, :now, 'dead', :until)",
        digest=left.packed,
        now=site.clocks.wall,
        until=site.clocks.wall + LEASE,
    )
    site.clocks.wall -= DAY
    after = await site.push_blob("a", b"after")
    site.collector = site.collect_as("other")
    assert await site.collector.hold()
    await site.collect_for(GRACE - SECOND)
    assert await site.objects() == {after}
    await site.collect_for(2 * GRACE, pieces=20)
    assert await site.objects() == set()


async def test_only_one_collects(site: Site) -> None:
    """Another does when the lease of the first ends, at the latest."""
    other = site.collect_as("other")
    assert await site.collector.hold()
    assert not await other.hold()
    site.clocks.go(20 * SECOND)
    assert await site.collector.hold()
    site.clocks.go(20 * SECOND)
    assert not await other.hold()
    site.clocks.go(11 * SECOND)
    assert await other.hold()
    assert not await site.collector.hold()
