"""`entrepot hold`, and the commands of `entrepot tag` that protect tags."""

from typing import Annotated

import typer

from entrepot.cli.accounts import (
    ConfigOption,
    ExpiresOption,
    Form,
    OutputOption,
    row,
    seconds,
    show_one,
    show_views,
    split_reference,
)
from entrepot.cli.registry import Place, TokenOption, UrlOption
from entrepot.cli.undo import tag

app = typer.Typer(
    name="hold",
    help="Holds: nothing of a repository, or of an image, goes, whatever else says that it may.",
    no_args_is_help=True,
)


@tag.command()
def protect(
    namespace: Annotated[
        str, typer.Argument(metavar="NAMESPACE", help="Where; / is the root, so everywhere.")
    ],
    tags: Annotated[str, typer.Argument(metavar="PATTERN", help="Which tags, such as 'v*'.")],
    repositories: Annotated[
        str,
        typer.Option(metavar="PATTERN", help="In which repositories, as seen from the namespace."),
    ] = "**",
    exception: Annotated[
        bool, typer.Option("--exception", help="These may be moved and deleted all the same.")
    ] = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Protect tags from being moved and deleted, in a namespace and those below it."""
    from entrepot.api.v1 import protecting
    from entrepot.api.v1.forms_protecting import ProtectionMake

    body = ProtectionMake(
        namespace=namespace, tags=tags, repositories=repositories, exception=exception
    )
    show_one(row(Place(config, url, token).do(protecting.protect_tags, body)), output=output)


@tag.command()
def unprotect(
    number: Annotated[int, typer.Argument(metavar="ID", help="As `protections` shows it.")],
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Remove a rule that protects tags, or excepts some."""
    from entrepot.api.v1 import protecting

    gone = Place(config, url, token).do(protecting.unprotect_tags, number)
    typer.echo(f"rule {number} for tags {gone.tags} in {gone.namespace} is removed")


@tag.command()
def protections(
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """List the rules that protect tags."""
    from entrepot.api.v1 import protecting

    found = Place(config, url, token).every(protecting.list_protections)
    show_views(found, output=output)


@app.command()
def place(
    what: Annotated[
        str,
        typer.Argument(
            metavar="REPOSITORY[:TAG|@DIGEST]",
            help="A repository, or the image that a tag points at now, or that has a digest.",
        ),
    ],
    *,
    reason: Annotated[str, typer.Option(help="Why; whoever is refused is told.")],
    owner: Annotated[str, typer.Option(help="Whose it is; without this, yours.")] = "",
    expires: ExpiresOption = None,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Keep a repository or an image from being deleted by anybody and anything."""
    from entrepot.api.v1 import protecting
    from entrepot.api.v1.forms_protecting import HoldMake

    name, reference = split_reference(what)
    body = HoldMake(
        repository=name,
        reference=reference,
        reason=reason,
        owner=owner,
        expires_in=seconds(expires),
    )
    show_one(row(Place(config, url, token).do(protecting.place_hold, body)), output=output)


@app.command("list")
def list_holds(
    repository: Annotated[
        str, typer.Argument(metavar="[REPOSITORY]", help="Without one, of all.")
    ] = "",
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """List the holds, also those that have ended."""
    from entrepot.api.v1 import protecting

    found = Place(config, url, token).every(protecting.list_holds, repository=repository)
    show_views(found, output=output)


@app.command()
def release(
    number: Annotated[int, typer.Argument(metavar="ID", help="As `list` shows it.")],
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """End a hold. What nothing else keeps goes in time."""
    from entrepot.api.v1 import protecting

    gone = Place(config, url, token).do(protecting.release_hold, number)
    what = f"{gone.repository}@{gone.digest}" if gone.digest else gone.repository
    typer.echo(f"hold {number} of {gone.owner} on {what} is released")
