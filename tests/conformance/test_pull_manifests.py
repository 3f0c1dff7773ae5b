"""Distribution-spec, "Pull": pulling manifests and checking that they exist."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import pytest

from tests.conformance.answers import (
    assert_error,
    assert_status,
    describe,
    headers_that_describe,
)
from tests.conformance.pushing import push
from tests.wire.images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Image,
    artifact,
    digest_of,
    docker_image,
    docker_list,
    image,
    index,
    multi_platform,
)

MAKERS = {
    "oci-image": image,
    "oci-index": multi_platform,
    "docker-image": docker_image,
    "docker-list": docker_list,
    "artifact": artifact,
}
EVERYTHING = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST]


def made(kind: str, seed: str) -> Image:
    """An image, index or artifact of this kind."""
    return MAKERS[kind](seed)  # type: ignore[operator, no-any-return]


def get(
    http: httpx.Client, repo: str, reference: str, accept: Sequence[str] | None, method: str = "GET"
) -> httpx.Response:
    """Asks for a manifest with one Accept header per value, or without any for None."""
    headers = [("Accept", value) for value in accept or ()]
    request = http.build_request(method, f"/v2/{repo}/manifests/{reference}", headers=headers)
    if not headers:
        del request.headers["Accept"]
    return http.send(request)


@pytest.mark.parametrize("kind", MAKERS)
def test_manifest_by_tag_and_digest(http: httpx.Client, repo: str, seed: str, kind: str) -> None:
    """Pull, "Pulling manifests" (end-3): 200, the bytes as pushed, their type and digest."""
    pushed = made(kind, seed)
    push(http, repo, pushed, tag="v1")
    for reference in ("v1", pushed.digest):
        response = get(http, repo, reference, EVERYTHING)
        assert_status(response, 200)
        assert response.content == pushed.manifest.data
        assert response.headers["Content-Type"] == pushed.manifest.media_type
        assert response.headers["Content-Length"] == str(len(pushed.manifest.data))
        assert response.headers["Docker-Content-Digest"] == pushed.digest
        assert response.headers["ETag"] == f'"{pushed.digest}"'


@pytest.mark.parametrize("kind", MAKERS)
def test_head_is_get_without_a_body(http: httpx.Client, repo: str, seed: str, kind: str) -> None:
    """Pull, "Checking if content exists in the registry": HEAD has GET's headers and no body."""
    pushed = made(kind, seed)
    push(http, repo, pushed, tag="v1")
    for reference in ("v1", pushed.digest):
        head = get(http, repo, reference, EVERYTHING, method="HEAD")
        full = get(http, repo, reference, EVERYTHING)
        assert_status(head, 200)
        assert head.content == b""
        assert headers_that_describe(head) == headers_that_describe(full)
        assert head.headers["Content-Length"] == str(len(pushed.manifest.data))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("reference", ["nothing", digest_of(b"nothing")])
def test_missing_manifest(
    http: httpx.Client, repo: str, seed: str, method: str, reference: str
) -> None:
    """Pull, "Pulling manifests": 404 for what is not in the repository."""
    push(http, repo, image(seed), tag="v1")
    path = f"/v2/{repo}/manifests/{reference}"
    assert_error(http.request(method, path), 404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_missing_repository(http: httpx.Client, repo: str, method: str) -> None:
    """Push, "Pushing Manifests": an attempt to pull a nonexistent repository is a 404."""
    response = http.request(method, f"/v2/{repo}/manifests/latest")
    assert_error(response, 404, "NAME_UNKNOWN", "MANIFEST_UNKNOWN")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("reference", [".INVALID_MANIFEST_NAME", "-a", "t" * 129, "a%20b", "a%2Bb"])
def test_reference_that_no_tag_can_be(
    http: httpx.Client, repo: str, seed: str, method: str, reference: str
) -> None:
    """Pull, "Pulling manifests": what can't be a tag isn't found either, as suites demand."""
    push(http, repo, image(seed), tag="v1")
    response = http.request(method, f"/v2/{repo}/manifests/{reference}")
    assert_error(response, 404)


@pytest.mark.parametrize(
    "reference", ["sha256:totallywrong", "sha256:", "sha256:" + "A" * 64, "md5:" + "0" * 32]
)
def test_reference_that_no_digest_can_be(
    http: httpx.Client, repo: str, seed: str, reference: str
) -> None:
    """API, "Error Codes": a malformed digest is refused in JSON, even if a body comes with it."""
    push(http, repo, image(seed), tag="v1")
    path = f"/v2/{repo}/manifests/{reference}"
    for content in (b"", b"blablabla"):
        response = http.request(
            "GET", path, content=content, headers={"Content-Type": OCI_MANIFEST}
        )
        assert_status(response, 400, 404)
        codes = ("DIGEST_INVALID", "MANIFEST_UNKNOWN", "MANIFEST_INVALID")
        assert_error(response, response.status_code, *codes)


def test_manifest_belongs_to_its_repository(http: httpx.Client, repo: str, seed: str) -> None:
    """Overview, "Definitions": a repository is the scope, so others don't see its manifests."""
    pushed = image(seed)
    push(http, repo, pushed, tag="v1")
    assert_error(http.get(f"/v2/{repo}/other/manifests/v1"), 404)
    assert_error(http.get(f"/v2/{repo}/other/manifests/{pushed.digest}"), 404)


@pytest.mark.parametrize("kind", ["oci-image", "oci-index", "docker-image", "artifact"])
@pytest.mark.parametrize(
    "accept",
    [
        None,
        ["*/*"],
        ["application/*"],
        EVERYTHING,
        [", ".join(EVERYTHING)],
        [f"{OCI_INDEX};q=0.5, {OCI_MANIFEST}, {DOCKER_MANIFEST};q=0.1", "*/*;q=0.01"],
        ["application/json", "*/*"],
    ],
    ids=["none", "any", "any-application", "several-headers", "one-header", "weighted", "json"],
)
def test_accept_headers_of_real_clients(
    http: httpx.Client, repo: str, seed: str, kind: str, accept: Sequence[str] | None
) -> None:
    """Pull, "Pulling manifests" (Accept): these all get the manifest as it was pushed."""
    pushed = made(kind, seed)
    push(http, repo, pushed, tag="v1")
    for reference in ("v1", pushed.digest):
        response = get(http, repo, reference, accept)
        assert_status(response, 200)
        assert response.content == pushed.manifest.data
        assert response.headers["Content-Type"] == pushed.manifest.media_type


@pytest.mark.parametrize(
    "accept",
    [[DOCKER_LIST], ["*/*"], EVERYTHING, [f"{DOCKER_MANIFEST}, {DOCKER_LIST};q=0.5"]],
    ids=["list", "any", "several-headers", "weighted"],
)
def test_docker_list_for_clients_that_accept_lists(
    http: httpx.Client, repo: str, seed: str, accept: Sequence[str]
) -> None:
    """Content Negotiation: a list is given to whoever accepts lists."""
    pushed = docker_list(seed)
    push(http, repo, pushed, tag="v1")
    for reference in ("v1", pushed.digest):
        response = get(http, repo, reference, accept)
        assert_status(response, 200)
        assert response.headers["Content-Type"] == DOCKER_LIST
        assert response.content == pushed.manifest.data


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_docker_list_for_clients_that_do_not(
    http: httpx.Client, repo: str, seed: str, method: str
) -> None:
    """Content Negotiation: by tag such a client gets the linux/amd64 child, as from registry:2."""
    pushed = docker_list(seed)
    child = pushed.children[1]
    push(http, repo, pushed, tag="v1")
    response = get(http, repo, "v1", [DOCKER_MANIFEST], method=method)
    assert_status(response, 200)
    assert response.headers["Content-Type"] == DOCKER_MANIFEST
    assert response.headers["Docker-Content-Digest"] == child.digest
    assert response.headers["ETag"] == f'"{child.digest}"'
    assert response.headers["Content-Length"] == str(len(child.manifest.data))
    if method == "GET":
        assert response.content == child.manifest.data


def test_docker_list_by_digest_is_never_rewritten(http: httpx.Client, repo: str, seed: str) -> None:
    """Pull, "Pulling manifests": who asks by digest gets what has this digest or nothing."""
    pushed = docker_list(seed)
    push(http, repo, pushed, tag="v1")
    response = get(http, repo, pushed.digest, [DOCKER_MANIFEST])
    if response.status_code == 200:
        assert response.content == pushed.manifest.data, describe(response)
    else:
        assert_error(response, 404, "MANIFEST_UNKNOWN")


def test_docker_list_without_amd64(http: httpx.Client, repo: str, seed: str) -> None:
    """Content Negotiation: without a linux/amd64 child there is nothing to give instead."""
    arm = {"os": "linux", "architecture": "arm64"}
    child = docker_image(seed, architecture="arm64")
    push(http, repo, index([child], platforms=[arm], media_type=DOCKER_LIST), tag="v1")
    response = get(http, repo, "v1", [DOCKER_MANIFEST])
    assert_status(response, 404, 200)
    if response.status_code == 200:
        assert response.headers["Content-Type"] == DOCKER_LIST


@pytest.mark.parametrize("etag", ['"{}"', "{}", 'W/"{}"', '"other", "{}"', "*"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_unchanged_manifest(
    http: httpx.Client, repo: str, seed: str, etag: str, method: str
) -> None:
    """RFC 9110, 13.1.2: If-None-Match with the manifest's entity tag is a 304 without a body."""
    pushed = image(seed)
    push(http, repo, pushed, tag="v1")
    headers = {"If-None-Match": etag.format(pushed.digest)}
    for reference in ("v1", pushed.digest):
        response = http.request(method, f"/v2/{repo}/manifests/{reference}", headers=headers)
        assert_status(response, 304)
        assert response.content == b""
        assert response.headers["ETag"] == f'"{pushed.digest}"'


def test_changed_manifest(http: httpx.Client, repo: str, seed: str) -> None:
    """RFC 9110, 13.1.2: after the tag moved, its old entity tag doesn't match any more."""
    old, new = image(seed), image(f"{seed} new")
    push(http, repo, old, tag="v1")
    push(http, repo, new, tag="v1")
    headers = {"If-None-Match": f'"{old.digest}"'}
    response = http.get(f"/v2/{repo}/manifests/v1", headers=headers)
    assert_status(response, 200)
    assert response.content == new.manifest.data
    assert http.get(f"/v2/{repo}/manifests/{old.digest}").content == old.manifest.data
