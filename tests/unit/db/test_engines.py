"""What both engines promise: `Database` and `Transaction` of `entrepot.db.engine`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from uuid import uuid4

import pytest

from entrepot.core.digest import Digest
from entrepot.core.names import RepositoryName
from entrepot.db import Database, DatabaseError, Transaction
from entrepot.db.address import IndexAddress
from entrepot.db.blobs import BlobRow, add_new_blob
from entrepot.db.doomed import Lease, doom_objects
from entrepot.db.engine import Work
from entrepot.db.opening import open_index
from entrepot.db.repositories import ensure_repository, list_repositories
from entrepot.db.settings import ensure_setting, replace_setting
from entrepot.db.tags import list_tags
from entrepot.db.uploads import end_upload, has_ended

pytestmark = pytest.mark.anyio

FIND = "SELECT value FROM settings WHERE key = :key"
HOWS = ["write", "write briefly", "write_lazily"]


class OwnError(Exception):
    """What a transaction of a test raises."""


def setting(key: str, value: str) -> Work[None]:
    async def work(transaction: Transaction) -> None:
        await replace_setting(transaction, key, value=value)

    return work


def failing(key: str) -> Work[None]:
    async def work(transaction: Transaction) -> None:
        await replace_setting(transaction, key, value="half-made")
        raise OwnError

    return work


def writing(index: Database, how: str) -> Callable[[Work[object]], Awaitable[object]]:
    if how == "write briefly":
        return partial(index.write, brief=True)
    return index.write if how == "write" else index.write_lazily


async def value(index: Database, key: str) -> str | None:
    row = await index.fetch_one(FIND, {"key": key})
    return str(row[0]) if row else None


@pytest.fixture
async def database(index_address: IndexAddress) -> AsyncIterator[Database]:
    opened = open_index(index_address)
    yield opened
    await opened.close()


# Transactions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOWS)
async def test_a_transaction_returns_what_its_work_returns(database: Database, how: str) -> None:
    async def work(transaction: Transaction) -> str:
        return await ensure_setting(transaction, "key", default="given")

    assert await writing(database, how)(work) == "given"
    assert await value(database, "key") == "given"


@pytest.mark.parametrize("how", HOWS)
async def test_what_work_raises_undoes_it(database: Database, how: str) -> None:
    with pytest.raises(OwnError):
        await writing(database, how)(failing("key"))
    assert await value(database, "key") is None
    await writing(database, how)(setting("key", "afterwards"))
    assert await value(database, "key") == "afterwards"


@pytest.mark.parametrize("how", HOWS)
async def test_one_that_fails_does_not_hurt_the_others(database: Database, how: str) -> None:
    write = writing(database, how)
    jobs = [
        write(failing(f"key-{n}") if n % 3 == 0 else setting(f"key-{n}", "whole"))
        for n in range(100)
    ]
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    for number, outcome in enumerate(outcomes):
        fails = number % 3 == 0
        assert isinstance(outcome, OwnError) if fails else outcome is None
        assert await value(database, f"key-{number}") == (None if fails else "whole")


async def test_a_broken_statement_undoes_its_transaction_alone(database: Database) -> None:
    async def broken(transaction: Transaction) -> None:
        await replace_setting(transaction, "broken", value="half-made")
        await transaction.execute("INSERT INTO no_such_table VALUES (1)", {})

    jobs = [database.write(broken if n == 5 else setting(f"key-{n}", "x")) for n in range(10)]
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [DatabaseError]
    assert isinstance(outcomes[5], DatabaseError)
    assert await value(database, "broken") is None
    assert [await value(database, f"key-{n}") for n in (0, 4, 6, 9)] == ["x"] * 4


async def test_an_error_that_work_swallows_is_not_committed_over(database: Database) -> None:
    """What was written before a statement failed must not be lost silently: either all of it is
    there or the write raises."""

    async def work(transaction: Transaction) -> None:
        await replace_setting(transaction, "before", value="x")
        try:
            await transaction.execute("INSERT INTO no_such_table VALUES (1)", {})
        except Exception:  # noqa: BLE001 - each engine's own
            return

    try:
        await database.write(work)
    except DatabaseError:
        assert await value(database, "before") is None
    else:
        assert await value(database, "before") == "x"


async def test_foreign_keys_hold(database: Database) -> None:
    async def work(transaction: Transaction) -> None:
        sql = "INSERT INTO tag_history (repository_id, name, changed_at) VALUES (7, 'x', 0)"
        await transaction.execute(sql, {})

    with pytest.raises(DatabaseError, match=r"(?i)foreign key"):
        await database.write(work)


async def test_rows_changed_are_counted(database: Database) -> None:
    async def work(transaction: Transaction) -> list[int]:
        sql = "INSERT INTO settings (key, value) VALUES (:key, 'x') ON CONFLICT (key) DO NOTHING"
        counts = [await transaction.execute(sql, {"key": key}) for key in ("a", "a", "b")]
        counts.append(await transaction.execute("UPDATE settings SET value = 'y'", {}))
        counts.append(await transaction.execute("DELETE FROM settings WHERE key = 'c'", {}))
        return counts

    assert await database.write(work) == [1, 0, 1, 2, 0]


async def test_transactions_run_as_if_one_after_the_other(index_address: IndexAddress) -> None:
    """Each reads what the one before wrote, through whichever process or connection it came."""

    async def count(transaction: Transaction) -> None:
        now = int(await ensure_setting(transaction, "count", default="0"))
        await replace_setting(transaction, "count", value=str(now + 1))

    first, second = open_index(index_address), open_index(index_address)
    await asyncio.gather(*(index.write(count) for _ in range(40) for index in (first, second)))
    assert await value(first, "count") == await value(second, "count") == "80"
    await first.close()
    await second.close()


async def test_two_that_look_before_they_write_do_not_miss_each_other(
    index_address: IndexAddress,
) -> None:
    """Write skew: each makes sure that the other did nothing yet. Exactly one may go on; this is
    how a manifest is pushed while a blob that it needs is deleted."""

    def unless_other(mine: str, other: str) -> Work[bool]:
        async def work(transaction: Transaction) -> bool:
            if await transaction.fetch_one(FIND, {"key": other}) is not None:
                return False
            await replace_setting(transaction, mine, value="x")
            return True

        return work

    first, second = open_index(index_address), open_index(index_address)
    for number in range(30):
        one, two = f"{number}-one", f"{number}-two"
        done = await asyncio.gather(
            first.write(unless_other(one, two)), second.write_lazily(unless_other(two, one))
        )
        assert sorted(done) == [False, True]
    await first.close()
    await second.close()


async def test_a_cancelled_caller_disturbs_nobody(database: Database) -> None:
    tasks = [asyncio.ensure_future(database.write(setting(f"key-{n}", "x"))) for n in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await database.write(setting("last", "y"))
    assert [await value(database, f"key-{n}") for n in range(1, 20, 2)] == ["x"] * 10


async def test_many_rows(database: Database) -> None:
    async def work(transaction: Transaction) -> None:
        sql = "INSERT INTO settings (key, value) VALUES (:key, :value)"
        values = ({"key": f"{n:03}", "value": "x" * 10_000} for n in range(100))
        await transaction.execute_many(sql, values)
        await transaction.execute_many(sql, [])

    await database.write(work)
    rows = await database.fetch_all("SELECT key FROM settings ORDER BY key", {})
    assert [row[0] for row in rows] == [f"{n:03}" for n in range(100)]
    found = await database.fetch_one(FIND, {"key": "007"})
    assert found == ("x" * 10_000,)


async def test_a_bad_question_is_a_database_error(database: Database) -> None:
    with pytest.raises(DatabaseError, match="can't be read"):
        await database.fetch_one("SELECT * FROM no_such_table", {})
    with pytest.raises(DatabaseError, match="can't be read"):
        await database.fetch_all("SELECT FROM WHERE", {})
    assert await value(database, "key") is None


async def test_an_index_that_was_closed(index_address: IndexAddress) -> None:
    index = open_index(index_address)
    await index.write(setting("key", "x"))
    await index.close()
    with pytest.raises(DatabaseError, match="closed"):
        await index.write(setting("key", "y"))


# Queries ----------------------------------------------------------------------------------------


async def test_names_are_in_the_order_of_their_bytes(database: Database) -> None:
    """Whatever the locale of the database, and with LIMIT and without."""
    names = ["B", "a", "A", "a-b", "a.b", "a_b", "aa", "ab", "Z1", "0"]

    async def work(transaction: Transaction) -> None:
        repository = (await ensure_repository(transaction, RepositoryName("r"), now=1)).id
        for name in names:
            await transaction.execute(
                "INSERT INTO manifests (repository_id, digest, media_type, size, created_at, "
                "payload) VALUES (:repository, :digest, 'x', 1, 1, :payload)",
                {
                    "repository": repository,
                    "digest": Digest.of(name.encode()).packed,
                    "payload": b"x",
                },
            )
            await transaction.execute(
                "INSERT INTO tags (repository_id, name, manifest_id, created_at, updated_at) "
                "SELECT repository_id, :name, id, 1, 1 FROM manifests WHERE digest = :digest",
                {"name": name, "digest": Digest.of(name.encode()).packed},
            )

    await database.write(work)
    in_order = sorted(names, key=str.encode)
    repository = RepositoryName("r")
    assert await list_tags(database, repository, last="", limit=-1) == in_order
    assert await list_tags(database, repository, last="B", limit=3) == in_order[3:6]
    assert await list_tags(database, repository, last="a\0b", limit=2) == ["a-b", "a.b"]
    assert await list_repositories(database, last="\0", limit=5) == ["r"]


async def test_an_upload_ends_once(database: Database) -> None:
    """A transaction that is run again, because nobody knows whether it was committed, finds that it
    has ended the upload itself."""
    upload = uuid4()

    async def end(now: int) -> bool:
        return await database.write_lazily(lambda t: end_upload(t, upload, now=now))

    assert await end(5)
    assert await end(5)
    assert not await end(6)
    assert await has_ended(database, upload)


async def test_a_new_blob_is_one_without_row_and_gravestone(database: Database) -> None:
    digest, doomed = Digest.of(b"new"), Digest.of(b"doomed")
    row = BlobRow(size=3, synced=False, now=1)

    async def add(digest: Digest) -> bool:
        return await database.write(lambda t: add_new_blob(t, digest, row))

    async def doom(transaction: Transaction) -> None:
        await doom_objects(transaction, [(doomed, 3)], Lease("somebody", 1, 2))

    await database.write(doom)
    assert not await add(doomed)
    assert await add(digest)
    assert not await add(digest)
    sql = "SELECT size, synced, created_at FROM blobs"
    assert await database.fetch_all(sql, {}) == [(3, False, 1)]
