"""Questions about the checkpoints of the audit log, and the keys that sign them."""

from collections.abc import Sequence
from typing import NamedTuple

from entrepot.core.checkpoints import Signed
from entrepot.db.engine import Reader, Row, Transaction

_COLUMNS = "number, payload, created_at, signature"
_FIND_LAST = f"SELECT {_COLUMNS} FROM audit_checkpoints ORDER BY number DESC LIMIT 1"  # noqa: S608
_LIST = f"""
    SELECT {_COLUMNS} FROM audit_checkpoints
    WHERE number > :after ORDER BY number LIMIT :limit
"""  # noqa: S608
_ADD = """
    INSERT INTO audit_checkpoints (number, payload, created_at, signature)
    VALUES (:number, :payload, :created_at, :signature)
"""
_FORGET = "DELETE FROM audit_checkpoints WHERE created_at < :before AND number < :last"
_LIST_SINCE = f"""
    SELECT {_COLUMNS} FROM audit_checkpoints WHERE created_at >= :since ORDER BY number
"""  # noqa: S608
_LIST_KEYS = "SELECT kid, public, sealed, created_at FROM audit_keys ORDER BY created_at, kid"
_ADD_KEY = """
    INSERT INTO audit_keys (kid, public, sealed, created_at)
    VALUES (:kid, :public, :sealed, :created_at)
"""
_FIND_OLDEST = "SELECT MIN(occurred_at) FROM audit_events"
_LIST_OLD = """
    SELECT audit_events.writer, audit_events.sequence, audit_events.hash FROM audit_events
    JOIN (SELECT writer, MAX(sequence) AS last FROM audit_events WHERE occurred_at < :before
          GROUP BY writer) AS old
    ON audit_events.writer = old.writer AND audit_events.sequence = old.last
"""
_FORGET_EVENTS = "DELETE FROM audit_events WHERE writer = :writer AND sequence <= :sequence"
_HAS_EVENT = "SELECT 1 FROM audit_events WHERE writer = :writer LIMIT 1"


class AuditKey(NamedTuple):
    """A key that signs checkpoints: Ed25519, the private one sealed."""

    kid: str
    public: bytes
    sealed: bytes
    created_at: int


async def find_last_checkpoint(reader: Reader) -> Signed | None:
    """Return the last checkpoint, or None if there is none."""
    row = await reader.fetch_one(_FIND_LAST, {})
    return _signed(row) if row is not None else None


async def list_checkpoints(reader: Reader, *, after: int, limit: int) -> Sequence[Signed]:
    """Return checkpoints after the one of a number, in their order."""
    rows = await reader.fetch_all(_LIST, {"after": after, "limit": limit})
    return [_signed(row) for row in rows]


async def list_checkpoints_since(reader: Reader, since: int) -> Sequence[Signed]:
    """Return the checkpoints from a time on, in their order."""
    return [_signed(row) for row in await reader.fetch_all(_LIST_SINCE, {"since": since})]


async def add_checkpoint(transaction: Transaction, signed: Signed) -> None:
    """Add a checkpoint."""
    values = {
        "number": signed.number,
        "payload": signed.payload.decode(),
        "created_at": signed.created_at,
        "signature": signed.signature,
    }
    await transaction.execute(_ADD, values)


async def forget_checkpoints(transaction: Transaction, *, before: int, last: int) -> None:
    """Remove checkpoints that are older than `before`, but not the one numbered `last`."""
    await transaction.execute(_FORGET, {"before": before, "last": last})


async def list_audit_keys(reader: Reader) -> Sequence[AuditKey]:
    """Return the keys, the oldest first."""
    rows = await reader.fetch_all(_LIST_KEYS, {})
    return [AuditKey(row[0], bytes(row[1]), bytes(row[2]), row[3]) for row in rows]


async def add_audit_key(transaction: Transaction, key: AuditKey) -> None:
    """Add a key."""
    await transaction.execute(_ADD_KEY, key._asdict())


async def find_oldest_audit_event(reader: Reader) -> int | None:
    """Return when the oldest event occurred; None if there is none."""
    row = await reader.fetch_one(_FIND_OLDEST, {})
    return row[0] if row is not None else None


async def forget_audit_events(
    transaction: Transaction, *, before: int
) -> Sequence[tuple[int, int, bytes]]:
    """Remove the beginnings of chains up to the last event before a time, and return the last
    events that were removed: writer, number and hash.
    """
    rows = await transaction.fetch_all(_LIST_OLD, {"before": before})
    for row in rows:
        await transaction.execute(_FORGET_EVENTS, {"writer": row[0], "sequence": row[1]})
    return [(row[0], row[1], bytes(row[2])) for row in rows]


async def has_audit_events(reader: Reader, writer: int) -> bool:
    """Whether anything is left of a writer."""
    return await reader.fetch_one(_HAS_EVENT, {"writer": writer}) is not None


def _signed(row: Row) -> Signed:
    return Signed(row[0], str(row[1]).encode(), row[2], bytes(row[3]))
