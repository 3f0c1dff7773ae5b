"""Distribution-spec, "Content Management": deleting tags, manifests and blobs."""

from __future__ import annotations

import httpx
import pytest

from tests.conformance.answers import assert_error, assert_status, document
from tests.conformance.pushing import push, push_blob, put_manifest
from tests.wire.images import OCTETS, Content, digest_of, image, multi_platform


def tags(http: httpx.Client, repo: str) -> list[str]:
    """The tags of a repository that must exist."""
    return list(document(http.get(f"/v2/{repo}/tags/list"))["tags"])


def test_deleting_a_tag(http: httpx.Client, repo: str, seed: str) -> None:
    """Deleting tags (end-9): 202; the tag is gone at once, its manifest and other tags are not."""
    pushed = image(seed)
    push(http, repo, pushed, tag="v1")
    put_manifest(http, repo, "v2", pushed.manifest)
    response = http.delete(f"/v2/{repo}/manifests/v1")
    assert_status(response, 202)
    assert response.content == b""
    assert_error(http.head(f"/v2/{repo}/manifests/v1"), 404)
    assert_error(http.get(f"/v2/{repo}/manifests/v1"), 404, "MANIFEST_UNKNOWN")
    assert http.get(f"/v2/{repo}/manifests/v2").content == pushed.manifest.data
    assert http.get(f"/v2/{repo}/manifests/{pushed.digest}").content == pushed.manifest.data
    assert tags(http, repo) == ["v2"]


def test_deleting_the_last_tag(http: httpx.Client, repo: str, seed: str) -> None:
    """Deleting tags: the manifest stays, and the repository is known with an empty list."""
    pushed = image(seed)
    push(http, repo, pushed, tag="v1")
    assert_status(http.delete(f"/v2/{repo}/manifests/v1"), 202)
    assert tags(http, repo) == []
    assert http.get(f"/v2/{repo}/manifests/{pushed.digest}").content == pushed.manifest.data


def test_deleting_a_manifest(http: httpx.Client, repo: str, seed: str) -> None:
    """Deleting Manifests (end-9): 202; the manifest and every tag of it are gone at once."""
    pushed, other = image(seed), image(f"{seed} other")
    push(http, repo, other, tag="kept")
    push(http, repo, pushed, tag="v1")
    put_manifest(http, repo, "v2", pushed.manifest)
    response = http.delete(f"/v2/{repo}/manifests/{pushed.digest}")
    assert_status(response, 202)
    assert response.content == b""
    for reference in (pushed.digest, "v1", "v2"):
        assert_error(http.head(f"/v2/{repo}/manifests/{reference}"), 404)
        assert_error(http.get(f"/v2/{repo}/manifests/{reference}"), 404, "MANIFEST_UNKNOWN")
    assert tags(http, repo) == ["kept"]
    assert http.get(f"/v2/{repo}/manifests/kept").content == other.manifest.data


def test_deleting_the_last_manifest(http: httpx.Client, repo: str, seed: str) -> None:
    """Deleting Manifests: suites ask for the tags afterwards and want an empty list."""
    pushed = image(seed)
    push(http, repo, pushed, tag="v1")
    assert_status(http.delete(f"/v2/{repo}/manifests/{pushed.digest}"), 202)
    assert tags(http, repo) == []


def test_pushing_what_was_deleted(http: httpx.Client, repo: str, seed: str) -> None:
    """Deleting Manifests: deleted content can be pushed again."""
    pushed = image(seed)
    for _ in range(2):
        push(http, repo, pushed, tag="v1")
        assert http.get(f"/v2/{repo}/manifests/v1").content == pushed.manifest.data
        assert_status(http.delete(f"/v2/{repo}/manifests/{pushed.digest}"), 202)
        for blob in pushed.blobs:
            assert_status(http.delete(f"/v2/{repo}/blobs/{blob.digest}"), 202)


@pytest.mark.parametrize("reference", ["v2", digest_of(b"unknown")])
def test_deleting_what_is_not_there(
    http: httpx.Client, repo: str, seed: str, reference: str
) -> None:
    """Deleting Manifests: 404, in this repository and where there is none."""
    push(http, repo, image(seed), tag="v1")
    assert_error(http.delete(f"/v2/{repo}/manifests/{reference}"), 404, "MANIFEST_UNKNOWN")
    elsewhere = http.delete(f"/v2/{repo}/other/manifests/{reference}")
    assert_error(elsewhere, 404, "NAME_UNKNOWN", "MANIFEST_UNKNOWN")


def test_deleting_twice(http: httpx.Client, repo: str, seed: str) -> None:
    """Deleting tags, manifests, blobs: the second time it is not found."""
    pushed = image(seed)
    push(http, repo, pushed, tag="v1")
    blob = Content(OCTETS, seed.encode())
    push_blob(http, repo, blob)
    for target in ("manifests/v1", f"manifests/{pushed.digest}", f"blobs/{blob.digest}"):
        assert_status(http.delete(f"/v2/{repo}/{target}"), 202)
        assert_error(http.delete(f"/v2/{repo}/{target}"), 404)


@pytest.mark.parametrize("reference", ["sha256:totallywrong", "md5:" + "0" * 32])
def test_deleting_no_digest(http: httpx.Client, repo: str, seed: str, reference: str) -> None:
    """API, "Error Codes" (code-4): a malformed digest is refused."""
    push(http, repo, image(seed), tag="v1")
    for kind in ("manifests", "blobs"):
        response = http.delete(f"/v2/{repo}/{kind}/{reference}")
        assert_status(response, 400, 404)
        codes = ("DIGEST_INVALID", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN")
        assert_error(response, response.status_code, *codes)


def test_manifest_of_another_repository(http: httpx.Client, repo: str, seed: str) -> None:
    """Deleting Manifests: the same manifest in another repository is not touched."""
    pushed = image(seed)
    for name in (repo, f"{repo}/other"):
        push(http, name, pushed, tag="v1")
    assert_status(http.delete(f"/v2/{repo}/manifests/{pushed.digest}"), 202)
    assert http.get(f"/v2/{repo}/other/manifests/v1").content == pushed.manifest.data


def test_deleting_an_index_from_above(http: httpx.Client, repo: str, seed: str) -> None:
    """Deleting Manifests: an index goes without its children, as the suites do it."""
    pushed = multi_platform(seed)
    push(http, repo, pushed, tag="v1")
    for manifest in reversed(pushed.every_manifest()):
        path = f"/v2/{repo}/manifests/{manifest.digest}"
        assert_status(http.get(path), 200)
        assert_status(http.delete(path), 202)
        assert_error(http.head(path), 404)


def test_deleting_the_child_of_an_index(http: httpx.Client, repo: str, seed: str) -> None:
    """Deleting Manifests: 202, or 405 as long as an index holds it; both leave the index whole."""
    pushed = multi_platform(seed)
    push(http, repo, pushed, tag="v1")
    child = f"/v2/{repo}/manifests/{pushed.children[0].digest}"
    response = http.delete(child)
    assert_status(response, 202, 405)
    assert http.get(f"/v2/{repo}/manifests/v1").content == pushed.manifest.data
    if response.status_code == 405:
        assert_error(response, 405, "UNSUPPORTED")
        assert_status(http.head(child), 200)
        assert_status(http.delete(f"/v2/{repo}/manifests/{pushed.digest}"), 202)
        assert_status(http.delete(child), 202)
    assert_error(http.get(child), 404)


def test_deleting_a_blob(http: httpx.Client, repo: str, seed: str) -> None:
    """Deleting Blobs (end-10): 202, and it is gone at once, here only."""
    blob = Content(OCTETS, seed.encode())
    for name in (repo, f"{repo}/other"):
        push_blob(http, name, blob)
    path = f"/v2/{repo}/blobs/{blob.digest}"
    response = http.delete(path)
    assert_status(response, 202)
    assert response.content == b""
    assert_error(http.head(path), 404)
    assert_error(http.get(path), 404, "BLOB_UNKNOWN")
    assert http.get(f"/v2/{repo}/other/blobs/{blob.digest}").content == blob.data


def test_deleting_a_blob_that_is_not_there(http: httpx.Client, repo: str) -> None:
    """Deleting Blobs: 404 for a blob that the repository has not."""
    response = http.delete(f"/v2/{repo}/blobs/{digest_of(b'unknown')}")
    assert_error(response, 404, "BLOB_UNKNOWN", "NAME_UNKNOWN")


def test_deleting_blobs_first(http: httpx.Client, repo: str, seed: str) -> None:
    """Content Management: suites delete blobs before their manifests: 202, or 405 if held."""
    pushed = image(seed)
    push(http, repo, pushed, tag="v1")
    for blob in pushed.blobs:
        response = http.delete(f"/v2/{repo}/blobs/{blob.digest}")
        assert_status(response, 202, 405)
        gone = response.status_code == 202
        assert_status(http.head(f"/v2/{repo}/blobs/{blob.digest}"), 404 if gone else 200)
    assert_status(http.delete(f"/v2/{repo}/manifests/{pushed.digest}"), 202)


def test_deleted_blobs_are_missing(http: httpx.Client, repo: str, seed: str) -> None:
    """Push: a manifest can't refer to a blob that was deleted."""
    pushed = image(seed)
    for blob in pushed.blobs:
        push_blob(http, repo, blob)
    assert_status(http.delete(f"/v2/{repo}/blobs/{pushed.blobs[0].digest}"), 202)
    response = put_manifest(http, repo, "v1", pushed.manifest)
    assert_error(response, 400, "MANIFEST_BLOB_UNKNOWN")
