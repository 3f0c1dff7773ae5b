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
from entrepot.cli.delete import (
    DryRunOption,
    YesOption,
    confirm,
    delete_in_steps,
    show_deleted,
    show_preview,
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
    *,
    with_content: Annotated[
        bool,
        typer.Option(
            "--with-content", help="Delete its repositories and the namespaces below it, too."
        ),
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Delete a namespace and its grants. Repositories are only deleted with --with-content; they
    can be restored from the trash then.
    """
    from entrepot.api.v1 import namespaces

    place = Place(config, url, token)
    if with_content and move_up:
        fail("--with-content deletes what --move-up keeps: say one of them")
    if with_content or dry_run:
        _delete_content(place, name, output, dry_run=dry_run, yes=yes)
    if dry_run:
        return
    gone = place.do(namespaces.delete_namespace, name, move_up=move_up)
    typer.echo(f"namespace {name} is deleted; what was in it is in {gone.moved_to} now")


def _delete_content(place: Place, name: str, output: Form, *, dry_run: bool, yes: bool) -> None:
    """Delete all repositories of a namespace, and the namespaces below it, the lowest first."""
    from entrepot.api.v1 import deletions, namespaces
    from entrepot.api.v1.forms_deletions import NamespaceDeletionMake

    found = place.do(deletions.preview_namespace_deletion, name)
    if dry_run:
        show_preview(found, output)
        return
    confirm(found, output, whole=True, yes=yes)
    done = delete_in_steps(
        lambda operation: place.do(
            deletions.delete_namespace_content,
            name,
            NamespaceDeletionMake(whole=True, operation=operation),
        )
    )
    show_deleted(done, output)
    below = [entry.name for entry in place.every(namespaces.list_namespaces)]
    for each in sorted(below, reverse=True):
        if each.startswith(f"{name}/"):
            place.do(namespaces.delete_namespace, each)


def _visibility(choice: Choice | None) -> "Visibility | None":
    return None if choice is None else _VISIBILITIES[choice]


def _seen(made: "NamespaceView") -> str:
    if made.visibility_from == made.name:
        return made.visibility
    return f"{made.visibility}, as {made.visibility_from} is"
