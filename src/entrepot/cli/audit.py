"""`entrepot audit`: who did what, when, from where, and why that was allowed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from entrepot.cli.accounts import (
    ConfigOption,
    Form,
    OutputOption,
    Row,
    fail,
    past,
    row,
    show,
    show_one,
)
from entrepot.cli.registry import Place, TokenOption, UrlOption

app = typer.Typer(name="audit", help="Who did what, and why they could.", no_args_is_help=True)


class Ending(StrEnum):
    """How something ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    DENIED = "denied"


UserOption = Annotated[str | None, typer.Option("--user", help="Who did it.")]
ActionOption = Annotated[
    str | None,
    typer.Option("--action", help="What was done: user.create, or user for all of its kind."),
]
RepositoryOption = Annotated[
    str | None, typer.Option("--repository", help="On which repository it was done.")
]
NamespaceOption = Annotated[
    str | None, typer.Option("--namespace", help="In which namespace the repository lies.")
]
OutcomeOption = Annotated[Ending | None, typer.Option("--outcome", help="How it ended.")]
AddressOption = Annotated[str | None, typer.Option("--address", help="From which IP address.")]
TargetOption = Annotated[
    str | None, typer.Option("--target", help="The account, namespace or role it was about.")
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Not before: 2026-01-31, with a time, or 24h."),
]
UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Before; as --since.")
]


class ExportForm(StrEnum):
    """How events are exported."""

    JSON = "json"
    CSV = "csv"


@app.callback()
def options() -> None:
    """Who did what, when, from where, and why they could."""


@app.command()
def search(
    *,
    user: UserOption = None,
    action: ActionOption = None,
    repository: RepositoryOption = None,
    namespace: NamespaceOption = None,
    outcome: OutcomeOption = None,
    address: AddressOption = None,
    target: TargetOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Events on a page.")] = 50,
    before: Annotated[
        str | None, typer.Option("--before", metavar="MARK", help="Go on after an earlier page.")
    ] = None,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """List events, the newest first."""
    wanted = _wanted(user, action, repository, namespace, outcome, address, target, since, until)

    from entrepot.api.v1.audit import search_events

    page = Place(config, url, token).do(search_events, **wanted, limit=limit, after=before or "")
    events = [row(event) for event in page.items]
    show(events if output is Form.JSON else [_short(event) for event in events], output=output)
    if page.next:
        typer.echo(f"there are older ones: --before {page.next}", err=True)


@app.command()
def export(
    *,
    user: UserOption = None,
    action: ActionOption = None,
    repository: RepositoryOption = None,
    namespace: NamespaceOption = None,
    outcome: OutcomeOption = None,
    address: AddressOption = None,
    target: TargetOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    form: Annotated[
        ExportForm,
        typer.Option("--format", help="Lines of JSON in Elastic Common Schema, or CSV."),
    ] = ExportForm.JSON,
    file: Annotated[
        Path | None, typer.Option("--file", help="Where to, instead of standard output.")
    ] = None,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Write events, the newest first, for other programs."""
    wanted = _wanted(user, action, repository, namespace, outcome, address, target, since, until)

    from entrepot.api.v1.audit import export_events

    lines = 0
    with _opened(file) as out:

        def take(piece: bytes) -> None:
            nonlocal lines
            out.write(piece)
            lines += piece.count(b"\n")

        Place(config, url, token).pour(export_events, take, **wanted, format=form.value)
    typer.echo(f"{lines - (form is ExportForm.CSV)} events", err=True)


@app.command()
def verify(
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint",
            metavar="NUMBER:HASH",
            help="A checkpoint that must be there, as the server's log told it.",
        ),
    ] = None,
    trust: Annotated[
        list[str] | None,
        typer.Option(
            "--trust",
            metavar="KEY",
            help="The id of a key to believe that another http.secret has sealed.",
        ),
    ] = None,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Look at every event and checkpoint, and tell which were changed, removed or inserted.

    The status is 1 if any was.
    """
    from entrepot.api.v1.audit import verify_events

    place = Place(config, url, token)
    report = place.do(verify_events, checkpoint=checkpoint or "", trust=trust or [])
    told = row(report)
    found = told.pop("found")
    if output is Form.JSON:
        show_one(told, output=output)
    else:
        show_one(told | {"problems": found}, output=output)
        for problem in report.problems:
            typer.secho(problem, fg=typer.colors.RED, err=True)
        if found > len(report.problems):
            typer.echo(f"and {found - len(report.problems)} more", err=True)
    if found:
        raise typer.Exit(1)


@contextmanager
def _opened(file: Path | None) -> Iterator[BinaryIO]:
    """Open what is written to; a file is there when all of it is."""
    if file is None:
        yield sys.stdout.buffer
        return
    partial = file.with_name(f"{file.name}.partial")
    try:
        with partial.open("wb") as out:
            yield out
        partial.replace(file)
    except OSError as error:
        fail(f"{file} can't be written: {error.strerror}")
    finally:
        partial.unlink(missing_ok=True)


def _wanted(  # noqa: PLR0917 - the options of a search
    user: str | None,
    action: str | None,
    repository: str | None,
    namespace: str | None,
    outcome: Ending | None,
    address: str | None,
    target: str | None,
    since: str | None,
    until: str | None,
) -> dict[str, Any]:
    """Return the query that the options of a search mean."""
    return {
        "user": user or "",
        "action": action or "",
        "repository": repository or "",
        "namespace": namespace or "",
        "outcome": outcome.value if outcome else None,
        "address": address or "",
        "target": target or "",
        "since": past(since).isoformat() if since else None,
        "until": past(until).isoformat() if until else None,
    }


def _short(row: Row) -> Row:
    on = row["repository"] or row["target"]
    if row["tag"]:
        on += f":{row['tag']}"
    elif row["digest"]:
        on += f"@{row['digest'][:19]}"
    return {
        "time": row["occurred_at"],
        "action": row["action"],
        "outcome": row["outcome"],
        "user": row["actor"] or None,
        "address": row["address"] or None,
        "on": on or None,
        "reason": row["reason"] or None,
    }
