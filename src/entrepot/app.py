"""The composition root: a configuration becomes an application. Concrete drivers are named here."""

import asyncio
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from typing import Final

import structlog

from entrepot.api.asgi import Application
from entrepot.api.context import Context, Limits
from entrepot.api.http import Headers, Request
from entrepot.api.links import Links
from entrepot.api.origins import Origins
from entrepot.api.routes import Router
from entrepot.config import Config, ConfigError, Problem
from entrepot.config.finding import Finding, ok
from entrepot.config.finding import error as wrong
from entrepot.core.access import Action
from entrepot.db import Database, DatabaseError, Transaction
from entrepot.db.address import IndexAddress
from entrepot.db.opening import migrate_index, open_index, try_index
from entrepot.db.settings import ensure_setting
from entrepot.health import HealthBoard
from entrepot.identity import Authenticator
from entrepot.identity.anonymous import Anonymous
from entrepot.identity.htpasswd import Htpasswd
from entrepot.identity.users import create_users_file
from entrepot.services.imports import begin_takeover, find_past, take_part
from entrepot.services.layout import Layout
from entrepot.services.maintenance import Upkeep, recover
from entrepot.services.push import ManifestRules
from entrepot.services.stores import Stores
from entrepot.services.upload_sessions import IndexedSessions
from entrepot.services.uploads import Uploads
from entrepot.storage import StorageError, StorageSettingError
from entrepot.storage.directory import DirectoryTree
from entrepot.storage.durable import sync_files
from entrepot.storage.filesystem import FilesystemStore
from entrepot.storage.memory import MemoryStore
from entrepot.storage.object_store import ObjectOptions, ObjectStore
from entrepot.storage.object_tree import ObjectTree
from entrepot.storage.objects import ObjectDriver
from entrepot.storage.retries import Retries
from entrepot.storage.tree import Tree
from entrepot.telemetry import Access, AccessLog, Metrics

_THREADS: Final = 16
"""Threads of a worker that hash, write and wait for the disk."""

_PROBE: Final = ".entrepot-health"

_log = structlog.get_logger("entrepot.app")


def prepare(config: Config) -> None:
    """Do what must be done once before any worker starts: bring the index to the present schema,
    make sure of blobs that were not yet durable, and create a missing htpasswd file.

    Raises:
        EntrepotError: the registry can't start, with what to do about it.
    """
    if config.auth.htpasswd is not None:
        create_users_file(Path(config.auth.htpasswd.path))
    if config.storage.driver == "inmemory":
        return
    if config.storage.in_objects:
        try:
            asyncio.run(_try_objects(config))
        except StorageError as error:
            raise ConfigError([Problem(_about_storage(config, error))]) from error
    if config.storage.driver == "filesystem" or _index_address(config).is_file:
        _prepare_directory(config)
    _migrate(config)
    asyncio.run(_recover(config))


def build(config: Config, *, health: HealthBoard, metrics: Path) -> Application:
    """Return the registry that `config` describes, as an ASGI application for one process.

    `health` is shared by all processes of the server, and so is the directory `metrics`.
    """
    runtime = _Runtime(config, health, Metrics(metrics))
    return Application(
        router=Router(prefix=config.http.path_prefix),
        metrics=runtime.metrics,
        refused=_refused(config),
        headers=_headers(config),
        access_log=runtime.log_access if runtime.access else None,
        startup=runtime.start,
        shutdown=runtime.stop,
    )


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
        _object_client(config)  # its library is loaded once, before there are processes
        return lambda: asyncio.run(_read_probe(config))
    return check if config.storage.driver == "filesystem" else lambda: None


def check_servers(config: Config) -> Iterator[Finding]:
    """Every finding about the servers that the registry would connect to. Changes nothing, but
    writes a small object into an object store and removes it again.
    """
    if config.storage.in_objects:
        what = f"storage.{config.storage.driver}"
        try:
            asyncio.run(_try_objects(config))
            yield ok(what, "objects can be read, written and removed")
        except StorageError as failure:
            setting = f".{failure.setting}" if isinstance(failure, StorageSettingError) else ""
            yield wrong(f"{what}{setting}", str(failure))
    address = _index_address(config)
    if config.storage.driver != "inmemory" and not address.is_file:
        try:
            yield ok("database.url", try_index(address))
        except DatabaseError as failure:
            yield wrong("database.url", str(failure))


class _Runtime:
    """What lives as long as a worker."""

    def __init__(self, config: Config, health: HealthBoard, metrics: Metrics) -> None:
        self._config = config
        self._health = health
        self.metrics = metrics
        self.authenticator = _authenticator(config, metrics)
        self.access = None if config.log.accesslog.disabled else AccessLog(config.log)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="storage")
        self._temporary: Path | None = None
        self._index: Database | None = None
        self._objects: ObjectDriver | None = None
        self._upkeep: asyncio.Task[None] | None = None
        self._takeover: asyncio.Task[None] | None = None

    async def start(self) -> Context:
        """Open the stores in the running event loop."""
        config = self._config
        stores = await self._with_past(self._stores())
        secret = config.http.secret or await _secret(stores)
        uploads = Uploads(stores, key=secret.encode())
        if not config.storage.maintenance.readonly.enabled:
            self._upkeep = asyncio.create_task(self._upkeep_of(stores).run())
        limits = config.http.limits
        return Context(
            authenticator=self.authenticator,
            origins=_origins(config),
            stores=stores,
            uploads=uploads,
            links=Links(
                host=config.http.host,
                prefix=config.http.path_prefix,
                relative=config.http.relativeurls,
            ),
            limits=Limits(
                manifest=limits.manifestsize,
                headers=limits.headersize,
                idle=limits.idletimeout,
                requests=limits.concurrency,
                catalog_page=config.catalog.maxentries,
                tags_page=config.tags.maxtags,
            ),
            rules=_manifest_rules(config),
            accelerate=config.http.accelprefix if config.http.accel else None,
            health=self._health,
            metrics=self.metrics,
        )

    async def stop(self) -> None:
        """Finish what was begun, and close the stores."""
        for task in (self._takeover, self._upkeep):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        if self._index is not None:
            await self._index.close()
        if self._objects is not None:
            await self._objects.close()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
        self._threads.shutdown()
        if self.access is not None:
            self.access.close()
        if isinstance(self.authenticator, Htpasswd):
            self.authenticator.close()
        self.metrics.close()

    def log_access(self, request: Request, status: int, seconds: float, sent: int) -> None:
        """Write a line of the access log, if there is one."""
        if self.access is None:
            return
        self.access.access(
            Access(
                client=request.address or request.client,
                method=request.method,
                path=request.path,
                query=request.scope["query_string"].decode("latin-1"),
                protocol=request.scope["http_version"],
                status=status,
                request_bytes=request.received,
                response_bytes=sent,
                seconds=seconds,
                request_id=request.id,
                user=request.actor or "",
                user_agent=request.header(b"user-agent") or "",
                referer=request.header(b"referer") or "",
            )
        )

    def _stores(self) -> Stores:
        if self._config.storage.driver == "inmemory":
            self._temporary = Path(tempfile.mkdtemp(prefix="entrepot-index-"))
            address = IndexAddress(f"sqlite://{self._temporary / 'index.sqlite3'}")
            migrate_index(address)
            memory = MemoryStore()
            self._index = open_index(address, durable=False, committed=self.metrics.index_commit)
            return Stores(self._index, memory, memory, _now)
        self._index = open_index(
            _index_address(self._config),
            durable=self._config.storage.durability == "full",
            committed=self.metrics.index_commit,
        )
        store: FilesystemStore | ObjectStore
        if self._config.storage.in_objects:
            driver = self._config.storage.driver
            self._objects = _object_client(
                self._config,
                observe=lambda action, seconds: self.metrics.storage_action(
                    driver, action, seconds
                ),
            )
            store = _object_store(self._config, self._objects, self._index, self._threads)
        else:
            store = _filesystem(self._config, self._threads, self.metrics)
        return Stores(self._index, store, store, _now)

    async def _with_past(self, stores: Stores) -> Stores:
        """Take part in a takeover of what `registry:2` left here, if one is under way."""
        if self._config.storage.driver == "inmemory":
            return stores
        tree = _tree(self._config, self._objects, self._threads)
        past = await find_past(stores, Layout(tree))
        if past is not None:
            stores = replace(stores, past=past)
            self._takeover = asyncio.create_task(take_part(stores, past, self.metrics))
        return stores

    def _upkeep_of(self, stores: Stores) -> Upkeep:
        purging = self._config.storage.maintenance.uploadpurging
        place = self._temporary or self._config.storage.own
        return Upkeep(
            stores=stores,
            lock=place / "upkeep.lock",
            purge_every=purging.interval if purging.enabled else None,
            purge_age=purging.age,
            purge_dry_run=purging.dryrun,
            metrics=self.metrics,
        )


def _now() -> int:
    return time.time_ns() // 1000


def _index_address(config: Config) -> IndexAddress:
    database = config.database
    return IndexAddress(
        config.database_url(),
        connections=database.maxconnections,
        connect_timeout=database.connecttimeout,
        statement_timeout=database.statementtimeout,
    )


def _migrate(config: Config) -> None:
    address = _index_address(config)
    try:
        migrate_index(address)
    except DatabaseError as failure:
        if address.is_file:
            raise
        raise ConfigError([Problem(f"database.url: {failure}")]) from failure


def _prepare_directory(config: Config) -> None:
    made, key = config.storage.own, "storage.filesystem.rootdirectory"
    if config.storage.in_objects:
        made, key = _index_address(config).path.parent, "database.url"
    try:
        made.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            [
                Problem(
                    f"{key}: {made}: {error.strerror}; "
                    "create it and let the user that runs the registry write to it"
                )
            ]
        ) from error


def _filesystem(config: Config, threads: ThreadPoolExecutor, metrics: Metrics) -> FilesystemStore:
    return FilesystemStore(
        config.storage.root,
        threads=threads,
        sync_files=sync_files if config.storage.durability == "full" else None,
        observe=lambda action, seconds: metrics.storage_action("filesystem", action, seconds),
    )


def _object_client(
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


def _object_store(
    config: Config, client: ObjectDriver, index: Database, threads: ThreadPoolExecutor
) -> ObjectStore:
    return ObjectStore(
        client,
        client,
        IndexedSessions(index, now=_now),
        threads=threads,
        options=_object_options(config),
    )


async def _try_objects(config: Config) -> None:
    """Do with the object store what will be done all the time, or raise `StorageError`."""
    client = _object_client(config, retries=Retries(times=2))
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
    client = _object_client(config, retries=Retries(times=0))
    try:
        await client.read(f"{_object_options(config).prefix}entrepot/{_PROBE}")
    finally:
        await client.close()


def _about_storage(config: Config, error: StorageError) -> str:
    setting = f".{error.setting}" if isinstance(error, StorageSettingError) else ""
    return f"storage.{config.storage.driver}{setting}: {error}"


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[tuple[Stores, Tree]]:
    """The stores of a registry whose index is up to date, and its storage as plain files, for what
    is done beside the workers.
    """
    with ThreadPoolExecutor(_THREADS) as threads:
        index = open_index(_index_address(config))
        client = _object_client(config) if config.storage.in_objects else None
        try:
            store: FilesystemStore | ObjectStore
            if client is not None:
                store = _object_store(config, client, index, threads)
            else:
                store = FilesystemStore(config.storage.root, threads=threads)
            yield Stores(index, store, store, _now), _tree(config, client, threads)
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


def _tree(config: Config, client: ObjectDriver | None, threads: ThreadPoolExecutor) -> Tree:
    """Return the storage as plain files, for what `registry:2` left in it."""
    if client is not None:
        return ObjectTree(client, prefix=_object_options(config).prefix)
    return DirectoryTree(config.storage.root, threads=threads)


async def _recover(config: Config) -> None:
    async with opened(config) as (stores, tree):
        await _secret(stores)
        for digest in await recover(stores, boot=_boot()):
            _log.error("blob was lost when the power went; push the image again", digest=digest)
        await begin_takeover(stores, Layout(tree), source=place(config))


def _boot() -> str:
    """Return what names this run of the machine, or something new if nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return token_hex(16)


async def _secret(stores: Stores) -> str:
    """Return the key that signs upload states, the same for every process on this index."""
    new = token_hex(32)

    async def work(transaction: Transaction) -> str:
        return await ensure_setting(transaction, "http.secret", default=new)

    return await stores.index.write(work)


def _authenticator(config: Config, metrics: Metrics) -> Authenticator:
    htpasswd = config.auth.htpasswd
    if htpasswd is None:
        return Anonymous()
    return Htpasswd(Path(htpasswd.path), realm=htpasswd.realm, metrics=metrics)


def _origins(config: Config) -> Origins:
    return Origins(config.http.trustedproxies)


def _refused(config: Config) -> dict[Action, str]:
    """Return the actions that the configuration rules out, with the reason."""
    if config.storage.maintenance.readonly.enabled:
        reason = "the registry is read-only for maintenance"
        return {Action.PUSH: reason, Action.DELETE: reason}
    if not config.storage.delete.enabled:
        return {Action.DELETE: "deleting is disabled by storage.delete.enabled"}
    return {}


def _headers(config: Config) -> Headers:
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, values in config.http.headers.items()
        for value in values
    ]


def _manifest_rules(config: Config) -> ManifestRules:
    if config.validation.disabled:
        return ManifestRules()
    urls, indexes = config.validation.manifests.urls, config.validation.manifests.indexes
    platforms = None
    if indexes.platforms != "all":
        listed = indexes.platformlist if indexes.platforms == "list" else ()
        platforms = frozenset((entry.os, entry.architecture) for entry in listed)
    return ManifestRules(
        allow=tuple(re.compile(pattern) for pattern in urls.allow),
        deny=tuple(re.compile(pattern) for pattern in urls.deny),
        platforms=platforms,
    )
