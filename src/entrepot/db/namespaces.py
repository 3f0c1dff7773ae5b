"""The tree of namespaces. The root has the empty name and is always there."""

from typing import Final

from entrepot.core.decision import Namespace, Visibility, prefixes
from entrepot.db.counting import refresh_counted
from entrepot.db.engine import Reader, Row, Transaction, required

_COLUMNS = "SELECT id, name, visibility, description, created_at FROM namespaces"
_LIST = f"{_COLUMNS} ORDER BY name"
_FIND = f"{_COLUMNS} WHERE name = :name"
_ADD = """
    INSERT INTO namespaces (parent_id, name, visibility, description, created_at)
    VALUES (:parent, :name, :visibility, :description, :created_at)
"""
_CHANGE = """
    UPDATE namespaces SET visibility = :visibility, description = :description WHERE id = :id
"""
_TAKE_NAMESPACES = """
    UPDATE namespaces SET parent_id = :id
    WHERE parent_id = :parent AND name >= :first AND name < :end
"""
_TAKE_REPOSITORIES = """
    UPDATE repositories SET namespace_id = :id
    WHERE namespace_id = :parent AND (name = :name OR (name >= :first AND name < :end))
"""
_GIVE_NAMESPACES = "UPDATE namespaces SET parent_id = :parent WHERE parent_id = :id"
_GIVE_REPOSITORIES = "UPDATE repositories SET namespace_id = :parent WHERE namespace_id = :id"
_FIND_ROBOT = "SELECT name FROM robots WHERE namespace_id = :id LIMIT 1"
_IN_IT: Final = """
    namespace_id = :id AND (
        EXISTS (SELECT 1 FROM manifests WHERE manifests.repository_id = repositories.id)
        OR NOT EXISTS (SELECT 1 FROM trash WHERE trash.repository_id = repositories.id)
    )
"""
_COUNT_REPOSITORIES = f"SELECT COUNT(*) FROM repositories WHERE {_IN_IT}"  # noqa: S608 - a constant
_LIST_REPOSITORIES = f"""
    SELECT name FROM repositories WHERE {_IN_IT} AND name > :last ORDER BY name LIMIT :limit
"""  # noqa: S608 - a constant
_REMOVE = "DELETE FROM namespaces WHERE id = :id"

_AFTER_SLASH: Final = chr(ord("/") + 1)


async def list_namespaces(reader: Reader) -> list[Namespace]:
    """Return every namespace by name, the root first."""
    return [_namespace(row) for row in await reader.fetch_all(_LIST, {})]


async def find_namespace(reader: Reader, name: str) -> Namespace | None:
    """Return the namespace of this name, or None."""
    row = await reader.fetch_one(_FIND, {"name": name})
    return None if row is None else _namespace(row)


async def find_nearest_namespace(reader: Reader, name: str) -> Namespace:
    """Return the namespace that a repository or namespace of this name is in, or is."""
    for prefix in prefixes(name):
        found = await find_namespace(reader, prefix)
        if found is not None:
            return found
    return _namespace(required(None))


async def add_namespace(
    transaction: Transaction, namespace: Namespace, *, parent: Namespace
) -> Namespace:
    """Add a namespace, whose id is not looked at, below `parent`, which is the nearest; what is in
    `parent` and belongs into the new one goes there.
    """
    values = {"parent": parent.id, "created_at": namespace.created_at, **_values(namespace)}
    await transaction.execute(_ADD, values)
    added = _namespace(required(await transaction.fetch_one(_FIND, {"name": namespace.name})))
    below = {
        "id": added.id,
        "parent": parent.id,
        "first": f"{added.name}/",
        "end": f"{added.name}{_AFTER_SLASH}",
    }
    await transaction.execute(_TAKE_NAMESPACES, below)
    await transaction.execute(_TAKE_REPOSITORIES, below | {"name": added.name})
    await refresh_counted(transaction)
    return added


async def change_namespace(transaction: Transaction, namespace: Namespace) -> None:
    """Write the settings of a namespace."""
    values = _values(namespace) | {"id": namespace.id}
    del values["name"]
    await transaction.execute(_CHANGE, values)


async def find_robot_in(reader: Reader, namespace: int) -> str | None:
    """Return the name of some robot of a namespace."""
    row = await reader.fetch_one(_FIND_ROBOT, {"id": namespace})
    return None if row is None else str(row[0])


async def count_repositories(reader: Reader, namespace: int) -> int:
    """Return how many repositories are in a namespace, and in none below it; not those of which
    everything is in the trash.
    """
    return int(required(await reader.fetch_one(_COUNT_REPOSITORIES, {"id": namespace}))[0])


async def list_repositories_of(
    reader: Reader, namespace: int, *, last: str, limit: int
) -> list[str]:
    """Return the names of at most `limit` of these repositories, after `last`."""
    values = {"id": namespace, "last": last, "limit": limit}
    return [row[0] for row in await reader.fetch_all(_LIST_REPOSITORIES, values)]


async def remove_namespace(transaction: Transaction, namespace: int, *, parent: int) -> None:
    """Remove a namespace with its grants and quotas; repositories and namespaces in it go to
    `parent`. What is counted above stays counted.
    """
    values = {"id": namespace, "parent": parent}
    await transaction.execute(_GIVE_NAMESPACES, values)
    await transaction.execute(_GIVE_REPOSITORIES, values)
    await transaction.execute(_REMOVE, {"id": namespace})
    await refresh_counted(transaction)


def _values(namespace: Namespace) -> dict[str, object]:
    return {
        "name": namespace.name,
        "visibility": namespace.visibility,
        "description": namespace.description,
    }


def _namespace(row: Row) -> Namespace:
    visibility: Visibility | None = row[2]
    return Namespace(row[0], row[1], visibility, row[3], row[4])
