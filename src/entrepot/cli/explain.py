"""`entrepot explain`: why something is still there."""

from typing import TYPE_CHECKING, Annotated

import typer

from entrepot.cli.accounts import ConfigOption, Form, OutputOption, row, show_one
from entrepot.cli.registry import Place, TokenOption, UrlOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from entrepot.api.v1.explaining import BecauseView, ExplanationView


def explain(
    what: Annotated[
        str,
        typer.Argument(
            metavar="REPOSITORY[:TAG|@DIGEST]",
            help="A repository, a tag, or a manifest or blob by its digest.",
        ),
    ],
    blob: Annotated[
        bool, typer.Option("--blob", help="The digest is a blob's, also if a manifest has it.")
    ] = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Say what keeps something, until when, and what deleting it would free.

    Bytes that something else in the store needs are not freed; those that are go when the trash
    window and the grace period are over.
    """
    from entrepot.api.v1 import explaining

    name, at, digest = what.partition("@")
    tag = ""
    if not at and ":" in name.rpartition("/")[2]:
        name, _, tag = name.rpartition(":")
    place = Place(config, url, token)
    told = place.do(explaining.explain, name, reference=digest or tag, blob=blob)
    if output is Form.JSON:
        show_one(row(told), output=output)
    else:
        _show(told)


def _show(told: "ExplanationView") -> None:
    shown = row(told)
    kept = shown.pop("kept")
    if shown.pop("partial"):
        shown["freed"] = f"{told.freed}, within what you may read"
    show_one({k: v for k, v in shown.items() if v not in ("", None, [])}, output=Form.TEXT)
    typer.echo("kept by:" if kept else "kept by nothing")
    _list(told.kept, "  ")


def _list(kept: "Sequence[BecauseView]", indent: str) -> None:
    for because in kept:
        until = f", until {because.until:%Y-%m-%d %H:%M:%S}Z" if because.until else ""
        typer.echo(f"{indent}{because.reason} {because.what}".rstrip() + until)
        _list(because.because, indent + "  ")
