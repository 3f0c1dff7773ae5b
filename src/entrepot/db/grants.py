"""Who has which role where, and which roles there are besides those that are built in."""

import msgspec

from entrepot.core.access import Action
from entrepot.core.decision import Grant, SubjectKind
from entrepot.core.patterns import parse_pattern, parse_tag_pattern
from entrepot.db.engine import Reader, Row, Transaction, required

_COLUMNS = """
    SELECT g.id, n.name, g.subject_kind, g.subject, g.role, g.effect, g.repository_pattern,
        g.tag_pattern, g.created_at, g.expires_at
    FROM grants g JOIN namespaces n ON n.id = g.namespace_id
"""
_LIST_OF = f"""
    {_COLUMNS} WHERE g.subject_kind = :kind AND g.subject = :subject
        AND (g.expires_at IS NULL OR g.expires_at > :now)
    ORDER BY g.id
"""
_LIST_IN = (
    f"{_COLUMNS} WHERE g.namespace_id = :namespace AND g.id > :after ORDER BY g.id LIMIT :limit"
)
_LIST = f"{_COLUMNS} WHERE g.id > :after ORDER BY g.id LIMIT :limit"
_FIND = f"{_COLUMNS} WHERE g.id = :id"
_FIND_SAME = """
    SELECT id FROM grants
    WHERE namespace_id = :namespace AND subject_kind = :kind AND subject = :subject
        AND role = :role AND effect = :effect
        AND repository_pattern = :repositories AND tag_pattern = :tags
"""
_ADD = """
    INSERT INTO grants (namespace_id, subject_kind, subject, role, effect, repository_pattern,
        tag_pattern, created_at, expires_at)
    VALUES (:namespace, :kind, :subject, :role, :effect, :repositories, :tags, :created_at,
        :expires_at)
"""
_RENEW = "UPDATE grants SET expires_at = :expires_at WHERE id = :id"
_REMOVE = "DELETE FROM grants WHERE id = :id"
_REMOVE_OF = "DELETE FROM grants WHERE subject_kind = :kind AND subject = :subject"
_FIND_WITH_ROLE = "SELECT id FROM grants WHERE role = :role LIMIT 1"

_LIST_ROLES = "SELECT name, actions FROM roles ORDER BY name"
_ADD_ROLE = """
    INSERT INTO roles (name, actions, created_at) VALUES (:name, :actions, :now)
    ON CONFLICT (name) DO NOTHING
"""
_REMOVE_ROLE = "DELETE FROM roles WHERE name = :name"


async def list_grants_of(
    reader: Reader, kind: SubjectKind, subject: str, *, now: int
) -> list[Grant]:
    """Return the grants of one user, group or robot that have not ended."""
    values = {"kind": kind, "subject": subject, "now": now}
    return [_grant(row) for row in await reader.fetch_all(_LIST_OF, values)]


async def list_grants(
    reader: Reader, *, namespace: int | None, after: int, limit: int
) -> list[Grant]:
    """Return the first `limit` grants with an id beyond `after`, of one namespace or of all."""
    values = {"after": after, "limit": limit}
    if namespace is None:
        rows = await reader.fetch_all(_LIST, values)
    else:
        rows = await reader.fetch_all(_LIST_IN, values | {"namespace": namespace})
    return [_grant(row) for row in rows]


async def find_grant(reader: Reader, number: int) -> Grant | None:
    """Return the grant of this id, or None."""
    row = await reader.fetch_one(_FIND, {"id": number})
    return None if row is None else _grant(row)


async def add_grant(transaction: Transaction, grant: Grant, *, namespace: int) -> int:
    """Add a grant, whose id is not looked at, and return its id. One that differs in nothing but
    its times gets the new end instead.
    """
    same: dict[str, object] = {
        "namespace": namespace,
        "kind": grant.subject_kind,
        "subject": grant.subject,
        "role": grant.role,
        "effect": grant.effect,
        "repositories": grant.repositories.text,
        "tags": grant.tags.text,
    }
    row = await transaction.fetch_one(_FIND_SAME, same)
    if row is not None:
        await transaction.execute(_RENEW, {"id": row[0], "expires_at": grant.expires_at})
        return int(row[0])
    times = {"created_at": grant.created_at, "expires_at": grant.expires_at}
    await transaction.execute(_ADD, same | times)
    return int(required(await transaction.fetch_one(_FIND_SAME, same))[0])


async def remove_grant(transaction: Transaction, number: int) -> bool:
    """Remove a grant; return whether there was one."""
    return await transaction.execute(_REMOVE, {"id": number}) == 1


async def remove_grants_of(transaction: Transaction, kind: SubjectKind, subject: str) -> None:
    """Remove every grant of somebody who is no more, so that nobody of the same name gets them."""
    await transaction.execute(_REMOVE_OF, {"kind": kind, "subject": subject})


async def find_grant_with_role(reader: Reader, role: str) -> int | None:
    """Return the id of some grant of a role, or None."""
    row = await reader.fetch_one(_FIND_WITH_ROLE, {"role": role})
    return None if row is None else int(row[0])


async def list_roles(reader: Reader) -> dict[str, frozenset[Action]]:
    """Return the custom roles by name, with the actions that they give."""
    rows = await reader.fetch_all(_LIST_ROLES, {})
    return {row[0]: msgspec.json.decode(row[1], type=frozenset[Action]) for row in rows}


async def add_role(
    transaction: Transaction, name: str, actions: frozenset[Action], *, now: int
) -> bool:
    """Add a custom role; return whether its name was free."""
    text = msgspec.json.encode(sorted(action.value for action in actions)).decode()
    values = {"name": name, "actions": text, "now": now}
    return await transaction.execute(_ADD_ROLE, values) == 1


async def remove_role(transaction: Transaction, name: str) -> bool:
    """Remove a custom role; return whether there was one."""
    return await transaction.execute(_REMOVE_ROLE, {"name": name}) == 1


def _grant(row: Row) -> Grant:
    return Grant(
        id=row[0],
        namespace=row[1],
        subject_kind=row[2],
        subject=row[3],
        role=row[4],
        effect=row[5],
        repositories=parse_pattern(row[6]),
        tags=parse_tag_pattern(row[7]),
        created_at=row[8],
        expires_at=row[9],
    )
