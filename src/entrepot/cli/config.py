"""`entrepot config`: check, explain and schema."""

import json
import os
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from entrepot.config import ConfigError, Loaded, load, resolve_path

app = typer.Typer(
    name="config",
    help="Look into the configuration: what is wrong with it, where its values come from.",
    no_args_is_help=True,
)

PathArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[PATH]",
        help="The configuration file; without it $REGISTRY_CONFIGURATION_PATH or the first of "
        "/etc/entrepot/config.yml, /etc/distribution/config.yml, /etc/docker/registry/config.yml.",
    ),
]

_COLOURS = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "error": typer.colors.RED}


@app.command()
def check(path: PathArgument = None) -> None:
    """Try the configuration out: files, certificates, users, ports, free space, servers.

    Prints one line for everything that was tried, with ok, warning or error. The exit status is 1
    if there is an error. Nothing is changed.
    """
    from entrepot.app import check_servers
    from entrepot.config.check import check as findings

    loaded = _load(path)
    failed = False
    _say("ok", f"configuration: {loaded.path or 'no file, built-in defaults'}")
    for notice in loaded.notices:
        _say("warning", str(notice))
    tried = findings(loaded.config, now=datetime.now(UTC))
    for finding in chain(tried, check_servers(loaded.config)):
        failed = failed or finding.level == "error"
        _say(finding.level, f"{finding.what}: {finding.message}")
    raise typer.Exit(1 if failed else 0)


@app.command()
def explain(
    path: PathArgument = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: key, value and origin of each.")
    ] = False,
) -> None:
    """Print every value and where it comes from: a line of the file, a variable, or the default.

    Secrets are masked.
    """
    from entrepot.config.explain import explain as values

    loaded = _load(path)
    if as_json:
        document = {
            "path": None if loaded.path is None else str(loaded.path),
            "values": {
                value.key: {"value": value.value, "origin": str(value.origin)}
                for value in values(loaded)
            },
            "notices": [str(notice) for notice in loaded.notices],
        }
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))
        return
    rows = [(str(value), str(value.origin)) for value in values(loaded)]
    width = min(max(len(text) for text, _ in rows), 60)
    for text, origin in rows:
        typer.echo(f"{text:{width}}  # {origin}")
    for notice in loaded.notices:
        typer.secho(str(notice), fg=_COLOURS["warning"], err=True)


@app.command()
def schema() -> None:
    """Print a JSON Schema of the configuration file, for editors."""
    from entrepot.config.jsonschema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


def _load(path: Path | None) -> Loaded:
    """The configuration; ends the program with status 1 and every problem if there is none."""
    try:
        return load(resolve_path(path, os.environ), os.environ)
    except ConfigError as error:
        for problem in error.problems:
            _say("error", str(problem), to_stderr=True)
        raise typer.Exit(1) from error


def _say(level: str, message: str, *, to_stderr: bool = False) -> None:
    label = typer.style(f"{level:7}", fg=_COLOURS[level])
    typer.echo(f"{label} {message}", err=to_stderr)
