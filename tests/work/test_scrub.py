"""Scrubbing with real servers and really damaged content."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from entrepot.core.digest import Digest
from entrepot.core.work import LEASE, SECOND, Run, ScrubSettings
from entrepot.db.address import IndexAddress
from entrepot.db.opening import migrate_index, open_index
from entrepot.services.audit import Trail
from entrepot.services.repairing import Repairs
from entrepot.services.runs import Runs
from entrepot.services.scrubbing import Scrubber
from entrepot.services.stores import Stores
from entrepot.services.uploads import Uploads
from entrepot.services.work import Runner
from entrepot.storage.filesystem import FilesystemStore
from tests.objectstores import SeaweedFS
from tests.postgres import Postgres
from tests.servers import start_registry, wait_until
from tests.unit.services.conftest import Clock, Site
from tests.wire.images import image, multi_platform
from tests.work.conftest import Run as RunCommand
from tests.work.conftest import blob_file, flip, push, push_blob, told

MIB = 1 << 20


def error_of(answer: httpx.Response) -> str:
    return str(answer.json()["errors"][0]["code"])


def test_damage_is_set_apart_until_somebody_pushes_again(tmp_path: Path, run: RunCommand) -> None:
    """Wrong bytes are never served, and everything that a client does about it works."""
    pushed = image("scrubbed", layer_count=3)
    flipped, gone, short, whole = pushed.blobs
    with start_registry(tmp_path / "registry", workers=1) as registry:
        push(registry, "app", "1", pushed)
        scrub = ("scrub", "--config", registry.config_path, "-o", "json")
        report = told(run(*scrub))["report"]
        assert (report["blobs"], report["manifests"], report["damaged"]) == (4, 1, 0)
        assert report["read"] == sum(len(blob.data) for blob in pushed.blobs)

        flip(blob_file(registry, flipped.digest))
        blob_file(registry, gone.digest).unlink()
        blob_file(registry, short.digest).write_bytes(short.data[:-1])
        found = told(run(*scrub), status=2)
        assert found["outcome"] == "success"
        report = found["report"]
        assert (report["damaged"], report["missing"], report["repaired"]) == (2, 1, 0)
        problems = {entry["digest"]: entry["problem"] for entry in report["findings"]}
        assert set(problems) == {flipped.digest, gone.digest, short.digest}
        assert problems[flipped.digest].startswith("the object has the digest sha256:")
        assert problems[gone.digest] == "there is no object"
        assert f"instead of {len(short.data)}" in problems[short.digest]
        assert all(entry["repositories"] == ["app"] for entry in report["findings"])

        with httpx.Client(base_url=registry.url) as http:
            for blob in (flipped, gone, short):
                answer = http.get(f"/v2/app/blobs/{blob.digest}")
                assert (answer.status_code, error_of(answer)) == (500, "UNKNOWN")
                assert "push it again" in answer.text
                assert http.head(f"/v2/app/blobs/{blob.digest}").status_code == 404
                mount = {"mount": blob.digest, "from": "app"}
                assert http.post("/v2/b/blobs/uploads/", params=mount).status_code == 202
            assert http.get(f"/v2/app/blobs/{whole.digest}").content == whole.data
            manifest = {"content-type": pushed.manifest.media_type}
            put = http.put("/v2/app/manifests/2", content=pushed.manifest.data, headers=manifest)
            assert error_of(put) == "MANIFEST_BLOB_UNKNOWN"
            for blob in (flipped, gone, short):
                push_blob(http, "app", blob.data, digest=blob.digest)
                assert http.get(f"/v2/app/blobs/{blob.digest}").content == blob.data
                assert blob_file(registry, blob.digest).read_bytes() == blob.data

        assert told(run(*scrub))["report"]["damaged"] == 0
        search = ("audit", "search", "--config", registry.config_path, "-o", "json")
        events = told(run(*search, "--action", "blob.quarantine"))
        assert {event["digest"] for event in events} == set(problems)
        counted = {
            'entrepot_scrub_objects_total{outcome="missing"} 2.0',
            'entrepot_runs_total{kind="scrub",outcome="success"}',
        }

        def is_counted() -> bool:
            return all(line in httpx.get(f"{registry.url}/metrics").text for line in counted)

        wait_until(is_counted, what="the metrics of both runs")


def test_damage_is_repaired_from_a_peer(tmp_path: Path, run: RunCommand) -> None:
    """Blobs and manifests, and only with what has the right digest."""
    pushed = multi_platform("repaired")
    first, second, third, *_ = pushed.every_blob()
    with start_registry(tmp_path / "peer", workers=1) as peer:
        push(peer, "team/app", "1", pushed)
        flip(blob_file(peer, third.digest))
        unreachable = {"url": "http://127.0.0.1:1"}
        scrub = {"peers": [unreachable, {"url": peer.url}], "rate": 0}
        config = {"lifecycle": {"scrub": scrub}}
        with start_registry(tmp_path / "registry", config=config, workers=1) as registry:
            push(registry, "team/app", "1", pushed)
            push(registry, "elsewhere", "1", pushed)
            registry.stop()
            child = pushed.children[0].manifest
            with closing(sqlite3.connect(registry.root / "entrepot/index.sqlite3")) as index:
                index.execute(
                    "UPDATE manifests SET payload = ? WHERE digest = ?",
                    (child.data + b"\n", Digest(child.digest).packed),
                )
                index.commit()
            registry.start()
            flip(blob_file(registry, first.digest))
            blob_file(registry, second.digest).unlink()
            flip(blob_file(registry, third.digest))
            done = run("scrub", "--config", registry.config_path, "-o", "json")
            report = told(done, status=2)["report"]
            found = {entry["digest"]: entry.get("repaired") for entry in report["findings"]}
            assert found[first.digest] == found[second.digest] == peer.host
            assert found[third.digest] is None
            assert found[child.digest] in {peer.host, None}  # the peer lacks one repository
            assert report["damaged"] == 4
            assert report["repaired"] == 3
            with httpx.Client(base_url=registry.url) as http:
                for blob in (first, second):
                    assert http.get(f"/v2/elsewhere/blobs/{blob.digest}").content == blob.data
                got = http.get(f"/v2/team/app/manifests/{child.digest}")
                assert got.content == child.data
                assert http.get(f"/v2/team/app/blobs/{third.digest}").status_code == 500


def test_without_a_server_the_command_does_it(tmp_path: Path, run: RunCommand) -> None:
    pushed = image("alone", layer_count=1)
    with start_registry(tmp_path / "registry", workers=1) as registry:
        push(registry, "app", "1", pushed)
        registry.stop()
        flip(blob_file(registry, pushed.blobs[0].digest))
        done = run("scrub", "--config", registry.config_path)
        assert done.returncode == 2, done.stderr
        assert "damaged      1" in done.stdout
        registry.start()
        answer = httpx.get(f"{registry.url}/v2/app/blobs/{pushed.blobs[0].digest}")
        assert answer.status_code == 500


def test_objects_in_s3(
    tmp_path: Path, run: RunCommand, seaweedfs: SeaweedFS, postgres: Postgres
) -> None:
    """The same in an object store to which clients are redirected, with an index in PostgreSQL."""
    root = "scrub"
    config = {
        "database": {"url": postgres.empty_database()},
        "storage": {"s3": seaweedfs.config("tests", rootdirectory=root)},
    }
    pushed = image(root, layer_count=2)
    bad, gone, whole = pushed.blobs

    async def damage() -> None:
        client = seaweedfs.client("tests")
        for blob in (bad, gone):
            encoded = blob.digest.partition(":")[2]
            key = f"{root}/docker/registry/v2/blobs/sha256/{encoded[:2]}/{encoded}/data"
            assert await client.read(key) == blob.data
            if blob is gone:
                await client.delete([key])
            else:
                await client.put(key, os.urandom(len(blob.data)))
        await client.close()

    with start_registry(tmp_path / "registry", config=config, workers=1) as registry:
        push(registry, "app", "1", pushed)
        asyncio.run(damage())
        done = run("scrub", "--config", registry.config_path, "-o", "json")
        report = told(done, status=2)["report"]
        assert (report["damaged"], report["missing"]) == (1, 1)
        with httpx.Client(base_url=registry.url, follow_redirects=True) as http:
            for blob in (bad, gone):
                assert http.get(f"/v2/app/blobs/{blob.digest}").status_code == 500
                assert http.head(f"/v2/app/blobs/{blob.digest}").status_code == 404
                push_blob(http, "app", blob.data, digest=blob.digest)
                assert http.get(f"/v2/app/blobs/{blob.digest}").content == blob.data
            assert http.get(f"/v2/app/blobs/{whole.digest}").content == whole.data


# Without a server -------------------------------------------------------------------------------


class Yard:
    """Stores on a disk, and processes that scrub them."""

    def __init__(self, site: Site, root: Path) -> None:
        self.site = site
        self.stores = site.stores
        self._root = root
        kinds = {"scrub": ScrubSettings}
        index, now, trail = self.stores.index, self.stores.now, self.stores.trail
        self.runs = Runs(index, now=now, trail=trail, kinds=kinds)

    def runner(self, *, rate: int = 0) -> Runner:
        repairs = Repairs(self.stores, self.site.uploads, connect=list)
        return Runner(
            self.stores.index,
            now=self.stores.now,
            trail=self.stores.trail,
            kinds={"scrub": Scrubber(self.stores, rate=rate, repairs=repairs).run},
            node="here",
        )

    async def scrub(self) -> Run:
        run = await self.runs.request("scrub", {}, by="test")
        runner = self.runner()
        await runner.turn()
        await asyncio.gather(*runner._running.values())
        return await self.runs.find(run.id)

    def file(self, digest: Digest) -> Path:
        return self._root / "docker/registry/v2/blobs" / str(self.stores.blobs.path(digest))


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    address = IndexAddress(f"sqlite://{tmp_path / 'index.sqlite3'}")
    migrate_index(address)
    index, clock = open_index(address), Clock()
    with ThreadPoolExecutor(4) as threads:
        store = FilesystemStore(tmp_path, threads=threads)
        stores = Stores(index, store, store, clock, Trail(index, now=clock))
        yield Yard(Site(stores, Uploads(stores, key=b"key"), clock), tmp_path)
        await index.close()


@pytest.mark.anyio
async def test_a_scrub_goes_on_where_a_killed_one_was(yard: Yard) -> None:
    """What was read is not read again, and what was found is still reported."""
    blobs = [await yard.site.push_blob("a", os.urandom(MIB)) for _ in range(8)]
    first = min(blobs)
    flip(yard.file(first))
    run = await yard.runs.request("scrub", {}, by="test")
    slow = yard.runner(rate=2 * MIB)
    noted = asyncio.Event()
    await slow.turn()
    (attending,) = slow._running.values()

    async def watch() -> None:
        while (await yard.runs.find(run.id)).report.get("blobs", 0) < 2:
            await asyncio.wait({attending}, timeout=0.05)
        noted.set()

    await asyncio.wait_for(watch(), 20)
    before = (await yard.runs.find(run.id)).report
    assert before["damaged"] == 1
    slow._owner = "a process that was killed"  # so it leaves everything as it is
    attending.cancel()
    await asyncio.wait({attending})
    yard.site.clock.now += LEASE + SECOND
    heir = yard.runner()
    await heir.turn()
    await asyncio.gather(*heir._running.values())
    report = (await yard.runs.find(run.id)).report
    assert (report["blobs"], report["damaged"]) == (8, 1)
    assert [entry["digest"] for entry in report["findings"]] == [first]
    assert report["read"] == 9 * MIB  # the damaged one was looked at twice


@pytest.mark.anyio
async def test_what_was_mended_by_hand_is_released(yard: Yard) -> None:
    digest = await yard.site.push_blob("a", b"content")
    yard.file(digest).rename(yard.file(digest).with_name("away"))
    assert (await yard.scrub()).report["missing"] == 1
    yard.file(digest).with_name("away").rename(yard.file(digest))
    report = (await yard.scrub()).report
    assert (report["missing"], report["released"]) == (0, 1)
    row = await yard.stores.index.fetch_one(
        "SELECT count(*) FROM blobs WHERE quarantined_at IS NOT NULL", {}
    )
    assert row == (0,)


@pytest.mark.anyio
async def test_a_store_that_can_not_be_read_is_no_damage(yard: Yard) -> None:
    """When every object fails the run is tried again later, and nothing is set apart."""
    for number in range(8):
        digest = await yard.site.push_blob("a", f"content {number}".encode())
        yard.file(digest).unlink()
        yard.file(digest).mkdir()  # reading it fails
    run = await yard.scrub()
    assert run.outcome == "waiting"
    assert "the store can't be read" in run.report["error"]
    row = await yard.stores.index.fetch_one(
        "SELECT count(*) FROM blobs WHERE quarantined_at IS NOT NULL", {}
    )
    assert row == (0,)


@pytest.mark.anyio
async def test_the_rate_is_kept(yard: Yard) -> None:
    for _ in range(4):
        await yard.site.push_blob("a", os.urandom(MIB // 2))
    await yard.runs.request("scrub", {"rate": 4 * MIB}, by="test")
    runner, loop = yard.runner(), asyncio.get_running_loop()
    began = loop.time()
    await runner.turn()
    await asyncio.gather(*runner._running.values())
    assert loop.time() - began >= 0.45
