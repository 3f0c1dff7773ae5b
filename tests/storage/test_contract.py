"""What `entrepot.storage.store` promises, of every driver."""

from __future__ import annotations

import asyncio
import hashlib
import time
from uuid import uuid4

import pytest

from entrepot.core.digest import Digest
from entrepot.storage import UploadBusyError
from tests.storage.conftest import Store

pytestmark = pytest.mark.anyio

SMALL = b"a small blob"
LARGE = bytes(range(256)) * 4096  # 1 MiB
MISSING = Digest.of(b"never stored")


async def read_all(store: Store, digest: Digest) -> bytes | None:
    reader = await store.open(digest)
    if reader is None:
        return None
    try:
        return await reader.read(0, reader.size)
    finally:
        reader.close()


class SlowHash:
    """A hash that notes in which threads it was fed."""

    def __init__(self) -> None:
        self.fed = b""

    def update(self, data: bytes, /) -> None:
        self.fed += data


# Blobs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
async def test_a_blob_that_was_put_is_there(store: Store, data: bytes, algorithm: str) -> None:
    digest = Digest.of(data, algorithm=algorithm)
    await store.put(digest, data)
    assert await read_all(store, digest) == data
    assert await store.size(digest) == len(data)
    assert await store.verify(digest)


async def test_a_blob_that_was_never_put_is_not_there(store: Store) -> None:
    assert await store.open(MISSING) is None
    assert await store.size(MISSING) is None
    assert not await store.verify(MISSING)


async def test_parts_of_a_blob(store: Store) -> None:
    """`length` bytes from `start`, or fewer at the end."""
    digest = Digest.of(LARGE)
    await store.put(digest, LARGE)
    reader = await store.open(digest)
    assert reader is not None
    assert reader.size == len(LARGE)
    assert await reader.read(0, 10) == LARGE[:10]
    assert await reader.read(1000, 70_000) == LARGE[1000:71_000]
    assert await reader.read(len(LARGE) - 5, 100) == LARGE[-5:]
    assert await reader.read(len(LARGE), 100) == b""
    reader.close()


async def test_parts_are_read_in_any_order_by_many(store: Store) -> None:
    digest = Digest.of(LARGE)
    await store.put(digest, LARGE)
    readers = [await store.open(digest) for _ in range(4)]
    parts = [
        reader.read(start, 4096)
        for reader in readers
        if reader is not None
        for start in range(0, len(LARGE), 65_536)
    ]
    starts = [start for _ in readers for start in range(0, len(LARGE), 65_536)]
    for start, part in zip(starts, await asyncio.gather(*parts), strict=True):
        assert part == LARGE[start : start + 4096]
    for reader in readers:
        if reader is not None:
            reader.close()


async def test_putting_a_blob_again_changes_nothing(store: Store) -> None:
    digest = Digest.of(SMALL)
    await store.put(digest, SMALL)
    reader = await store.open(digest)
    assert reader is not None
    await store.put(digest, SMALL)
    assert await reader.read(0, 100) == SMALL
    reader.close()
    assert await read_all(store, digest) == SMALL


async def test_putting_what_is_new(store: Store) -> None:
    """It is there, or nothing was done; what was there stays as it was."""
    digest, other = Digest.of(SMALL), Digest.of(LARGE)
    done = await store.put_new(digest, SMALL)
    assert await read_all(store, digest) == (SMALL if done else None)
    assert not await store.put_new(digest, b"another")
    assert await read_all(store, digest) == (SMALL if done else None)
    await store.put(other, LARGE)
    assert not await store.put_new(other, SMALL)
    assert await store.verify(other)
    await store.delete([other])
    assert await store.put_new(other, LARGE) is done


async def test_many_put_the_same_blob_at_once(store: Store) -> None:
    digest = Digest.of(LARGE)
    await asyncio.gather(*(store.put(digest, LARGE) for _ in range(8)))
    assert await store.verify(digest)


async def test_syncing(store: Store) -> None:
    """Any number of blobs, none too; it changes nothing that can be seen from here."""
    digests = [Digest.of(b"%d" % n) for n in range(5)]
    for n, digest in enumerate(digests):
        await store.put(digest, b"%d" % n)
    await store.sync(digests)
    await store.sync([])
    await store.sync(iter(digests[:1]))
    for n, digest in enumerate(digests):
        assert await read_all(store, digest) == b"%d" % n


async def test_verify_sees_other_bytes(store: Store) -> None:
    """The caller of `put` has checked the digest; `verify` is for what happened since."""
    digest = Digest.of(b"what it should be")
    await store.put(digest, b"what it is")
    assert not await store.verify(digest)


async def test_deleting(store: Store) -> None:
    digest, other = Digest.of(SMALL), Digest.of(LARGE)
    await store.put(digest, SMALL)
    await store.put(other, LARGE)
    assert await store.delete([digest]) == {}
    assert await read_all(store, digest) is None
    assert await store.size(digest) is None
    assert await read_all(store, other) == LARGE
    assert await store.delete([digest, other]) == {}
    assert await read_all(store, other) is None
    await store.put(digest, SMALL)
    assert await read_all(store, digest) == SMALL


async def test_going_through_blobs(store: Store) -> None:
    """By the beginning of their digests, with their sizes and since when they are there."""
    began = time.time_ns() // 1000
    blobs = {Digest.of(b"%d" % n): n for n in range(20)}
    for digest, n in blobs.items():
        await store.put(digest, b"%d" % n)
    other = Digest.of(SMALL, algorithm="sha512")
    await store.put(other, SMALL)
    prefixes = {digest[:9] for digest in (*blobs, other)}
    found = [b for p in prefixes async for page in store.stored(p) for b in page]
    expected = {digest: len(b"%d" % n) for digest, n in blobs.items()} | {other: len(SMALL)}
    assert {blob.digest: blob.size for blob in found} == expected
    ended = time.time_ns() // 1000
    assert all(began - 2_000_000 <= blob.placed_at <= ended + 2_000_000 for blob in found)
    assert [page async for page in store.stored("sha512:00") if page] == []


async def test_path_is_relative_or_none(store: Store) -> None:
    path = store.path(Digest.of(SMALL))
    assert path is None or not path.startswith(("/", "."))


# Uploads ----------------------------------------------------------------------------------------


async def test_an_upload_begins_with_the_first_append(store: Store) -> None:
    upload = uuid4()
    assert await store.held(upload) is None
    async with store.append(upload) as writer:
        assert writer.size == 0
    assert await store.held(upload) == 0


async def test_an_upload_grows_from_append_to_append(store: Store) -> None:
    upload = uuid4()
    async with store.append(upload) as writer:
        await writer.write(SMALL)
        assert writer.size == len(SMALL)
    assert await store.held(upload) == len(SMALL)
    async with store.append(upload) as writer:
        assert writer.size == len(SMALL)
        await writer.write(LARGE)
        assert writer.size == len(SMALL + LARGE)
        await writer.flush()
        assert await writer.digest("sha256") == Digest.of(SMALL + LARGE)
        assert await writer.digest("sha512") == Digest.of(SMALL + LARGE, algorithm="sha512")
    assert await store.held(upload) == len(SMALL + LARGE)


async def test_an_empty_upload_has_a_digest(store: Store) -> None:
    async with store.append(uuid4()) as writer:
        assert await writer.digest("sha256") == Digest.of(b"")


async def test_pieces_of_every_size_stay_in_order(store: Store) -> None:
    upload = uuid4()
    pieces = [LARGE[:n] for n in (1, 300_000, 0, 7, 262_144, 262_143, 1, 1_048_576, 13)]
    async with store.append(upload) as writer:
        for piece in pieces:
            await writer.write(piece)
        assert await writer.digest("sha256") == Digest.of(b"".join(pieces))
    assert await store.held(upload) == sum(map(len, pieces))


async def test_only_one_may_write(store: Store) -> None:
    """The second is refused at once, and the first goes on undisturbed."""
    upload, other = uuid4(), uuid4()
    async with store.append(upload) as writer:
        await writer.write(SMALL)
        with pytest.raises(UploadBusyError):
            async with store.append(upload):
                pytest.fail("two write at once")
        async with store.append(other) as free:
            await free.write(b"another upload is free")
        await writer.write(SMALL)
    async with store.append(upload) as writer:
        assert await writer.digest("sha256") == Digest.of(SMALL * 2)


async def test_what_was_written_stays_however_the_block_ends(store: Store) -> None:
    upload = uuid4()

    async def fail() -> None:
        async with store.append(upload) as writer:
            await writer.write(SMALL)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await store.held(upload) == len(SMALL)

    async def hang() -> None:
        async with store.append(upload) as writer:
            await writer.write(LARGE)
            written.set()
            await asyncio.Event().wait()

    written = asyncio.Event()
    task = asyncio.ensure_future(hang())
    await asyncio.wait_for(written.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.held(upload) == len(SMALL + LARGE)
    async with store.append(upload) as writer:
        assert await writer.digest("sha256") == Digest.of(SMALL + LARGE)


async def test_rollback_takes_back_what_was_written_here(store: Store) -> None:
    upload = uuid4()
    async with store.append(upload) as writer:
        await writer.write(SMALL)
    async with store.append(upload) as writer:
        await writer.write(LARGE)
        await writer.flush()
        await writer.write(b"not flushed")
        await writer.rollback()
        assert writer.size == len(SMALL)
    assert await store.held(upload) == len(SMALL)
    async with store.append(upload) as writer:
        await writer.write(b"not flushed either")
        await writer.rollback()
        await writer.write(b"again")
        assert await writer.digest("sha256") == Digest.of(SMALL + b"again")
    assert await store.held(upload) == len(SMALL + b"again")


async def test_the_hasher_sees_what_is_written_while_it_is_set(store: Store) -> None:
    running, other = hashlib.sha256(), SlowHash()
    async with store.append(uuid4()) as writer:
        await writer.write(b"before")
        await writer.flush()
        writer.hasher = running
        await writer.write(SMALL)
        await writer.write(LARGE)
        await writer.flush()
        assert running.digest() == hashlib.sha256(SMALL + LARGE).digest()
        writer.hasher = other
        await writer.write(b"to another")
        await writer.flush()
        writer.hasher = None
        await writer.write(b"after")
        await writer.flush()
    assert running.digest() == hashlib.sha256(SMALL + LARGE).digest()
    assert other.fed == b"to another"


async def test_publishing(store: Store) -> None:
    upload, digest = uuid4(), Digest.of(LARGE + SMALL)
    async with store.append(upload) as writer:
        await writer.write(LARGE)
        await writer.write(SMALL)
        await writer.publish(digest)
    assert await store.held(upload) is None
    assert await read_all(store, digest) == LARGE + SMALL
    assert await store.verify(digest)
    async with store.append(upload) as writer:
        assert writer.size == 0, "the upload has ended: this is another one"


async def test_publishing_what_is_there_keeps_it_whole(store: Store) -> None:
    """At every moment: an open reader and a new one see all bytes."""
    digest = Digest.of(LARGE)
    await store.put(digest, LARGE)
    before = await store.open(digest)
    assert before is not None

    async def publish() -> None:
        async with store.append(uuid4()) as writer:
            await writer.write(LARGE)
            await writer.publish(digest)

    publishing = asyncio.gather(*(publish() for _ in range(4)))
    while not publishing.done():
        assert await read_all(store, digest) == LARGE
        assert await store.size(digest) == len(LARGE)
        await asyncio.sleep(0)
    await publishing
    assert await before.read(0, before.size) == LARGE
    before.close()
    assert await store.verify(digest)


async def test_a_damaged_blob_is_replaced_by_publishing(store: Store) -> None:
    digest = Digest.of(SMALL)
    await store.put(digest, b"torn")
    async with store.append(uuid4()) as writer:
        await writer.write(SMALL)
        await writer.publish(digest)
    assert await store.verify(digest)


async def test_a_damaged_blob_is_replaced_by_putting(store: Store) -> None:
    digest = Digest.of(SMALL)
    await store.put(digest, b"torn")
    await store.put(digest, SMALL)
    assert await store.verify(digest)


async def test_discarding(store: Store) -> None:
    upload = uuid4()
    async with store.append(upload) as writer:
        await writer.write(LARGE)
        await writer.discard()
    assert await store.held(upload) is None
    async with store.append(upload) as writer:
        assert writer.size == 0
        await writer.discard()
        await writer.discard()
    assert await store.held(upload) is None


async def test_stale_uploads(store: Store) -> None:
    """By the time of the last write; blobs and ended uploads are never among them."""
    began = time.time()
    first, second, ended, gone = (uuid4() for _ in range(4))
    for upload in (first, second, ended, gone):
        async with store.append(upload) as writer:
            await writer.write(SMALL)
    async with store.append(ended) as writer:
        await writer.publish(Digest.of(SMALL))
    async with store.append(gone) as writer:
        await writer.discard()
    assert list(await store.stale(before=began - 60)) == []
    assert set(await store.stale(before=time.time() + 60)) == {first, second}
