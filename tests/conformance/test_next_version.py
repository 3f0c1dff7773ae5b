"""What the next version of the distribution-spec adds (its main branch): tags and algorithms.

"Pushing Manifests" (end-7b) lets a push by digest name tags as parameters, which is the only way
to tag a manifest whose digest is not sha256; "Pushing a blob in chunks" (end-4c) lets an upload
say its algorithm beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import pytest

from tests.conformance.answers import assert_error, assert_status, document, location_of
from tests.conformance.pushing import (
    finish,
    push,
    push_parts,
    send_chunk,
    send_stream,
    start_upload,
)
from tests.wire.images import (
    OCTETS,
    Content,
    Image,
    artifact,
    empty,
    image,
    multi_platform,
    random_bytes,
)


def put_with_tags(
    http: httpx.Client, repo: str, reference: str, manifest: Content, tags: Sequence[str]
) -> httpx.Response:
    """PUT of a manifest with one `tag` parameter for each of `tags`."""
    return http.put(
        f"/v2/{repo}/manifests/{reference}",
        params=[("tag", tag) for tag in tags],
        content=manifest.data,
        headers={"Content-Type": manifest.media_type},
    )


def tags_said(response: httpx.Response) -> list[str]:
    """The values of OCI-Tag; the suites compare whole values, so there is one header per tag."""
    return response.headers.get_list("OCI-Tag")


def tags_listed(http: httpx.Client, repo: str) -> list[str]:
    return list(document(http.get(f"/v2/{repo}/tags/list"))["tags"])


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("make", [image, multi_platform])
def test_tag_parameters(
    http: httpx.Client, repo: str, seed: str, algorithm: str, make: object
) -> None:
    """Pushing Manifests (end-7b): every tag is created and named in an OCI-Tag header."""
    assert callable(make)
    pushed: Image = make(seed, algorithm=algorithm)
    push_parts(http, repo, pushed)
    tags = ["1.2.3", "1.2", "1", "latest"]
    response = put_with_tags(http, repo, pushed.digest, pushed.manifest, tags)
    assert_status(response, 201)
    assert sorted(tags_said(response)) == sorted(tags)
    assert response.headers["Docker-Content-Digest"] == pushed.digest
    assert tags_listed(http, repo) == sorted(tags)
    for reference in (*tags, pushed.digest):
        for method in ("HEAD", "GET"):
            got = http.request(method, f"/v2/{repo}/manifests/{reference}")
            assert_status(got, 200)
            assert got.headers["Docker-Content-Digest"] == pushed.digest
            assert got.headers["Content-Type"] == pushed.manifest.media_type
            assert got.content == (pushed.manifest.data if method == "GET" else b"")


def test_ten_tags(http: httpx.Client, repo: str, seed: str) -> None:
    """Pushing Manifests (end-7b): at least 10 tags at once."""
    pushed = image(seed)
    push_parts(http, repo, pushed)
    tags = [f"{n}-" + "t" * 126 for n in range(10)]
    response = put_with_tags(http, repo, pushed.digest, pushed.manifest, tags)
    assert_status(response, 201)
    assert tags_said(response) == tags
    assert tags_listed(http, repo) == tags


@pytest.mark.parametrize("count", [11, 100, 1000])
def test_more_than_ten_tags(http: httpx.Client, repo: str, seed: str, count: int) -> None:
    """Pushing Manifests (end-7b): more may be a 414, and then nothing is stored; else all are."""
    pushed = image(seed)
    push_parts(http, repo, pushed)
    tags = [f"v{n:04}" for n in range(count)]
    response = put_with_tags(http, repo, pushed.digest, pushed.manifest, tags)
    assert_status(response, 201, 414)
    if response.status_code == 201:
        assert sorted(tags_said(response)) == tags
        assert tags_listed(http, repo) == tags
    else:
        assert_error(http.get(f"/v2/{repo}/manifests/{pushed.digest}"), 404)


@pytest.mark.parametrize("bad", ["", ".a", "a b", "t" * 129, "a/b", "sha256:" + "0" * 64, "a,b"])
def test_bad_tag_among_them(http: httpx.Client, repo: str, seed: str, bad: str) -> None:
    """Pushing Manifests (end-7b): with a tag that is none the push is refused as a whole."""
    pushed = image(seed)
    push_parts(http, repo, pushed)
    response = put_with_tags(http, repo, pushed.digest, pushed.manifest, ["good", bad])
    assert_error(response, 400, "TAG_INVALID", "MANIFEST_INVALID", "NAME_INVALID")
    assert_error(http.get(f"/v2/{repo}/manifests/good"), 404)


def test_refused_manifest_makes_no_tags(http: httpx.Client, repo: str, seed: str) -> None:
    """Pushing Manifests (end-7b): no manifest, no tags."""
    pushed = image(seed)
    push(http, repo, image(f"{seed} other"), tag="v1")
    response = put_with_tags(http, repo, pushed.digest, pushed.manifest, ["v1", "v2"])
    assert_error(response, 400, "MANIFEST_BLOB_UNKNOWN")
    assert tags_listed(http, repo) == ["v1"]
    assert http.head(f"/v2/{repo}/manifests/v1").headers["ETag"] != f'"{pushed.digest}"'


def test_tag_parameters_move_tags(http: httpx.Client, repo: str, seed: str) -> None:
    """Pushing Manifests (end-7b): tags that exist already are moved."""
    old, new = image(seed), image(f"{seed} new")
    push(http, repo, old, tag="latest")
    push_parts(http, repo, new)
    response = put_with_tags(http, repo, new.digest, new.manifest, ["latest", "latest", "2"])
    assert_status(response, 201)
    assert set(tags_said(response)) == {"latest", "2"}
    assert http.get(f"/v2/{repo}/manifests/latest").content == new.manifest.data
    assert http.get(f"/v2/{repo}/manifests/{old.digest}").content == old.manifest.data


def test_tag_parameters_with_a_subject(http: httpx.Client, repo: str, seed: str) -> None:
    """Pushing Manifests (end-7b): OCI-Tag and OCI-Subject in one answer."""
    subject = image(seed)
    referrer = artifact(seed, subject=subject.manifest)
    push_parts(http, repo, referrer)
    response = put_with_tags(http, repo, referrer.digest, referrer.manifest, ["sbom"])
    assert_status(response, 201)
    assert tags_said(response) == ["sbom"]
    assert response.headers["OCI-Subject"] == subject.digest


def test_no_parameters_no_header(http: httpx.Client, repo: str, seed: str) -> None:
    """Pushing Manifests (end-7a): without the parameter there is no OCI-Tag."""
    pushed = image(seed)
    push_parts(http, repo, pushed)
    for reference in (pushed.digest, "v1"):
        response = put_with_tags(http, repo, reference, pushed.manifest, [])
        assert_status(response, 201)
        assert tags_said(response) == []


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_manifest_by_any_algorithm(
    http: httpx.Client, repo: str, seed: str, algorithm: str
) -> None:
    """Pulling manifests: who pushed by a digest pulls by it, and is answered with it."""
    pushed = artifact(seed, algorithm=algorithm, config=empty(algorithm))
    push(http, repo, pushed)
    for method in ("HEAD", "GET"):
        response = http.request(method, f"/v2/{repo}/manifests/{pushed.digest}")
        assert_status(response, 200)
        assert response.headers["Docker-Content-Digest"] == pushed.digest
    assert_status(http.delete(f"/v2/{repo}/manifests/{pushed.digest}"), 202)
    assert_error(http.get(f"/v2/{repo}/manifests/{pushed.digest}"), 404)


def test_push_by_tag_is_sha256(http: httpx.Client, repo: str, seed: str) -> None:
    """Pushing Manifests: by tag the registry's own algorithm names the manifest."""
    pushed = image(seed, algorithm="sha512")
    push_parts(http, repo, pushed)
    plain = Content(pushed.manifest.media_type, pushed.manifest.data)
    response = put_with_tags(http, repo, "v1", plain, [])
    assert_status(response, 201)
    assert response.headers["Docker-Content-Digest"] == plain.digest


@pytest.mark.parametrize("said", ["sha256", "sha512", None])
@pytest.mark.parametrize("used", ["sha256", "sha512"])
@pytest.mark.parametrize("form", ["put", "stream", "chunks"])
def test_algorithm_of_an_upload(
    http: httpx.Client, repo: str, seed: str, said: str | None, used: str, form: str
) -> None:
    """Pushing a blob in chunks (end-4c): the hint helps; the closing digest decides."""
    blob = Content(OCTETS, random_bytes(3000, seed), used)
    query = "" if said is None else f"?digest-algorithm={said}"
    location, rest = start_upload(http, repo, query), blob.data
    if form == "stream":
        location, rest = location_of(send_stream(http, location, [blob.data])), b""
    if form == "chunks":
        location = location_of(send_chunk(http, location, blob.data[:1000], start=0))
        rest = blob.data[1000:]
    response = finish(http, location, blob.digest, rest)
    if said in (None, used):
        assert_status(response, 201)
    else:
        assert_status(response, 201, 400)
    if response.status_code == 201:
        assert response.headers["Docker-Content-Digest"] == blob.digest
        assert http.get(f"/v2/{repo}/blobs/{blob.digest}").content == blob.data


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha3-256", "SHA256", "../..", "%00"])
def test_unsupported_algorithm(http: httpx.Client, repo: str, algorithm: str) -> None:
    """Pushing blobs: an unsupported algorithm is a 400."""
    response = http.post(f"/v2/{repo}/blobs/uploads/?digest-algorithm={algorithm}")
    assert_error(response, 400, "DIGEST_INVALID", "UNSUPPORTED")


@pytest.mark.parametrize("path", ["tags/list", "manifests/v1", "blobs/{blob}"])
def test_digest_header_is_always_there(http: httpx.Client, repo: str, seed: str, path: str) -> None:
    """Pulling manifests, Pulling blobs: Docker-Content-Digest has become a MUST."""
    pushed = image(seed)
    push(http, repo, pushed, tag="v1")
    target = path.format(blob=pushed.blobs[0].digest)
    for method in ("HEAD", "GET"):
        response = http.request(method, f"/v2/{repo}/{target}")
        assert_status(response, 200)
        assert ("Docker-Content-Digest" in response.headers) == (path != "tags/list")
