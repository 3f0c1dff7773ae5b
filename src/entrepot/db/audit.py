"""Questions about the audit log."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from entrepot.core.audit import Record
from entrepot.db.engine import Reader, Row, Transaction

_COLUMNS = """
    writer, sequence, previous, occurred_at, action, outcome, actor, actor_kind, method, credential,
    address, repository, tag, digest, target, reason, grant_id, request_id, node, detail, hash
"""
ADD_EVENT: Final = f"""
    INSERT INTO audit_events ({_COLUMNS})
    VALUES (:writer, :sequence, :previous, :occurred_at, :action, :outcome, :actor, :actor_kind,
            :method, :credential, :address, :repository, :tag, :digest, :target, :reason,
            :grant_id, :request_id, :node, :detail, :hash)
"""  # noqa: S608 - constants
_SEARCH: Final = f"""
    SELECT id, {_COLUMNS} FROM audit_events
    WHERE occurred_at >= :since AND occurred_at <= :last_at
    AND (occurred_at < :last_at OR id < :last_id)
"""  # noqa: S608
_DOWN_TO: Final = " AND (occurred_at > :since OR id >= :end_id)"
_NEWEST_FIRST: Final = " ORDER BY occurred_at DESC, id DESC LIMIT :limit"
_FIND_MARK: Final = """
    SELECT occurred_at, id FROM audit_events
    WHERE occurred_at >= :since AND occurred_at <= :last_at
    AND (occurred_at < :last_at OR id < :last_id)
"""
_AFTER_SOME: Final = " ORDER BY occurred_at DESC, id DESC LIMIT 1 OFFSET :skip"
_CONDITIONS: Final = {
    "actor": " AND actor = :actor AND actor <> ''",
    "repository": " AND repository = :repository AND repository <> ''",
    "below": (
        " AND (repository = :below OR (repository >= :below_from AND repository < :below_to))"
        " AND repository <> ''"
    ),
    "action": " AND (action = :action OR (action >= :action_from AND action < :action_to))",
    "outcome": " AND outcome = :outcome",
    "address": " AND address = :address",
    "target": " AND target = :target",
}
_INDEXED: Final = ("actor", "repository")
_LIST_CHAINS = """
    WITH RECURSIVE chains(writer) AS (
        SELECT MIN(writer) FROM audit_events
        UNION ALL
        SELECT (SELECT MIN(writer) FROM audit_events WHERE writer > chains.writer) FROM chains
        WHERE chains.writer IS NOT NULL
    )
    SELECT writer FROM chains WHERE writer IS NOT NULL
"""
_LIST_CHAIN = f"""
    SELECT {_COLUMNS} FROM audit_events
    WHERE writer = :writer AND sequence > :after ORDER BY sequence LIMIT :limit
"""  # noqa: S608
_LIST_HEADS = """
    SELECT audit_events.writer, audit_events.sequence, audit_events.hash FROM audit_events
    JOIN (SELECT writer, MAX(sequence) AS last FROM audit_events WHERE occurred_at >= :since
          GROUP BY writer) AS heads
    ON audit_events.writer = heads.writer AND audit_events.sequence = heads.last
    ORDER BY audit_events.writer
"""


Mark = tuple[int, int]
"""The place of a record among all: its time and its id."""


class Found(NamedTuple):
    """A record with its place among those of the same moment."""

    id: int
    record: Record


async def add_audit_events(transaction: Transaction, records: Sequence[Record]) -> None:
    """Add records to their chains."""
    if len(records) == 1:
        await transaction.execute(ADD_EVENT, msgspec.structs.asdict(records[0]))
    else:
        await transaction.execute_many(ADD_EVENT, map(msgspec.structs.asdict, records))


async def search_audit_events(
    reader: Reader,
    wanted: Mapping[str, str],
    *,
    before: Mark,
    down_to: Mark,
    limit: int,
) -> list[Found]:
    """Return at most `limit` records, the newest first, that are older than `before` and not older
    than `down_to`. `wanted` says what their columns must be; an `action` is one, or all of its
    kind, as `user` is of `user.create`; `below` is a namespace.
    """
    sql = _SEARCH + _DOWN_TO + "".join(_CONDITIONS[name] for name in wanted) + _NEWEST_FIRST
    given = {**_given(wanted, before, down_to[0]), "end_id": down_to[1], "limit": limit}
    rows = await reader.fetch_all(sql, given)
    return [Found(row[0], _record(row[1:])) for row in rows]


async def find_audit_mark(
    reader: Reader, wanted: Mapping[str, str], *, before: Mark, since: int, skip: int
) -> Mark | None:
    """Return where a search has looked at `skip` records and one more, or None if there are no more
    of them. Those that an index leaves out are not looked at.
    """
    named = {name: wanted[name] for name in _INDEXED if name in wanted}
    sql = _FIND_MARK + "".join(_CONDITIONS[name] for name in named) + _AFTER_SOME
    row = await reader.fetch_one(sql, {**_given(named, before, since), "skip": skip})
    return None if row is None else (row[0], row[1])


def _given(wanted: Mapping[str, str], before: Mark, since: int) -> dict[str, object]:
    given: dict[str, object] = {**wanted, "since": since}
    given |= {"last_at": before[0], "last_id": before[1]}
    if "action" in wanted:
        given |= {"action_from": f"{wanted['action']}.", "action_to": f"{wanted['action']}/"}
    if "below" in wanted:
        given |= {"below_from": f"{wanted['below']}/", "below_to": f"{wanted['below']}0"}
    return given


async def list_audit_chains(reader: Reader) -> list[int]:
    """Return every writer."""
    return [row[0] for row in await reader.fetch_all(_LIST_CHAINS, {})]


async def list_audit_chain(
    reader: Reader, writer: int, *, after: int, limit: int
) -> Sequence[Record]:
    """Return records of one writer after the one of a number, in their order."""
    values = {"writer": writer, "after": after, "limit": limit}
    return [_record(row) for row in await reader.fetch_all(_LIST_CHAIN, values)]


async def list_audit_heads(reader: Reader, *, since: int) -> list[tuple[int, int, bytes]]:
    """Return the last number and hash of every writer that wrote something since."""
    rows = await reader.fetch_all(_LIST_HEADS, {"since": since})
    return [(row[0], row[1], bytes(row[2])) for row in rows]


def _record(row: Row) -> Record:
    """Return a row as it stands, whatever somebody may have made of it."""
    return Record(*row)
