"""What every test may ask for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from hypothesis import HealthCheck, settings

from entrepot.db.address import IndexAddress
from tests.ceph import Ceph, start_ceph
from tests.emulators import Azurite, FakeGcs, start_azurite, start_fake_gcs
from tests.footing import SHARED, Footing, open_footing
from tests.objectstores import SeaweedFS, start_seaweedfs
from tests.postgres import Postgres, start_postgres
from tests.servers import Registry, start_registry
from tests.sqlite import make_index

# The program is started a thousand times: without compiled modules that takes twice as long.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A disk that several share stands still for seconds: no answer then comes within httpx's five.
for each in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, each, 60.0)

# Properties have no deadline: a busy machine is no fault. The same cases every time.
settings.register_profile(
    "entrepot",
    deadline=None,
    derandomize="ENTREPOT_FUZZ_SEED" not in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("entrepot")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let short tests come last: several processes then end at about the same time."""
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.is_relative_to(here / "unit"))
    for item in items:
        if item.path.parent in (here / "wire", here / "fuzz"):
            _check_kind(item)


def _check_kind(item: pytest.Item) -> None:
    """What is tried over the wire is tried on each kind of index and storage, or says why not."""
    chosen = item.get_closest_marker("chosen_kind")
    if "kind" not in getattr(item, "fixturenames", ()) and not (chosen and chosen.args):
        raise pytest.UsageError(
            f"{item.nodeid} runs on one kind of index and storage: let it ask for `footing` or "
            "`shared`, or let @pytest.mark.chosen_kind(WHY) say why that is enough"
        )


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
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    """The same of Ceph."""
    with start_ceph(tmp_path_factory.mktemp("ceph")) as running:
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


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL that is started once: take a database of your own."""
    with start_postgres() as running:
        yield running


@pytest.fixture(scope="session")
def registry_on_postgres(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """As `registry`, with its index in PostgreSQL."""
    root = tmp_path_factory.mktemp("shared-postgres") / "registry"
    config = {"database": {"url": postgres.database()}}
    with start_registry(root, config=config) as running:
        yield running


@pytest.fixture(scope="session")
def registry_on_postgres_and_s3(
    postgres: Postgres, seaweedfs: SeaweedFS, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """As `registry`, with its index in PostgreSQL and blobs that it streams from S3."""
    config = {
        "database": {"url": postgres.database()},
        "storage": {
            "s3": seaweedfs.config("tests", rootdirectory="shared"),
            "redirect": {"disable": True},
        },
    }
    root = tmp_path_factory.mktemp("shared-s3") / "registry"
    with start_registry(root, config=config) as running:
        yield running


@pytest.fixture(scope="session", params=list(SHARED))
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of index and storage in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest, kind: str) -> Registry:
    """As `registry`, on each kind of index and storage in turn."""
    running: Registry = request.getfixturevalue(SHARED[kind])
    return running


@pytest.fixture
def footing(request: pytest.FixtureRequest, kind: str) -> Iterator[Footing]:
    """What registries of a test's own stand on: each kind of index and storage in turn."""
    with open_footing(request, kind) as made:
        yield made


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """An empty index in PostgreSQL with the newest schema."""
    url = postgres.database()
    yield url
    postgres.give_back(url)


@pytest.fixture(params=["sqlite", "postgres"])
def index_address(request: pytest.FixtureRequest, tmp_path: Path) -> IndexAddress:
    """An empty index with the newest schema, in each engine in turn."""
    if request.param == "postgres":
        return IndexAddress(request.getfixturevalue("postgres_url"))
    make_index(tmp_path / "index.sqlite3")
    return IndexAddress(f"sqlite://{tmp_path / 'index.sqlite3'}")
