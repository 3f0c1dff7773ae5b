"""Two indexes on one storage: the second is refused, says what to do, and can be made the owner."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from entrepot.app import check_servers, prepare
from entrepot.config import load
from entrepot.db.address import IndexAddress
from entrepot.db.opening import migrate_index
from tests.objectstores import SeaweedFS
from tests.postgres import Postgres
from tests.programs import run
from tests.servers import RegistryStartError, default_config, free_port, merged, start_registry

pytestmark = pytest.mark.chosen_kind(
    "files with SQLite and objects with PostgreSQL, by its own fixture"
)


@pytest.fixture(params=["files", "objects"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[dict[str, Any], str, str, str]:
    """A storage, its driver, and the URLs of two databases without an index."""
    if request.param == "files":
        storage: dict[str, Any] = {"filesystem": {"rootdirectory": str(tmp_path / "storage")}}
        urls = [f"sqlite:///{tmp_path / name / 'index'}" for name in ("one", "two")]
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
        return storage, "filesystem", urls[0], urls[1]
    seaweedfs: SeaweedFS = request.getfixturevalue("seaweedfs")
    postgres: Postgres = request.getfixturevalue("postgres")
    storage = {"s3": seaweedfs.config("tests", rootdirectory=f"owned/{tmp_path.name}")}
    return storage, "s3", postgres.empty_database(), postgres.empty_database()


def test_the_second_index(places: tuple[dict[str, Any], str, str, str], tmp_path: Path) -> None:
    storage, driver, first, second = places

    def written(url: str) -> Path:
        path = tmp_path / "check.yml"
        config = default_config(tmp_path, port=free_port(), workers=1)
        config |= {"storage": storage, "database": {"url": url}}
        path.write_text(yaml.safe_dump(config))
        return path

    def found() -> tuple[str, str]:
        """What the check says of the owner."""
        every = [each for each in check_servers(load(path, {}).config) if "belongs" in each.message]
        return (every[0].level, every[0].what) if every else ("", "")

    path = written(first)
    assert found() == ("", "")
    prepare(load(path, {}).config)
    assert found() == ("ok", f"storage.{driver}")

    path = written(second)
    assert found() == ("error", f"storage.{driver}")
    config = {"storage": storage, "database": {"url": second}}
    with (
        pytest.raises(RegistryStartError, match="entrepot database adopt") as caught,
        start_registry(tmp_path / "refused", config=config),
    ):
        pass
    assert f"storage.{driver}: the storage belongs to another index" in str(caught.value)
    assert found() == ("error", f"storage.{driver}")

    asked = run("database", "adopt", str(path))  # nobody answers
    assert asked.returncode == 1
    assert found() == ("error", f"storage.{driver}")
    adopted = run("database", "adopt", "--yes", str(path))
    assert adopted.returncode == 0, adopted.stderr
    assert found() == ("ok", f"storage.{driver}")
    with start_registry(tmp_path / "owner", config=config):
        pass
    path = written(first)
    assert found() == ("error", f"storage.{driver}")


@pytest.mark.parametrize("turn", range(3))
def test_two_new_indexes_at_the_same_moment(
    places: tuple[dict[str, Any], str, str, str],
    tmp_path: Path,
    turn: int,
) -> None:
    """Exactly one becomes the owner and serves; the other is refused as one that came later would
    be, and still is when both are started again.
    """
    storage, _, *urls = places
    for url in urls:
        migrate_index(IndexAddress(url))
    both = threading.Barrier(2)

    def start(number: int) -> str:
        """Nothing if it serves, else why it does not."""
        config = {"storage": storage, "database": {"url": urls[number]}}
        both.wait(60)
        try:
            with start_registry(tmp_path / f"{number}", config=config, workers=1):
                return ""
        except RegistryStartError as refused:
            return str(refused)

    with ThreadPoolExecutor(2) as threads:
        first, again = (list(threads.map(start, range(2))) for _ in range(2))
    assert sorted(map(bool, first)) == [False, True], first
    assert list(map(bool, again)) == list(map(bool, first)), again
    for said in first + again:
        assert not said or "the storage belongs to another index" in said
        assert "Traceback" not in said


def test_storage_that_can_only_be_read(tmp_path: Path) -> None:
    """Nobody becomes its owner."""
    config = merged(
        default_config(tmp_path / "storage", port=free_port(), workers=1),
        {"storage": {"maintenance": {"readonly": {"enabled": True}}}},
    )
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(config))
    prepare(load(path, {}).config)
    assert not (tmp_path / "storage" / "entrepot" / "index-id").exists()
