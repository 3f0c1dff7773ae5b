"""Deleting tags, manifests and blobs (distribution-spec 1.1.1, "Content Management").

What something else still needs is not deleted: the answer names what needs it.
"""

from entrepot.core.audit import Actor, event
from entrepot.core.digest import Digest
from entrepot.core.errors import BlobUnknownError, ManifestUnknownError, UnsupportedError
from entrepot.core.names import Reference, RepositoryName, Tag
from entrepot.db import Transaction
from entrepot.db import tags as tag_queries
from entrepot.db.blobs import find_manifest_using, unlink_blob
from entrepot.db.imports import remember_deletion
from entrepot.db.manifests import delete_manifest, find_manifest_id, find_parent
from entrepot.db.repositories import find_repository
from entrepot.services.audit import Notes
from entrepot.services.stores import Stores
from entrepot.services.takeover import take_over, take_over_blob


async def delete_reference(
    stores: Stores, name: RepositoryName, reference: Reference, *, by: Actor
) -> None:
    """Delete a tag alone, or a manifest by digest with all its tags.

    Raises:
        ManifestUnknownError: there is no such tag or manifest.
        UnsupportedError: an index of the repository lists the manifest.
    """
    await take_over(stores, name, reference)
    now = stores.now()
    after = now + stores.keeping.deleted
    unknown = ManifestUnknownError({"name": name, "reference": reference})

    async def work(transaction: Transaction, notes: Notes) -> None:
        repository = await find_repository(transaction, name)
        if repository is None:
            raise unknown
        if isinstance(reference, Tag):
            if not await tag_queries.delete_tag(
                transaction, repository, reference, actor=by.name, now=now, review_after=after
            ):
                raise unknown
            notes.add(event("tag.delete", repository=name, tag=reference))
            return
        manifest = await find_manifest_id(transaction, repository, reference)
        if manifest is None:
            raise unknown
        parent = await find_parent(transaction, manifest)
        if parent is not None:
            raise UnsupportedError(
                {"reason": "an index lists this manifest; delete the index first", "index": parent}
            )
        tags = await tag_queries.list_tags_of(transaction, manifest)
        for tag in tags:
            await tag_queries.delete_tag(
                transaction, repository, tag, actor=by.name, now=now, review_after=after
            )
        await delete_manifest(transaction, manifest, review_after=after)
        await remember_deletion(transaction, repository, reference)
        notes.add(event("manifest.delete", repository=name, digest=reference, tags=tags or None))

    await stores.trail.write(work, by=by)


async def delete_blob(stores: Stores, name: RepositoryName, digest: Digest, *, by: Actor) -> None:
    """Stop the repository from serving a blob; other repositories that link it keep it.

    Raises:
        BlobUnknownError: the repository does not link it.
        UnsupportedError: a manifest of the repository needs it.
    """
    await take_over_blob(stores, name, digest)

    async def work(transaction: Transaction, notes: Notes) -> None:
        repository = await find_repository(transaction, name)
        if repository is None:
            raise BlobUnknownError({"digest": digest})
        user = await find_manifest_using(transaction, repository, digest)
        if user is not None:
            raise UnsupportedError(
                {"reason": "a manifest needs this blob; delete it first", "manifest": user}
            )
        if not await unlink_blob(transaction, repository, digest):
            raise BlobUnknownError({"digest": digest})
        await remember_deletion(transaction, repository, digest)
        notes.add(event("blob.delete", repository=name, digest=digest))

    await stores.trail.write(work, by=by)
