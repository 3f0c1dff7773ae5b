"""Which tags can't be moved or deleted, by pattern."""

from entrepot.core.patterns import parse_pattern, parse_tag_pattern
from entrepot.core.protections import Protection
from entrepot.db.engine import Reader, Row, Transaction, required

_COLUMNS = """
    SELECT tag_protections.id, namespaces.name, tag_protections.repository_pattern,
           tag_protections.tag_pattern, tag_protections.exception, tag_protections.created_at,
           tag_protections.created_by
    FROM tag_protections JOIN namespaces ON namespaces.id = tag_protections.namespace_id
"""
_LIST = f"{_COLUMNS} ORDER BY namespaces.name, tag_protections.id"
# Of the namespaces that a repository is in, there are few rules; the table as a whole is small.
_LIST_ON = f"""
    {_COLUMNS}
    WHERE namespaces.name = '' OR namespaces.name = :name
       OR substr(CAST(:name AS TEXT), 1, length(namespaces.name) + 1) = namespaces.name || '/'
    ORDER BY tag_protections.id
"""
_FIND = f"{_COLUMNS} WHERE tag_protections.id = :id"
_FIND_IN = f"""
    {_COLUMNS} WHERE tag_protections.namespace_id = :namespace ORDER BY tag_protections.id LIMIT 1
"""
_FIND_SAME = f"""
    {_COLUMNS} WHERE tag_protections.namespace_id = :namespace
    AND tag_protections.repository_pattern = :repositories AND tag_protections.tag_pattern = :tags
    AND tag_protections.exception = :exception
"""
_ADD = """
    INSERT INTO tag_protections (namespace_id, repository_pattern, tag_pattern, exception,
                                 created_at, created_by)
    VALUES (:namespace, :repositories, :tags, :exception, :now, :actor)
"""
_REMOVE = "DELETE FROM tag_protections WHERE id = :id"


async def list_protections(reader: Reader) -> list[Protection]:
    """Return every rule, by namespace."""
    return [_protection(row) for row in await reader.fetch_all(_LIST, {})]


async def list_protections_on(reader: Reader, repository: str) -> list[Protection]:
    """Return the rules of all namespaces that a repository, or namespace, is in or is."""
    rows = await reader.fetch_all(_LIST_ON, {"name": repository})
    return [_protection(row) for row in rows]


async def find_protection(reader: Reader, number: int) -> Protection | None:
    """Return the rule with this id, or None."""
    row = await reader.fetch_one(_FIND, {"id": number})
    return None if row is None else _protection(row)


async def find_protection_in(reader: Reader, namespace: int) -> Protection | None:
    """Return some rule of a namespace itself, or None."""
    row = await reader.fetch_one(_FIND_IN, {"namespace": namespace})
    return None if row is None else _protection(row)


async def find_same_protection(
    reader: Reader, namespace: int, rule: Protection
) -> Protection | None:
    """Return the rule of a namespace that says the same, or None."""
    row = await reader.fetch_one(_FIND_SAME, _values(namespace, rule))
    return None if row is None else _protection(row)


async def add_protection(transaction: Transaction, namespace: int, rule: Protection) -> Protection:
    """Add a rule, whose id is not looked at, to a namespace that has none like it."""
    values = _values(namespace, rule)
    more = {"now": rule.created_at, "actor": rule.created_by}
    await transaction.execute(_ADD, values | more)
    return _protection(required(await transaction.fetch_one(_FIND_SAME, values)))


async def remove_protection(transaction: Transaction, number: int) -> None:
    """Remove a rule."""
    await transaction.execute(_REMOVE, {"id": number})


def _values(namespace: int, rule: Protection) -> dict[str, object]:
    return {
        "namespace": namespace,
        "repositories": str(rule.repositories),
        "tags": str(rule.tags),
        "exception": rule.exception,
    }


def _protection(row: Row) -> Protection:
    return Protection(
        id=row[0],
        namespace=row[1],
        repositories=parse_pattern(row[2]),
        tags=parse_tag_pattern(row[3]),
        exception=bool(row[4]),
        created_at=row[5],
        created_by=row[6],
    )
