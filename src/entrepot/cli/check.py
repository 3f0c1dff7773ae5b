"""`entrepot check`: comparing the index with the storage."""

from typing import TYPE_CHECKING, Annotated

import typer

from entrepot.cli.accounts import ConfigOption, Form, OutputOption
from entrepot.cli.registry import Place, TokenOption, UrlOption
from entrepot.cli.work import NoWaitOption, have_done, show_run

if TYPE_CHECKING:
    from entrepot.api.v1.forms_work import RunView


def check(
    fix: Annotated[
        bool,
        typer.Option(
            "--fix",
            help="Repair: set apart blobs whose object is missing or has another size, and fetch "
            "them from lifecycle.scrub.peers; delete objects that the index does not know and that "
            "are older than lifecycle.collection.grace.",
        ),
    ] = False,
    no_wait: NoWaitOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Compare the index with the storage both ways, by names and sizes.

    `entrepot scrub` reads the bytes as well. A server that runs does this; if none does, it is done
    here. What may be under way is left alone. The exit status is 2 if something is wrong that was
    not repaired.
    """
    from entrepot.core.work import CHECK

    place = Place(config, url, token)
    run = have_done(place, CHECK, {"fix": fix}, wait=not no_wait, tell=_progress)
    show_run(run, output=output)
    if run.finished_at is not None and output is Form.TEXT and not run.report["judged"]:
        typer.echo(
            "unknown objects are left alone: something is being taken over, or the storage has not "
            "been marked as this index's own for a grace period",
            err=True,
        )
    if run.report.get("left"):
        raise typer.Exit(2)


def _progress(run: "RunView") -> str:
    told = {"blobs": 0, "objects": 0, "missing": 0, "resized": 0, "unknown": 0} | run.report
    return (
        f"{told['blobs']} blobs and {told['objects']} objects compared; {told['missing']} missing, "
        f"{told['resized']} of another size, {told['unknown']} unknown"
    )
