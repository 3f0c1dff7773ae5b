"""Every kind of content that the suites of the specification know, through its whole life.

Pushed, listed, checked, pulled, asked for as subject, and deleted: the four workflow categories of
the distribution-spec ("Requirements") in a row for each.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import httpx
import pytest

from tests.conformance.answers import assert_error, assert_status, document
from tests.conformance.pushing import push, push_blob, put_manifest
from tests.wire.images import (
    AMD64,
    ARM64,
    EMPTY,
    OCI_INDEX,
    OCI_LAYER_NONDISTRIBUTABLE,
    OCI_LAYER_NONDISTRIBUTABLE_GZIP,
    OCI_MANIFEST,
    Content,
    Image,
    Json,
    artifact,
    config,
    digest_of,
    docker_list,
    gzip_layer,
    image,
    index,
    inline,
    layer,
    manifest,
    multi_platform,
)

ARTIFACT: Final = "application/vnd.example.conformance.v1+json"
MISSING: Final = Content(OCI_MANIFEST, b"the content of a subject that is never pushed")


def uncompressed(seed: str) -> Image:
    layers = [layer(f"{seed} {n}") for n in range(2)]
    made = config(layers, author=seed)
    return Image(manifest(made, layers), (made, *layers))


def large_manifest(seed: str) -> Image:
    """390 annotations of 10,000 characters: 3.9 MB, just below the limit."""
    return image(seed, fields={"annotations": {f"large-{n}": "A" * 10_000 for n in range(390)}})


def nested_index(seed: str) -> Image:
    """An index of indexes, whose entries have no platform."""
    return index([multi_platform(f"{seed} {n}") for n in range(2)])


def empty_index(seed: str) -> Image:
    return index([], fields={"annotations": {"for": seed}})


def artifact_index(seed: str) -> Image:
    children = [artifact(f"{seed} {n}", artifact_type=ARTIFACT) for n in range(2)]
    return index(children, platforms=[AMD64, ARM64], fields={"artifactType": ARTIFACT})


def artifact_without_layers(seed: str) -> Image:
    """An artifact as the image-spec advises it: the empty descriptor as config and only layer."""
    fields: dict[str, Json] = {"artifactType": ARTIFACT, "annotations": {"for": seed}}
    return Image(manifest(EMPTY, [EMPTY], fields=fields), (EMPTY,))


def index_with_subject(seed: str) -> Image:
    fields: dict[str, Json] = {
        "subject": MISSING.descriptor(),
        "artifactType": ARTIFACT,
        "annotations": {"for": seed},
    }
    return multi_platform(seed, fields=fields)


def missing_subject(seed: str) -> Image:
    return artifact(seed, artifact_type=ARTIFACT, subject=MISSING, annotations={"for": seed})


def data_field(seed: str) -> Image:
    """Descriptors that carry their content, and unknown fields beside it."""
    blob = gzip_layer(seed)
    made = config([blob], author=seed)
    described = {**inline(made), "newUnspecifiedField": "aGVsbG8gd29ybGQ="}
    fields: dict[str, Json] = {"config": described, "layers": [inline(blob)]}
    return Image(manifest(made, [blob], fields=fields), (made, blob))


def nondistributable_layers(seed: str) -> Image:
    """Two layers that lie elsewhere and a normal one."""
    here = gzip_layer(seed)
    away = [
        Content(kind, f"{seed} {kind}".encode())
        for kind in (OCI_LAYER_NONDISTRIBUTABLE_GZIP, OCI_LAYER_NONDISTRIBUTABLE)
    ]
    layers: list[Json] = [
        blob.descriptor(urls=[f"https://store.example.com/{blob.digest}"]) for blob in away
    ]
    made = config([here], author=seed)
    fields: dict[str, Json] = {"layers": [*layers, here.descriptor()]}
    return Image(manifest(made, [here], fields=fields), (made, here))


def custom_fields(seed: str) -> Image:
    extra: dict[str, Json] = {"org.example.extra": {"for": [seed, None, 1.5, {"a": True}]}}
    blob = gzip_layer(seed)
    made = config([blob], author=seed, fields=extra)
    child = Image(manifest(made, [blob], fields=extra), (made, blob))
    return index([child], platforms=[AMD64], fields=extra)


def no_layers(seed: str) -> Image:
    return image(seed, layer_count=0)


KINDS: Final[dict[str, Callable[[str], Image]]] = {
    "image": image,
    "uncompressed": uncompressed,
    "large-manifest": large_manifest,
    "index": multi_platform,
    "nested-index": nested_index,
    "empty-index": empty_index,
    "artifact": artifact,
    "artifact-index": artifact_index,
    "artifact-without-layers": artifact_without_layers,
    "index-with-subject": index_with_subject,
    "missing-subject": missing_subject,
    "data-field": data_field,
    "nondistributable-layers": nondistributable_layers,
    "custom-fields": custom_fields,
    "no-layers": no_layers,
    "docker-list": docker_list,
    "sha512": lambda seed: multi_platform(seed, algorithm="sha512"),
}
TWO_ACCEPTS: Final = [("Accept", OCI_INDEX), ("Accept", OCI_MANIFEST), ("Accept", "*/*")]


def assert_pulled(http: httpx.Client, repo: str, reference: str, expected: Content) -> None:
    """HEAD and GET of a manifest, as the suites ask for it."""
    for method in ("HEAD", "GET"):
        response = http.request(method, f"/v2/{repo}/manifests/{reference}", headers=TWO_ACCEPTS)
        assert_status(response, 200)
        assert response.headers["Content-Type"] == expected.media_type
        assert response.headers["Content-Length"] == str(len(expected.data))
        assert response.headers["Docker-Content-Digest"] == expected.digest
        assert response.content == (expected.data if method == "GET" else b"")


def listed_for(http: httpx.Client, repo: str, pushed: Image) -> dict[str, Any] | None:
    """The entry of the pushed manifest among the referrers of the subject it names."""
    subject = json.loads(pushed.manifest.data)["subject"]["digest"]
    found = document(http.get(f"/v2/{repo}/referrers/{subject}"))["manifests"]
    return next((entry for entry in found if entry["digest"] == pushed.digest), None)


def delete_all(http: httpx.Client, repo: str, pushed: Image, also: Content) -> None:
    """Manifests from above, then blobs; each is gone at once."""
    digests = [made.digest for made in (*pushed.every_manifest(), also)]
    for digest in dict.fromkeys(reversed(digests)):
        path = f"/v2/{repo}/manifests/{digest}"
        assert_status(http.delete(path), 202)
        assert_error(http.head(path), 404)
    for digest in {blob.digest for blob in pushed.every_blob()}:
        path = f"/v2/{repo}/blobs/{digest}"
        assert_status(http.delete(path), 202)
        assert_error(http.head(path), 404)


@pytest.mark.parametrize("kind", KINDS)
def test_life_of(http: httpx.Client, repo: str, seed: str, kind: str) -> None:
    """Requirements: Pull, Push, Content Discovery and Content Management for this content."""
    pushed = KINDS[kind](seed)
    push(http, repo, pushed)
    by_tag = Content(pushed.manifest.media_type, pushed.manifest.data)
    assert_status(put_manifest(http, repo, "some-tag", by_tag), 201)
    assert document(http.get(f"/v2/{repo}/tags/list"))["tags"] == ["some-tag"]
    for made in pushed.every_manifest():
        assert_pulled(http, repo, made.digest, made)
    assert_pulled(http, repo, "some-tag", by_tag)
    for blob in pushed.every_blob():
        assert http.get(f"/v2/{repo}/blobs/{blob.digest}").content == blob.data
    if b'"subject"' in pushed.manifest.data:
        entry = listed_for(http, repo, pushed)
        assert entry == pushed.manifest.descriptor(artifactType=ARTIFACT, annotations={"for": seed})
    assert_status(http.delete(f"/v2/{repo}/manifests/some-tag"), 202)
    assert_error(http.head(f"/v2/{repo}/manifests/some-tag"), 404)
    assert_pulled(http, repo, pushed.digest, pushed.manifest)
    delete_all(http, repo, pushed, by_tag)
    assert document(http.get(f"/v2/{repo}/tags/list"))["tags"] == []


def test_sparse_content(http: httpx.Client, repo: str, seed: str) -> None:
    """Push: what refers to content that isn't there is accepted, or is MANIFEST_BLOB_UNKNOWN."""
    sparse = image(seed)
    push_blob(http, repo, sparse.blobs[0])
    response = put_manifest(http, repo, "sparse-image", sparse.manifest)
    assert_error(response, 400, "MANIFEST_BLOB_UNKNOWN")
    child = image(f"{seed} child")
    push(http, repo, child)
    nowhere = Image(Content(OCI_MANIFEST, f"{seed} nowhere".encode()))
    made = index([child, nowhere], platforms=[AMD64, ARM64])
    response = put_manifest(http, repo, "sparse-index", made.manifest)
    assert_error(response, 400, "MANIFEST_BLOB_UNKNOWN")


def test_the_empty_descriptor() -> None:
    """Image-spec, manifest.md, "Guidance for an Empty Descriptor": our builder has it right."""
    assert EMPTY.digest == (
        "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    )
    assert digest_of(b"") == (
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    assert inline(EMPTY)["data"] == "e30="
