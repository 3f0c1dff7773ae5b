"""Having background work done and waiting for it: what the commands for it have in common."""

import asyncio
import os
import re
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from entrepot.cli.accounts import Form, caller, fail, show_one
from entrepot.cli.registry import Place

if TYPE_CHECKING:
    from entrepot.api.v1.forms_work import RunView
    from entrepot.core.work import Document

NoWaitOption = Annotated[
    bool, typer.Option("--no-wait", help="Ask for it and don't wait until it is done.")
]

_LOOK_EVERY = 1.0
_BYTES = re.compile(r"(\d{1,15})([KMGT]?)(?:i?B)?", re.IGNORECASE)


class Desk(NamedTuple):
    """Where work is asked for, and where one hears how far it is."""

    request: "Callable[[], RunView]"
    look: "Callable[[int], RunView]"


def have_done(
    place: Place,
    kind: str,
    settings: "Document",
    *,
    wait: bool,
    tell: Callable[["RunView"], str] | None,
    desk: Desk | None = None,
) -> "RunView":
    """Have something done, wait for its end and return it; `tell` says how far it is, None for
    nothing. Without `wait` it is only asked for. `desk` is for kinds that have one of their own.
    """
    desk = desk or _desk(place, kind, settings)
    if not wait:
        return desk.request()
    progress = _Progress(tell)
    try:
        if place.url is None:
            return _here(place, kind, settings, progress)
        run = desk.request()
        while run.finished_at is None:
            time.sleep(_LOOK_EVERY)
            run = desk.look(run.id)
            progress(run)
        return run
    except KeyboardInterrupt:
        progress.end()
        typer.echo("interrupted; a server goes on with it, or the same command", err=True)
        raise typer.Exit(130) from None
    finally:
        progress.end()


def _desk(place: Place, kind: str, settings: "Document") -> Desk:
    from entrepot.api.v1.forms_work import RunMake
    from entrepot.api.v1.work import request_run, show_run

    body = RunMake(kind=kind, settings=settings)
    return Desk(lambda: place.do(request_run, body), lambda run: place.do(show_run, run))


def _here(place: Place, kind: str, settings: "Document", progress: "_Progress") -> "RunView":
    from entrepot.api.v1.forms_work import RunView
    from entrepot.app.work import carry_out
    from entrepot.config import ConfigError, load, resolve_path
    from entrepot.core.errors import EntrepotError
    from entrepot.telemetry import configure_logging

    try:
        config = load(resolve_path(place.config, os.environ), os.environ).config
        configure_logging(config.log)
        done = carry_out(
            config,
            kind,
            settings,
            by=caller(),
            tell=lambda run: progress(RunView.of(run)),
        )
        return RunView.of(asyncio.run(done))
    except (ConfigError, EntrepotError) as error:
        fail(str(error))


class _Progress:
    """Tells on standard error how far it is: in one line that changes if that is a terminal."""

    def __init__(self, tell: Callable[["RunView"], str] | None) -> None:
        self._tell = tell
        self._terminal = sys.stderr.isatty()
        self._last = ""

    def __call__(self, run: "RunView") -> None:
        if self._tell is None:
            return
        text = self._tell(run) if run.report else f"{run.kind}: {run.outcome}"
        if text == self._last or run.finished_at is not None:
            return
        self._last = text
        if self._terminal:
            typer.echo(f"\r\x1b[K{text}", nl=False, err=True)
        else:
            typer.echo(text, err=True)

    def end(self) -> None:
        """Clear the line that changes."""
        if self._terminal and self._last:
            typer.echo("\r\x1b[K", nl=False, err=True)
            self._last = ""


def show_run(run: "RunView", *, output: Form) -> None:
    """Print a run with its report, and end the program with status 1 if it failed."""
    from entrepot.cli.accounts import row

    shown: dict[str, Any] = row(run)
    if output is Form.TEXT:
        report = shown.pop("report")
        shown |= report
    show_one(shown, output=output)
    if run.outcome == "failure":
        raise typer.Exit(1)


def parse_bytes(text: str | None) -> int | None:
    """Return the bytes that a text such as `20M` stands for (powers of 1024); None for none."""
    if text is None:
        return None
    match = _BYTES.fullmatch(text.strip())
    if match is None:
        fail(f"{text!r} is no number of bytes: write 20M or 1G")
    return int(match[1]) << (10 * " KMGT".index(match[2].upper() or " "))
