"""Names of repositories and tags, and references (distribution-spec, "Pulling manifests")."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.core.digest import Digest
from entrepot.core.errors import DigestInvalidError, NameInvalidError, TagInvalidError
from entrepot.core.names import (
    NAME_LENGTH,
    TAG_LENGTH,
    RepositoryName,
    Tag,
    parse_reference,
)

# The specification's own expressions.
SPEC_NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
SPEC_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")

NAMES = st.from_regex(SPEC_NAME, fullmatch=True).filter(lambda name: len(name) <= NAME_LENGTH)
TAGS = st.from_regex(SPEC_TAG, fullmatch=True).filter(str.isascii)


@given(NAMES)
def test_every_name_of_the_specification(name: str) -> None:
    assert RepositoryName.parse(name) == name


@given(st.one_of(st.text(), st.text("ab09._-/", max_size=30)))
def test_no_other_name(text: str) -> None:
    if SPEC_NAME.fullmatch(text):
        assert RepositoryName.parse(text) == text
    else:
        with pytest.raises(NameInvalidError):
            RepositoryName.parse(text)


@pytest.mark.parametrize(
    "text",
    ["", "/", "a/", "/a", "a//b", "..", "a/../b", "A", "a_", "a___b", "a..b", "-a", "a b", "a\n"],
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(NameInvalidError):
        RepositoryName.parse(text)


def test_the_length_of_names() -> None:
    longest = "/".join(["a" * 127, "b" * 127])
    assert len(longest) == NAME_LENGTH
    assert RepositoryName.parse(longest) == longest
    with pytest.raises(NameInvalidError):
        RepositoryName.parse(longest + "c")


@pytest.mark.timeout(20)
def test_long_near_misses_are_refused_quickly() -> None:
    """No input makes the expression try every way to split it."""
    for text in ("a-" * 127, "a" * 254 + "!", "a/" * 127, "a__" * 84 + "_", "-" * 255):
        with pytest.raises(NameInvalidError):
            RepositoryName.parse(text)
    with pytest.raises(NameInvalidError):
        RepositoryName.parse("a" * 10_000_000)


@given(TAGS)
def test_every_tag_of_the_specification(tag: str) -> None:
    assert Tag.parse(tag) == tag


@given(st.one_of(st.text(), st.text("aZ09._-:/", max_size=140)))
def test_no_other_tag(text: str) -> None:
    if SPEC_TAG.fullmatch(text):
        assert Tag.parse(text) == text
    else:
        with pytest.raises(TagInvalidError):
            Tag.parse(text)


def test_the_length_of_tags() -> None:
    assert Tag.parse("a" * TAG_LENGTH) == "a" * TAG_LENGTH
    with pytest.raises(TagInvalidError):
        Tag.parse("a" * (TAG_LENGTH + 1))


@given(TAGS)
def test_a_reference_without_a_colon_is_a_tag(tag: str) -> None:
    reference = parse_reference(tag)
    assert isinstance(reference, Tag)
    assert reference == tag


@given(st.binary(), st.sampled_from(["sha256", "sha512"]))
def test_a_digest_as_a_reference(data: bytes, algorithm: str) -> None:
    digest = Digest.of(data, algorithm=algorithm)
    reference = parse_reference(str(digest))
    assert isinstance(reference, Digest)
    assert reference == digest


@pytest.mark.parametrize("text", ["a:b", ":", "sha256:", "latest:", "sha384:" + "a" * 96])
def test_a_reference_with_a_colon_that_is_no_digest(text: str) -> None:
    with pytest.raises(DigestInvalidError):
        parse_reference(text)


@pytest.mark.parametrize("text", ["", ".hidden", "-x", "a/b", "a b", "ä"])
def test_a_reference_that_is_neither(text: str) -> None:
    with pytest.raises(TagInvalidError):
        parse_reference(text)
