"""Distribution-spec, "Push": pushing blobs monolithically, and what holds for every form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import httpx
import pytest

from tests.conformance.answers import (
    assert_error,
    assert_status,
    describe,
    location_of,
    path_of,
    with_query,
)
from tests.conformance.pushing import (
    OCTET_STREAM,
    finish,
    push_by_chunks,
    push_by_chunks_and_last_in_put,
    push_by_post_and_put,
    push_by_single_post,
    push_by_stream,
    send_stream,
    start_upload,
)
from tests.wire.images import OCTETS, Content, digest_of, random_bytes

Form: TypeAlias = Callable[[httpx.Client, str, Content], httpx.Response]

FORMS: Final[dict[str, Form]] = {
    "post-and-put": push_by_post_and_put,
    "single-post": push_by_single_post,
    "stream": push_by_stream,
    "chunks": push_by_chunks,
    "last-chunk-in-put": push_by_chunks_and_last_in_put,
}
every_form = pytest.mark.parametrize("form", FORMS)
every_algorithm = pytest.mark.parametrize("algorithm", ["sha256", "sha512"])


@every_form
@every_algorithm
@pytest.mark.parametrize("size", [2, 3000, 1_500_000])
def test_every_form(
    http: httpx.Client, repo: str, seed: str, form: str, algorithm: str, size: int
) -> None:
    """Push, "Pushing blobs": 201 with the digest and a Location from which the blob is pulled."""
    blob = Content(OCTETS, random_bytes(size, f"{seed} {form}"), algorithm)
    response = FORMS[form](http, repo, blob)
    assert_status(response, 201)
    assert path_of(location_of(response)) == f"/v2/{repo}/blobs/{blob.digest}"
    assert response.headers["Docker-Content-Digest"] == blob.digest
    assert http.get(location_of(response)).content == blob.data


@pytest.mark.parametrize("form", ["post-and-put", "single-post", "stream"])
@pytest.mark.parametrize("data", [b"", b"{}"], ids=["nothing", "empty-json"])
@every_algorithm
def test_well_known_blobs(
    http: httpx.Client, repo: str, form: str, data: bytes, algorithm: str
) -> None:
    """Push, "Pushing blobs": no bytes at all and the empty JSON object are blobs like others."""
    blob = Content(OCTETS, data, algorithm)
    assert_status(FORMS[form](http, repo, blob), 201)
    head = http.head(f"/v2/{repo}/blobs/{blob.digest}")
    assert head.headers["Content-Length"] == str(len(data))
    assert http.get(f"/v2/{repo}/blobs/{blob.digest}").content == data


@every_form
def test_pushing_again(http: httpx.Client, repo: str, seed: str, form: str) -> None:
    """Use Cases, "Layer Upload De-duplication": a blob that is there already is accepted again."""
    blob = Content(OCTETS, random_bytes(3000, seed))
    for _ in range(2):
        assert_status(FORMS[form](http, repo, blob), 201)
    assert http.get(f"/v2/{repo}/blobs/{blob.digest}").content == blob.data


def test_same_bytes_under_two_digests(http: httpx.Client, repo: str, seed: str) -> None:
    """Overview, "Definitions" (Digest): each algorithm names the content on its own."""
    both = [Content(OCTETS, seed.encode(), algorithm) for algorithm in ("sha256", "sha512")]
    for blob in both:
        assert_status(push_by_post_and_put(http, repo, blob), 201)
    for blob in both:
        response = http.get(f"/v2/{repo}/blobs/{blob.digest}")
        assert response.content == blob.data
        assert response.headers["Docker-Content-Digest"] == blob.digest
    assert_status(http.delete(f"/v2/{repo}/blobs/{both[0].digest}"), 202)
    assert http.get(f"/v2/{repo}/blobs/{both[1].digest}").content == both[1].data


@every_form
@every_algorithm
def test_wrong_digest(http: httpx.Client, repo: str, seed: str, form: str, algorithm: str) -> None:
    """API, "Error Codes" (code-4): other bytes than the digest says: 400, and nothing stays."""
    right = Content(OCTETS, random_bytes(3000, seed), algorithm)

    class Lie(Content):
        @property
        def digest(self) -> str:
            return right.digest

    lie = Lie(OCTETS, right.data + b"oh no", algorithm)
    assert_error(FORMS[form](http, repo, lie), 400, "DIGEST_INVALID")
    assert_error(http.get(f"/v2/{repo}/blobs/{right.digest}"), 404)
    stored = digest_of(lie.data, algorithm)
    assert_error(http.get(f"/v2/{repo}/blobs/{stored}"), 404)


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:totallywrong",
        "sha256:" + "0" * 63,
        "sha256:" + "A" * 64,
        "md5:" + "0" * 32,
        "sha256",
        "",
        "../../../etc/passwd",
        "sha256:" + "../" * 20,
    ],
)
@pytest.mark.parametrize("form", ["post-and-put", "single-post"])
def test_digest_that_is_none(http: httpx.Client, repo: str, form: str, digest: str) -> None:
    """Push, "Pushing blobs": an invalid digest or an unsupported algorithm is a 400."""
    if form == "single-post":
        response = http.post(
            f"/v2/{repo}/blobs/uploads/",
            params={"digest": digest},
            content=b"data",
            headers=OCTET_STREAM,
        )
        # An empty parameter may also be taken for none, which begins an upload.
        assert_status(response, *([400, 202] if digest == "" else [400]))
    else:
        response = finish(http, start_upload(http, repo), digest, b"data")
        assert_error(response, 400, "DIGEST_INVALID")


def test_closing_without_a_digest(http: httpx.Client, repo: str) -> None:
    """Push, "POST then PUT": the closing PUT must say the digest."""
    response = http.put(start_upload(http, repo), content=b"data", headers=OCTET_STREAM)
    assert_error(response, 400, "DIGEST_INVALID")


def test_start_of_an_upload(http: httpx.Client, repo: str) -> None:
    """Push, "POST then PUT" (end-4a): 202 and a place for the bytes, another one each time."""
    locations = set()
    for _ in range(3):
        response = http.post(f"/v2/{repo}/blobs/uploads/")
        assert_status(response, 202)
        assert response.content == b""
        assert response.headers["Range"] == "0-0"
        assert response.headers["Docker-Upload-UUID"]
        assert path_of(location_of(response)).startswith(f"/v2/{repo}/blobs/uploads/")
        locations.add(path_of(location_of(response)))
    assert len(locations) == 3


def test_an_upload_makes_no_repository(http: httpx.Client, repo: str) -> None:
    """Content Discovery: a session that was only begun is not content."""
    start_upload(http, repo)
    assert_error(http.get(f"/v2/{repo}/tags/list"), 404, "NAME_UNKNOWN")


def test_interleaved_uploads(http: httpx.Client, repo: str, seed: str) -> None:
    """Push, "POST then PUT": concurrent uploads of one client don't get into each other's way."""
    blobs = [Content(OCTETS, random_bytes(3000, f"{seed} {n}")) for n in range(4)]
    locations = [start_upload(http, repo) for _ in blobs]
    for half in (0, 1):
        for n, blob in enumerate(blobs):
            patched = send_stream(http, locations[n], [blob.data[half * 1500 :][:1500]])
            assert_status(patched, 202)
            locations[n] = location_of(patched)
    for location, blob in zip(locations, blobs, strict=True):
        assert_status(finish(http, location, blob.digest), 201)
        assert http.get(f"/v2/{repo}/blobs/{blob.digest}").content == blob.data


def test_location_survives_rewriting_of_its_query(http: httpx.Client, repo: str, seed: str) -> None:
    """Push, "POST then PUT": clients parse the Location and may reorder and re-encode its query."""
    blob = Content(OCTETS, random_bytes(3000, seed))
    location = httpx.URL(start_upload(http, repo))
    pairs = [("digest", blob.digest), *reversed(location.params.multi_items())]
    rewritten = location.copy_with(params=pairs)
    response = http.put(rewritten, content=blob.data, headers=OCTET_STREAM)
    assert_status(response, 201)


def test_upload_belongs_to_its_repository(http: httpx.Client, repo: str) -> None:
    """Push, "Pushing blobs": the session of one repository can't be closed in another."""
    location = start_upload(http, repo)
    elsewhere = location.replace(f"/v2/{repo}/", f"/v2/{repo}/other/")
    digest = digest_of(b"data")
    assert_error(finish(http, elsewhere, digest, b"data"), 404)
    assert_error(http.get(f"/v2/{repo}/other/blobs/{digest}"), 404)
    assert_status(finish(http, location, digest, b"data"), 201)


UNKNOWN_UPLOADS = [
    "00000000-0000-4000-8000-000000000000",
    "00000000-0000-4000-8000-000000000000?_state=bm9uc2Vuc2U",
    "not-a-uuid",
    "x" * 400,
]


@pytest.mark.parametrize("upload", UNKNOWN_UPLOADS)
@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_unknown_upload(http: httpx.Client, repo: str, upload: str, method: str) -> None:
    """API, "Error Codes" (code-3), end-5, 6, 13, 14: 404 for a session that there is not."""
    path = with_query(f"/v2/{repo}/blobs/uploads/{upload}", digest=digest_of(b"data"))
    content = b"data" if method in ("PATCH", "PUT") else b""
    response = http.request(method, path, content=content, headers=OCTET_STREAM)
    assert_error(response, 404, "BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID")


def test_upload_is_closed_once(http: httpx.Client, repo: str, seed: str) -> None:
    """Push, "POST then PUT": a closed session is gone."""
    blob = Content(OCTETS, random_bytes(3000, seed))
    location = start_upload(http, repo)
    assert_status(finish(http, location, blob.digest, blob.data), 201)
    assert_error(http.get(location), 404, "BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID")
    again = finish(http, location, blob.digest, blob.data)
    assert_status(again, 404, 201)


def test_content_type_of_a_body(http: httpx.Client, repo: str) -> None:
    """Push, "Pushing blobs": clients that leave Content-Type out are understood."""
    location = start_upload(http, repo)
    response = http.put(with_query(location, digest=digest_of(b"data")), content=b"data")
    assert response.status_code == 201, describe(response)
