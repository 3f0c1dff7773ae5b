"""Distribution-spec, "Pushing Manifests with Subject", "Listing Referrers" and their fallback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.conformance.answers import assert_error, assert_status, document, next_page
from tests.conformance.pushing import push, push_parts, put_manifest
from tests.wire.images import (
    OCI_INDEX,
    OCI_MANIFEST,
    Content,
    Image,
    Json,
    artifact,
    digest_of,
    empty,
    encode,
    fallback_tag,
    image,
    index,
    multi_platform,
)

SBOM = "application/vnd.example.sbom.v1"
SIGNATURE = "application/vnd.example.signature.v1"


def referrers(
    http: httpx.Client, repo: str, subject: str, *, artifact_type: str | None = None
) -> list[dict[str, Any]]:
    """The descriptors of all pages; every page must be a valid index (end-12)."""
    found: list[dict[str, Any]] = []
    path: str | None = f"/v2/{repo}/referrers/{subject}"
    if artifact_type is not None:
        path = f"{path}?{httpx.QueryParams({'artifactType': artifact_type})}"
    while path is not None:
        response = http.get(path)
        page = document(response)
        assert response.headers["Content-Type"] == OCI_INDEX
        assert page["schemaVersion"] == 2
        assert page["mediaType"] == OCI_INDEX
        filters = None if artifact_type is None else "artifactType"
        assert response.headers.get("OCI-Filters-Applied") == filters
        found.extend(page["manifests"])
        path = next_page(response)
    return found


def digests(descriptors: list[dict[str, Any]]) -> list[str]:
    """The digests of `descriptors`, sorted."""
    return sorted(entry["digest"] for entry in descriptors)


def push_referrer(
    http: httpx.Client, repo: str, referrer: Image, subject: str, *, reference: str | None = None
) -> None:
    """Pushes a manifest with a subject; the answer must say that it was understood."""
    push_parts(http, repo, referrer)
    response = put_manifest(http, repo, reference or referrer.digest, referrer.manifest)
    assert_status(response, 201)
    assert response.headers["OCI-Subject"] == subject


def test_no_subject_no_header(http: httpx.Client, repo: str, seed: str) -> None:
    """Push, "Pushing Manifests with Subject": OCI-Subject only where there is a subject."""
    pushed = image(seed)
    push_parts(http, repo, pushed)
    response = put_manifest(http, repo, "v1", pushed.manifest)
    assert_status(response, 201)
    assert "OCI-Subject" not in response.headers


@pytest.mark.parametrize("reference", ["tag", "digest"])
def test_referrer(http: httpx.Client, repo: str, seed: str, reference: str) -> None:
    """Listing Referrers: media type, size, digest, artifactType and annotations of the referrer."""
    subject = image(seed)
    annotations = {
        "org.example.format": "json",
        "org.example.größe": '"\\ \u6f22\U0001f600',
        "": "",
    }
    referrer = artifact(seed, artifact_type=SBOM, subject=subject.manifest, annotations=annotations)
    push(http, repo, subject, tag="v1")
    tag = "sbom" if reference == "tag" else None
    push_referrer(http, repo, referrer, subject.digest, reference=tag)
    assert referrers(http, repo, subject.digest) == [
        {
            "mediaType": OCI_MANIFEST,
            "digest": referrer.digest,
            "size": len(referrer.manifest.data),
            "artifactType": SBOM,
            "annotations": annotations,
        }
    ]


def test_artifact_type_of_the_config(http: httpx.Client, repo: str, seed: str) -> None:
    """Listing Referrers: without artifactType (or with "") it is the config's media type."""
    subject = image(seed)
    config = Content("application/vnd.example.config.v1+json", encode({"for": seed}))
    plain = artifact(seed, artifact_type=None, config=config, subject=subject.manifest)
    blank = artifact(f"{seed} b", artifact_type="", config=config, subject=subject.manifest)
    for referrer in (plain, blank):
        push_referrer(http, repo, referrer, subject.digest)
    found = referrers(http, repo, subject.digest)
    assert digests(found) == sorted([plain.digest, blank.digest])
    assert [entry["artifactType"] for entry in found] == [config.media_type] * 2
    assert all("annotations" not in entry for entry in found)
    filtered = referrers(http, repo, subject.digest, artifact_type=config.media_type)
    assert digests(filtered) == digests(found)


def test_index_as_referrer(http: httpx.Client, repo: str, seed: str) -> None:
    """Listing Referrers: an index without artifactType is listed without one."""
    subject = image(seed)
    fields: dict[str, Json] = {
        "subject": subject.manifest.descriptor(),
        "annotations": {"n": "1"},
    }
    plain = multi_platform(seed, fields=fields)
    typed = index([], fields={**fields, "artifactType": SBOM})
    for referrer in (plain, typed):
        push_referrer(http, repo, referrer, subject.digest)
    found = {entry["digest"]: entry for entry in referrers(http, repo, subject.digest)}
    assert found.keys() == {plain.digest, typed.digest}
    assert found[plain.digest] == plain.manifest.descriptor(annotations={"n": "1"})
    expected = typed.manifest.descriptor(artifactType=SBOM, annotations={"n": "1"})
    assert found[typed.digest] == expected


def test_ordinary_image_as_referrer(http: httpx.Client, repo: str, seed: str) -> None:
    """Listing Referrers: any image may have a subject; its type is its config's."""
    subject = multi_platform(seed)
    push(http, repo, subject)
    referrer = image(f"{seed} r", fields={"subject": subject.manifest.descriptor()})
    push_referrer(http, repo, referrer, subject.digest)
    (found,) = referrers(http, repo, subject.digest)
    assert found["artifactType"] == "application/vnd.oci.image.config.v1+json"


def test_filter(http: httpx.Client, repo: str, seed: str) -> None:
    """Listing Referrers (end-12b): only the asked artifactType, and the header says so."""
    subject = image(seed)
    made = [
        artifact(f"{seed} {n}", artifact_type=kind, subject=subject.manifest)
        for n, kind in enumerate([SBOM, SIGNATURE, SBOM, "a+b/c; d=é&x"])
    ]
    for referrer in made:
        push_referrer(http, repo, referrer, subject.digest)
    assert digests(referrers(http, repo, subject.digest)) == sorted(r.digest for r in made)
    expected: Mapping[str, list[Image]] = {
        SBOM: [made[0], made[2]],
        SIGNATURE: [made[1]],
        "a+b/c; d=é&x": [made[3]],
        "application/vnd.nobody": [],
    }
    for kind, wanted in expected.items():
        found = referrers(http, repo, subject.digest, artifact_type=kind)
        assert digests(found) == sorted(r.digest for r in wanted)
        assert all(entry["artifactType"] == kind for entry in found)


def test_nothing_refers(http: httpx.Client, repo: str, seed: str) -> None:
    """Listing Referrers: an empty list, never a 404, for any subject in any repository."""
    subject = image(seed)
    assert referrers(http, repo, subject.digest) == []
    push(http, repo, subject)
    assert referrers(http, repo, subject.digest) == []
    assert referrers(http, repo, digest_of(b"nobody"), artifact_type=SBOM) == []


@pytest.mark.parametrize("digest", ["sha256:totallywrong", "latest", "md5:" + "0" * 32])
def test_malformed_subject(http: httpx.Client, repo: str, digest: str) -> None:
    """Listing Referrers: a digest with invalid syntax is a 400."""
    assert_error(http.get(f"/v2/{repo}/referrers/{digest}"), 400, "DIGEST_INVALID")


def test_head(http: httpx.Client, repo: str, seed: str) -> None:
    """RFC 9110, 9.3.2: HEAD works where GET does."""
    path = f"/v2/{repo}/referrers/{digest_of(seed.encode())}"
    head = http.head(path)
    assert_status(head, 200)
    assert head.headers["Content-Type"] == OCI_INDEX
    assert head.headers["Content-Length"] == http.get(path).headers["Content-Length"]


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_subject_that_comes_later(http: httpx.Client, repo: str, seed: str, algorithm: str) -> None:
    """Push: a subject need not exist yet; image and referrers may come in either order."""
    subject = image(seed, algorithm=algorithm)
    referrer = artifact(
        seed, subject=subject.manifest, algorithm=algorithm, config=empty(algorithm)
    )
    push_referrer(http, repo, referrer, subject.digest)
    assert digests(referrers(http, repo, subject.digest)) == [referrer.digest]
    assert_error(http.get(f"/v2/{repo}/manifests/{subject.digest}"), 404)
    push(http, repo, subject)
    assert digests(referrers(http, repo, subject.digest)) == [referrer.digest]


def test_referrers_of_referrers(http: httpx.Client, repo: str, seed: str) -> None:
    """Listing Referrers: a referrer is a subject like others (a signed SBOM)."""
    subject = image(seed)
    sbom = artifact(seed, artifact_type=SBOM, subject=subject.manifest)
    signature = artifact(f"{seed} s", artifact_type=SIGNATURE, subject=sbom.manifest)
    push_referrer(http, repo, signature, sbom.digest)
    push_referrer(http, repo, sbom, subject.digest)
    assert digests(referrers(http, repo, subject.digest)) == [sbom.digest]
    assert digests(referrers(http, repo, sbom.digest)) == [signature.digest]


def test_referrers_belong_to_their_repository(http: httpx.Client, repo: str, seed: str) -> None:
    """Listing Referrers: only manifests of the asked repository are listed."""
    subject = image(seed)
    push_referrer(http, repo, artifact(seed, subject=subject.manifest), subject.digest)
    push(http, f"{repo}/other", subject)
    assert referrers(http, f"{repo}/other", subject.digest) == []


def test_pushing_a_referrer_again(http: httpx.Client, repo: str, seed: str) -> None:
    """Listing Referrers: a referrer is listed once, however often and wherever it was pushed."""
    subject = image(seed)
    referrer = artifact(seed, subject=subject.manifest)
    for reference in (None, "one", "two", None):
        push_referrer(http, repo, referrer, subject.digest, reference=reference)
    assert digests(referrers(http, repo, subject.digest)) == [referrer.digest]


def test_many_referrers(http: httpx.Client, repo: str, seed: str) -> None:
    """Listing Referrers: the pages, if there are several, make the whole list."""
    subject = image(seed)
    made = [artifact(f"{seed} {n}", subject=subject.manifest) for n in range(30)]
    for referrer in made:
        push_referrer(http, repo, referrer, subject.digest)
    assert digests(referrers(http, repo, subject.digest)) == sorted(r.digest for r in made)


def test_deleting_a_referrer(http: httpx.Client, repo: str, seed: str) -> None:
    """Content Management, "Deleting Manifests": a deleted referrer is listed no more."""
    subject = image(seed)
    gone, kept = (artifact(f"{seed} {n}", subject=subject.manifest) for n in range(2))
    push(http, repo, subject)
    push_referrer(http, repo, gone, subject.digest, reference="gone")
    push_referrer(http, repo, kept, subject.digest, reference="kept")
    assert_status(http.delete(f"/v2/{repo}/manifests/kept"), 202)
    assert len(referrers(http, repo, subject.digest)) == 2
    assert_status(http.delete(f"/v2/{repo}/manifests/{gone.digest}"), 202)
    assert digests(referrers(http, repo, subject.digest)) == [kept.digest]
    push_referrer(http, repo, gone, subject.digest)
    assert len(referrers(http, repo, subject.digest)) == 2


def test_deleting_the_subject(http: httpx.Client, repo: str, seed: str) -> None:
    """Content Management, "Deleting Manifests": what refers to the subject goes with it, unless it
    has a tag of its own; and it may be pushed again without it.
    """
    subject = image(seed)
    gone, kept = (artifact(f"{seed} {n}", subject=subject.manifest) for n in range(2))
    push(http, repo, subject)
    push_referrer(http, repo, gone, subject.digest)
    push_referrer(http, repo, kept, subject.digest, reference="kept")
    assert_status(http.delete(f"/v2/{repo}/manifests/{subject.digest}"), 202)
    assert digests(referrers(http, repo, subject.digest)) == [kept.digest]
    assert_status(http.head(f"/v2/{repo}/manifests/{gone.digest}"), 404)
    assert_status(http.get(f"/v2/{repo}/manifests/kept"), 200)
    push_referrer(http, repo, gone, subject.digest)
    assert len(referrers(http, repo, subject.digest)) == 2


def push_fallback(
    http: httpx.Client, repo: str, subject: str, listed: list[dict[str, Json]]
) -> None:
    """What a client without the referrers API does: keeps an index at the fallback tag."""
    made = index([], fields={"manifests": listed})
    assert_status(put_manifest(http, repo, fallback_tag(subject), made.manifest), 201)


def old_style(seed: str) -> Image:
    """An artifact whose client didn't write the `subject` field."""
    return artifact(seed, artifact_type=SIGNATURE, annotations={"made": "long ago"})


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_fallback_tag_of_old_clients(
    http: httpx.Client, repo: str, seed: str, algorithm: str
) -> None:
    """Enabling the Referrers API: what an index at the fallback tag lists is found by the API."""
    subject = image(seed, algorithm=algorithm)
    old = old_style(seed)
    push(http, repo, subject)
    push(http, repo, old)
    entry = old.manifest.descriptor(artifactType=SIGNATURE, annotations={"made": "long ago"})
    push_fallback(http, repo, subject.digest, [entry])
    assert referrers(http, repo, subject.digest) == [entry]
    assert referrers(http, repo, subject.digest, artifact_type=SIGNATURE) == [entry]
    assert referrers(http, repo, subject.digest, artifact_type=SBOM) == []
    # Clients that know the tag only go on using it.
    tag = http.get(f"/v2/{repo}/manifests/{fallback_tag(subject.digest)}")
    assert document(tag)["manifests"] == [entry]


def test_fallback_tag_beside_the_api(http: httpx.Client, repo: str, seed: str) -> None:
    """Enabling the Referrers API: old and new clients together, each referrer once."""
    subject = image(seed)
    new = artifact(f"{seed} new", artifact_type=SBOM, subject=subject.manifest)
    old = old_style(seed)
    push(http, repo, subject)
    push(http, repo, old)
    push_referrer(http, repo, new, subject.digest)
    listed = [
        new.manifest.descriptor(artifactType=SBOM),
        old.manifest.descriptor(artifactType=SIGNATURE),
    ]
    push_fallback(http, repo, subject.digest, listed)
    assert digests(referrers(http, repo, subject.digest)) == sorted([new.digest, old.digest])
    push_fallback(http, repo, subject.digest, [])
    assert digests(referrers(http, repo, subject.digest)) == [new.digest]


def test_fallback_tag_that_is_no_index(http: httpx.Client, repo: str, seed: str) -> None:
    """Referrers Tag Schema: something else at that tag (an image, a signature) lists nothing."""
    subject = image(seed)
    push(http, repo, subject)
    push(http, repo, image(f"{seed} other"), tag=fallback_tag(subject.digest))
    assert referrers(http, repo, subject.digest) == []


def test_deleting_the_fallback_tag(http: httpx.Client, repo: str, seed: str) -> None:
    """Content Management, "Deleting Manifests": without the tag, what only it listed is gone."""
    subject = image(seed)
    old = old_style(seed)
    push(http, repo, subject)
    push(http, repo, old)
    push_fallback(http, repo, subject.digest, [old.manifest.descriptor()])
    assert len(referrers(http, repo, subject.digest)) == 1
    tag = fallback_tag(subject.digest)
    assert_status(http.delete(f"/v2/{repo}/manifests/{tag}"), 202)
    assert referrers(http, repo, subject.digest) == []


def test_deleting_what_the_fallback_tag_lists(http: httpx.Client, repo: str, seed: str) -> None:
    """Listing Referrers: descriptors are of manifests in the repository, not of deleted ones."""
    subject = image(seed)
    old = old_style(seed)
    push(http, repo, subject)
    push(http, repo, old)
    push_fallback(http, repo, subject.digest, [old.manifest.descriptor()])
    assert_status(http.delete(f"/v2/{repo}/manifests/{old.digest}"), 202)
    assert referrers(http, repo, subject.digest) == []
