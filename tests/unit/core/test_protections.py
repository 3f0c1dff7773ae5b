"""Which rule protects which tag."""

from __future__ import annotations

import pytest

from entrepot.core.digest import Digest
from entrepot.core.manifest import companion_tags, is_companion_tag
from entrepot.core.patterns import parse_pattern, parse_tag_pattern
from entrepot.core.protections import Protection, find_protecting

SIGNED = Digest.of(b"signed")
SIGNATURE = f"sha256-{SIGNED.hex}.sig"


def rule(text: str, number: int) -> Protection:
    """`NAMESPACE REPOSITORIES TAGS`, with `!` in front for an exception."""
    namespace, repositories, tags = text.removeprefix("!").split(" ")
    return Protection(
        id=number,
        namespace=namespace.strip("/"),
        repositories=parse_pattern(repositories),
        tags=parse_tag_pattern(tags),
        exception=text.startswith("!"),
    )


@pytest.mark.parametrize(
    "rules, repository, tag, protecting",
    [
        ([], "a", "v1", None),
        (["/ ** v*"], "a/b/c", "v1", 0),
        (["/ ** v*"], "a", "latest", None),
        (["a ** v*"], "a", "v1", 0),
        (["a ** v*"], "a/b", "v1", 0),
        (["a ** v*"], "ab", "v1", None),
        (["a b v*"], "a/b", "v1", 0),
        (["a b v*"], "a/c", "v1", None),
        (["a x *", "/ ** v1"], "a/b", "v1", 1),
        (["/ ** *", "!/ ** dev-*"], "a", "dev-1", None),
        (["/ ** *", "!/ ** dev-*"], "a", "v1", 0),
        (["a ** *", "!a scratch *"], "a/scratch", "v1", None),
        (["a/b ** *", "!a ** tmp"], "a/b/c", "tmp", None),
        (["/ ** *", "!a ** *"], "a", "v1", 0),
        (["/ ** *", "a ** *", "!a ** *"], "a", "v1", 0),
        (["/ ** *"], "a", SIGNATURE, None),
        (["/ ** sha256-*"], "a", SIGNATURE, 0),
        (["/ ** *"], "a", "sha256-short.sig", 0),
    ],
)
def test_what_is_protected(
    rules: list[str], repository: str, tag: str, protecting: int | None
) -> None:
    parsed = [rule(text, number) for number, text in enumerate(rules)]
    found = find_protecting(parsed, repository, tag)
    assert (None if found is None else found.id) == protecting


def test_the_tags_that_are_made_of_a_digest() -> None:
    assert all(map(is_companion_tag, companion_tags(SIGNED)))
    assert all(map(is_companion_tag, companion_tags(Digest.of(b"signed", algorithm="sha512"))))
    assert not is_companion_tag(f"{SIGNATURE}x")
