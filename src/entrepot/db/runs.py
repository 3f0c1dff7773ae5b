"""What was done in the background, and what came of it."""

import msgspec

from entrepot.core.work import Document, Outcome, Run
from entrepot.db.engine import Reader, Row, Transaction, required

_COLUMNS = """
    SELECT id, kind, cause, node, started_at, finished_at, outcome, report FROM runs
"""
_ADD = """
    INSERT INTO runs (kind, cause, node, started_at, outcome, report)
    VALUES (:kind, :cause, '', :now, 'waiting', :report) RETURNING id
"""
_BEGIN = """
    UPDATE runs SET node = :node, outcome = 'running',
        started_at = CASE WHEN node = '' THEN :now ELSE started_at END
    WHERE id = :id
"""
_NOTE = "UPDATE runs SET report = :report, outcome = :outcome WHERE id = :id"
_FINISH = """
    UPDATE runs SET report = :report, outcome = :outcome, finished_at = :now WHERE id = :id
"""
_FIND = f"{_COLUMNS} WHERE id = :id"
_LIST = f"{_COLUMNS} WHERE id < :before ORDER BY id DESC LIMIT :limit"
_LIST_OF = f"{_COLUMNS} WHERE kind = :kind AND id < :before ORDER BY id DESC LIMIT :limit"
_FIND_LAST = f"""
    {_COLUMNS} WHERE kind = :kind AND finished_at IS NOT NULL
    ORDER BY started_at DESC, id DESC LIMIT 1
"""
_FORGET = "DELETE FROM runs WHERE finished_at IS NOT NULL AND started_at < :before"


async def add_run(transaction: Transaction, kind: str, *, cause: str, now: int) -> int:
    """Record that something is going to be done, and return the run's id."""
    values = {"kind": kind, "cause": cause, "now": now, "report": b"{}"}
    return int(required(await transaction.fetch_one(_ADD, values))[0])


async def begin_run(transaction: Transaction, run: int, *, node: str, now: int) -> None:
    """Record who does it; when it is begun for the first time, also that it begins now."""
    await transaction.execute(_BEGIN, {"id": run, "node": node, "now": now})


async def note_run(
    transaction: Transaction, run: int, report: Document, *, outcome: Outcome = "running"
) -> None:
    """Record what came of it so far."""
    values = {"id": run, "report": msgspec.json.encode(report), "outcome": outcome}
    await transaction.execute(_NOTE, values)


async def finish_run(
    transaction: Transaction, run: int, report: Document, *, outcome: Outcome, now: int
) -> None:
    """Record how it ended."""
    values = {"id": run, "report": msgspec.json.encode(report), "outcome": outcome, "now": now}
    await transaction.execute(_FINISH, values)


async def find_run(reader: Reader, run: int) -> Run | None:
    """Return a run by its id."""
    row = await reader.fetch_one(_FIND, {"id": run})
    return _run(row) if row else None


async def find_last_run(reader: Reader, kind: str) -> Run | None:
    """Return the last run of a kind that came to an end."""
    row = await reader.fetch_one(_FIND_LAST, {"kind": kind})
    return _run(row) if row else None


async def list_runs(reader: Reader, *, kind: str = "", before: int, limit: int) -> list[Run]:
    """Return runs with an id below `before`, of one kind or all, the newest first."""
    values = {"before": before, "limit": limit}
    if kind:
        rows = await reader.fetch_all(_LIST_OF, values | {"kind": kind})
    else:
        rows = await reader.fetch_all(_LIST, values)
    return [_run(row) for row in rows]


async def forget_runs(transaction: Transaction, *, before: int) -> None:
    """Forget what was begun before a time and is over."""
    await transaction.execute(_FORGET, {"before": before})


def _run(row: Row) -> Run:
    return Run(
        id=row[0],
        kind=row[1],
        cause=row[2],
        node=row[3],
        started_at=row[4],
        finished_at=row[5],
        outcome=row[6],
        report=msgspec.json.decode(row[7]),
    )
