"""Reading manifests and blobs (distribution-spec 1.1.1, "Pull")."""

from entrepot.core.digest import Digest
from entrepot.core.errors import BlobUnknownError, ManifestUnknownError
from entrepot.core.manifest import DOCKER_LIST, accepts, docker_child
from entrepot.core.names import Reference, RepositoryName, Tag
from entrepot.db.blobs import find_blob_size
from entrepot.db.manifests import StoredManifest, find_manifest
from entrepot.services.stores import Stores
from entrepot.services.takeover import take_over, take_over_blob
from entrepot.storage import BlobReader, StorageError


async def resolve(
    stores: Stores, name: RepositoryName, reference: Reference, *, accept: str | None
) -> StoredManifest:
    """Return the manifest that a tag or digest names.

    A manifest list pulled by tag becomes its linux/amd64 image for a client that accepts no lists,
    as in `registry:2`.

    Raises:
        ManifestUnknownError: the repository has none.
    """
    found = await find_manifest(stores.index, name, reference)
    if found is None and await take_over(stores, name, reference):
        found = await find_manifest(stores.index, name, reference)
    if found is None:
        raise ManifestUnknownError({"name": name, "reference": reference})
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


async def blob_size(stores: Stores, name: RepositoryName, digest: Digest) -> int:
    """Return the bytes of a blob that the repository links, or raise `BlobUnknownError`."""
    size = await find_blob_size(stores.index, name, digest)
    if size is None and await take_over_blob(stores, name, digest):
        size = await find_blob_size(stores.index, name, digest)
    if size is None:
        raise BlobUnknownError({"digest": digest})
    return size


async def open_blob(stores: Stores, name: RepositoryName, digest: Digest) -> BlobReader:
    """Open a blob that the repository links; the caller closes it.

    Raises:
        BlobUnknownError: the repository does not link it.
        StorageError: it does, but the store has lost the bytes, or not all are there.
    """
    size = await blob_size(stores, name, digest)
    reader = await stores.blobs.open(digest)
    if reader is None:
        raise StorageError(f"the bytes of blob {digest} are missing")
    if reader.size != size:
        reader.close()
        raise StorageError(f"blob {digest} has {reader.size} bytes in the store instead of {size}")
    return reader
