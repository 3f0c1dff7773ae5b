"""A full disk and a read-only one: writes get a clear answer, reads go on, nothing is half-made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.conformance.answers import assert_error, assert_status, held, location_of
from tests.conformance.pushing import (
    finish,
    push,
    push_blob,
    push_by_single_post,
    push_by_stream,
    push_parts,
    put_manifest,
    send_chunk,
    send_stream,
    start_upload,
)
from tests.failure.disks import fill, is_full, read_only, small_disk
from tests.failure.rows import rows
from tests.servers import Registry, start_registry
from tests.wire.images import OCTETS, Content, Image, image, random_bytes

MIB = 1 << 20
REPO = "disks"
EARLIER = image("earlier")
NEW = image("new")
SMALL = Content(OCTETS, random_bytes(5000, "small"))
LARGE = Content(OCTETS, random_bytes(3 * MIB, "large"))


@dataclass(frozen=True)
class Site:
    """A registry on a small disk of its own, with an image from better times."""

    registry: Registry
    disk: Path
    http: httpx.Client

    def blob_files(self) -> set[Path]:
        """Every file below the folder of blobs."""
        blobs = self.disk / "docker" / "registry" / "v2" / "blobs"
        return {path for path in blobs.rglob("*") if path.is_file()}

    def files_of_blobs(self) -> set[Path]:
        """The files that the blobs in the index have."""
        blobs = self.disk / "docker" / "registry" / "v2" / "blobs" / "sha256"
        known = {row[0][1:].hex() for row in rows(self.disk, "SELECT digest FROM blobs")}
        return {blobs / name[:2] / name / "data" for name in known}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    root = tmp_path / "disk"
    with (
        small_disk(root, size=24 * MIB),
        start_registry(root, workers=2) as registry,
        httpx.Client(base_url=registry.url, timeout=30) as http,
    ):
        push(http, REPO, EARLIER, tag="earlier")
        yield Site(registry, root, http)
        assert "Traceback (most recent call last)" not in registry.log()


def assert_pulls(http: httpx.Client, made: Image, *, tag: str) -> None:
    """The image is there with all its blobs, and listed."""
    for reference in (tag, made.digest):
        answer = http.get(f"/v2/{REPO}/manifests/{reference}")
        assert_status(answer, 200)
        assert answer.content == made.manifest.data
    for blob in made.blobs:
        assert http.get(f"/v2/{REPO}/blobs/{blob.digest}").content == blob.data
    assert tag in http.get(f"/v2/{REPO}/tags/list").json()["tags"]
    assert REPO in http.get("/v2/_catalog").json()["repositories"]


def assert_refused(answer: httpx.Response) -> None:
    """503 in the specified form, with a time after which trying again makes sense."""
    assert_error(answer, 503, "UNAVAILABLE")
    assert int(answer.headers["Retry-After"]) > 0


def test_a_disk_that_fills_up_under_pushes(site: Site) -> None:
    """Blobs until there is no room: the one that does not fit leaves nothing, all others stay."""
    pushed: list[Content] = []
    refused: httpx.Response | None = None
    while refused is None and len(pushed) < 20:
        blob = Content(OCTETS, random_bytes(3 * MIB, f"fill {len(pushed)}"))
        answer = finish(site.http, start_upload(site.http, REPO), blob.digest, blob.data)
        if answer.status_code == 201:
            pushed.append(blob)
        else:
            refused = answer
            assert site.http.head(f"/v2/{REPO}/blobs/{blob.digest}").status_code == 404
    assert refused is not None
    assert_refused(refused)
    assert "no space left" in refused.text
    assert len(pushed) >= 4
    for earlier in pushed:
        assert site.http.get(f"/v2/{REPO}/blobs/{earlier.digest}").content == earlier.data
    assert_pulls(site.http, EARLIER, tag="earlier")
    assert site.blob_files() == site.files_of_blobs()
    left = {path.stat().st_size for path in (site.disk / "entrepot" / "uploads").iterdir()}
    assert left <= {0}, "what did not fit was taken back to make room"
    push(site.http, REPO, NEW, tag="new")
    assert_pulls(site.http, NEW, tag="new")


def test_a_full_disk(site: Site) -> None:
    """Every way to write gets a clear answer, reads go on, and with room again all goes on."""
    http = site.http
    push_parts(http, REPO, NEW)
    begun = location_of(send_chunk(http, start_upload(http, REPO), LARGE.data[:MIB], start=0))
    known = site.files_of_blobs()
    filler = fill(site.disk)
    assert_refused(send_chunk(http, begun, LARGE.data[MIB:], start=MIB))
    assert_refused(finish(http, begun, LARGE.digest, LARGE.data[MIB:], start=MIB))
    for blob in (SMALL, LARGE):
        assert_refused(push_by_single_post(http, REPO, blob))
        assert_refused(finish(http, start_upload(http, REPO), blob.digest, blob.data))
        assert_refused(send_stream(http, start_upload(http, REPO), [blob.data]))
        assert http.head(f"/v2/{REPO}/blobs/{blob.digest}").status_code == 404
    for reference in ("new", NEW.digest):
        assert_refused(put_manifest(http, REPO, reference, NEW.manifest))
        assert http.get(f"/v2/{REPO}/manifests/{reference}").status_code == 404
    assert_refused(http.delete(f"/v2/{REPO}/manifests/{EARLIER.digest}"))
    assert is_full(site.disk), "refused writes gave room to nothing and took none"
    assert_pulls(http, EARLIER, tag="earlier")
    assert held(http.get(begun)) == MIB, "what was acknowledged of an upload stays"
    assert site.blob_files() == known == site.files_of_blobs()
    assert "disk is full" in site.registry.log()
    filler.unlink()
    assert_status(put_manifest(http, REPO, "new", NEW.manifest), 201)
    assert_pulls(http, NEW, tag="new")
    location = location_of(send_chunk(http, begun, LARGE.data[MIB:], start=MIB))
    assert_status(finish(http, location, LARGE.digest), 201)
    assert http.get(f"/v2/{REPO}/blobs/{LARGE.digest}").content == LARGE.data
    push_blob(http, REPO, SMALL)


def test_starting_on_a_full_disk(site: Site) -> None:
    """After a clean end and after kill -9: what is there is served, and writes go on with room."""
    for end in (site.registry.stop, site.registry.kill):
        filler = fill(site.disk)
        end()
        site.registry.start()
        with httpx.Client(base_url=site.registry.url, timeout=30) as http:
            assert_pulls(http, EARLIER, tag="earlier")
            filler.unlink()
            push(http, REPO, NEW, tag="new")
            assert_pulls(http, NEW, tag="new")


def test_a_read_only_disk(site: Site) -> None:
    """Blobs can't be written: reads go on, writes are refused, and afterwards everything works."""
    http = site.http
    begun = location_of(send_chunk(http, start_upload(http, REPO), LARGE.data[:MIB], start=0))
    before = site.blob_files()
    with read_only(site.disk):
        assert_refused(send_chunk(http, begun, LARGE.data[MIB:], start=MIB))
        assert_refused(finish(http, begun, LARGE.digest, LARGE.data[MIB:], start=MIB))
        assert_refused(http.delete(begun))
        for blob in (SMALL, LARGE):
            assert_refused(push_by_single_post(http, REPO, blob))
            assert_refused(finish(http, start_upload(http, REPO), blob.digest, blob.data))
            assert http.head(f"/v2/{REPO}/blobs/{blob.digest}").status_code == 404
        assert_pulls(http, EARLIER, tag="earlier")
        assert http.get("/readyz").status_code == 200
        assert held(http.get(begun)) == MIB
        assert site.blob_files() == before
    assert "Read-only file system" in site.registry.log()
    location = location_of(send_chunk(http, begun, LARGE.data[MIB:], start=MIB))
    assert_status(finish(http, location, LARGE.digest), 201)
    assert_status(push_by_stream(http, REPO, SMALL), 201)
    push(http, REPO, NEW, tag="new")
    assert_pulls(http, NEW, tag="new")
