"""Collectors and clients that are killed before each of their steps in turn: whoever comes next
goes on, nothing that lives is lost, and nothing dead stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import pytest

from entrepot.core.digest import Digest
from entrepot.core.errors import UnavailableError
from entrepot.core.names import RepositoryName, Tag
from entrepot.services.push import ManifestRules, PushedManifest, put_manifest
from tests.collection.scenes import Scene
from tests.collection.sites import GRACE, SECOND, part
from tests.conformance.pushing import push_blob, push_in_time
from tests.objectstores import SeaweedFS
from tests.servers import Registry, start_registry, wait_until
from tests.wire import images

_MADE: Final = images.image("killed", layer_count=1)
_NAME: Final = RepositoryName("a")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def _begin(folder: Path) -> Scene:
    """A registry in which everything of an image is about to go, and an object without a row."""
    scene = Scene(folder)
    site = scene.site
    site.collector = site.collect_as("before")
    await scene.store.put(Digest.of(b"orphan"), b"orphan")
    await site.push("a", _MADE.digest, _MADE)
    scene.clocks.go(GRACE + SECOND)
    while await site.collector.look():
        pass
    assert await site.manifests() == set()
    scene.clocks.go(GRACE // 2 + SECOND)
    return scene


async def _push(scene: Scene) -> None:
    """The same image again, by a tag, as a client that stops before each step."""
    for blob in _MADE.blobs:
        upload = scene.uploads.begin(_NAME)
        await scene.uploads.finish(upload, part(blob.data), Digest(blob.digest))
    kind, data = _MADE.manifest.media_type, _MADE.manifest.data
    pushed = PushedManifest(_NAME, Tag("latest"), data, kind)
    await put_manifest(scene.stopping, pushed, rules=ManifestRules())


async def _is_whole(scene: Scene, *, tagged: bool) -> None:
    """Nobody is told of bytes that are not there, and what was pushed is."""
    for digest in await scene.site.blobs():
        assert Digest(digest) in scene.store.every()
    if tagged:
        assert await scene.site.pull("a", "latest") == _MADE.manifest.data
        for blob in _MADE.blobs:
            assert await scene.site.fetch("a", blob.digest) == blob.data


async def _end(scene: Scene, *, pushed: bool) -> None:
    """The next collector goes on, and a client that was refused comes again."""
    site = scene.site
    site.collector = site.collect_as("after")
    for _ in range(20):
        while await site.collector.look():
            pass
        await _is_whole(scene, tagged=pushed)
        if not pushed:
            with suppress(UnavailableError):
                await _push(scene)
                pushed = True
        scene.clocks.go(20 * SECOND)
    assert pushed
    for _ in range(4):
        scene.clocks.go(GRACE)
        await site.collect()
        await _is_whole(scene, tagged=True)
    assert await site.manifests() == {_MADE.digest}
    needed = {blob.digest for blob in _MADE.blobs}
    assert {*scene.store.every()} == await site.blobs() == needed
    for table in ("manifest_reviews", "link_reviews", "doomed_blobs"):
        assert await site.count(table) == 0, table


async def _kill_before(scene: Scene, who: str, step: int, *, meets: str) -> bool:
    """Let a collector and a client, which begins when the collector is at a step, go on in turn
    until one of them is killed; return whether that came about.
    """
    gate = scene.gate
    collecting = await gate.begin(scene.collector().look())
    while gate.waits(collecting)[0] != meets:
        await gate.advance(collecting)
    pushing = await gate.begin(_push(scene))
    victim, other = (collecting, pushing) if who == "collector" else (pushing, collecting)
    for _ in range(step):
        await gate.advance(victim)
        await gate.advance(other)
        await _is_whole(scene, tagged=_succeeded(pushing))
    killed = not victim.done()
    if killed:
        await gate.kill(victim)
    await gate.finish(other)
    if collecting.done() and not collecting.cancelled():
        collecting.result()
    await _end(scene, pushed=_succeeded(pushing))
    return killed


def _succeeded(task: asyncio.Task[Any]) -> bool:
    if not task.done() or task.cancelled():
        return False
    error = task.exception()
    assert error is None or isinstance(error, UnavailableError), error
    return error is None


@pytest.mark.anyio
@pytest.mark.timeout(300)
@pytest.mark.parametrize("meets", ["read", "delete"])
@pytest.mark.parametrize("who", ["collector", "client"])
async def test_killed_before_each_step(who: str, meets: str, tmp_path: Path) -> None:
    for step in range(200):
        folder = tmp_path / str(step)
        folder.mkdir()
        scene = await _begin(folder)
        try:
            if not await _kill_before(scene, who, step, meets=meets):
                break
        finally:
            await scene.index.close()
    assert 2 < step < 199


# Two nodes --------------------------------------------------------------------------------------


@pytest.fixture
def nodes(
    postgres_url: str, seaweedfs: SeaweedFS, tmp_path: Path
) -> Iterator[tuple[Registry, Registry]]:
    """The second begins when the first collects."""
    s3 = seaweedfs.config("tests", rootdirectory=f"nodes/{tmp_path.name}")
    config = {
        "database": {"url": postgres_url},
        "http": {"secret": "shared"},
        "storage": {"s3": s3, "delete": {"enabled": True}, "redirect": {"disable": True}},
        "lifecycle": {"collection": {"grace": "2s"}, "trash": {"window": "0s"}},
    }
    with start_registry(tmp_path / "first", config=config) as first:
        wait_until(lambda: owner(postgres_url) is not None, what="a collector")
        with start_registry(tmp_path / "second", config=config) as second:
            yield first, second


def owner(url: str) -> str | None:
    """Who collects, as the index has it."""

    async def find() -> str | None:
        connection = await asyncpg.connect(url)
        try:
            sql = "SELECT lease_owner FROM jobs WHERE kind = 'collection'"
            found: str | None = await connection.fetchval(sql)
        finally:
            await connection.close()
        return found

    return asyncio.run(find())


@pytest.mark.timeout(240)
def test_when_the_owner_is_killed_the_other_goes_on(
    nodes: tuple[Registry, Registry], postgres_url: str
) -> None:
    """As long as the first works the second does not; what lives stays all the time."""
    first, second = nodes
    collects = owner(postgres_url)
    kept = images.image("kept on two nodes")
    with httpx.Client(base_url=second.url, timeout=60) as http:
        push_in_time(http, "kept", kept, tag="latest")

        for number in range(2):
            blob = images.layer(f"never used {number}")
            push_blob(http, "gone", blob)
            # Not by asking for it, which would keep it.
            began = owner(postgres_url)
            wait_until(lambda: not links(postgres_url, "gone"), seconds=120, what="collection")
            assert http.head(f"/v2/gone/blobs/{blob.digest}").status_code == 404
            if number == 0:
                assert began == owner(postgres_url) == collects
                first.kill()
        assert owner(postgres_url) not in {None, collects}
        for blob in kept.blobs:
            assert http.get(f"/v2/kept/blobs/{blob.digest}").content == blob.data


def links(url: str, name: str) -> int:
    """How many blobs a repository links."""

    async def count() -> int:
        connection = await asyncpg.connect(url)
        try:
            sql = (
                "SELECT COUNT(*) FROM repository_blobs "
                "JOIN repositories ON repositories.id = repository_id WHERE name = $1"
            )
            return int(await connection.fetchval(sql, name))
        finally:
            await connection.close()

    return asyncio.run(count())
