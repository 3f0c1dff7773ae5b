"""Counting anew what lies in a namespace that has quotas, piece by piece, while it changes.

What is added to the sums is counted by pushes, too, in the same transaction as what they count. So
at any moment the difference between a sum and what there is does not depend on who is pushing, and
may be put right at any later one.
"""

from typing import Final, NamedTuple

from entrepot.core.digest import Digest
from entrepot.core.quotas import RESOURCES, Resource
from entrepot.db.counting import Usage, add_usage, remove_counted
from entrepot.db.engine import Reader, Transaction, required

_IS_COUNTING = "SELECT 1 FROM quotas WHERE namespace_id = :namespace LIMIT 1"
_LIST_COUNTED = """
    SELECT digest FROM namespace_blobs WHERE namespace_id = :namespace AND digest > :after
    ORDER BY digest LIMIT :limit
"""
_FIND_REPOSITORY = "SELECT id, name FROM repositories WHERE name = :name"
_NEXT_REPOSITORY = """
    SELECT id, name FROM repositories WHERE name > :after AND name < :end ORDER BY name LIMIT 1
"""
_FIND_END = """
    SELECT digest FROM repository_blobs WHERE repository_id = :repository AND digest > :after
    ORDER BY digest LIMIT 1 OFFSET :skip
"""
_ADD_BLOBS = """
    INSERT INTO namespace_blobs (namespace_id, digest, size)
    SELECT CAST(:namespace AS BIGINT), blobs.digest, blobs.size FROM repository_blobs
    JOIN blobs ON blobs.digest = repository_blobs.digest
    WHERE repository_blobs.repository_id = :repository
        AND repository_blobs.digest > :after AND repository_blobs.digest <= :until
    ON CONFLICT (namespace_id, digest) DO NOTHING
    RETURNING size
"""
_WITHIN = "(repositories.name = :name OR (repositories.name > :first AND repositories.name < :end))"
_USED = """
    (SELECT CAST(COALESCE(SUM(used), 0) AS BIGINT) FROM quota_usage
     WHERE namespace_id = :namespace AND resource = '{}')
"""
# In one statement, so that all of it is seen at the same moment.
_COMPARE = f"""
    SELECT
    (SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM namespace_blobs
     WHERE namespace_id = :namespace),
    (SELECT COUNT(*) FROM repositories WHERE {_WITHIN}
     AND EXISTS (SELECT 1 FROM manifests WHERE manifests.repository_id = repositories.id)),
    (SELECT COUNT(*) FROM repositories
     JOIN manifests ON manifests.repository_id = repositories.id WHERE {_WITHIN}),
    (SELECT COUNT(*) FROM repositories
     JOIN tags ON tags.repository_id = repositories.id WHERE {_WITHIN}),
    {", ".join(_USED.format(resource) for resource in RESOURCES)}
"""  # noqa: S608 - nothing from outside
_COUNT_SHARDS = """
    SELECT namespace_id, resource FROM quota_usage
    GROUP BY namespace_id, resource HAVING COUNT(*) > :most
"""
_TAKE_SHARDS = """
    DELETE FROM quota_usage WHERE namespace_id = :namespace AND resource = :resource
    RETURNING used
"""
_LIST_FORGOTTEN = """
    SELECT namespaces.id FROM namespaces
    WHERE NOT EXISTS (SELECT 1 FROM quotas WHERE quotas.namespace_id = namespaces.id)
        AND EXISTS (SELECT 1 FROM namespace_blobs
                    WHERE namespace_blobs.namespace_id = namespaces.id)
"""

_LAST: Final = "~"
"""Comes after every letter that names have."""


class Place(NamedTuple):
    """Where in a namespace a recount is: at which repository, after which of its blobs."""

    repository: str = ""
    digest: bytes = b""


async def is_counting(reader: Reader, namespace: int) -> bool:
    """Return whether a namespace still has a quota."""
    return await reader.fetch_one(_IS_COUNTING, {"namespace": namespace}) is not None


async def remove_stale(
    transaction: Transaction, namespace: int, *, after: bytes, limit: int
) -> tuple[bytes | None, int]:
    """Look at some blobs that are counted in a namespace, and count those no more that nothing
    links there; return where to go on, None at the end, and the bytes that went.
    """
    values = {"namespace": namespace, "after": after, "limit": limit}
    rows = await transaction.fetch_all(_LIST_COUNTED, values)
    gone = 0
    for row in rows:
        gone += await remove_counted(transaction, namespace, Digest.unpack(row[0]))
    await add_usage(transaction, [Usage(namespace, "bytes", -gone)])
    return (rows[-1][0] if len(rows) == limit else None), gone


async def add_missing(
    transaction: Transaction, namespace: int, name: str, *, after: Place, limit: int
) -> tuple[Place | None, int]:
    """Look at some links of repositories in a namespace, and count the blobs that are not counted;
    return where to go on, None at the end, and the bytes that came.
    """
    came, left, place = 0, limit, after
    while left > 0:
        repository = await _find_from(transaction, name, place)
        if repository is None:
            return None, came
        number, found = repository
        if found != place.repository:
            place = Place(found)
        values = {"repository": number, "after": place.digest, "skip": left - 1}
        row = await transaction.fetch_one(_FIND_END, values)
        until = row[0] if row else b"\xff" * 65
        links = {"namespace": namespace, "repository": number, "until": until}
        rows = await transaction.fetch_all(_ADD_BLOBS, links | {"after": place.digest})
        added = sum(row[0] for row in rows)
        await add_usage(transaction, [Usage(namespace, "bytes", added)])
        came += added
        place = Place(found, until)
        left = 0 if row else left - _COST
    return place, came


_COST: Final = 25
"""What going to the next repository counts for, in links."""


async def _find_from(reader: Reader, name: str, place: Place) -> tuple[int, str] | None:
    """Return the repository where a recount goes on: the one where it is, until all is seen of
    that, or the next in the order of names; first the one that is called like the namespace.
    """
    if not place.repository and name:
        row = await reader.fetch_one(_FIND_REPOSITORY, {"name": name})
        if row is not None:
            return row[0], row[1]
    if place.repository and place.digest < b"\xff":
        row = await reader.fetch_one(_FIND_REPOSITORY, {"name": place.repository})
        if row is not None:
            return row[0], row[1]
    first, end = bounds(name)
    last = max(first, place.repository)
    row = await reader.fetch_one(_NEXT_REPOSITORY, {"after": last, "end": end})
    return None if row is None else (row[0], row[1])


async def correct_sums(transaction: Transaction, namespace: int, name: str) -> dict[Resource, int]:
    """Put right what is used in a namespace; return how much more there is than was counted."""
    drift = await find_drift(transaction, namespace, name)
    await add_usage(transaction, [Usage(namespace, what, more) for what, more in drift.items()])
    return drift


async def find_drift(reader: Reader, namespace: int, name: str) -> dict[Resource, int]:
    """Return how much more there is in a namespace than was counted, of what that is not 0."""
    first, end = bounds(name)
    values = {"namespace": namespace, "name": name, "first": first, "end": end}
    row = required(await reader.fetch_one(_COMPARE, values))
    number = len(RESOURCES)
    drift = {what: row[place] - row[place + number] for place, what in enumerate(RESOURCES)}
    return {what: more for what, more in drift.items() if more}


async def list_scattered(reader: Reader, *, most: int) -> list[tuple[int, Resource]]:
    """Return what is used in more than so many shards, by namespace and resource."""
    return [(row[0], row[1]) for row in await reader.fetch_all(_COUNT_SHARDS, {"most": most})]


async def gather(transaction: Transaction, namespace: int, resource: Resource) -> None:
    """Bring what is used into one shard. Pushes go on in new ones."""
    values = {"namespace": namespace, "resource": resource}
    rows = await transaction.fetch_all(_TAKE_SHARDS, values)
    await add_usage(transaction, [Usage(namespace, resource, sum(row[0] for row in rows))])


async def list_forgotten(reader: Reader) -> list[int]:
    """Return namespaces without a quota of which something is left that was counted."""
    return [row[0] for row in await reader.fetch_all(_LIST_FORGOTTEN, {})]


def bounds(name: str) -> tuple[str, str]:
    """Return between which names, both left out, lie the repositories of a namespace; beside them
    it has the one that is called like itself.
    """
    return (f"{name}/", f"{name}0") if name else ("", _LAST)
