"""Beyond the specification: the catalog, as registry:2 has it and clients use it."""

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
from tests.conformance.pushing import push
from tests.wire.images import image

NAMES = ["a", "a-b", "a/b", "a0", "b/c/d", "z"]


@pytest.fixture
def family(http: httpx.Client, repo: str, seed: str) -> list[str]:
    """Repositories with a common beginning, in lexical order."""
    names = [f"{repo}/{name}" for name in NAMES]
    for name in reversed(names):
        push(http, name, image(seed, layer_count=1), tag="latest")
    return sorted(names, key=str.encode)


def walk(http: httpx.Client, path: str | None, *, enough: int = 10**6) -> list[list[str]]:
    """The pages from `path` on, following the links, until there are `enough` repositories."""
    pages: list[list[str]] = []
    while path is not None and sum(map(len, pages)) < enough:
        response = http.get(path)
        page: dict[str, Any] = document(response)
        assert page.keys() == {"repositories"}
        pages.append(page["repositories"])
        path = next_page(response)
        if path is not None:
            assert pages[-1], describe(response)
            assert query_of(path)["last"] == [pages[-1][-1]]
            assert path.startswith("/v2/_catalog?last=")
            assert pages[-1][-1].replace("/", "%2F") in path
    return pages


@pytest.mark.parametrize("n", [1, 2, 5, 100, 1000])
def test_pages_make_the_whole(http: httpx.Client, family: list[str], n: int) -> None:
    """Catalog (n, Link): following the links gives every repository once and in lexical order."""
    start = family[0][:-1].replace("/", "%2F")
    pages = walk(http, f"/v2/_catalog?n={n}&last={start}", enough=20)
    found = [name for page in pages for name in page]
    assert found == sorted(found, key=str.encode)
    assert len(set(found)) == len(found)
    assert found[: len(family)] == family
    assert all(len(page) == n for page in pages[:-1])


def test_without_parameters(http: httpx.Client, family: list[str]) -> None:
    """Catalog: at most 100 repositories unless asked for another number; links lead on."""
    pages = walk(http, "/v2/_catalog")
    found = [name for page in pages for name in page]
    assert set(family) <= set(found)
    assert found == sorted(found, key=str.encode)
    assert all(len(page) == 100 for page in pages[:-1])
    assert len(pages[-1]) <= 100


def test_after_a_repository(http: httpx.Client, family: list[str]) -> None:
    """Catalog (last): non-inclusively after it, whether there is such a repository or not."""
    for last in (family[1], family[1] + "!", family[1] + "-"):
        after = [name for name in family if name.encode() > last.encode()]
        response = http.get("/v2/_catalog", params={"last": last, "n": 2})
        assert document(response)["repositories"] == after[:2]


def test_none_asked_for(http: httpx.Client, family: list[str]) -> None:
    """Catalog (n): n=0 is an empty list and no Link."""
    response = http.get("/v2/_catalog?n=0")
    assert document(response) == {"repositories": []}
    assert "Link" not in response.headers


@pytest.mark.parametrize("n", ["-1", "a", "1.5", "1001", "1000000", "9" * 30])
def test_number_that_is_refused(http: httpx.Client, n: str) -> None:
    """Catalog (n): no number, or more than catalog.maxentries (1000), is a 400 as in registry:2."""
    assert_error(http.get(f"/v2/_catalog?n={n}"), 400, "PAGINATION_NUMBER_INVALID")


def test_nothing_after_the_last(http: httpx.Client, family: list[str]) -> None:
    """Catalog (last): after everything there is an empty list and no Link."""
    response = http.get("/v2/_catalog?last=~~~")
    assert document(response) == {"repositories": []}
    assert "Link" not in response.headers


def test_only_repositories_with_content(http: httpx.Client, repo: str) -> None:
    """Catalog: a name that was only asked for, or begun to be pushed to, is not listed."""
    assert_error(http.get(f"/v2/{repo}/tags/list"), 404)
    assert_status(http.post(f"/v2/{repo}/blobs/uploads/"), 202)
    response = http.get("/v2/_catalog", params={"last": repo[:-1], "n": 1})
    assert repo not in document(response)["repositories"]


def test_head(http: httpx.Client) -> None:
    """RFC 9110, 9.3.2: HEAD works where GET does."""
    head = http.head("/v2/_catalog?n=0")
    assert_status(head, 200)
    assert head.content == b""
