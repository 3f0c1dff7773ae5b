"""Deleting tags, manifests and blobs (distribution-spec 1.1.1, "Content Management").

What something else still needs is not deleted: the answer names what needs it. What belongs to a
manifest goes with it. What is deleted is in the trash for a while, unless there is none.
"""

import secrets
from collections.abc import Sequence
from typing import NamedTuple

from entrepot.core.audit import Actor, event
from entrepot.core.digest import Digest
from entrepot.core.errors import BlobUnknownError, ManifestUnknownError, UnsupportedError
from entrepot.core.manifest import companion_tags
from entrepot.core.names import Reference, RepositoryName, Tag
from entrepot.db import Transaction
from entrepot.db.blobs import find_manifest_using, unlink_blob
from entrepot.db.followers import Closure, Stored, find_closure, list_parents
from entrepot.db.imports import remember_deletions
from entrepot.db.manifests import delete_manifests, find_manifest_id
from entrepot.db.repositories import find_repository
from entrepot.db.tags import delete_tags, find_tag
from entrepot.db.trash import Removal, throw_manifests, throw_tags
from entrepot.services.audit import Notes
from entrepot.services.protection import check_may_go
from entrepot.services.stores import Stores
from entrepot.services.takeover import take_over, take_over_blob


class Deleted(NamedTuple):
    """What one operation deleted: how many manifests, and which tags."""

    operation: str
    manifests: int
    tags: Sequence[Tag]


def new_operation() -> str:
    """Return a name for a deletion, by which all of it is found in the trash."""
    return secrets.token_hex(8)


async def delete_reference(
    stores: Stores, name: RepositoryName, reference: Reference, *, by: Actor
) -> Deleted:
    """Delete a tag alone, or a manifest by digest with all its tags and what belongs to it.

    Raises:
        ManifestUnknownError: there is no such tag or manifest.
        UnsupportedError: an index of the repository lists the manifest.
        DeniedError: a tag is protected, or something is on hold.
    """
    await take_over(stores, name, reference)
    if not isinstance(reference, Tag):
        for tag in map(Tag, companion_tags(reference)):
            await take_over(stores, name, tag)
    now, operation = stores.now(), new_operation()
    unknown = ManifestUnknownError({"name": name, "reference": reference})

    async def work(transaction: Transaction, notes: Notes) -> Deleted:
        repository = await find_repository(transaction, name)
        if repository is None:
            raise unknown
        if isinstance(reference, Tag):
            found = await find_tag(transaction, repository, reference)
            if found is None:
                raise unknown
            closure, affected = Closure([], [reference]), [found[1]]
            notes.add(event("tag.delete", repository=name, tag=reference, operation=operation))
        else:
            manifest = await find_manifest_id(transaction, repository, reference)
            if manifest is None:
                raise unknown
            closure = await _find_deletable(transaction, repository, Stored(manifest, reference))
            affected = [stored.digest for stored in closure.manifests]
            for number, stored in enumerate(closure.manifests):
                told = event(
                    "manifest.delete",
                    repository=name,
                    digest=stored.digest,
                    tags=(closure.tags or None) if number == 0 else None,
                    belongs_to=reference if number else None,
                    operation=operation,
                )
                notes.add(told)
        await check_may_go(
            transaction, name, repository, tags=closure.tags, manifests=affected, now=now
        )
        removal = Removal(repository, operation, by.name, now, now + stores.keeping.trash)
        await remove(stores, transaction, removal, closure)
        return Deleted(operation, len(closure.manifests), closure.tags)

    return await stores.trail.write(work, by=by)


async def _find_deletable(transaction: Transaction, repository: int, first: Stored) -> Closure:
    """Return what goes with a manifest, or raise `UnsupportedError` if an index lists it."""
    for parent in await list_parents(transaction, first.id):
        raise UnsupportedError(
            {"reason": "an index lists this manifest; delete the index first", "index": parent[1]}
        )
    return await find_closure(transaction, repository, first)


async def remove(
    stores: Stores, transaction: Transaction, removal: Removal, closure: Closure
) -> None:
    """Take tags and manifests out of a repository, and put them into the trash if there is one."""
    gone = [stored.id for stored in closure.manifests]
    if stores.keeping.trash:
        await throw_tags(transaction, removal, closure.tags)
        await throw_manifests(transaction, removal, gone)
    after = removal.now + stores.keeping.deleted
    await delete_tags(
        transaction,
        removal.repository,
        closure.tags,
        actor=removal.actor,
        now=removal.now,
        review_after=after,
    )
    await delete_manifests(transaction, gone, review_after=after)
    digests = [stored.digest for stored in closure.manifests]
    await remember_deletions(transaction, removal.repository, digests)


async def delete_blob(stores: Stores, name: RepositoryName, digest: Digest, *, by: Actor) -> None:
    """Stop the repository from serving a blob; other repositories that link it keep it, and its
    bytes stay as long as a manifest in the trash needs them.

    Raises:
        BlobUnknownError: the repository does not link it.
        UnsupportedError: a manifest of the repository needs it.
        DeniedError: the repository is on hold.
    """
    await take_over_blob(stores, name, digest)
    now = stores.now()

    async def work(transaction: Transaction, notes: Notes) -> None:
        repository = await find_repository(transaction, name)
        if repository is None:
            raise BlobUnknownError({"digest": digest})
        user = await find_manifest_using(transaction, repository, digest)
        if user is not None:
            raise UnsupportedError(
                {"reason": "a manifest needs this blob; delete it first", "manifest": user}
            )
        await check_may_go(transaction, name, repository, tags=(), now=now)
        if not await unlink_blob(transaction, repository, digest):
            raise BlobUnknownError({"digest": digest})
        await remember_deletions(transaction, repository, [digest])
        notes.add(event("blob.delete", repository=name, digest=digest))

    await stores.trail.write(work, by=by)
