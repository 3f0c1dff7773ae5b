"""Digests: one form only, and the index's form of it."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.core.digest import ALGORITHMS, Digest
from entrepot.core.errors import DigestInvalidError

ALGORITHM = st.sampled_from(sorted(ALGORITHMS))


@given(data=st.binary(), algorithm=ALGORITHM)
def test_the_digest_of_data(data: bytes, algorithm: str) -> None:
    digest = Digest.of(data, algorithm=algorithm)
    assert digest == f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
    assert Digest.parse(str(digest)) == digest
    assert digest.algorithm == algorithm
    assert digest.hex == digest.split(":")[1]
    assert len(digest.hex) == ALGORITHMS[algorithm]


@given(data=st.binary(), algorithm=ALGORITHM)
def test_packing_loses_nothing(data: bytes, algorithm: str) -> None:
    digest = Digest.of(data, algorithm=algorithm)
    assert Digest.unpack(digest.packed) == digest
    assert len(digest.packed) == 1 + ALGORITHMS[algorithm] // 2


@given(one=st.binary(), two=st.binary(), first=ALGORITHM, second=ALGORITHM)
def test_packed_digests_are_equal_only_if_the_digests_are(
    one: bytes, two: bytes, first: str, second: str
) -> None:
    left, right = Digest.of(one, algorithm=first), Digest.of(two, algorithm=second)
    assert (left.packed == right.packed) == (left == right)


@given(st.text())
def test_any_text_is_a_digest_or_refused(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except DigestInvalidError:
        return
    assert digest == text


@given(
    algorithm=ALGORITHM,
    encoded=st.text("0123456789abcdef", max_size=140),
)
def test_the_length_decides(algorithm: str, encoded: str) -> None:
    text = f"{algorithm}:{encoded}"
    if len(encoded) == ALGORITHMS[algorithm]:
        assert Digest.parse(text) == text
    else:
        with pytest.raises(DigestInvalidError):
            Digest.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256",
        "sha256:",
        "sha256:" + "A" * 64,
        "SHA256:" + "a" * 64,
        "sha256:" + "g" * 64,
        "sha256:" + "a" * 64 + "\n",
        " sha256:" + "a" * 64,
        "sha256:" + "\u0661" * 64,
        "sha384:" + "a" * 96,
        "md5:" + "a" * 32,
        "blake3:" + "a" * 64,
        "sha256:" + "a" * 128,
        "sha512:" + "a" * 64,
    ],
)
def test_what_is_no_digest(text: str) -> None:
    with pytest.raises(DigestInvalidError):
        Digest.parse(text)


def test_a_refusal_repeats_no_more_than_a_little() -> None:
    with pytest.raises(DigestInvalidError) as caught:
        Digest.parse("sha256:" + "x" * 100_000)
    assert len(str(caught.value)) < 1000
