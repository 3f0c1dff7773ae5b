"""A volume that the real docker-registry 2.8 wrote: taken over, served, and given back."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.images_on_disk import GREETING, digest_of, make_image, make_index
from tests.programs import run
from tests.servers import Registry, start_registry, wait_until
from tests.takeover.peer import copied, old_registry, push, raw, skopeo, status_of

pytestmark = pytest.mark.clients

WHOLE = ("app:1", "app:2", "app:latest", "team/lists:all", "team/lists:arm", "docker/v2s2:1")
"""Every image that can be pulled before and after."""


def entrepot(*arguments: str, status: int = 0) -> str:
    """What a command prints."""
    done = run(*arguments, timeout=120)
    assert done.returncode == status, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("images") / "layout"
    for tag, architecture in (("one", "amd64"), ("two", "amd64"), ("arm", "arm64")):
        make_image(place, tag, files={GREETING: f"{tag}\n"}, architecture=architecture)
    make_index(place.with_name("index"), place, tags=["one", "arm"])
    return place


def fill(host: str, layout: Path) -> None:
    """Images of several architectures that share layers, in several forms; moved and deleted tags;
    an upload that nobody finished.
    """
    push(host, layout, "one", "app:1")
    push(host, layout, "two", "app:2")
    push(host, layout, "one", "app:latest")
    push(host, layout, "two", "app:latest")
    push(host, layout, "arm", "app:gone")
    push(host, layout.with_name("index"), "all", "team/lists:all")
    push(host, layout, "arm", "team/lists:arm")
    push(host, layout, "one", "docker/v2s2:1", "--format", "v2s2")
    push(host, layout, "one", "torn:1")
    push(host, layout, "two", "rotten:1")
    skopeo("delete", "--tls-verify=false", f"docker://{host}/app:gone")
    begun = httpx.post(f"http://{host}/v2/app/blobs/uploads/")
    assert httpx.patch(begun.headers["location"], content=b"the beginning").status_code == 202


def shared_blob(image: str) -> str:
    """The layer of an image that only it has."""
    return str(json.loads(image)["layers"][-1]["digest"])


@pytest.fixture
def volume(tmp_path: Path, layout: Path) -> Path:
    root = tmp_path / "volume"
    with old_registry(root) as host:
        fill(host, layout)
    return root


def pulled(host: str, place: Path) -> dict[str, tuple[str, dict[str, str]]]:
    return {
        image: (raw(host, image), copied(host, image, place / image.replace("/", "_")))
        for image in WHOLE
    }


def listed(host: str) -> dict[str, list[str]]:
    repositories = httpx.get(f"http://{host}/v2/_catalog").json()["repositories"]
    return {
        name: sorted(httpx.get(f"http://{host}/v2/{name}/tags/list").json()["tags"] or [])
        for name in repositories
    }


def finish(registry: Registry) -> None:
    def done() -> bool:
        return "finished" in entrepot("import", "status", str(registry.config_path))

    wait_until(done, seconds=60, what="the end of the takeover")


def test_there_and_back(tmp_path: Path, layout: Path, volume: Path) -> None:
    """Every image is the same before, during and after the takeover, and when docker-registry
    serves the volume again; also what was pushed and deleted meanwhile.
    """
    with old_registry(volume) as host:
        before, lists = pulled(host, tmp_path / "before"), listed(host)
    with start_registry(volume) as registry:
        assert pulled(registry.host, tmp_path / "first") == before
        finish(registry)
        assert pulled(registry.host, tmp_path / "after") == before
        assert listed(registry.host) == lists
        assert status_of(f"{registry.url}/v2/app/manifests/gone") == 404
        push(registry.host, layout, "two", "new/repository:1")
        push(registry.host, layout, "arm", "app:latest")
        skopeo("delete", "--tls-verify=false", f"docker://{registry.host}/app:1")
        seen = listed(registry.host)
    told = entrepot("export-layout", str(registry.config_path))
    assert int(told.split()[-2]) > 0, "links of what was deleted are removed"
    assert " 0 links written, 0 removed" in entrepot("export-layout", str(registry.config_path))
    with old_registry(volume) as host:
        assert listed(host) == seen
        unchanged = {image for image in WHOLE if image not in {"app:1", "app:latest"}}
        for image in unchanged:
            assert raw(host, image) == before[image][0]
            assert (
                copied(host, image, tmp_path / "back" / image.replace("/", "_")) == before[image][1]
            )
        assert raw(host, "app:latest") == raw_of(layout, "arm")
        assert raw(host, "new/repository:1") == raw_of(layout, "two")
        assert status_of(f"http://{host}/v2/app/manifests/1") == 404


def raw_of(layout: Path, tag: str) -> str:
    encoded = digest_of(layout, tag).partition(":")[2]
    return (layout / "blobs" / "sha256" / encoded).read_text()


def test_the_past_of_a_tag(volume: Path, layout: Path) -> None:
    """What docker-registry remembers of a tag's past is its history here."""
    with start_registry(volume) as registry:
        finish(registry)
    with closing(sqlite3.connect(volume / "entrepot" / "index.sqlite3")) as connection:
        rows = connection.execute(
            "SELECT lower(hex(digest)) FROM tag_history WHERE name = 'latest' ORDER BY id"
        ).fetchall()
    one, two = (digest_of(layout, tag).replace("sha256:", "01") for tag in ("one", "two"))
    assert [row[0] for row in rows] == [one, two]


def test_broken_blobs(volume: Path) -> None:
    """A torn layer is noticed by its size, a rotten one with --verify; the images are listed as
    broken, the others arrive, and the volume is as it was.
    """
    base = volume / "docker" / "registry" / "v2"
    with old_registry(volume) as host:
        torn, rotten = (shared_blob(raw(host, image)) for image in ("app:1", "app:2"))
    paths = [base / "blobs" / "sha256" / d[7:9] / d[7:] / "data" for d in (torn, rotten)]
    paths[0].write_bytes(paths[0].read_bytes()[:-1])
    paths[1].write_bytes(bytes(255 - byte for byte in paths[1].read_bytes()))
    with start_registry(volume) as registry:
        finish(registry)
        assert status_of(f"{registry.url}/v2/torn/manifests/1") == 404
        assert status_of(f"{registry.url}/v2/rotten/manifests/1") == 200
        assert status_of(f"{registry.url}/v2/team/lists/manifests/arm") == 200
    config = str(registry.config_path)
    broken = entrepot("import", "status", "--broken", config)
    assert f"torn:1: it points at {digest_of_line(broken, 'torn@')}" in broken
    assert f"blob {torn} is missing or damaged" in broken
    assert rotten not in broken
    entrepot("import", str(volume), config, "--verify", status=2)
    again = entrepot("import", "status", "--broken", config)
    assert f"damaged     {rotten}: " in again
    assert f"damaged     {torn}: " in again


def digest_of_line(text: str, place: str) -> str:
    """The digest of a manifest that a finding is about."""
    start = text.index(place) + len(place)
    return text[start : start + 71]
