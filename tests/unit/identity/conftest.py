from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from entrepot.identity.htpasswd import Htpasswd
from entrepot.identity.passwords import Passwords
from entrepot.telemetry import Metrics
from tests.unit.identity.credentials import Clock, hash_of, write_users


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(tmp_path: Path) -> Metrics:
    directory = tmp_path / "metrics"
    directory.mkdir()
    return Metrics(directory)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An htpasswd file with the user `alice`, password `wonderland`."""
    file = tmp_path / "htpasswd"
    write_users(file, b"alice:" + hash_of("wonderland"))
    return file


@pytest.fixture
def open_htpasswd(path: Path, metrics: Metrics, clock: Clock) -> Iterator[Callable[[], Passwords]]:
    """Make authenticators for the file at `path`, all ended after the test."""
    made: list[Passwords] = []

    def make() -> Passwords:
        source = Htpasswd(path, clock=clock)
        made.append(Passwords([source], realm="Registry", metrics=metrics, clock=clock))
        return made[-1]

    yield make
    for htpasswd in made:
        htpasswd.close()
