"""`entrepot import` by hand: another storage is copied, one's own indexed again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bench.old_layout import write_old_layout
from tests.objectstores import SeaweedFS
from tests.programs import run
from tests.servers import start_registry, wait_until
from tests.takeover.conftest import HELD, Old
from tests.takeover.volume import ROOT, Volume
from tests.wire.images import image, index, multi_platform

pytestmark = pytest.mark.anyio

ONE, TWO = image("imports one"), image("imports two")


def entrepot(*arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = run(*arguments, timeout=120)
    assert done.returncode == status, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done


def get(url: str) -> httpx.Response:
    return httpx.get(url, follow_redirects=True, timeout=30)


def take(old: Old, source: object, *options: str, status: int = 0) -> str:
    """Import by the command, and return what it says at the end."""
    return entrepot("import", str(source), str(old.config_path), *options, status=status).stdout


@pytest.fixture
def other(tmp_path: Path) -> Volume:
    return Volume(tmp_path / "other")


@pytest.fixture
def elsewhere() -> Iterator[Volume]:
    """A storage on another file system."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        yield Volume(Path(place))


# Another storage --------------------------------------------------------------------------------


async def test_a_directory_on_the_same_file_system(old: Old, other: Volume) -> None:
    """Blobs are linked, not copied; nothing there is changed; nobody's blobs stay behind."""
    whole = multi_platform("imports")
    other.push("team/app", whole, "all")
    lone = other.put(b"nobody's")
    before = other.files()
    said = take(old, other.root)
    assert "1 repositories, 3 of 3 manifests, 0 broken" in said
    assert other.files() == before
    for blob in whole.every_blob():
        assert old.volume.blob_path(blob.digest).samefile(other.blob_path(blob.digest))
    assert not old.volume.blob_path(lone).exists()
    async with old.taken() as site:
        assert (await site.get("/v2/team/app/manifests/all")).body == whole.manifest.data
        for blob in whole.every_blob():
            assert (await site.get(f"/v2/team/app/blobs/{blob.digest}")).body == blob.data


async def test_a_directory_on_another_file_system(old: Old, elsewhere: Volume) -> None:
    """Blobs are copied; what has another digest then is found without `--verify`."""
    elsewhere.push("app", ONE, "1")
    elsewhere.push("app", TWO, "2")
    rotten = elsewhere.blob_path(TWO.blobs[1].digest)
    rotten.write_bytes(bytes(255 - byte for byte in rotten.read_bytes()))
    take(old, elsewhere.root, status=2)
    assert set(await old.findings()) == {f"app@{TWO.digest}", "app:2"}
    async with old.taken() as site:
        assert await site.names("/v2/app/tags/list", "tags") == ["1"]
        for blob in ONE.blobs:
            assert (await site.get(f"/v2/app/blobs/{blob.digest}")).body == blob.data
    assert list((old.root / "entrepot" / "uploads").iterdir()) == []


async def test_verify(old: Old, other: Volume) -> None:
    """Every blob is read; a linked one that is rotten is not taken."""
    other.push("app", ONE, "1")
    other.push("app", TWO, "2")
    rotten = other.blob_path(TWO.blobs[1].digest)
    rotten.write_bytes(bytes(255 - byte for byte in rotten.read_bytes()))
    take(old, other.root, "--verify", status=2)
    found = await old.findings()
    assert set(found) == {TWO.blobs[1].digest, f"app@{TWO.digest}", "app:2"}
    assert found[TWO.blobs[1].digest].kind == "damaged"


async def test_what_is_there_is_left_alone(old: Old, other: Volume) -> None:
    """A tag that the registry has, or had and deleted; and the same again."""
    old.volume.push("app", ONE, "mine", "gone")
    async with old.taken() as site:
        assert (await site.ask("DELETE", "/v2/app/manifests/gone")).status == 202
    other.push("app", TWO, "mine", "gone", "theirs")
    for _ in range(2):
        take(old, other.root)
        async with old.taken() as site:
            assert (await site.get("/v2/app/manifests/mine")).body == ONE.manifest.data
            assert (await site.get("/v2/app/manifests/theirs")).body == TWO.manifest.data
            assert await site.names("/v2/app/tags/list", "tags") == ["mine", "theirs"]
    assert len(old.history("app", "theirs")) == 1


async def test_again_after_it_was_mended(old: Old, other: Volume) -> None:
    """What is mended is taken, and what was found is found anew."""
    other.push("app", ONE, "1")
    lost = other.blob_path(ONE.blobs[0].digest)
    hidden = lost.rename(lost.with_name("hidden"))
    take(old, other.root, status=2)
    assert len(await old.findings()) == 2
    hidden.rename(lost)
    assert "1 of 1 manifests, 0 broken" in take(old, other.root)
    assert await old.findings() == {}


async def test_a_bucket(old: Old, other: Volume, seaweedfs: SeaweedFS) -> None:
    """Of another registry, with the endpoint and the credentials of our own; pages of listings."""
    write_old_layout(other.root, manifests=30, per_repository=10)
    whole = multi_platform("imports bucket")
    other.push("team/app", whole, "all")
    bucket = seaweedfs.client("tests")
    for path, (data, _) in other.files().items():
        await bucket.put(f"import/old/{ROOT}/{path}", data)
    await bucket.close()
    config = {
        "version": "0.1",
        "storage": {"s3": seaweedfs.config("tests", rootdirectory="import/new")},
        "database": {"url": f"sqlite:///{old.root}/index.sqlite3"},
    }
    old.config_path.write_text(json.dumps(config))
    said = take(old, "s3://tests/import/old")
    assert "4 repositories, 33 of 33 manifests, 0 broken" in said
    with start_registry(old.root, config=config) as registry:
        url = f"{registry.url}/v2/team/app"
        assert get(f"{url}/manifests/all").content == whole.manifest.data
        blob = whole.children[0].blobs[0]
        assert get(f"{url}/blobs/{blob.digest}").content == blob.data


async def test_a_takeover_in_a_bucket_and_back(
    old: Old, other: Volume, seaweedfs: SeaweedFS
) -> None:
    """A bucket of `registry:2` is taken over where it is; the layout written there is the same."""
    write_old_layout(other.root, manifests=30, per_repository=10)
    bucket = seaweedfs.client("tests")
    for path, (data, _) in other.files().items():
        await bucket.put(f"takeover/{ROOT}/{path}", data)
    config = {
        "storage": {"s3": seaweedfs.config("tests", rootdirectory="takeover")},
        "database": {"url": f"sqlite:///{old.root}/index.sqlite3"},
    }
    old.root.mkdir()
    with start_registry(old.root, config=config) as registry:
        names = get(f"{registry.url}/v2/_catalog").json()["repositories"]
        assert names == ["team0/app00000", "team1/app00001", "team2/app00002"]
        assert get(f"{registry.url}/v2/team1/app00001/manifests/v7").status_code == 200
        path = str(registry.config_path)
        wait_until(
            lambda: "finished" in entrepot("import", "status", path).stdout,
            seconds=60,
            what="the end of the takeover",
        )
        said = entrepot("import", "status", path).stdout
        assert "s3://tests/takeover/: finished" in said
        assert "3 repositories, 30 of 30 manifests, 0 broken" in said
    assert "0 links written, 0 removed" in entrepot("export-layout", path).stdout
    await bucket.close()


async def test_an_index_in_postgresql(old: Old, postgres_url: str) -> None:
    """The statements are the same; so is what arrives."""
    old.volume.push("app", multi_platform("imports"), "all")
    old.volume.push("app", ONE, "1", "2")
    old.volume.blob_path(ONE.blobs[0].digest).unlink()
    config = old.config_path.read_text() + f"database: {{url: '{postgres_url}'}}\n"
    old.config_path.write_text(config)
    assert "1 repositories, 3 of 4 manifests, 3 broken" in take(old, old.root, status=2)
    with start_registry(old.root, config={"database": {"url": postgres_url}}) as registry:
        tags = get(f"{registry.url}/v2/app/tags/list").json()["tags"]
        assert tags == ["all"]
        assert get(f"{registry.url}/v2/app/manifests/all").status_code == 200
    said = entrepot("export-layout", str(old.config_path)).stdout
    assert said == "1 repositories, 3 manifests, 1 tags: 0 links written, 0 removed\n"


async def test_nothing_there(old: Old, tmp_path: Path) -> None:
    """With what to do; a bucket without a driver for it; and no traceback."""
    said = entrepot("import", str(tmp_path), str(old.config_path), status=1).stderr
    assert "docker/registry/v2" in said
    said = entrepot("import", "s3://bucket/root", str(old.config_path), status=1).stderr
    assert "storage.s3" in said


async def test_one_at_a_time(old: Old) -> None:
    """While a server, or another command, is at it."""
    old.volume.push("app", ONE, "1")
    async with old.held():
        pass
    said = entrepot("import", str(old.root), str(old.config_path), status=1).stderr
    assert "somebody else" in said


# One's own --------------------------------------------------------------------------------------


async def test_ones_own_storage_again(old: Old) -> None:
    """What `registry:2` wrote after the takeover is taken in by hand; findings are made anew."""
    old.volume.push("app", ONE, "1")
    async with old.taken():
        pass
    old.volume.push("app", TWO, "2")
    old.volume.push("app", index([ONE, TWO]), "both")
    assert "3 of 3 manifests" in take(old, old.root)
    async with old.taken() as site:
        assert await site.names("/v2/app/tags/list", "tags") == ["1", "2", "both"]
    assert len(await old.imports()) == 1


async def test_an_interrupted_command_goes_on_at_the_next_start(old: Old, tmp_path: Path) -> None:
    old.volume.push("app", ONE, "1")
    async with old.taken():
        pass
    old.volume.push("app", TWO, "2")
    old.index("UPDATE imports SET finished_at = NULL, phase = 'listing'")
    async with old.taken() as site:
        assert (await site.get("/v2/app/manifests/2")).status == 200


# What is said -----------------------------------------------------------------------------------


async def test_status(old: Old) -> None:
    assert entrepot("import", "status", str(old.config_path)).stderr == "nothing was imported\n"
    old.volume.push("app", ONE, "1")
    old.volume.push("app", TWO, "2")
    old.volume.blob_path(TWO.digest).unlink()
    async with old.held():
        said = entrepot("import", "status", str(old.config_path)).stdout
        assert "listing since" in said
        assert old.index(HELD) == []
    async with old.taken():
        pass
    said = entrepot("import", "status", "--broken", str(old.config_path)).stdout
    assert "finished" in said
    assert "1 repositories, 1 of 2 manifests, 2 broken" in said
    assert f"  missing     app@{TWO.digest}: its bytes are missing\n" in said
    lines = entrepot("import", "status", "--broken", "--json", str(old.config_path)).stdout
    entry, *found = map(json.loads, lines.splitlines())
    assert (entry["source"], entry["indexed"], entry["findings"]) == (str(old.root), 1, 2)
    assert {finding["place"] for finding in found} == {f"app@{TWO.digest}", "app:2"}


# Interrupted ------------------------------------------------------------------------------------


def count(registry_root: Path, old: Old, table: str) -> int:
    return int(old.index(f"SELECT count(*) FROM {table}")[0][0])


async def test_killed_in_the_middle(tmp_path: Path) -> None:
    """Servers with two workers are killed while they take over; the next goes on, and in the end
    everything is there once.
    """
    old = Old(tmp_path / "site")
    write_old_layout(old.root, manifests=1500, per_repository=50)

    def some(least: int) -> bool:
        return count(old.root, old, "manifests") >= least

    for least in (200, 700):
        with start_registry(old.root) as registry:
            wait_until(lambda: some(least), seconds=60, what=f"{least} manifests")  # noqa: B023
            os.killpg(registry.process.pid, signal.SIGKILL)
    with start_registry(old.root) as registry:
        await old.finished()
        # The row comes first, and then whoever wrote it tells of it.
        wait_until(lambda: "import is finished" in registry.log(), what="the word of the end")
        for number in (0, 29):
            url = f"{registry.url}/v2/team{number % 10}/app{number:05}"
            assert len(get(f"{url}/tags/list").json()["tags"]) == 50
            assert get(f"{url}/manifests/v49").status_code == 200
        counted = 'entrepot_import_manifests_total{outcome="taken"}'
        wait_until(lambda: counted in get(f"{registry.url}/metrics").text, what="the count")
    (entry,) = await old.imports()
    assert (entry.repositories, entry.manifests, entry.indexed) == (30, 1500, 1500)
    for table in ("manifests", "tags", "tag_history"):
        assert count(old.root, old, table) == 1500
