"""Background work: schedules, jobs by lease, and what is remembered of runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from msgspec import Struct

from entrepot.core.cron import CronError
from entrepot.core.errors import EntrepotError
from entrepot.core.work import LEASE, MOST_ATTEMPTS, Document, Run, WorkError, WorkUnknownError
from entrepot.db import Database
from entrepot.db.address import IndexAddress
from entrepot.db.opening import open_index
from entrepot.services.audit import Trail
from entrepot.services.runs import Runs
from entrepot.services.schedules import Schedules
from entrepot.services.work import Does, Runner, Task
from tests.unit.services.conftest import SECOND, Clock

pytestmark = pytest.mark.anyio

DAY = 24 * 3600 * SECOND


class Counting(Struct, forbid_unknown_fields=True):
    """The settings of the work of these tests."""

    to: int = 3


class PassingError(EntrepotError):
    """Something that may pass."""


@dataclass
class Place:
    """An index with what is asked of it, and processes that do it."""

    index: Database
    clock: Clock
    schedules: Schedules
    runs: Runs
    counted: list[tuple[str, str]]

    def runner(self, does: Does, *, node: str = "one", lease: int = LEASE) -> Runner:
        return Runner(
            self.index,
            now=self.clock,
            trail=Trail(self.index, now=self.clock),
            kinds={"count": does},
            node=node,
            counted=lambda kind, outcome, _now: self.counted.append((kind, outcome)),
            lease=lease,
        )

    async def known(self) -> list[Run]:
        """Every run, the oldest first."""
        return [*reversed(await self.runs.list(limit=1000))]

    async def last(self) -> Run:
        return (await self.runs.list(limit=1))[0]


@pytest.fixture
async def place(index_address: IndexAddress) -> AsyncIterator[Place]:
    index, clock = open_index(index_address), Clock()
    trail, kinds = Trail(index, now=clock), {"count": Counting}
    schedules = Schedules(index, now=clock, trail=trail, kinds=kinds)
    yield Place(index, clock, schedules, Runs(index, now=clock, trail=trail, kinds=kinds), [])
    await index.close()


async def quickly(task: Task) -> Document:
    return {"counted": task.settings["to"]}


async def ended(runner: Runner) -> None:
    """Begin what is due, and wait for its end."""
    await runner.turn()
    await asyncio.gather(*runner._running.values())


# Schedules --------------------------------------------------------------------------------------


async def test_a_schedule_runs_when_its_time_comes_and_once(place: Place) -> None:
    await place.schedules.set(
        "nightly", kind="count", cron="0 3 * * *", settings={"to": 5}, by="test"
    )
    runners = [place.runner(quickly), place.runner(quickly, node="two")]
    for runner in runners:
        await ended(runner)
    assert await place.known() == []
    place.clock.now = (await place.schedules.find("nightly")).next_at
    for runner in runners * 2:
        await ended(runner)
    [run] = await place.known()
    assert (run.cause, run.outcome, run.node) == ("schedule nightly", "success", "one")
    assert run.report == {"counted": 5}
    after = await place.schedules.find("nightly")
    assert after.last_at == place.clock.now
    assert after.next_at == place.clock.now + DAY


async def test_what_was_missed_runs_once(place: Place) -> None:
    await place.schedules.set("hourly", kind="count", cron="@hourly", by="test")
    place.clock.now += 5 * DAY
    await ended(place.runner(quickly))
    await ended(place.runner(quickly))
    assert len(await place.known()) == 1
    found = await place.schedules.find("hourly")
    assert place.clock.now < found.next_at <= place.clock.now + 3600 * SECOND


async def test_a_clock_that_is_set_back_runs_nothing_twice(place: Place) -> None:
    await place.schedules.set("hourly", kind="count", cron="@hourly", by="test")
    place.clock.now = due = (await place.schedules.find("hourly")).next_at
    await ended(place.runner(quickly))
    place.clock.now = due - 1800 * SECOND
    await ended(place.runner(quickly))
    place.clock.now = due
    await ended(place.runner(quickly))
    assert len(await place.known()) == 1


async def test_what_is_disabled_or_removed_does_not_run(place: Place) -> None:
    for name in ("one", "two"):
        await place.schedules.set(name, kind="count", cron="@hourly", by="test")
    disabled = await place.schedules.enable("one", enabled=False, by="test")
    assert not disabled.enabled
    await place.schedules.remove("two", by="test")
    place.clock.now += DAY
    await ended(place.runner(quickly))
    assert await place.known() == []
    again = await place.schedules.enable("one", enabled=True, by="test")
    assert again.next_at > place.clock.now
    with pytest.raises(WorkUnknownError, match="there is no schedule two"):
        await place.schedules.remove("two", by="test")


async def test_a_run_that_is_under_way_is_not_begun_again(place: Place) -> None:
    await place.schedules.set("hourly", kind="count", cron="@hourly", by="test")
    go_on = asyncio.Event()

    async def slowly(task: Task) -> Document:
        await go_on.wait()
        return {}

    runner = place.runner(slowly)
    place.clock.now += 3600 * SECOND
    await runner.turn()
    place.clock.now += 3600 * SECOND
    await runner.turn()
    go_on.set()
    await ended(runner)
    assert len(await place.known()) == 1
    place.clock.now += 3600 * SECOND
    await ended(runner)
    assert len(await place.known()) == 2


async def test_jitter_moves_a_schedule_by_chance(place: Place) -> None:
    found = set()
    for _ in range(8):
        made = await place.schedules.set(
            "spread", kind="count", cron="0 3 * * *", jitter=3600, by="test"
        )
        assert 0 <= made.next_at % DAY - 3 * 3600 * SECOND < 3600 * SECOND
        found.add(made.next_at)
    assert len(found) > 1


@pytest.mark.parametrize(
    "change, says",
    [
        ({"kind": "nap"}, "'nap' is no kind of work; there are count"),
        ({"settings": {"too": 1}}, "the settings of count: .*`too`"),
        ({"settings": {"to": "x"}}, "Expected `int`"),
        ({"cron": "0 25 * * *"}, "column 3"),
        ({"timezone": "Europe/Atlantis"}, "is no time zone"),
        ({"timezone": "../../etc/passwd"}, "is no time zone"),
        ({"timezone": "Europe"}, "is no time zone"),
        ({"timezone": ""}, "is no time zone"),
        ({"jitter": -1}, "between 0 and 24 hours"),
        ({"jitter": 90_000}, "between 0 and 24 hours"),
        ({"name": "a b"}, "can't be a schedule's name"),
    ],
)
async def test_what_can_not_be_is_refused(place: Place, change: Document, says: str) -> None:
    words: Document = {"name": "nightly", "kind": "count", "cron": "@daily", "by": "test"} | change
    with pytest.raises((WorkError, CronError), match=says):
        await place.schedules.set(words.pop("name"), **words)
    assert await place.schedules.list() == []


# Jobs -------------------------------------------------------------------------------------------


async def test_what_was_asked_for_twice_is_done_once(place: Place) -> None:
    first = await place.runs.request("count", {"to": 1}, by="test")
    assert first.outcome == "waiting"
    assert await place.runs.request("count", {"to": 1}, by="test") == first
    other = await place.runs.request("count", {"to": 2}, by="test")
    assert other.id != first.id
    runner = place.runner(quickly)
    await ended(runner)
    assert [run.outcome for run in await place.known()] == ["success", "waiting"]
    await ended(runner)
    assert [run.report for run in await place.known()] == [{"counted": 1}, {"counted": 2}]
    assert place.counted == [("count", "success")] * 2
    again = await place.runs.request("count", {"to": 1}, by="test")
    assert again.id > other.id


async def test_one_process_at_a_time(place: Place) -> None:
    await place.runs.request("count", {}, by="test")
    await place.runs.request("count", {"to": 9}, by="test")
    go_on, begun = asyncio.Event(), []

    async def slowly(task: Task) -> Document:
        begun.append(task.settings["to"])
        await go_on.wait()
        return {}

    one, two = place.runner(slowly), place.runner(slowly, node="two")
    await one.turn()
    await two.turn()
    await asyncio.sleep(0)
    assert begun == [3]
    go_on.set()
    await ended(one)
    await ended(two)
    assert begun == [3, 9]
    assert [run.node for run in await place.known()] == ["one", "two"]


async def test_whoever_takes_over_goes_on_where_the_dead_one_was(place: Place) -> None:
    await place.runs.request("count", {"to": 5}, by="test")
    noted = asyncio.Event()

    async def dies(task: Task) -> Document:
        await task.note({"counted": 2}, cursor={"at": 2})
        noted.set()
        await asyncio.Event().wait()
        raise AssertionError

    dead = place.runner(dies)
    await dead.turn()
    await noted.wait()
    assert (await place.last()).report == {"counted": 2}

    async def goes_on(task: Task) -> Document:
        return {"from": task.cursor["at"], "counted": task.settings["to"]}

    heir = place.runner(goes_on, node="two")
    await ended(heir)
    assert (await place.last()).outcome == "running"
    place.clock.now += LEASE + SECOND
    await ended(heir)
    run = await place.last()
    assert (run.outcome, run.node) == ("success", "two")
    assert run.report == {"from": 2, "counted": 5}
    await dead.stop()
    assert await place.last() == run


async def test_whoever_lost_the_lease_stops(place: Place) -> None:
    """A process that slept for longer than its lease neither goes on nor says how it ended."""
    await place.runs.request("count", {}, by="test")
    stopped = asyncio.Event()

    async def sleeps(task: Task) -> Document:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        raise AssertionError

    sleeper = place.runner(sleeps, lease=SECOND // 5)
    sleeper._now = Clock()  # it goes on as if no time had passed
    await sleeper.turn()
    place.clock.now += SECOND

    async def takes_over(task: Task) -> Document:
        await stopped.wait()
        return {"by": "two"}

    await ended(place.runner(takes_over, node="two"))
    await asyncio.gather(*sleeper._running.values())
    run = await place.last()
    assert (run.outcome, run.report) == ("success", {"by": "two"})


async def test_a_clock_that_is_set_back_holds_nothing_up(place: Place) -> None:
    """Neither the lease of a process that died, nor work asked for before, nor who showed."""
    await place.runs.request("count", {}, by="test")

    async def dies(_: Task) -> Document:
        await asyncio.Event().wait()
        raise AssertionError

    dead = place.runner(dies, lease=3600 * SECOND)  # it doesn't renew that meanwhile
    await dead.look()
    assert await place.runs.attendant() == dead._owner
    place.clock.now -= 24 * 3600 * SECOND
    assert await place.runs.attendant() is None
    await ended(place.runner(quickly, node="two"))
    assert (await place.last()).outcome == "success"
    await dead.stop()


async def test_a_process_that_ends_lets_others_go_on_at_once(place: Place) -> None:
    await place.runs.request("count", {}, by="test")

    noted = asyncio.Event()

    async def waits(task: Task) -> Document:
        await task.note({"counted": 1}, cursor={"at": 1})
        noted.set()
        await asyncio.Event().wait()
        raise AssertionError

    leaves = place.runner(waits)
    await leaves.turn()
    await noted.wait()
    await leaves.stop()
    assert (await place.last()).outcome == "waiting"
    await ended(place.runner(quickly, node="two"))
    assert (await place.last()).outcome == "success"


async def test_what_fails_is_tried_again_later_and_given_up(place: Place) -> None:
    await place.runs.request("count", {}, by="test")

    async def fails(task: Task) -> Document:
        raise PassingError("the store is away")

    runner = place.runner(fails)
    for wait in (10, 20, 40, 80, 160, 320, 640):
        await ended(runner)
        assert (await place.last()).outcome == "waiting"
        assert (await place.last()).report == {"error": "the store is away"}
        row = await place.index.fetch_one("SELECT run_after, last_error FROM jobs", {})
        assert row is not None
        assert tuple(row) == (place.clock.now + wait * SECOND, "the store is away")
        place.clock.now += wait * SECOND
    await ended(runner)
    assert (await place.last()).outcome == "failure"
    assert place.counted == [("count", "failure")]
    assert await place.index.fetch_one("SELECT 1 FROM jobs", {}) is None


async def test_progress_begins_the_attempts_anew(place: Place) -> None:
    await place.runs.request("count", {"to": 20}, by="test")

    async def steps(task: Task) -> Document:
        at = task.cursor.get("at", 0) + 1
        await task.note({"counted": at}, cursor={"at": at})
        if at < task.settings["to"]:
            raise PassingError("once more")
        return {"counted": at}

    runner = place.runner(steps)
    for _ in range(20):
        await ended(runner)
        place.clock.now += 11 * SECOND
    assert (await place.last()).report == {"counted": 20}
    assert (await place.last()).outcome == "success"


async def test_a_fault_of_ours_is_a_failure_as_any_other(place: Place) -> None:
    await place.runs.request("count", {}, by="test")

    async def faulty(task: Task) -> Document:
        raise LookupError("nobody thought of this")

    await ended(place.runner(faulty))
    run = await place.last()
    assert run.outcome == "waiting"
    assert "LookupError('nobody thought of this')" in run.report["error"]


async def test_work_that_kills_whoever_does_it_is_given_up(place: Place) -> None:
    await place.runs.request("count", {}, by="test")
    for number in range(MOST_ATTEMPTS):
        killed = place.runner(quickly, node=f"node {number}")
        assert await killed._claim("count") is not None
        place.clock.now += LEASE + SECOND
    await ended(place.runner(quickly))
    run = await place.last()
    assert run.outcome == "failure"
    assert run.report == {"error": "every process that tried it died"}


async def test_nobody_touches_kinds_that_they_do_not_know(place: Place) -> None:
    await place.runs.request("count", {}, by="test")
    other = place.runner(quickly)
    other._kinds = {}
    await ended(other)
    assert (await place.last()).outcome == "waiting"


# What is remembered -----------------------------------------------------------------------------


async def test_old_runs_are_forgotten_and_who_is_there_is_known(place: Place) -> None:
    await place.runs.request("count", {}, by="test")
    await ended(place.runner(quickly))
    assert await place.runs.attendant() is None
    place.clock.now += 91 * DAY
    runner = place.runner(quickly)
    await runner.look()
    assert await place.known() == []
    assert str(await place.runs.attendant()).startswith("one ")
    await place.runner(quickly, node="two").look()
    await runner.stop()
    assert str(await place.runs.attendant()).startswith("two ")
    place.clock.now += 60 * SECOND
    assert await place.runs.attendant() is None


async def test_what_happened_is_in_the_audit_log(place: Place) -> None:
    await place.schedules.set("nightly", kind="count", cron="@daily", by="test")
    await place.runs.request("count", {}, by="test")
    await ended(place.runner(quickly))
    rows = await place.index.fetch_all(
        "SELECT action, actor, target FROM audit_events ORDER BY occurred_at, id", {}
    )
    assert [tuple(row) for row in rows] == [
        ("schedule.set", "test", "nightly"),
        ("run.request", "test", "count"),
        ("run.finish", "", "count"),
    ]
