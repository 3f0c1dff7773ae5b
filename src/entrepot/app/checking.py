"""Trying out the servers that a configuration names: whether they could be used as they will be."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from entrepot.app.ldap import check_ldap
from entrepot.app.stores import (
    index_address,
    object_client,
    storage_key,
    tree_of,
    try_objects,
)
from entrepot.app.tokens import check_keys
from entrepot.config import Config
from entrepot.config.finding import Finding, error, ok
from entrepot.db import DatabaseError
from entrepot.db.errors import DatabaseUnavailableError
from entrepot.db.opening import look_into, try_index
from entrepot.services.ownership import find_index_id, find_owner
from entrepot.storage import StorageError, StorageOwnedError
from entrepot.storage.retries import Retries


def check_servers(config: Config) -> Iterator[Finding]:
    """Every finding about the servers that the registry would connect to, the keys that it would
    trust, and whose its storage is. Changes nothing, but writes a small object into an object store
    and removes it.
    """
    yield from check_keys(config)
    yield from check_ldap(config)
    if config.storage.in_objects:
        try:
            asyncio.run(try_objects(config))
            yield ok(storage_key(config), "objects can be read, written and removed")
        except StorageError as failure:
            yield error(storage_key(config, failure), str(failure))
    if config.storage.driver == "inmemory":
        return
    address = index_address(config)
    if not address.is_file:
        try:
            yield ok("database.url", try_index(address))
        except DatabaseError as failure:
            yield error("database.url", str(failure))
    yield from _check_owner(config)


def _check_owner(config: Config) -> Iterator[Finding]:
    """What is found about whose the storage is; nothing if the storage or the index can't be asked,
    of which there is a finding already.
    """
    try:
        owner = asyncio.run(_find_owner(config))
        own = asyncio.run(_find_index_id(config)) if owner is not None else None
    except (StorageError, DatabaseUnavailableError):
        return
    if owner is None:
        return
    if owner == own:
        yield ok(storage_key(config), "the storage belongs to this index")
    else:
        yield error(storage_key(config), str(StorageOwnedError(owner=owner, index=own)))


async def _find_owner(config: Config) -> str | None:
    client = object_client(config, retries=Retries(times=2)) if config.storage.in_objects else None
    with ThreadPoolExecutor(1) as threads:
        try:
            return await find_owner(tree_of(config, client, threads))
        finally:
            if client is not None:
                await client.close()


async def _find_index_id(config: Config) -> str | None:
    """Return the id of the index, or None if there is no index yet."""
    address = index_address(config)
    if address.is_file and not address.path.exists():
        return None
    async with look_into(address) as index:
        try:
            return await find_index_id(index)
        except DatabaseUnavailableError:
            raise
        except DatabaseError:
            return None  # there is a database, but no table in it
