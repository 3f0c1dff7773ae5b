"""The collector, flat out, in a registry of 100,000 manifests: how fast it is, how much memory it
takes, and what it costs those who pull and push meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from bench.clients import Connection
from bench.content import MANIFEST_TYPE, make_image, push_image
from bench.errors import BenchError
from bench.index import INDEX, fill_manifests, repository_name, tag_name
from bench.latencies import Steps, measure_latencies, percentiles
from bench.loads import settle
from bench.measure import Sample, cpu_seconds, pss_bytes
from bench.servers import OURS_COLLECTING, Server
from bench.settings import Settings
from bench.yard import Yard
from entrepot.db import Transaction
from entrepot.db.sqlite import SqliteDatabase

MANIFESTS, REPOSITORIES = 100_000, 1_000

_PER_REPOSITORY = MANIFESTS // REPOSITORIES
_STAY = 10_000
"""Manifests that stay, the first ones: these are pulled."""

_SLICE = 10_000
"""Manifests that go while latencies are measured."""

_BLOCKS = 4
_BETWEEN_PULLS = 0.002
"""Seconds: one client pulls, and another pushes one small image after the other."""

_DEADLINE = 300.0
_LOOK_EVERY = 0.05

_REVIEW = """
    INSERT INTO manifest_reviews (manifest_id, review_after, event)
    SELECT id, :now, 'tag.deleted' FROM manifests WHERE id BETWEEN :first AND :last
"""
_UNTAG = "DELETE FROM tags WHERE manifest_id BETWEEN :first AND :last"
_HURRY = "UPDATE link_reviews SET review_after = :now"
_ARE_MANIFESTS_DUE = "SELECT EXISTS (SELECT 1 FROM manifest_reviews WHERE review_after <= ?)"
_ARE_LINKS_DUE = """
    SELECT EXISTS (SELECT 1 FROM link_reviews WHERE review_after <= ?)
        OR EXISTS (SELECT 1 FROM doomed_blobs WHERE deleted_at IS NULL)
"""
_COUNT = "SELECT COUNT(*) FROM manifests WHERE id <= ?"


def measure_collection(yard: Yard, settings: Settings) -> dict[str, Sample]:
    """Idle and collecting by turns, then collecting alone. Figures by what was measured."""
    directory = yard.storage(
        f"collection-{settings.round}",
        lambda root: fill_manifests(
            root, count=MANIFESTS, per_repository=_PER_REPOSITORY, files=True
        ),
    )
    settle()
    with yard.fresh(OURS_COLLECTING, directory=directory) as server:
        course = _Course(server, directory / "data" / INDEX, settings)
        return course.run()


class _Course:
    """One measurement."""

    def __init__(self, server: Server, index: Path, settings: Settings) -> None:
        self._server = server
        self._index = index
        self._settings = settings
        self._next = _STAY + 1
        self._pulls: dict[bool, list[float]] = {True: [], False: []}
        self._pushes: dict[bool, list[float]] = {True: [], False: []}

    def run(self) -> dict[str, Sample]:
        self._make_due(_SLICE)  # its links are for the first block
        self._wait(_ARE_MANIFESTS_DUE)
        self._load(collecting=False)  # warms up
        for latencies in (*self._pulls.values(), *self._pushes.values()):
            latencies.clear()
        beside, seconds = 0, 0.0
        for _ in range(_BLOCKS):
            self._load(collecting=False)
            before = self._count()
            self._make_due(_SLICE, links=True)
            self._wait_to_begin(before)
            before, began = self._count(), time.monotonic()
            self._load(collecting=True)
            beside += before - self._count()
            seconds += time.monotonic() - began
            if not self._is(_ARE_MANIFESTS_DUE) and not self._is(_ARE_LINKS_DUE):
                raise BenchError("there was nothing left to collect while that was measured")
            self._wait(_ARE_MANIFESTS_DUE)
            self._wait(_ARE_LINKS_DUE)
        return {
            "pull": percentiles(self._pulls[False]),
            "pull, collecting": percentiles(self._pulls[True]),
            "push": percentiles(self._pushes[False]),
            "push, collecting": percentiles(self._pushes[True]),
            "beside": {"rate": beside / seconds},
            **self._collect_alone(),
        }

    def _collect_alone(self) -> dict[str, Sample]:
        """Everything that is left: manifests with the links of their blobs, and the blobs that none
        of the others needs. Memory is that of all processes: at the beginning, and at most.
        """
        gone = MANIFESTS - self._next + 1
        settle()
        cpu, memory = cpu_seconds(self._server.pids), [pss_bytes(self._server.pids)]
        taken = 0.0
        for manifests, what in ((gone, _ARE_MANIFESTS_DUE), (0, _ARE_LINKS_DUE)):
            self._make_due(manifests, links=not manifests)
            began = time.monotonic()
            self._wait(what)
            taken += time.monotonic() - began
            memory.append(pss_bytes(self._server.pids))
        cpu = cpu_seconds(self._server.pids) - cpu
        return {
            "alone": {"rate": gone / taken, "cpu": cpu / gone},
            "memory": {"idle": memory[0], "extra": max(0, max(memory) - memory[0])},
        }

    # What there is to collect -------------------------------------------------------------------

    def _make_due(self, count: int, *, links: bool = False) -> None:
        """Have so many manifests looked at that have no tag any more, and with `links` the blobs of
        those that were collected before.
        """
        first, self._next = self._next, self._next + count
        values = {"first": first, "last": self._next - 1, "now": time.time_ns() // 1000}

        async def work(transaction: Transaction) -> None:
            await transaction.execute(_UNTAG, values)
            await transaction.execute(_REVIEW, values)
            if links:
                await transaction.execute(_HURRY, values)

        async def run() -> None:
            index = SqliteDatabase(self._index)
            await index.write(work)
            await index.close()

        asyncio.run(run())

    def _ask(self, question: str, *values: object) -> int:
        with closing(sqlite3.connect(self._index)) as connection:
            return int(connection.execute(question, values).fetchone()[0])

    def _is(self, question: str) -> bool:
        return bool(self._ask(question, time.time_ns() // 1000))

    def _count(self) -> int:
        return self._ask(_COUNT, MANIFESTS)

    def _wait(self, question: str) -> None:
        """Until nothing of that kind is due any more."""
        self._until(lambda: not self._is(question))

    def _wait_to_begin(self, before: int) -> None:
        self._until(lambda: self._count() < before)

    def _until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _DEADLINE
        while not done():
            if time.monotonic() > deadline:
                raise BenchError(f"the collector was not done after {_DEADLINE:.0f} s")
            time.sleep(_LOOK_EVERY)

    # Who pulls and pushes meanwhile -------------------------------------------------------------

    def _load(self, *, collecting: bool) -> None:
        pulls, pushes = measure_latencies(
            [(_pulls(self._server), _BETWEEN_PULLS), (_pushes(self._server), 0.0)],
            seconds=self._settings.seconds,
        )
        self._pulls[collecting] += pulls
        self._pushes[collecting] += pushes


def _pulls(server: Server) -> Steps:
    def prepare() -> Callable[[], None]:
        connection = server.connect()

        def pull() -> None:
            number = random.randrange(_STAY)
            name = repository_name(number // _PER_REPOSITORY + 1)
            path = f"/v2/{name}/manifests/{tag_name(number % _PER_REPOSITORY)}"
            connection.request("GET", path, f"Accept: {MANIFEST_TYPE}\r\n").expect(200)

        return pull

    return prepare


_numbers: Iterator[int] = itertools.count()


def _pushes(server: Server) -> Steps:
    repository = f"pushed/{next(_numbers)}"

    def prepare() -> Callable[[], None]:
        connection: Connection = server.connect()
        images = (make_image(f"t{number}", layers=1) for number in itertools.count())
        return lambda: push_image(connection, repository, next(images))

    return prepare
