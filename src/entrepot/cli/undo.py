"""`entrepot trash` and `entrepot tag`: what was deleted or moved comes back."""

from typing import Annotated, Any

import typer

from entrepot.cli.accounts import (
    ConfigOption,
    Form,
    OutputOption,
    fail,
    past,
    row,
    show_one,
    show_views,
    split_reference,
)
from entrepot.cli.registry import Place, TokenOption, UrlOption

trash = typer.Typer(
    name="trash", help="What was deleted: list, restore, empty.", no_args_is_help=True
)
tag = typer.Typer(
    name="tag", help="Where tags pointed, and putting them back.", no_args_is_help=True
)

IdsArgument = Annotated[list[int] | None, typer.Argument(metavar="ID", help="As `list` shows it.")]
OperationOption = Annotated[
    str, typer.Option("--operation", help="All that one deletion threw away.")
]
RepositoryOption = Annotated[str, typer.Option("--repository", help="All of a repository.")]
NamespaceOption = Annotated[
    str,
    typer.Option("--namespace", help="All of a namespace and those below it; / is the root."),
]


@trash.command("list")
def list_trash(
    operation: OperationOption = "",
    repository: RepositoryOption = "",
    namespace: NamespaceOption = "",
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """List what is in the trash, the last deletion first."""
    from entrepot.api.v1 import undo

    found = Place(config, url, token).every(
        undo.list_trash, operation=operation, repository=repository, namespace=namespace
    )
    show_views(found, output=output, short=_short)


def _short(thrown: dict[str, Any]) -> dict[str, Any]:
    at = f":{thrown['tag']}" if thrown["tag"] else f"@{thrown['digest']}"
    names = ("operation", "deleted_at", "deleted_by", "until")
    what = thrown["repository"] + at
    return {"id": thrown["id"], "what": what, **{name: thrown[name] for name in names}}


@trash.command()
def restore(
    ids: IdsArgument = None,
    *,
    operation: OperationOption = "",
    repository: RepositoryOption = "",
    namespace: NamespaceOption = "",
    force: Annotated[
        bool, typer.Option("--force", help="Move tags back that point at something else by now.")
    ] = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Bring tags and manifests back, with what belongs to them."""
    from entrepot.api.v1 import undo
    from entrepot.api.v1.forms_undo import TrashRestore

    body = TrashRestore(**_selected(ids, operation, repository, namespace), force=force)
    done = Place(config, url, token).do(undo.restore_trash, body)
    if output is Form.JSON:
        show_one(row(done), output=output)
        return
    typer.echo(f"restored {done.manifests} manifests and {done.tags} tags")
    for left in done.left:
        typer.echo(f"{left} is there again and was left alone")


@trash.command()
def empty(
    ids: IdsArgument = None,
    operation: OperationOption = "",
    repository: RepositoryOption = "",
    namespace: NamespaceOption = "",
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Let what is in the trash go for good; what is on hold stays."""
    from entrepot.api.v1 import undo
    from entrepot.api.v1.forms_undo import TrashSelect

    body = TrashSelect(**_selected(ids, operation, repository, namespace))
    if not yes:
        fail("what is emptied can't be restored: confirm with --yes")
    done = Place(config, url, token).do(undo.empty_trash, body)
    typer.echo(f"{done.gone} are gone for good, {done.held} are on hold")


def _selected(
    ids: list[int] | None, operation: str, repository: str, namespace: str
) -> dict[str, Any]:
    if sum(map(bool, (ids, operation, repository, namespace))) != 1:
        fail("say what: some IDs, an --operation, a --repository or a --namespace")
    return {
        "ids": ids or [],
        "operation": operation,
        "repository": repository,
        "namespace": namespace,
    }


@tag.command()
def history(
    reference: Annotated[
        str, typer.Argument(metavar="REPOSITORY[:TAG]", help="A tag, or all of a repository.")
    ],
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """List where tags pointed, the last move first: when, by whom, from where to where."""
    from entrepot.api.v1 import undo

    name, text = split_reference(reference)
    found = Place(config, url, token).every(undo.list_history, name, tag=text)
    show_views(found, output=output)


@tag.command()
def rollback(
    reference: Annotated[str, typer.Argument(metavar="REPOSITORY:TAG")],
    *,
    to: Annotated[str, typer.Option("--to", metavar="DIGEST", help="Where it shall point.")] = "",
    at: Annotated[
        str,
        typer.Option(
            "--at",
            metavar="TIME",
            help="Point it where it did then: 2026-01-31T12:00:00Z, or 24h for a day ago.",
        ),
    ] = "",
    steps: Annotated[
        int | None, typer.Option(min=1, help="How many moves to take back; without more, one.")
    ] = None,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Point a tag at what it pointed at before."""
    from entrepot.api.v1 import undo
    from entrepot.api.v1.forms_undo import Rollback

    name, text = split_reference(reference)
    if not text:
        fail(f"{reference!r} names no tag: write REPOSITORY:TAG")
    if sum((bool(to), bool(at), steps is not None)) > 1:
        fail("say one of --to, --at and --steps")
    body = Rollback(tag=text, to=to, at=past(at) if at else None, steps=steps)
    done = Place(config, url, token).do(undo.roll_back, name, body)
    if output is Form.JSON:
        show_one(row(done), output=output)
        return
    typer.echo(f"{reference} points at {done.digest}; before it was {done.previous or 'nowhere'}")
