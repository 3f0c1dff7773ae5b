"""Going through everything in the order of its key, some rows at a time."""

from typing import Final, NamedTuple

from entrepot.core.digest import Digest
from entrepot.core.names import RepositoryName
from entrepot.db.engine import Reader, Transaction

_LIST_LINKS = """
    SELECT repository_id, digest,
           linked_at < :before AND NOT EXISTS (
               SELECT 1 FROM manifest_blobs WHERE manifest_blobs.digest = repository_blobs.digest
               AND manifest_blobs.repository_id = repository_blobs.repository_id
           ) AND NOT EXISTS (
               SELECT 1 FROM link_reviews
               WHERE link_reviews.repository_id = repository_blobs.repository_id
               AND link_reviews.digest = repository_blobs.digest
           )
    FROM repository_blobs WHERE (repository_id, digest) > (:repository, :digest)
    ORDER BY repository_id, digest LIMIT :limit
"""
_LIST_BLOBS = """
    SELECT digest, size,
           created_at < :before AND NOT EXISTS (
               SELECT 1 FROM repository_blobs WHERE repository_blobs.digest = blobs.digest
           )
    FROM blobs WHERE digest > :digest ORDER BY digest LIMIT :limit
"""
_NOTHING_IN: Final = """
    repositories.created_at < :before
    AND NOT EXISTS (SELECT 1 FROM manifests WHERE repository_id = repositories.id)
    AND NOT EXISTS (SELECT 1 FROM repository_blobs WHERE repository_id = repositories.id)
    AND NOT EXISTS (SELECT 1 FROM tag_history WHERE repository_id = repositories.id)
    AND NOT EXISTS (SELECT 1 FROM trash WHERE repository_id = repositories.id)
    AND NOT EXISTS (SELECT 1 FROM holds WHERE repository_id = repositories.id)
    AND NOT EXISTS (SELECT 1 FROM trust_metadata WHERE repository_id = repositories.id)
"""
_LIST_REPOSITORIES = f"""
    SELECT id, name, {_NOTHING_IN} FROM repositories WHERE id > :repository
    ORDER BY id LIMIT :limit
"""  # noqa: S608 - constants alone
_REMOVE_REPOSITORY = f"""
    DELETE FROM repositories WHERE id = :repository AND {_NOTHING_IN}
"""  # noqa: S608 - constants alone
_LIST_KNOWN = """
    SELECT digest FROM blobs WHERE digest >= :first AND digest <= :last
    UNION ALL
    SELECT digest FROM doomed_blobs
    WHERE digest >= :first AND digest <= :last AND deleted_at IS NULL
"""
_LIST_MANIFESTS = """
    SELECT DISTINCT digest FROM manifests WHERE digest >= :first AND digest <= :last
"""
_LIST_UNTAGGED = """
    SELECT manifests.id, repositories.name, manifests.digest,
           NOT EXISTS (SELECT 1 FROM tags WHERE tags.manifest_id = manifests.id)
           AND NOT EXISTS (
               SELECT 1 FROM manifest_children WHERE manifest_children.child_id = manifests.id
           ) AND NOT EXISTS (
               SELECT 1 FROM manifests AS subjects
               WHERE subjects.repository_id = manifests.repository_id
                 AND subjects.digest = manifests.subject
           ) AND NOT EXISTS (
               SELECT 1 FROM manifest_reviews WHERE manifest_reviews.manifest_id = manifests.id
           )
    FROM manifests JOIN repositories ON repositories.id = manifests.repository_id
    WHERE manifests.id > :manifest ORDER BY manifests.id LIMIT :limit
"""


class SweptLink(NamedTuple):
    """A link, and whether it is old, unused, and not going to be looked at."""

    repository: int
    digest: Digest
    unused: bool


class SweptBlob(NamedTuple):
    """A blob's row, its bytes, and whether it is old and no repository links it."""

    digest: Digest
    size: int
    unused: bool


class SweptRepository(NamedTuple):
    """A repository, and whether it is old and has nothing in it."""

    id: int
    name: RepositoryName
    empty: bool


class SweptManifest(NamedTuple):
    """A manifest, and whether no tag, index or subject keeps it and it is not going to be looked
    at.
    """

    id: int
    name: RepositoryName
    digest: Digest
    untagged: bool


async def list_links(
    reader: Reader, *, repository: int, digest: bytes, before: int, limit: int
) -> list[SweptLink]:
    """Return the links after one, given as the repository's id and the packed digest."""
    values = {"repository": repository, "digest": digest, "before": before, "limit": limit}
    rows = await reader.fetch_all(_LIST_LINKS, values)
    return [SweptLink(row[0], Digest.unpack(row[1]), bool(row[2])) for row in rows]


async def list_blobs(reader: Reader, *, digest: bytes, before: int, limit: int) -> list[SweptBlob]:
    """Return the rows of blobs after a packed digest."""
    values = {"digest": digest, "before": before, "limit": limit}
    rows = await reader.fetch_all(_LIST_BLOBS, values)
    return [SweptBlob(Digest.unpack(row[0]), row[1], bool(row[2])) for row in rows]


async def list_after(
    reader: Reader, *, repository: int, before: int, limit: int
) -> list[SweptRepository]:
    """Return the repositories after one, given by its id."""
    values = {"repository": repository, "before": before, "limit": limit}
    rows = await reader.fetch_all(_LIST_REPOSITORIES, values)
    return [SweptRepository(row[0], RepositoryName(row[1]), bool(row[2])) for row in rows]


async def remove_empty_repository(
    transaction: Transaction, repository: int, *, before: int
) -> bool:
    """Remove a repository if it has nothing in it and was made before a time; return whether."""
    values = {"repository": repository, "before": before}
    return await transaction.execute(_REMOVE_REPOSITORY, values) == 1


async def list_known(reader: Reader, *, first: bytes, last: bytes) -> set[Digest]:
    """Return the blobs from one packed digest to another that the index has, or is about to have
    deleted.
    """
    rows = await reader.fetch_all(_LIST_KNOWN, {"first": first, "last": last})
    return {Digest.unpack(row[0]) for row in rows}


async def list_manifests_anywhere(reader: Reader, *, first: bytes, last: bytes) -> set[Digest]:
    """Return the manifests from one packed digest to another that any repository has. Looks at all
    that there are.
    """
    rows = await reader.fetch_all(_LIST_MANIFESTS, {"first": first, "last": last})
    return {Digest.unpack(row[0]) for row in rows}


async def list_manifests(reader: Reader, *, manifest: int, limit: int) -> list[SweptManifest]:
    """Return the manifests after one, given by its id."""
    rows = await reader.fetch_all(_LIST_UNTAGGED, {"manifest": manifest, "limit": limit})
    return [
        SweptManifest(row[0], RepositoryName(row[1]), Digest.unpack(row[2]), bool(row[3]))
        for row in rows
    ]
