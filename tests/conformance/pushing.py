"""Pushing as clients do it, in every form the specification knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import httpx

from tests.conformance.answers import assert_status, location_of, with_query
from tests.servers import wait_until
from tests.wire.images import OCTETS, Content, Image

OCTET_STREAM = {"Content-Type": OCTETS}


def start_upload(http: httpx.Client, repo: str, query: str = "") -> str:
    """Begins an upload (end-4a) and returns where its bytes go."""
    response = http.post(f"/v2/{repo}/blobs/uploads/{query}", headers={"Content-Length": "0"})
    assert_status(response, 202)
    return location_of(response)


def send_chunk(
    http: httpx.Client, location: str, data: bytes, *, start: int, end: int | None = None
) -> httpx.Response:
    """Sends `data` as the chunk from `start` (end-5); `end` only to claim a wrong one."""
    last = start + len(data) - 1 if end is None else end
    headers = {**OCTET_STREAM, "Content-Range": f"{start}-{last}"}
    return http.patch(location, content=data, headers=headers)


def send_stream(http: httpx.Client, location: str, pieces: Sequence[bytes]) -> httpx.Response:
    """Sends `pieces` in one PATCH without a length, as docker does."""

    def stream() -> Iterator[bytes]:
        yield from pieces

    return http.patch(location, content=stream(), headers=OCTET_STREAM)


def finish(
    http: httpx.Client, location: str, digest: str, data: bytes = b"", *, start: int | None = None
) -> httpx.Response:
    """Closes the upload (end-6), with `data` as its last chunk if there is any."""
    headers = dict(OCTET_STREAM)
    if start is not None:
        headers["Content-Range"] = f"{start}-{start + len(data) - 1}"
    return http.put(with_query(location, digest=digest), content=data, headers=headers)


def push_by_post_and_put(http: httpx.Client, repo: str, blob: Content) -> httpx.Response:
    """POST, then PUT with all bytes (end-4a, end-6)."""
    return finish(http, start_upload(http, repo), blob.digest, blob.data)


def push_by_single_post(http: httpx.Client, repo: str, blob: Content) -> httpx.Response:
    """One POST with all bytes (end-4b)."""
    return http.post(
        f"/v2/{repo}/blobs/uploads/",
        params={"digest": blob.digest},
        content=blob.data,
        headers=OCTET_STREAM,
    )


def push_by_stream(http: httpx.Client, repo: str, blob: Content) -> httpx.Response:
    """POST, one PATCH without a length, PUT without a body."""
    half = len(blob.data) // 2
    patched = send_stream(http, start_upload(http, repo), [blob.data[:half], blob.data[half:]])
    assert_status(patched, 202)
    return finish(http, location_of(patched), blob.digest)


def push_by_chunks(http: httpx.Client, repo: str, blob: Content) -> httpx.Response:
    """POST, three PATCHes with Content-Range, PUT without a body."""
    size = max(1, -(-len(blob.data) // 3))
    location = start_upload(http, repo)
    for start in range(0, len(blob.data), size):
        patched = send_chunk(http, location, blob.data[start : start + size], start=start)
        assert_status(patched, 202)
        location = location_of(patched)
    return finish(http, location, blob.digest)


def push_by_chunks_and_last_in_put(http: httpx.Client, repo: str, blob: Content) -> httpx.Response:
    """POST, PATCH with the first half, PUT with the second half and its Content-Range."""
    half = len(blob.data) // 2
    patched = send_chunk(http, start_upload(http, repo), blob.data[:half], start=0)
    assert_status(patched, 202)
    return finish(http, location_of(patched), blob.digest, blob.data[half:], start=half)


def push_blob(http: httpx.Client, repo: str, blob: Content) -> str:
    """Pushes `blob` the shortest way and returns its digest."""
    assert_status(push_by_post_and_put(http, repo, blob), 201)
    return blob.digest


def put_manifest(
    http: httpx.Client, repo: str, reference: str, manifest: Content
) -> httpx.Response:
    """PUT of a manifest with its own media type (end-7)."""
    return http.put(
        f"/v2/{repo}/manifests/{reference}",
        content=manifest.data,
        headers={"Content-Type": manifest.media_type},
    )


def push_parts(http: httpx.Client, repo: str, image: Image) -> None:
    """Pushes everything the image's manifest refers to, but not the manifest."""
    for blob in image.blobs:
        push_blob(http, repo, blob)
    for child in image.children:
        push(http, repo, child)


def push(http: httpx.Client, repo: str, image: Image, *, tag: str | None = None) -> str:
    """Pushes the image with all its parts, at `tag` or else by digest; returns its digest."""
    push_parts(http, repo, image)
    response = put_manifest(http, repo, tag or image.digest, image.manifest)
    assert_status(response, 201)
    return image.digest


def push_in_time(http: httpx.Client, repo: str, image: Image, *, tag: str) -> None:
    """Pushes where blobs without a manifest are kept for seconds: again, if that took longer."""

    def is_pushed() -> bool:
        push_parts(http, repo, image)
        return put_manifest(http, repo, tag, image.manifest).status_code == 201

    wait_until(is_pushed, what="a push in time")
