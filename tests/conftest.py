"""What every test may ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.emulators import Azurite, FakeGcs, start_azurite, start_fake_gcs
from tests.objectstores import SeaweedFS, start_seaweedfs
from tests.servers import Registry, start_registry


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with the default configuration, shared by all tests: name repositories apart."""
    with start_registry(tmp_path_factory.mktemp("shared") / "registry") as running:
        yield running


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """An S3 with the bucket `tests`, shared by all tests: take a `rootdirectory` of your own."""
    with start_seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as running:
        running.make_bucket("tests")
        yield running


@pytest.fixture(scope="session")
def fake_gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeGcs]:
    """The same of Google's kind."""
    with start_fake_gcs(tmp_path_factory.mktemp("fake-gcs")) as running:
        running.make_bucket("tests")
        yield running


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """The same of Azure's kind."""
    with start_azurite(tmp_path_factory.mktemp("azurite")) as running:
        running.make_bucket("tests")
        yield running
