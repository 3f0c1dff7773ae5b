"""What somebody wants to know who wonders why something is still there."""

from typing import NamedTuple

from entrepot.core.digest import Digest
from entrepot.core.names import RepositoryName, Tag
from entrepot.db.engine import Reader, required
from entrepot.db.followers import Stored

_FIND_MANIFEST = """
    SELECT manifests.id, manifests.media_type, manifests.subject, manifest_reviews.review_after,
           manifest_reviews.event
    FROM manifests
    LEFT JOIN manifest_reviews ON manifest_reviews.manifest_id = manifests.id
    WHERE manifests.repository_id = :repository AND manifests.digest = :digest
"""
_LIST_INDEXES = """
    SELECT manifests.id, manifests.digest FROM manifest_children
    JOIN manifests ON manifests.id = manifest_children.parent_id
    WHERE manifest_children.child_id = :manifest ORDER BY manifests.digest LIMIT :limit
"""
_LIST_CHILDREN = """
    SELECT manifests.id, manifests.digest FROM manifest_children
    JOIN manifests ON manifests.id = manifest_children.child_id
    WHERE manifest_children.parent_id = :manifest
"""
_LIST_TAGS = "SELECT name FROM tags WHERE manifest_id = :manifest ORDER BY name LIMIT :limit"
_LIST_TRASHED = """
    SELECT kind, tag, digest, deleted_at, deleted_by, operation, expires_at FROM trash
    WHERE repository_id = :repository AND digest = :digest
    UNION ALL
    SELECT trash.kind, trash.tag, trash.digest, trash.deleted_at, trash.deleted_by,
           trash.operation, trash.expires_at
    FROM trash_references JOIN trash ON trash.id = trash_references.trash_id
    WHERE trash_references.digest = :digest AND trash.repository_id = :repository
    ORDER BY 4 DESC LIMIT :limit
"""
_FIND_LEFT = """
    SELECT name, changed_at, changed_by FROM tag_history
    WHERE repository_id = :repository AND previous = :digest ORDER BY changed_at DESC LIMIT 1
"""
_LIST_BLOBS = """
    SELECT manifest_blobs.digest, blobs.size FROM manifest_blobs
    JOIN blobs ON blobs.digest = manifest_blobs.digest
    WHERE manifest_blobs.manifest_id = :manifest
"""
_LIST_NEEDING = """
    SELECT DISTINCT repositories.name FROM manifest_blobs
    JOIN repositories ON repositories.id = manifest_blobs.repository_id
    WHERE manifest_blobs.digest = :digest AND manifest_blobs.repository_id <> :repository
    LIMIT :limit
"""
_LIST_USERS_IN = """
    SELECT manifests.id, manifests.digest FROM manifest_blobs
    JOIN manifests ON manifests.id = manifest_blobs.manifest_id
    WHERE manifest_blobs.digest = :digest AND manifest_blobs.repository_id = :repository
    LIMIT :limit
"""
_FIND_BLOB = "SELECT size, quarantined_at FROM blobs WHERE digest = :digest"
_FIND_REVIEW = """
    SELECT review_after, event FROM link_reviews
    WHERE repository_id = :repository AND digest = :digest
"""
_LIST_LINKING = """
    SELECT repositories.id, repositories.name FROM repository_blobs
    JOIN repositories ON repositories.id = repository_blobs.repository_id
    WHERE repository_blobs.digest = :digest ORDER BY repositories.name LIMIT :limit
"""
_COUNT_IN = """
    SELECT (SELECT count(*) FROM manifests WHERE repository_id = :repository),
           (SELECT count(*) FROM tags WHERE repository_id = :repository)
"""


class ExplainedManifest(NamedTuple):
    """A manifest, and when and why it is looked at whether anything needs it, if it is."""

    id: int
    media_type: str
    subject: Digest | None
    review_after: int | None
    event: str | None


class Trashed(NamedTuple):
    """Something in the trash that is, or needs, what is asked about."""

    kind: str
    tag: str
    digest: Digest
    deleted_at: int
    deleted_by: str | None
    operation: str
    expires_at: int


async def find_explained(
    reader: Reader, repository: int, digest: Digest
) -> ExplainedManifest | None:
    """Return a manifest of a repository."""
    values = {"repository": repository, "digest": digest.packed}
    row = await reader.fetch_one(_FIND_MANIFEST, values)
    if row is None:
        return None
    subject = None if row[2] is None else Digest.unpack(row[2])
    return ExplainedManifest(row[0], row[1], subject, row[3], row[4])


async def list_indexes(reader: Reader, manifest: int, *, limit: int) -> list[Stored]:
    """Return indexes that list a manifest, also such as tell of referrers."""
    rows = await reader.fetch_all(_LIST_INDEXES, {"manifest": manifest, "limit": limit})
    return [Stored(row[0], Digest.unpack(row[1])) for row in rows]


async def list_children(reader: Reader, manifest: int) -> list[Stored]:
    """Return the manifests that an index lists."""
    rows = await reader.fetch_all(_LIST_CHILDREN, {"manifest": manifest})
    return [Stored(row[0], Digest.unpack(row[1])) for row in rows]


async def list_some_tags(reader: Reader, manifest: int, *, limit: int) -> list[Tag]:
    """Return tags that point at a manifest."""
    rows = await reader.fetch_all(_LIST_TAGS, {"manifest": manifest, "limit": limit})
    return [Tag(row[0]) for row in rows]


async def list_trashed(
    reader: Reader, repository: int, digest: Digest, *, limit: int
) -> list[Trashed]:
    """Return what is in the trash of a repository that is, or needs, a manifest or blob."""
    values = {"repository": repository, "digest": digest.packed, "limit": limit}
    rows = await reader.fetch_all(_LIST_TRASHED, values)
    return [Trashed(row[0], row[1], Digest.unpack(row[2]), *row[3:]) for row in rows]


async def find_last_left(
    reader: Reader, repository: int, digest: Digest
) -> tuple[str, int, str | None] | None:
    """Return the tag that left a manifest last, when, and who moved or deleted it."""
    values = {"repository": repository, "digest": digest.packed}
    row = await reader.fetch_one(_FIND_LEFT, values)
    return (row[0], row[1], row[2]) if row else None


async def list_needed_blobs(reader: Reader, manifest: int) -> list[tuple[Digest, int]]:
    """Return the blobs that a manifest needs, and their bytes."""
    rows = await reader.fetch_all(_LIST_BLOBS, {"manifest": manifest})
    return [(Digest.unpack(row[0]), row[1]) for row in rows]


async def list_needing_elsewhere(
    reader: Reader, repository: int, digest: Digest, *, limit: int
) -> list[RepositoryName]:
    """Return other repositories in which a manifest needs a blob."""
    values = {"digest": digest.packed, "repository": repository, "limit": limit}
    rows = await reader.fetch_all(_LIST_NEEDING, values)
    return [RepositoryName(row[0]) for row in rows]


async def list_users_in(
    reader: Reader, repository: int, digest: Digest, *, limit: int
) -> list[Stored]:
    """Return manifests of a repository that need a blob."""
    values = {"repository": repository, "digest": digest.packed, "limit": limit}
    rows = await reader.fetch_all(_LIST_USERS_IN, values)
    return [Stored(row[0], Digest.unpack(row[1])) for row in rows]


async def find_stored_blob(reader: Reader, digest: Digest) -> tuple[int, int | None] | None:
    """Return the bytes of a blob, and since when it is known to be damaged, if it is."""
    row = await reader.fetch_one(_FIND_BLOB, {"digest": digest.packed})
    return (row[0], row[1]) if row else None


async def find_link_review(
    reader: Reader, repository: int, digest: Digest
) -> tuple[int, str] | None:
    """Return when and why it is looked at whether a repository needs a blob, if it is."""
    values = {"repository": repository, "digest": digest.packed}
    row = await reader.fetch_one(_FIND_REVIEW, values)
    return (row[0], row[1]) if row else None


async def list_linking_anywhere(
    reader: Reader, digest: Digest, *, limit: int
) -> list[tuple[int, RepositoryName]]:
    """Return repositories that link a blob, with their ids, by name."""
    rows = await reader.fetch_all(_LIST_LINKING, {"digest": digest.packed, "limit": limit})
    return [(row[0], RepositoryName(row[1])) for row in rows]


async def count_in_repository(reader: Reader, repository: int) -> tuple[int, int]:
    """Return how many manifests and tags a repository has."""
    row = required(await reader.fetch_one(_COUNT_IN, {"repository": repository}))
    return int(row[0]), int(row[1])
