"""`entrepot gc` and `registry garbage-collect`: what nobody needs goes."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entrepot.cli.accounts import (
    ConfigOption,
    Form,
    OutputOption,
    fail,
    row,
    seconds,
    show,
    show_one,
)
from entrepot.cli.config import PathArgument
from entrepot.cli.registry import Place, TokenOption, UrlOption
from entrepot.cli.schedule import JitterOption, TimezoneOption
from entrepot.cli.work import Desk, NoWaitOption, have_done, show_run

if TYPE_CHECKING:
    from entrepot.api.v1.forms_work import RunView
    from entrepot.core.work import Document
    from entrepot.services.collecting import Done

app = typer.Typer(
    name="gc",
    help="Collection of what nobody needs. It goes on by itself while a server runs; here it is "
    "watched, done at a stretch, or at fixed times.",
    invoke_without_command=True,
    no_args_is_help=True,
)

SCHEDULE = "gc"
"""The name of the schedule that `--schedule` sets."""

DryRunOption = Annotated[
    bool, typer.Option("--dry-run", "-d", help="Say what would go, and change nothing.")
]
UntaggedOption = Annotated[
    bool,
    typer.Option(
        "--delete-untagged",
        "-m",
        help="Have manifests looked at as well that no tag, index or subject keeps and nobody "
        "looks at otherwise, such as those that registry:2 left. They go half a grace period "
        "later, unless something needs them by then.",
    ),
]

_WHY = {
    "asked": "without a tag, which you asked to go",
    "blob.unlinked": "that a repository gave up",
    "blob.unused": "that were uploaded and never used",
    "hold.ended": "that were on hold",
    "circle.found": "that are kept only by each other",
    "index.deleted": "that were listed by an index which is gone",
    "manifest.deleted": "that a deleted manifest needed",
    "manifest.pushed": "that were pushed without a tag",
    "subject.deleted": "that were about an image which is gone",
    "tag.deleted": "that lost a tag, which was deleted",
    "tag.moved": "that lost a tag, which moved",
    "trash.expired": "that have left the trash",
    "trash.restored": "that were restored",
}


@app.callback()
def gc(
    context: typer.Context,
    *,
    schedule: Annotated[
        str | None,
        typer.Option(
            metavar="LINE",
            help="Make a whole pass at these times, once per cluster: a cron line such as "
            "'0 3 * * *', or @daily. `entrepot schedule` lists, changes and removes it.",
        ),
    ] = None,
    timezone: TimezoneOption = "UTC",
    jitter: JitterOption = "0",
    delete_untagged: UntaggedOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Collection of what nobody needs. It goes on by itself while a server runs; here it is
    watched, done at a stretch, or at fixed times.
    """
    if context.invoked_subcommand is not None:
        given = [name for name in context.params if _is_given(context, name)]
        if "schedule" in given:
            fail("--schedule stands alone: run, status and history do something at once")
        if given:
            fail("write the options of run, status and history behind these words")
        return
    if schedule is None:
        fail("say when with --schedule, or use run, status or history")
    from entrepot.api.v1.forms_work import ScheduleMake
    from entrepot.api.v1.work import set_schedule
    from entrepot.core.collected import COLLECT

    body = ScheduleMake(
        kind=COLLECT,
        cron=schedule,
        timezone=timezone,
        jitter=seconds(jitter) or 0,
        settings={"delete_untagged": delete_untagged},
    )
    show_one(row(Place(config, url, token).do(set_schedule, SCHEDULE, body)), output=output)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


@app.command()
def run(
    dry_run: DryRunOption = False,
    delete_untagged: UntaggedOption = False,
    no_wait: NoWaitOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Make a whole pass now: all that is due, and everything gone through once.

    Nothing goes sooner than it does by itself. A server that runs does this; if none does, it is
    done here. The exit status is 1 if it failed, and 2 if objects could not be deleted yet.
    """
    done = _have_done(
        Place(config, url, token),
        {"dry_run": dry_run, "delete_untagged": delete_untagged},
        wait=not no_wait,
    )
    if output is Form.JSON or done.finished_at is None or done.outcome == "failure":
        show_run(done, output=output)
    else:
        _print_things(done.report)
        _print_sums(done.report)
    _end(done.report)


@app.command()
def status(
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Say how collection is going: what waits, what could not be deleted and why, the last pass."""
    from entrepot.api.v1.collection import show_collection

    shown = row(Place(config, url, token).do(show_collection))
    if output is Form.TEXT:
        last = shown.pop("last_run")
        shown["last_run"] = (
            f"{last['id']} {last['outcome']} {last['finished_at']}" if last else None
        )
        if not shown["failed"]:
            shown["failed"] = None
    show_one(shown, output=output)


@app.command()
def history(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many passes at most.")] = 20,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """List the last passes with what came of them, the newest first."""
    from entrepot.api.v1.collection import list_collections

    found = [
        row(each) for each in Place(config, url, token).do(list_collections, limit=limit).items
    ]
    show(found if output is Form.JSON else [_short(each) for each in found], output=output)


def garbage_collect(
    path: PathArgument = None,
    dry_run: DryRunOption = False,
    delete_untagged: UntaggedOption = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but what goes wrong.")
    ] = False,
) -> None:
    """Collect what nobody needs now, as registry:2 has it; the registry goes on running.

    A server does the same all the time by itself. Nothing that is tagged goes, nothing that an
    index lists, no signature of an image that is there, and nothing that somebody may still count
    on: what was deleted can be restored for lifecycle.trash.window, and what a client was told
    exists stays for half of lifecycle.collection.grace at least. What is kept for that is printed
    with its time. With --dry-run nothing is changed, and all that would go is printed.
    """
    settings = {"dry_run": dry_run, "delete_untagged": delete_untagged}
    if dry_run:
        report = _foresee(path, settings, quiet=quiet)
    else:
        place = Place(path, None, None)
        done = _have_done(place, settings, wait=True, quiet=quiet)
        report = done.report
        if done.outcome == "failure":
            fail(str(report.get("error", "collection failed")))
        if not quiet:
            _print_things(report)
    if not quiet:
        _print_sums(report)
    _end(report)


def _have_done(place: Place, settings: "Document", *, wait: bool, quiet: bool = False) -> "RunView":
    from entrepot.api.v1.collection import request_collection
    from entrepot.api.v1.forms_collection import CollectionMake
    from entrepot.api.v1.work import show_run as look
    from entrepot.core.collected import COLLECT

    body = CollectionMake(**settings)
    desk = Desk(lambda: place.do(request_collection, body), lambda number: place.do(look, number))
    tell = None if quiet else _progress
    return have_done(place, COLLECT, settings, wait=wait, tell=tell, desk=desk)


def _foresee(path: Path | None, settings: "Document", *, quiet: bool) -> "Document":
    """Print all that would go, and return the report."""
    from entrepot.app.collection import foresee
    from entrepot.config import ConfigError, load, resolve_path
    from entrepot.core.collected import CollectSettings
    from entrepot.core.errors import EntrepotError
    from entrepot.telemetry import configure_logging

    try:
        config = load(resolve_path(path, os.environ), os.environ).config
        configure_logging(config.log)
        asked = CollectSettings(**settings)
        show = _ignore if quiet else _print_done
        return asyncio.run(foresee(config, asked, show)).document()
    except (ConfigError, EntrepotError) as error:
        fail(str(error))


def _ignore(_done: "Done") -> None:
    """Print nothing."""


def _print_done(done: "Done") -> None:
    for name, digest in done.manifests:
        typer.echo(f"{name}: manifest eligible for deletion: {digest}")
    for blob in done.blobs:
        typer.echo(f"blob eligible for deletion: {blob.digest}")


def _print_things(report: "Document") -> None:
    """Print what went as registry:2 does, as far as the report lists it."""
    for text in report["removed"]:
        name, _, digest = text.partition("@")
        typer.echo(f"{name}: manifest eligible for deletion: {digest}")
    _print_more(report["manifests"] - len(report["removed"]), "manifests; the audit log has them")
    for digest in report["deleted"]:
        typer.echo(f"blob eligible for deletion: {digest}")
    _print_more(report["blobs"] - len(report["deleted"]), "blobs")


def _print_more(count: int, things: str) -> None:
    if count > 0:
        typer.echo(f"... and {count} more {things}")


def _print_sums(report: "Document") -> None:
    from entrepot.core.quotas import show_size

    if report["ended"]:
        typer.echo(f"! {report['ended']}")
    for text in report["asked"]:
        name, _, digest = text.partition("@")
        typer.echo(f"{name}: untagged manifest is going to be looked at: {digest}")
    _print_more(report["queued"] - len(report["asked"]), "untagged manifests")
    typer.echo(
        f"\n{report['marked']} blobs marked, {report['blobs']} blobs and {report['manifests']} "
        "manifests eligible for deletion"
    )
    typer.echo(
        f"{'would be deleted' if report['dry_run'] else 'deleted'}: {report['blobs']} blobs with "
        f"{show_size(report['freed'])}, {report['manifests']} manifests, {report['links']} links "
        f"of repositories to blobs, {report['repositories']} repositories with nothing in them"
    )
    if report["failed"]:
        typer.echo(f"! {report['failed']} objects could not be deleted, which is tried again")
    if not report["strangers"] and not report["ended"]:
        typer.echo(
            "objects that the index does not know were left alone: the storage has not been marked "
            "as this index's own for a grace period; a server marks it when it starts"
        )
    _print_waiting(report)


def _print_waiting(report: "Document") -> None:
    """Say what is kept for now, until when, and why."""
    if not report["waiting"]:
        return
    typer.echo("\nkept for now; each goes at its time, unless something needs it then:")
    for each in report["waiting"]:
        things = {"manifest": "manifests", "link": "links to blobs"}[each["kind"]]
        when = (
            each["first"] if each["first"] == each["last"] else f"{each['first']} - {each['last']}"
        )
        why = _WHY.get(each["event"], each["event"])
        typer.echo(f"  {each['count']} {things} {why}: {when}")
    told, window = _period(report["grace"] / 2), _period(report["window"])
    typer.echo(
        f"Whoever was told that something exists can count on it for {told} (half of "
        f"lifecycle.collection.grace),\nand what was deleted can be restored for {window} "
        "(lifecycle.trash.window). A running server does the rest by itself."
    )


def _period(count: float) -> str:
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if count >= length and count % length == 0:
            return f"{count // length:.0f}{unit}"
    return f"{count:g}s"


def _end(report: "Document") -> None:
    if report.get("failed"):
        raise typer.Exit(2)


def _progress(run: "RunView") -> str:
    told = {"manifests": 0, "blobs": 0, "freed": 0} | run.report
    return f"collection: {told['manifests']} manifests, {told['blobs']} blobs deleted"


def _short(run: dict[str, Any]) -> dict[str, Any]:
    report = run["report"]
    short = {name: run[name] for name in ("id", "started_at", "finished_at", "outcome", "cause")}
    short |= {
        name: report.get(name) for name in ("dry_run", "manifests", "blobs", "freed", "failed")
    }
    short["error"] = report.get("error") or report.get("ended") or None
    return short
