"""Requests that are wrong, or end in the middle: a clear answer, and nothing half-made."""

from __future__ import annotations

import httpx
import pytest

from tests.conformance.answers import assert_error, assert_status, held, location_of, with_query
from tests.conformance.pushing import (
    OCTET_STREAM,
    finish,
    push,
    push_blob,
    push_parts,
    put_manifest,
    send_chunk,
    start_upload,
)
from tests.failure.piecemeal import Connection
from tests.servers import Registry, wait_until
from tests.uploads import Uploads, name_of
from tests.wire.images import OCTETS, Content, image, random_bytes

MIB = 1 << 20
SMALL = Content(OCTETS, random_bytes(5000, "small"))
LARGE = Content(OCTETS, random_bytes(3 * MIB, "large"))
LEAVES = {"closes": Connection.hang_up, "resets": Connection.reset}


def assert_unknown(http: httpx.Client, repo: str, digest: str) -> None:
    assert http.head(f"/v2/{repo}/blobs/{digest}").status_code == 404


def assert_pulls(http: httpx.Client, repo: str, blob: Content) -> None:
    answer = http.get(f"/v2/{repo}/blobs/{blob.digest}")
    assert_status(answer, 200)
    assert answer.content == blob.data


# Wrong digest, wrong length ---------------------------------------------------------------------


@pytest.mark.parametrize("blob", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("patched", ["in one PUT", "patched before"])
def test_wrong_digest(
    http: httpx.Client, repo: str, uploads: Uploads, blob: Content, patched: str
) -> None:
    """400; the upload is gone with its bytes, and neither digest is known."""
    wrong = Content(OCTETS, b"something else").digest
    location, rest = start_upload(http, repo), blob.data
    if patched == "patched before":
        location, rest = location_of(send_chunk(http, location, blob.data, start=0)), b""
    assert_error(finish(http, location, wrong, rest), 400, "DIGEST_INVALID")
    assert name_of(location) not in uploads.all()
    assert_unknown(http, repo, wrong)
    assert_unknown(http, repo, blob.digest)
    assert_error(http.get(location), 404, "BLOB_UPLOAD_UNKNOWN")
    push_blob(http, repo, blob)
    assert_pulls(http, repo, blob)


@pytest.mark.parametrize("off", [-1, 1, MIB])
def test_wrong_length_of_a_chunk(http: httpx.Client, repo: str, uploads: Uploads, off: int) -> None:
    """A range that is longer or shorter than the body: 400, and the upload is as it was."""
    data = LARGE.data[: 2 * MIB]
    location = location_of(send_chunk(http, start_upload(http, repo), data, start=0))
    end = len(data) + MIB - 1 + off
    refused = send_chunk(http, location, LARGE.data[2 * MIB :], start=len(data), end=end)
    assert_error(refused, 400, "SIZE_INVALID")
    assert uploads.held(location) in {data, None}
    assert held(http.get(location)) == len(data)
    location = location_of(send_chunk(http, location, LARGE.data[2 * MIB :], start=len(data)))
    assert_status(finish(http, location, LARGE.digest), 201)
    assert_pulls(http, repo, LARGE)


@pytest.mark.parametrize("off", [-1000, 1000])
def test_wrong_length_of_a_stream(
    sturdy: Registry, http: httpx.Client, repo: str, uploads: Uploads, off: int
) -> None:
    """A body without a length against the range that it claims: found out at its end."""
    location = start_upload(http, repo)
    claimed = {"Content-Range": f"0-{2 * MIB - 1}"}
    with Connection(sturdy).begin("PATCH", location, headers=claimed) as sending:
        sending.send(LARGE.data[: 2 * MIB + off])
        answer = sending.answer()
    assert (answer.status, answer.codes()) == (400, ["SIZE_INVALID"])
    assert uploads.held(location) in {b"", None}
    assert_status(send_chunk(http, location, LARGE.data, start=0), 202)


def test_wrong_range_of_the_last_chunk(http: httpx.Client, repo: str) -> None:
    location = location_of(send_chunk(http, start_upload(http, repo), LARGE.data, start=0))
    refused = http.put(
        with_query(location, digest=LARGE.digest),
        content=b"tail",
        headers={**OCTET_STREAM, "Content-Range": "0-3"},
    )
    assert_error(refused, 416, "RANGE_INVALID")
    assert held(http.get(location)) == len(LARGE.data)
    assert_status(finish(http, location, LARGE.digest), 201)


# Gone in the middle -----------------------------------------------------------------------------


def go_on(http: httpx.Client, location: str, data: bytes) -> str:
    """Send what the registry says it has not; returns where the upload ends.

    The registry may not have noticed yet that the client before has gone: 416 until it has.
    """
    found = [location]

    def is_taken() -> bool:
        status = http.get(found[0])
        assert_status(status, 204)
        range_ = status.headers["Range"]
        start = 0 if range_ == "0-0" else held(status)
        assert start <= len(data)
        answer = send_chunk(http, location_of(status), data[start:], start=start)
        assert_status(answer, 202, 416)
        found[0] = location_of(answer)
        return answer.status_code == 202

    wait_until(is_taken, what="the end of the broken request")
    return found[0]


@pytest.mark.parametrize("leaves", sorted(LEAVES))
@pytest.mark.parametrize("length", [len(LARGE.data), None], ids=["with length", "chunked"])
@pytest.mark.parametrize("sent", [0, 1000, 2 * MIB])
def test_gone_in_the_middle_of_patch(
    sturdy: Registry, http: httpx.Client, repo: str, length: int | None, sent: int, leaves: str
) -> None:
    """What arrived is kept, in order, and the upload goes on from its status."""
    location = start_upload(http, repo)
    with Connection(sturdy).begin("PATCH", location, length=length) as sending:
        sending.send(LARGE.data[:sent]) if sent else None
        LEAVES[leaves](sending)
    assert_unknown(http, repo, LARGE.digest)
    location = go_on(http, location, LARGE.data)
    assert_status(finish(http, location, LARGE.digest), 201)
    assert_pulls(http, repo, LARGE)


@pytest.mark.parametrize("leaves", sorted(LEAVES))
@pytest.mark.parametrize("blob", [SMALL, LARGE], ids=["small", "large"])
def test_gone_in_the_middle_of_put(
    sturdy: Registry, http: httpx.Client, repo: str, blob: Content, leaves: str
) -> None:
    """No blob comes of it; the upload goes on from its status, or begins again."""
    location = start_upload(http, repo)
    target = with_query(location, digest=blob.digest)
    with Connection(sturdy).begin("PUT", target, length=len(blob.data)) as sending:
        sending.send(blob.data[: len(blob.data) // 2])
        LEAVES[leaves](sending)
    assert_unknown(http, repo, blob.digest)
    location = go_on(http, location, blob.data)
    assert_status(finish(http, location, blob.digest), 201)
    assert_pulls(http, repo, blob)


@pytest.mark.parametrize("blob", [SMALL, LARGE], ids=["small", "large"])
def test_gone_in_the_middle_of_a_single_post(
    sturdy: Registry, http: httpx.Client, repo: str, blob: Content
) -> None:
    target = f"/v2/{repo}/blobs/uploads/?digest={blob.digest}"
    with Connection(sturdy).begin("POST", target, length=len(blob.data)) as sending:
        sending.send(blob.data[:-1])
        sending.reset()
    assert_unknown(http, repo, blob.digest)
    push_blob(http, repo, blob)
    assert_pulls(http, repo, blob)


def test_gone_in_the_middle_of_a_manifest(sturdy: Registry, http: httpx.Client, repo: str) -> None:
    """Neither the manifest nor the tag exists, and the same push works afterwards."""
    made = image(repo)
    push_parts(http, repo, made)
    target, kind = f"/v2/{repo}/manifests/latest", {"Content-Type": made.manifest.media_type}
    size = len(made.manifest.data)
    with Connection(sturdy).begin("PUT", target, length=size, headers=kind) as sending:
        sending.send(made.manifest.data[:-1])
        sending.hang_up()
    for reference in ("latest", made.digest):
        assert http.get(f"/v2/{repo}/manifests/{reference}").status_code == 404
    assert_status(put_manifest(http, repo, "latest", made.manifest), 201)


def test_many_gone_at_once_do_no_harm(sturdy: Registry, http: httpx.Client, repo: str) -> None:
    """Forty broken uploads, and those that read nothing of what they asked for."""
    push_blob(http, repo, LARGE)
    for number in range(40):
        with Connection(sturdy).begin(
            "PATCH", start_upload(http, repo), length=len(LARGE.data)
        ) as sending:
            sending.send(LARGE.data[: number * 1000])
        with Connection(sturdy).begin(
            "GET", f"/v2/{repo}/blobs/{LARGE.digest}", length=0
        ) as asking:
            asking.reset()
    push(http, repo, image(f"{repo} after"), tag="after")
    assert_pulls(http, repo, LARGE)


# After the end ----------------------------------------------------------------------------------

ENDS = ("put", "patch and put", "empty patch and put", "cancel", "patch and cancel", "wrong digest")


def end_upload(http: httpx.Client, repo: str, how: str) -> list[str]:
    """Begin an upload and end it; returns every address that it had."""
    location = start_upload(http, repo)
    known = [location]
    if "patch" in how:
        data = b"" if "empty" in how else SMALL.data
        known.append(location_of(http.patch(location, content=data, headers=OCTET_STREAM)))
    if "cancel" in how:
        assert_status(http.delete(known[-1]), 204)
    elif how == "wrong digest":
        assert_status(finish(http, location, SMALL.digest, b"other"), 400)
    else:
        rest = b"" if how == "patch and put" else SMALL.data
        assert_status(finish(http, known[-1], SMALL.digest, rest), 201)
    return known


@pytest.mark.parametrize("how", ENDS)
def test_an_upload_that_has_ended_is_unknown(
    http: httpx.Client, repo: str, uploads: Uploads, how: str
) -> None:
    """Every method at every address that it ever had: 404, and none of them revives it."""
    for location in end_upload(http, repo, how):
        for method in ("GET", "PATCH", "PUT", "DELETE", "GET"):
            target = with_query(location, digest=SMALL.digest) if method == "PUT" else location
            answer = http.request(method, target, content=SMALL.data, headers=OCTET_STREAM)
            assert_error(answer, 404, "BLOB_UPLOAD_UNKNOWN")
