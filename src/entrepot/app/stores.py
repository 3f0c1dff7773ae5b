"""Opening the index and the storage that a configuration names."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Final

from entrepot.app.audit import open_trail
from entrepot.config import Config, ConfigError, Problem
from entrepot.core.keeping import Keeping
from entrepot.db import Database
from entrepot.db.address import IndexAddress
from entrepot.db.opening import open_index
from entrepot.services.stores import Stores
from entrepot.services.upload_sessions import IndexedSessions
from entrepot.storage import StorageError, StorageSettingError
from entrepot.storage.directory import DirectoryTree
from entrepot.storage.durable import sync_files
from entrepot.storage.filesystem import FilesystemStore
from entrepot.storage.object_store import ObjectOptions, ObjectStore
from entrepot.storage.object_tree import ObjectTree
from entrepot.storage.objects import ObjectDriver
from entrepot.storage.retries import Retries
from entrepot.storage.tree import OwnTree
from entrepot.telemetry import Metrics

THREADS: Final = 16
"""Threads of a worker that hash, write and wait for the disk."""

_PROBE: Final = ".entrepot-health"


def storage_check(config: Config) -> Callable[[], None]:
    """Return what raises `EntrepotError` if the storage can't be read or, unless the registry is
    read-only, written.
    """

    def check() -> None:
        probe = config.storage.root / _PROBE
        try:
            if config.storage.maintenance.readonly.enabled:
                next(config.storage.root.iterdir(), None)
            else:
                probe.write_bytes(b"")
                probe.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{error.strerror}: {error.filename}") from error

    if config.storage.in_objects:
        object_client(config)  # its library is loaded once, before there are processes
        return lambda: asyncio.run(_read_probe(config))
    return check if config.storage.driver == "filesystem" else lambda: None


def now() -> int:
    """Return the microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1000


def index_address(config: Config) -> IndexAddress:
    """Return where the index is, and how to connect to it."""
    database = config.database
    return IndexAddress(
        config.database_url(),
        connections=database.maxconnections,
        connect_timeout=database.connecttimeout,
        statement_timeout=database.statementtimeout,
    )


def own_directory(config: Config) -> Path | None:
    """Return the directory on this machine that belongs to the storage or the index, if any."""
    if not config.storage.in_objects:
        return config.storage.own
    address = index_address(config)
    return address.path.parent if address.is_file else None


def open_filesystem(
    config: Config, threads: ThreadPoolExecutor, metrics: Metrics
) -> FilesystemStore:
    """Return the store in files."""
    return FilesystemStore(
        config.storage.root,
        threads=threads,
        sync_files=sync_files if config.storage.durability == "full" else None,
        observe=lambda action, seconds: metrics.storage_action("filesystem", action, seconds),
    )


def object_client(
    config: Config,
    *,
    observe: Callable[[str, float], None] = lambda _action, _seconds: None,
    retries: Retries | None = None,
) -> ObjectDriver:
    """Return the driver that is configured; only its library is loaded."""
    if config.storage.s3 is not None:
        from entrepot.storage.s3 import S3Client

        return S3Client(config.storage.s3, observe=observe, retries=retries)
    if config.storage.gcs is not None:
        from entrepot.storage.gcs import open_gcs

        return open_gcs(config.storage.gcs, observe=observe, retries=retries)
    if config.storage.azure is not None:
        from entrepot.storage.azure import open_azure

        return open_azure(config.storage.azure, observe=observe, retries=retries)
    raise ConfigError([Problem(f"storage.{config.storage.driver}: not supported")])


def _object_options(config: Config) -> ObjectOptions:
    storage = config.storage
    redirect = not storage.redirect.disable
    if storage.s3 is not None:
        return ObjectOptions(storage.s3.rootdirectory, storage.s3.chunksize, redirect)
    if storage.gcs is not None:
        return ObjectOptions(storage.gcs.rootdirectory, storage.gcs.chunksize, redirect)
    if storage.azure is not None:
        return ObjectOptions(storage.azure.rootdirectory, redirect=redirect)
    return ObjectOptions(redirect=redirect)


def object_store(
    config: Config, client: ObjectDriver, index: Database, threads: ThreadPoolExecutor
) -> ObjectStore:
    """Return the store of blobs and uploads over a driver."""
    return ObjectStore(
        client,
        client,
        IndexedSessions(index, now=now),
        threads=threads,
        options=_object_options(config),
    )


async def try_objects(config: Config) -> None:
    """Do with the object store what will be done all the time, or raise `StorageError`."""
    client = object_client(config, retries=Retries(times=2))
    key = f"{_object_options(config).prefix}entrepot/probe-{token_hex(8)}"
    try:
        if config.storage.maintenance.readonly.enabled:
            await client.read(key)
            return
        await client.put(key, b"probe")
        if await client.read(key) != b"probe":
            raise StorageError("what was written a moment ago can't be read")
        await client.delete([key])
    finally:
        await client.close()


async def _read_probe(config: Config) -> None:
    """Ask the object store for something that need not be there, or raise `StorageError`."""
    client = object_client(config, retries=Retries(times=0))
    try:
        await client.read(f"{_object_options(config).prefix}entrepot/{_PROBE}")
    finally:
        await client.close()


def storage_key(config: Config, error: StorageError | None = None) -> str:
    """Return the key of the storage's driver, or that of its setting which `error` is about."""
    setting = f".{error.setting}" if isinstance(error, StorageSettingError) else ""
    return f"storage.{config.storage.driver}{setting}"


def about_storage(config: Config, error: StorageError) -> str:
    """Say what is wrong with the storage, and with which key."""
    return f"{storage_key(config, error)}: {error}"


@dataclass(frozen=True, slots=True)
class OpenStores:
    """The stores of one process of a server; `objects` is the driver of its object store."""

    stores: Stores
    objects: ObjectDriver | None

    async def close(self) -> None:
        """Finish what was begun."""
        await self.stores.index.close()
        if self.objects is not None:
            await self.objects.close()


def open_stores(
    config: Config, threads: ThreadPoolExecutor, metrics: Metrics, *, aside: bool = False
) -> OpenStores:
    """Open stores that are not in memory. `threads` does what may wait for the disk; `aside` as
    `open_index` has it.
    """
    index = open_index(
        index_address(config),
        durable=config.storage.durability == "full",
        aside=aside,
        committed=metrics.index_commit,
    )
    objects: ObjectDriver | None = None
    store: FilesystemStore | ObjectStore
    if config.storage.in_objects:
        driver = config.storage.driver
        objects = object_client(
            config, observe=lambda action, took: metrics.storage_action(driver, action, took)
        )
        store = object_store(config, objects, index, threads)
    else:
        store = open_filesystem(config, threads, metrics)
    trail = open_trail(config, index, metrics=metrics)
    return OpenStores(Stores(index, store, store, now, trail, keeping=keeping_of(config)), objects)


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[tuple[Stores, OwnTree]]:
    """The stores of a registry whose index is up to date, and its storage as plain files, for what
    is done beside the workers.
    """
    with ThreadPoolExecutor(THREADS) as threads:
        index = open_index(index_address(config))
        client = object_client(config) if config.storage.in_objects else None
        try:
            store: FilesystemStore | ObjectStore
            if client is not None:
                store = object_store(config, client, index, threads)
            else:
                store = FilesystemStore(config.storage.root, threads=threads)
            trail = open_trail(config, index)
            yield (
                Stores(index, store, store, now, trail, keeping=keeping_of(config)),
                tree_of(config, client, threads),
            )
        finally:
            if client is not None:
                await client.close()
            await index.close()


def place(config: Config) -> str:
    """Return the directory or the address of the bucket that holds the registry's storage."""
    if config.storage.s3 is not None:
        return f"s3://{config.storage.s3.bucket}/{_object_options(config).prefix}"
    if config.storage.gcs is not None:
        return f"gs://{config.storage.gcs.bucket}/{_object_options(config).prefix}"
    if config.storage.azure is not None:
        azure = config.storage.azure
        return f"azure://{azure.accountname}/{azure.container}/{_object_options(config).prefix}"
    return str(config.storage.root.resolve())


def tree_of(config: Config, client: ObjectDriver | None, threads: ThreadPoolExecutor) -> OwnTree:
    """Return the storage as plain files, for what `registry:2` left in it."""
    if client is not None:
        return ObjectTree(client, prefix=_object_options(config).prefix)
    return DirectoryTree(config.storage.root, threads=threads)


def keeping_of(config: Config) -> Keeping:
    """Return how long content that nothing needs any more is kept."""
    collection, trash = config.lifecycle.collection, config.lifecycle.trash
    history = config.lifecycle.history.keep
    return Keeping(
        grace=round(collection.grace * 1_000_000),
        trash=round(trash.window * 1_000_000),
        history=round(max(history, trash.window) * 1_000_000) if history else 0,
        untagged=collection.untagged,
    )
