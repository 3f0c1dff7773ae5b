"""`entrepot namespace`: parts of the tree of repositories' names, with settings and members."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from entrepot.cli.accounts import (
    ConfigOption,
    Form,
    OutputOption,
    Row,
    caller,
    fail,
    run,
    show,
    show_one,
    time,
)

if TYPE_CHECKING:
    from entrepot.app import AccountServices
    from entrepot.core.decision import Namespace, Visibility
    from entrepot.services.namespaces import Known

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
    output: OutputOption = Form.TEXT,
) -> None:
    """Make a namespace. Repositories whose names begin with its name are in it at once."""

    async def work(services: "AccountServices") -> "Known":
        await services.namespaces.create(
            name, by=caller(), visibility=_visibility(visibility), description=description
        )
        return await services.namespaces.find(name)

    made = run(config, work)
    if output is Form.JSON:
        show_one(_row(made), output=output)
    else:
        typer.echo(f"namespace {name} is made; it is {_seen(made)}")


@app.command("list")
def list_namespaces(config: ConfigOption = None, output: OutputOption = Form.TEXT) -> None:
    """List every namespace."""
    found = run(config, lambda services: services.namespaces.list())
    show([_row(known) for known in found], output=output)


@app.command("show")
def show_namespace(
    name: NameArgument, config: ConfigOption = None, output: OutputOption = Form.TEXT
) -> None:
    """Show one namespace with its grants."""

    async def work(services: "AccountServices") -> Row:
        known = await services.namespaces.find(name)
        grants = [str(grant) async for grant in services.grants.list(name)]
        repositories = await services.namespaces.repositories(name)
        return {**_row(known), "repositories": repositories, "grants": grants}

    found = run(config, work)
    if output is Form.JSON:
        show_one(found, output=output)
        return
    show_one({key: value for key, value in found.items() if key != "grants"}, output=output)
    for grant in found["grants"]:
        typer.echo(f"  {grant}")


@app.command("set")
def set_namespace(
    name: NameArgument,
    visibility: VisibilityOption = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    config: ConfigOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Change the settings that are given."""
    if visibility is None and description is None:
        fail("nothing to change: give --visibility or --description")

    async def work(services: "AccountServices") -> "Known":
        await _change(services, name, visibility, description)
        return await services.namespaces.find(name)

    show_one(_row(run(config, work)), output=output)


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
) -> None:
    """Delete a namespace and its grants. Repositories are never deleted."""
    parent = run(
        config,
        lambda services: services.namespaces.delete(name, by=caller(), move_up=move_up),
    )
    typer.echo(f"namespace {name} is deleted; what was in it is in {parent or '/'} now")


async def _change(
    services: "AccountServices", name: str, visibility: Choice | None, description: str | None
) -> "Namespace":
    if visibility is None:
        return await services.namespaces.change(name, by=caller(), description=description)
    return await services.namespaces.change(
        name, by=caller(), visibility=_visibility(visibility), description=description
    )


def _visibility(choice: Choice | None) -> "Visibility | None":
    return None if choice is None else _VISIBILITIES[choice]


def _seen(known: "Known") -> str:
    if known.namespace.visibility is not None:
        return known.visibility
    return f"{known.visibility}, as {known.visibility_from or '/'} is"


def _row(known: "Known") -> Row:
    namespace = known.namespace
    return {
        "name": namespace.name or "/",
        "visibility": known.visibility,
        "visibility_from": known.visibility_from or "/",
        "description": namespace.description,
        "created_at": time(namespace.created_at),
    }
