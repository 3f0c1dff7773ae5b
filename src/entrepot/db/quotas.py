"""Which namespaces have quotas, and what is used of them (`counting` says how that is counted).

Whoever asks whether something fits reads outside the transaction that adds it: otherwise pushes
would come into each other's way. So what pushes that run at the same time bring may go beyond.
"""

from typing import Final

from entrepot.core.digest import Digest
from entrepot.core.quotas import RESOURCES, Quota, Resource
from entrepot.db.counting import refresh_counted
from entrepot.db.engine import Reader, Transaction, required

_LIST: Final = """
    SELECT quotas.namespace_id, namespaces.name, quotas.resource, quotas.soft, quotas.hard,
           quotas.exceeded_at, quotas.counted_at
    FROM quotas JOIN namespaces ON namespaces.id = quotas.namespace_id
    ORDER BY namespaces.name, quotas.resource
"""
# One row, so that until the next commit it is known to a process that asked before.
_FIND_USED = """
    SELECT CAST(SUM(CASE WHEN resource = 'bytes' THEN used ELSE 0 END) AS BIGINT),
           CAST(SUM(CASE WHEN resource = 'repositories' THEN used ELSE 0 END) AS BIGINT),
           CAST(SUM(CASE WHEN resource = 'manifests' THEN used ELSE 0 END) AS BIGINT),
           CAST(SUM(CASE WHEN resource = 'tags' THEN used ELSE 0 END) AS BIGINT)
    FROM quota_usage WHERE namespace_id = :namespace
"""
_IS_COUNTED = "SELECT 1 FROM namespace_blobs WHERE namespace_id = :namespace AND digest = :digest"
_SET = """
    INSERT INTO quotas (namespace_id, resource, soft, hard, counted_at)
    VALUES (:namespace, :resource, :soft, :hard,
            (SELECT MAX(others.counted_at) FROM quotas AS others
             WHERE others.namespace_id = :namespace))
    ON CONFLICT (namespace_id, resource)
    DO UPDATE SET soft = excluded.soft, hard = excluded.hard
"""
_REMOVE = "DELETE FROM quotas WHERE namespace_id = :namespace AND resource = :resource"
_HAS_QUOTAS = "SELECT 1 FROM quotas WHERE namespace_id = :namespace LIMIT 1"
_FORGET_USAGE = "DELETE FROM quota_usage WHERE namespace_id = :namespace"
_FORGET_BLOBS = """
    DELETE FROM namespace_blobs WHERE namespace_id = :namespace AND digest IN (
        SELECT blobs.digest FROM namespace_blobs AS blobs
        WHERE blobs.namespace_id = :namespace ORDER BY blobs.digest LIMIT :limit
    )
"""
_NOTE_EXCEEDED = """
    UPDATE quotas SET exceeded_at = :now
    WHERE namespace_id = :namespace AND resource = :resource AND exceeded_at IS NULL
"""
_NOTE_RECOVERED = """
    UPDATE quotas SET exceeded_at = NULL
    WHERE namespace_id = :namespace AND resource = :resource AND exceeded_at IS NOT NULL
"""
_NOTE_COUNTED = "UPDATE quotas SET counted_at = :now WHERE namespace_id = :namespace"


async def list_quotas(reader: Reader) -> list[Quota]:
    """Return every quota, by namespace and resource."""
    return [Quota(*row) for row in await reader.fetch_all(_LIST, {})]


async def find_used(reader: Reader, namespace: int) -> dict[Resource, int]:
    """Return what is used of everything in a namespace that has a quota."""
    row = required(await reader.fetch_one(_FIND_USED, {"namespace": namespace}))
    return {resource: int(used or 0) for resource, used in zip(RESOURCES, row, strict=True)}


async def is_counted(reader: Reader, namespace: int, digest: Digest) -> bool:
    """Return whether a blob is counted in a namespace, so that it costs nothing there."""
    values = {"namespace": namespace, "digest": digest.packed}
    return await reader.fetch_one(_IS_COUNTED, values) is not None


async def has_quotas(reader: Reader, namespace: int) -> bool:
    """Return whether a namespace has a quota, and so counts what lies in it."""
    return await reader.fetch_one(_HAS_QUOTAS, {"namespace": namespace}) is not None


async def set_quota(
    transaction: Transaction,
    namespace: int,
    resource: Resource,
    *,
    soft: int | None,
    hard: int | None,
) -> bool:
    """Limit a resource in a namespace; return whether what lies there has to be counted, because
    nothing was limited there before. Whatever comes from now on is counted as it comes.
    """
    fresh = not await has_quotas(transaction, namespace)
    values = {"namespace": namespace, "resource": resource, "soft": soft, "hard": hard}
    await transaction.execute(_SET, values)
    if fresh:
        await refresh_counted(transaction)
    return fresh


async def remove_quota(transaction: Transaction, namespace: int, resource: Resource) -> bool:
    """Limit a resource no more; return whether it was limited. With the last quota of a namespace
    counting ends; `forget_counted_blobs` removes what is left then.
    """
    values = {"namespace": namespace, "resource": resource}
    if await transaction.execute(_REMOVE, values) != 1:
        return False
    if not await has_quotas(transaction, namespace):
        await transaction.execute(_FORGET_USAGE, {"namespace": namespace})
        await refresh_counted(transaction)
    return True


async def forget_counted_blobs(transaction: Transaction, namespace: int, *, limit: int) -> int:
    """Remove some of what was counted in a namespace that has no quota any more; return how many
    that were.
    """
    if await has_quotas(transaction, namespace):
        return 0
    return await transaction.execute(_FORGET_BLOBS, {"namespace": namespace, "limit": limit})


async def note_crossing(transaction: Transaction, quota: Quota, *, now: int | None) -> bool:
    """Record that a namespace has come to hold more than is allowed softly, or, without a time,
    that it does no more; return whether that was not known yet.
    """
    values: dict[str, object] = {"namespace": quota.namespace_id, "resource": quota.resource}
    if now is None:
        return await transaction.execute(_NOTE_RECOVERED, values) == 1
    return await transaction.execute(_NOTE_EXCEEDED, values | {"now": now}) == 1


async def note_counted(transaction: Transaction, namespace: int, *, now: int) -> None:
    """Record that all is counted that lay in a namespace when its first quota was set."""
    await transaction.execute(_NOTE_COUNTED, {"namespace": namespace, "now": now})
