"""Comparing the index with the store, both ways, and repairing what differs."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from entrepot.core.digest import Digest
from entrepot.core.work import CHECK, FORMS
from entrepot.services.comparing import Comparer
from entrepot.services.repairing import Repairs
from entrepot.services.runs import Runs
from entrepot.services.scrubbing import Scrubber
from entrepot.services.timekeeping import Clock
from entrepot.services.work import Runner
from entrepot.storage.filesystem import FilesystemStore
from tests.collection.conftest import site, template  # noqa: F401 - fixtures
from tests.collection.sites import GRACE, SECOND, Site
from tests.objectstores import SeaweedFS
from tests.postgres import Postgres
from tests.servers import Registry, start_registry, wait_until
from tests.wire import images
from tests.work.conftest import Run, blob_file, push, push_blob, told

UNKNOWN = b"nobody knows this object"


async def check(site: Site, **settings: bool) -> dict[str, Any]:  # noqa: F811 - a fixture's name
    """Make a check as a server does, and return its report."""
    runs = Runs(site.index, now=site.clocks, trail=site.stores.trail, kinds=FORMS)
    comparer = Comparer(
        site.stores,
        scrubber=Scrubber(
            site.stores, rate=0, repairs=Repairs(site.stores, site.uploads, connect=list)
        ),
        collect=lambda: site.collect_as("check"),
        read_time=Clock(site.index, site.keeping, site.clocks.read).read_time,
        find_owned_since=site.find_owned_since,
    )
    runner = Runner(
        site.index,
        now=site.clocks,
        trail=site.stores.trail,
        kinds={CHECK: comparer.run},
        node="test",
    )
    asked = await runs.request(CHECK, settings, by="test")
    await runner.turn()
    await asyncio.gather(*runner._running.values())
    done = await runs.find(asked.id)
    assert done.outcome == "success", done.report
    return done.report


@pytest.mark.anyio
async def test_both_ways(site: Site) -> None:  # noqa: F811 - a fixture
    """What is young, being deleted, or was a manifest of `registry:2` is no finding."""
    made = images.image("checked", layer_count=2)
    await site.push("a", "latest", made)
    gone, short, whole = made.blobs
    unknown, young = Digest.of(UNKNOWN), Digest.of(b"young")
    doomed, manifest = Digest.of(b"doomed"), Digest(made.digest)
    report = await check(site)
    assert (report["blobs"], report["objects"], report["left"]) == (3, 3, 0)
    await site.memory.put(unknown, UNKNOWN)
    await site.memory.put(doomed, b"doomed")
    await site.memory.put(manifest, made.manifest.data)
    await site.change(
        "INSERT INTO doomed_blobs (digest, size, doomed_at, owner, lease_expires_at) "
        "VALUES (:digest, 6, 1, 'somebody', :never)",
        digest=doomed.packed,
        never=site.clocks.wall + 100 * GRACE,
    )
    site.clocks.go(GRACE + SECOND)
    await site.memory.put(young, b"young")
    await site.memory.delete([Digest(gone.digest)])
    await site.memory.put(Digest(short.digest), short.data[:-1])
    for fix, action in ((False, ""), (True, "set apart until sent again")):
        report = await check(site, fix=fix)
        told = (report["missing"], report["resized"], report["unknown"], report["young"])
        assert told == (1, 1, 1, 1)
        found = {each["digest"]: (each["problem"], each["action"]) for each in report["findings"]}
        assert found == {
            gone.digest: ("there is no object", action),
            short.digest: (
                f"the object has {len(short.data) - 1} bytes instead of {len(short.data)}",
                action,
            ),
            unknown: ("the index does not know this object", "deleted" if fix else ""),
        }
        assert report["unknown_size"] == len(UNKNOWN)
        assert report["left"] == (2 if fix else 3)
    assert (report["set_apart"], report["removed"], report["removed_size"]) == (
        2,
        1,
        len(UNKNOWN),
    )
    assert await site.objects() == {short.digest, whole.digest, young, doomed, manifest}
    for blob in (gone, short):
        await site.push_blob("a", blob.data)
        assert await site.fetch("a", blob.digest) == blob.data
    report = await check(site, fix=True)
    assert (report["left"], report["findings"]) == (0, [])


def make_unreadable(root: Path, digest: str) -> None:
    """Put a folder in the place of a blob's file: it has a size, and no content."""
    (path,) = root.rglob(f"{digest.partition(':')[2]}/data")
    path.unlink()
    path.mkdir()


@pytest.mark.anyio
async def test_what_can_not_be_read_is_not_set_apart(
    site: Site,  # noqa: F811 - a fixture
    tmp_path: Path,
) -> None:
    """It is still told that it has another size."""
    with ThreadPoolExecutor(2) as threads:
        files = FilesystemStore(tmp_path, threads=threads)
        site.stores = site.stores_on(site.index, files)
        site.uploads._stores = site.stores
        made = images.image("unreadable", layer_count=1)
        await site.push("a", "latest", made)
        make_unreadable(tmp_path, made.blobs[0].digest)
        report = await check(site, fix=True)
    assert (report["resized"], report["set_apart"], report["left"]) == (1, 0, 1)
    assert [found["action"] for found in report["findings"]] == [""]


@pytest.mark.anyio
@pytest.mark.parametrize("why", ["not its own", "its own since lately", "taking over"])
async def test_unknown_objects_stay_where_they_may_be_needed(
    site: Site,  # noqa: F811 - a fixture
    why: str,
) -> None:
    async def find_owned_since() -> int | None:
        return None if why == "not its own" else site.clocks.wall

    if why == "taking over":
        await site.change(
            "INSERT INTO imports (source, in_place, verify, phase, position, started_at) "
            "VALUES ('old', :yes, :no, 'listing', '', 1)",
            yes=True,
            no=False,
        )
    else:
        site.find_owned_since = find_owned_since
    await site.memory.put(Digest.of(UNKNOWN), UNKNOWN)
    site.clocks.go(2 * GRACE)
    report = await check(site, fix=True)
    assert (report["judged"], report["unknown"], report["removed"]) == (False, 1, 0)
    assert await site.objects() == {Digest.of(UNKNOWN)}


# With real servers ------------------------------------------------------------------------------

SOON = {"lifecycle": {"collection": {"grace": "2s", "enabled": False}}}


def compare(run: Run, registry: Registry) -> None:
    """Find and repair one missing blob and one unknown object, beside the server."""
    words = ("check", "-c", registry.config_path, "-o", "json")
    found: dict[str, Any] = {}

    def judged() -> bool:
        done = run(*words)
        found.update(told(done, status=done.returncode)["report"])
        assert done.returncode == 2, done.stderr
        return bool(found["judged"] and found["unknown"])

    wait_until(judged, seconds=60, what="the end of the grace period")
    assert (found["missing"], found["unknown"], found["removed"], found["left"]) == (1, 1, 0, 2)
    fixed = told(run(*words, "--fix"), status=2)["report"]
    assert (fixed["set_apart"], fixed["removed"], fixed["left"]) == (1, 1, 1)


def test_files(tmp_path: Path, run: Run) -> None:
    made = images.image("files", layer_count=1)
    stranger = Digest.of(UNKNOWN)
    with start_registry(tmp_path / "registry", config=SOON, workers=1) as registry:
        push(registry, "app", "1", made)
        gone = made.blobs[0]
        blob_file(registry, gone.digest).unlink()
        blob_file(registry, stranger).parent.mkdir(parents=True)
        blob_file(registry, stranger).write_bytes(UNKNOWN)
        compare(run, registry)
        assert not blob_file(registry, stranger).exists()
        with httpx.Client(base_url=registry.url) as http:
            assert http.get(f"/v2/app/blobs/{gone.digest}").status_code == 500
            assert http.head(f"/v2/app/blobs/{gone.digest}").status_code == 404
            push_blob(http, "app", gone.data, digest=gone.digest)
            assert http.get(f"/v2/app/blobs/{gone.digest}").content == gone.data
        words = ("check", "-c", registry.config_path)
        assert run(*words).returncode == 0
        registry.stop()
        alone = run(*words, "--fix")
        assert (alone.returncode, "left          0" in alone.stdout) == (0, True), alone.stdout


def test_objects_in_s3(tmp_path: Path, run: Run, seaweedfs: SeaweedFS, postgres: Postgres) -> None:
    root = f"check-{os.urandom(4).hex()}"
    config = {
        **SOON,
        "database": {"url": postgres.empty_database()},
        "storage": {"s3": seaweedfs.config("tests", rootdirectory=root)},
    }
    made = images.image(root, layer_count=1)
    gone, stranger = made.blobs[0], Digest.of(UNKNOWN)

    def key(digest: str) -> str:
        encoded = digest.partition(":")[2]
        return f"{root}/docker/registry/v2/blobs/sha256/{encoded[:2]}/{encoded}/data"

    async def damage() -> None:
        client = seaweedfs.client("tests")
        await client.delete([key(gone.digest)])
        await client.put(key(stranger), UNKNOWN)
        await client.close()

    async def is_there() -> bool:
        client = seaweedfs.client("tests")
        found = await client.read(key(stranger))
        await client.close()
        return found is not None

    with start_registry(tmp_path / "registry", config=config, workers=1) as registry:
        push(registry, "app", "1", made)
        asyncio.run(damage())
        compare(run, registry)
        assert not asyncio.run(is_there())
