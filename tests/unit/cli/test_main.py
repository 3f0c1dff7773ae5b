"""The command line as people and old start scripts type it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from entrepot import cli

BIN = Path(sys.executable).parent


def run(*arguments: str, program: str = "entrepot", **env: str) -> subprocess.CompletedProcess[str]:
    """Run an installed command with nothing of our environment's registry settings."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("REGISTRY_")}
    environment |= {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100", **env}
    return subprocess.run(
        [str(BIN / program), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )


@pytest.mark.parametrize("program", cli.NAMES)
@pytest.mark.parametrize("option", ["--version", "-v"])
def test_version(program: str, option: str) -> None:
    ended = run(option, program=program)
    assert (ended.returncode, ended.stdout) == (0, f"entrepot {version('entrepot')}\n")


def test_python_m() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "entrepot", "--version"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.stdout == f"entrepot {version('entrepot')}\n"


@pytest.mark.parametrize("program", cli.NAMES)
def test_help_names_every_command_and_the_program(program: str) -> None:
    ended = run("--help", program=program)
    assert ended.returncode == 0
    assert f"Usage: {program} " in ended.stdout
    for command in ("serve", "config", "--version", "--install-completion"):
        assert command in ended.stdout


def test_help_of_serve_tells_what_happens() -> None:
    said = " ".join(run("serve", "-h").stdout.split())
    for words in ("port 5000", "REGISTRY_HTTP_ADDR", "SIGTERM", "SIGHUP", "/etc/docker/registry"):
        assert words in said


def test_nothing_is_help() -> None:
    ended = run()
    assert "Usage: entrepot" in ended.stdout + ended.stderr


def test_an_unknown_command_is_an_error() -> None:
    ended = run("sevre")
    assert ended.returncode == 2
    assert "No such command 'sevre'" in ended.stderr


def test_completion_is_offered() -> None:
    """To the shell in which it is typed."""
    ended = subprocess.run(
        ["bash", "-c", f"{BIN / 'entrepot'} --show-completion; exit $?"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0
    assert "complete" in ended.stdout


def test_a_configuration_that_cannot_be_used(tmp_path: Path) -> None:
    """Every problem with its line, status 1, no traceback; nothing is served."""
    path = tmp_path / "config.yml"
    path.write_text("version: 0.1\nhttp: {adr: ':5000'}\n")
    ended = run("serve", str(path))
    assert ended.returncode == 1
    assert f"{path}:2" in ended.stderr
    assert "addr" in ended.stderr, "did you mean"
    assert "Traceback" not in ended.stderr


def test_a_missing_configuration(tmp_path: Path) -> None:
    ended = run("serve", str(tmp_path / "none.yml"))
    assert ended.returncode == 1
    assert "none.yml: can't be read" in ended.stderr


def test_a_path_alone_is_served(tmp_path: Path) -> None:
    """`registry CONFIG.yml`, as the entry point of registry:2's image took it."""
    path = tmp_path / "config.yaml"
    path.write_text("version: 0.1\nhttp: {adr: ':5000'}\n")
    ended = run(str(path), program="registry")
    assert ended.returncode == 1
    assert f"{path}:2" in ended.stderr


@pytest.mark.parametrize(
    "given,completed",
    [
        (["there.yml"], ["serve", "there.yml"]),
        (["there.yml", "--x"], ["serve", "there.yml", "--x"]),
        (["missing.yml"], ["missing.yml"]),
        (["there.txt"], ["there.txt"]),
        (["serve", "there.yml"], ["serve", "there.yml"]),
        ([], []),
    ],
)
def test_completed(
    given: list[str], completed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a file that exists and ends in .yml or .yaml is short for `serve`."""
    for name in ("there.yml", "there.txt"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert cli.completed(given) == completed


def test_the_command_line_starts_without_the_server() -> None:
    """Help and version must be quick: granian, the index and the rest are imported when needed."""
    code = (
        "import sys; import entrepot.cli; "
        "late = {'granian', 'sqlalchemy', 'cryptography', 'uvloop'}; "
        "print(late & set(sys.modules))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert ended.stdout == "set()\n"
