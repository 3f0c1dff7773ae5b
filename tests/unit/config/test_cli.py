"""The commands `config check`, `config explain` and `config schema`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from entrepot.cli.config import app

GOOD = """\
version: 0.1
storage:
  filesystem:
    rootdirectory: {root}
  cache: {{blobdescriptor: inmemory}}
http:
  addr: 127.0.0.1:0
  secret: hunter2
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good file, and an environment without variables of ours."""
    monkeypatch.setenv("REGISTRY_HTTP_PREFIX", "/hub/")
    monkeypatch.setenv("COLUMNS", "200")
    file = tmp_path / "config.yml"
    file.write_text(GOOD.format(root=tmp_path))
    return file


def test_check(path: Path) -> None:
    """One line for each, and status 0 while there are only warnings."""
    result = CliRunner().invoke(app, ["check", str(path)])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == f"ok      configuration: {path}"
    assert f"warning {path}:5: storage.cache: not needed: the index answers" in lines[1]
    assert all(line.split()[0] in ("ok", "warning") for line in lines)
    assert "hunter2" not in result.output


def test_check_uses_the_variable_for_the_file(path: Path) -> None:
    """As `serve` would."""
    result = CliRunner().invoke(app, ["check"], env={"REGISTRY_CONFIGURATION_PATH": str(path)})
    assert result.exit_code == 0
    assert str(path) in result.stdout


def test_check_fails_on_errors(path: Path) -> None:
    """Status 1 if something would not work."""
    result = CliRunner().invoke(
        app, ["check", str(path)], env={"REGISTRY_HTTP_ADDR": "192.0.2.1:0"}
    )
    assert result.exit_code == 1
    assert "error   http.addr: 192.0.2.1:0: this machine" in result.stdout


@pytest.mark.parametrize("command", ["check", "explain"])
def test_every_problem_is_printed(path: Path, command: str) -> None:
    """A configuration that can't be loaded: its problems, a line each, and status 1."""
    path.write_text("version: 0.1\nhtpp: {}\nlgo: {}\n")
    result = CliRunner().invoke(app, [command, str(path)])
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f'error   {path}:2: htpp: unknown key; did you mean "http"?',
        f'error   {path}:3: lgo: unknown key; did you mean "log"?',
    ]


def test_explain(path: Path) -> None:
    """Value and origin in a line; secrets are masked; notices go to standard error."""
    result = CliRunner().invoke(app, ["explain", str(path)])
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert f'http.addr: "127.0.0.1:0" # {path}:7' in lines
    assert f'http.secret: "********" # {path}:8' in lines
    assert 'http.prefix: "/hub/" # REGISTRY_HTTP_PREFIX' in lines
    assert 'http.draintimeout: "30s" # default' in lines
    assert "storage.cache" in result.stderr


def test_explain_as_json(path: Path) -> None:
    """The same for programs."""
    result = CliRunner().invoke(app, ["explain", "--json", str(path)])
    document = json.loads(result.stdout)
    assert document["path"] == str(path)
    assert document["values"]["http.addr"] == {"value": "127.0.0.1:0", "origin": f"{path}:7"}
    assert document["values"]["http.secret"]["value"] == "********"
    assert len(document["notices"]) == 1


def test_schema() -> None:
    """JSON, ready to be saved."""
    result = CliRunner().invoke(app, ["schema"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["title"] == "Entrepot configuration"
