"""Configurations for tests, written and loaded."""

from pathlib import Path
from textwrap import dedent

import pytest

from entrepot.config import ConfigError, Loaded, load


def load_text(
    directory: Path, text: str, environ: dict[str, str] | None = None, *, version: str = "0.1"
) -> Loaded:
    """What is loaded from a file with `version` in its first line and `text` from the second on."""
    path = directory / "config.yml"
    path.write_text(f"version: {version}\n{dedent(text)}")
    return load(path, environ or {})


def problems_of(
    directory: Path, text: str, environ: dict[str, str] | None = None, *, version: str = "0.1"
) -> list[str]:
    """The problems of such a file, without the directory's name."""
    with pytest.raises(ConfigError) as caught:
        load_text(directory, text, environ, version=version)
    return [str(problem).replace(f"{directory}/", "") for problem in caught.value.problems]
