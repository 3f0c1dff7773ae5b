"""What is to be done when."""

import msgspec

from entrepot.core.work import Schedule
from entrepot.db.engine import Reader, Row, Transaction

_COLUMNS = """
    SELECT name, kind, cron, timezone, jitter, settings, enabled, next_at, last_at, created_at,
        created_by
    FROM schedules
"""
_LIST = f"{_COLUMNS} ORDER BY name"
_FIND = f"{_COLUMNS} WHERE name = :name"
_LIST_DUE = f"{_COLUMNS} WHERE next_at <= :now AND enabled ORDER BY next_at, name LIMIT :limit"
_SET = """
    INSERT INTO schedules (name, kind, cron, timezone, jitter, settings, enabled, next_at,
        created_at, created_by)
    VALUES (:name, :kind, :cron, :timezone, :jitter, :settings, :enabled, :next_at, :created_at,
        :created_by)
    ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, cron = excluded.cron,
        timezone = excluded.timezone, jitter = excluded.jitter, settings = excluded.settings,
        enabled = excluded.enabled, next_at = excluded.next_at
"""
_MOVE_ON = "UPDATE schedules SET last_at = :now, next_at = :next_at WHERE name = :name"
_ENABLE = "UPDATE schedules SET enabled = :enabled, next_at = :next_at WHERE name = :name"
_REMOVE = "DELETE FROM schedules WHERE name = :name"


async def list_schedules(reader: Reader) -> list[Schedule]:
    """Return every schedule by name."""
    return [_schedule(row) for row in await reader.fetch_all(_LIST, {})]


async def find_schedule(reader: Reader, name: str) -> Schedule | None:
    """Return a schedule by its name."""
    row = await reader.fetch_one(_FIND, {"name": name})
    return _schedule(row) if row else None


async def list_due_schedules(reader: Reader, *, now: int, limit: int) -> list[Schedule]:
    """Return schedules whose time has come."""
    rows = await reader.fetch_all(_LIST_DUE, {"now": now, "limit": limit})
    return [_schedule(row) for row in rows]


async def set_schedule(transaction: Transaction, schedule: Schedule) -> None:
    """Write a schedule; one of the same name is replaced, but remembers when it last ran."""
    values = msgspec.structs.asdict(schedule)
    await transaction.execute(_SET, values | {"settings": msgspec.json.encode(schedule.settings)})


async def move_schedule_on(transaction: Transaction, name: str, *, now: int, next_at: int) -> None:
    """Record that a schedule ran now, and when it is due next."""
    await transaction.execute(_MOVE_ON, {"name": name, "now": now, "next_at": next_at})


async def enable_schedule(
    transaction: Transaction, name: str, *, enabled: bool, next_at: int
) -> None:
    """Let a schedule run or not, and say when it is due next."""
    values = {"name": name, "enabled": enabled, "next_at": next_at}
    await transaction.execute(_ENABLE, values)


async def remove_schedule(transaction: Transaction, name: str) -> bool:
    """Remove a schedule; return whether there was one."""
    return await transaction.execute(_REMOVE, {"name": name}) == 1


def _schedule(row: Row) -> Schedule:
    return Schedule(
        name=row[0],
        kind=row[1],
        cron=row[2],
        timezone=row[3],
        jitter=row[4],
        settings=msgspec.json.decode(row[5]),
        enabled=bool(row[6]),
        next_at=row[7],
        last_at=row[8],
        created_at=row[9],
        created_by=row[10] or "",
    )
