"""Chains and checkpoints in a real index of either engine: whatever is tampered with shows."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from entrepot.core.audit import Actor, Record, event
from entrepot.core.checkpoints import LATE
from entrepot.db import Database, DatabaseError, Transaction
from entrepot.db.address import IndexAddress
from entrepot.db.audit import list_audit_chain, list_audit_chains
from entrepot.db.opening import open_index
from entrepot.services.audit import MOST_NOTED, Notes, Trail
from entrepot.services.auditing import AuditLog
from entrepot.services.checkpoints import Checkpoints, Report

pytestmark = pytest.mark.anyio

SECOND = 1_000_000
DAY = 86_400 * SECOND
ADA = Actor("ada", "user", "local", "7", "203.0.113.8", "request-1", "grant 3 gives it", 3)
EVER = 2**62


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000 * SECOND

    def __call__(self) -> int:
        return self.now


class Log:
    """One registry's audit log, as one process has it."""

    def __init__(self, index: Database) -> None:
        self.index = index
        self.clock = Clock()
        self.trail = Trail(index, now=self.clock, node="node-1")
        self.checkpoints = self.signer(b"secret")

    def signer(self, secret: bytes, *, keep: int | None = None) -> Checkpoints:
        trail = Trail(self.index, now=self.clock)
        return Checkpoints(self.index, trail=trail, secret=secret, now=self.clock, keep=keep)

    async def push(self, name: str, *, trail: Trail | None = None) -> None:
        async def work(_: Transaction, notes: Notes) -> None:
            notes.add(event("manifest.push", repository=name, tag="v1", size=3))

        await (trail or self.trail).write(work, by=ADA)

    async def pushes(self, *names: str) -> None:
        for name in names:
            self.clock.now += SECOND
            await self.push(name)

    async def sql(self, statement: str, **values: object) -> int:
        async def work(transaction: Transaction) -> int:
            return await transaction.execute(statement, values)

        return await self.index.write(work)

    async def records(self) -> list[Record]:
        found: list[Record] = []
        for writer in await list_audit_chains(self.index):
            found += await list_audit_chain(self.index, writer, after=0, limit=10_000)
        return found

    async def verify(self, **how: tuple[int, str]) -> Report:
        return await self.checkpoints.verify(expected=how.get("expected"))

    async def kinds(self) -> set[str]:
        return {problem.kind for problem in (await self.verify()).problems}


@pytest.fixture
async def log(index_address: IndexAddress) -> AsyncIterator[Log]:
    index = open_index(index_address)
    log = Log(index)
    await log.checkpoints._own_key()
    assert [record.action for record in await log.records()] == ["key.create"]
    await log.sql("DELETE FROM audit_events")  # so that a test's first event is the first
    yield log
    await index.close()


async def test_what_is_done_is_in_the_transaction(log: Log) -> None:
    """What fails leaves no event; what succeeds has who, where, what and why."""

    async def fail(_: Transaction, notes: Notes) -> None:
        notes.add(event("manifest.push"))
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        await log.trail.write(fail, by=ADA)
    await log.push("team/a")
    (record,) = await log.records()
    assert (record.actor, record.credential, record.address) == ("ada", "7", "203.0.113.8")
    assert (record.repository, record.tag, record.grant_id) == ("team/a", "v1", 3)
    assert (record.reason, record.request_id, record.node) == (ADA.reason, "request-1", "node-1")
    assert not (await log.verify()).problems


async def test_a_broken_commit_ends_the_chain(log: Log) -> None:
    """After a failure that nobody can judge another chain begins, and both are right."""
    await log.push("a")

    async def fail(transaction: Transaction, _: Notes) -> None:
        await transaction.execute("INSERT INTO settings (key, value) VALUES ('x', NULL)", {})

    with pytest.raises(DatabaseError):
        await log.trail.write(fail, by=ADA)
    await log.pushes("b", "c")
    assert len(await log.records()) == 3
    assert not (await log.verify()).problems


COLUMNS = [field for field in Record.__struct_fields__ if field not in {"writer", "sequence"}]


@pytest.mark.parametrize("column", COLUMNS)
async def test_a_changed_column_shows(log: Log, column: str) -> None:
    """Every one of them, also that of the hashes, and without a checkpoint."""
    await log.pushes("a", "b", "c")
    value = getattr((await log.records())[1], column)
    other = {bytes: b"\1" * 32, int: 99, str: "forged"}[type(value)]
    sql = f"UPDATE audit_events SET {column} = :other WHERE sequence = 2"
    assert await log.sql(sql, other=other) == 1
    report = await log.verify()
    assert {problem.kind for problem in report.problems} == {"changed"}
    assert "-2" in report.problems[0].place


async def test_a_removed_event_shows(log: Log) -> None:
    await log.pushes("a", "b", "c")
    await log.sql("DELETE FROM audit_events WHERE sequence = 2")
    (problem,) = (await log.verify()).problems
    assert (problem.kind, problem.text) == ("removed", "missing before it: 2")


async def test_a_removed_beginning_shows(log: Log) -> None:
    await log.pushes("a", "b", "c")
    await log.sql("DELETE FROM audit_events WHERE sequence <= 2")
    assert await log.kinds() == {"removed"}


async def test_a_removed_end_shows_by_the_checkpoint(log: Log) -> None:
    await log.pushes("a", "b", "c")
    assert await log.checkpoints.sign() == 1
    await log.sql("DELETE FROM audit_events WHERE sequence = 3")
    (problem,) = (await log.verify()).problems
    assert (problem.kind, problem.text[:30]) == ("truncated", "checkpoint 1 knows events up t")


async def test_a_removed_chain_shows(log: Log) -> None:
    await log.pushes("a", "b")
    await log.checkpoints.sign()
    await log.sql("DELETE FROM audit_events")
    assert await log.kinds() == {"truncated"}


def _forged(record: Record, **changes: object) -> Record:
    forged = msgspec.structs.replace(record, **changes)
    return msgspec.structs.replace(forged, hash=forged.computed())


async def test_a_chain_written_anew_shows_by_the_checkpoint(log: Log) -> None:
    """Somebody who can compute hashes changes an event, and all after it."""
    await log.pushes("a", "b", "c")
    await log.checkpoints.sign()
    before = b"\0" * 32
    for record in await log.records():
        forged = _forged(record, actor="eve", previous=before)
        await log.sql(
            "UPDATE audit_events SET actor = 'eve', previous = :previous, hash = :hash "
            "WHERE sequence = :sequence",
            previous=before,
            hash=forged.hash,
            sequence=record.sequence,
        )
        before = forged.hash
    assert await log.kinds() == {"rewritten"}


async def _insert(log: Log, record: Record) -> None:
    columns = list(Record.__struct_fields__)
    names, values = ", ".join(columns), ", ".join(f":{name}" for name in columns)
    await log.sql(
        f"INSERT INTO audit_events ({names}) VALUES ({values})",
        **msgspec.structs.asdict(record),
    )


async def test_an_inserted_event_shows(log: Log) -> None:
    """In a chain of its own, or at the end of one that had ended, with hashes that are right."""
    await log.pushes("a", "b")
    last = (await log.records())[-1]
    log.clock.now += 2 * LATE
    await log.pushes("c")
    await log.checkpoints.sign()
    assert not await log.kinds()
    alone = _forged(last, writer=5, sequence=1, previous=b"\0" * 32, actor="eve")
    await _insert(log, alone)
    log.clock.now += SECOND
    await log.pushes("d")
    await log.checkpoints.sign()
    assert await log.kinds() == {"inserted"}, "the next checkpoint does not take it in"


@pytest.mark.parametrize(
    "statement, kind",
    [
        ("UPDATE audit_checkpoints SET payload = replace(payload, '[', '[ ') WHERE number = 2",
         "unsigned"),
        ("UPDATE audit_checkpoints SET signature = :other WHERE number = 3", "unsigned"),
        ("UPDATE audit_checkpoints SET created_at = 5 WHERE number = 2", "malformed"),
        ("DELETE FROM audit_checkpoints WHERE number = 2", "removed"),
        ("DELETE FROM audit_checkpoints WHERE number = 1", "removed"),
        ("DELETE FROM audit_keys", "unsigned"),
        ("UPDATE audit_keys SET sealed = :other", "unsigned"),
    ],
)  # fmt: skip
async def test_a_changed_checkpoint_shows(log: Log, statement: str, kind: str) -> None:
    for name in ("a", "b", "c"):
        await log.pushes(name)
        await log.checkpoints.sign()
    values = {"other": b"\1" * 64} if ":other" in statement else {}
    await log.sql(statement, **values)
    assert kind in await log.kinds()


async def test_removed_last_checkpoints_show_to_who_knows_one(log: Log) -> None:
    """Who has seen a checkpoint elsewhere, such as in the log of the server, finds it missing."""
    await log.pushes("a")
    await log.checkpoints.sign()
    await log.pushes("b")
    await log.checkpoints.sign()
    rows = await log.index.fetch_all("SELECT payload FROM audit_checkpoints ORDER BY number", {})
    known = (2, hashlib.sha256(rows[1][0].encode()).hexdigest())
    assert not (await log.verify(expected=known)).problems
    await log.sql("DELETE FROM audit_checkpoints WHERE number = 2")
    await log.sql("DELETE FROM audit_events WHERE sequence = 2")
    assert not await log.kinds()
    (problem,) = (await log.verify(expected=known)).problems
    assert problem.kind == "truncated"


async def test_another_secret(log: Log) -> None:
    """Keys that it does not open are not believed, unless they are named; a new one is made."""
    await log.pushes("a")
    await log.checkpoints.sign()
    await log.pushes("b")
    other = log.signer(b"another")
    assert await other.sign() == 2
    assert {str(problem)[:22] for problem in (await other.verify()).problems} == {
        "unsigned: checkpoint 1"
    }
    ((kid,),) = await log.index.fetch_all(
        "SELECT kid FROM audit_keys ORDER BY created_at, kid LIMIT 1", {}
    )
    assert not (await other.verify(trusted=[kid])).problems


async def test_nothing_new_needs_no_checkpoint(log: Log) -> None:
    assert await log.checkpoints.sign() is None
    await log.pushes("a")
    assert await log.checkpoints.sign() == 1
    assert await log.checkpoints.sign() is None
    assert await log.signer(b"secret").sign() is None


async def test_what_is_old_goes_and_the_rest_verifies(log: Log) -> None:
    """And still shows when something is removed that should be there."""
    for day in range(30):
        await log.pushes(f"day-{day}")
        await log.checkpoints.sign()
        log.clock.now += DAY // 8
    keeping = log.signer(b"secret", keep=DAY)
    while await keeping.prune():
        assert not await log.kinds()
    oldest = min(record.occurred_at for record in await log.records())
    assert log.clock.now - DAY <= oldest
    assert 5 <= len(await log.records()) <= 9
    ((first,),) = await log.index.fetch_all("SELECT MIN(number) FROM audit_checkpoints", {})
    assert first > 15
    records = await log.records()
    first_left = min(records, key=lambda record: record.occurred_at)
    await log.sql(
        "DELETE FROM audit_events WHERE writer = :writer AND sequence = :sequence",
        writer=first_left.writer,
        sequence=first_left.sequence,
    )
    assert await log.kinds() & {"removed", "truncated"}


async def test_a_flood_is_dropped_and_counted(log: Log) -> None:
    """What waits is bounded; how much was lost is an event."""
    for number in range(MOST_NOTED + 25):
        log.trail.note(event("login", outcome="failure", reason=str(number)), by=ADA)
    await log.trail.flush()
    records = await log.records()
    assert len(records) == MOST_NOTED + 1
    assert (records[-1].action, records[-1].detail) == ("audit.dropped", '{"count":25}')
    log.trail.note(event("login"), by=ADA)
    await log.trail.flush()
    assert not (await log.verify()).problems


async def test_what_cannot_be_written_waits(log: Log) -> None:
    log.trail.note(event("login"), by=ADA)
    await log.sql("ALTER TABLE audit_events RENAME TO away")
    with pytest.raises(DatabaseError):
        await log.trail.flush()
    await log.sql("ALTER TABLE away RENAME TO audit_events")
    await log.trail.flush()
    assert len(await log.records()) == 1
    assert not (await log.verify()).problems


async def test_many_writers_do_not_wait_for_each_other(
    log: Log, index_address: IndexAddress
) -> None:
    """Several processes' worth of writers at once: every event is there, every chain right."""
    indexes = [open_index(index_address) for _ in range(3)]
    trails = [Trail(index, now=log.clock) for index in indexes]
    await asyncio.gather(
        *(log.push(f"r-{n}", trail=trails[n % 3]) for n in range(60)),
        *(log.checkpoints.sign() for _ in range(3)),
    )
    for index in indexes:
        await index.close()
    await log.checkpoints.sign()
    assert len(await log.records()) == 60
    assert len(await list_audit_chains(log.index)) > 1
    assert not (await log.verify()).problems


WRITER = """
import asyncio, sys, time
from entrepot.core.audit import Actor, event
from entrepot.db.address import IndexAddress
from entrepot.db.opening import open_index
from entrepot.services.audit import Trail

async def main():
    index = open_index(IndexAddress(sys.argv[1]))
    trail = Trail(index, now=lambda: time.time_ns() // 1000)
    async def one(number):
        async def work(_, notes):
            notes.add(event("manifest.push", repository=f"r-{number}"))
            notes.add(event("tag.move", repository=f"r-{number}"))
        await trail.write(work, by=Actor("ada"))
        print(number, flush=True)
    for start in range(0, 100_000, 4):
        await asyncio.gather(*(one(start + more) for more in range(4)))
asyncio.run(main())
"""


def _write_and_kill(program: Path, url: str) -> int:
    """Run two writers, kill them in the middle, and return what was acknowledged at least."""
    command = [sys.executable, str(program), url]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    acknowledged = 0
    for process in processes:
        assert process.stdout is not None
        for _ in range(40):
            acknowledged += bool(process.stdout.readline())
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    return acknowledged


async def test_killed_in_the_middle(log: Log, index_address: IndexAddress, tmp_path: Path) -> None:
    """Two processes are killed while they write: nothing that was acknowledged is missing, no
    half of a change is there, and all chains are right.
    """
    program = tmp_path / "writer.py"
    program.write_text(WRITER)
    acknowledged = await asyncio.to_thread(_write_and_kill, program, index_address.url)
    log.clock.now = 4_000_000_000 * SECOND
    await log.checkpoints.sign()
    report = await log.verify()
    assert not report.problems
    records = await log.records()
    assert len(records) >= 2 * acknowledged
    kinds: Callable[[str], int] = [record.action for record in records].count
    assert kinds("manifest.push") == kinds("tag.move")


async def test_searching(log: Log) -> None:
    """By kind of action, namespace and time, in pages, also where many have the same moment."""
    await log.pushes("team/a", "team/b", "teamwork/a", "team")
    for _ in range(7):
        await log.push("other")
    audit = AuditLog(log.index)

    async def names(**wanted: str) -> list[str]:
        page = await audit.search(wanted, since=0, until=EVER, limit=50)
        return [found.record.repository for found in page.found]

    assert await names(below="team") == ["team", "team/b", "team/a"]
    assert len(await names(action="manifest")) == 11
    assert await names(action="man") == []
    assert await names(actor="ada", repository="team/a", outcome="success") == ["team/a"]
    assert await names(address="203.0.113.9") == []
    seen = [
        record.sequence
        async for batch in audit.every({"repository": "other"}, since=0, until=EVER)
        for record in batch
    ]
    assert len(seen) == 7
    pages, mark = [], ""
    while True:
        page = await audit.search({}, since=0, until=EVER, after=mark, limit=2)
        pages += [found.id for found in page.found]
        mark = page.rest
        if not mark:
            break
    assert len(set(pages)) == len(pages) == 11
