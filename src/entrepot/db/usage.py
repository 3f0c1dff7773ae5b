"""How many bytes something has, and how many of them it has alone."""

from typing import Final, NamedTuple

from entrepot.core.names import RepositoryName, Tag
from entrepot.db.engine import Reader, required

_LAST: Final = "~"
"""Comes after every letter that a repository's name may have."""

_AFTER_SLASH: Final = chr(ord("/") + 1)

_IN_AREA: Final = """
    (repositories.name = :own OR (repositories.name >= :first AND repositories.name < :end))
"""
_MEASURE_AREA = f"""
    SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT),
        CAST(COALESCE(SUM(CASE WHEN alone THEN size ELSE 0 END), 0) AS BIGINT)
    FROM (
        SELECT blobs.size AS size, NOT EXISTS (
            SELECT 1 FROM repository_blobs
            JOIN repositories ON repositories.id = repository_blobs.repository_id
            WHERE repository_blobs.digest = linked.digest AND NOT {_IN_AREA}
        ) AS alone
        FROM (
            SELECT DISTINCT repository_blobs.digest FROM repositories
            JOIN repository_blobs ON repository_blobs.repository_id = repositories.id
            WHERE {_IN_AREA}
        ) AS linked
        JOIN blobs ON blobs.digest = linked.digest
    ) AS measured
"""  # noqa: S608 - constants alone
_LIST_REPOSITORIES = f"""
    SELECT name FROM repositories WHERE name > :last AND {_IN_AREA} ORDER BY name LIMIT :limit
"""  # noqa: S608 - constants alone
# Of an image: its manifest with all that it lists, and those of them that something else keeps.
_MEASURE_TAG = """
    WITH RECURSIVE family (id) AS (
        SELECT manifest_id FROM tags WHERE repository_id = :repository AND name = :tag
        UNION
        SELECT manifest_children.child_id FROM manifest_children
        JOIN family ON family.id = manifest_children.parent_id
    ), kept (id) AS (
        SELECT id FROM family
        WHERE EXISTS (
            SELECT 1 FROM tags WHERE tags.manifest_id = family.id AND tags.name <> :tag
        ) OR EXISTS (
            SELECT 1 FROM manifest_children WHERE manifest_children.child_id = family.id
            AND manifest_children.parent_id NOT IN (SELECT id FROM family)
        )
        UNION
        SELECT manifest_children.child_id FROM manifest_children
        JOIN kept ON kept.id = manifest_children.parent_id
    )
    SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT),
        CAST(COALESCE(SUM(CASE WHEN alone THEN size ELSE 0 END), 0) AS BIGINT)
    FROM (
        SELECT blobs.size AS size, NOT EXISTS (
            SELECT 1 FROM manifest_blobs AS users WHERE users.digest = needed.digest AND (
                users.manifest_id NOT IN (SELECT id FROM family)
                OR users.manifest_id IN (SELECT id FROM kept)
            )
        ) AS alone
        FROM (
            SELECT DISTINCT manifest_blobs.digest FROM family
            JOIN manifest_blobs ON manifest_blobs.manifest_id = family.id
        ) AS needed
        JOIN blobs ON blobs.digest = needed.digest
    ) AS measured
"""
_LIST_TAGS = """
    SELECT name FROM tags WHERE repository_id = :repository AND name > :last
    ORDER BY name LIMIT :limit
"""


class Usage(NamedTuple):
    """Bytes of blobs, each counted once, and of those that nothing else has."""

    size: int
    exclusive: int


async def measure_repository_usage(reader: Reader, name: RepositoryName) -> Usage:
    """Return what a repository links; exclusive is what no other repository does."""
    values = {"own": name, "first": "", "end": ""}
    return Usage(*required(await reader.fetch_one(_MEASURE_AREA, values)))


async def measure_namespace_usage(reader: Reader, namespace: str) -> Usage:
    """Return what the repositories of a namespace and all below it link, the root's by an empty
    name; exclusive is what no repository outside does.
    """
    row = required(await reader.fetch_one(_MEASURE_AREA, _area(namespace)))
    return Usage(*row)


async def measure_tag_usage(reader: Reader, repository: int, tag: Tag) -> Usage:
    """Return what an image needs, with all that it lists; exclusive is what no other image in any
    repository does. What another tag or index keeps is not the tag's alone.
    """
    values = {"repository": repository, "tag": tag}
    return Usage(*required(await reader.fetch_one(_MEASURE_TAG, values)))


async def list_names_in(
    reader: Reader, namespace: str, *, last: str, limit: int
) -> list[RepositoryName]:
    """Return repositories of a namespace and all below it, whose names come after one."""
    values = {**_area(namespace), "last": last, "limit": limit}
    rows = await reader.fetch_all(_LIST_REPOSITORIES, values)
    return [RepositoryName(row[0]) for row in rows]


async def list_tags_after(reader: Reader, repository: int, *, last: str, limit: int) -> list[Tag]:
    """Return tags of a repository that come after one."""
    values = {"repository": repository, "last": last, "limit": limit}
    return [Tag(row[0]) for row in await reader.fetch_all(_LIST_TAGS, values)]


def _area(namespace: str) -> dict[str, str]:
    if not namespace:
        return {"own": "", "first": "", "end": _LAST}
    return {"own": namespace, "first": f"{namespace}/", "end": f"{namespace}{_AFTER_SLASH}"}
