"""What is in the trash: finding it, taking it out again, and letting it go for good."""

from collections.abc import Sequence
from typing import Final

from entrepot.core.digest import Digest
from entrepot.core.manifest import companion_tags
from entrepot.core.undo import Trashed
from entrepot.db.engine import Reader, Row, Transaction
from entrepot.db.reviews import OR_LATER_LINK, OR_LATER_MANIFEST

_COLUMNS = """
    SELECT trash.id, trash.repository_id, repositories.name, trash.kind, trash.tag, trash.digest,
           trash.media_type, trash.created_at, trash.created_by, trash.deleted_at,
           trash.deleted_by, trash.operation, trash.expires_at, trash.subject, trash.payload
    FROM trash JOIN repositories ON repositories.id = trash.repository_id
"""
_FIND = f"{_COLUMNS} WHERE trash.id = :id"
_NEXT = "trash.id < :before ORDER BY trash.id DESC LIMIT :limit"
_LIST_OF_OPERATION = f"{_COLUMNS} WHERE trash.operation = :operation AND {_NEXT}"
_LIST_OF_REPOSITORY = f"""
    {_COLUMNS} WHERE trash.repository_id = (SELECT id FROM repositories WHERE name = :name)
    AND {_NEXT}
"""  # noqa: S608 - constants alone
_LIST_BELOW = f"""
    {_COLUMNS} WHERE (repositories.name = :name
        OR (repositories.name >= :first AND repositories.name < :end)) AND {_NEXT}
"""
_FIND_MANIFEST = f"""
    {_COLUMNS} WHERE trash.repository_id = :repository AND trash.digest = :digest
    AND trash.kind = 'manifest' ORDER BY trash.id DESC LIMIT 1
"""
_LIST_TAGS = f"""
    {_COLUMNS} WHERE trash.repository_id = :repository AND trash.digest = :digest
    AND trash.kind = 'tag' AND trash.operation = :operation
"""
_LIST_REFERRERS = f"""
    {_COLUMNS} WHERE trash.repository_id = :repository AND trash.subject = :digest
    AND trash.operation = :operation
"""
_LIST_COMPANIONS = f"""
    {_COLUMNS} WHERE trash.operation = :operation AND trash.repository_id = :repository
    AND trash.kind = 'tag' AND trash.tag IN (:tag_a, :tag_b, :tag_c, :tag_d)
"""
_LIST_REPOSITORIES_OF_OPERATION = """
    SELECT DISTINCT repositories.name FROM trash
    JOIN repositories ON repositories.id = trash.repository_id
    WHERE trash.operation = :operation ORDER BY repositories.name
"""
_LIST_REPOSITORIES_BELOW = """
    SELECT name FROM repositories
    WHERE (name = :name OR (name >= :first AND name < :end))
      AND EXISTS (SELECT 1 FROM trash WHERE trash.repository_id = repositories.id)
    ORDER BY name
"""
_LIST_MISSING = """
    SELECT trash_references.digest FROM trash_references
    LEFT JOIN repository_blobs ON repository_blobs.repository_id = :repository
        AND repository_blobs.digest = trash_references.digest
    LEFT JOIN manifests ON manifests.repository_id = :repository
        AND manifests.digest = trash_references.digest
    WHERE trash_references.trash_id = :id
        AND repository_blobs.digest IS NULL AND manifests.id IS NULL
"""
_LIST_CHILDREN = """
    SELECT manifests.id, manifests.digest FROM trash_references
    JOIN manifests ON manifests.repository_id = :repository
        AND manifests.digest = trash_references.digest
    WHERE trash_references.trash_id = :id
"""
_REMOVE = "DELETE FROM trash WHERE id = :id"
_LIST_EXPIRED = """
    SELECT id FROM trash WHERE expires_at <= :now AND NOT EXISTS (
        SELECT 1 FROM holds WHERE holds.repository_id = trash.repository_id
        AND (holds.digest IS NULL OR holds.digest = trash.digest OR holds.digest = trash.subject)
        AND (holds.expires_at IS NULL OR holds.expires_at > :now)
    ) ORDER BY expires_at LIMIT :limit
"""
_AFTER = """
    CASE WHEN trash.deleted_at + CAST(:grace AS BIGINT) > CAST(:earliest AS BIGINT)
    THEN trash.deleted_at + CAST(:grace AS BIGINT) ELSE CAST(:earliest AS BIGINT) END
"""
_REVIEW_LINKS = f"""
    INSERT INTO link_reviews (repository_id, digest, review_after, event)
    SELECT repository_blobs.repository_id, repository_blobs.digest, {_AFTER}, 'trash.expired'
    FROM trash
    JOIN trash_references ON trash_references.trash_id = trash.id
    JOIN repository_blobs ON repository_blobs.repository_id = trash.repository_id
        AND repository_blobs.digest = trash_references.digest
    WHERE trash.id = :id {OR_LATER_LINK}
"""  # noqa: S608 - constants alone
_REVIEW_CHILDREN = f"""
    INSERT INTO manifest_reviews (manifest_id, review_after, event)
    SELECT manifests.id, {_AFTER}, 'trash.expired'
    FROM trash
    JOIN trash_references ON trash_references.trash_id = trash.id
    JOIN manifests ON manifests.repository_id = trash.repository_id
        AND manifests.digest = trash_references.digest
    WHERE trash.id = :id {OR_LATER_MANIFEST}
"""  # noqa: S608 - constants alone
_REVIEW_TARGET = f"""
    INSERT INTO manifest_reviews (manifest_id, review_after, event)
    SELECT manifests.id, {_AFTER}, 'trash.expired'
    FROM trash
    JOIN manifests ON manifests.repository_id = trash.repository_id
        AND manifests.digest = trash.digest
    WHERE trash.id = :id AND trash.kind = 'tag' {OR_LATER_MANIFEST}
"""  # noqa: S608 - constants alone

_AFTER_SLASH: Final = chr(ord("/") + 1)


async def find_trashed(reader: Reader, number: int) -> Trashed | None:
    """Return what has an id in the trash, or None."""
    row = await reader.fetch_one(_FIND, {"id": number})
    return None if row is None else _trashed(row)


async def list_operation_trash(
    reader: Reader, operation: str, *, before: int, limit: int
) -> list[Trashed]:
    """Return what one deletion threw away, the last first, before an id."""
    values = {"operation": operation, "before": before, "limit": limit}
    return [_trashed(row) for row in await reader.fetch_all(_LIST_OF_OPERATION, values)]


async def list_repository_trash(
    reader: Reader, name: str, *, before: int, limit: int
) -> list[Trashed]:
    """Return what is in the trash of a repository, the last first, before an id."""
    values = {"name": name, "before": before, "limit": limit}
    return [_trashed(row) for row in await reader.fetch_all(_LIST_OF_REPOSITORY, values)]


async def list_namespace_trash(
    reader: Reader, name: str, *, before: int, limit: int
) -> list[Trashed]:
    """Return what is in the trash of all repositories in a namespace and below, the last first,
    before an id; the root has an empty name.
    """
    values = _below(name) | {"before": before, "limit": limit}
    return [_trashed(row) for row in await reader.fetch_all(_LIST_BELOW, values)]


async def list_operation_repositories(reader: Reader, operation: str) -> list[str]:
    """Return the names of the repositories that a deletion was in."""
    rows = await reader.fetch_all(_LIST_REPOSITORIES_OF_OPERATION, {"operation": operation})
    return [row[0] for row in rows]


async def list_trashed_repositories(reader: Reader, namespace: str) -> list[str]:
    """Return the names of the repositories in a namespace and below that have something in the
    trash; the root has an empty name.
    """
    rows = await reader.fetch_all(_LIST_REPOSITORIES_BELOW, _below(namespace))
    return [row[0] for row in rows]


def _below(name: str) -> dict[str, object]:
    first, end = (f"{name}/", f"{name}{_AFTER_SLASH}") if name else ("", "~")
    return {"name": name, "first": first, "end": end}


async def find_trashed_manifest(reader: Reader, repository: int, digest: Digest) -> Trashed | None:
    """Return a manifest in the trash of a repository, the last that was deleted, or None."""
    values = {"repository": repository, "digest": digest.packed}
    row = await reader.fetch_one(_FIND_MANIFEST, values)
    return None if row is None else _trashed(row)


async def list_thrown_with(reader: Reader, manifest: Trashed) -> list[Trashed]:
    """Return what was deleted with a manifest because it belongs to it: its tags, the manifests
    whose subject it is, and tags that are made of its digest.
    """
    values = {
        "repository": manifest.repository_id,
        "digest": manifest.digest.packed,
        "operation": manifest.operation,
    }
    tags = companion_tags(manifest.digest)
    names = {f"tag_{letter}": tag for letter, tag in zip("abcd", tags, strict=True)}
    rows = await reader.fetch_all(_LIST_REFERRERS, values)
    rows += await reader.fetch_all(_LIST_TAGS, values)
    rows += await reader.fetch_all(_LIST_COMPANIONS, values | names)
    return [_trashed(row) for row in rows]


async def list_missing(reader: Reader, manifest: Trashed) -> set[Digest]:
    """Return what a manifest in the trash needs and its repository doesn't have any more."""
    values = {"repository": manifest.repository_id, "id": manifest.id}
    rows = await reader.fetch_all(_LIST_MISSING, values)
    return {Digest.unpack(row[0]) for row in rows}


async def list_children(reader: Reader, index: Trashed) -> dict[Digest, int]:
    """Return the ids of manifests of the repository that an index in the trash needs."""
    values = {"repository": index.repository_id, "id": index.id}
    rows = await reader.fetch_all(_LIST_CHILDREN, values)
    return {Digest.unpack(row[1]): row[0] for row in rows}


# Taking out -------------------------------------------------------------------------------------


async def take_out(transaction: Transaction, number: int) -> None:
    """Remove a row of the trash whose content is in the repository again."""
    await transaction.execute(_REMOVE, {"id": number})


async def list_expired(reader: Reader, *, now: int, limit: int) -> list[int]:
    """Return ids in the trash that have been there long enough and that no hold keeps."""
    rows = await reader.fetch_all(_LIST_EXPIRED, {"now": now, "limit": limit})
    return [row[0] for row in rows]


async def let_go(
    transaction: Transaction, numbers: Sequence[int], *, grace: int, earliest: int
) -> None:
    """Remove rows of the trash for good. What they needed is looked at again when the grace period
    since the deletion is over, at `earliest`: until now the trash kept it without a review, so
    whoever was told that it exists relies on it for a while.
    """
    values = [{"id": number, "grace": grace, "earliest": earliest} for number in numbers]
    for statement in (_REVIEW_LINKS, _REVIEW_CHILDREN, _REVIEW_TARGET, _REMOVE):
        await transaction.execute_many(statement, values)


def _trashed(row: Row) -> Trashed:
    digests = {5: Digest.unpack(row[5]), 13: None if row[13] is None else Digest.unpack(row[13])}
    return Trashed._make(digests.get(place, value) for place, value in enumerate(row))
