"""The trash: what comes back from it, and what is left to be collected when something leaves it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from entrepot.core.audit import NOBODY, Actor
from entrepot.core.digest import Digest
from entrepot.core.errors import BlobUnknownError
from entrepot.core.names import RepositoryName, Tag, parse_reference
from entrepot.core.undo import UndoConflictError, UndoError, UndoUnknownError
from entrepot.db import Transaction
from entrepot.db.address import IndexAddress
from entrepot.db.doomed import Lease, doom_blobs
from entrepot.db.opening import migrate_index, open_index
from entrepot.db.trash import measure_trash
from entrepot.services.audit import Trail
from entrepot.services.delete import delete_blob, delete_reference
from entrepot.services.pull import blob_size
from entrepot.services.stores import Stores
from entrepot.services.trash import (
    Restored,
    Selection,
    empty_trash,
    expire_trash,
    list_trash,
    restore,
)
from entrepot.services.uploads import Uploads
from entrepot.storage.memory import MemoryStore
from tests.unit.services.conftest import Clock, Site
from tests.wire import images

pytestmark = pytest.mark.anyio

A = RepositoryName("a")
CONTENT = {
    "manifests": "SELECT digest, media_type, artifact_type, subject, size, created_at, created_by, "
    "annotations, payload FROM manifests ORDER BY digest",
    "blobs": "SELECT manifests.digest, manifest_blobs.digest FROM manifest_blobs "
    "JOIN manifests ON manifests.id = manifest_id ORDER BY 1, 2",
    "children": "SELECT parents.digest, children.digest FROM manifest_children "
    "JOIN manifests AS parents ON parents.id = parent_id "
    "JOIN manifests AS children ON children.id = child_id WHERE NOT EXISTS (SELECT 1 FROM tags "
    "WHERE tags.manifest_id = parent_id AND length(tags.name) = 71) ORDER BY 1, 2",
    "tags": "SELECT tags.name, manifests.digest, tags.created_at FROM tags "
    "JOIN manifests ON manifests.id = manifest_id ORDER BY tags.repository_id, 1",
    "links": "SELECT repository_id, digest FROM repository_blobs ORDER BY 1, 2",
}
Content = dict[str, list[tuple[object, ...]]]


async def content(site: Site) -> Content:
    """All that clients could see, but when a tag was last set. A list of referrers keeps no entry,
    so whether the index knows its entries makes no difference.
    """
    return {name: await site.stores.index.fetch_all(sql, {}) for name, sql in CONTENT.items()}


async def in_trash(site: Site) -> int:
    return len(await list_trash(site.stores.index, Selection(), limit=1000))


async def delete(site: Site, reference: str) -> str:
    done = await delete_reference(site.stores, A, parse_reference(reference), by=NOBODY)
    return done.operation


async def clear_reviews(site: Site) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.execute("DELETE FROM manifest_reviews", {})
        await transaction.execute("DELETE FROM link_reviews", {})

    await site.stores.index.write(work)


async def reviewed(site: Site) -> dict[str, int]:
    """What is looked at again, and when."""
    rows = await site.stores.index.fetch_all(
        "SELECT digest, review_after FROM link_reviews UNION ALL SELECT manifests.digest, "
        "review_after FROM manifest_reviews JOIN manifests ON manifests.id = manifest_id",
        {},
    )
    return {Digest.unpack(digest): after for digest, after in rows}


async def push_signed(site: Site) -> tuple[str, images.Image]:
    """An index with two tags, a signature of each kind, and one that is signed itself."""
    made = images.multi_platform("signed")
    digest = await site.push("a", "v1", made)
    await site.put("a", "v2", made)
    signature = images.artifact("signature", subject=made.manifest)
    await site.push("a", signature.digest, signature)
    counter = images.artifact("counter", subject=signature.manifest)
    await site.push("a", counter.digest, counter)
    fallback = images.fallback_tag(digest)
    await site.push("a", f"{fallback}.sig", images.artifact("cosign"))
    await site.put("a", fallback, images.index([signature]))
    return digest, made


# Bringing back ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["operation", "repository", "namespace", "manifest", "tag"])
async def test_an_image_comes_back_with_all_that_went_with_it(site: Site, how: str) -> None:
    digest, _ = await push_signed(site)
    before = await content(site)
    operation = await delete(site, digest)
    assert await content(site) != before
    rows = await list_trash(site.stores.index, Selection(operation=operation), limit=100)
    wanted = {
        "operation": Selection(operation=operation),
        "repository": Selection(repository="a"),
        "namespace": Selection(),
        "manifest": Selection([row.id for row in rows if row.digest == digest and not row.tag]),
        "tag": Selection([row.id for row in rows if row.tag == "v1"]),
    }
    done = await restore(site.stores, wanted[how], by=Actor("alice"))
    assert done == Restored(5, 4)
    assert await content(site) == before
    assert await in_trash(site) == 0
    with pytest.raises(UndoUnknownError):
        await restore(site.stores, Selection(operation=operation), by=NOBODY)


async def test_children_that_were_deleted_after_their_index_come_back_with_it(site: Site) -> None:
    made = images.multi_platform("both")
    index = await site.push("a", "v1", made)
    before = await content(site)
    operation = await delete(site, index)
    for child in made.children:
        await delete(site, child.digest)
    await restore(site.stores, Selection(operation=operation), by=NOBODY)
    assert await content(site) == before
    assert await in_trash(site) == 0


async def test_a_tag_comes_back_alone_or_with_its_manifest(site: Site) -> None:
    digest = await site.push("a", "v1", images.image("one"))
    before = await content(site)
    first = await delete(site, "v1")
    assert await restore(site.stores, Selection(operation=first), by=NOBODY) == Restored(0, 1)
    assert await content(site) == before
    first = await delete(site, "v1")
    await delete(site, digest)
    assert await restore(site.stores, Selection(operation=first), by=NOBODY) == Restored(1, 1)
    assert await content(site) == before


async def test_a_tag_that_was_set_again_is_moved_back_only_by_force(site: Site) -> None:
    old = await site.push("a", "v1", images.image("old"))
    operation = await delete(site, old)
    new = await site.push("a", "v1", images.image("new"))
    before = await content(site)
    with pytest.raises(UndoConflictError, match="a:v1"):
        await restore(site.stores, Selection(operation=operation), by=NOBODY)
    assert await content(site) == before
    (manifest,) = [
        row
        for row in await list_trash(site.stores.index, Selection(repository="a"), limit=9)
        if row.kind == "manifest"
    ]
    done = await restore(site.stores, Selection([manifest.id]), by=NOBODY)
    assert done == Restored(1, 0, ("a:v1",)), "the image alone"
    await restore(site.stores, Selection(operation=operation), by=NOBODY, force=True)
    tags = {name: Digest.unpack(packed) for name, packed, _ in (await content(site))["tags"]}
    assert tags == {"v1": old}
    assert (await reviewed(site))[new] == site.clock.now + site.stores.keeping.deleted


async def test_of_a_tag_that_was_deleted_twice_the_last_deletion_counts(site: Site) -> None:
    old = await site.push("a", "v1", images.image("old"))
    await delete(site, old)
    new = await site.push("a", "v1", images.image("new"))
    await delete(site, new)
    done = await restore(site.stores, Selection(repository="a"), by=NOBODY)
    assert done == Restored(2, 1)
    tags = {name: Digest.unpack(packed) for name, packed, _ in (await content(site))["tags"]}
    assert tags == {"v1": new}
    assert await in_trash(site) == 1


async def test_what_was_pushed_again_is_left_as_it_is(site: Site) -> None:
    made = images.image("again")
    digest = await site.push("a", "v1", made)
    operation = await delete(site, digest)
    await site.push("a", "v2", made)
    assert await restore(site.stores, Selection(operation=operation), by=NOBODY) == Restored(0, 1)
    tags = [row[0] for row in (await content(site))["tags"]]
    assert tags == ["v1", "v2"]


async def test_what_needs_something_that_is_gone_for_good_stays_in_the_trash(site: Site) -> None:
    made = images.multi_platform("gone")
    index = await site.push("a", "v1", made)
    operation = await delete(site, index)
    child = await delete(site, made.children[0].digest)
    await empty_trash(site.stores, Selection(operation=child), by=NOBODY)
    before = await content(site), await in_trash(site)
    with pytest.raises(UndoError, match=made.children[0].digest):
        await restore(site.stores, Selection(operation=operation), by=NOBODY)
    assert (await content(site), await in_trash(site)) == before


async def test_a_lot_comes_back_and_goes_in_many_transactions(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("entrepot.services.trash.BATCH", 3)
    for number in range(5):
        await site.push("a", f"v{number}", images.image(f"many {number}"))
        await site.put("a", f"w{number}", images.image(f"many {number}"))
    before = await content(site)
    for number in range(5):
        await delete(site, images.image(f"many {number}").digest)
    assert await in_trash(site) == 15
    assert await restore(site.stores, Selection(repository="a"), by=NOBODY) == Restored(5, 10)
    assert await content(site) == before
    for number in range(5):
        await delete(site, images.image(f"many {number}").digest)
    assert (await empty_trash(site.stores, Selection(repository="a"), by=NOBODY)).gone == 15
    assert await in_trash(site) == 0


# For good ---------------------------------------------------------------------------------------


async def test_what_expires_is_looked_at_after_half_the_grace_period(site: Site) -> None:
    made = images.multi_platform("expired")
    index = await site.push("a", "v1", made)
    other = await site.push("a", "other", images.image("other"))
    await delete(site, "other")
    await delete(site, index)
    await delete(site, made.children[0].digest)
    deleted_at = site.clock.now
    await clear_reviews(site)
    end = deleted_at + site.stores.keeping.trash
    assert await expire_trash(site.stores, now=end - 1) == 0
    assert await expire_trash(site.stores, now=end, limit=2) == 2
    assert await expire_trash(site.stores, now=end) == 2
    assert await expire_trash(site.stores, now=end) == 0
    assert await in_trash(site) == 0
    gone = made.children[0]
    expected = {other, made.children[1].digest, *(blob.digest for blob in gone.blobs)}
    looked_at = await reviewed(site)
    assert looked_at == dict.fromkeys(expected, end + site.stores.keeping.told)


async def test_what_is_emptied_at_once_is_looked_at_when_the_grace_period_is_over(
    site: Site,
) -> None:
    """Since the deletion, and never sooner than half of it from now: whoever was told meanwhile
    that something exists relies on it.
    """
    keeping = site.stores.keeping
    for waited, after in ((0, keeping.grace), (keeping.grace, keeping.grace + keeping.told)):
        digest = await site.push("a", f"v{waited}", images.image(f"emptied {waited}"))
        operation = await delete(site, digest)
        await clear_reviews(site)
        deleted_at = site.clock.now
        site.clock.now += waited
        await empty_trash(site.stores, Selection(operation=operation), by=NOBODY)
        assert set((await reviewed(site)).values()) == {deleted_at + after}


async def test_how_much_is_in_the_trash(site: Site) -> None:
    """Blobs that a manifest that is there needs as well, in any repository, are not its bytes."""
    assert await measure_trash(site.stores.index) == (0, 0, 0)
    made = images.image("measured")
    for name in ("a", "b"):
        await site.push(name, "v1", made)
    digest = await site.put("a", "v2", made)
    await delete(site, digest)
    assert await measure_trash(site.stores.index) == (2, 1, 0)
    await delete_reference(site.stores, RepositoryName("b"), digest, by=NOBODY)
    size = sum(len(blob.data) for blob in {blob.digest: blob for blob in made.blobs}.values())
    assert await measure_trash(site.stores.index) == (3, 2, size)


# The identity -----------------------------------------------------------------------------------

NAMES = ["v1", "v2", "v3"]
MADE = [
    images.image("i0", layer_count=1),
    images.image("i1", layer_count=1),
    images.multi_platform("i2"),
]
SIGNATURES = [images.artifact(f"s{n}", subject=made.manifest) for n, made in enumerate(MADE)]
SIGNATURES += [images.artifact("s3", subject=SIGNATURES[0].manifest)]
PUSHED = [*MADE, *SIGNATURES]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, len(PUSHED) - 1), st.sampled_from(NAMES)),
        st.tuples(st.just("push"), st.integers(0, len(PUSHED) - 1), st.just("")),
        st.tuples(st.just("sign"), st.integers(0, len(MADE) - 1), st.sampled_from([".sig", ""])),
        st.tuples(st.just("delete"), st.integers(0, len(PUSHED) - 1), st.just("")),
        st.tuples(st.just("delete"), st.just(-1), st.sampled_from(NAMES)),
    ),
    min_size=1,
    max_size=12,
)
Step = tuple[str, int, str]


async def carry_out(site: Site, step: Step) -> str | None:
    """Do something; return the operation of a deletion that was possible."""
    what, number, name = step
    if what == "push":
        await site.push("a", name or PUSHED[number].digest, PUSHED[number])
    elif what == "sign":
        tag = images.fallback_tag(MADE[number].digest) + name
        made = images.artifact("cosign") if name else images.index([SIGNATURES[number]])
        await site.push("a", tag, made)
    else:
        reference = Tag(name) if name else Digest(PUSHED[number].digest)
        try:
            done = await delete_reference(site.stores, A, reference, by=NOBODY)
        except Exception:  # noqa: BLE001 - it isn't there, or an index lists it
            return None
        return done.operation
    return None


def site_in(directory: Path) -> Site:
    address = IndexAddress(f"sqlite://{directory / 'index.sqlite3'}")
    migrate_index(address)
    index, store, clock = open_index(address, durable=False), MemoryStore(), Clock()
    stores = Stores(index, store, store, clock, Trail(index, now=clock))
    return Site(stores, Uploads(stores, key=b"key"), clock)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
@example([("sign", 0, ""), ("delete", 3, "")])
@example([("push", 2, "v1"), ("sign", 2, ""), ("sign", 2, ".sig"), ("delete", 2, "")])
def test_what_is_deleted_and_restored_is_as_it_was(steps: list[Step]) -> None:
    """Whatever was pushed, signed and deleted before: undoing a deletion right away leaves no
    trace.
    """

    async def run(directory: Path) -> None:
        site = site_in(directory)
        try:
            for step in steps:
                site.clock.now += 1_000_000
                before, thrown = await content(site), await in_trash(site)
                operation = await carry_out(site, step)
                if operation is not None:
                    await restore(site.stores, Selection(operation=operation), by=NOBODY)
                    assert await content(site) == before
                    assert await in_trash(site) == thrown
                    await carry_out(site, step)
        finally:
            await site.stores.index.close()

    with TemporaryDirectory() as directory:
        asyncio.run(run(Path(directory)))


async def test_blobs_that_were_deleted_as_well_come_back_with_their_manifest(site: Site) -> None:
    """Deleting a blob that only the trash needs takes it from the repository; its bytes stay, and
    restoring the manifest links it again.
    """
    made = images.image("blobs, too")
    for blob in made.blobs:
        await site.push_blob("a", blob.data)
    await site.put("a", "v1", made)
    before = await content(site)
    operation = await delete(site, made.digest)
    digests = [Digest(blob.digest) for blob in made.blobs]
    for digest in digests:
        await delete_blob(site.stores, A, digest, by=NOBODY)
        with pytest.raises(BlobUnknownError):
            await blob_size(site.stores, A, digest)

    async def doom(transaction: Transaction) -> object:
        return await doom_blobs(transaction, digests, Lease("test", 0, 1))

    assert await site.stores.index.write(doom) == [], "the trash needs them"
    await restore(site.stores, Selection(operation=operation), by=NOBODY)
    assert await content(site) == before
