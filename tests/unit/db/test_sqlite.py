"""The index in SQLite: shared commits, what other processes see, and how it fails."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from entrepot.db import DatabaseError, Transaction
from entrepot.db.engine import Work
from entrepot.db.settings import ensure_setting, replace_setting
from entrepot.db.sqlite import SqliteDatabase

pytestmark = pytest.mark.anyio

FIND = "SELECT value FROM settings WHERE key = :key"


def setting(key: str, value: str) -> Work[None]:
    async def work(transaction: Transaction) -> None:
        await replace_setting(transaction, key, value=value)

    return work


async def value(index: SqliteDatabase, key: str) -> str | None:
    row = await index.fetch_one(FIND, {"key": key})
    return str(row[0]) if row else None


OTHER = """
import asyncio, sys
from pathlib import Path
from entrepot.db.settings import replace_setting
from entrepot.db.sqlite import SqliteDatabase

async def main():
    index = SqliteDatabase(Path(sys.argv[1]))
    for line in sys.stdin:
        key, value = line.split()
        write = index.write_lazily if value.startswith("lazy") else index.write
        await write(lambda transaction: replace_setting(transaction, key, value=value))
        print("done", flush=True)
    await index.close()

asyncio.run(main())
"""


class OtherProcess:
    """A process that sets settings in the same index when it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def set(self, key: str, value: str) -> None:
        """Returns when the other process has committed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(key, value, file=self._process.stdin, flush=True)
        assert self._process.stdout.readline() == "done\n"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def other_process(path: Path) -> Iterator[OtherProcess]:
    command = [sys.executable, "-c", OTHER, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield OtherProcess(process)
        process.kill()


# Transactions -----------------------------------------------------------------------------------


async def test_work_may_wait_for_its_transaction_only(index: SqliteDatabase) -> None:
    async def work(transaction: Transaction) -> None:
        await replace_setting(transaction, "key", value="half-made")
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="awaited something other"):
        await index.write(work)
    assert await value(index, "key") is None


async def test_writes_share_commits(path: Path) -> None:
    """And `committed` is told of each shared commit, not of each write."""
    seconds: list[float] = []
    index = SqliteDatabase(path, committed=seconds.append)
    await asyncio.gather(*(index.write(setting(f"key-{n}", "x")) for n in range(200)))
    await index.close()
    assert 0 < len(seconds) < 100
    assert all(second >= 0 for second in seconds)


@pytest.mark.parametrize("brief", [False, True])
async def test_a_durable_write_waits_for_the_disk_and_a_lazy_one_does_not(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, brief: bool
) -> None:
    """The log holds the commit when it is synced, and the write returns only then."""
    synced: list[int] = []
    sync = os.fdatasync

    def note(descriptor: int) -> None:
        assert str(Path(f"/proc/self/fd/{descriptor}").readlink()) == f"{path}-wal"
        synced.append(os.fstat(descriptor).st_size)
        sync(descriptor)

    monkeypatch.setattr("entrepot.db.sqlite.os.fdatasync", note)
    index = SqliteDatabase(path)
    await index.write_lazily(setting("a", "x"))
    assert synced == []
    before = path.with_name(f"{path.name}-wal").stat().st_size
    await index.write(setting("b", "x"), brief=brief)
    assert len(synced) == 1
    assert synced[0] > before
    await index.close()
    relaxed = SqliteDatabase(path, durable=False)
    await relaxed.write(setting("c", "x"), brief=brief)
    await relaxed.close()
    assert len(synced) == 1


@pytest.mark.parametrize("brief", [False, True])
async def test_a_sync_that_fails_is_reported(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, brief: bool
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    index = SqliteDatabase(path)
    with monkeypatch.context() as broken:
        broken.setattr("entrepot.db.sqlite.os.fdatasync", fail)
        with pytest.raises(DatabaseError, match="can't be synced"):
            await index.write(setting("a", "x"), brief=brief)
    await index.write(setting("b", "x"), brief=brief)
    await index.close()


@pytest.mark.parametrize("brief", [False, True])
async def test_closing_finishes_what_was_begun(path: Path, *, brief: bool) -> None:
    index = SqliteDatabase(path)
    begun = [index.write(setting(f"key-{n}", "x"), brief=brief) for n in range(50)]
    writes = [asyncio.ensure_future(write) for write in begun]
    await asyncio.sleep(0)
    await index.close()
    await asyncio.gather(*writes)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM settings").fetchone() == (50,)
    with pytest.raises(DatabaseError, match="closed"):
        await index.write(setting("late", "x"))


# Reading ----------------------------------------------------------------------------------------


async def test_rows_are_right_after_every_write(index: SqliteDatabase) -> None:
    """Rows that are remembered are never older than the last commit; absent ones, too."""
    assert await value(index, "key") is None
    for number in range(50):
        write = index.write if number % 2 else index.write_lazily
        await write(setting("key", str(number)))
        assert await value(index, "key") == str(number)
        assert await value(index, "key") == str(number)


async def test_rows_are_right_at_once_after_another_process_wrote(
    index: SqliteDatabase, path: Path
) -> None:
    with other_process(path) as other:
        for number in range(30):
            assert await value(index, "key") == (None if number == 0 else f"lazy-{number - 1}")
            other.set("key", f"lazy-{number}")
            assert await value(index, "key") == f"lazy-{number}"
            await index.write(setting("mine", str(number)))
        other.set("key", "durable")
        assert await value(index, "key") == "durable"


async def test_a_process_that_was_killed_leaves_the_turn_to_others(
    index: SqliteDatabase, path: Path
) -> None:
    for number in range(3):
        with other_process(path) as other:
            other.set("key", str(number))
            other.kill()
        await index.write(setting("mine", str(number)))
        assert await value(index, "key") == str(number)


async def test_two_processes_count_together(path: Path, index: SqliteDatabase) -> None:
    """Nothing is lost between reading and writing inside a transaction."""

    async def count(transaction: Transaction) -> None:
        now = int(await ensure_setting(transaction, "count", default="0"))
        await replace_setting(transaction, "count", value=str(now + 1))

    second = SqliteDatabase(path)
    each = [db.write(count) for _ in range(50) for db in (index, second)]
    await asyncio.gather(*each)
    await second.close()
    assert await value(index, "count") == "100"


async def test_many_rows(index: SqliteDatabase) -> None:
    """More than are kept until the next commit."""

    async def work(transaction: Transaction) -> None:
        sql = "INSERT INTO settings (key, value) VALUES (:key, :value)"
        values = ({"key": f"{n:03}", "value": "x" * 100_000} for n in range(100))
        await transaction.execute_many(sql, values)

    await index.write(work)
    for _ in range(2):
        for number in range(100):
            assert await value(index, f"{number:03}") == "x" * 100_000


# Failures ---------------------------------------------------------------------------------------


async def test_writes_wait_for_a_program_that_holds_the_index(
    index: SqliteDatabase, path: Path
) -> None:
    """Such as somebody's sqlite3 shell: reads go on, the write comes through afterwards."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        write = asyncio.ensure_future(index.write(setting("key", "late")))
        await asyncio.wait([write], timeout=0.05)
        assert not write.done()
        assert await value(index, "key") is None
        other.execute("COMMIT")
        await write
    assert await value(index, "key") == "late"


def test_the_index_is_in_write_ahead_mode(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_an_index_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="can't be opened"):
        SqliteDatabase(tmp_path / "no" / "such" / "folder" / "index.sqlite3")
