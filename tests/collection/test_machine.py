"""Whatever clients, operators, collectors and clocks do, in whatever order: nothing that must exist
goes, and nothing else stays for good.

Hypothesis chooses the order in which the steps of pushes, pulls and collectors happen.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from entrepot.core.audit import NOBODY
from entrepot.core.digest import Digest
from entrepot.core.errors import (
    BlobUnknownError,
    DeniedError,
    ManifestBlobUnknownError,
    ManifestUnknownError,
    UnavailableError,
)
from entrepot.core.names import RepositoryName, parse_reference
from entrepot.db.manifests import StoredManifest
from entrepot.db.recounts import find_drift
from entrepot.services import pull
from entrepot.services.collecting import Collector
from entrepot.services.protection import release_hold
from entrepot.services.push import ManifestRules, PushedManifest, put_manifest
from entrepot.services.quotas import Quotas
from tests.collection.operators import Operators, every_blob, every_manifest, names, tags
from tests.collection.oracle import Place
from tests.collection.scenes import (
    COMPANION,
    COMPANION_TAG,
    COMPANIONS_SUBJECT,
    WORLD,
    Client,
    Scene,
)
from tests.collection.sites import DAY, GRACE, KEEPING, SECOND, START, part
from tests.fuzz.bounds import BOUNDED

pytestmark = pytest.mark.timeout(400)

T = TypeVar("T")
MINUTE: Final = 60 * SECOND

collectors = st.sampled_from(["first", "second"])


class Machine(Operators):
    """Clients whose requests stop before each step, two collectors, and operators."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.working: dict[str, tuple[Collector, asyncio.Task[Any] | None]] = {}
        self.run(self._open())

    async def _open(self) -> None:
        self.scene = Scene(Path(self.folder.name))
        quotas = Quotas(self.scene.index, now=self.scene.clocks, trail=self.scene.plain.trail)
        await quotas.set("/", "bytes", soft=None, hard=10**12, by="test")

    # Clients, step by step ----------------------------------------------------------------------

    def begin(
        self,
        work: Coroutine[Any, Any, Any],
        then: Callable[..., None],
        *may_fail: type[Exception],
        needs: set[Place] | None = None,
        tag: Place | None = None,
    ) -> None:
        task = self.run(self.scene.gate.begin(work))
        client = Client(task, self.oracle.now, needs or set(), tag, then, may_fail)
        client.sure = bool(needs) and self.oracle.holds(client.needs)
        self.clients.append(client)
        self.listen()

    @precondition(lambda self: len(self.clients) < 4)
    @rule(name=names, digest=every_blob, small=st.booleans())
    def upload(self, name: str, digest: str, small: bool) -> None:
        data, began = WORLD.blobs[digest].data, self.oracle.now
        state = self.scene.uploads.begin(RepositoryName(name))

        async def work() -> None:
            if small:
                await self.scene.uploads.finish(state, part(data), Digest(digest))
            else:
                held = await self.scene.uploads.append(state, part(data))
                await self.scene.uploads.finish(held, part(b""), Digest(digest))

        self.begin(
            work(),
            lambda _, **__: self.oracle.promise((name, digest), began + GRACE),
            UnavailableError,
        )

    @precondition(lambda self: len(self.clients) < 4)
    @rule(name=names, digest=every_blob, named=st.booleans())
    def mount(self, name: str, digest: str, named: bool) -> None:
        source, began = ("b" if name == "a" else "a"), self.oracle.now
        given = RepositoryName(source) if named else None
        work = self.scene.uploads.mount(RepositoryName(name), Digest(digest), source=given)

        def then(found: bool, *, sure: bool) -> None:
            assert found or not sure, f"{source}@{digest} could not be mounted"
            if found:
                self.oracle.promise((name, digest), began + GRACE)

        self.begin(work, then, needs={(source, digest)})

    @precondition(lambda self: len(self.clients) < 4)
    @rule(name=names, digest=every_blob, whole=st.booleans())
    def ask_for_blob(self, name: str, digest: str, whole: bool) -> None:
        stores, began = self.scene.stopping, self.oracle.now

        async def work() -> bytes | None:
            if not whole:
                await pull.blob_size(stores, RepositoryName(name), Digest(digest))
                return None
            reader = await pull.open_blob(stores, RepositoryName(name), Digest(digest))
            return await reader.read(0, reader.size)

        def then(data: bytes | None, **_: bool) -> None:
            assert data in {None, WORLD.blobs[digest].data}
            self.oracle.promise((name, digest), began + KEEPING.told)

        self.begin(work(), then, BlobUnknownError, needs={(name, digest)})

    @precondition(lambda self: len(self.clients) < 4)
    @rule(name=names, digest=every_manifest)
    def ask_for_manifest(self, name: str, digest: str) -> None:
        image, began = WORLD.images[digest], self.oracle.now
        work = pull.resolve(
            self.scene.stopping, RepositoryName(name), Digest(digest), accept=None, pulls=1
        )

        def then(found: StoredManifest, **_: bool) -> None:
            assert found.payload == image.manifest.data
            self.oracle.seen((name, digest), until=began + KEEPING.told)

        self.begin(work, then, ManifestUnknownError, needs={(name, digest)})

    @precondition(lambda self: len(self.clients) < 4)
    @rule(name=names, digest=every_manifest, tag=st.none() | tags)
    def put(self, name: str, digest: str, tag: str | None) -> None:
        if digest == COMPANION.digest:
            tag = COMPANION_TAG
        place = None if tag is None else (name, tag)
        if place is not None and any(client.tag == place for client in self.clients):
            return
        image, began = WORLD.images[digest], self.oracle.now
        pushed = PushedManifest(
            RepositoryName(name),
            parse_reference(tag or digest),
            image.manifest.data,
            image.manifest.media_type,
        )
        if place is not None and place in self.oracle.tags:
            self.oracle.promise((name, self.oracle.tags[place]), began + KEEPING.deleted)

        def then(_: object, **__: bool) -> None:
            if place is None:
                self.oracle.seen((name, digest), until=began + GRACE)
            elif tag == COMPANION_TAG:
                subject = COMPANIONS_SUBJECT
                self.oracle.tagged_beside(place, subject, digest, until=began + GRACE)
            else:
                self.oracle.tagged(place, digest)

        self.begin(
            put_manifest(self.scene.stopping, pushed, rules=ManifestRules()),
            then,
            ManifestBlobUnknownError,
            DeniedError,
            needs=self.oracle.needs(name, digest),
            tag=place,
        )

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0, 3), steps=st.integers(1, 6))
    def go_on(self, which: int, steps: int) -> None:
        client = self.clients[which % len(self.clients)]
        self.run(self.scene.gate.advance(client.task, steps))
        self.listen()

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0, 3))
    def give_up(self, which: int) -> None:
        """The worker that answers it is killed."""
        client = self.clients.pop(which % len(self.clients))
        self.run(self.scene.gate.kill(client.task))

    # Collectors, step by step -------------------------------------------------------------------

    @rule(who=collectors, steps=st.sampled_from([1, 2, 3, 5, 8, 100]))
    def collect(self, who: str, steps: int) -> None:
        collector, task = self.working.get(who) or (self.scene.collector(), None)
        if task is None:
            task = self.run(self.scene.gate.begin(collector.step()))
        self.run(self.scene.gate.advance(task, steps))
        if task.done():
            task.result()
        self.working[who] = (collector, None if task.done() else task)

    @rule(who=collectors)
    def kill_collector(self, who: str) -> None:
        _, task = self.working.pop(who, (None, None))
        if task is not None:
            self.run(self.scene.gate.kill(task))

    @rule()
    def break_or_mend_the_store(self) -> None:
        self.scene.store.error = "" if self.scene.store.error else "the disk is broken"

    # Time ---------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 61, 250, 499, 501, 999, 1001, 3001]))
    def wait(self, seconds: int) -> None:
        """Nothing takes longer than it may: requests, a transaction, deleting an object."""
        amount = seconds * SECOND
        for client in list(self.clients):
            if self.oracle.now + amount - client.began > 400 * SECOND:
                self.run(self.scene.gate.finish(client.task))
        self.run(self._hurry([client.task for client in self.clients], amount))
        self.run(self._hurry([task for _, task in self.working.values() if task], amount))
        self.listen()
        self.scene.clocks.go(amount)
        self.oracle.pass_time(amount)
        self.listen()

    async def _hurry(self, tasks: list[asyncio.Task[Any]], amount: int) -> None:
        for task in tasks:
            while not task.done():
                before, since = self.scene.gate.waits(task)
                if before not in {"write", "delete"}:
                    break
                if self.scene.clocks.ran + amount - since < MINUTE:
                    break
                await self.scene.gate.advance(task)

    @rule(step=st.sampled_from([-DAY, -3600 * SECOND, 3600 * SECOND, DAY]))
    def set_clock(self, step: int) -> None:
        """By a day from what is right, at most. Whoever collects looks at the clocks every few
        seconds.
        """
        if abs(self.scene.clocks.wall + step - self.oracle.now - START) > DAY:
            return
        self.scene.clocks.wall += step
        watching = [collector for collector, task in self.working.values() if task is None]
        self.run((watching or [self.scene.collector()])[0]._clock.tell_time())

    # What must hold -----------------------------------------------------------------------------

    @invariant()
    def nothing_is_lost(self) -> None:
        self.run(self._check())

    async def _check(self) -> None:
        manifests, links, oracle = (
            await self.scene.manifests(),
            await self.scene.links(),
            self.oracle,
        )
        assert oracle.there <= manifests
        assert oracle.blobs() <= links
        found = await self.scene.tags()
        assert oracle.tags.items() <= found.items()
        assert set(oracle.companions) <= set(found)
        assert set(found) <= set(oracle.tags) | {(name, COMPANION_TAG) for name in "ab"}
        for name, digest in manifests:
            assert {(name, blob.digest) for blob in WORLD.needed(digest)} <= links
        rows = {*await self.scene.site.blobs()}
        assert {digest for _, digest in links} <= rows
        for digest in rows:
            assert self.scene.store.every().get(Digest(digest)) == WORLD.blobs[digest].data
        assert not rows & await self.scene.doomed()
        assert await find_drift(self.scene.index, 1, "") == {}

    def teardown(self) -> None:
        try:
            self.run(self._end())
        finally:
            self.run(self.scene.index.close())
            self.runner.close()
            self.folder.cleanup()

    async def _end(self) -> None:
        """Everybody finishes, and much time passes: what nothing keeps is gone."""
        for client in self.clients:
            await self.scene.gate.kill(client.task)
        for _, task in self.working.values():
            if task is not None:
                await self.scene.gate.kill(task)
        self.scene.store.error = ""
        self.oracle.held.clear()
        for row in await self.scene.index.fetch_all("SELECT id FROM holds", {}):
            await release_hold(self.scene.plain, row[0], by=NOBODY)
        site = self.scene.site
        site.collector = site.collect_as("last")
        await site.collector._clock.tell_time()
        self.scene.clocks.go(3 * DAY)
        for _ in range(3):
            await site.collect()
            for _ in range(8):
                self.scene.clocks.go(KEEPING.told)
                while await site.collector.look():
                    pass
        self.oracle.pass_time(3 * DAY + 24 * KEEPING.told)
        await self._check()
        found = await self.scene.tags()
        companions = {
            (name, digest) for (name, tag), digest in found.items() if tag == COMPANION_TAG
        }
        manifests, links = await self.scene.manifests(), await self.scene.links()
        assert manifests == self.oracle.there | companions
        needed = {(n, blob.digest) for n, digest in manifests for blob in WORLD.needed(digest)}
        assert links == needed
        digests = {digest for _, digest in links}
        assert await site.blobs() == digests
        assert {*self.scene.store.every()} == digests
        for table in ("manifest_reviews", "link_reviews", "doomed_blobs", "trash"):
            assert await site.count(table) == 0, table


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    BOUNDED,
    max_examples=int(os.environ.get("ENTREPOT_FUZZ_EXAMPLES", "15")),
    stateful_step_count=60,
    phases=(Phase.explicit, Phase.generate),  # making it smaller takes minutes
    suppress_health_check=list(HealthCheck),
)
