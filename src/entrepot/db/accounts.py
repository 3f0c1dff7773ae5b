"""Questions about people: their accounts, their groups."""

from collections.abc import Sequence
from typing import NamedTuple

from entrepot.core.accounts import User
from entrepot.db.engine import Reader, Row, Transaction, required

_COLUMNS = """
    SELECT u.id, u.name, u.password, u.administrator, u.disabled, u.description, u.created_at,
        u.password_changed_at, g.name
    FROM users u LEFT JOIN user_groups g ON g.user_id = u.id
"""
_FIND = f"{_COLUMNS} WHERE u.name = :name ORDER BY g.name"
_ON_PAGE = """
    WHERE u.id IN (SELECT id FROM users WHERE name > :after ORDER BY name LIMIT :limit)
    ORDER BY u.name, g.name
"""
_LIST = f"{_COLUMNS} {_ON_PAGE}"
_COUNT_ADMINISTRATORS = """
    SELECT COUNT(*), COUNT(password) FROM users WHERE administrator AND NOT disabled
"""
_ADD = """
    INSERT INTO users
        (name, password, administrator, disabled, description, created_at, password_changed_at)
    VALUES (:name, :password, :administrator, :disabled, :description, :now, :now)
    ON CONFLICT (name) DO NOTHING
"""
_CHANGE = """
    UPDATE users SET administrator = :administrator, disabled = :disabled,
        description = :description
    WHERE id = :id
"""
_RENEW = """
    UPDATE users SET password = :password, password_changed_at = :now WHERE id = :id
"""
_REHASH = """
    UPDATE users SET password = :password
    WHERE id = :id AND password_changed_at = :password_changed_at
"""
_REMOVE = "DELETE FROM users WHERE id = :id"
_LEAVE = "DELETE FROM user_groups WHERE user_id = :id"
_JOIN = "INSERT INTO user_groups (user_id, name) VALUES (:id, :name)"


class Administrators(NamedTuple):
    """How many there are, and how many of them have a password."""

    all: int
    passwords: int


async def find_user(reader: Reader, name: str) -> User | None:
    """Return the user of this name with the groups, or None."""
    return next(iter(_users(await reader.fetch_all(_FIND, {"name": name}))), None)


async def list_users(reader: Reader, *, after: str, limit: int) -> Sequence[User]:
    """Return at most `limit` users whose names come after `after`, by name."""
    return _users(await reader.fetch_all(_LIST, {"after": after, "limit": limit}))


async def count_administrators(reader: Reader) -> Administrators:
    """Return how many administrators there are that are not disabled."""
    every, passwords = required(await reader.fetch_one(_COUNT_ADMINISTRATORS, {}))
    return Administrators(every, passwords)


async def add_user(transaction: Transaction, user: User) -> bool:
    """Add a user, whose id is not looked at; return whether the name was free."""
    values = {
        "name": user.name,
        "password": user.password,
        "administrator": user.administrator,
        "disabled": user.disabled,
        "description": user.description,
        "now": user.created_at,
    }
    if await transaction.execute(_ADD, values) != 1:
        return False
    added = await find_user(transaction, user.name)
    if added is not None:
        await _join(transaction, added.id, user.groups)
    return True


async def change_user(transaction: Transaction, user: User) -> None:
    """Write what may change of a user but for the password."""
    values = {
        "id": user.id,
        "administrator": user.administrator,
        "disabled": user.disabled,
        "description": user.description,
    }
    await transaction.execute(_CHANGE, values)
    await transaction.execute(_LEAVE, {"id": user.id})
    await _join(transaction, user.id, user.groups)


async def set_password(
    transaction: Transaction, user: int, *, password: str | None, now: int
) -> None:
    """Give a user another password, by its hash; None is none."""
    await transaction.execute(_RENEW, {"id": user, "password": password, "now": now})


async def rehash_password(transaction: Transaction, user: User, *, password: str) -> None:
    """Replace the hash by another one of the same password, unless that was changed meanwhile."""
    values = {
        "id": user.id,
        "password": password,
        "password_changed_at": user.password_changed_at,
    }
    await transaction.execute(_REHASH, values)


async def remove_user(transaction: Transaction, user: int) -> None:
    """Remove a user with the memberships and secrets."""
    await transaction.execute(_REMOVE, {"id": user})


async def _join(transaction: Transaction, user: int, groups: Sequence[str]) -> None:
    await transaction.execute_many(_JOIN, [{"id": user, "name": group} for group in groups])


def _users(rows: Sequence[Row]) -> list[User]:
    """The users of rows that repeat each of them once for every group."""
    found: dict[int, User] = {}
    groups: dict[int, list[str]] = {}
    for row in rows:
        if row[8] is not None:
            groups.setdefault(row[0], []).append(row[8])
        found[row[0]] = User(
            id=row[0],
            name=row[1],
            password=row[2],
            administrator=bool(row[3]),
            disabled=bool(row[4]),
            description=row[5],
            created_at=row[6],
            password_changed_at=row[7],
            groups=tuple(groups.get(row[0], ())),
        )
    return list(found.values())
