"""Distribution-spec, "Content Discovery": listing tags, with n, last and Link."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.conformance.answers import (
    assert_error,
    assert_status,
    describe,
    document,
    next_page,
    query_of,
)
from tests.conformance.pushing import push, push_blob, put_manifest
from tests.wire.images import OCTETS, Content, image

TAGS = [
    "_x",
    "0",
    "1.0",
    "1.0-rc",
    "1_0",
    "10",
    "2",
    "A",
    "B",
    "Z",
    "a",
    "a-1",
    "a.1",
    "b",
    "latest",
]
IN_ORDER = sorted(TAGS, key=str.encode)
"""Byte order, which is what Go's sort.Strings gives ("ASCIIbetical")."""


@pytest.fixture
def tagged(http: httpx.Client, repo: str, seed: str) -> str:
    """A repository with all of TAGS, pushed in no order."""
    pushed = image(seed)
    for number, tag in enumerate(reversed(TAGS)):
        if number == 0:
            push(http, repo, pushed, tag=tag)
        else:
            assert_status(put_manifest(http, repo, tag, pushed.manifest), 201)
    return repo


def listed(http: httpx.Client, repo: str, query: str = "") -> list[str]:
    """The tags of one page (end-8)."""
    page: dict[str, Any] = document(http.get(f"/v2/{repo}/tags/list{query}"))
    assert page["name"] == repo
    return list(page["tags"])


def test_all_tags(http: httpx.Client, tagged: str) -> None:
    """Listing Tags: all of them, in lexical order."""
    response = http.get(f"/v2/{tagged}/tags/list")
    assert response.headers["Content-Type"].split(";")[0] == "application/json"
    assert document(response) == {"name": tagged, "tags": IN_ORDER}
    assert "Link" not in response.headers


@pytest.mark.parametrize("n", [1, 2, 3, 7, len(TAGS) - 1, len(TAGS), len(TAGS) + 1, 1000])
def test_pages_make_the_whole(http: httpx.Client, tagged: str, n: int) -> None:
    """Listing Tags (n, Link): following the links gives every tag once and in order."""
    path: str | None = f"/v2/{tagged}/tags/list?n={n}"
    pages: list[list[str]] = []
    while path is not None:
        response = http.get(path)
        pages.append(document(response)["tags"])
        assert len(pages) <= len(TAGS)
        path = next_page(response)
        if path is not None:
            assert query_of(path) == {"last": [pages[-1][-1]], "n": [str(n)]}
    assert [tag for page in pages for tag in page] == IN_ORDER
    assert all(len(page) == n for page in pages[:-1])
    assert 0 < len(pages[-1]) <= n


@pytest.mark.parametrize("n", [1, 4])
def test_pages_by_last(http: httpx.Client, tagged: str, n: int) -> None:
    """Listing Tags (last): clients without links go on after the last tag they know."""
    got: list[str] = []
    while page := listed(http, tagged, f"?n={n}" + (f"&last={got[-1]}" if got else "")):
        got += page
        assert len(got) <= len(TAGS)
    assert got == IN_ORDER


@pytest.mark.parametrize(
    "last", [*IN_ORDER, "0.", "Zz", "a-", "aa", "!", "~", "zzz", "%F0%9F%98%80"]
)
def test_after_a_tag(http: httpx.Client, tagged: str, last: str) -> None:
    """Listing Tags (last): non-inclusively after it, whether there is such a tag or not."""
    known = last if not last.startswith("%") else "\U0001f600"
    after = [tag for tag in IN_ORDER if tag.encode() > known.encode()]
    assert listed(http, tagged, f"?last={last}") == after
    assert listed(http, tagged, f"?last={last}&n=2") == after[:2]


def test_no_tags_asked_for(http: httpx.Client, tagged: str) -> None:
    """Listing Tags (n): n=0 is an empty list and no Link."""
    for query in ("?n=0", "?n=0&last=a"):
        response = http.get(f"/v2/{tagged}/tags/list{query}")
        assert document(response) == {"name": tagged, "tags": []}
        assert "Link" not in response.headers


@pytest.mark.parametrize("n", ["-1", "a", "1.5", "%00", "0x10", "1e3", "+-1"])
def test_number_that_is_none(http: httpx.Client, tagged: str, n: str) -> None:
    """Listing Tags (n, end-8b): what is no number of tags is a 400."""
    response = http.get(f"/v2/{tagged}/tags/list?n={n}")
    assert_error(response, 400, "PAGINATION_NUMBER_INVALID")


@pytest.mark.parametrize("n", [10**6, 2**63, 10**30])
def test_more_than_there_are(http: httpx.Client, tagged: str, n: int) -> None:
    """Listing Tags (n): an enormous number gets what there is, or is refused."""
    response = http.get(f"/v2/{tagged}/tags/list?n={n}")
    assert_status(response, 200, 400)
    if response.status_code == 200:
        assert document(response)["tags"] == IN_ORDER, describe(response)


def test_empty_parameters(http: httpx.Client, tagged: str) -> None:
    """Listing Tags: empty and unknown parameters are as none, or refused."""
    assert listed(http, tagged, "?last=") == IN_ORDER
    assert listed(http, tagged, "?unknown=1&ns=x") == IN_ORDER
    assert_status(http.get(f"/v2/{tagged}/tags/list?n="), 200, 400)


def test_unknown_repository(http: httpx.Client, repo: str) -> None:
    """API, "Error Codes" (code-9): 404 for a repository that there is not."""
    assert_error(http.get(f"/v2/{repo}/tags/list"), 404, "NAME_UNKNOWN")
    assert_error(http.head(f"/v2/{repo}/tags/list"), 404)


def test_repository_without_tags(http: httpx.Client, repo: str, seed: str) -> None:
    """Listing Tags: the list may be empty, and is a list then."""
    push(http, repo, image(seed))
    assert document(http.get(f"/v2/{repo}/tags/list")) == {"name": repo, "tags": []}


def test_repository_with_blobs_only(http: httpx.Client, repo: str) -> None:
    """Listing Tags: a repository that holds only blobs yet has no tags, or isn't known."""
    push_blob(http, repo, Content(OCTETS, repo.encode()))
    response = http.get(f"/v2/{repo}/tags/list")
    assert_status(response, 200, 404)
    if response.status_code == 200:
        assert document(response)["tags"] == []


def test_head(http: httpx.Client, tagged: str) -> None:
    """RFC 9110, 9.3.2: HEAD works where GET does."""
    head, full = (http.request(m, f"/v2/{tagged}/tags/list?n=2") for m in ("HEAD", "GET"))
    assert_status(head, 200)
    assert head.headers["Content-Length"] == full.headers["Content-Length"]
    assert head.headers["Link"] == full.headers["Link"]


def test_names_that_extend_each_other(http: httpx.Client, repo: str, seed: str) -> None:
    """Overview, "Definitions" (Repository): `a` and `a/b` don't share their tags."""
    push(http, repo, image(seed), tag="above")
    push(http, f"{repo}/below", image(f"{seed} below"), tag="below")
    assert listed(http, repo) == ["above"]
    assert listed(http, f"{repo}/below") == ["below"]
