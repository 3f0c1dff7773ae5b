"""Use cases without HTTP: rules for manifests, uploads, deletion, lists and upkeep."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from entrepot.core.audit import NOBODY, Actor
from entrepot.core.digest import Digest
from entrepot.core.errors import (
    BlobUnknownError,
    BlobUploadInvalidError,
    BlobUploadUnknownError,
    DigestInvalidError,
    ManifestBlobUnknownError,
    ManifestInvalidError,
    ManifestUnknownError,
    NameUnknownError,
    RangeInvalidError,
    SizeInvalidError,
    UnsupportedError,
)
from entrepot.core.names import RepositoryName, Tag
from entrepot.core.ranges import ByteRange
from entrepot.db.address import IndexAddress
from entrepot.db.blobs import list_unsynced
from entrepot.db.opening import open_index
from entrepot.services import delete, discovery, maintenance, pull
from entrepot.services.audit import Trail
from entrepot.services.push import ManifestRules
from entrepot.services.stores import Stores
from entrepot.services.uploads import BEGIN_WITHIN, Part
from entrepot.storage import StorageError
from entrepot.storage.filesystem import FilesystemStore
from tests.unit.services.conftest import SECOND, Site, part, stream
from tests.wire import images

pytestmark = pytest.mark.anyio

A, B = RepositoryName("a"), RepositoryName("b")
DATA = b"content"
LAYER: images.Fields = images.Content(images.DOCKER_FOREIGN_LAYER, DATA).descriptor()


def with_urls(*urls: str) -> images.Image:
    """An image with one layer that lies elsewhere."""
    made = images.image("urls", layer_count=0)
    fields: images.Fields = {"layers": [{**LAYER, "urls": list(urls)}]}
    return images.Image(images.manifest(made.blobs[0], [], fields=fields), made.blobs)


# Manifests --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "allow, deny, urls, accepted",
    [
        ([], [], ["http://anywhere"], True),
        (["^https://good/"], [], ["https://good/x"], True),
        (["^https://good/"], [], ["https://good/x", "https://bad/x"], False),
        (["one", "two"], [], ["http://two"], True),
        ([], ["bad"], ["https://good"], True),
        ([], ["bad"], ["https://good/bad"], False),
        (["good"], ["bad"], ["https://good/bad"], False),
        (["good"], [], [], True),
    ],
)
async def test_addresses_of_foreign_layers(
    site: Site, allow: list[str], deny: list[str], urls: list[str], accepted: bool
) -> None:
    made = with_urls(*urls)
    await site.push_blob("a", made.blobs[0].data)
    rules = ManifestRules(tuple(map(re.compile, allow)), tuple(map(re.compile, deny)))
    if accepted:
        assert await site.put("a", "latest", made, rules=rules) == made.digest
    else:
        with pytest.raises(ManifestInvalidError, match="not allowed"):
            await site.put("a", "latest", made, rules=rules)


AMD64, ARM64 = ("linux", "amd64"), ("linux", "arm64")


@pytest.mark.parametrize(
    "platforms, present, accepted",
    [
        (None, 2, True),
        (None, 1, False),
        (frozenset(), 0, True),
        (frozenset({AMD64}), 1, True),
        (frozenset({ARM64}), 1, False),
        (frozenset({AMD64, ARM64}), 1, False),
        (frozenset({("windows", "amd64")}), 0, True),
    ],
)
async def test_children_that_must_exist(
    site: Site, platforms: frozenset[tuple[str, str]] | None, present: int, accepted: bool
) -> None:
    """`validation.manifests.indexes.platforms`: all, none, or a list; the first is linux/amd64."""
    made = images.multi_platform("children")
    for child in made.children[:present]:
        await site.push("a", child.digest, child)
    rules = ManifestRules(platforms=platforms)
    if accepted:
        await site.put("a", "latest", made, rules=rules)
        found = await pull.resolve(site.stores, A, Tag("latest"), accept=None, pulls=1)
        assert found.payload == made.manifest.data
    else:
        with pytest.raises(ManifestBlobUnknownError):
            await site.put("a", "latest", made, rules=rules)
        with pytest.raises(ManifestUnknownError):
            await pull.resolve(site.stores, A, Tag("latest"), accept=None, pulls=1)


async def test_everything_that_is_missing_is_named_once(site: Site) -> None:
    made = images.image("missing", layer_count=3)
    await site.push_blob("a", made.blobs[1].data)
    with pytest.raises(ManifestBlobUnknownError) as caught:
        await site.put("a", "latest", made)
    assert set(caught.value.digests) == {made.blobs[n].digest for n in (0, 2, 3)}
    assert await discovery.list_repositories(site.stores, last="", limit=10) == ([], False)


async def test_a_manifest_under_another_digest(site: Site) -> None:
    made = images.image("digest")
    with pytest.raises(DigestInvalidError):
        await site.put("a", images.digest_of(b"other"), made)


async def test_blobs_are_durable_before_their_manifest_is_committed(
    site: Site, index_address: IndexAddress, tmp_path: Path
) -> None:
    """The order seen from the store and from the index: sync, then commit."""
    seen: list[str] = []
    index = open_index(index_address, committed=lambda _: seen.append("commit"))
    with ThreadPoolExecutor(2) as threads:
        store = FilesystemStore(
            tmp_path / "root",
            threads=threads,
            sync_files=lambda paths: seen.append(f"sync {len(list(paths))}"),
        )
        stores = Stores(index, store, store, site.clock, Trail(index, now=site.clock))
        own = Site(stores, type(site.uploads)(stores, key=b"key"), site.clock)
        made = images.bulky_image("order")
        for blob in made.blobs:
            await own.push_blob("a", blob.data)
        assert "sync 2" not in seen
        now = site.clock.now + 1
        assert len(await list_unsynced(index, before=now, soon=0, limit=10)) == 3
        seen.clear()
        await own.put("a", "latest", made)
        assert seen == ["sync 2", "commit"], "the index keeps the config"
        assert await list_unsynced(index, before=0, soon=now, limit=10) == [made.blobs[0].digest]
        seen.clear()
        await own.put("a", "again", made)
        assert seen == ["commit"], "what is durable is not synced again"
    await index.close()


# Uploads ----------------------------------------------------------------------------------------


async def test_the_state_goes_from_request_to_request(site: Site) -> None:
    state = site.uploads.begin(A)
    for piece in (b"one", b"two"):
        state = await site.uploads.append(state, part(piece))
        signed = site.uploads.sign(state)
        found = await site.uploads.find(A, state.upload, signed=signed)
        assert found == (state, state.offset)
    assert state.known_digest(size=6) == Digest.of(b"onetwo")
    without, told = await site.uploads.find(A, state.upload, signed=None)
    assert (without.offset, without.digest, told) == (6, "", None)
    await site.uploads.finish(without, part(), Digest.of(b"onetwo"))
    assert await pull.blob_size(site.stores, A, Digest.of(b"onetwo")) == 6


async def test_an_address_that_was_tampered_with(site: Site) -> None:
    state = site.uploads.begin(A)
    with pytest.raises(BlobUploadInvalidError):
        await site.uploads.find(A, state.upload, signed="x" * 100)
    with pytest.raises(BlobUploadInvalidError):
        await site.uploads.find(B, state.upload, signed=site.uploads.sign(state))


async def test_an_upload_must_begin_within_a_day(site: Site) -> None:
    """One that holds bytes has no such limit: it is purged by its age."""
    idle, begun = site.uploads.begin(A), site.uploads.begin(A)
    begun = await site.uploads.append(begun, part(DATA))
    site.clock.now += BEGIN_WITHIN + SECOND
    with pytest.raises(BlobUploadUnknownError):
        await site.uploads.find(A, idle.upload, signed=site.uploads.sign(idle))
    found, _ = await site.uploads.find(A, begun.upload, signed=site.uploads.sign(begun))
    assert found.offset == len(DATA)


@pytest.mark.parametrize("range_", [ByteRange(1, 8), ByteRange(100, 107)])
async def test_a_chunk_in_the_wrong_place(site: Site, range_: ByteRange) -> None:
    wrong = Part(body=stream(DATA), position=range_, length=len(DATA))
    with pytest.raises(RangeInvalidError) as caught:
        await site.uploads.append(site.uploads.begin(A), wrong)
    assert caught.value.headers["Range"] == "0-0"


@pytest.mark.parametrize("claimed", [3, 6, 8, 100])
async def test_a_chunk_of_another_length_than_its_range(site: Site, claimed: int) -> None:
    """Announced or found out: nothing of it is kept."""
    state = site.uploads.begin(A)
    for length in (len(DATA), None):
        wrong = Part(body=stream(DATA), position=ByteRange(0, claimed), length=length)
        with pytest.raises(SizeInvalidError):
            await site.uploads.append(state, wrong)
        assert not await site.stores.uploads.held(state.upload)
    state = await site.uploads.append(state, part(DATA))
    assert state.known_digest(size=len(DATA)) == Digest.of(DATA)


@pytest.mark.parametrize("source, found", [(A, True), (None, True), (RepositoryName("c"), False)])
async def test_mounting(site: Site, source: RepositoryName | None, found: bool) -> None:
    digest = await site.push_blob("a", DATA)
    assert await site.uploads.mount(B, digest, source=source) is found
    if found:
        assert await pull.blob_size(site.stores, B, digest) == len(DATA)
    else:
        with pytest.raises(BlobUnknownError):
            await pull.blob_size(site.stores, B, digest)


# Reading what was lost --------------------------------------------------------------------------


@pytest.mark.parametrize("left", [None, b"cont"])
async def test_a_blob_that_the_store_lost_is_no_missing_blob(
    site: Site, left: bytes | None
) -> None:
    """The index says that it is there: an error to be looked at, and never other bytes."""
    digest = await site.push_blob("a", DATA)
    await site.stores.blobs.delete([digest])
    if left is not None:
        await site.stores.blobs.put(digest, left)
    with pytest.raises(StorageError, match=digest):
        await pull.open_blob(site.stores, A, digest)
    assert await site.push_blob("a", DATA) == digest
    reader = await pull.open_blob(site.stores, A, digest)
    assert await reader.read(0, 100) == DATA


# Deleting ---------------------------------------------------------------------------------------


async def test_what_is_needed_is_not_deleted(site: Site) -> None:
    """A blob by a manifest, a child by an index: until that is gone."""
    made = images.multi_platform("needed")
    index = await site.push("a", "latest", made)
    child, blob = made.children[0], Digest(made.children[0].blobs[0].digest)
    with pytest.raises(UnsupportedError, match=child.digest):
        await delete.delete_blob(site.stores, A, blob, by=NOBODY)
    with pytest.raises(UnsupportedError, match=index):
        await delete.delete_reference(site.stores, A, Digest(child.digest), by=NOBODY)
    await delete.delete_reference(site.stores, A, index, by=NOBODY)
    await delete.delete_reference(site.stores, A, Digest(child.digest), by=NOBODY)
    await delete.delete_blob(site.stores, A, blob, by=NOBODY)
    unused = await site.push_blob("a", b"unused")
    await delete.delete_blob(site.stores, A, unused, by=NOBODY)
    with pytest.raises(BlobUnknownError):
        await delete.delete_blob(site.stores, A, unused, by=NOBODY)
    with pytest.raises(NameUnknownError):
        await discovery.list_tags(site.stores, B, last="", limit=None)


async def test_tags_go_with_their_manifest_and_leave_a_trace(site: Site) -> None:
    made = images.image("trace")
    digest = await site.push("a", "one", made)
    await site.put("a", "two", made)
    await delete.delete_reference(site.stores, A, digest, by=Actor("alice"))
    assert (await discovery.list_tags(site.stores, A, last="", limit=None)).names == []
    rows = await site.stores.index.fetch_all(
        "SELECT name, previous, changed_by FROM tag_history WHERE digest IS NULL ORDER BY name", {}
    )
    assert rows == [("one", digest.packed, "alice"), ("two", digest.packed, "alice")]


# Lists ------------------------------------------------------------------------------------------


async def test_pages_say_whether_more_follows(site: Site) -> None:
    made = images.image("pages")
    await site.push("a", "t0", made)
    for number in range(1, 4):
        await site.put("a", f"t{number}", made)
    pages = [(0, []), (3, ["t0", "t1", "t2"]), (4, ["t0", "t1", "t2", "t3"])]
    for limit, names in pages:
        page = await discovery.list_tags(site.stores, A, last="", limit=limit)
        assert page == (names, limit < 4)
    assert await discovery.list_tags(site.stores, A, last="t3", limit=4) == ([], False)


# Upkeep -----------------------------------------------------------------------------------------


async def test_blobs_whose_manifest_does_not_come_are_synced(site: Site) -> None:
    for number in range(300):
        await site.push_blob("a", b"%d" % number)
    assert await maintenance.sync_blobs(site.stores) == 0
    site.clock.now += maintenance.SETTLED + SECOND
    assert await maintenance.sync_blobs(site.stores) == 300
    assert await maintenance.sync_blobs(site.stores) == 0


async def test_a_blob_whose_bytes_were_lost_is_not_called_durable_when_it_comes_again(
    site: Site,
) -> None:
    """Its new bytes are synced when their manifest arrives, like those of any new blob."""
    digest = await site.push_blob("a", b"content")
    site.clock.now += 2 * maintenance.SETTLED
    assert await maintenance.sync_blobs(site.stores) == 1
    await site.stores.blobs.delete([digest])
    await site.push_blob("a", b"content")
    assert await list_unsynced(site.stores.index, before=site.clock.now + 1, soon=0, limit=9) == [
        digest
    ]


async def test_recovery_reads_only_after_another_run_of_the_machine(site: Site) -> None:
    kept, lost = await site.push_blob("a", b"kept"), await site.push_blob("a", b"lost")
    assert await maintenance.recover(site.stores, boot="one") == []
    torn = await site.push_blob("a", b"torn")
    for digest in (lost, torn):
        await site.stores.blobs.put(digest, b"zero")
    assert await maintenance.recover(site.stores, boot="two") == [torn], "the others were durable"
    with pytest.raises(BlobUnknownError):
        await pull.blob_size(site.stores, A, torn)
    assert await pull.blob_size(site.stores, A, kept) == 4


async def test_purging(site: Site) -> None:
    """By age; a dry run tells only; what is being written is left alone."""
    state = await site.uploads.append(site.uploads.begin(A), part(DATA))
    site.clock.now = 4_000_000_000 * SECOND
    found = await maintenance.purge_uploads(site.stores, age=60, dry_run=True)
    assert found == [state.upload]
    async with site.stores.uploads.append(state.upload):
        assert await maintenance.purge_uploads(site.stores, age=60, dry_run=False) == []
    assert await maintenance.purge_uploads(site.stores, age=1e10, dry_run=False) == []
    assert await maintenance.purge_uploads(site.stores, age=60, dry_run=False) == [state.upload]
    assert await site.stores.uploads.held(state.upload) is None
