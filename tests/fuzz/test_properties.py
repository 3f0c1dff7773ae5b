"""Properties of names, tags, digests, ranges, uploads and lists, tried over the wire."""

from __future__ import annotations

import re
import uuid
from typing import Final
from urllib.parse import quote

import httpx
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.conformance.answers import (
    assert_error,
    assert_status,
    document,
    held,
    location_of,
    next_page,
)
from tests.conformance.pushing import (
    OCTET_STREAM,
    finish,
    push,
    push_blob,
    push_parts,
    put_manifest,
    send_chunk,
    start_upload,
)
from tests.fuzz.bounds import BOUNDED
from tests.wire.images import (
    EMPTY,
    OCI_MANIFEST,
    OCTETS,
    Content,
    Image,
    Json,
    digest_of,
    encode,
    image,
    random_bytes,
)

RUN: Final = uuid.uuid4().hex[:8]

NAME: Final = re.compile(
    r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*", re.ASCII
)
TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)
DIGEST: Final = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}", re.ASCII)

# A segment of dots alone would be taken out of the path by the HTTP client.
texts = st.text(max_size=40).filter(lambda t: not re.search(r"(^|/)\.{1,2}(/|$)", t))
component = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,8}){0,3}", fullmatch=True)
names = st.lists(component, min_size=1, max_size=6).map("/".join)
near_names = st.text(alphabet="aZ0-_./:@ %é\0", min_size=1, max_size=12).filter(
    lambda t: not re.search(r"(^|/)\.{1,2}(/|$)", t)
)
tags = st.from_regex(TAG, fullmatch=True)
near_tags = st.text(alphabet="aZ0-_.+~ %é:@\n", min_size=1, max_size=8)
near_digests = st.one_of(
    st.from_regex(r"(sha256|sha512|sha384|md5|SHA256|sha2)?:?[a-fA-F0-9]{0,130}", fullmatch=True),
    st.from_regex(r"sha256:[a-f0-9]{62,66}", fullmatch=True),
    st.from_regex(r"sha512:[a-f0-9]{126,130}", fullmatch=True),
    texts,
)


@pytest.fixture(scope="module")
def subject(http: httpx.Client) -> Image:
    """An image in `fuzz/<run>`, for references and tags."""
    pushed = image(f"fuzz {RUN}", layer_count=1)
    push(http, f"fuzz/{RUN}", pushed, tag="latest")
    return pushed


def test_names(http: httpx.Client) -> None:
    """A name of the grammar and at most 255 characters begins an upload; no other one does."""

    @BOUNDED
    @given(st.one_of(names, near_names, texts.filter(bool)))
    @example("a" * 255)
    @example("a" * 256)
    @example("a" + "/b" * 127)
    @example("a\n")
    @example("ａ")
    @example("a²")
    def check(name: str) -> None:
        response = http.post(f"/v2/{quote(name, safe='/')}/blobs/uploads/")
        if NAME.fullmatch(name) and len(name) <= 255:
            assert_status(response, 202)
        else:
            assert_status(response, 400, 404, 405)

    check()


def test_tags(http: httpx.Client, subject: Image) -> None:
    """A tag of the grammar can be pushed and pulled; no other one can be either."""
    repo = f"fuzz/{RUN}"

    @BOUNDED
    @given(st.one_of(tags, near_tags, texts.filter(lambda t: t and "/" not in t)))
    @example("a" * 128)
    @example("a" * 129)
    @example("a\n")
    @example("²")
    def check(tag: str) -> None:
        assume("/" not in tag and tag not in (".", ".."))
        reference = quote(tag, safe="")
        pushed = put_manifest(http, repo, reference, subject.manifest)
        pulled = http.get(f"/v2/{repo}/manifests/{reference}")
        if TAG.fullmatch(tag):
            assert_status(pushed, 201)
            assert pulled.content == subject.manifest.data
        else:
            assert_error(pushed, 400)
            assert_status(pulled, 400, 404)

    check()


def test_digests(http: httpx.Client, subject: Image) -> None:
    """A well-formed unknown digest is not found; a malformed one is refused, everywhere alike."""
    repo = f"fuzz/{RUN}"

    @BOUNDED
    @given(near_digests)
    def check(digest: str) -> None:
        assume(digest and "/" not in digest)
        path = quote(digest, safe="")
        assume(digest not in (subject.digest, *(blob.digest for blob in subject.blobs)))
        blob = http.get(f"/v2/{repo}/blobs/{path}")
        referrers = http.get(f"/v2/{repo}/referrers/{path}")
        closed = finish(http, start_upload(http, repo), digest, b"bytes")
        assert_error(closed, 400, "DIGEST_INVALID")
        if DIGEST.fullmatch(digest):
            assert_error(blob, 404, "BLOB_UNKNOWN")
            assert document(referrers)["manifests"] == []
        else:
            assert_status(blob, 400, 404, 405)
            assert_error(referrers, 400)

    check()


@pytest.mark.parametrize("size", [1, 1000, 200_000])
def test_ranges(http: httpx.Client, size: int) -> None:
    """For every range: the part that RFC 9110 says, or 416 where no byte of it exists."""
    repo = f"fuzz/{RUN}"
    blob = Content(OCTETS, random_bytes(size, f"{RUN} {size}"))
    push_blob(http, repo, blob)
    bounds = st.one_of(st.integers(0, 2 * size), st.sampled_from([0, 1, size - 1, size, 2**63]))

    @BOUNDED
    @given(first=st.none() | bounds, last=st.none() | bounds)
    def check(first: int | None, last: int | None) -> None:
        assume(first is not None or last is not None)
        asked = f"bytes={'' if first is None else first}-{'' if last is None else last}"
        response = http.get(f"/v2/{repo}/blobs/{blob.digest}", headers={"Range": asked})
        if first is None:
            start, stop = max(0, size - (last or 0)), size
        else:
            start, stop = first, size if last is None else min(last + 1, size)
        if start >= stop:
            assert_error(response, 416)
            assert response.headers["Content-Range"] == f"bytes */{size}"
        else:
            assert_status(response, 206)
            assert response.content == blob.data[start:stop]
            assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"

    check()


def test_range_headers(http: httpx.Client) -> None:
    """Whatever the header says, the answer is the blob, a part of it, or a refusal."""
    repo = f"fuzz/{RUN}"
    blob = Content(OCTETS, random_bytes(500, f"{RUN} headers"))
    push_blob(http, repo, blob)
    printable = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=30)

    @BOUNDED
    @given(st.one_of(printable, st.from_regex(r"bytes ?= ?[0-9, -]{0,20}", fullmatch=True)))
    def check(text: str) -> None:
        header = text.strip()
        headers = {"Range": header, "If-None-Match": header[::-1]}
        response = http.get(f"/v2/{repo}/blobs/{blob.digest}", headers=headers)
        assert_status(response, 200, 206, 400, 416, 304)
        if response.status_code == 200:
            assert response.content == blob.data
        if response.status_code == 206:
            assert response.content in blob.data

    check()


def test_uploads(http: httpx.Client) -> None:
    """However an upload is cut, and whatever goes wrong between, the blob is what was sent."""
    repo = f"fuzz/{RUN}"
    steps = st.lists(
        st.tuples(st.sampled_from(["chunk", "stream", "ahead", "again"]), st.integers(0, 3000)),
        max_size=8,
    )

    @BOUNDED
    @given(steps=steps, rest=st.binary(max_size=2000), algorithm=st.sampled_from([256, 512]))
    def check(steps: list[tuple[str, int]], rest: bytes, algorithm: int) -> None:
        location, sent = start_upload(http, repo), b""
        for number, (step, size) in enumerate(steps):
            data = random_bytes(size, f"{number}")
            if step == "stream":
                response = http.patch(location, content=data, headers=OCTET_STREAM)
                assert_status(response, 202)
                sent += data
            elif size:
                off = {"chunk": 0, "ahead": 1, "again": -1}[step]
                assume(len(sent) + off >= 0)
                response = send_chunk(http, location, data, start=len(sent) + off)
                assert_status(response, 416 if off else 202)
                sent += b"" if off else data
            status = http.get(location)
            assert_status(status, 204)
            assert held(status) == max(len(sent), 1)
            location = location_of(status)
        digest = digest_of(sent + rest, f"sha{algorithm}")
        assert_status(finish(http, location, digest, rest), 201)
        assert http.get(f"/v2/{repo}/blobs/{digest}").content == sent + rest

    check()


def test_pages_of_tags(http: httpx.Client, subject: Image) -> None:
    """For every n and last: the next n tags after last, in byte order; a link iff more follow."""
    repo = f"fuzz/{RUN}/pages"
    push_parts(http, repo, subject)
    known = [f"{head}{tail}" for head in "aAzZ_09" for tail in ("", "-1", ".1", "_", "a", "A")]
    for start in range(0, len(known), 10):
        response = http.put(
            f"/v2/{repo}/manifests/{subject.digest}",
            params=[("tag", tag) for tag in known[start : start + 10]],
            content=subject.manifest.data,
            headers={"Content-Type": OCI_MANIFEST},
        )
        assert_status(response, 201)
    in_order = sorted(known, key=str.encode)

    @BOUNDED
    @given(n=st.none() | st.integers(0, 60), last=st.sampled_from(known) | st.text(max_size=5))
    def check(n: int | None, last: str) -> None:
        # A database may refuse what is no text; over the wire it would be percent-encoded.
        assume(last.isprintable())
        parameters = {"last": last} | ({} if n is None else {"n": str(n)})
        response = http.get(f"/v2/{repo}/tags/list", params=parameters)
        after = [tag for tag in in_order if tag.encode() > last.encode()]
        expected = after if n is None else after[:n]
        assert document(response)["tags"] == expected
        assert (next_page(response) is not None) == (n != 0 and len(expected) < len(after))

    check()


json_values: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
FIELDS: Final = (
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
    "subject",
    "artifactType",
    "annotations",
    "fsLayers",
    "blobs",
)


def test_manifests(http: httpx.Client) -> None:
    """Whatever document is pushed: it is kept byte for byte, or refused as invalid."""
    repo = f"fuzz/{RUN}"
    push_blob(http, repo, EMPTY)
    good: dict[str, Json] = {"schemaVersion": 2, "config": EMPTY.descriptor(), "layers": []}
    descriptor_fields = st.sampled_from(["mediaType", "digest", "size", "urls", "annotations"])

    @BOUNDED
    @given(
        changes=st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=3),
        inside=st.dictionaries(descriptor_fields, json_values, max_size=2),
        where=st.sampled_from(["config", "layers", "subject", None]),
    )
    def check(changes: dict[str, Json], inside: dict[str, Json], where: str | None) -> None:
        made: dict[str, Json] = {**good, **changes}
        if where is not None:
            changed: Json = EMPTY.descriptor(**inside)
            made[where] = [changed] if where == "layers" else changed
        manifest = Content(OCI_MANIFEST, encode(made))
        response = put_manifest(http, repo, "fuzzed", manifest)
        if response.status_code == 201:
            assert http.get(f"/v2/{repo}/manifests/fuzzed").content == manifest.data
        else:
            assert_error(response, 400, "MANIFEST_INVALID", "MANIFEST_BLOB_UNKNOWN")

    check()


def test_bytes_as_manifests(http: httpx.Client) -> None:
    """Bytes that are no JSON object are refused as invalid."""
    repo = f"fuzz/{RUN}"

    @BOUNDED
    @given(st.binary(max_size=200))
    @example(b"\xff\xfe{\x00}\x00")
    @example(b"\xef\xbb\xbf{}")
    @example(b'{"schemaVersion": 2, "schemaVersion": 2}')
    def check(data: bytes) -> None:
        response = put_manifest(http, repo, "bytes", Content(OCI_MANIFEST, data))
        assert_error(response, 400, "MANIFEST_INVALID")

    check()
