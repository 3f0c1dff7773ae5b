"""Questions about robots."""

from collections.abc import Sequence

from entrepot.core.accounts import Robot
from entrepot.db.engine import Reader, Row, Transaction
from entrepot.db.scopes import decode_scopes, encode_scopes

_COLUMNS = """
    SELECT r.id, r.name, n.name, r.description, r.scopes, r.created_at, r.created_by, r.expires_at
    FROM robots r JOIN namespaces n ON n.id = r.namespace_id
"""
_FIND = f"{_COLUMNS} WHERE r.name = :name"
_LIST = f"{_COLUMNS} ORDER BY r.name"
_NAMESPACE = "SELECT id FROM namespaces WHERE name = :name"
_ADD = """
    INSERT INTO robots
        (namespace_id, name, description, scopes, created_at, created_by, expires_at)
    VALUES (:namespace, :name, :description, :scopes, :created_at, :created_by, :expires_at)
    ON CONFLICT (name) DO NOTHING
"""
_REMOVE = "DELETE FROM robots WHERE id = :id"


async def find_robot(reader: Reader, name: str) -> Robot | None:
    """Return the robot of this whole name, or None."""
    row = await reader.fetch_one(_FIND, {"name": name})
    return None if row is None else _robot(row)


async def list_robots(reader: Reader) -> Sequence[Robot]:
    """Return every robot by name."""
    return [_robot(row) for row in await reader.fetch_all(_LIST, {})]


async def find_robots_namespace(reader: Reader, name: str) -> int | None:
    """Return the id of a namespace that a robot shall be in, or None."""
    row = await reader.fetch_one(_NAMESPACE, {"name": name})
    return None if row is None else int(row[0])


async def add_robot(transaction: Transaction, robot: Robot, *, namespace: int) -> bool:
    """Add a robot, whose id is not looked at; return whether its name was free."""
    values = {
        "namespace": namespace,
        "name": robot.name,
        "description": robot.description,
        "scopes": encode_scopes(robot.scopes),
        "created_at": robot.created_at,
        "created_by": robot.created_by,
        "expires_at": robot.expires_at,
    }
    return await transaction.execute(_ADD, values) == 1


async def remove_robot(transaction: Transaction, robot: int) -> None:
    """Remove a robot with its secrets."""
    await transaction.execute(_REMOVE, {"id": robot})


def _robot(row: Row) -> Robot:
    return Robot(
        id=row[0],
        name=row[1],
        namespace=row[2],
        description=row[3],
        scopes=decode_scopes(row[4]),
        created_at=row[5],
        created_by=row[6],
        expires_at=row[7],
    )
