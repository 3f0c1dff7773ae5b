"""Distribution-spec, "Pull": pulling blobs, wholly and in part, and checking that they exist."""

from __future__ import annotations

import httpx
import pytest

from tests.conformance.answers import assert_error, assert_status, headers_that_describe
from tests.conformance.pushing import push_blob
from tests.wire.images import OCTETS, Content, digest_of, random_bytes

SIZE = 2048


def path_of_blob(repo: str, blob: Content) -> str:
    return f"/v2/{repo}/blobs/{blob.digest}"


@pytest.fixture
def blob(http: httpx.Client, repo: str, seed: str) -> Content:
    """A blob of 2048 bytes in the test's repository."""
    content = Content(OCTETS, random_bytes(SIZE, seed))
    push_blob(http, repo, content)
    return content


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("size", [0, 1, 2, 4095, 300_000, 3_000_000])
def test_blob(http: httpx.Client, repo: str, seed: str, size: int, algorithm: str) -> None:
    """Pull, "Pulling blobs" (end-2): 200 with the blob's bytes and their digest."""
    blob = Content(OCTETS, random_bytes(size, seed), algorithm)
    push_blob(http, repo, blob)
    response = http.get(path_of_blob(repo, blob))
    assert_status(response, 200)
    assert response.content == blob.data
    assert response.headers["Content-Length"] == str(size)
    assert response.headers["Content-Type"] == OCTETS
    assert response.headers["Docker-Content-Digest"] == blob.digest
    assert response.headers["ETag"] == f'"{blob.digest}"'
    assert response.headers["Accept-Ranges"] == "bytes"
    assert "max-age=" in response.headers["Cache-Control"]


@pytest.mark.parametrize("size", [0, 1, 2048, 300_000])
def test_head_is_get_without_a_body(http: httpx.Client, repo: str, seed: str, size: int) -> None:
    """Pull, "Checking if content exists in the registry": HEAD has GET's headers and no body."""
    blob = Content(OCTETS, random_bytes(size, seed))
    push_blob(http, repo, blob)
    head = http.head(path_of_blob(repo, blob))
    assert_status(head, 200)
    assert head.content == b""
    assert head.headers["Content-Length"] == str(size)
    assert head.headers["Docker-Content-Digest"] == blob.digest
    assert headers_that_describe(head) == headers_that_describe(http.get(path_of_blob(repo, blob)))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_missing_blob(http: httpx.Client, repo: str, blob: Content, method: str) -> None:
    """Pull, "Pulling blobs": 404 for what is not in the repository."""
    response = http.request(method, f"/v2/{repo}/blobs/{digest_of(b'missing')}")
    assert_error(response, 404, "BLOB_UNKNOWN")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_missing_repository(http: httpx.Client, repo: str, method: str) -> None:
    """Pull, "Pulling blobs": 404 in a repository that does not exist."""
    response = http.request(method, f"/v2/{repo}/blobs/{digest_of(b'missing')}")
    assert_error(response, 404, "BLOB_UNKNOWN", "NAME_UNKNOWN")


def test_blob_belongs_to_its_repository(http: httpx.Client, repo: str, blob: Content) -> None:
    """Pull, "Pulling blobs": a blob of another repository is not found."""
    assert_error(http.get(path_of_blob(f"{repo}/other", blob)), 404)


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:totallywrong",
        "sha256:" + "A" * 64,
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 65,
        "sha512:" + "0" * 64,
        "md5:" + "0" * 32,
        "latest",
        ":",
    ],
)
def test_malformed_digest(http: httpx.Client, repo: str, blob: Content, digest: str) -> None:
    """API, "Error Codes" (code-4): what is not a digest of a known algorithm is refused."""
    response = http.get(f"/v2/{repo}/blobs/{digest}")
    assert_status(response, 400, 404)
    assert_error(response, response.status_code, "DIGEST_INVALID", "BLOB_UNKNOWN")


@pytest.mark.parametrize(
    "asked, first, last",
    [
        ("500-1499", 500, 1499),
        ("500-", 500, 2047),
        ("-500", 1548, 2047),
        ("2000-5000", 2000, 2047),
        ("0-0", 0, 0),
        ("2047-2047", 2047, 2047),
        ("0-2047", 0, 2047),
        ("0-", 0, 2047),
        ("-1", 2047, 2047),
        ("-2048", 0, 2047),
        ("-9999", 0, 2047),
        ("0-99999999999999999999999", 0, 2047),
    ],
)
def test_part_of_a_blob(
    http: httpx.Client, repo: str, blob: Content, asked: str, first: int, last: int
) -> None:
    """Pull, "Pulling blobs" (Range), RFC 9110, 14: 206 with the part and where it lies."""
    response = http.get(path_of_blob(repo, blob), headers={"Range": f"bytes={asked}"})
    assert_status(response, 206)
    assert response.content == blob.data[first : last + 1]
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/{SIZE}"
    assert response.headers["Content-Length"] == str(last - first + 1)
    assert response.headers["Docker-Content-Digest"] == blob.digest


@pytest.mark.parametrize("asked", ["2048-", "2048-2048", "5000-10000", "500-0", "-0"])
def test_part_that_does_not_exist(http: httpx.Client, repo: str, blob: Content, asked: str) -> None:
    """Pull, "Pulling blobs" (Range), RFC 9110, 15.5.17: 416, and the size that there is."""
    response = http.get(path_of_blob(repo, blob), headers={"Range": f"bytes={asked}"})
    assert_error(response, 416)
    assert response.headers["Content-Range"] == f"bytes */{SIZE}"


def test_part_of_an_empty_blob(http: httpx.Client, repo: str) -> None:
    """RFC 9110, 14.1.2: no range of an empty blob can be satisfied; ignoring it is allowed too."""
    blob = Content(OCTETS, b"")
    push_blob(http, repo, blob)
    for asked in ("0-", "0-0", "-1"):
        response = http.get(path_of_blob(repo, blob), headers={"Range": f"bytes={asked}"})
        assert_status(response, 416, 200)


@pytest.mark.parametrize(
    "header",
    ["bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=1", "lines=0-1", "0-1", "bytes=1-2-3", "="],
)
def test_range_that_is_none(http: httpx.Client, repo: str, blob: Content, header: str) -> None:
    """RFC 9110, 14.2: an invalid or unknown range is ignored, or refused with 416 or 400."""
    response = http.get(path_of_blob(repo, blob), headers={"Range": header})
    assert_status(response, 200, 416, 400)
    if response.status_code == 200:
        assert response.content == blob.data


def test_several_parts(http: httpx.Client, repo: str, blob: Content) -> None:
    """RFC 9110, 14.2: several ranges may be ignored (the whole blob) or come as multipart."""
    response = http.get(path_of_blob(repo, blob), headers={"Range": "bytes=0-9,100-199"})
    assert_status(response, 200, 206)
    if response.status_code == 200:
        assert response.content == blob.data
    else:
        assert response.headers["Content-Type"].startswith("multipart/byteranges")


def test_head_ignores_ranges(http: httpx.Client, repo: str, blob: Content) -> None:
    """RFC 9110, 14.2: Range is defined for GET only; a HEAD tells the whole size or the part's."""
    response = http.head(path_of_blob(repo, blob), headers={"Range": "bytes=0-9"})
    assert_status(response, 200, 206)
    expected = str(SIZE) if response.status_code == 200 else "10"
    assert response.headers["Content-Length"] == expected


def test_parts_make_the_whole(http: httpx.Client, repo: str, seed: str) -> None:
    """Use Cases, "Resumable Pull": an interrupted pull goes on where it stopped."""
    blob = Content(OCTETS, random_bytes(2_500_000, seed))
    push_blob(http, repo, blob)
    got = b""
    while len(got) < len(blob.data):
        headers = {"Range": f"bytes={len(got)}-{len(got) + 999_999}"}
        response = http.get(path_of_blob(repo, blob), headers=headers)
        assert_status(response, 206)
        assert len(response.content) > 0
        got += response.content
    assert got == blob.data


@pytest.mark.parametrize("etag", ['"{}"', "{}", 'W/"{}"', '"other", "{}"', "*"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_unchanged_blob(
    http: httpx.Client, repo: str, blob: Content, etag: str, method: str
) -> None:
    """RFC 9110, 13.1.2: If-None-Match with the blob's entity tag is a 304 without a body."""
    headers = {"If-None-Match": etag.format(blob.digest)}
    response = http.request(method, path_of_blob(repo, blob), headers=headers)
    assert_status(response, 304)
    assert response.content == b""
    assert response.headers["ETag"] == f'"{blob.digest}"'


def test_other_entity_tag(http: httpx.Client, repo: str, blob: Content) -> None:
    """RFC 9110, 13.1.2: an entity tag of something else gets the blob."""
    headers = {"If-None-Match": f'"{digest_of(b"other")}"'}
    assert http.get(path_of_blob(repo, blob), headers=headers).content == blob.data
