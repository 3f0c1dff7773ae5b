"""Several clients that want the same thing at the same moment, on two worker processes."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from tests.conformance.answers import assert_error, assert_status, held, location_of, with_query
from tests.conformance.pushing import (
    OCTET_STREAM,
    finish,
    push_parts,
    put_manifest,
    send_chunk,
    send_stream,
    start_upload,
)
from tests.failure.piecemeal import two_workers
from tests.failure.rows import packed, rows
from tests.servers import Registry, start_registry, wait_until
from tests.uploads import Uploads
from tests.wire.images import OCTETS, Content, image, random_bytes

MIB = 1 << 20
CLIENTS = 8
T = TypeVar("T")


def at_once(sturdy: Registry, work: Callable[[httpx.Client, int], T]) -> list[T]:
    """Run `work` with a client and a number of its own in eight threads that start together."""
    gate = threading.Barrier(CLIENTS)

    def run(number: int) -> T:
        with httpx.Client(base_url=sturdy.url, timeout=30) as client:
            client.get("/v2/")
            gate.wait()
            return work(client, number)

    with ThreadPoolExecutor(CLIENTS) as threads:
        return list(threads.map(run, range(CLIENTS)))


@pytest.mark.parametrize("size", [4000, 3 * MIB], ids=["small", "large"])
def test_many_finish_the_same_blob(
    sturdy: Registry, http: httpx.Client, repo: str, uploads: Uploads, size: int
) -> None:
    """Each with an upload of its own: all succeed, there is one blob, and nothing is left over."""
    blob = Content(OCTETS, random_bytes(size, repo))
    before = uploads.all()

    def push(client: httpx.Client, number: int) -> int:
        where = f"{repo}/{number % 2}"
        location = start_upload(client, where)
        if number % 4 < 2:
            location = location_of(send_stream(client, location, [blob.data]))
            return finish(client, location, blob.digest).status_code
        return finish(client, location, blob.digest, blob.data).status_code

    assert at_once(sturdy, push) == [201] * CLIENTS
    for where in ("0", "1"):
        assert http.get(f"/v2/{repo}/{where}/blobs/{blob.digest}").content == blob.data
    assert uploads.all() - before == set()
    found = rows(
        sturdy, "SELECT size FROM blobs WHERE digest = :digest", digest=packed(blob.digest)
    )
    assert found == [(size,)]


@pytest.mark.parametrize("size", [4000, 3 * MIB], ids=["small", "large"])
def test_many_finish_the_same_upload(
    sturdy: Registry, http: httpx.Client, repo: str, size: int
) -> None:
    """One upload, one PUT from each: one succeeds at least, the rest is told why not."""
    blob = Content(OCTETS, random_bytes(size, repo))
    location = start_upload(http, repo)
    if size > MIB:
        location = location_of(send_stream(http, location, [blob.data]))
    rest = b"" if size > MIB else blob.data
    answers = at_once(sturdy, lambda client, _: finish(client, location, blob.digest, rest))
    statuses = {answer.status_code for answer in answers}
    assert 201 in statuses
    assert statuses <= {201, 404, 416}, [answer.text for answer in answers]
    assert http.get(f"/v2/{repo}/blobs/{blob.digest}").content == blob.data
    assert_error(http.get(location), 404, "BLOB_UPLOAD_UNKNOWN")


def test_many_push_the_same_tag(sturdy: Registry, http: httpx.Client, repo: str) -> None:
    """All succeed, the tag is one of theirs, and its history is one line without a break."""
    images = [image(f"{repo} {number}") for number in range(CLIENTS)]
    for made in images:
        push_parts(http, repo, made)

    def push(client: httpx.Client, number: int) -> int:
        return put_manifest(client, repo, "latest", images[number].manifest).status_code

    assert at_once(sturdy, push) == [201] * CLIENTS
    now = http.get(f"/v2/{repo}/manifests/latest")
    assert now.headers["Docker-Content-Digest"] in {made.digest for made in images}
    for made in images:
        assert http.get(f"/v2/{repo}/manifests/{made.digest}").content == made.manifest.data
    history = rows(
        sturdy,
        "SELECT previous, digest FROM tag_history WHERE repository_id ="
        " (SELECT id FROM repositories WHERE name = :name) ORDER BY id",
        name=repo,
    )
    assert len(history) == CLIENTS
    assert [previous for previous, _ in history] == [None, *(moved for _, moved in history[:-1])]
    assert history[-1][1] == packed(now.headers["Docker-Content-Digest"])


def test_many_push_the_same_image(sturdy: Registry, http: httpx.Client, repo: str) -> None:
    """Into a repository that none of them had before."""
    made = image(repo)

    def push(client: httpx.Client, _: int) -> int:
        push_parts(client, repo, made)
        return put_manifest(client, repo, "latest", made.manifest).status_code

    assert at_once(sturdy, push) == [201] * CLIENTS
    assert http.get(f"/v2/{repo}/manifests/latest").content == made.manifest.data
    assert http.get(f"/v2/{repo}/tags/list").json()["tags"] == ["latest"]


def test_pushing_and_deleting_the_same_tag(sturdy: Registry, http: httpx.Client, repo: str) -> None:
    """Whatever comes last counts; no answer but success or not found."""
    made = image(repo)
    push_parts(http, repo, made)

    def push(client: httpx.Client, number: int) -> set[int]:
        path = f"/v2/{repo}/manifests/latest"
        return {
            client.delete(path).status_code
            if (number + turn) % 2
            else put_manifest(client, repo, "latest", made.manifest).status_code
            for turn in range(10)
        }

    assert set().union(*at_once(sturdy, push)) <= {201, 202, 404}
    assert_status(put_manifest(http, repo, "latest", made.manifest), 201)
    assert http.get(f"/v2/{repo}/manifests/latest").content == made.manifest.data


# One upload, two workers ------------------------------------------------------------------------


@pytest.mark.parametrize("first_bytes", [100, 2 * MIB], ids=["few bytes", "many bytes"])
def test_patched_twice_at_once(
    sturdy: Registry, http: httpx.Client, repo: str, first_bytes: int
) -> None:
    """The second writer, on another worker, is refused while the first writes; nothing mixes."""
    size = 5 * MIB
    if "s3" in sturdy.config["storage"]:  # others see a writer from its first part on
        first_bytes, size = 21 * MIB, 24 * MIB
    blob = Content(OCTETS, random_bytes(size, repo))
    location = start_upload(http, repo)
    first, second = two_workers(sturdy)
    with first, second:
        assert first.worker() != second.worker()
        first.begin("PATCH", location).send(blob.data[:first_bytes])
        # To ask for a turn means to have it for a moment: not before the first one has asked.
        wait_until(lambda: is_received(http), what="the first writer's request")
        wait_until(lambda: is_busy(http, location), what="the first writer's turn")
        second.begin("PATCH", location).send(b"from somebody else" * 100)
        refused = second.answer()
        assert (refused.status, refused.codes()) == (416, ["RANGE_INVALID"])
        assert "location" in refused.headers
        assert "range" in refused.headers
        assert_error(finish(http, location, blob.digest, blob.data), 416, "RANGE_INVALID")
        assert_error(http.delete(location), 416, "RANGE_INVALID")
        first.send(blob.data[first_bytes:])
        answer = first.answer()
    assert (answer.status, answer.headers["range"]) == (202, f"0-{len(blob.data) - 1}")
    assert_status(finish(http, answer.headers["location"], blob.digest), 201)
    assert http.get(f"/v2/{repo}/blobs/{blob.digest}").content == blob.data


def is_received(http: httpx.Client) -> bool:
    """Whether a request that writes to an upload is being answered."""
    text = http.get("/metrics").text
    gauge = r'registry_http_in_flight_requests\{handler="blob_upload_chunk"\} [1-9]'
    return re.search(gauge, text) is not None


def is_busy(http: httpx.Client, location: str) -> bool:
    """Whether somebody writes to an upload: a chunk that fits nowhere is refused for another
    reason."""
    answer = send_chunk(http, location, b"x", start=10**12)
    assert_status(answer, 416)
    return "another request" in answer.text


def test_an_upload_goes_on_at_another_worker(
    sturdy: Registry, http: httpx.Client, repo: str
) -> None:
    """PATCH, PATCH, PATCH, PUT on two workers in turn: nothing of what one knows is needed."""
    blob = Content(OCTETS, random_bytes(4 * MIB, repo))
    location = start_upload(http, repo)
    for start in range(0, len(blob.data), MIB):
        piece, range_ = blob.data[start : start + MIB], f"{start}-{start + MIB - 1}"
        pair = two_workers(sturdy)
        with pair[0], pair[1]:
            one = pair[start // MIB % 2]
            one.begin("PATCH", location, length=MIB, headers={"Content-Range": range_})
            one.send(piece)
            answer = one.answer()
        assert (answer.status, answer.headers["range"]) == (202, f"0-{start + MIB - 1}")
        location = answer.headers["location"]
    target = with_query(location, digest=blob.digest)
    first, second = two_workers(sturdy)
    with first, second:
        assert first.begin("PUT", target, length=0).answer().status == 201
        assert second.begin("PUT", target, length=0).answer().status == 404
    assert http.get(f"/v2/{repo}/blobs/{blob.digest}").content == blob.data


# Restarts ---------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Registry]:
    """A registry that this test may end."""
    with start_registry(tmp_path / "own", workers=2) as running:
        yield running


def test_an_upload_goes_on_after_a_restart(own: Registry, repo: str) -> None:
    """After SIGTERM, and after kill -9; at the address that was handed out before."""
    blob = Content(OCTETS, random_bytes(3 * MIB, repo))
    with httpx.Client(base_url=own.url, timeout=30) as client:
        untouched = start_upload(client, repo)
        location = location_of(
            send_chunk(client, start_upload(client, repo), blob.data[:MIB], start=0)
        )
    assert own.stop() == 0
    own.start()
    with httpx.Client(base_url=own.url, timeout=30) as client:
        assert held(client.get(location)) == MIB
        chunk = blob.data[MIB : 2 * MIB]
        location = location_of(send_chunk(client, location, chunk, start=MIB))
    own.kill()
    own.start()
    with httpx.Client(base_url=own.url, timeout=30) as client:
        assert held(client.get(location)) == 2 * MIB
        last = finish(client, location, blob.digest, blob.data[2 * MIB :], start=2 * MIB)
        assert_status(last, 201)
        assert client.get(f"/v2/{repo}/blobs/{blob.digest}").content == blob.data
        assert_status(client.get(untouched), 204)
        answer = client.put(
            with_query(untouched, digest=blob.digest), content=blob.data, headers=OCTET_STREAM
        )
        assert_status(answer, 201)
