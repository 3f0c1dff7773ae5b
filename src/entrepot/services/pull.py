"""Reading manifests and blobs (distribution-spec 1.1.1, "Pull").

What is about to be collected, and is asked for by its digest, stays for another grace period
(docs/collection.md).
"""

from typing import TypeVar

import structlog

from entrepot.core.digest import Digest
from entrepot.core.errors import (
    BlobDamagedError,
    BlobUnknownError,
    ManifestUnknownError,
    RightsChangedError,
)
from entrepot.core.manifest import DOCKER_LIST, accepts, docker_child
from entrepot.core.names import Reference, RepositoryName, Tag
from entrepot.db import DatabaseError, Transaction
from entrepot.db.blobs import FoundBlob, find_blob
from entrepot.db.manifests import StoredManifest, find_manifest
from entrepot.db.reviews import put_link_off, put_manifest_off
from entrepot.services.stores import Stores
from entrepot.services.takeover import take_over, take_over_blob
from entrepot.storage import BlobReader, StorageError

T = TypeVar("T")

_log = structlog.get_logger("entrepot.pull")


async def resolve(
    stores: Stores,
    name: RepositoryName,
    reference: Reference,
    *,
    accept: str | None,
    pulls: int,
    as_of: int | None = None,
) -> StoredManifest:
    """Return the manifest that a tag or digest names, and count it as pulled: `pulls` times.
    `as_of` is the revision of rights by which whoever asks was let in, if it may be an old one.

    A manifest list pulled by tag becomes its linux/amd64 image for a client that accepts no lists,
    as in `registry:2`.

    Raises:
        ManifestUnknownError: the repository has none.
        RightsChangedError: there is another revision by now.
    """
    found = await find_manifest(stores.index, name, reference)
    if found is None and await take_over(stores, name, reference):
        found = await find_manifest(stores.index, name, reference)
    if found is not None and _is_due(stores, found.review_after):
        found = await _keep_manifest(stores, name, found)
    if found is None:
        raise ManifestUnknownError({"name": name, "reference": reference})
    if as_of is not None and as_of != found.revision:
        raise RightsChangedError("rights have changed")
    stores.pulls.note(name, found.digest, reference, pulls=pulls)
    if found.media_type == DOCKER_LIST and isinstance(reference, Tag):
        return await _for_docker(stores, name, found, accept)
    return found


async def _for_docker(
    stores: Stores, name: RepositoryName, found: StoredManifest, accept: str | None
) -> StoredManifest:
    if accepts(accept, DOCKER_LIST):
        return found
    child = docker_child(found.payload)
    image = await find_manifest(stores.index, name, child) if child else None
    return image or found


async def blob_size(
    stores: Stores, name: RepositoryName, digest: Digest, *, as_of: int | None = None
) -> int:
    """Return the bytes of a blob that the repository links; `as_of` is as for `resolve`.

    Raises:
        BlobUnknownError: the repository does not link it.
        BlobDamagedError: it does, but the bytes are known not to be those of the digest.
        RightsChangedError: there is another revision of rights by now.
    """
    found = await find_blob(stores.index, name, digest)
    if found is None and await take_over_blob(stores, name, digest):
        found = await find_blob(stores.index, name, digest)
    if found is not None and _is_due(stores, found.review_after):
        found = await _keep_blob(stores, name, digest, found)
    if found is None:
        raise BlobUnknownError({"digest": digest})
    if as_of is not None and as_of != found.revision:
        raise RightsChangedError("rights have changed")
    if found.damaged:
        raise BlobDamagedError({"digest": digest, "reason": "push it again to repair it"})
    return found.size


async def open_blob(
    stores: Stores, name: RepositoryName, digest: Digest, *, as_of: int | None = None
) -> BlobReader:
    """Open a blob that the repository links; the caller closes it. `as_of` is as for `resolve`.

    Raises:
        BlobUnknownError, BlobDamagedError, RightsChangedError: as `blob_size`.
        StorageError: it does, but the store has lost the bytes, or not all are there.
    """
    size = await blob_size(stores, name, digest, as_of=as_of)
    reader = await stores.blobs.open(digest)
    if reader is None:
        raise StorageError(f"the bytes of blob {digest} are missing")
    if reader.size != size:
        reader.close()
        raise StorageError(f"blob {digest} has {reader.size} bytes in the store instead of {size}")
    return reader


# What somebody is told exists stays for a while -------------------------------------------------


def _is_due(stores: Stores, review_after: int | None) -> bool:
    """Whether something may be gone before it has stayed as long as somebody may rely on."""
    return review_after is not None and review_after < stores.now() + stores.keeping.told


async def _keep_manifest(
    stores: Stores, name: RepositoryName, found: StoredManifest
) -> StoredManifest | None:
    """Put off the look at a manifest that is about to be given to somebody; return the manifest,
    None if it is gone meanwhile.
    """
    after = stores.now() + stores.keeping.grace

    async def work(transaction: Transaction) -> StoredManifest | None:
        await put_manifest_off(transaction, name, found.digest, after=after)
        return await find_manifest(transaction, name, found.digest)

    try:
        return await stores.index.write_lazily(work)
    except DatabaseError as error:
        return _as_it_is(found, error)


async def _keep_blob(
    stores: Stores, name: RepositoryName, digest: Digest, found: FoundBlob
) -> FoundBlob | None:
    """The same with a blob."""
    after = stores.now() + stores.keeping.grace

    async def work(transaction: Transaction) -> FoundBlob | None:
        await put_link_off(transaction, name, digest, after=after)
        return await find_blob(transaction, name, digest)

    try:
        return await stores.index.write_lazily(work)
    except DatabaseError as error:
        return _as_it_is(found, error)


def _as_it_is(found: T, error: DatabaseError) -> T:
    """Answer all the same: while the index can't be written nothing is collected either."""
    _log.error("what is pulled could not be kept from being collected", error=str(error))
    return found
