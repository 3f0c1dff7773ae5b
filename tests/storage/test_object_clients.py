"""What `entrepot.storage.objects` promises, of every driver, on real stores and emulators."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections.abc import AsyncIterator

import pytest

from entrepot.storage import StorageError
from entrepot.storage.objects import ObjectDriver
from tests.emulators import FakeGcs
from tests.storage.conftest import Server

pytestmark = pytest.mark.anyio

DATA = bytes(range(256)) * 40
DRIVERS = [
    *("seaweedfs", "fake_gcs"),
    pytest.param("azurite", marks=pytest.mark.clients),
    pytest.param("ceph", marks=pytest.mark.ceph),
]


@pytest.fixture(scope="module", params=DRIVERS)
def server(request: pytest.FixtureRequest) -> Server:
    """A store with the bucket `objects`."""
    running: Server = request.getfixturevalue(request.param)
    running.make_bucket("objects")
    return running


@pytest.fixture
async def driver(server: Server) -> AsyncIterator[ObjectDriver]:
    """A client on a bucket that is empty."""
    client: ObjectDriver = server.client("objects")
    async for begun in client.unfinished(""):
        await client.abort(begun.key, begun.token)
    await client.delete([entry.key async for entry in client.entries("")])
    yield client
    await client.close()


async def keys_of(driver: ObjectDriver, prefix: str, *, after: str = "") -> list[str]:
    return [entry.key async for entry in driver.entries(prefix, after=after)]


async def put_parts(driver: ObjectDriver, key: str, token: str, parts: list[bytes]) -> list[str]:
    return [await driver.put_part(key, token, n, part) for n, part in enumerate(parts, 1)]


def parts_for(driver: ObjectDriver, count: int) -> list[bytes]:
    """Parts of the least size that is allowed, all different, and a small last one."""
    size = max(driver.least, 1000)
    return [bytes([n]) * size for n in range(1, count)] + [b"the end"]


# Objects ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"x", DATA, DATA * 300], ids=["none", "one", "some", "3M"])
async def test_what_was_put_is_there(driver: ObjectDriver, data: bytes) -> None:
    key = "docker/registry/v2/blobs/sha256/ab/abcd/data"
    await driver.put(key, data)
    assert await driver.read(key) == data
    assert await driver.size(key) == len(data)


async def test_what_was_not_put_is_not_there(driver: ObjectDriver) -> None:
    assert await driver.read("nothing") is None
    assert await driver.read("nothing", start=3, length=5) is None
    assert await driver.size("nothing") is None


async def test_parts_of_an_object(driver: ObjectDriver) -> None:
    await driver.put("key", DATA)
    assert await driver.read("key", start=5, length=1000) == DATA[5:1005]
    assert await driver.read("key", start=len(DATA) - 3) == DATA[-3:]
    assert await driver.read("key", start=len(DATA) - 3, length=100) == DATA[-3:]
    assert await driver.read("key", start=0, length=0) == b""


@pytest.mark.parametrize("key", ["a b", "a+b", "a%2Fb", "ä/ü", "a/b/c/d", "a?b#c&d=e", "~a._-"])
async def test_keys_of_every_kind(driver: ObjectDriver, key: str) -> None:
    await driver.put(f"x/{key}", b"here")
    assert await driver.read(f"x/{key}") == b"here"
    assert await keys_of(driver, "x/") == [f"x/{key}"]
    await driver.delete([f"x/{key}"])
    assert await driver.size(f"x/{key}") is None


async def test_putting_again_replaces(driver: ObjectDriver) -> None:
    await driver.put("key", b"a longer first text")
    await driver.put("key", b"second")
    assert await driver.read("key") == b"second"


async def test_creating(driver: ObjectDriver) -> None:
    """Of several at the same moment one does; what is there stays."""

    async def create(number: int) -> bytes | None:
        await driver.create("new", f"{number}".encode())
        return await driver.read("new")

    read = await asyncio.gather(*map(create, range(8)))
    assert len(set(read)) == 1
    assert read[0] in {f"{number}".encode() for number in range(8)}
    await driver.create("new", b"late")
    assert await driver.read("new") == read[0]


async def test_copying(driver: ObjectDriver) -> None:
    await driver.put("a/source", DATA)
    await driver.put("a/target of it", b"old")
    await driver.copy("a/source", "a/target of it", size=len(DATA))
    assert await driver.read("a/target of it") == DATA
    assert await driver.read("a/source") == DATA


async def test_copying_what_is_not_there_fails(driver: ObjectDriver) -> None:
    with pytest.raises(StorageError):
        await driver.copy("nothing", "target", size=10)
    assert await driver.size("target") is None


async def test_deleting(driver: ObjectDriver) -> None:
    """Any number of keys; those that are not there are no error."""
    keys = [f"d/{n:03}" for n in range(50)]
    await asyncio.gather(*(driver.put(key, b"x") for key in [*keys, "e/other"]))
    await driver.delete([*keys, "d/nothing"])
    await driver.delete(["d/nothing"])
    await driver.delete([])
    assert await keys_of(driver, "") == ["e/other"]


async def test_listing(driver: ObjectDriver) -> None:
    """By prefix, in the order of the keys, from where the caller says."""
    before = time.time() - 60
    names = ["a", "a/1", "a/2/x", "a/2/y", "a/3", "b/1"]
    for name in reversed(names):
        await driver.put(name, name.encode())
    assert await keys_of(driver, "") == sorted(names)
    assert await keys_of(driver, "a/") == ["a/1", "a/2/x", "a/2/y", "a/3"]
    assert await keys_of(driver, "a/", after="a/2/x") == ["a/2/y", "a/3"]
    assert await keys_of(driver, "a/", after="a/2/xx") == ["a/2/y", "a/3"]
    assert await keys_of(driver, "c/") == []
    async for entry in driver.entries("a/"):
        assert entry.size == len(entry.key)
        assert before < entry.modified < time.time() + 60


async def test_a_listing_of_more_than_a_page(driver: ObjectDriver) -> None:
    keys = [f"many/{n:05}" for n in range(1100)]
    for start in range(0, len(keys), 100):
        await asyncio.gather(*(driver.put(key, b"") for key in keys[start : start + 100]))
    assert await keys_of(driver, "many/") == keys
    assert await keys_of(driver, "many/", after="many/01050") == keys[1051:]


async def test_an_address(driver: ObjectDriver, server: Server) -> None:
    """Anyone may read by it; the emulator of Google's store has no keys to sign with."""
    await driver.put("dir/a blob", DATA)
    address = await driver.address("dir/a blob", seconds=60)
    if isinstance(server, FakeGcs):
        assert address is None
        return
    assert address is not None
    with await asyncio.to_thread(urllib.request.urlopen, address, timeout=10) as answer:
        assert answer.read() == DATA


async def test_many_at_once(driver: ObjectDriver) -> None:
    await asyncio.gather(*(driver.put("same", DATA) for _ in range(8)))
    assert await asyncio.gather(*(driver.read("same") for _ in range(8))) == [DATA] * 8


# Parts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 4])
async def test_parts_become_an_object(driver: ObjectDriver, count: int) -> None:
    parts = parts_for(driver, count)
    await driver.put("u/data", b"old")
    token = await driver.begin("u/data")
    marks = await put_parts(driver, "u/data", token, parts)
    assert await driver.read("u/data") == b"old"
    await driver.complete("u/data", token, marks)
    assert await driver.read("u/data") == b"".join(parts)
    assert await keys_of(driver, "u/") == ["u/data"]
    assert [begun async for begun in driver.unfinished("u/")] == []


async def test_more_parts_than_are_joined_at_once(driver: ObjectDriver) -> None:
    """Google joins 32 objects in a request; 70 need a second level. S3's parts are large."""
    parts = [b"%03d" % n for n in range(70)] if driver.least == 1 else parts_for(driver, 8)
    token = await driver.begin("u/data")
    marks = await asyncio.gather(
        *(driver.put_part("u/data", token, n, part) for n, part in enumerate(parts, 1))
    )
    await driver.complete("u/data", token, marks)
    assert await driver.read("u/data") == b"".join(parts)
    assert await keys_of(driver, "u/") == ["u/data"]


async def test_parts_in_any_order_by_many(driver: ObjectDriver) -> None:
    parts = parts_for(driver, 4)
    token = await driver.begin("u/data")
    numbers = [3, 1, 4, 2]
    marks = await asyncio.gather(
        *(driver.put_part("u/data", token, n, parts[n - 1]) for n in numbers)
    )
    in_order = [mark for _, mark in sorted(zip(numbers, marks, strict=True))]
    await driver.complete("u/data", token, in_order)
    assert await driver.read("u/data") == b"".join(parts)


async def test_a_part_written_again_replaces_itself(driver: ObjectDriver) -> None:
    first, last = parts_for(driver, 2)
    token = await driver.begin("u/data")
    await driver.put_part("u/data", token, 1, b"\xff" * len(first))
    marks = await put_parts(driver, "u/data", token, [first, last])
    await driver.complete("u/data", token, marks)
    assert await driver.read("u/data") == first + last


async def test_a_mark_never_takes_other_bytes(driver: ObjectDriver) -> None:
    """With the mark of what somebody else wrote over, completing fails or gives the old bytes."""
    first, last = parts_for(driver, 2)
    token = await driver.begin("u/data")
    marks = await put_parts(driver, "u/data", token, [first, last])
    await driver.put_part("u/data", token, 1, b"\xff" * len(first))
    try:
        await driver.complete("u/data", token, marks)
    except StorageError:
        assert await driver.size("u/data") is None
    else:
        assert await driver.read("u/data") == first + last


async def test_completing_again_changes_nothing(driver: ObjectDriver) -> None:
    parts = parts_for(driver, 3)
    token = await driver.begin("u/data")
    marks = await put_parts(driver, "u/data", token, parts)
    await driver.complete("u/data", token, marks)
    await driver.complete("u/data", token, marks)
    assert await driver.read("u/data") == b"".join(parts)


async def test_completing_what_was_dropped_fails(driver: ObjectDriver) -> None:
    token = await driver.begin("u/data")
    marks = await put_parts(driver, "u/data", token, parts_for(driver, 2))
    await driver.abort("u/data", token)
    with pytest.raises(StorageError):
        await driver.complete("u/data", token, marks)
    assert await driver.size("u/data") is None


async def test_dropping_an_upload(driver: ObjectDriver) -> None:
    """Nothing of it remains; an object that was there does."""
    token = await driver.begin("u/one/data")
    await put_parts(driver, "u/one/data", token, parts_for(driver, 2))
    await driver.abort("u/one/data", token)
    assert [begun async for begun in driver.unfinished("u/")] == []
    assert await keys_of(driver, "u/") == []
    await driver.abort("u/one/data", token)
    await driver.put("u/two/data", b"old")
    token = await driver.begin("u/two/data")
    await put_parts(driver, "u/two/data", token, parts_for(driver, 2))
    await driver.abort("u/two/data", token)
    assert await driver.read("u/two/data") == b"old"


async def test_what_was_begun_and_not_completed(driver: ObjectDriver) -> None:
    """By prefix, with the time when it was begun."""
    before, begun = time.time() - 60, {}
    for key in ("u/1/data", "u/2/data", "v/3/data"):
        begun[key] = await driver.begin(key)
        await put_parts(driver, key, begun[key], parts_for(driver, 2))
    await driver.put("u/4/data", b"")
    found = [one async for one in driver.unfinished("u/")]
    assert {one.key: one.token for one in found} == {k: t for k, t in begun.items() if k[0] == "u"}
    assert len(found) == 2
    assert all(before < one.begun < time.time() + 60 for one in found)
    for one in found:
        await driver.abort(one.key, one.token)
    assert [one.key async for one in driver.unfinished("")] == ["v/3/data"]
