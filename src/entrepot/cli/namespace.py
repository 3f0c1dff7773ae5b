"""`entrepot namespace`: parts of the tree of repositories' names, with settings and members."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from entrepot.cli.accounts import (
    ConfigOption,
    Form,
    OutputOption,
    fail,
    row,
    show_one,
    show_views,
)
from entrepot.cli.registry import Place, TokenOption, UrlOption

if TYPE_CHECKING:
    from entrepot.api.v1.forms import NamespaceView
    from entrepot.core.decision import Visibility

app = typer.Typer(
    name="namespace",
    help="Namespaces: parts of the tree of repositories' names, each with settings and members.",
    no_args_is_help=True,
)


class Choice(StrEnum):
    """What `--visibility` may be."""

    PRIVATE = "private"
    INTERNAL = "internal"
    PUBLIC = "public"
    INHERIT = "inherit"


_VISIBILITIES: "dict[Choice, Visibility | None]" = {
    Choice.PRIVATE: "private",
    Choice.INTERNAL: "internal",
    Choice.PUBLIC: "public",
    Choice.INHERIT: None,
}

NameArgument = Annotated[
    str,
    typer.Argument(metavar="NAMESPACE", help="Its name, such as team-a/backend; / is the root."),
]
VisibilityOption = Annotated[
    Choice | None,
    typer.Option(
        help="Who may pull and list without a role: nobody, everybody who is known, or anybody. "
        "With inherit it is as in the namespace above.",
    ),
]


@app.command()
def create(
    name: NameArgument,
    visibility: VisibilityOption = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Make a namespace. Repositories whose names begin with its name are in it at once."""

    from entrepot.api.v1.forms import NamespaceMake
    from entrepot.api.v1.namespaces import create_namespace

    body = NamespaceMake(name=name, visibility=_visibility(visibility), description=description)
    made = Place(config, url, token).do(create_namespace, body)
    if output is Form.JSON:
        show_one(row(made), output=output)
    else:
        typer.echo(f"namespace {name} is made; it is {_seen(made)}")


@app.command("list")
def list_namespaces(
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """List every namespace."""
    from entrepot.api.v1 import namespaces

    found = Place(config, url, token).every(namespaces.list_namespaces)
    show_views(found, output=output)


@app.command("show")
def show_namespace(
    name: NameArgument,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Show one namespace with its grants."""

    from entrepot.api.v1 import access, namespaces

    place = Place(config, url, token)
    found = row(place.do(namespaces.show_namespace, name))
    grants = [grant.text for grant in place.every(access.list_grants, namespace=name)]
    if output is Form.JSON:
        show_one({**found, "grants": grants}, output=output)
        return
    show_one(found, output=output)
    for grant in grants:
        typer.echo(f"  {grant}")


@app.command("set")
def set_namespace(
    name: NameArgument,
    visibility: VisibilityOption = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Change the settings that are given."""
    if visibility is None and description is None:
        fail("nothing to change: give --visibility or --description")

    from msgspec import UNSET

    from entrepot.api.v1.forms import NamespaceChange
    from entrepot.api.v1.namespaces import change_namespace

    body = NamespaceChange(
        visibility=UNSET if visibility is None else _visibility(visibility),
        description=UNSET if description is None else description,
    )
    show_one(row(Place(config, url, token).do(change_namespace, name, body)), output=output)


@app.command()
def delete(
    name: NameArgument,
    move_up: Annotated[
        bool,
        typer.Option(
            "--move-up", help="Let its repositories and namespaces go to the namespace above."
        ),
    ] = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Delete a namespace and its grants. Repositories are never deleted."""
    from entrepot.api.v1 import namespaces

    gone = Place(config, url, token).do(namespaces.delete_namespace, name, move_up=move_up)
    typer.echo(f"namespace {name} is deleted; what was in it is in {gone.moved_to} now")


def _visibility(choice: Choice | None) -> "Visibility | None":
    return None if choice is None else _VISIBILITIES[choice]


def _seen(made: "NamespaceView") -> str:
    if made.visibility_from == made.name:
        return made.visibility
    return f"{made.visibility}, as {made.visibility_from} is"
