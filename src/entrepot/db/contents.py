"""What a repository, or all of a namespace, holds: counting it, and going through it from above."""

from typing import Final, NamedTuple

from entrepot.core.digest import Digest
from entrepot.core.names import Tag
from entrepot.db.engine import Reader, required
from entrepot.db.followers import Stored

_LIST_ROOTS: Final = """
    SELECT manifests.id, manifests.digest FROM manifests
    WHERE manifests.repository_id = :repository AND manifests.digest > :last
      AND manifests.id <= :most AND NOT EXISTS (
          SELECT 1 FROM manifest_children WHERE manifest_children.child_id = manifests.id
      )
    ORDER BY manifests.digest LIMIT :limit
"""
_LIST_ROOT_TAGS = f"""
    SELECT tags.name FROM ({_LIST_ROOTS}) AS roots JOIN tags ON tags.manifest_id = roots.id
"""  # noqa: S608 - constants alone
_FIND_LAST = "SELECT COALESCE(MAX(id), 0) FROM manifests WHERE repository_id = :repository"
_COUNT = """
    SELECT (SELECT COUNT(*) FROM manifests WHERE repository_id = :repository),
           (SELECT COUNT(*) FROM tags WHERE repository_id = :repository)
"""


class Count(NamedTuple):
    """How many there are."""

    manifests: int
    tags: int


async def find_last_manifest(reader: Reader, repository: int) -> int:
    """Return the highest id of a repository's manifests, 0 if it has none."""
    row = await reader.fetch_one(_FIND_LAST, {"repository": repository})
    return int(required(row)[0])


async def list_roots(
    reader: Reader, repository: int, *, last: bytes, most: int, limit: int
) -> tuple[list[Stored], list[Tag]]:
    """Return at most `limit` manifests that no index lists, by their packed digests, which come
    after `last`, and with ids up to `most`; and the tags that point at them.
    """
    values = {"repository": repository, "last": last, "most": most, "limit": limit}
    rows = await reader.fetch_all(_LIST_ROOTS, values)
    tags = await reader.fetch_all(_LIST_ROOT_TAGS, values)
    return [Stored(row[0], Digest.unpack(row[1])) for row in rows], [Tag(row[0]) for row in tags]


async def count_content(reader: Reader, repository: int) -> Count:
    """Return how much a repository holds."""
    return Count(*required(await reader.fetch_one(_COUNT, {"repository": repository})))
