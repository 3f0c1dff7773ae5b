"""What is looked at again, from when on, and what reading and uploading do about it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from entrepot.core.audit import NOBODY
from entrepot.core.digest import Digest
from entrepot.core.errors import BlobUnknownError, ManifestUnknownError, UnavailableError
from entrepot.core.keeping import Keeping
from entrepot.core.names import RepositoryName, Tag
from entrepot.db import Transaction
from entrepot.services import delete, pull
from entrepot.services.storing import PAUSES
from entrepot.services.uploads import Uploads
from tests.unit.services.conftest import SECOND, START, Site, part
from tests.wire import images

pytestmark = pytest.mark.anyio

A = RepositoryName("a")
GRACE, TRASH = 100 * SECOND, 500 * SECOND
KEEPING = Keeping(grace=GRACE, trash=TRASH)
DATA = b"content"
DIGEST = Digest.of(DATA)


@pytest.fixture
def site(site: Site) -> Site:
    """With times that are easily told apart."""
    stores = replace(site.stores, keeping=KEEPING)
    return Site(stores, Uploads(stores, key=b"key", pauses=(0,) * 5), site.clock)


async def manifest_reviews(site: Site) -> dict[str, tuple[int, str]]:
    """When each manifest is looked at, from the start on, and why."""
    rows = await site.stores.index.fetch_all(
        "SELECT digest, review_after, event FROM manifest_reviews "
        "JOIN manifests ON manifests.id = manifest_reviews.manifest_id",
        {},
    )
    return {Digest.unpack(digest): (after - START, event) for digest, after, event in rows}


async def link_reviews(site: Site) -> dict[str, tuple[int, str]]:
    """The same of links."""
    rows = await site.stores.index.fetch_all(
        "SELECT digest, review_after, event FROM link_reviews", {}
    )
    return {Digest.unpack(digest): (after - START, event) for digest, after, event in rows}


async def change(site: Site, sql: str, **values: object) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.execute(sql, values)

    await site.stores.index.write(work)


# Writing them -----------------------------------------------------------------------------------


async def test_nothing_is_looked_at_as_long_as_it_has_what_it_came_with(site: Site) -> None:
    await site.push("a", "latest", images.image("one"))
    await site.push("a", "latest", images.image("one"))
    assert await manifest_reviews(site) == {}
    assert await link_reviews(site) == {}


async def test_what_a_tag_leaves(site: Site) -> None:
    """It can be restored for as long as the trash keeps things."""
    first, second = images.image("one"), images.image("two")
    await site.push("a", "latest", first)
    await site.push("a", "latest", second)
    assert await manifest_reviews(site) == {first.digest: (TRASH, "tag.moved")}
    site.clock.now += SECOND
    await delete.delete_reference(site.stores, A, Tag("latest"), by=NOBODY)
    found = await manifest_reviews(site)
    assert found[second.digest] == (TRASH + SECOND, "tag.deleted")


async def test_what_comes_without_a_tag(site: Site) -> None:
    made = images.multi_platform("children")
    for child in made.children:
        await site.push("a", child.digest, child)
    found = await manifest_reviews(site)
    assert set(found.values()) == {(GRACE, "manifest.pushed")}
    site.clock.now += SECOND
    await site.push("a", made.children[0].digest, made.children[0])
    again = await manifest_reviews(site)
    assert again[made.children[0].digest] == (GRACE + SECOND, "manifest.pushed")


async def test_what_a_deleted_manifest_leaves(site: Site) -> None:
    """Its blobs, its children, and what it is the subject of and has a tag of its own."""
    made = images.multi_platform("gone")
    for child in made.children:
        await site.push("a", child.digest, child)
    await site.put("a", "latest", made)
    subject = images.image("subject")
    await site.push("a", "subject", subject)
    referrer = images.artifact("signature", subject=subject.manifest)
    await site.push("a", "signature", referrer)
    await delete.delete_reference(site.stores, A, Digest(made.digest), by=NOBODY)
    await delete.delete_reference(site.stores, A, Digest(subject.digest), by=NOBODY)
    found = await manifest_reviews(site)
    assert {found[child.digest] for child in made.children} == {(TRASH, "index.deleted")}
    assert found[referrer.digest] == (TRASH, "subject.deleted")
    links = await link_reviews(site)
    assert links == {blob.digest: (TRASH, "manifest.deleted") for blob in subject.blobs}


# Reading ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "left, put_off", [(GRACE // 2 - 1, True), (GRACE // 2, False), (-SECOND, True)]
)
async def test_what_somebody_is_told_exists_stays(site: Site, left: int, put_off: bool) -> None:
    """For half the grace period at least; it is written only if less than that is left."""
    made = images.image("told")
    await site.push("a", "latest", made)
    await site.push("a", "latest", images.image("other"))
    blob = Digest(made.blobs[0].digest)
    due = site.clock.now + left
    await change(
        site,
        "INSERT INTO link_reviews (repository_id, digest, review_after, event) "
        "SELECT repository_id, digest, CAST(:due AS BIGINT), 'blob.unused' FROM repository_blobs "
        "WHERE digest = :digest",
        due=due,
        digest=blob.packed,
    )
    await change(site, "UPDATE manifest_reviews SET review_after = :due", due=due)
    assert await pull.blob_size(site.stores, A, blob) == len(made.blobs[0].data)
    await pull.resolve(site.stores, A, Digest(made.digest), accept=None, pulls=0)
    expected = GRACE if put_off else left
    assert (await link_reviews(site))[blob][0] == expected
    assert (await manifest_reviews(site))[made.digest][0] == expected


async def test_what_went_while_it_was_read(site: Site) -> None:
    """Between the question and the putting off."""
    await site.push("a", "latest", images.image("gone"))
    made = images.artifact("gone")
    await site.push("a", made.digest, made)
    site.clock.now += GRACE
    blob = Digest(made.blobs[0].digest)
    await change(
        site,
        "INSERT INTO link_reviews (repository_id, digest, review_after, event) "
        "SELECT repository_id, digest, 0, 'blob.unused' FROM repository_blobs",
    )
    index = site.stores.index

    class Late:
        """An index that somebody changes just before each transaction."""

        fetch_one = staticmethod(index.fetch_one)

        async def write_lazily(self, work: object) -> object:
            await change(
                site, "DELETE FROM manifests WHERE digest = :d", d=Digest(made.digest).packed
            )
            await change(site, "DELETE FROM repository_blobs WHERE digest = :d", d=blob.packed)
            return await index.write_lazily(work)  # type: ignore[arg-type]

    late = replace(site.stores, index=Late())  # type: ignore[arg-type]
    with pytest.raises(BlobUnknownError):
        await pull.blob_size(late, A, blob)
    await site.push("a", made.digest, made)
    site.clock.now += GRACE
    with pytest.raises(ManifestUnknownError):
        await pull.resolve(late, A, Digest(made.digest), accept=None, pulls=0)


# Uploading what is about to go ------------------------------------------------------------------


async def doom(site: Site, *, deleted_at: int | None = None) -> None:
    await change(
        site,
        "INSERT INTO doomed_blobs (digest, size, doomed_at, owner, lease_expires_at, deleted_at) "
        "VALUES (:digest, 7, 0, 'somebody', 0, :deleted_at) ON CONFLICT (digest) DO UPDATE "
        "SET deleted_at = excluded.deleted_at",
        digest=DIGEST.packed,
        deleted_at=deleted_at,
    )


async def test_a_doomed_blob_is_not_written(site: Site) -> None:
    """503 with Retry-After, and no row; what an upload held it still holds. The bytes of a small
    one may have been put before anybody was asked: the owner of the doomed row deletes them.
    """
    await doom(site)
    with pytest.raises(UnavailableError) as caught:
        await site.push_blob("a", DATA)
    assert caught.value.headers == {"Retry-After": "1"}
    with pytest.raises(BlobUnknownError):
        await pull.blob_size(site.stores, A, DIGEST)
    await site.stores.blobs.delete([DIGEST])
    state = await site.uploads.append(site.uploads.begin(A), part(DATA[:3]))
    with pytest.raises(UnavailableError):
        await site.uploads.finish(state, part(DATA[3:]), DIGEST)
    assert await site.stores.blobs.size(DIGEST) is None
    await doom(site, deleted_at=5)
    await site.uploads.finish(state, part(DATA[3:]), DIGEST)
    assert await pull.blob_size(site.stores, A, DIGEST) == 7


@pytest.mark.parametrize("large, at_once", [(False, False), (False, True), (True, False)])
async def test_a_blob_that_is_doomed_and_deleted_while_it_is_put(
    site: Site, large: bool, at_once: bool
) -> None:
    """The bytes are put again if they are there, else the client is asked to."""
    stores = site.stores
    put = stores.blobs.put

    class Unlucky:
        """A store whose first object is deleted by somebody who had doomed it."""

        def __init__(self) -> None:
            self.puts = 0

        def __getattr__(self, name: str) -> object:
            return getattr(stores.blobs, name)

        async def put_new(self, digest: Digest, data: bytes) -> bool:
            if at_once:
                await self.put(digest, data)
            return at_once

        async def put(self, digest: Digest, data: bytes) -> None:
            await put(digest, data)
            self.puts += 1
            if self.puts == 1:
                await doom(site)
                await stores.blobs.delete([digest])
                await doom(site, deleted_at=9)

    blobs = Unlucky()
    if large:
        stores.blobs.put = blobs.put  # type: ignore[method-assign]
    unlucky = Uploads(replace(stores, blobs=blobs), key=b"key", pauses=(0,) * 5)  # type: ignore[arg-type]
    state = unlucky.begin(A)
    if large:
        state = await unlucky.append(state, part(DATA))
        with pytest.raises(UnavailableError):
            await unlucky.finish(state, part(), DIGEST)
        with pytest.raises(BlobUnknownError):
            await pull.blob_size(stores, A, DIGEST)
        return
    await unlucky.finish(state, part(DATA), DIGEST)
    assert blobs.puts == 2
    assert await pull.blob_size(stores, A, DIGEST) == await stores.blobs.size(DIGEST) == 7


async def test_a_blob_whose_row_goes_before_it_is_linked(site: Site) -> None:
    """Its bytes were received and kept: they are put."""
    await site.push_blob("b", DATA)
    stores = site.stores

    class Going:
        """A store during whose look the blob goes."""

        def __getattr__(self, name: str) -> object:
            return getattr(stores.blobs, name)

        async def size(self, digest: Digest) -> int | None:
            found = await stores.blobs.size(digest)
            await change(site, "DELETE FROM repository_blobs")
            await change(site, "DELETE FROM blobs")
            await doom(site)
            await stores.blobs.delete([digest])
            await doom(site, deleted_at=9)
            return found

    uploads = Uploads(replace(stores, blobs=Going()), key=b"key", pauses=(0,) * 5)  # type: ignore[arg-type]
    state = await uploads.append(uploads.begin(A), part(DATA))
    await uploads.finish(state, part(), DIGEST)
    assert await pull.blob_size(stores, A, DIGEST) == await stores.blobs.size(DIGEST) == 7
    assert await stores.uploads.held(state.upload) is None


async def test_waiting_for_the_end_of_a_deletion(site: Site) -> None:
    """It is over in a moment, and then the upload goes on."""
    await doom(site)
    uploads = Uploads(site.stores, key=b"key", pauses=PAUSES)
    pushing = asyncio.ensure_future(uploads.finish(uploads.begin(A), part(DATA), DIGEST))
    await asyncio.sleep(0.01)
    assert not pushing.done()
    await doom(site, deleted_at=5)
    await pushing
    assert await pull.blob_size(site.stores, A, DIGEST) == 7
