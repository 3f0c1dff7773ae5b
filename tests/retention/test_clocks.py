"""Retention when the clock is set, and while something is being taken over."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from entrepot.app.clocks import boot, open_clock
from entrepot.core.timekeeping import Jump, Reading, Timekeeping
from entrepot.core.work import Run
from entrepot.db.engine import Transaction
from entrepot.db.settings import replace_setting
from entrepot.services.retaining import Retainer
from entrepot.services.timekeeping import Clock
from tests import programs
from tests.retention.conftest import DAY, Scene

pytestmark = pytest.mark.anyio

FIVE_DAYS = {"name": "old", "keep": [{"pushed_within": "5d"}]}


class Machine:
    """A scene whose clocks go, and whose wall clock can be set."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.ran = DAY
        stores = scene.stores
        clock = Clock(
            stores.index, stores.keeping, lambda: Reading(scene.clock.now, self.ran, "one")
        )
        self.runner = scene.runner(Retainer(stores, tell_time=clock.tell_time).run)

    async def go(self, days: float, *, set_by: float = 0) -> Run:
        """Let time pass, set the clock, and run retention."""
        self.ran += round(days * DAY)
        self.scene.clock.now += round((days + set_by) * DAY)
        return await self.scene.run(self.runner, allow_empty=True)


@pytest.mark.parametrize("first, then", [(1, -1), (-1, 1), (1, 1), (-1, -1)])
async def test_a_clock_that_is_set_deletes_nothing_early(
    scene: Scene, first: int, then: int
) -> None:
    """Five days are five days, although the clock was set by a day, and again."""
    await scene.push("app", "v1")
    await scene.keep("/", FIVE_DAYS)
    machine = Machine(scene)
    await machine.go(0)
    await machine.go(2, set_by=first)
    await machine.go(2, set_by=then)
    await machine.go(0.9)
    assert await scene.tags("app") == ["v1"]
    await machine.go(3.2)
    assert await scene.tags("app") == []


async def test_nothing_goes_while_something_is_taken_over(scene: Scene) -> None:
    await scene.push("app", "v1", "v2", "v3")
    await scene.keep("/", {"name": "builds", "keep": [{"newest": 1}]})

    async def begin(transaction: Transaction) -> None:
        values = {"yes": True, "no": False}
        await transaction.execute(
            "INSERT INTO imports (source, in_place, verify, phase, position, started_at) "
            "VALUES ('old', :yes, :no, 'listing', '', 1)",
            values,
        )

    await scene.stores.index.write(begin)
    run = await scene.run()
    assert (run.outcome, run.report["deleted"]) == ("success", 0)
    assert "is being taken over" in run.report["ended"]
    assert await scene.tags("app") == ["v1", "v2", "v3"]

    async def end(transaction: Transaction) -> None:
        await transaction.execute("UPDATE imports SET finished_at = 2", {})

    await scene.stores.index.write(end)
    assert (await scene.run()).report["deleted"] == 2


async def test_the_program_counts_ages_by_the_time_of_collection(scene: Scene) -> None:
    """What the collector knows of the clock counts: it was set ahead by two days."""
    reading = open_clock(scene.stores.index, scene.stores.keeping).read()
    assert reading.boot == boot()
    ahead = Timekeeping(reading, (Jump(2 * DAY, 2**62),))
    text = msgspec.json.encode(ahead).decode()
    await scene.stores.index.write(lambda t: replace_setting(t, "collection.clock", value=text))
    told = await open_clock(scene.stores.index, scene.stores.keeping).tell_time()
    assert abs(told - (reading.wall - 2 * DAY)) < DAY


async def test_a_preview_and_a_run_count_ages_by_the_same_time(
    scene: Scene, tmp_path: Path
) -> None:
    """By the program, with a clock that is years ahead of when the tags were pushed."""
    config = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "storage")}},
        "database": {"url": f"sqlite:///{tmp_path}/index.sqlite3"},
    }
    (tmp_path / "config.yml").write_text(json.dumps(config))

    def program(*words: str) -> str:
        place = ("--config", str(tmp_path / "config.yml"))
        done = programs.run("retention", *words, "/", *place, env=programs.environment())
        assert done.returncode == 0, done.stderr
        return done.stdout

    await scene.push("app", "v1", "v2")
    await scene.keep("/", FIVE_DAYS, allow_empty=True)
    assert "2 of 2 tags" in await asyncio.to_thread(program, "preview")
    stores = scene.stores
    reading = open_clock(stores.index, stores.keeping).read()
    ahead = Timekeeping(reading, (Jump(reading.wall - scene.clock.now, 2**62),))
    text = msgspec.json.encode(ahead).decode()
    await stores.index.write(lambda t: replace_setting(t, "collection.clock", value=text))
    assert "0 of 2 tags" in await asyncio.to_thread(program, "preview")
    assert "0 of 2 tags" in await asyncio.to_thread(program, "run")
    assert await scene.tags("app") == ["v1", "v2"]
