"""What `entrepot trash` and `entrepot tag` refuse, and why."""

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
        (["tag", "rollback", "a"], 1, "'a' names no tag: write REPOSITORY:TAG"),
        (["tag", "rollback", "a:"], 1, "'a:' ends in ':'"),
        (["tag", "history", "a:"], 1, "'a:' ends in ':'"),
        (["tag", "rollback", "A:v1"], 1, "invalid"),
        (["tag", "rollback", "a:v1", "--to", "sha256:x"], 1, "'sha256:x' is no digest"),
        (["tag", "rollback", "a:v1", "--at", "then"], 1, "'then' is not a time"),
        (["tag", "rollback", "a:v1", "--at", "1h", "--steps", "1"], 1, "one of --to, --at and"),
        (["tag", "history", "a"], 1, "no repository a"),
        (["trash", "list", "--namespace", "A"], 1, "can't be a namespace"),
        (["trash", "restore", "3", "--namespace", "/"], 1, "say what"),
        (["trash", "restore", "--namespace", "/"], 1, "nothing like that"),
    ],
)
def test_what_is_told(tmp_path: Path, command: list[str], status: int, told: str) -> None:
    config = tmp_path / "config.yml"
    config.write_text(CONFIG.format(tmp_path / "data"))
    done = CliRunner().invoke(app, [*command, "--config", str(config)])
    assert done.exit_code == status
    assert told in done.output
