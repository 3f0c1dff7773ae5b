"""Whose a storage is: that of the index which knows what its objects are for.

Every index has a random id, and the storage says the id of its owner. So two indexes on one storage
are noticed, before one of them takes for garbage what the other one needs.
"""

from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import structlog

from entrepot.core.audit import event
from entrepot.db.engine import Reader, Transaction
from entrepot.db.settings import ensure_setting, find_setting, replace_setting
from entrepot.services.audit import Notes
from entrepot.services.stores import Stores
from entrepot.storage import StorageError, StorageOwnedError
from entrepot.storage.tree import OwnTree, Tree

MARKER: Final = "entrepot/index-id"
"""The file or object, below the root of the storage, that holds the id of the owner."""

_ID: Final = "index.id"
_SINCE: Final = "storage.owned_since"

_MOST: Final = 1024
"""Bytes that a marker may have."""

_log = structlog.get_logger("entrepot.storage")


async def find_owner(tree: Tree) -> str | None:
    """Return the id of the index that owns a storage, or None if no index does yet.

    Raises:
        StorageError: the marker can't be read.
    """
    (found,) = await tree.read_many([MARKER], most=_MOST)
    if isinstance(found, StorageError):
        raise found
    # An empty file is one whose bytes were lost when the power went.
    return found.decode(errors="replace").strip() or None if found else None


async def find_index_id(reader: Reader) -> str | None:
    """Return the id of an index, or None if no server was ever started with it."""
    return await find_setting(reader, _ID)


async def find_owned_since(reader: Reader, tree: Tree) -> int | None:
    """Return since when (microseconds since 1970) the storage has been this index's, or None if it
    is not. What is not in the index may be deleted from the storage only if it is, and not before
    it has been so for as long as content is kept that nothing needs.

    Raises:
        StorageError: the marker can't be read.
    """
    own, since = await find_index_id(reader), await find_setting(reader, _SINCE)
    if own is None or since is None or await find_owner(tree) != own:
        return None
    return int(since)


async def check_owner(stores: Stores, tree: Tree) -> bool:
    """Return whether the storage is this index's, which gets its id if it had none. False is for a
    storage that is nobody's.

    Raises:
        StorageOwnedError: it is another index's.
        StorageError: that can't be found out.
    """
    new = uuid4().hex

    async def work(transaction: Transaction) -> str:
        return await ensure_setting(transaction, _ID, default=new)

    own, owner = await stores.index.write(work), await find_owner(tree)
    if owner not in {None, own}:
        raise StorageOwnedError(owner=str(owner), index=own)
    return owner is not None


async def claim_storage(stores: Stores, tree: OwnTree) -> None:
    """Make this index the owner of a storage that is nobody's. Of several indexes that do this at
    the same moment one becomes it.

    Raises: as `check_owner`.
    """
    if await check_owner(stores, tree):
        return
    own = await _note_ownership(stores, by="entrepot")
    await tree.create(MARKER, _marker(own))
    if not await check_owner(stores, tree):  # there is one without its bytes: the power went
        await tree.write_many([(MARKER, _marker(own), stores.now())])
    _log.info("the storage is now marked as this index's", index=own)


@dataclass(frozen=True, slots=True)
class Adopted:
    """An index that was made the owner of its storage, and which one was before, if any."""

    index: str
    previous: str | None


async def adopt_storage(stores: Stores, tree: Tree, *, by: str) -> Adopted:
    """Make this index the owner of its storage, whoever was.

    Raises:
        StorageError: the storage can't be read or written.
    """
    previous, own = await find_owner(tree), await find_index_id(stores.index)
    if own is not None and own == previous:
        return Adopted(own, previous)
    own = await _note_ownership(stores, by=by, previous=previous)
    await tree.write_many([(MARKER, _marker(own), stores.now())])
    _log.info("the storage is now marked as this index's", index=own)
    return Adopted(own, previous)


def _marker(own: str) -> bytes:
    return f"{own}\n".encode()


async def _note_ownership(stores: Stores, *, by: str, previous: str | None = None) -> str:
    """Write down in the index that the storage is its own, before that is written in the storage,
    so that it is never owned for less time than the index says. Return the id of the index.
    """
    now, new = stores.now(), uuid4().hex

    async def work(transaction: Transaction, notes: Notes) -> str:
        own = await ensure_setting(transaction, _ID, default=new)
        await replace_setting(transaction, _SINCE, value=str(now))
        if previous is not None:
            notes.add(event("storage.adopt", target=own, previous=previous))
        return own

    return await stores.trail.write(work, by=by)
