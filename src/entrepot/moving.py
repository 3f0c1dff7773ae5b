"""Moving in from `registry:2` and back, beside the servers: a configuration becomes the work.

What is taken over at the start of a server needs nothing of this.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import msgspec

from entrepot.app import opened, place, prepare
from entrepot.config import Config, ConfigError, Problem
from entrepot.config.schema_storage import Storage
from entrepot.core.audit import TAKEOVER, event
from entrepot.core.digest import Digest
from entrepot.core.errors import EntrepotError
from entrepot.core.layout import blob_path
from entrepot.db import Transaction
from entrepot.db.address import IndexAddress
from entrepot.db.imports import (
    Finding,
    Import,
    Progress,
    begin_import,
    count_progress,
    find_import,
    list_findings,
    list_imports,
)
from entrepot.services.audit import Notes
from entrepot.services.exports import Exported, export_layout
from entrepot.services.imports import Importer
from entrepot.services.layout import Layout
from entrepot.services.stores import Stores
from entrepot.storage.directory import DirectoryTree
from entrepot.storage.tree import Tree

_TELL_EVERY: Final = 1.0
_PAGE: Final = 500

Tell = Callable[[Import, Progress], None]
"""Told now and then how far an import is."""


class ImportBusyError(EntrepotError):
    """Somebody else is at the same import."""


class ImportSourceError(EntrepotError):
    """There is nothing of `registry:2` where it was looked for."""


def import_storage(config: Config, source: str, *, verify: bool, tell: Tell) -> Import:
    """Import all that `registry:2` left at `source`, a directory or a bucket as `place` writes it:
    without copying if that is the registry's own, and going on where it was interrupted.

    Raises:
        EntrepotError: it can't begin, or go on; what is done is kept.
    """
    prepare(config)
    address = source if "://" in source else str(Path(source).resolve())
    return asyncio.run(_import_storage(config, address, verify=verify, tell=tell))


async def _import_storage(config: Config, address: str, *, verify: bool, tell: Tell) -> Import:
    own = place(config)
    async with opened(config) as (stores, tree):
        if address.rstrip("/") == own.rstrip("/"):
            old = Layout(tree)
            return await _import(stores, old, own, verify=verify, tell=tell, in_place=True)
        async with _opened_source(config, address) as found:
            old = Layout(found, fetch=_Copies(stores, found, tree).fetch)
            return await _import(stores, old, address, verify=verify, tell=tell, in_place=False)


@asynccontextmanager
async def _opened_source(config: Config, address: str) -> AsyncIterator[Tree]:
    scheme, _, rest = address.partition("://")
    if not rest:
        with ThreadPoolExecutor(16) as threads:
            yield DirectoryTree(Path(address), threads=threads)
        return
    storage = _storage_of(config.storage, scheme, rest)
    if storage is None:
        problem = (
            f"{address} can't be read: give s3://BUCKET/ROOT, gs://BUCKET/ROOT or "
            "azure://ACCOUNT/CONTAINER/ROOT, and storage.s3, gcs or azure in the configuration "
            "with the endpoint and the credentials for it"
        )
        raise ConfigError([Problem(problem)])
    async with opened(msgspec.structs.replace(config, storage=storage)) as (_, tree):
        yield tree


def _storage_of(own: Storage, scheme: str, rest: str) -> Storage | None:
    """Return the registry's own storage with another bucket, or None if that can't be."""
    replace = msgspec.structs.replace
    bucket, _, root = rest.partition("/")
    if scheme == "s3" and own.s3 is not None:
        return replace(own, s3=replace(own.s3, bucket=bucket, rootdirectory=root))
    if scheme == "gs" and own.gcs is not None:
        return replace(own, gcs=replace(own.gcs, bucket=bucket, rootdirectory=root))
    if scheme == "azure" and own.azure is not None and own.azure.accountname == bucket:
        container, _, root = root.partition("/")
        return replace(own, azure=replace(own.azure, container=container, rootdirectory=root))
    return None


async def _import(
    stores: Stores, old: Layout, source: str, *, verify: bool, tell: Tell, in_place: bool
) -> Import:
    if not await old.exists():
        raise ImportSourceError(
            f"{source} holds no repositories of registry:2: give the directory that holds "
            "docker/registry/v2, which its storage.filesystem.rootdirectory names"
        )
    number = await _begin(stores, source, in_place=in_place, verify=verify)
    work = asyncio.ensure_future(Importer(stores, old, number).run())
    try:
        while not (await asyncio.wait({work}, timeout=_TELL_EVERY))[0]:
            found = await find_import(stores.index, number)
            if found is not None and found.finished_at is None:
                tell(found, await count_progress(stores.index, number))
        if not await work:
            raise ImportBusyError(
                f"{source} is being imported by somebody else: see entrepot import status"
            )
    finally:
        work.cancel()
        await asyncio.wait({work})
    ended = await find_import(stores.index, number)
    if ended is None:
        raise ImportBusyError(f"{source} is no longer being imported")
    return ended


async def _begin(stores: Stores, source: str, *, in_place: bool, verify: bool) -> int:
    """Return the import of a source: one that was interrupted, if it was of the same kind."""
    now = stores.now()
    for known in await list_imports(stores.index):
        if known.source == source and known.finished_at is None and known.verify == verify:
            return known.id

    async def work(transaction: Transaction, notes: Notes) -> int:
        notes.add(event("import.begin", target=source))
        return await begin_import(transaction, source, in_place=in_place, verify=verify, now=now)

    return await stores.trail.write(work, by=TAKEOVER)


class _Copies:
    """Blobs of another storage, brought into the registry's own as manifests need them."""

    def __init__(self, stores: Stores, source: Tree, own: Tree) -> None:
        self._stores = stores
        self._source = source
        self._own = own

    async def fetch(self, digest: Digest, size: int) -> bool:
        """Bring a blob in, by a hard link where that can be, and return whether it is whole."""
        blobs = self._stores.blobs
        if await blobs.size(digest) == size:
            return True
        if not await self._link(digest) and not await self._copy(digest):
            return False
        await blobs.sync([digest])
        return True

    async def _link(self, digest: Digest) -> bool:
        source, own = self._source, self._own
        if not isinstance(source, DirectoryTree) or not isinstance(own, DirectoryTree):
            return False
        return await own.link(source, blob_path(digest))

    async def _copy(self, digest: Digest) -> bool:
        async with self._stores.uploads.append(uuid4()) as writer:
            running = hashlib.new(digest.algorithm)
            writer.hasher = running
            async for piece in self._source.pieces(blob_path(digest)):
                await writer.write(piece)
            await writer.flush()
            if f"{digest.algorithm}:{running.hexdigest()}" != digest:
                await writer.discard()
                return False
            await writer.publish(digest)
            return True


def export(config: Config) -> Exported:
    """Write the index down in `registry:2`'s layout, in the registry's own storage."""
    prepare(config)
    return asyncio.run(_export(config))


async def _export(config: Config) -> Exported:
    async with opened(config) as (stores, tree):
        return await export_layout(stores, Layout(tree))


def imports(config: Config) -> list[tuple[Import, Progress]]:
    """Return every import with how far it is. Nothing is changed, nor made where there is none."""
    address = IndexAddress(config.database_url())
    if address.is_file and not address.path.exists():
        return []
    return asyncio.run(_imports(config))


async def _imports(config: Config) -> list[tuple[Import, Progress]]:
    async with opened(config) as (stores, _):
        return [
            (entry, await count_progress(stores.index, entry.id))
            for entry in await list_imports(stores.index)
        ]


def findings(config: Config, entry: Import) -> list[Finding]:
    """Return what an import found to be broken."""
    return asyncio.run(_findings(config, entry))


async def _findings(config: Config, entry: Import) -> list[Finding]:
    found: list[Finding] = []
    async with opened(config) as (stores, _):
        while page := await list_findings(
            stores.index, entry.id, last=found[-1].place if found else "", limit=_PAGE
        ):
            found += page
    return found
