"""All that a repository has, in pages, for writing it down in `registry:2`'s layout."""

from typing import NamedTuple

from entrepot.core.digest import Digest
from entrepot.core.names import RepositoryName, Tag
from entrepot.db.engine import Reader

_REPOSITORIES = """
    SELECT id, name FROM repositories WHERE name > :last ORDER BY name LIMIT :limit
"""
_MANIFESTS = """
    SELECT id, digest, created_at, payload FROM manifests
    WHERE repository_id = :repository AND id > :last ORDER BY id LIMIT :limit
"""
_TAGS = """
    SELECT tags.name, manifests.digest, tags.updated_at FROM tags
    JOIN manifests ON manifests.id = tags.manifest_id
    WHERE tags.repository_id = :repository AND tags.name > :last ORDER BY tags.name LIMIT :limit
"""
_MOVES = """
    SELECT tag_history.digest, max(tag_history.changed_at) FROM tag_history
    JOIN manifests ON manifests.repository_id = tag_history.repository_id
      AND manifests.digest = tag_history.digest
    WHERE tag_history.repository_id = :repository AND tag_history.name = :tag
    GROUP BY tag_history.digest
"""
_BLOBS = """
    SELECT digest, linked_at FROM repository_blobs
    WHERE repository_id = :repository AND digest > :last ORDER BY digest LIMIT :limit
"""


class StoredPayload(NamedTuple):
    """A manifest's row, with its bytes and when it was made (microseconds since 1970)."""

    id: int
    digest: Digest
    created_at: int
    payload: bytes


async def list_every_repository(
    reader: Reader, *, last: str, limit: int
) -> list[tuple[int, RepositoryName]]:
    """Return id and name of at most `limit` repositories after `last`, with or without content."""
    rows = await reader.fetch_all(_REPOSITORIES, {"last": last, "limit": limit})
    return [(row[0], RepositoryName(row[1])) for row in rows]


async def list_payloads(
    reader: Reader, repository: int, *, last: int, limit: int
) -> list[StoredPayload]:
    """Return at most `limit` manifests of a repository whose ids come after `last`."""
    values = {"repository": repository, "last": last, "limit": limit}
    rows = await reader.fetch_all(_MANIFESTS, values)
    return [StoredPayload(row[0], Digest.unpack(row[1]), row[2], row[3]) for row in rows]


async def list_tag_targets(
    reader: Reader, repository: int, *, last: str, limit: int
) -> list[tuple[Tag, Digest, int]]:
    """Return at most `limit` tags after `last`, each with what it points at and since when."""
    values = {"repository": repository, "last": last, "limit": limit}
    rows = await reader.fetch_all(_TAGS, values)
    return [(Tag(row[0]), Digest.unpack(row[1]), row[2]) for row in rows]


async def list_tag_past(reader: Reader, repository: int, tag: Tag) -> dict[Digest, int]:
    """Return the manifests that a tag pointed at and that still exist, with when it last did."""
    rows = await reader.fetch_all(_MOVES, {"repository": repository, "tag": tag})
    return {Digest.unpack(row[0]): row[1] for row in rows}


async def list_linked_blobs(
    reader: Reader, repository: int, *, last: bytes, limit: int
) -> list[tuple[Digest, int]]:
    """Return at most `limit` blobs that a repository links, after the packed digest `last`, with
    when they were linked.
    """
    values = {"repository": repository, "last": last, "limit": limit}
    rows = await reader.fetch_all(_BLOBS, values)
    return [(Digest.unpack(row[0]), row[1]) for row in rows]
