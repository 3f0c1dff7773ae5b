"""`entrepot scrub`: reading what is stored, and comparing it with its digests."""

from typing import TYPE_CHECKING, Annotated

import typer

from entrepot.cli.accounts import ConfigOption, Form, OutputOption
from entrepot.cli.registry import Place, TokenOption, UrlOption
from entrepot.cli.work import NoWaitOption, have_done, parse_bytes, show_run

if TYPE_CHECKING:
    from entrepot.api.v1.forms_work import RunView

_MIB = 1 << 20


def scrub(
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="BYTES",
            help="Read no more in a second, such as 50M; 0 is without a limit. Without this "
            "option lifecycle.scrub.rate counts.",
        ),
    ] = None,
    no_wait: NoWaitOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Read every stored object and compare it with its digest.

    What is damaged or missing is set apart: pulls of it are answered with an error instead of wrong
    bytes until somebody pushes it again, or is fetched from one of lifecycle.scrub.peers. A server
    that runs does this; if none does, it is done here. It goes on where it was when it is
    interrupted. The exit status is 2 if there is damage that could not be repaired.
    """
    run = have_done(
        Place(config, url, token),
        "scrub",
        {"rate": parse_bytes(rate)},
        wait=not no_wait,
        tell=_progress,
    )
    show_run(run, output=output)
    if _found(run) > run.report.get("repaired", 0):
        raise typer.Exit(2)


def _found(run: "RunView") -> int:
    return sum(run.report.get(what, 0) for what in ("damaged", "missing", "unreadable"))


def _progress(run: "RunView") -> str:
    told = {"blobs": 0, "read": 0, "left": 0, "left_bytes": 0} | run.report
    return (
        f"{told['blobs']} blobs, {told['read'] / _MIB:.0f} MiB read, {told['left']} blobs with "
        f"{told['left_bytes'] / _MIB:.0f} MiB left; {_found(run)} damaged"
    )
