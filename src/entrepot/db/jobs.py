"""Work that waits or is being done, by one owner at a time, which holds it by a lease.

The payload of a job is a JSON object: `run` is the id of its run, `settings` what was asked for,
`cursor` how far it is.

No lease lasts for two hours, and no work waits so long. What seems to was written by a clock that
has been set back since: such a lease is over, and such work is due.
"""

from typing import Final

import msgspec

from entrepot.core.work import Document, Job
from entrepot.db.engine import Reader, Row, Transaction

_ADD = """
    INSERT INTO jobs (kind, key, payload, run_after)
    VALUES (:kind, :key, :payload, :run_after)
"""
_FIND_RUN = "SELECT payload FROM jobs WHERE kind = :kind AND key = :key"
_DUE: Final = "(run_after <= :now OR run_after > :beyond AND run_after < :never)"
_LIST_DUE_KINDS = f"SELECT DISTINCT kind FROM jobs WHERE {_DUE}"  # noqa: S608 - constants alone
_FIND_DUE = f"""
    SELECT id, kind, payload, attempts FROM jobs
    WHERE kind = :kind AND {_DUE}
        AND NOT EXISTS (
            SELECT 1 FROM jobs AS others
            WHERE others.kind = :kind AND others.lease_owner IS NOT NULL
                AND others.lease_expires_at BETWEEN :now AND :beyond
        )
    ORDER BY run_after, id LIMIT 1
"""  # noqa: S608 - constants alone
_CLAIM = """
    UPDATE jobs SET lease_owner = :owner, lease_expires_at = :until, attempts = attempts + 1
    WHERE id = :id
"""
_RENEW = """
    UPDATE jobs SET lease_expires_at = :until WHERE id = :id AND lease_owner = :owner
"""
_NOTE = """
    UPDATE jobs SET payload = :payload, attempts = 1 WHERE id = :id AND lease_owner = :owner
"""
_IS_OWNER = "SELECT 1 FROM jobs WHERE id = :id AND lease_owner = :owner"
_REST = """
    UPDATE jobs SET lease_owner = NULL, lease_expires_at = NULL, run_after = :run_after,
        last_error = :error, attempts = CASE WHEN :counts THEN attempts ELSE attempts - 1 END
    WHERE id = :id AND lease_owner = :owner
"""
_FINISH = "DELETE FROM jobs WHERE id = :id AND lease_owner = :owner"
_HOLD = """
    INSERT INTO jobs (kind, key, payload, run_after, lease_owner, lease_expires_at)
    VALUES (:kind, :key, :payload, :never, :owner, :until)
    ON CONFLICT (kind, key) DO UPDATE SET lease_owner = excluded.lease_owner,
        lease_expires_at = excluded.lease_expires_at
    WHERE jobs.lease_owner = excluded.lease_owner
        OR jobs.lease_expires_at NOT BETWEEN :now AND :beyond
"""
_LET_GO = "DELETE FROM jobs WHERE kind = :kind AND key = :key AND lease_owner = :owner"
_FORGET_LEASES = "DELETE FROM jobs WHERE kind = :kind AND lease_expires_at < :before"
_FIND_HOLDER = """
    SELECT lease_owner FROM jobs
    WHERE kind = :kind AND lease_expires_at BETWEEN :now AND :beyond LIMIT 1
"""

_NEVER: Final = 2**62
"""When work is due that is nothing but a lease."""

_LONGEST: Final = 2 * 3600 * 1_000_000
"""Microseconds that no lease lasts, and no work waits."""


def _times(now: int) -> dict[str, int]:
    return {"now": now, "beyond": now + _LONGEST}


async def add_job(
    transaction: Transaction, kind: str, key: str, *, run: int, settings: Document, run_after: int
) -> None:
    """Add work. There must be none of the same kind and key (`find_waiting_run`)."""
    payload = msgspec.json.encode({"run": run, "settings": settings, "cursor": {}})
    values = {"kind": kind, "key": key, "payload": payload, "run_after": run_after}
    await transaction.execute(_ADD, values)


async def find_waiting_run(reader: Reader, kind: str, key: str) -> int | None:
    """Return the run of the work of this kind and key that waits or is being done, or None."""
    row = await reader.fetch_one(_FIND_RUN, {"kind": kind, "key": key})
    return int(msgspec.json.decode(row[0])["run"]) if row else None


async def list_due_kinds(reader: Reader, *, now: int) -> list[str]:
    """Return the kinds of which something is due, whether or not somebody is at it."""
    return [
        row[0] for row in await reader.fetch_all(_LIST_DUE_KINDS, _times(now) | {"never": _NEVER})
    ]


async def claim_job(
    transaction: Transaction, kind: str, *, owner: str, now: int, until: int
) -> Job | None:
    """Make `owner` the one who does what is due of a kind, until a time; None if nothing is, or if
    somebody is at work of that kind.
    """
    values = {"kind": kind, "never": _NEVER, **_times(now)}
    row = await transaction.fetch_one(_FIND_DUE, values)
    if row is None:
        return None
    await transaction.execute(_CLAIM, {"id": row[0], "owner": owner, "until": until})
    return _job(row)


async def renew_job(transaction: Transaction, job: int, *, owner: str, until: int) -> bool:
    """Go on being the owner until a time; return False if somebody else has the job now."""
    return await transaction.execute(_RENEW, {"id": job, "owner": owner, "until": until}) == 1


async def note_cursor(transaction: Transaction, job: Job, cursor: Document, *, owner: str) -> bool:
    """Record that a job makes progress and how far it is, for whoever takes it over; return False
    if somebody else has it now.
    """
    payload = {"run": job.run, "settings": job.settings, "cursor": cursor}
    values = {"id": job.id, "owner": owner, "payload": msgspec.json.encode(payload)}
    return await transaction.execute(_NOTE, values) == 1


async def is_owner(reader: Reader, job: int, *, owner: str) -> bool:
    """Return whether nobody has taken a job over."""
    return await reader.fetch_one(_IS_OWNER, {"id": job, "owner": owner}) is not None


async def rest_job(
    transaction: Transaction, job: int, *, owner: str, run_after: int, error: str | None
) -> bool:
    """Let somebody go on with a job after a time, because of an error or, without one, because its
    owner ends; return False if somebody else has it now.
    """
    values = {"id": job, "owner": owner, "run_after": run_after, "error": error}
    return await transaction.execute(_REST, values | {"counts": error is not None}) == 1


async def finish_job(transaction: Transaction, job: int, *, owner: str) -> bool:
    """Remove a job that is done; return False if somebody else has it now."""
    return await transaction.execute(_FINISH, {"id": job, "owner": owner}) == 1


# Leases without work ----------------------------------------------------------------------------


async def hold_lease(
    transaction: Transaction, kind: str, key: str, *, owner: str, now: int, until: int
) -> bool:
    """Make `owner` the only holder of something until a time, or renew that; return whether nobody
    else holds it.
    """
    values = {"kind": kind, "key": key, "owner": owner, "until": until, **_times(now)}
    return await transaction.execute(_HOLD, values | {"payload": b"{}", "never": _NEVER}) == 1


async def let_lease_go(transaction: Transaction, kind: str, key: str, *, owner: str) -> None:
    """Let others hold it at once."""
    await transaction.execute(_LET_GO, {"kind": kind, "key": key, "owner": owner})


async def forget_leases(transaction: Transaction, kind: str, *, before: int) -> None:
    """Remove leases of a kind that ended before a time."""
    await transaction.execute(_FORGET_LEASES, {"kind": kind, "before": before})


async def find_lease_holder(reader: Reader, kind: str, *, now: int) -> str | None:
    """Return somebody who holds a lease of this kind at a time, or None."""
    row = await reader.fetch_one(_FIND_HOLDER, {"kind": kind, **_times(now)})
    return row[0] if row else None


def _job(row: Row) -> Job:
    payload = msgspec.json.decode(row[2])
    return Job(row[0], row[1], payload["run"], payload["settings"], payload["cursor"], row[3] + 1)
