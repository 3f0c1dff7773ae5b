"""What is done once, before any worker starts."""

import asyncio
from pathlib import Path

import structlog

from entrepot.app.accounts import ensure_administrator
from entrepot.app.audit import shared_secret
from entrepot.app.clocks import boot
from entrepot.app.stores import (
    about_storage,
    index_address,
    opened,
    own_directory,
    place,
    try_objects,
)
from entrepot.config import Config, ConfigError, Problem
from entrepot.core.errors import EntrepotError, UnreachableError
from entrepot.db import DatabaseError
from entrepot.db.opening import migrate_index
from entrepot.identity.users import create_users_file
from entrepot.services.imports import begin_takeover
from entrepot.services.layout import Layout
from entrepot.services.maintenance import recover
from entrepot.services.ownership import Adopted, adopt_storage, check_owner, claim_storage
from entrepot.services.stores import Stores
from entrepot.storage import StorageError
from entrepot.storage.tree import OwnTree

_log = structlog.get_logger("entrepot.app")


def prepare(config: Config) -> None:
    """Do what must be done once before any worker starts: bring the index to the present schema,
    make sure of blobs that were not yet durable, and make a missing htpasswd file and the first
    administrator.

    Raises:
        UnreachableError: a server that is needed doesn't answer just now; this may be repeated.
        EntrepotError: the registry can't start, with what to do about it.
    """
    if config.auth.htpasswd is not None:
        create_users_file(Path(config.auth.htpasswd.path))
    if config.storage.driver == "inmemory":
        return
    if config.storage.in_objects:
        try:
            asyncio.run(try_objects(config))
        except StorageError as error:
            raise _told(about_storage(config, error), error) from error
    _prepare_index(config)
    if config.storage.in_objects and not config.database.url:
        path = str(index_address(config).path)
        _log.warning("the index is kept on this machine: keep it, and back it up", path=path)
    asyncio.run(_recover(config))


def _told(problem: str, failure: EntrepotError) -> EntrepotError:
    """Return what is raised for a failure with the key that it is about."""
    if isinstance(failure, UnreachableError):
        return UnreachableError(problem)
    return ConfigError([Problem(problem)])


def adopt(config: Config, *, by: str) -> Adopted:
    """Make the index that is configured the owner of the storage that is, whoever was.

    Raises:
        EntrepotError: one of them can't be used.
    """
    if config.storage.driver == "inmemory":
        raise ConfigError([Problem("storage: what is in memory has no other owner")])
    _prepare_index(config)
    return asyncio.run(_adopt(config, by))


async def _adopt(config: Config, by: str) -> Adopted:
    async with opened(config) as (stores, tree):
        try:
            return await adopt_storage(stores, tree, by=by)
        except StorageError as error:
            raise _told(about_storage(config, error), error) from error


def _prepare_index(config: Config) -> None:
    _prepare_directory(config)
    address = index_address(config)
    try:
        migrate_index(address)
    except DatabaseError as failure:
        if address.is_file:
            raise
        raise _told(f"database.url: {failure}", failure) from failure


def _prepare_directory(config: Config) -> None:
    made = own_directory(config)
    if made is None:
        return
    key = "database.url" if config.storage.in_objects else "storage.filesystem.rootdirectory"
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


async def _recover(config: Config) -> None:
    async with opened(config) as (stores, tree):
        await _make_sure_of_owner(config, stores, tree)
        await upload_secret(stores)
        await ensure_administrator(config, stores.index)
        for digest in await recover(stores, boot=boot()):
            _log.error("blob was lost when the power went; push the image again", digest=digest)
        await begin_takeover(stores, Layout(tree), source=place(config))


async def _make_sure_of_owner(config: Config, stores: Stores, tree: OwnTree) -> None:
    try:
        if config.storage.maintenance.readonly.enabled:
            await check_owner(stores, tree)
        else:
            await claim_storage(stores, tree)
    except StorageError as error:
        raise _told(about_storage(config, error), error) from error


async def upload_secret(stores: Stores) -> str:
    """Return the key that signs upload states, the same for every process on this index."""
    return await shared_secret(stores.trail)
