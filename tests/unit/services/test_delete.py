"""What a deletion takes with it, what it leaves, and what the trash keeps of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from entrepot.core.audit import NOBODY
from entrepot.core.digest import Digest
from entrepot.core.errors import ManifestUnknownError, UnsupportedError
from entrepot.core.keeping import Keeping
from entrepot.core.names import RepositoryName, Tag
from entrepot.db import Transaction
from entrepot.db.collection import find_manifest_facts
from entrepot.db.manifests import find_manifest, find_manifest_id, list_referrers
from entrepot.db.repositories import find_repository
from entrepot.services.delete import delete_reference
from tests.unit.services.conftest import SECOND, Site
from tests.wire import images

pytestmark = pytest.mark.anyio

A = RepositoryName("a")
HOUR = 3600 * SECOND
SIGNED = images.image("signed")
SIGNATURE = images.artifact("signature", subject=SIGNED.manifest)
COUNTERSIGNED = images.artifact("countersigned", subject=SIGNATURE.manifest)


async def trash(site: Site) -> list[tuple[str, str, str]]:
    """Kind, tag and digest of all that is in the trash, in the order in which it came there."""
    rows = await site.stores.index.fetch_all("SELECT kind, tag, digest FROM trash ORDER BY id", {})
    return [(kind, tag, Digest.unpack(digest)) for kind, tag, digest in rows]


async def reviewed(site: Site) -> dict[str, int]:
    """The manifests and links that are looked at again, and in how many microseconds."""
    rows = await site.stores.index.fetch_all(
        "SELECT digest, review_after FROM link_reviews UNION ALL SELECT manifests.digest, "
        "review_after FROM manifest_reviews JOIN manifests ON manifests.id = manifest_id",
        {},
    )
    return {Digest.unpack(digest): after - site.clock.now for digest, after in rows}


async def forget_reviews(transaction: Transaction) -> None:
    """What waits since it was pushed is of no interest here."""
    await transaction.execute("DELETE FROM manifest_reviews", {})


async def exists(site: Site, digest: str) -> bool:
    return await find_manifest(site.stores.index, A, Digest(digest)) is not None


async def repository(site: Site) -> int:
    found = await find_repository(site.stores.index, A)
    assert found is not None
    return found


async def test_what_refers_to_an_image_goes_with_it(site: Site) -> None:
    """By its subject, also over more than one step, and by the tags that cosign makes."""
    digest = await site.push("a", "v1", SIGNED)
    signature = await site.push("a", SIGNATURE.digest, SIGNATURE)
    counter = await site.push("a", COUNTERSIGNED.digest, COUNTERSIGNED)
    listed = images.index([SIGNATURE])
    fallback = images.fallback_tag(digest)
    kept = await site.push("a", "other", images.image("other"))
    companions = [images.artifact(f"cosign {suffix}") for suffix in ("sig", "att", "sbom")]
    for suffix, made in zip(("sig", "att", "sbom"), companions, strict=True):
        await site.push("a", f"{fallback}.{suffix}", made)
    await site.put("a", fallback, listed)

    deleted = await delete_reference(site.stores, A, digest, by=NOBODY)

    gone = {digest, signature, counter, listed.digest, *(each.digest for each in companions)}
    assert deleted.manifests == len(gone)
    assert [await exists(site, each) for each in gone] == [False] * len(gone)
    assert await exists(site, kept)
    assert await list_referrers(site.stores.index, A, digest) == []
    tags = {"v1", fallback, *(f"{fallback}.{suffix}" for suffix in ("sig", "att", "sbom"))}
    assert {(kind, tag) for kind, tag, _ in await trash(site) if kind == "tag"} == {
        ("tag", tag) for tag in tags
    }
    assert {each for kind, _, each in await trash(site) if kind == "manifest"} == gone
    rows = await site.stores.index.fetch_all("SELECT DISTINCT operation FROM trash", {})
    assert rows == [(deleted.operation,)]


async def test_what_somebody_else_needs_stays(site: Site) -> None:
    """A referrer with a tag of its own, or in an index that stays, and an SBOM of two images."""
    digest = await site.push("a", "v1", SIGNED)
    tagged = await site.push("a", "mine", SIGNATURE)
    listed = images.artifact("listed", subject=SIGNED.manifest)
    index = await site.push("a", "index", images.index([listed]))
    other = await site.push("a", "v2", images.image("other"))
    shared = images.artifact("shared")
    for subject in (digest, other):
        await site.push("a", f"{images.fallback_tag(subject)}.sbom", shared)
    await delete_reference(site.stores, A, digest, by=NOBODY)
    for stays in (tagged, listed.digest, index, other, shared.digest):
        assert await exists(site, stays)
    assert ("tag", f"{images.fallback_tag(digest)}.sbom", shared.digest) in await trash(site)
    await delete_reference(site.stores, A, other, by=NOBODY)
    assert not await exists(site, shared.digest)


async def test_the_trash_needs_children_and_the_manifests_of_its_tags(site: Site) -> None:
    made = images.multi_platform("needed")
    index = await site.push("a", "v1", made)
    child = Digest(made.children[0].digest)
    until = site.clock.now + site.stores.keeping.trash

    async def needed_until(digest: Digest) -> int:
        here = await repository(site)
        manifest = await find_manifest_id(site.stores.index, here, digest)
        assert manifest is not None
        facts = await find_manifest_facts(site.stores.index, manifest)
        assert facts is not None
        return facts.trashed_until

    assert await needed_until(index) == 0
    await delete_reference(site.stores, A, Tag("v1"), by=NOBODY)
    assert await needed_until(index) == until
    assert (await reviewed(site))[index] == site.stores.keeping.trash
    assert await needed_until(child) == 0
    await delete_reference(site.stores, A, index, by=NOBODY)
    assert await needed_until(child) == until


async def test_an_index_keeps_its_children(site: Site) -> None:
    """Whether they have tags or not; and who would delete one learns which index."""
    made = images.multi_platform("kept")
    index = await site.push("a", "v1", made)
    child = Digest(made.children[0].digest)
    with pytest.raises(UnsupportedError, match=index):
        await delete_reference(site.stores, A, child, by=NOBODY)
    assert await trash(site) == []


async def test_without_a_trash_what_was_needed_is_looked_at_after_the_grace_period(
    site: Site,
) -> None:
    stores = replace(site.stores, keeping=Keeping(grace=HOUR, trash=0))
    made = images.multi_platform("direct")
    index = await site.push("a", "v1", made)
    await site.put("a", "v2", made)
    await site.stores.index.write(forget_reviews)
    await delete_reference(stores, A, Tag("v2"), by=NOBODY)
    assert await reviewed(site) == {index: HOUR}
    await delete_reference(stores, A, index, by=NOBODY)
    assert await trash(site) == []
    assert await reviewed(site) == {child.digest: HOUR for child in made.children}
    child = made.children[0]
    await delete_reference(stores, A, Digest(child.digest), by=NOBODY)
    looked_at = await reviewed(site)
    assert {looked_at[blob.digest] for blob in child.blobs} == {HOUR}


async def test_what_is_not_there_can_not_be_deleted(site: Site) -> None:
    digest = await site.push("a", "v1", SIGNED)
    for name, reference in ((A, Tag("no")), (A, Digest.of(b"no")), (RepositoryName("b"), digest)):
        with pytest.raises(ManifestUnknownError):
            await delete_reference(site.stores, name, reference, by=NOBODY)
