import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from entrepot.config.schema import Log
from entrepot.telemetry import configure_logging


@pytest.fixture
def log_of() -> Iterator[Callable[[Log], io.StringIO]]:
    """Configure logging for one test; returns where the lines go."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def configure(log: Log) -> io.StringIO:
        stream = io.StringIO()
        configure_logging(log, stream=stream)
        return stream

    yield configure
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the processes of one server count."""
    made = tmp_path / "metrics"
    made.mkdir()
    return made
