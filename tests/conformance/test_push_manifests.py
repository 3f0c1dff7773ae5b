"""Distribution-spec, "Push": pushing manifests, of every media type, and refusing what is none."""

from __future__ import annotations

import json
from typing import Final

import httpx
import pytest

from tests.conformance.answers import (
    assert_error,
    assert_status,
    document,
    error_codes,
    location_of,
    path_of,
)
from tests.conformance.pushing import push, push_blob, push_parts, put_manifest
from tests.wire.images import (
    AMD64,
    DOCKER_FOREIGN_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    DOCKER_SCHEMA1,
    DOCKER_SCHEMA1_SIGNED,
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
    docker_image,
    docker_list,
    encode,
    gzip_layer,
    image,
    index,
    manifest,
    multi_platform,
    schema1,
)

LIMIT: Final = 4 * 1024 * 1024
"""Manifests of this size must be possible; larger ones are refused."""


def assert_pushed(http: httpx.Client, repo: str, pushed: Content, reference: str) -> None:
    """The manifest can be pushed at `reference` and comes back byte for byte."""
    response = put_manifest(http, repo, reference, pushed)
    assert_status(response, 201)
    assert response.headers["Docker-Content-Digest"] == pushed.digest
    assert path_of(location_of(response)) == f"/v2/{repo}/manifests/{pushed.digest}"
    got = http.get(location_of(response))
    assert_status(got, 200)
    assert got.content == pushed.data
    assert got.headers["Content-Type"] == pushed.media_type


@pytest.mark.parametrize("by", ["tag", "digest"])
@pytest.mark.parametrize("make", [image, docker_image, artifact, multi_platform, docker_list])
def test_push(http: httpx.Client, repo: str, seed: str, by: str, make: object) -> None:
    """Push, "Pushing Manifests" (end-7): 201, the digest, a Location from which it is pulled."""
    assert callable(make)
    pushed: Image = make(seed)
    push_parts(http, repo, pushed)
    assert_pushed(http, repo, pushed.manifest, "v1" if by == "tag" else pushed.digest)
    if by == "digest":
        assert_error(http.get(f"/v2/{repo}/manifests/v1"), 404)


def test_pushing_again(http: httpx.Client, repo: str, seed: str) -> None:
    """Push, "Pushing Manifests": the same manifest is accepted again, at the same tag or others."""
    pushed = image(seed)
    push_parts(http, repo, pushed)
    for reference in ("v1", "v1", "v2", pushed.digest, pushed.digest):
        assert_pushed(http, repo, pushed.manifest, reference)
    assert document(http.get(f"/v2/{repo}/tags/list"))["tags"] == ["v1", "v2"]


def test_moving_a_tag(http: httpx.Client, repo: str, seed: str) -> None:
    """Overview, "Definitions" (Tag): a tag points to one manifest, the last one pushed there."""
    first, second = image(seed), docker_image(seed)
    for pushed in (first, second, first):
        push(http, repo, pushed, tag="v1")
        got = http.get(f"/v2/{repo}/manifests/v1")
        assert got.content == pushed.manifest.data
        assert got.headers["Content-Type"] == pushed.manifest.media_type


@pytest.mark.parametrize("indent", ["\t", "  ", None])
def test_bytes_are_kept(http: httpx.Client, repo: str, seed: str, indent: str | None) -> None:
    """Push, "Pushing Manifests": stored in the exact byte representation, however odd."""
    pushed = image(seed)
    push_parts(http, repo, pushed)
    text = json.dumps(json.loads(pushed.manifest.data), indent=indent, sort_keys=True)
    odd = Content(OCI_MANIFEST, f" \n{text}\r\n\t ".encode())
    assert_pushed(http, repo, odd, "odd")


def test_parameters_of_the_content_type(http: httpx.Client, repo: str, seed: str) -> None:
    """Push, "Pushing Manifests": parameters are ignored, and not sent back."""
    pushed = image(seed)
    push_parts(http, repo, pushed)
    response = http.put(
        f"/v2/{repo}/manifests/v1",
        content=pushed.manifest.data,
        headers={"Content-Type": f"{OCI_MANIFEST}; charset=utf-8"},
    )
    assert_status(response, 201)
    assert http.get(f"/v2/{repo}/manifests/v1").headers["Content-Type"] == OCI_MANIFEST


def test_without_a_media_type_field(http: httpx.Client, repo: str, seed: str) -> None:
    """Image-spec, manifest.md: `mediaType` SHOULD be there; the Content-Type alone is enough."""
    pushed = image(seed)
    push_parts(http, repo, pushed)
    fields = json.loads(pushed.manifest.data)
    del fields["mediaType"]
    assert_pushed(http, repo, Content(OCI_MANIFEST, encode(fields)), "v1")


@pytest.mark.parametrize("said", [OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST])
def test_content_type_and_field_disagree(
    http: httpx.Client, repo: str, seed: str, said: str
) -> None:
    """Push, "Pushing Manifests": Content-Type MUST be the manifest's `mediaType`."""
    pushed = image(seed)
    push_parts(http, repo, pushed)
    lie = Content(said, pushed.manifest.data)
    assert_error(put_manifest(http, repo, "v1", lie), 400, "MANIFEST_INVALID")
    assert_error(http.get(f"/v2/{repo}/manifests/v1"), 404)


@pytest.mark.parametrize("media_type", [DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED])
def test_schema1_is_refused(http: httpx.Client, repo: str, media_type: str) -> None:
    """Overview, "Legacy Docker support": schema 1 is refused, and the answer says why."""
    push_blob(http, repo, EMPTY)
    response = put_manifest(http, repo, "latest", schema1(repo, media_type=media_type))
    assert_error(response, 400, "MANIFEST_INVALID")
    assert "schema" in response.text


@pytest.mark.parametrize("media_type", ["text/html", "application/vnd.example+json"])
def test_other_types_are_refused(http: httpx.Client, repo: str, seed: str, media_type: str) -> None:
    """Push, "Pushing Manifests": what is no manifest's type is refused."""
    pushed = image(seed)
    push_parts(http, repo, pushed)
    response = put_manifest(http, repo, "v1", Content(media_type, pushed.manifest.data))
    assert_status(response, 400, 415)
    error_codes(response)


def test_missing_blobs(http: httpx.Client, repo: str, seed: str) -> None:
    """Push: a manifest that refers to unknown blobs gets one MANIFEST_BLOB_UNKNOWN for each."""
    pushed = image(seed, layer_count=3)
    present, *missing = pushed.blobs
    push_blob(http, repo, present)
    response = put_manifest(http, repo, "v1", pushed.manifest)
    assert_error(response, 400, "MANIFEST_BLOB_UNKNOWN")
    assert error_codes(response) == ["MANIFEST_BLOB_UNKNOWN"] * len(missing)
    assert all(blob.digest in response.text for blob in missing)
    assert present.digest not in response.text
    assert_error(http.get(f"/v2/{repo}/manifests/v1"), 404)
    assert_error(http.get(f"/v2/{repo}/manifests/{pushed.digest}"), 404)


def test_blobs_of_another_repository(http: httpx.Client, repo: str, seed: str) -> None:
    """Push: descriptors refer to content of the same repository."""
    pushed = image(seed)
    push_parts(http, f"{repo}/other", pushed)
    response = put_manifest(http, repo, "v1", pushed.manifest)
    assert_error(response, 400, "MANIFEST_BLOB_UNKNOWN")


@pytest.mark.parametrize("make", [multi_platform, docker_list])
def test_missing_children(http: httpx.Client, repo: str, seed: str, make: object) -> None:
    """Push: the same holds for the manifests of an index or list."""
    assert callable(make)
    pushed: Image = make(seed)
    push(http, repo, pushed.children[0])
    response = put_manifest(http, repo, "v1", pushed.manifest)
    assert_error(response, 400, "MANIFEST_BLOB_UNKNOWN")
    assert pushed.children[1].digest in response.text
    assert_error(http.get(f"/v2/{repo}/manifests/v1"), 404)


def foreign(media_type: str, seed: str) -> dict[str, Json]:
    """The descriptor of a layer that lies elsewhere and is never pushed."""
    away = Content(media_type, f"{seed} elsewhere".encode())
    return away.descriptor(urls=[f"https://store.example.com/{away.digest}"])


@pytest.mark.parametrize(
    "media_type",
    [OCI_LAYER_NONDISTRIBUTABLE, OCI_LAYER_NONDISTRIBUTABLE_GZIP, DOCKER_FOREIGN_LAYER],
)
def test_layers_that_lie_elsewhere(
    http: httpx.Client, repo: str, seed: str, media_type: str
) -> None:
    """Image-spec, layer.md, "Non-Distributable Layers": accepted without their blobs."""
    here = gzip_layer(seed)
    made = config([here], author=seed)
    layers: list[Json] = [foreign(media_type, seed), here.descriptor()]
    kind = DOCKER_MANIFEST if media_type == DOCKER_FOREIGN_LAYER else OCI_MANIFEST
    pushed = manifest(made, [], media_type=kind, fields={"layers": layers})
    push_blob(http, repo, made)
    push_blob(http, repo, here)
    assert_pushed(http, repo, pushed, "v1")


def sized(pushed: Image, size: int) -> Content:
    """The image's manifest with an annotation that brings it to exactly `size` bytes."""
    fields = json.loads(pushed.manifest.data)
    fields["annotations"] = {"padding": ""}
    missing = size - len(encode(fields))
    fields["annotations"]["padding"] = "x" * missing
    return Content(OCI_MANIFEST, encode(fields))


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT])
def test_large_manifest(http: httpx.Client, repo: str, seed: str, size: int) -> None:
    """Push, "Pushing Manifests": pushes of at least 4 MiB are to be supported."""
    pushed = image(seed)
    push_parts(http, repo, pushed)
    assert_pushed(http, repo, sized(pushed, size), "large")


@pytest.mark.parametrize("size", [LIMIT + 1, 3 * LIMIT])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_manifest_over_the_limit(
    http: httpx.Client, repo: str, seed: str, size: int, framing: str
) -> None:
    """Push, "Pushing Manifests": over the limit the answer is 413, whatever says the length."""
    pushed = image(seed)
    push_parts(http, repo, pushed)
    data = sized(pushed, size).data
    content = data if framing == "length" else iter([data[:LIMIT], data[LIMIT:]])
    response = http.put(
        f"/v2/{repo}/manifests/large", content=content, headers={"Content-Type": OCI_MANIFEST}
    )
    assert_error(response, 413)
    assert_error(http.get(f"/v2/{repo}/manifests/large"), 404)


def test_wrong_digest(http: httpx.Client, repo: str, seed: str) -> None:
    """API, "Error Codes" (code-4): bytes that don't have the digest of the path are a 400."""
    pushed = image(seed)
    push_parts(http, repo, pushed)
    lie = Content(OCI_MANIFEST, pushed.manifest.data + b"  ")
    assert_error(put_manifest(http, repo, pushed.digest, lie), 400, "DIGEST_INVALID")
    for digest in (pushed.digest, lie.digest):
        assert_error(http.get(f"/v2/{repo}/manifests/{digest}"), 404)


@pytest.mark.parametrize(
    "reference",
    ["sha256:baddigeststring", "sha256:" + "A" * 64, "md5:" + "0" * 32, "sha512:" + "0" * 64],
)
def test_malformed_digest(http: httpx.Client, repo: str, seed: str, reference: str) -> None:
    """Push, "Pushing Manifests": a reference with a colon is a digest or nothing."""
    pushed = image(seed)
    push_parts(http, repo, pushed)
    assert_error(put_manifest(http, repo, reference, pushed.manifest), 400, "DIGEST_INVALID")


@pytest.mark.parametrize(
    "tag", ["v", "_", "A.b-c_D", "0", "1.0.0", "sha256-" + "a" * 64, "t" * 128]
)
def test_tags_of_the_grammar(http: httpx.Client, repo: str, seed: str, tag: str) -> None:
    """Pull, "Pulling manifests": up to 128 characters of the tag's grammar."""
    pushed = image(seed)
    push(http, repo, pushed, tag=tag)
    assert http.get(f"/v2/{repo}/manifests/{tag}").content == pushed.manifest.data
    assert document(http.get(f"/v2/{repo}/tags/list"))["tags"] == [tag]


@pytest.mark.parametrize(
    "tag", [".a", "-a", "a%20b", "a%2Bb", "%C3%A9", "a%00", "t" * 129, "a@b", "a%0Ab"]
)
def test_other_tags_are_refused(http: httpx.Client, repo: str, seed: str, tag: str) -> None:
    """Pull, "Pulling manifests": what is not in the grammar can't be pushed."""
    pushed = image(seed)
    push_parts(http, repo, pushed)
    response = put_manifest(http, repo, tag, pushed.manifest)
    assert_error(response, 400, "TAG_INVALID", "MANIFEST_INVALID", "NAME_INVALID")


D: Final = digest_of(b"{}")
GOOD: Final[dict[str, Json]] = {"mediaType": EMPTY.media_type, "digest": D, "size": 2}

NO_MANIFESTS: Final[dict[str, bytes]] = {
    "nothing": b"",
    "text": b"blablabla",
    "cut": b'{"schemaVersion": 2, "conf',
    "list": b"[]",
    "number": b"2",
    "null": b"null",
    "string": b'"manifest"',
    "latin-1": b'{"schemaVersion":2,"annotations":{"a":"\xe9"}}',
    "nul": b"\x00" * 100,
    "deep": b"[" * 100_000,
    "deep-object": b'{"a":' * 100_000,
    "empty-object": b"{}",
    "config-missing": encode({"schemaVersion": 2, "layers": []}),
    "config-string": encode({"schemaVersion": 2, "config": "c", "layers": []}),
    "layers-object": encode({"schemaVersion": 2, "config": GOOD, "layers": {}}),
    "layer-string": encode({"schemaVersion": 2, "config": GOOD, "layers": ["l"]}),
    "layer-null": encode({"schemaVersion": 2, "config": GOOD, "layers": [None]}),
    "digest-missing": encode({"schemaVersion": 2, "config": {"size": 2}, "layers": []}),
    "digest-bad": encode({"schemaVersion": 2, "config": {**GOOD, "digest": "x"}, "layers": []}),
    "digest-path": encode(
        {"schemaVersion": 2, "config": {**GOOD, "digest": "sha256:../../x"}, "layers": []}
    ),
    "digest-number": encode({"schemaVersion": 2, "config": {**GOOD, "digest": 5}, "layers": []}),
    "size-negative": encode({"schemaVersion": 2, "config": {**GOOD, "size": -1}, "layers": []}),
    "size-string": encode({"schemaVersion": 2, "config": {**GOOD, "size": "2"}, "layers": []}),
    "schema-1": encode({"schemaVersion": 1, "config": GOOD, "layers": []}),
    "schema-string": encode({"schemaVersion": "2", "config": GOOD, "layers": []}),
    "subject-string": encode(
        {"schemaVersion": 2, "config": GOOD, "layers": [], "subject": "sha256:1"}
    ),
    "subject-bad-digest": encode(
        {"schemaVersion": 2, "config": GOOD, "layers": [], "subject": {**GOOD, "digest": "x"}}
    ),
    "annotations-list": encode(
        {"schemaVersion": 2, "config": GOOD, "layers": [], "annotations": ["a"]}
    ),
    "index-and-image": encode(
        {"schemaVersion": 2, "config": GOOD, "layers": [], "manifests": [GOOD]}
    ),
    "schema1-and-2": encode({"schemaVersion": 2, "config": GOOD, "layers": [], "fsLayers": [{}]}),
}


@pytest.mark.parametrize("name", NO_MANIFESTS)
def test_what_is_no_manifest(http: httpx.Client, repo: str, name: str) -> None:
    """API, "Error Codes" (code-6): MANIFEST_INVALID, and nothing is stored."""
    push_blob(http, repo, EMPTY)
    refused = Content(OCI_MANIFEST, NO_MANIFESTS[name])
    response = put_manifest(http, repo, "v1", refused)
    assert_error(response, 400, "MANIFEST_INVALID")
    assert_error(http.get(f"/v2/{repo}/manifests/v1"), 404)
    assert_error(http.get(f"/v2/{repo}/manifests/{refused.digest}"), 404)


@pytest.mark.parametrize("entries", ["x", {}, ["x"], [{"size": 1}], [{**GOOD, "digest": "x"}]])
def test_what_is_no_index(http: httpx.Client, repo: str, entries: Json) -> None:
    """API, "Error Codes" (code-6): the same for an index."""
    push_blob(http, repo, EMPTY)
    made = index([], fields={"manifests": entries})
    assert_error(put_manifest(http, repo, "v1", made.manifest), 400, "MANIFEST_INVALID")


def test_index_that_is_also_an_image(http: httpx.Client, repo: str) -> None:
    """Image-spec, image-index.md: a document that could be read as both kinds is refused."""
    push_blob(http, repo, EMPTY)
    made = index([], fields={"config": GOOD, "layers": [GOOD]})
    assert_error(put_manifest(http, repo, "v1", made.manifest), 400, "MANIFEST_INVALID")


def test_same_blob_many_times(http: httpx.Client, repo: str, seed: str) -> None:
    """Image-spec, manifest.md: layers may repeat, and be the config too."""
    blob = gzip_layer(seed)
    push_blob(http, repo, EMPTY)
    push_blob(http, repo, blob)
    assert_pushed(http, repo, manifest(EMPTY, [blob, EMPTY, blob, EMPTY]), "v1")


def test_index_with_repeated_children(http: httpx.Client, repo: str, seed: str) -> None:
    """Image-spec, image-index.md: entries may name the same manifest for several platforms."""
    child = image(seed)
    push(http, repo, child)
    made = index([child, child], platforms=[AMD64, {**AMD64, "variant": "v2"}])
    assert_pushed(http, repo, made.manifest, "v1")


def test_many_entries(http: httpx.Client, repo: str, seed: str) -> None:
    """Image-spec, manifest.md, image-index.md: no limit on layers or entries but the size."""
    blob, child = gzip_layer(seed), artifact(seed)
    push_blob(http, repo, blob)
    push(http, repo, child)
    assert_pushed(http, repo, manifest(EMPTY, [blob] * 5000), "layers")
    assert_pushed(http, repo, index([child] * 5000).manifest, "entries")
    missing = manifest(EMPTY, [gzip_layer(f"{seed} {n}") for n in range(300)])
    response = put_manifest(http, repo, "missing", missing)
    assert_error(response, 400, "MANIFEST_BLOB_UNKNOWN")
    assert len(error_codes(response)) == 300
