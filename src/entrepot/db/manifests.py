"""Which manifests a repository has, and what refers to what."""

from collections.abc import Sequence
from typing import NamedTuple

from entrepot.core.digest import Digest
from entrepot.core.manifest import Manifest
from entrepot.core.names import Reference, RepositoryName, Tag
from entrepot.db.counting import Home, count, find_homes, uncount_manifests
from entrepot.db.engine import Reader, Transaction, required
from entrepot.db.reviews import review_dependents

_FIND_BY_TAG = """
    SELECT manifests.digest, manifests.media_type, manifests.payload,
        (SELECT value FROM settings WHERE key = 'access.revision')
    FROM repositories
    JOIN tags ON tags.repository_id = repositories.id AND tags.name = :reference
    JOIN manifests ON manifests.id = tags.manifest_id
    WHERE repositories.name = :name
"""
_FIND_BY_DIGEST = """
    SELECT manifests.digest, manifests.media_type, manifests.payload,
        (SELECT value FROM settings WHERE key = 'access.revision'), manifest_reviews.review_after
    FROM repositories
    JOIN manifests ON manifests.repository_id = repositories.id AND manifests.digest = :reference
    LEFT JOIN manifest_reviews ON manifest_reviews.manifest_id = manifests.id
    WHERE repositories.name = :name
"""
_FIND_ID = "SELECT id FROM manifests WHERE repository_id = :repository AND digest = :digest"
_FIND_OTHER = """
    SELECT 1 FROM manifests WHERE repository_id = :repository AND id <> :manifest LIMIT 1
"""
_FIND_ADDED = """
    SELECT id, EXISTS (
        SELECT 1 FROM absent_children WHERE repository_id = :repository AND digest = :digest
    ) FROM manifests WHERE repository_id = :repository AND digest = :digest
"""
_ADD = """
    INSERT INTO manifests (repository_id, digest, media_type, artifact_type, subject, size,
                           created_at, created_by, annotations, payload)
    VALUES (:repository, :digest, :media_type, :artifact_type, :subject, :size,
            :now, :actor, :annotations, :payload)
    ON CONFLICT (repository_id, digest) DO NOTHING
"""
_ADD_BLOB = """
    INSERT INTO manifest_blobs (manifest_id, digest, repository_id)
    VALUES (:manifest, :digest, :repository)
    ON CONFLICT (manifest_id, digest) DO NOTHING
"""
_ADD_CHILD = """
    INSERT INTO manifest_children (parent_id, child_id) VALUES (:manifest, :child)
    ON CONFLICT (parent_id, child_id) DO NOTHING
"""
_ADD_ABSENT = """
    INSERT INTO absent_children (parent_id, digest, repository_id)
    VALUES (:manifest, :digest, :repository)
    ON CONFLICT (parent_id, digest) DO NOTHING
"""
_ADD_TO_PARENTS = """
    INSERT INTO manifest_children (parent_id, child_id)
    SELECT parent_id, CAST(:manifest AS BIGINT) FROM absent_children
    WHERE repository_id = :repository AND digest = :digest
    ON CONFLICT (parent_id, child_id) DO NOTHING
"""
_IS_PRESENT = "DELETE FROM absent_children WHERE repository_id = :repository AND digest = :digest"
_DELETE = "DELETE FROM manifests WHERE id = :manifest"
_LIST_REFERRERS = """
    SELECT manifests.digest, manifests.media_type, manifests.artifact_type, manifests.size,
           manifests.annotations
    FROM repositories
    JOIN manifests ON manifests.repository_id = repositories.id
    WHERE repositories.name = :name AND manifests.subject = :subject
    ORDER BY manifests.digest
"""


class StoredManifest(NamedTuple):
    """A manifest as it was pushed; the revision (`find_revision`) of who may do what, as of when it
    was read; and when it is looked at whether anything still needs it, if it was asked for by
    digest and a look is due.
    """

    digest: Digest
    media_type: str
    payload: bytes
    revision: int
    review_after: int | None = None


class NewManifest(NamedTuple):
    """A manifest to be stored; `annotations` are JSON, kept for the list of referrers."""

    digest: Digest
    manifest: Manifest
    annotations: bytes | None
    payload: bytes
    pushed_by: str | None


class Referrer(NamedTuple):
    """A manifest that has a subject; `size` in bytes, `annotations` JSON."""

    digest: Digest
    media_type: str
    artifact_type: str | None
    size: int
    annotations: bytes | None


async def find_manifest(
    reader: Reader, name: RepositoryName, reference: Reference
) -> StoredManifest | None:
    """Return the manifest that a tag or digest names in a repository, or None."""
    if isinstance(reference, Tag):
        row = await reader.fetch_one(_FIND_BY_TAG, {"name": name, "reference": reference})
    else:
        row = await reader.fetch_one(_FIND_BY_DIGEST, {"name": name, "reference": reference.packed})
    if row is None:
        return None
    return StoredManifest(Digest.unpack(row[0]), row[1], row[2], int(row[3] or 0), *row[4:])


async def find_manifest_id(reader: Reader, repository: int, digest: Digest) -> int | None:
    """Return the id of a manifest of the repository, or None."""
    values = {"repository": repository, "digest": digest.packed}
    row = await reader.fetch_one(_FIND_ID, values)
    return row[0] if row else None


async def add_manifest(
    transaction: Transaction, home: Home, new: NewManifest, *, children: list[int], now: int
) -> int:
    """Store a manifest with what it refers to, unless the repository has it; return its id.

    Not all that an index lists need be there (`validation.manifests.indexes`). What is not is
    noted, and belongs to the index from the moment when it comes.
    """
    subject = new.manifest.subject
    added = await transaction.execute(
        _ADD,
        {
            "repository": home.id,
            "digest": new.digest.packed,
            "media_type": new.manifest.media_type,
            "artifact_type": new.manifest.artifact_type,
            "subject": subject.packed if subject else None,
            "size": len(new.payload),
            "now": now,
            "actor": new.pushed_by,
            "annotations": new.annotations,
            "payload": new.payload,
        },
    )
    values = {"repository": home.id, "digest": new.digest.packed}
    manifest, awaited = required(await transaction.fetch_one(_FIND_ADDED, values))
    blobs = set(new.manifest.blobs())
    await transaction.execute_many(
        _ADD_BLOB,
        ({"manifest": manifest, "digest": b.packed, "repository": home.id} for b in blobs),
    )
    listed = {Digest(child.digest) for child in new.manifest.children}
    if len(listed) > len(set(children)):
        found = {child: await find_manifest_id(transaction, home.id, child) for child in listed}
        children = [number for number in found.values() if number is not None]
        absent = [child.packed for child, number in found.items() if number is None]
        await transaction.execute_many(
            _ADD_ABSENT,
            ({"manifest": manifest, "digest": d, "repository": home.id} for d in absent),
        )
    await transaction.execute_many(
        _ADD_CHILD, ({"manifest": manifest, "child": child} for child in children)
    )
    if awaited:
        await transaction.execute(_ADD_TO_PARENTS, values | {"manifest": manifest})
        await transaction.execute(_IS_PRESENT, values)
    if added and home.counted:
        others = {"repository": home.id, "manifest": manifest}
        first = await transaction.fetch_one(_FIND_OTHER, others) is None
        await count(transaction, home.counted, {"manifests": 1, "repositories": int(first)})
    return int(manifest)


async def delete_manifests(
    transaction: Transaction, manifests: Sequence[int], *, review_after: int
) -> None:
    """Remove manifests and their references. Their tags must have been removed before. What they
    needed, listed, or were the subject of, is looked at again `review_after`.
    """
    await review_dependents(transaction, manifests, after=review_after)
    homes = await find_homes(transaction, manifests)
    await transaction.execute_many(_DELETE, ({"manifest": manifest} for manifest in manifests))
    await uncount_manifests(transaction, homes)


async def list_referrers(reader: Reader, name: RepositoryName, subject: Digest) -> list[Referrer]:
    """Return every manifest of the repository whose subject is `subject`, ordered by digest."""
    values = {"name": name, "subject": subject.packed}
    rows = await reader.fetch_all(_LIST_REFERRERS, values)
    return [Referrer(Digest.unpack(row[0]), *row[1:]) for row in rows]
