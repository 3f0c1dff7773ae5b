"""`entrepot trash` and `entrepot tag` on the host."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from entrepot.cli import app

CONFIG = (
    "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n"
)


@pytest.mark.parametrize(
    "command, status, told",
    [
        (["trash", "list"], 0, "none"),
        (["trash", "restore"], 1, "say what"),
        (["trash", "restore", "3"], 1, "nothing like that"),
        (["trash", "empty", "3"], 1, "--yes"),
        (["trash", "empty", "--repository", "a", "--yes"], 1, "nothing like that"),
        (["tag", "rollback", "a:v1"], 1, "no repository a"),
        (["tag", "rollback", "a"], 1, "invalid"),
    ],
)
def test_what_is_told(tmp_path: Path, command: list[str], status: int, told: str) -> None:
    config = tmp_path / "config.yml"
    config.write_text(CONFIG.format(tmp_path / "data"))
    done = CliRunner().invoke(app, [*command, "--config", str(config)])
    assert done.exit_code == status
    assert told in done.output
