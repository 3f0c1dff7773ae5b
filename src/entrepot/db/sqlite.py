"""The index in SQLite: reads on the caller's thread, writes shared by whoever waits.

A read takes some microseconds and never waits for a writer (write-ahead log), so it runs where it
is called. Durable writes go through one thread of the process, which puts everything that waits
into one transaction: the cost of a sync is shared. If one of them fails they are run once more,
each in a savepoint of its own. Processes and threads take turns by a lock on a file beside the
index (`entrepot.db.turns`).

That file also holds the number of commits. Rows that were read since the last commit of anybody are
still right and are not read again: the `sqlite3` module gives the interpreter's lock away four
times for a row, which costs a busy server five times as much as the row (docs/adr/0004-index.md).
"""

import asyncio
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

from entrepot.db.engine import Row, T, Transaction, Values, Work
from entrepot.db.errors import DatabaseError, DatabaseFullError
from entrepot.db.turns import Turns

_BATCH: Final = 256
"""The most transactions that share a commit."""

_KNOWN: Final = 4 * 1_048_576
"""Bytes of rows, roughly, that are kept until the next commit."""

_KNOWN_ROW: Final = 512

_CHECKPOINT: Final = 512
"""Transactions after which the log is moved into the index."""

_CHECKPOINT_ASIDE: Final = 8
"""The same for those that are done aside, which change much: a push would wait longer for its own
checkpoint if that had to move what they wrote.
"""

_LOOKS: Final = 64
"""How often a lazy write looks whether it is its turn before it is left to the thread."""

_BUSY: Final = 30.0
_BREATH: Final = 0.01
"""Seconds to wait for another program that holds the index, such as a backup, and between two looks
whether it still does.
"""


def connect(path: Path) -> sqlite3.Connection:
    """Open the index at `path`, creating it if it does not exist."""
    try:
        connection = sqlite3.connect(
            path,
            timeout=_BUSY,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -8000")
    except sqlite3.Error as error:
        raise DatabaseError(f"the index {path} can't be opened: {error}") from error
    return connection


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never has to wait."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return cast("T", stop.value)
    coroutine.close()
    raise RuntimeError("a transaction awaited something other than its transaction")


class Statements:
    """Statements on one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def fetch_one(self, sql: str, values: Values) -> Row | None:
        try:
            return cast("Row | None", self._connection.execute(sql, values).fetchone())
        except sqlite3.Error as error:
            raise DatabaseError(f"the index can't be read: {error}") from error

    async def fetch_all(self, sql: str, values: Values) -> list[Row]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise DatabaseError(f"the index can't be read: {error}") from error


class _SqliteTransaction(Statements):
    shard = 0  # one transaction runs at a time

    async def execute(self, sql: str, values: Values) -> int:
        return self._connection.execute(sql, values).rowcount

    async def execute_many(self, sql: str, values: Iterable[Values]) -> None:
        self._connection.executemany(sql, values)


class _Job:
    """A transaction that waits for its turn, and the future of whoever waits for it."""

    __slots__ = ("committed", "durable", "error", "future", "loop", "result", "work")

    def __init__(self, work: Work[Any], *, durable: bool) -> None:
        self.work = work
        self.durable = durable
        self.committed = False
        """Whether only a sync is missing."""
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.result: object = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        """Hand the outcome to the loop that waits, if it still runs."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.deliver)

    def deliver(self) -> None:
        """Hand the outcome over, in the loop that waits."""
        if self.future.cancelled():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


def _bytes(value: object) -> int:
    return len(value) if isinstance(value, bytes | str) else 0


class SqliteDatabase(Statements):
    """An index in one file. `committed` is told the seconds that each shared commit took; unless
    `durable`, every write is a lazy one. With `aside` lazy writes are left to the thread, too: a
    caller that may have to wait for a processor doesn't hold the index meanwhile.
    """

    def __init__(
        self,
        path: Path,
        *,
        durable: bool = True,
        aside: bool = False,
        committed: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        super().__init__(connect(path))
        self._aside = aside
        self._most_unmoved = _CHECKPOINT_ASIDE if aside else _CHECKPOINT
        self._writer = connect(path)
        # Checkpoints wait for the disk: they are for the thread, after it has answered.
        self._writer.execute("PRAGMA wal_autocheckpoint = 0")
        self._writer.execute("PRAGMA synchronous = NORMAL")
        self._writer.execute("PRAGMA busy_timeout = 0")
        # As long as a connection is open the log stays the same file.
        self._log = os.open(f"{path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        self._writing = threading.Lock()
        self._unmoved = 0
        """Transactions since the log was last moved into the index."""
        self._durable = durable
        self._committed = committed
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._soon: list[_Job] = []
        """What is committed lazily as soon as the loop has run what is ready now."""
        self._turns = Turns(_turns_path(path))
        with self._turns.wait():
            pass  # whoever died here after a commit may not have counted it
        self._known_at = self._turns.commits()
        self._known: dict[tuple[object, ...], Row | None] = {}
        self._known_bytes = 0
        self._thread = threading.Thread(target=self._write, name="index-writer", daemon=True)
        self._thread.start()

    async def fetch_one(self, sql: str, values: Values) -> Row | None:
        commits = self._turns.commits()
        if commits != self._known_at or self._known_bytes > _KNOWN:
            self._known.clear()
            self._known_at, self._known_bytes = commits, 0
        key = (sql, *values.values())
        try:
            return self._known[key]
        except KeyError:
            row = self._known[key] = await super().fetch_one(sql, values)
            self._known_bytes += _KNOWN_ROW + (sum(map(_bytes, row)) if row else 0)
            return row

    async def write(self, work: Work[T], *, brief: bool = False) -> T:
        job = _Job(work, durable=self._durable)
        return cast("T", await (self._write_here(job) if brief else self._submit(job)))

    async def write_lazily(self, work: Work[T]) -> T:
        return cast("T", await self._write_here(_Job(work, durable=False)))

    async def _write_here(self, job: _Job) -> Any:
        """Commit here if nobody else is writing, with all that is written at this moment: that
        takes less than handing the work to the thread does, which has the sync left to do.
        """
        if self._aside or not self._thread.is_alive():
            return await self._submit(job)
        self._soon.append(job)
        if len(self._soon) == 1:
            job.loop.call_soon(self._commit_soon)
        return await job.future

    def _commit_soon(self, looks: int = _LOOKS) -> None:
        """Commit what is written at this moment, or look again once the loop has done more: a turn
        of another process is soon over. The thread, which can wait, costs more, but if it writes
        just now it may as well write this next.
        """
        if not self._soon:
            return
        idle = self._jobs.empty() and not self._writing.locked()
        if idle and self._commit_now(self._soon):
            return
        if idle and looks:
            self._soon[0].loop.call_soon(self._commit_soon, looks - 1)
            return
        for job in self._soon:
            self._jobs.put(job)
        self._soon = []

    def _commit_now(self, batch: list[_Job]) -> bool:
        """Commit without waiting for anybody, if that is possible."""
        if not self._writing.acquire(blocking=False):
            return False
        try:
            if not self._turns.try_begin():
                return False
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                self._commit(batch, patience=0.0)
            except sqlite3.OperationalError:
                return False  # another program, such as a backup, holds the index
            finally:
                self._turns.end()
            self._soon = []
            for job in batch:
                job.committed = job.durable and job.error is None
                if job.committed:
                    self._jobs.put(job)
                else:
                    job.deliver()
            if self._unmoved >= self._most_unmoved and self._jobs.empty():
                self._jobs.put(_Job(_nothing, durable=False))  # wakes the thread up
        finally:
            self._writing.release()
        return True

    async def close(self) -> None:
        self._commit_soon(looks=0)
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        os.close(self._log)
        self._connection.close()
        self._writer.close()
        self._turns.close()

    async def _submit(self, job: _Job) -> Any:
        if not self._thread.is_alive():
            raise DatabaseError("the index is closed")
        self._jobs.put(job)
        return await job.future

    # The writer's thread ------------------------------------------------------------------------

    def _write(self) -> None:
        while batch := self._next_batch():
            durable = any(job.durable for job in batch)
            if left := [job for job in batch if not job.committed]:
                with self._writing, self._turns.wait():
                    self._commit(left, patience=_BUSY)
            if durable:
                self._sync(batch)
            for job in batch:
                job.settle()
            if self._unmoved >= self._most_unmoved:
                self._checkpoint()

    def _sync(self, batch: list[_Job]) -> None:
        """Make the log durable, while others write to its end: what `synchronous = FULL` would do
        before it lets go of the turn.
        """
        try:
            os.fdatasync(self._log)
        except OSError as error:
            for job in batch:
                job.error = job.error or DatabaseError(f"the index can't be synced: {error}")

    def _checkpoint(self) -> None:
        """Move what is in the log into the index, so that the log does not grow for ever."""
        with suppress(sqlite3.Error), self._writing:
            self._unmoved = 0
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _next_batch(self) -> list[_Job]:
        """Wait for work, and take all there is; nothing means the end."""
        job = self._jobs.get()
        batch: list[_Job] = []
        while job is not None:
            batch.append(job)
            if len(batch) == _BATCH:
                break
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
        else:
            if batch:
                self._jobs.put(None)  # the end comes after this batch
        return batch

    # A turn to write, here or there -------------------------------------------------------------

    def _commit(self, batch: list[_Job], *, patience: float) -> None:
        began = time.perf_counter()
        self._unmoved += len(batch)
        try:
            _commit_together(self._writer, batch, patience)
        except sqlite3.Error:
            # One of them broke the transaction for all (a full disk does): each on its own.
            for job in batch:
                try:
                    _commit_together(self._writer, [job], patience)
                except sqlite3.Error as error:
                    kind = DatabaseFullError if "full" in str(error) else DatabaseError
                    job.error = kind(f"the index can't be written: {error}")
        self._committed(time.perf_counter() - began)


async def _nothing(_: Transaction) -> None:
    """Change nothing."""


def _turns_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.turns")


def _begin(connection: sqlite3.Connection, patience: float) -> None:
    """Begin to write, waiting some seconds for another program that holds the index. SQLite's own
    patience would have to be set before each time, and costs as much as a statement.
    """
    until = time.monotonic() + patience
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # for whatever reason
            if not busy or time.monotonic() >= until:
                raise
        time.sleep(_BREATH)


def _commit_together(connection: sqlite3.Connection, batch: list[_Job], patience: float) -> None:
    if not connection.in_transaction:
        _begin(connection, patience)
    try:
        if len(batch) > 1:
            connection.execute("SAVEPOINT batch")
        if all(_run_job(connection, job) for job in batch):
            connection.execute("COMMIT")
            return
        if len(batch) == 1:
            connection.execute("ROLLBACK")
            return
        connection.execute("ROLLBACK TO batch")  # once more, with what fails left out
        for job in batch:
            connection.execute("SAVEPOINT job")
            if not _run_job(connection, job):
                connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _run_job(connection: sqlite3.Connection, job: _Job) -> bool:
    """Run a job's statements; return whether it succeeded."""
    transaction: Transaction = _SqliteTransaction(connection)
    job.error = None
    try:
        job.result = _run(cast("Coroutine[Any, Any, Any]", job.work(transaction)))
    except sqlite3.Error:
        raise
    except BaseException as error:  # noqa: BLE001 - raised again where the job was submitted
        job.error = error
        return False
    return True
