"""Distribution-spec, "Push": pushing a blob in chunks, its status, and cancelling it."""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conformance.answers import (
    assert_error,
    assert_status,
    describe,
    held,
    location_of,
    with_query,
)
from tests.conformance.pushing import (
    OCTET_STREAM,
    finish,
    send_chunk,
    send_stream,
    start_upload,
)
from tests.wire.images import OCTETS, Content, random_bytes

CHUNK = 1024


@pytest.fixture
def blob(seed: str) -> Content:
    """A blob of three chunks, the last one shorter, as the conformance suites push it."""
    return Content(OCTETS, random_bytes(3 * CHUNK - 5, seed))


def assert_holds(http: httpx.Client, location: str, size: int) -> str:
    """The status (end-13) says that `size` bytes are there; returns where to go on."""
    status = http.get(location)
    assert_status(status, 204)
    assert status.content == b""
    assert status.headers["Range"] == f"0-{max(size - 1, 0)}"
    return location_of(status)


def test_chunk_by_chunk(http: httpx.Client, repo: str, blob: Content) -> None:
    """Push, "Pushing a blob in chunks" (end-5): 202 with Location and the last byte's position."""
    location = start_upload(http, repo)
    for start in range(0, len(blob.data), CHUNK):
        data = blob.data[start : start + CHUNK]
        response = send_chunk(http, location, data, start=start)
        assert_status(response, 202)
        assert response.headers["Range"] == f"0-{start + len(data) - 1}"
        location = assert_holds(http, location_of(response), start + len(data))
    assert_status(finish(http, location, blob.digest), 201)
    assert http.get(f"/v2/{repo}/blobs/{blob.digest}").content == blob.data


def test_every_request_on_its_own_connection(registry_url: str, repo: str, seed: str) -> None:
    """Push, "Pushing a blob in chunks": a session goes on wherever the next request arrives."""
    whole = Content(OCTETS, random_bytes(24 * CHUNK, seed))
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=registry_url, timeout=30, limits=limits) as apart:
        location = start_upload(apart, repo)
        for start in range(0, len(whole.data), CHUNK):
            data = whole.data[start : start + CHUNK]
            response = send_chunk(apart, location, data, start=start)
            assert_status(response, 202)
            location = assert_holds(apart, location_of(response), start + CHUNK)
        assert_status(finish(apart, location, whole.digest), 201)
        for _ in range(8):
            assert apart.get(f"/v2/{repo}/blobs/{whole.digest}").content == whole.data


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_stream(http: httpx.Client, repo: str, blob: Content, pieces: int) -> None:
    """Push, "Pushing a blob in chunks": one PATCH without length and range, as docker sends it."""
    size = -(-len(blob.data) // pieces)
    cut = [blob.data[n * size : (n + 1) * size] for n in range(pieces)]
    response = send_stream(http, start_upload(http, repo), cut)
    assert_status(response, 202)
    assert response.headers["Range"] == f"0-{len(blob.data) - 1}"
    assert_status(finish(http, location_of(response), blob.digest), 201)


def test_several_streams(http: httpx.Client, repo: str, blob: Content) -> None:
    """Push, "Pushing a blob in chunks": PATCHes without a range follow one another."""
    location = start_upload(http, repo)
    for start in range(0, len(blob.data), CHUNK):
        data = blob.data[start : start + CHUNK]
        response = http.patch(location, content=data, headers=OCTET_STREAM)
        assert_status(response, 202)
        assert response.headers["Range"] == f"0-{start + len(data) - 1}"
        location = location_of(response)
    assert_status(finish(http, location, blob.digest), 201)


def test_stream_and_end_in_put(http: httpx.Client, repo: str, blob: Content) -> None:
    """Push, "Pushing a blob in chunks": the rest may come with the closing PUT."""
    response = send_stream(http, start_upload(http, repo), [blob.data[:CHUNK]])
    closed = finish(http, location_of(response), blob.digest, blob.data[CHUNK:])
    assert_status(closed, 201)
    assert http.get(f"/v2/{repo}/blobs/{blob.digest}").content == blob.data


def test_empty_chunk(http: httpx.Client, repo: str, blob: Content) -> None:
    """Push, "Pushing a blob in chunks": a PATCH without bytes changes nothing."""
    response = http.patch(start_upload(http, repo), content=b"", headers=OCTET_STREAM)
    assert_status(response, 202)
    assert response.headers["Range"] == "0-0"
    location = assert_holds(http, location_of(response), 0)
    assert_status(finish(http, location, blob.digest, blob.data), 201)


def test_second_chunk_first(http: httpx.Client, repo: str, blob: Content) -> None:
    """Push, "Pushing a blob in chunks": a chunk out of order is a 416 that does no harm."""
    location = start_upload(http, repo)
    refused = send_chunk(http, location, blob.data[CHUNK : 2 * CHUNK], start=CHUNK)
    assert_error(refused, 416, "RANGE_INVALID", "BLOB_UPLOAD_INVALID")
    location = assert_holds(http, location, 0)
    accepted = send_chunk(http, location, blob.data[:CHUNK], start=0)
    assert_status(accepted, 202)
    closed = finish(http, location_of(accepted), blob.digest, blob.data[CHUNK:], start=CHUNK)
    assert_status(closed, 201)


def test_chunk_again(http: httpx.Client, repo: str, blob: Content) -> None:
    """Push, "Pushing a blob in chunks": a repeated chunk, at a stale Location, is a 416 as well."""
    stale = start_upload(http, repo)
    accepted = send_chunk(http, stale, blob.data[:CHUNK], start=0)
    assert_status(accepted, 202)
    refused = send_chunk(http, stale, blob.data[:CHUNK], start=0)
    assert_error(refused, 416, "RANGE_INVALID", "BLOB_UPLOAD_INVALID")
    location = assert_holds(http, stale, CHUNK)
    rest = send_chunk(http, location, blob.data[CHUNK:], start=CHUNK)
    assert_status(rest, 202)
    assert_status(finish(http, location_of(rest), blob.digest), 201)


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_stream_again(http: httpx.Client, repo: str, blob: Content, method: str) -> None:
    """Push, "Pushing a blob in chunks": a `Location` is of use once; bytes that come to a stale one
    without a range would otherwise be added a second time. Closing it is allowed: no bytes come.
    """
    stale = start_upload(http, repo)
    accepted = send_stream(http, stale, [blob.data])
    assert_status(accepted, 202)
    again = with_query(stale, digest=blob.digest) if method == "PUT" else stale
    refused = http.request(method, again, content=blob.data[:CHUNK], headers=OCTET_STREAM)
    assert_error(refused, 416, "RANGE_INVALID", "BLOB_UPLOAD_INVALID")
    assert held(refused) == len(blob.data)
    assert_holds(http, location_of(refused), len(blob.data))
    assert_status(finish(http, stale, blob.digest), 201)


@pytest.mark.parametrize("start", [0, 1, CHUNK - 1, CHUNK + 1, 10**15, 10**30])
def test_chunk_with_a_gap_or_overlap(
    http: httpx.Client, repo: str, blob: Content, start: int
) -> None:
    """Push, "Pushing a blob in chunks": each chunk begins at the last end plus one."""
    accepted = send_chunk(http, start_upload(http, repo), blob.data[:CHUNK], start=0)
    location = location_of(accepted)
    refused = send_chunk(http, location, blob.data[CHUNK : 2 * CHUNK], start=start)
    assert_error(refused, 416, "RANGE_INVALID", "BLOB_UPLOAD_INVALID")
    location = assert_holds(http, location, CHUNK)
    closed = finish(http, location, blob.digest, blob.data[CHUNK:])
    assert_status(closed, 201)


def test_last_chunk_in_put_out_of_order(http: httpx.Client, repo: str, blob: Content) -> None:
    """Push, "Pushing a blob in chunks": the PUT's chunk is held to the same order, and forgiven."""
    accepted = send_chunk(http, start_upload(http, repo), blob.data[:CHUNK], start=0)
    location = with_query(location_of(accepted), digest=blob.digest)
    headers = {**OCTET_STREAM, "Content-Range": f"{2 * CHUNK}-{len(blob.data) - 1}"}
    refused = http.put(location, content=blob.data[2 * CHUNK :], headers=headers)
    assert_error(refused, 416, "RANGE_INVALID", "BLOB_UPLOAD_INVALID")
    # Suites ask for the status at the very URL of the PUT, digest and all.
    after = assert_holds(http, location, CHUNK)
    second = send_chunk(http, after, blob.data[CHUNK : 2 * CHUNK], start=CHUNK)
    assert_status(second, 202)
    closed = finish(http, location_of(second), blob.digest, blob.data[2 * CHUNK :], start=2 * CHUNK)
    assert_status(closed, 201)


@pytest.mark.parametrize("end", [0, CHUNK - 2, CHUNK, 5 * CHUNK])
def test_range_and_length_disagree(http: httpx.Client, repo: str, blob: Content, end: int) -> None:
    """API, "Error Codes" (code-10): a range that says another length than the body's is refused."""
    location = start_upload(http, repo)
    refused = send_chunk(http, location, blob.data[:CHUNK], start=0, end=end)
    assert_status(refused, 400, 416)
    codes = ("SIZE_INVALID", "RANGE_INVALID", "BLOB_UPLOAD_INVALID")
    assert_error(refused, refused.status_code, *codes)
    status = http.get(location)
    assert_status(status, 204)
    kept = 0 if status.headers["Range"] == "0-0" else held(status)
    closed = finish(http, location_of(status), blob.digest, blob.data[kept:])
    assert_status(closed, 201)


@pytest.mark.parametrize(
    "content_range", ["bytes 0-1023/*", "bytes=0-1023", "0-", "-1023", "1023-0", "a-b", "0", "-"]
)
def test_range_of_another_form(
    http: httpx.Client, repo: str, blob: Content, content_range: str
) -> None:
    """Push, "Pushing a blob in chunks": the range is `<first>-<last>`; others may be understood."""
    location = start_upload(http, repo)
    headers = {**OCTET_STREAM, "Content-Range": content_range}
    response = http.patch(location, content=blob.data[:CHUNK], headers=headers)
    assert_status(response, 202, 400, 416)
    kept = CHUNK if response.status_code == 202 else 0
    location = assert_holds(http, location, kept)
    assert_status(finish(http, location, blob.digest, blob.data[kept:]), 201)


def test_minimum_chunk_length(http: httpx.Client, repo: str) -> None:
    """Push, "Pushing a blob in chunks": OCI-Chunk-Min-Length, where sent, is a number of bytes."""
    response = http.post(f"/v2/{repo}/blobs/uploads/")
    minimum = response.headers.get("OCI-Chunk-Min-Length")
    assert minimum is None or int(minimum) >= 0, describe(response)


def test_status_of_a_new_upload(http: httpx.Client, repo: str) -> None:
    """Push, "Pushing a blob in chunks" (end-13): the status is there from the beginning."""
    location = start_upload(http, repo)
    status = http.get(location)
    assert_status(status, 204)
    assert status.headers["Range"] == "0-0"
    assert status.headers["Docker-Upload-UUID"] in location


def test_cancel(http: httpx.Client, repo: str, blob: Content) -> None:
    """Push, "Cancel a blob upload" (end-14): 204, and the session is gone for every method."""
    accepted = send_chunk(http, start_upload(http, repo), blob.data[:CHUNK], start=0)
    location = location_of(accepted)
    cancelled = http.delete(location)
    assert_status(cancelled, 204)
    assert cancelled.content == b""
    gone = ("BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID")
    assert_error(http.get(location), 404, *gone)
    assert_error(send_chunk(http, location, b"more", start=CHUNK), 404, *gone)
    assert_error(finish(http, location, blob.digest, blob.data[CHUNK:]), 404, *gone)
    assert_error(http.delete(location), 404, *gone)
    assert_error(http.get(f"/v2/{repo}/blobs/{blob.digest}"), 404)


def test_cancel_a_new_upload(http: httpx.Client, repo: str) -> None:
    """Push, "Cancel a blob upload": also before any byte came."""
    location = start_upload(http, repo)
    assert_status(http.delete(location), 204)
    assert_error(http.get(location), 404)


def interrupted_patch(base: str, location: str, data: bytes, *, sent: int) -> None:
    """Promises all of `data` in a PATCH, sends its first `sent` bytes and hangs up."""
    url = urlsplit(location)
    server = urlsplit(base)
    target = f"{url.path}?{url.query}" if url.query else url.path
    head = (
        f"PATCH {target} HTTP/1.1\r\nHost: {server.netloc}\r\n"
        f"Content-Type: {OCTETS}\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    with socket.create_connection((server.hostname, server.port), timeout=10) as connection:
        connection.sendall(head.encode() + data[:sent])


def go_on(http: httpx.Client, location: str, blob: Content) -> httpx.Response:
    """Sends what the status says is missing, until the registry has it all; then closes."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        status = http.get(location)
        assert_status(status, 204)
        kept = 0 if status.headers["Range"] == "0-0" else held(status)
        assert kept < len(blob.data), describe(status)
        sent = send_chunk(http, location_of(status), blob.data[kept:], start=kept)
        # The registry may still be busy with the request that broke off.
        if sent.status_code == 202:
            return finish(http, location_of(sent), blob.digest)
        assert 400 <= sent.status_code < 500, describe(sent)
    raise AssertionError("the interrupted upload could not be continued within 20 s")


@pytest.mark.parametrize("sent", [0, 2, 100_000, 2_000_000])
def test_going_on_after_an_interruption(
    http: httpx.Client, registry_url: str, repo: str, seed: str, sent: int
) -> None:
    """Use Cases, "Resumable Push": after a broken PATCH the client sends only what is missing."""
    blob = Content(OCTETS, random_bytes(2_500_000, seed))
    location = start_upload(http, repo)
    interrupted_patch(registry_url, location, blob.data, sent=sent)
    assert_status(go_on(http, location, blob), 201)
    assert http.get(f"/v2/{repo}/blobs/{blob.digest}").content == blob.data
