"""What must not go, whatever else says that it may."""

from entrepot.core.digest import Digest
from entrepot.core.protections import Hold
from entrepot.db.engine import Reader, Row, Transaction, required
from entrepot.db.reviews import OR_LATER_MANIFEST

_COLUMNS = """
    SELECT holds.id, repositories.name, holds.digest, holds.reason, holds.owner, holds.created_at,
           holds.created_by, holds.expires_at
    FROM holds JOIN repositories ON repositories.id = holds.repository_id
"""
_LIST = f"{_COLUMNS} WHERE holds.id > :after ORDER BY holds.id LIMIT :limit"
_LIST_OF = f"""
    {_COLUMNS} WHERE repositories.name = :name AND holds.id > :after
    ORDER BY holds.id LIMIT :limit
"""
_LIST_LIVE = f"""
    {_COLUMNS} WHERE holds.repository_id = :repository
    AND (holds.expires_at IS NULL OR holds.expires_at > :now) ORDER BY holds.id
"""
_FIND_ON = f"""
    {_COLUMNS} WHERE holds.repository_id = :repository
    AND (holds.digest IS NULL OR holds.digest = :digest)
    AND (holds.expires_at IS NULL OR holds.expires_at > :now) ORDER BY holds.id LIMIT 1
"""
_FIND = f"{_COLUMNS} WHERE holds.id = :id"
_FIND_LAST = f"""
    {_COLUMNS} WHERE holds.repository_id = :repository ORDER BY holds.id DESC LIMIT 1
"""
_ADD = """
    INSERT INTO holds (repository_id, digest, reason, owner, created_at, created_by, expires_at)
    VALUES (:repository, :digest, :reason, :owner, :now, :actor, :expires)
"""
_REMOVE = "DELETE FROM holds WHERE id = :id"
# What had lost its last user before, or was pushed meanwhile. Manifests that `registry:2` left
# untagged are not looked at until somebody asks for it.
_REVIEW_HELD = f"""
    INSERT INTO manifest_reviews (manifest_id, review_after, event)
    SELECT manifests.id, CAST(:after AS BIGINT), 'hold.ended' FROM holds
    JOIN manifests ON manifests.repository_id = holds.repository_id
        AND (holds.digest IS NULL OR holds.digest = manifests.digest)
    WHERE holds.id = :id
      AND NOT EXISTS (SELECT 1 FROM tags WHERE tags.manifest_id = manifests.id)
      AND (manifests.created_at >= holds.created_at - CAST(:before AS BIGINT) OR EXISTS (
          SELECT 1 FROM tag_history WHERE tag_history.repository_id = manifests.repository_id
          AND tag_history.previous = manifests.digest))
    {OR_LATER_MANIFEST}
"""  # noqa: S608 - constants alone


async def list_holds(
    reader: Reader, *, repository: str = "", after: int = 0, limit: int
) -> list[Hold]:
    """Return the holds with a higher id than `after`, also those that have ended; of all
    repositories if none is named.
    """
    values = {"name": repository, "after": after, "limit": limit}
    rows = await reader.fetch_all(_LIST_OF if repository else _LIST, values)
    return [_hold(row) for row in rows]


async def list_live_holds(reader: Reader, repository: int, *, now: int) -> list[Hold]:
    """Return the holds on a repository and on images in it that have not ended."""
    values = {"repository": repository, "now": now}
    return [_hold(row) for row in await reader.fetch_all(_LIST_LIVE, values)]


async def find_hold_on(reader: Reader, repository: int, digest: Digest, *, now: int) -> Hold | None:
    """Return a hold that keeps a manifest of a repository, or None."""
    values = {"repository": repository, "digest": digest.packed, "now": now}
    row = await reader.fetch_one(_FIND_ON, values)
    return None if row is None else _hold(row)


async def find_hold(reader: Reader, number: int) -> Hold | None:
    """Return the hold with this id, or None."""
    row = await reader.fetch_one(_FIND, {"id": number})
    return None if row is None else _hold(row)


async def add_hold(transaction: Transaction, repository: int, hold: Hold) -> Hold:
    """Add a hold, whose id is not looked at."""
    values = {
        "repository": repository,
        "digest": hold.digest.packed if hold.digest else None,
        "reason": hold.reason,
        "owner": hold.owner,
        "now": hold.created_at,
        "actor": hold.created_by,
        "expires": hold.expires_at,
    }
    await transaction.execute(_ADD, values)
    return _hold(required(await transaction.fetch_one(_FIND_LAST, {"repository": repository})))


async def remove_hold(
    transaction: Transaction, number: int, *, review_after: int, before: int
) -> None:
    """End a hold. What it may have kept is looked at again `review_after`; of manifests that never
    had a tag, those that were pushed since `before` microseconds before the hold.
    """
    values = {"id": number, "after": review_after, "before": before}
    await transaction.execute(_REVIEW_HELD, values)
    await transaction.execute(_REMOVE, {"id": number})


def _hold(row: Row) -> Hold:
    return Hold(
        id=row[0],
        repository=row[1],
        digest=None if row[2] is None else Digest.unpack(row[2]),
        reason=row[3],
        owner=row[4],
        created_at=row[5],
        created_by=row[6],
        expires_at=row[7],
    )
