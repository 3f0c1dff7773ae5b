"""Distribution-spec, "Push": mounting a blob from another repository."""

from __future__ import annotations

import httpx
import pytest

from tests.conformance.answers import assert_error, assert_status, location_of, path_of
from tests.conformance.pushing import finish, push_blob, push_parts, put_manifest
from tests.wire.images import OCTETS, Content, digest_of, image, random_bytes


def mount(
    http: httpx.Client, repo: str, digest: str, *, source: str | None = None
) -> httpx.Response:
    """Asks for a mount (end-11), `from` a repository or from wherever the blob is."""
    parameters = {"mount": digest} | ({} if source is None else {"from": source})
    return http.post(f"/v2/{repo}/blobs/uploads/", params=parameters)


def blob_in(http: httpx.Client, repo: str, *, algorithm: str = "sha256") -> Content:
    """A new blob in `repo`."""
    blob = Content(OCTETS, random_bytes(3000, repo), algorithm)
    push_blob(http, repo, blob)
    return blob


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("with_source", ["from", "anywhere"])
def test_mount(http: httpx.Client, repo: str, algorithm: str, with_source: str) -> None:
    """Push, "Mounting a blob from another repository": 201 and a Location in this repository."""
    source, target = f"{repo}/source", f"{repo}/target"
    blob = blob_in(http, source, algorithm=algorithm)
    named = source if with_source == "from" else None
    response = mount(http, target, blob.digest, source=named)
    assert_status(response, 201)
    assert path_of(location_of(response)) == f"/v2/{target}/blobs/{blob.digest}"
    assert response.headers["Docker-Content-Digest"] == blob.digest
    assert http.get(location_of(response)).content == blob.data


def test_mount_from_a_repository_that_has_it_not(http: httpx.Client, repo: str) -> None:
    """Push, "Mounting a blob from another repository": what can't be mounted begins an upload."""
    missing = digest_of(repo.encode())
    blob_in(http, f"{repo}/source")
    for source in (f"{repo}/source", f"{repo}/nobody", None):
        response = mount(http, f"{repo}/target", missing, source=source)
        assert_status(response, 202)
        assert path_of(location_of(response)).startswith(f"/v2/{repo}/target/blobs/uploads/")


def test_falling_back_to_an_upload(http: httpx.Client, repo: str) -> None:
    """Push, "Mounting a blob from another repository": the client may go on with the 202."""
    blob = Content(OCTETS, random_bytes(3000, repo))
    response = mount(http, repo, blob.digest, source=f"{repo}/nobody")
    assert_status(response, 202)
    assert_status(finish(http, location_of(response), blob.digest, blob.data), 201)
    assert http.get(f"/v2/{repo}/blobs/{blob.digest}").content == blob.data


def test_mount_of_what_is_here(http: httpx.Client, repo: str) -> None:
    """Push, "Mounting a blob from another repository": from itself, and twice, is no error."""
    blob = blob_in(http, repo)
    for source in (repo, None):
        assert_status(mount(http, repo, blob.digest, source=source), 201)
    for _ in range(2):
        assert_status(mount(http, f"{repo}/target", blob.digest, source=repo), 201)


@pytest.mark.parametrize("source", ["UPPER", "../../etc", "a//b", "", "x" * 300])
def test_source_that_no_repository_can_be(http: httpx.Client, repo: str, source: str) -> None:
    """Push, "Mounting a blob from another repository": an impossible source finds nothing there."""
    response = mount(http, repo, digest_of(repo.encode()), source=source)
    assert_status(response, 202, 400)


@pytest.mark.parametrize("digest", ["sha256:totallywrong", "latest", "", "md5:" + "0" * 32])
def test_mount_of_no_digest(http: httpx.Client, repo: str, digest: str) -> None:
    """Push, "Pushing blobs": an invalid digest is a 400, or the mount begins an upload."""
    response = mount(http, repo, digest, source=f"{repo}/source")
    assert_status(response, 202, 400)
    if response.status_code == 400:
        assert_error(response, 400, "DIGEST_INVALID")


def test_mounted_blobs_make_a_manifest(http: httpx.Client, repo: str) -> None:
    """Push, "Pushing Manifests": a manifest may refer to blobs that were mounted."""
    source, target = f"{repo}/source", f"{repo}/target"
    pushed = image(repo)
    push_parts(http, source, pushed)
    refused = put_manifest(http, target, "v1", pushed.manifest)
    assert_error(refused, 400, "MANIFEST_BLOB_UNKNOWN")
    for blob in pushed.blobs:
        assert_status(mount(http, target, blob.digest, source=source), 201)
    assert_status(put_manifest(http, target, "v1", pushed.manifest), 201)


def test_mounted_blob_is_deleted_per_repository(http: httpx.Client, repo: str) -> None:
    """Content Management, "Deleting Blobs": each repository loses its own blob only."""
    source, target = f"{repo}/source", f"{repo}/target"
    blob = blob_in(http, source)
    assert_status(mount(http, target, blob.digest, source=source), 201)
    assert_status(http.delete(f"/v2/{target}/blobs/{blob.digest}"), 202)
    assert_error(http.head(f"/v2/{target}/blobs/{blob.digest}"), 404)
    assert http.get(f"/v2/{source}/blobs/{blob.digest}").content == blob.data
    assert_status(http.delete(f"/v2/{source}/blobs/{blob.digest}"), 202)
    assert_error(http.head(f"/v2/{source}/blobs/{blob.digest}"), 404)


def test_no_mount_of_what_was_deleted(http: httpx.Client, repo: str) -> None:
    """Push, "Mounting a blob from another repository": deleted everywhere, it can't be mounted."""
    source = f"{repo}/source"
    blob = blob_in(http, source)
    assert_status(http.delete(f"/v2/{source}/blobs/{blob.digest}"), 202)
    assert_status(mount(http, f"{repo}/target", blob.digest, source=source), 202)
    assert_status(mount(http, f"{repo}/target", blob.digest), 202)
