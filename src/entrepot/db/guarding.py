"""Questions about logins that failed."""

from collections.abc import Sequence

from entrepot.core.guarding import Failures
from entrepot.db.engine import Reader, Transaction

_FIND = """
    SELECT kind, subject, count, failed_at, locked_until FROM login_failures
    WHERE kind = :kind AND subject = :subject
"""
_LIST = """
    SELECT kind, subject, count, failed_at, locked_until FROM login_failures
    ORDER BY locked_until DESC, kind, subject
"""
_WRITE = """
    INSERT INTO login_failures (kind, subject, count, failed_at, locked_until)
    VALUES (:kind, :subject, :count, :failed_at, :locked_until)
    ON CONFLICT (kind, subject) DO UPDATE SET
        count = excluded.count, failed_at = excluded.failed_at,
        locked_until = excluded.locked_until
"""
_REMOVE = "DELETE FROM login_failures WHERE kind = :kind AND subject = :subject"
_FORGET = "DELETE FROM login_failures WHERE failed_at < :before AND locked_until < :before"
_REMOVE_ALL = "DELETE FROM login_failures"


async def find_failures(reader: Reader, kind: str, subject: str) -> Failures | None:
    """Return the failed logins of an account or from an address, or None."""
    row = await reader.fetch_one(_FIND, {"kind": kind, "subject": subject})
    return None if row is None else Failures(*row)


async def list_failures(reader: Reader) -> Sequence[Failures]:
    """Return all failed logins that are remembered, the longest locked first."""
    return [Failures(*row) for row in await reader.fetch_all(_LIST, {})]


async def write_failures(transaction: Transaction, failures: Failures) -> None:
    """Write down what is known of an account or address."""
    values = {name: getattr(failures, name) for name in failures.__struct_fields__}
    await transaction.execute(_WRITE, values)


async def remove_failures(transaction: Transaction, kind: str, subject: str) -> bool:
    """Forget the failures of an account or address; return whether there were any."""
    return await transaction.execute(_REMOVE, {"kind": kind, "subject": subject}) == 1


async def forget_failures(transaction: Transaction, *, before: int) -> None:
    """Forget all that ended before a time."""
    await transaction.execute(_FORGET, {"before": before})


async def remove_all_failures(transaction: Transaction) -> int:
    """Forget all failures; return how many accounts and addresses had some."""
    return await transaction.execute(_REMOVE_ALL, {})
