"""What the commands for accounts have in common: options, passwords, and how results are shown."""

import asyncio
import getpass
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from msgspec import Struct

    from entrepot.services.administration import Administration

T = TypeVar("T")
Row = Mapping[str, Any]


class Form(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="PATH",
        help="The configuration file; without it $REGISTRY_CONFIGURATION_PATH or the first of "
        "/etc/entrepot/config.yml, /etc/distribution/config.yml, /etc/docker/registry/config.yml.",
    ),
]
OutputOption = Annotated[Form, typer.Option("--output", "-o", help="Print text or JSON.")]
StdinOption = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]
ExpiresOption = Annotated[
    str | None,
    typer.Option("--expires", metavar="TIME", help="How long it lives, such as 12h or 90d."),
]
OverlapOption = Annotated[
    str | None,
    typer.Option(
        "--overlap",
        metavar="TIME",
        help="How long the old secret goes on, such as 1h; 0 ends it at once. Without this option "
        "auth.secrets.overlap counts.",
    ),
]
ScopeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--scope",
        metavar="PATTERN:ACTIONS",
        help="What the secret is limited to, such as 'team-a/**:pull,push'; may be given again. "
        "Without it the secret may do what its owner may.",
    ),
]

_WIDE = 1000
"""Columns of a table that no terminal has to hold."""

_TIME = re.compile(r"(\d{1,9})([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def run(config: Path | None, work: "Callable[[Administration], Awaitable[T]]") -> T:
    """Do `work` with the accounts of the registry that is configured; what goes wrong ends the
    program with its reason and status 1.
    """
    from entrepot.app import opened_accounts
    from entrepot.config import ConfigError, load, resolve_path
    from entrepot.core.errors import EntrepotError
    from entrepot.telemetry import configure_logging

    async def do() -> T:
        async with opened_accounts(loaded) as services:
            return await work(services)

    try:
        loaded = load(resolve_path(config, os.environ), os.environ).config
        configure_logging(loaded.log)
        return asyncio.run(do())
    except (ConfigError, EntrepotError) as error:
        detail = getattr(error, "detail", None)
        reason = detail.get("reason") if isinstance(detail, dict) else None
        fail(str(reason or error))


def fail(reason: str) -> NoReturn:
    """End the program with status 1 and a reason."""
    typer.secho(reason, fg=typer.colors.RED, err=True)
    raise typer.Exit(1)


def caller() -> str:
    """Return who runs this program, for the record."""
    return f"{getpass.getuser()} on the host"


def ask_password(*, stdin: bool) -> str:
    """Return a new password: typed twice, or the first line of standard input."""
    if stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        fail("there is no terminal to ask for the password: use --password-stdin")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


def seconds(text: str | None) -> float | None:
    """Return the seconds of a time such as `90d`; None for none."""
    if text is None:
        return None
    match = _TIME.fullmatch(text)
    if match is None:
        fail(f"{text!r} is not a time: write a number and s, m, h or d, such as 90d")
    return float(int(match[1]) * _SECONDS[match[2]])


def past(text: str) -> datetime:
    """Return a time that is written as such, or as how long ago it was."""
    ago = _TIME.fullmatch(text)
    try:
        if ago and ago[2]:
            return datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
        then = datetime.fromisoformat(text)
        return then if then.tzinfo else then.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        fail(f"{text!r} is not a time: write 2026-01-31, 2026-01-31T12:00:00Z or 24h")


def split_reference(what: str) -> tuple[str, str]:
    """Return the repository and the tag or digest of REPOSITORY[:TAG|@DIGEST]; the latter may be
    left out, but not be empty.
    """
    name, mark, reference = what.partition("@")
    if not mark:
        name, mark, reference = what.partition(":")
    elif reference and ":" not in reference:
        fail(f"{reference!r} is no digest; a tag stands behind a colon")
    if mark and not reference:
        fail(f"{what!r} ends in {mark!r}: write a tag or digest behind it, or leave it out")
    return name, reference


def row(view: "Struct") -> dict[str, Any]:
    """Return the fields of something that an operation gives, as they are printed."""
    from msgspec import to_builtins

    fields: dict[str, Any] = to_builtins(view)
    return fields


def show(rows: Sequence[Row], *, output: Form) -> None:
    """Print a table, or JSON: a list of objects."""
    if output is Form.JSON:
        typer.echo(json.dumps(list(rows), indent=2, ensure_ascii=False))
        return
    if not rows:
        typer.echo("none")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        table.add_column(name.replace("_", " ").upper(), overflow="fold")
    for row in rows:
        table.add_row(*(_text(value) for value in row.values()))
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)


def show_views(
    views: Iterable["Struct"],
    *,
    output: Form,
    short: Callable[[dict[str, Any]], Row] | None = None,
) -> None:
    """Print what an operation lists; in a table only what is `short` of each."""
    rows: list[Row] = [row(view) for view in views]
    if short is not None and output is Form.TEXT:
        rows = [short(dict(each)) for each in rows]
    show(rows, output=output)


def show_one(row: Row, *, output: Form) -> None:
    """Print the fields of one thing, or JSON: an object."""
    if output is Form.JSON:
        typer.echo(json.dumps(row, indent=2, ensure_ascii=False))
        return
    width = max(len(name) for name in row)
    for name, value in row.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            typer.echo(f"{name.replace('_', ' ')}:")
            for inner in value:
                typer.echo(f"  {_text(inner)}")
        else:
            typer.echo(f"{name.replace('_', ' '):{width}}  {_text(value)}")


def show_secret(made: Row, *, output: Form) -> None:
    """Print one thing with its secret, which is shown this once."""
    if output is Form.JSON:
        show_one(made, output=output)
        return
    show_one({name: value for name, value in made.items() if name != "secret"}, output=output)
    typer.echo("The secret is shown this once:", err=True)
    typer.echo(made["secret"])


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_text(each)}" for name, each in value.items()) or "-"
    return str(value)
