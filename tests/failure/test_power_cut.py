"""What a power cut may take, and what it may not: blobs are made durable with their manifest.

A cut is played by killing the server, damaging files that nobody had made durable, and giving the
machine another run (`boot` in the settings of the index).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.conformance.answers import assert_error, assert_status
from tests.conformance.pushing import push, push_blob, put_manifest, start_upload
from tests.failure.rows import is_kept, is_synced, rows
from tests.servers import Registry, start_registry, wait_until
from tests.wire.images import OCTETS, Content, bulky_image, image, random_bytes

MIB = 1 << 20
REPO = "power/cut"
PUSHED = image("pushed")
SMALL = Content(OCTETS, random_bytes(30_000, "small"))
LARGE = Content(OCTETS, random_bytes(2 * MIB, "large"))
WHOLE = Content(OCTETS, random_bytes(30_000, "whole"), "sha512")
KEPT = Content(OCTETS, random_bytes(3000, "kept"))
ZEROS = bytes(len(SMALL.data))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with start_registry(tmp_path / "registry", workers=2) as running:
        with httpx.Client(base_url=running.url, timeout=30) as http:
            push(http, REPO, PUSHED, tag="latest")
            for blob in (SMALL, LARGE, WHOLE, KEPT):
                push_blob(http, REPO, blob)
        yield running


def path_of(registry: Registry, blob: Content) -> Path:
    algorithm, _, encoded = blob.digest.partition(":")
    blobs = registry.root / "docker" / "registry" / "v2" / "blobs"
    return blobs / algorithm / encoded[:2] / encoded / "data"


def another_run(root: Path) -> None:
    """Make the index believe that the last server ran before the machine started."""
    with closing(sqlite3.connect(root / "entrepot" / "index.sqlite3")) as index:
        assert index.execute("UPDATE settings SET value = 'other' WHERE key = 'boot'").rowcount == 1
        index.commit()


def assert_is_served(registry: Registry, *blobs: Content) -> None:
    for blob in blobs:
        answer = httpx.get(f"{registry.url}/v2/{REPO}/blobs/{blob.digest}")
        assert_status(answer, 200)
        assert answer.content == blob.data


def test_a_manifest_and_all_its_blobs_are_durable_when_it_is_acknowledged(
    registry: Registry,
) -> None:
    """By its file or, small ones, by the index; a blob whose manifest has not come may have to wait
    for it.
    """
    registry.kill()
    for blob in PUSHED.blobs:
        assert is_synced(registry.root, blob.digest) or is_kept(registry.root, blob.digest)
    for blob in (SMALL, LARGE, WHOLE):
        assert is_synced(registry.root, blob.digest) is not None


def test_blobs_that_were_lost_are_forgotten(registry: Registry) -> None:
    """Emptied, cut, gone: unknown after the restart, to be sent again; all others are served."""
    registry.kill()
    assert is_synced(registry.root, SMALL.digest) is False, "it was pushed a moment ago"
    assert is_synced(registry.root, LARGE.digest) is False
    path_of(registry, SMALL).write_bytes(ZEROS)
    path_of(registry, LARGE).write_bytes(LARGE.data[:MIB])
    another_run(registry.root)
    registry.start()
    with httpx.Client(base_url=registry.url, timeout=30) as http:
        for blob in (SMALL, LARGE):
            for method in ("HEAD", "GET"):
                answer = http.request(method, f"/v2/{REPO}/blobs/{blob.digest}")
                assert_error(answer, 404, "BLOB_UNKNOWN")
            assert blob.digest in registry.log()
        query = {"mount": SMALL.digest, "from": REPO}
        assert_status(http.post("/v2/power/other/blobs/uploads/", params=query), 202)
        assert_is_served(registry, *PUSHED.blobs, WHOLE)
        assert http.get(f"/v2/{REPO}/manifests/latest").content == PUSHED.manifest.data
        assert rows(registry.root, "SELECT digest FROM blobs WHERE NOT synced") == []
        for blob in (SMALL, LARGE):
            push_blob(http, REPO, blob)
        assert_is_served(registry, SMALL, LARGE)


def test_small_blobs_are_written_again(registry: Registry) -> None:
    """The index has their bytes until their files are synced: nothing that was acknowledged with
    them is lost, and then the index gives the bytes up.
    """
    registry.kill()
    small = [*PUSHED.blobs, KEPT]
    assert all(is_kept(registry.root, blob.digest) for blob in small)
    path_of(registry, small[0]).unlink()
    path_of(registry, small[1]).write_bytes(b"")
    path_of(registry, small[2]).write_bytes(bytes(len(small[2].data)))
    path_of(registry, KEPT).write_bytes(KEPT.data[:1000])
    another_run(registry.root)
    registry.start()
    assert_is_served(registry, *small)
    assert rows(registry.root, "SELECT digest FROM blob_bytes") == []
    assert "blob was lost" not in registry.log()


def test_what_the_index_keeps_goes_when_the_files_are_synced(registry: Registry) -> None:
    """Some seconds later, without a restart."""
    wait_until(
        lambda: rows(registry.root, "SELECT digest FROM blob_bytes") == [], what="the syncing"
    )
    assert is_synced(registry.root, KEPT.digest)
    assert_is_served(registry, KEPT, *PUSHED.blobs)


def test_a_lost_blob_keeps_a_manifest_from_coming(registry: Registry) -> None:
    """The client that pushed blobs before the cut, and comes with the manifest after, is told."""
    with httpx.Client(base_url=registry.url, timeout=30) as http:
        made = bulky_image("interrupted")
        for blob in made.blobs:
            push_blob(http, REPO, blob)
    registry.kill()
    path_of(registry, made.blobs[2]).unlink()
    another_run(registry.root)
    registry.start()
    with httpx.Client(base_url=registry.url, timeout=30) as http:
        refused = put_manifest(http, REPO, "interrupted", made.manifest)
        assert_error(refused, 400, "MANIFEST_BLOB_UNKNOWN")
        assert made.blobs[2].digest in refused.text
        assert made.blobs[1].digest not in refused.text
        push(http, REPO, made, tag="interrupted")


def test_in_the_same_run_of_the_machine_nothing_is_read(registry: Registry) -> None:
    """kill -9 takes nothing from the kernel: blobs are synced and kept as they are."""
    registry.kill()
    assert is_synced(registry.root, SMALL.digest) is False
    path_of(registry, SMALL).write_bytes(ZEROS)
    registry.start()
    answer = httpx.get(f"{registry.url}/v2/{REPO}/blobs/{SMALL.digest}")
    assert answer.content == ZEROS, "reading it would have shown that it is damaged"
    assert_is_served(registry, LARGE, WHOLE, *PUSHED.blobs)
    assert rows(registry.root, "SELECT digest FROM blobs WHERE NOT synced") == []


def test_recovery_can_itself_be_cut(registry: Registry) -> None:
    """Only once everything is sure is the new run remembered: the next start looks again."""
    registry.kill()
    path_of(registry, SMALL).write_bytes(ZEROS)
    another_run(registry.root)
    obstacle = path_of(registry, LARGE)
    obstacle.unlink()
    obstacle.mkdir()
    before = rows(registry.root, "SELECT value FROM settings WHERE key = 'boot'")
    with pytest.raises(Exception, match="Is a directory"):
        registry.start()
    assert rows(registry.root, "SELECT value FROM settings WHERE key = 'boot'") == before
    obstacle.rmdir()
    registry.start()
    with httpx.Client(base_url=registry.url, timeout=30) as http:
        assert http.head(f"/v2/{REPO}/blobs/{SMALL.digest}").status_code == 404
        assert http.head(f"/v2/{REPO}/blobs/{LARGE.digest}").status_code == 404
        assert_is_served(registry, WHOLE, *PUSHED.blobs)
        assert start_upload(http, REPO)
