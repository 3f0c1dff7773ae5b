"""How many bytes something has, and how many of them it has alone.

Each question can be asked in two ways: for the sums over everything, or, for those who may not read
everything, for the blobs one by one with the repositories that have them.
"""

from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple, Self

from msgspec import Struct

from entrepot.core.names import RepositoryName, Tag
from entrepot.db.engine import Reader, Row, required

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
_LIST_LINKED = f"""
    SELECT page.digest, blobs.size, repositories.name FROM (
        SELECT DISTINCT repository_blobs.digest AS digest FROM repositories
        JOIN repository_blobs ON repository_blobs.repository_id = repositories.id
        WHERE {_IN_AREA} AND repository_blobs.digest > :last
        ORDER BY repository_blobs.digest LIMIT :limit
    ) AS page
    JOIN blobs ON blobs.digest = page.digest
    JOIN repository_blobs AS links ON links.digest = page.digest
    JOIN repositories ON repositories.id = links.repository_id
    ORDER BY page.digest
"""  # noqa: S608 - constants alone
_LIST_REPOSITORIES = f"""
    SELECT name FROM repositories WHERE name > :last AND {_IN_AREA} ORDER BY name LIMIT :limit
"""  # noqa: S608 - constants alone
# Of an image: its manifest with all that it lists, and those of them that something else keeps.
_FAMILY: Final = """
    RECURSIVE family (id) AS (
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
    ), needed (digest) AS (
        SELECT DISTINCT manifest_blobs.digest FROM family
        JOIN manifest_blobs ON manifest_blobs.manifest_id = family.id
    )
"""
_OTHERS: Final = """
    users.digest = needed.digest AND (
        users.manifest_id NOT IN (SELECT id FROM family)
        OR users.manifest_id IN (SELECT id FROM kept)
    )
"""
_MEASURE_TAG = f"""
    WITH {_FAMILY}
    SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT),
        CAST(COALESCE(SUM(CASE WHEN alone THEN size ELSE 0 END), 0) AS BIGINT)
    FROM (
        SELECT blobs.size AS size, NOT EXISTS (
            SELECT 1 FROM manifest_blobs AS users WHERE {_OTHERS}
        ) AS alone
        FROM needed JOIN blobs ON blobs.digest = needed.digest
    ) AS measured
"""  # noqa: S608 - constants alone
_LIST_NEEDED = f"""
    WITH {_FAMILY}
    SELECT DISTINCT needed.digest, blobs.size, repositories.name
    FROM needed JOIN blobs ON blobs.digest = needed.digest
    LEFT JOIN manifest_blobs AS users ON {_OTHERS}
    LEFT JOIN repositories ON repositories.id = users.repository_id
    ORDER BY needed.digest
"""  # noqa: S608 - constants alone
_LIST_TAGS = """
    SELECT name FROM tags WHERE repository_id = :repository AND name > :last
    ORDER BY name LIMIT :limit
"""


class Usage(NamedTuple):
    """Bytes of blobs, each counted once, and of those that nothing else has."""

    size: int
    exclusive: int


class Place(Struct, frozen=True):
    """The repository of a name, and those whose names come from `first` on and before `end`."""

    own: str
    first: str = ""
    end: str = ""

    @classmethod
    def within(cls, namespace: str) -> Self:
        """Return the place of a namespace and all below it; the root has an empty name."""
        if not namespace:
            return cls("", "", _LAST)
        return cls(namespace, f"{namespace}/", f"{namespace}{_AFTER_SLASH}")

    def holds(self, name: str) -> bool:
        """Whether a repository of this name is there."""
        return name == self.own or self.first <= name < self.end

    @property
    def values(self) -> dict[str, str]:
        """The parameters of a statement that say where."""
        return {"own": self.own, "first": self.first, "end": self.end}


class Held(NamedTuple):
    """A blob by its packed digest, its bytes, and the repositories that have it."""

    digest: bytes
    size: int
    repositories: list[str]


async def measure_usage(reader: Reader, place: Place) -> Usage:
    """Return what the repositories of a place link; exclusive is what none outside does."""
    return Usage(*required(await reader.fetch_one(_MEASURE_AREA, place.values)))


async def list_linked(reader: Reader, place: Place, *, last: bytes, limit: int) -> list[Held]:
    """Return at most `limit` blobs that repositories of a place link, after `last`, with all
    repositories that link them.
    """
    values = {**place.values, "last": last, "limit": limit}
    return _held(await reader.fetch_all(_LIST_LINKED, values))


async def measure_tag_usage(reader: Reader, repository: int, tag: Tag) -> Usage:
    """Return what an image needs, with all that it lists; exclusive is what no other image in any
    repository does. What another tag or index keeps is not the tag's alone.
    """
    values = {"repository": repository, "tag": tag}
    return Usage(*required(await reader.fetch_one(_MEASURE_TAG, values)))


async def list_needed_by_tag(reader: Reader, repository: int, tag: Tag) -> list[Held]:
    """Return the blobs that an image needs, with the repositories where another image does, or the
    same one by another tag or index.
    """
    return _held(await reader.fetch_all(_LIST_NEEDED, {"repository": repository, "tag": tag}))


async def list_names_in(
    reader: Reader, namespace: str, *, last: str, limit: int
) -> list[RepositoryName]:
    """Return repositories of a namespace and all below it, whose names come after one."""
    values = {**Place.within(namespace).values, "last": last, "limit": limit}
    rows = await reader.fetch_all(_LIST_REPOSITORIES, values)
    return [RepositoryName(row[0]) for row in rows]


async def list_tags_after(reader: Reader, repository: int, *, last: str, limit: int) -> list[Tag]:
    """Return tags of a repository that come after one."""
    values = {"repository": repository, "last": last, "limit": limit}
    return [Tag(row[0]) for row in await reader.fetch_all(_LIST_TAGS, values)]


def _held(rows: list[Row]) -> list[Held]:
    """Put the rows of a blob together: its digest and bytes, and a repository or none."""
    return [
        Held(digest, size, [name for *_, name in found if name is not None])
        for (digest, size), found in groupby(rows, key=itemgetter(0, 1))
    ]
