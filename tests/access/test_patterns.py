"""Patterns for repositories and tags: what they match, and what is no pattern."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.core.patterns import PatternInvalidError, parse_pattern, parse_tag_pattern

COMPONENTS = st.text("ab*", min_size=1, max_size=4).filter(lambda text: "**" not in text)
PATTERNS = st.lists(COMPONENTS | st.just("**"), min_size=1, max_size=5).map("/".join)
NAMES = st.lists(st.text("ab", min_size=1, max_size=4), max_size=5).map("/".join)


@pytest.mark.parametrize(
    "pattern, name, matches",
    [
        ("**", "", True),
        ("**", "a", True),
        ("**", "a/b/c", True),
        ("*", "a", True),
        ("*", "a/b", False),
        ("*", "", False),
        ("app", "app", True),
        ("app", "apple", False),
        ("app-*", "app-", True),
        ("app-*", "app-one", True),
        ("app-*", "app-one/two", False),
        ("*-app", "my-app", True),
        ("*a*b*", "xaxbx", True),
        ("*a*b*", "xbxax", False),
        ("backend/**", "backend", True),
        ("backend/**", "backend/a/b", True),
        ("backend/**", "backends", False),
        ("**/app", "app", True),
        ("**/app", "a/b/app", True),
        ("**/app", "a/b/app/c", False),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/z/z", True),
        ("a/**/b/*", "a/b/b/b", True),
        ("a/*/c", "a/b/c", True),
        ("a/*/c", "a/c", False),
        ("a.c", "abc", False),
    ],
)
def test_what_a_pattern_matches(pattern: str, name: str, matches: bool) -> None:
    assert parse_pattern(pattern).matches(name) is matches


@pytest.mark.parametrize(
    "pattern, tag, matches",
    [
        ("*", "latest", True),
        ("v1.*", "v1.2", True),
        ("v1.*", "v12", False),
        ("Release-*", "Release-1", True),
        ("Release-*", "release-1", False),
    ],
)
def test_what_a_pattern_for_tags_matches(pattern: str, tag: str, matches: bool) -> None:
    assert parse_tag_pattern(pattern).matches(tag) is matches


@pytest.mark.parametrize(
    "pattern, place",
    [
        ("app?/x", 4),
        ("App", 1),
        ("a//b", 3),
        ("/a", 1),
        ("a/", 3),
        ("a/b**", 4),
        ("***", 1),
        ("a/[b]", 3),
        ("a b", 2),
        ("a/é", 3),
    ],
)
def test_what_is_no_pattern_is_refused_with_the_place(pattern: str, place: int) -> None:
    with pytest.raises(PatternInvalidError, match=f"character {place}:"):
        parse_pattern(pattern)


@pytest.mark.parametrize("pattern, place", [("v/1", 2), ("v**", 2), ("v(1)", 2)])
def test_what_is_no_pattern_for_tags_is_refused(pattern: str, place: int) -> None:
    with pytest.raises(PatternInvalidError, match=f"character {place}:"):
        parse_tag_pattern(pattern)


@pytest.mark.parametrize("pattern", ["", "a" * 256])
def test_a_pattern_has_some_length(pattern: str) -> None:
    for parse in (parse_pattern, parse_tag_pattern):
        with pytest.raises(PatternInvalidError):
            parse(pattern)


@given(PATTERNS, NAMES)
def test_it_is_what_a_regular_expression_says(pattern: str, name: str) -> None:
    """Compared on names that end in a slash, where `**/` is any number of components."""
    parts = [
        "(?:[^/]+/)*" if part == "**" else re.escape(part).replace(r"\*", "[^/]*") + "/"
        for part in pattern.split("/")
    ]
    expected = re.fullmatch("".join(parts), f"{name}/" if name else "") is not None
    assert parse_pattern(pattern).matches(name) is expected


def test_no_pattern_takes_long() -> None:
    """One that takes a regular expression ages: as many stars as fit, and no match."""
    began = time.process_time()
    assert not parse_pattern("*a" * 100 + "*b").matches("a" * 255)
    assert not parse_pattern("**/a/" * 40 + "b").matches("/".join(["a"] * 128))
    assert time.process_time() - began < 1
