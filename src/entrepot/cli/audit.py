"""`entrepot audit`: who did what, when, from where, and why that was allowed."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TextIO

import typer

from entrepot.cli.accounts import (
    ConfigOption,
    Form,
    OutputOption,
    Row,
    fail,
    run,
    show,
    show_one,
)

if TYPE_CHECKING:
    from entrepot.app import AccountServices
    from entrepot.services.auditing import Page
    from entrepot.services.checkpoints import Report

app = typer.Typer(name="audit", help="Who did what, and why they could.", no_args_is_help=True)

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
OutcomeOption = Annotated[
    str | None, typer.Option("--outcome", help="How it ended: success, failure or denied.")
]
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

_AGO = re.compile(r"(\d{1,9})([smhd])")
_EVER = 2**62
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


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
    limit: Annotated[int, typer.Option("--limit", min=1, help="Events on a page.")] = 50,
    before: Annotated[
        str | None, typer.Option("--before", metavar="MARK", help="Go on after an earlier page.")
    ] = None,
    config: ConfigOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """List events, the newest first."""
    from entrepot.core.audit_forms import row

    wanted = _wanted(
        user=user,
        action=action,
        repository=repository,
        namespace=namespace,
        outcome=outcome,
        address=address,
        target=target,
    )
    span = _span(since, until)

    async def work(services: "AccountServices") -> "Page":
        return await services.audit.search(
            wanted, since=span.since, until=span.until, before=before, limit=limit
        )

    page = run(config, work)
    if output is Form.JSON:
        show([row(found.record) for found in page.found], output=output)
    else:
        show([_short(row(found.record)) for found in page.found], output=output)
    if page.rest:
        typer.echo(f"there are older ones: --before {page.rest}", err=True)


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
) -> None:
    """Write events, the newest first, for other programs."""
    from entrepot.core.audit_forms import CSV_HEADER, csv_line, ecs_line

    wanted = _wanted(
        user=user,
        action=action,
        repository=repository,
        namespace=namespace,
        outcome=outcome,
        address=address,
        target=target,
    )
    span = _span(since, until)

    async def work(services: "AccountServices") -> int:
        count = 0
        with _opened(file) as out:
            if form is ExportForm.CSV:
                out.write(CSV_HEADER)
            async for records in services.audit.every(wanted, since=span.since, until=span.until):
                for record in records:
                    csv = form is ExportForm.CSV
                    out.write(csv_line(record) if csv else ecs_line(record).decode())
                count += len(records)
        return count

    count = run(config, work)
    typer.echo(f"{count} events", err=True)


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
    output: OutputOption = Form.TEXT,
) -> None:
    """Look at every event and checkpoint, and tell which were changed, removed or inserted.

    The status is 1 if any was.
    """
    expected = _expected(checkpoint)

    async def work(services: "AccountServices") -> "Report":
        checkpoints = await services.checkpoints()
        return await checkpoints.verify(trusted=trust or (), expected=expected)

    report = run(config, work)
    problems = [str(problem) for problem in report.problems]
    summary = {
        "events": report.events,
        "chains": report.chains,
        "checkpoints": report.checkpoints,
        "last_checkpoint": report.last,
        "problems": problems if output is Form.JSON else len(problems),
    }
    show_one(summary, output=output)
    if output is Form.TEXT:
        for problem in problems:
            typer.secho(problem, fg=typer.colors.RED, err=True)
    if problems:
        raise typer.Exit(1)


class _Span(NamedTuple):
    since: int
    until: int


@contextmanager
def _opened(file: Path | None) -> Iterator[TextIO]:
    if file is None:
        yield sys.stdout
        return
    try:
        with file.open("w", encoding="utf-8") as out:
            yield out
    except OSError as error:
        fail(f"{file} can't be written: {error.strerror}")


def _wanted(
    *,
    user: str | None,
    action: str | None,
    repository: str | None,
    namespace: str | None,
    outcome: str | None,
    address: str | None,
    target: str | None,
) -> dict[str, str]:
    given = {
        "actor": user,
        "action": action,
        "repository": repository,
        "below": namespace,
        "outcome": outcome,
        "address": address,
        "target": target,
    }
    return {column: value for column, value in given.items() if value}


def _span(since: str | None, until: str | None) -> _Span:
    return _Span(
        _moment(since) if since else -_EVER,
        _moment(until) if until else _EVER,
    )


def _expected(checkpoint: str | None) -> tuple[int, str] | None:
    if checkpoint is None:
        return None
    number, _, digest = checkpoint.partition(":")
    if not number.isdecimal() or not re.fullmatch(r"[0-9a-f]{64}", digest):
        fail(f"{checkpoint!r} is not NUMBER:HASH")
    return int(number), digest


def _moment(text: str) -> int:
    """Return the microseconds since 1970 of a time, or of so long ago."""
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            then = datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        else:
            then = datetime.fromisoformat(text)
            then = then if then.tzinfo else then.replace(tzinfo=UTC)
        return int(then.timestamp() * 1_000_000)
    except (ValueError, OverflowError):
        fail(f"{text!r} is not a time: write 2026-01-31, 2026-01-31T12:00:00Z or 24h")


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
