"""Where tags pointed, when, and who moved them."""

from entrepot.core.digest import Digest
from entrepot.core.names import Tag
from entrepot.core.undo import Move
from entrepot.db.engine import Reader, Row, Transaction

_LIST = """
    SELECT id, name, digest, previous, changed_at, changed_by FROM tag_history
    WHERE repository_id = :repository AND id < :before ORDER BY id DESC LIMIT :limit
"""
_LIST_OF_TAG = """
    SELECT id, name, digest, previous, changed_at, changed_by FROM tag_history
    WHERE repository_id = :repository AND name = :tag AND id < :before
    ORDER BY id DESC LIMIT :limit
"""
_FIND_BEFORE = """
    SELECT id, name, digest, previous, changed_at, changed_by FROM tag_history
    WHERE repository_id = :repository AND name = :tag AND changed_at <= :moment
    ORDER BY changed_at DESC, id DESC LIMIT 1
"""
_FIND_AFTER = """
    SELECT id, name, digest, previous, changed_at, changed_by FROM tag_history
    WHERE repository_id = :repository AND name = :tag AND changed_at > :moment
    ORDER BY changed_at, id LIMIT 1
"""
# Ids grow with time, so that those which are looked at are the oldest.
_FORGET = """
    DELETE FROM tag_history WHERE changed_at < :before
    AND id IN (SELECT id FROM tag_history ORDER BY id LIMIT :limit)
"""


async def list_moves(
    reader: Reader, repository: int, tag: Tag | None, *, before: int, limit: int
) -> list[Move]:
    """Return the moves of a repository's tag, or of all its tags, the last first, before an id."""
    values = {"repository": repository, "before": before, "limit": limit}
    if tag is None:
        rows = await reader.fetch_all(_LIST, values)
    else:
        rows = await reader.fetch_all(_LIST_OF_TAG, values | {"tag": tag})
    return [_move(row) for row in rows]


async def find_move_around(
    reader: Reader, repository: int, tag: Tag, *, moment: int
) -> tuple[Move | None, Move | None]:
    """Return the last move of a tag up to a moment, and the first one after it."""
    values = {"repository": repository, "tag": tag, "moment": moment}
    before = await reader.fetch_one(_FIND_BEFORE, values)
    after = await reader.fetch_one(_FIND_AFTER, values)
    return (_move(before) if before else None, _move(after) if after else None)


async def forget_moves(transaction: Transaction, *, before: int, limit: int) -> int:
    """Remove moves from before a time, of the oldest `limit`; return how many."""
    return await transaction.execute(_FORGET, {"before": before, "limit": limit})


def _move(row: Row) -> Move:
    digest = None if row[2] is None else Digest.unpack(row[2])
    previous = None if row[3] is None else Digest.unpack(row[3])
    return Move(row[0], row[1], digest, previous, row[4], row[5])
