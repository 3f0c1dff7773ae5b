"""Uploads into an object store: by several processes, interrupted, and with little memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import pytest

from entrepot.core.digest import Digest
from entrepot.storage import StorageError, UploadBusyError, object_uploads
from entrepot.storage.object_store import ObjectStore
from tests.storage.conftest import MIB, Bucket

pytestmark = pytest.mark.anyio

PART = 5 * MIB


def noise(size: int) -> bytes:
    return os.urandom(size)


async def write(store: ObjectStore, upload: UUID, data: bytes) -> None:
    async with store.append(upload) as writer:
        for start in range(0, len(data), 300_000):
            await writer.write(data[start : start + 300_000])


async def publish(store: ObjectStore, upload: UUID, data: bytes) -> None:
    async with store.append(upload) as writer:
        assert await writer.digest("sha256") == Digest.of(data)
        await writer.publish(Digest.of(data))


async def start_and_vanish(store: ObjectStore, upload: UUID, data: bytes) -> object:
    """Write as a process does that is killed before its request ends."""
    context = store.append(upload)
    writer = await context.__aenter__()
    await writer.write(data)
    await asyncio.sleep(0)
    writer.end()
    return context


async def eventually(what: Callable[[], Awaitable[None]]) -> None:
    """Do it as soon as nobody else may be writing."""
    deadline = time.monotonic() + object_uploads.LEASE + 30
    while True:
        try:
            return await what()
        except UploadBusyError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    "sizes",
    [
        [PART],
        [PART + 1],
        [2 * PART, 0, 1],
        [1, PART, PART, PART - 1],
        [PART - 1, 1, 1],
        [12 * MIB, 3, 7 * MIB, 100_000],
        [3 * MIB, 3 * MIB, 3 * MIB],
    ],
    ids=str,
)
async def test_every_request_may_come_to_another_process(bucket: Bucket, sizes: list[int]) -> None:
    """The blob is whole, and nothing of the upload remains."""
    upload, data = uuid4(), [noise(size) for size in sizes]
    held = 0
    for piece in data:
        await write(bucket.store(), upload, piece)
        held += len(piece)
        assert await bucket.store().held(upload) == held
    await publish(bucket.store(), upload, b"".join(data))
    digest = Digest.of(b"".join(data))
    assert await bucket.store().verify(digest)
    assert await bucket.keys() == [bucket.store().key(digest).removeprefix(f"{bucket.root}/")]
    assert await bucket.unfinished() == []
    assert await bucket.store().held(upload) is None


async def test_many_small_requests_leave_few_objects(bucket: Bucket) -> None:
    upload, data = uuid4(), noise(50)
    for n in range(50):
        await write(bucket.store(), upload, data[n : n + 1])
        assert len(await bucket.keys()) <= 17
    await publish(bucket.store(), upload, data)
    assert await bucket.store().verify(Digest.of(data))


async def test_parts_that_were_put_are_taken_back(bucket: Bucket) -> None:
    """Back to what there was before the request, with parts before it and without."""
    store, upload, first = bucket.store(), uuid4(), noise(1000)
    await write(store, upload, first)
    async with store.append(upload) as writer:
        await writer.write(noise(12 * MIB))
        await writer.rollback()
        assert writer.size == 1000
    assert await store.held(upload) == 1000
    assert await bucket.unfinished() == []
    second = noise(6 * MIB)
    await write(store, upload, second)
    async with store.append(upload) as writer:
        await writer.write(noise(12 * MIB))
        await writer.rollback()
    third = noise(8 * MIB)
    await write(store, upload, third)
    await publish(store, upload, first + second + third)
    assert await store.verify(Digest.of(first + second + third))
    assert len(await bucket.keys()) == 1


async def test_a_process_that_dies_loses_nothing_acknowledged(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one goes on from what was acknowledged or from more, and only after a while."""
    monkeypatch.setattr(object_uploads, "LEASE", 2.0)
    upload, data = uuid4(), noise(30 * MIB)
    await write(bucket.store(), upload, data[: 7 * MIB])
    dead = await start_and_vanish(bucket.store(), upload, data[7 * MIB : 20 * MIB])
    other = bucket.store()
    with pytest.raises(UploadBusyError):
        await write(other, upload, b"too early")

    async def go_on() -> None:
        async with other.append(upload) as writer:
            assert 7 * MIB <= writer.size <= 20 * MIB
            await writer.write(data[writer.size :])

    await eventually(go_on)
    await publish(bucket.store(), upload, data)
    assert await other.verify(Digest.of(data))
    assert dead is not None


async def test_who_was_taken_for_dead_spoils_nothing(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was away for long is refused when it comes back, whatever it wrote."""
    monkeypatch.setattr(object_uploads, "LEASE", 0.5)
    upload, data = uuid4(), noise(20 * MIB)
    sleeper = bucket.store().append(upload)
    asleep = await sleeper.__aenter__()
    await asleep.write(data[: 7 * MIB])
    assert asleep._renewing is not None
    asleep._renewing.cancel()

    async def take_over() -> None:
        async with bucket.store().append(upload) as writer:
            await writer.write(data[writer.size :])

    await eventually(take_over)
    with pytest.raises(UploadBusyError):
        await asleep.write(noise(12 * MIB))
    assert not await sleeper.__aexit__(UploadBusyError, UploadBusyError(), None)
    await publish(bucket.store(), upload, data)
    assert await bucket.store().verify(Digest.of(data))


async def test_finishing_may_be_repeated(bucket: Bucket) -> None:
    """A process that dies between joining the parts and copying them leaves that to another."""
    upload, data = uuid4(), noise(12 * MIB)
    await write(bucket.store(), upload, data)
    async with bucket.store().append(upload) as writer:
        assert await writer.digest("sha256") == Digest.of(data)
    assert await bucket.unfinished() == []
    with pytest.raises(UploadBusyError):
        await write(bucket.store(), upload, b"more")
    await publish(bucket.store(), upload, data)
    assert await bucket.store().verify(Digest.of(data))
    assert len(await bucket.keys()) == 1


async def test_memory_is_a_few_parts(bucket: Bucket) -> None:
    """However large the upload is."""
    store, upload, piece, count = bucket.store(), uuid4(), noise(MIB), 100
    running = hashlib.sha256()
    tracemalloc.start()
    try:
        async with store.append(upload) as writer:
            writer.hasher = running
            for _ in range(count):
                await writer.write(bytes(bytearray(piece)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5 * PART
    assert running.hexdigest() == hashlib.sha256(piece * count).hexdigest()
    async with store.append(upload) as writer:
        await writer.discard()
    assert await bucket.keys() == []
    assert await bucket.unfinished() == []


async def test_what_nobody_knows_is_found_and_purged(bucket: Bucket) -> None:
    """Objects and parts whose upload is written down nowhere, as a killed process leaves them."""
    store, known, lost, begun = bucket.store(), uuid4(), uuid4(), uuid4()
    folder = f"{bucket.root}/entrepot/uploads"
    await write(store, known, noise(12 * MIB))
    await bucket.client.put(f"{folder}/{lost}/{0:016}-0badcafe", b"tail")
    token = await bucket.client.begin(f"{folder}/{begun}/data")
    await bucket.client.put_part(f"{folder}/{begun}/data", token, 1, b"part")
    await bucket.client.put(f"{folder}/not an upload", b"of somebody else")
    assert await store.stale(before=time.time() - 60) == []
    found = await store.stale(before=time.time() + 60)
    assert set(found) == {known, lost, begun}
    assert len(found) == 3
    for upload in found:
        await store.purge(upload)
        assert await store.held(upload) is None
    assert await bucket.keys() == ["entrepot/uploads/not an upload"]
    assert await bucket.unfinished() == []


async def test_what_is_being_written_is_not_purged(bucket: Bucket) -> None:
    upload, data = uuid4(), noise(12 * MIB)
    store = bucket.store()
    async with store.append(upload) as writer:
        await writer.write(data)
        for process in (store, bucket.store()):
            with pytest.raises(UploadBusyError):
                await process.purge(upload)
    await publish(store, upload, data)


async def test_requests_for_small_blobs(bucket: Bucket) -> None:
    """One if all comes at once, three if it comes before the digest is known."""
    store, data, upload = bucket.store(), noise(3000), uuid4()
    await store.put(Digest.of(data), data)
    assert bucket.asked == ["PutContent"]
    bucket.asked.clear()
    async with store.append(uuid4()) as writer:
        await writer.write(data)
        await writer.publish(Digest.of(data))
    assert bucket.asked == ["PutContent"]
    bucket.asked.clear()
    await write(store, upload, data)
    async with store.append(upload) as writer:
        await writer.publish(Digest.of(data))
    assert bucket.asked == ["PutContent", "Move", "Delete"]


async def test_an_object_that_vanished_is_an_error(bucket: Bucket) -> None:
    """Not a blob with a hole."""
    store, upload = bucket.store(), uuid4()
    await write(store, upload, b"first")
    await write(store, upload, b"second")
    (first, _) = await bucket.keys()
    await bucket.client.delete([f"{bucket.root}/{first}"])
    with pytest.raises(StorageError):
        await publish(store, upload, b"firstsecond")
    assert await store.size(Digest.of(b"firstsecond")) is None
