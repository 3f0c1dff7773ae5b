"""What only blobs in files can promise: the layout, the root, and when the disk is waited for."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from entrepot.core.digest import Digest
from entrepot.storage import StorageError, UploadBusyError
from entrepot.storage.filesystem import FilesystemStore

pytestmark = pytest.mark.anyio

MIB = 1 << 20
DATA = b"content"
DIGEST = Digest.of(DATA)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def store(root: Path, threads: ThreadPoolExecutor) -> FilesystemStore:
    return FilesystemStore(root, threads=threads)


def blob_path(root: Path, digest: Digest) -> Path:
    blobs = root / "docker" / "registry" / "v2" / "blobs"
    return blobs / digest.algorithm / digest.hex[:2] / digest.hex / "data"


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_blobs_lie_where_registry_2_puts_them(
    store: FilesystemStore, root: Path, algorithm: str
) -> None:
    digest = Digest.of(DATA, algorithm=algorithm)
    await store.put(digest, DATA)
    path = blob_path(root, digest)
    assert path.read_bytes() == DATA
    assert files(root) == {path}
    told = store.path(digest)
    assert told is not None
    assert root / "docker" / "registry" / "v2" / "blobs" / told == path


async def test_blobs_that_registry_2_wrote_are_read(store: FilesystemStore, root: Path) -> None:
    path = blob_path(root, DIGEST)
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    assert await store.size(DIGEST) == len(DATA)
    assert await store.verify(DIGEST)


async def test_an_upload_is_one_file(store: FilesystemStore, root: Path) -> None:
    upload = uuid4()
    path = root / "entrepot" / "uploads" / str(upload)
    async with store.append(upload) as writer:
        await writer.write(DATA)
    assert files(root) == {path}
    assert path.read_bytes() == DATA
    async with store.append(upload) as writer:
        await writer.publish(DIGEST)
    assert files(root) == {blob_path(root, DIGEST)}


async def test_a_deleted_blob_leaves_no_folder(store: FilesystemStore, root: Path) -> None:
    await store.put(DIGEST, DATA)
    await store.delete([DIGEST])
    assert not blob_path(root, DIGEST).parent.exists()


async def test_no_file_outside_the_root_is_touched(tmp_path: Path, root: Path) -> None:
    """Whatever is done, nothing beside the root appears, changes or goes."""
    beside = tmp_path / "beside"
    beside.write_bytes(DATA)
    before = (beside.stat().st_mtime_ns, beside.stat().st_ino)
    with ThreadPoolExecutor(2) as threads:
        store = FilesystemStore(root, threads=threads)
        await store.put(DIGEST, DATA)
        async with store.append(uuid4()) as writer:
            await writer.write(DATA)
            await writer.publish(DIGEST)
        async with store.append(uuid4()) as writer:
            await writer.discard()
        await store.delete([DIGEST])
        await store.stale(before=0)
    assert {path.name for path in files(tmp_path)} == {"beside"}
    assert (beside.stat().st_mtime_ns, beside.stat().st_ino) == before


async def test_another_store_on_the_same_root_counts_as_another_writer(
    store: FilesystemStore, root: Path, threads: ThreadPoolExecutor
) -> None:
    other, upload = FilesystemStore(root, threads=threads), uuid4()
    async with store.append(upload) as writer:
        await writer.write(DATA)
        with pytest.raises(UploadBusyError):
            async with other.append(upload):
                pytest.fail("two write at once")
    async with other.append(upload) as writer:
        assert writer.size == len(DATA)


async def test_files_that_are_no_uploads_are_not_stale_uploads(
    store: FilesystemStore, root: Path
) -> None:
    (root / "entrepot" / "uploads" / "README").write_text("not mine")
    assert list(await store.stale(before=2**40)) == []


async def test_stale_goes_by_the_time_of_the_last_write(store: FilesystemStore, root: Path) -> None:
    old, new = uuid4(), uuid4()
    for upload in (old, new):
        async with store.append(upload) as writer:
            await writer.write(DATA)
    os.utime(root / "entrepot" / "uploads" / str(old), (1000, 1000))
    assert list(await store.stale(before=2000)) == [old]


# Failures ---------------------------------------------------------------------------------------


async def test_a_failed_put_leaves_nothing(store: FilesystemStore, root: Path) -> None:
    in_the_way = blob_path(root, DIGEST).parents[1]
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="Not a directory"):
        await store.put(DIGEST, DATA)
    assert files(root) == {in_the_way}


async def test_a_failed_publish_keeps_the_upload(store: FilesystemStore, root: Path) -> None:
    in_the_way, upload = blob_path(root, DIGEST).parents[1], uuid4()
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file where a folder should be")

    async def publish() -> None:
        async with store.append(upload) as writer:
            await writer.write(DATA)
            await writer.publish(DIGEST)

    with pytest.raises(StorageError, match="Not a directory"):
        await publish()
    in_the_way.unlink()
    async with store.append(upload) as writer:
        await writer.publish(DIGEST)
    assert await store.verify(DIGEST)


@pytest.mark.parametrize(
    "call", ["open", "size", "verify", "stored", "put", "held", "stale", "append"]
)
async def test_what_the_system_refuses_is_a_storage_error(
    store: FilesystemStore, root: Path, call: str
) -> None:
    """A file where each folder should be: every method says so in the store's own error."""
    for folder in (root / "docker", root / "entrepot"):
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir()
        folder.rmdir()
        folder.write_text("a file where a folder should be")

    async def append(upload: UUID) -> None:
        async with store.append(upload):
            pytest.fail("there is no place for it")

    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "open": lambda: store.open(DIGEST),
        "size": lambda: store.size(DIGEST),
        "verify": lambda: store.verify(DIGEST),
        "stored": lambda: anext(aiter(store.stored("sha256:00"))),
        "put": lambda: store.put(DIGEST, DATA),
        "held": lambda: store.held(uuid4()),
        "stale": lambda: store.stale(before=0),
        "append": lambda: append(uuid4()),
    }
    with pytest.raises(StorageError, match="Not a directory"):
        await calls[call]()


async def test_what_can_t_be_deleted_is_told(store: FilesystemStore, root: Path) -> None:
    """The others are deleted."""
    other = Digest.of(b"other")
    await store.put(DIGEST, DATA)
    path = root / f"docker/registry/v2/blobs/{store.path(other)}"
    path.mkdir(parents=True)
    failures = await store.delete([other, DIGEST])
    assert list(failures) == [other]
    assert "Is a directory" in failures[other]
    assert await store.size(DIGEST) is None


async def test_a_blob_is_as_old_as_its_place(store: FilesystemStore, root: Path) -> None:
    """An upload may have been written long before it became the blob."""
    upload = uuid4()
    async with store.append(upload) as writer:
        await writer.write(DATA)
    os.utime(root / f"entrepot/uploads/{upload}", (0, 0))
    began = time.time_ns() // 1000 - 1_000_000
    async with store.append(upload) as writer:
        await writer.publish(DIGEST)
    (found,) = [blob async for page in store.stored(DIGEST[:9]) for blob in page]
    assert found.digest == DIGEST
    assert found.placed_at >= began


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Make writes beyond `size` bytes of a file fail, as a broken disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_after_a_failed_write_the_upload_holds_a_beginning(
    store: FilesystemStore, root: Path
) -> None:
    """A disk that fails for a moment: what follows the gap is not written behind it."""
    upload = uuid4()
    pieces = [bytes([n]) * (600 * 1024) for n in range(4)]

    async def append() -> None:
        async with store.append(upload) as writer:
            with file_size_limit(MIB // 2):
                for piece in pieces:
                    await writer.write(piece)

    with pytest.raises(StorageError):
        await append()
    held = (root / "entrepot" / "uploads" / str(upload)).read_bytes()
    assert 0 < len(held) <= MIB
    assert b"".join(pieces).startswith(held)


# When the disk is waited for ---------------------------------------------------------------------


@pytest.fixture
def fsyncs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of everything that the system is asked to sync."""
    real, synced = os.fsync, []

    def record(fd: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        real(fd)

    monkeypatch.setattr(os, "fsync", record)
    return synced


async def test_sync_makes_files_durable_at_their_final_place(
    store: FilesystemStore, root: Path, fsyncs: list[str]
) -> None:
    """After the rename, which the file's own sync then covers (docs/storage-format.md)."""
    others = [b"%d" % n for n in range(3)]
    await store.put(DIGEST, DATA)
    for data in others:
        await store.put(Digest.of(data), data)
    assert fsyncs == [], "a blob alone waits for its manifest"
    digests = [DIGEST, *map(Digest.of, others)]
    await store.sync(digests)
    assert {str(blob_path(root, digest)) for digest in digests} <= set(fsyncs)


async def test_only_a_durable_file_takes_the_place_of_another(
    store: FilesystemStore, root: Path, fsyncs: list[str]
) -> None:
    """The blob that is there may be one that a manifest relies on."""
    await store.put(DIGEST, DATA)
    async with store.append(uuid4()) as writer:
        await writer.write(DATA)
        await writer.publish(DIGEST)
    assert len(fsyncs) == 1
    assert fsyncs[0].startswith(str(root / "entrepot" / "uploads"))


async def test_relaxed_never_syncs(
    root: Path, threads: ThreadPoolExecutor, fsyncs: list[str]
) -> None:
    store = FilesystemStore(root, threads=threads, sync_files=None)
    for _ in range(2):
        await store.put(DIGEST, DATA)
        async with store.append(uuid4()) as writer:
            await writer.write(bytes(10 * MIB))
            await writer.publish(Digest.of(bytes(10 * MIB)))
    await store.sync([DIGEST])
    assert fsyncs == []


async def test_sync_hands_over_all_files_at_once(root: Path, threads: ThreadPoolExecutor) -> None:
    """So that a journalling file system commits once for all that a manifest needs."""
    calls: list[list[str]] = []

    def record(paths: Iterable[str]) -> None:
        calls.append(list(paths))

    store = FilesystemStore(root, threads=threads, sync_files=record)
    digests = [Digest.of(b"%d" % n) for n in range(3)]
    for n, digest in enumerate(digests):
        await store.put(digest, b"%d" % n)
    await store.sync(digests)
    await store.sync([])
    assert calls == [[str(blob_path(root, digest)) for digest in digests]]


async def test_syncing_a_blob_that_is_gone_fails(store: FilesystemStore) -> None:
    with pytest.raises(StorageError, match="No such file"):
        await store.sync([DIGEST])


async def test_calls_are_timed_under_their_names(root: Path, threads: ThreadPoolExecutor) -> None:
    seen: list[str] = []
    store = FilesystemStore(root, threads=threads, observe=lambda action, _: seen.append(action))
    await store.put(DIGEST, DATA)
    await store.size(DIGEST)
    reader = await store.open(DIGEST)
    assert reader is not None
    reader.close()
    await store.sync([DIGEST])
    await store.delete([DIGEST])
    assert seen == ["PutContent", "Stat", "Reader", "Sync", "Delete"]
