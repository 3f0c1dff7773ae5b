"""The registry under test, and a client that checks what must hold for every answer.

`ENTREPOT_TEST_URL` names another registry to try these tests on (one that is already running).
"""

from __future__ import annotations

import itertools
import os
import re
import uuid
from collections.abc import Iterator

import httpx
import pytest

from tests.conformance.answers import assert_acceptable
from tests.footing import SHARED

_RUN = uuid.uuid4().hex[:8]
_NUMBER = itertools.count()


_EXTERNAL = os.environ.get("ENTREPOT_TEST_URL")


@pytest.fixture(scope="session", params=["external"] if _EXTERNAL else list(SHARED))
def registry_url(request: pytest.FixtureRequest) -> str:
    """`http://host:port` of the registry under test, without a slash at the end: on SQLite and
    files, PostgreSQL and files, PostgreSQL and S3 in turn.
    """
    if _EXTERNAL:
        return _EXTERNAL.rstrip("/")
    return str(request.getfixturevalue(SHARED[request.param]).url)


def _check(response: httpx.Response) -> None:
    response.read()
    assert_acceptable(response)


@pytest.fixture(scope="session")
def http(registry_url: str) -> Iterator[httpx.Client]:
    """A client of the registry; fails the test on any answer that no registry may give."""
    with httpx.Client(
        base_url=registry_url, timeout=30, event_hooks={"response": [_check]}
    ) as client:
        yield client


@pytest.fixture
def repo(request: pytest.FixtureRequest) -> str:
    """A repository name that no other test has."""
    slug = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:60].strip("-")
    return f"conformance/{slug}/{_RUN}-{next(_NUMBER)}"


@pytest.fixture
def seed(repo: str) -> str:
    """A seed for content that no other test pushes."""
    return repo
