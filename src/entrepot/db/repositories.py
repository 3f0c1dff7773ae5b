"""Which repositories there are."""

from collections.abc import Sequence
from itertools import chain, repeat
from typing import Final

from entrepot.core.areas import EVERYWHERE, NOWHERE, Area
from entrepot.core.names import RepositoryName
from entrepot.db.counting import Home, find_home, parse_counted
from entrepot.db.engine import Reader, Transaction, required, up_to_nul
from entrepot.db.namespaces import find_nearest_namespace

_FIND = "SELECT id FROM repositories WHERE name = :name"
_FIND_HOME = """
    SELECT repositories.id, namespaces.counted_in FROM repositories
    JOIN namespaces ON namespaces.id = repositories.namespace_id
    WHERE repositories.name = :name
"""
_HAS_MANIFESTS = """
    SELECT 1 FROM repositories
    WHERE name = :name
      AND EXISTS (SELECT 1 FROM manifests WHERE manifests.repository_id = repositories.id)
"""
_ADD = """
    INSERT INTO repositories (namespace_id, name, created_at) VALUES (:namespace, :name, :now)
    ON CONFLICT (name) DO NOTHING
"""
# A repository that only ever received blobs, or lost its last manifest, is not listed.
_LIST = """
    SELECT name FROM repositories
    WHERE name >= :first AND name <= :end
      AND EXISTS (SELECT 1 FROM manifests WHERE manifests.repository_id = repositories.id)
    ORDER BY name LIMIT :limit
"""
_AREAS: Final = "abcdefghijklmnop"
_LIST_IN_AREAS = " UNION ALL ".join(
    "SELECT name FROM ("  # noqa: S608 - nothing from outside
    + _LIST.replace(":first", f":first_{a}").replace(":end", f":end_{a}")
    + ") AS x"
    for a in _AREAS
)


async def find_repository(reader: Reader, name: RepositoryName) -> int | None:
    """Return the id of a repository, or None if nothing was ever pushed to it."""
    row = await reader.fetch_one(_FIND, {"name": name})
    return row[0] if row else None


async def has_manifests(reader: Reader, name: RepositoryName) -> bool:
    """Return whether there is a repository that has any: one that lists show and quotas count."""
    return await reader.fetch_one(_HAS_MANIFESTS, {"name": name}) is not None


async def ensure_repository(transaction: Transaction, name: RepositoryName, *, now: int) -> Home:
    """Return a repository, which is created in its namespace if it does not exist."""
    row = await transaction.fetch_one(_FIND_HOME, {"name": name})
    if row is not None:
        return Home(row[0], parse_counted(row[1]))
    namespace = await find_nearest_namespace(transaction, name)
    await transaction.execute(_ADD, {"namespace": namespace.id, "name": name, "now": now})
    made = int(required(await transaction.fetch_one(_FIND, {"name": name}))[0])
    return await find_home(transaction, made)


async def list_repositories(
    reader: Reader, *, last: str, limit: int, areas: Sequence[Area] = EVERYWHERE
) -> list[str]:
    """Return the names of at most `limit` repositories after `last`, in the order of bytes, from
    areas that are in that order and have nothing in common.
    """
    # The least that a name after `last` can be: no name has a character before "-".
    next_name = up_to_nul(last) + "!"
    ahead = [Area(max(area.first, next_name), area.end) for area in areas if area.end > last]
    found: list[str] = []
    if len(ahead) == 1:
        one = {"limit": limit, "first": ahead[0].first, "end": ahead[0].end}
        return [row[0] for row in await reader.fetch_all(_LIST, one)]
    for start in range(0, len(ahead), len(_AREAS)):
        values: dict[str, object] = {"limit": limit - len(found)}
        asked = ahead[start : start + len(_AREAS)]
        for letter, area in zip(_AREAS, chain(asked, repeat(NOWHERE)), strict=False):
            values |= {f"first_{letter}": area.first, f"end_{letter}": area.end}
        found += sorted(row[0] for row in await reader.fetch_all(_LIST_IN_AREAS, values))
        if len(found) >= limit:
            return found[:limit]
    return found
