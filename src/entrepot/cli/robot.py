"""`entrepot robot`: accounts of programs, such as a build server."""

from typing import Annotated

import typer

from entrepot.cli.accounts import (
    ConfigOption,
    ExpiresOption,
    Form,
    OutputOption,
    OverlapOption,
    ScopeOption,
    row,
    seconds,
    show_one,
    show_secret,
    show_views,
)
from entrepot.cli.registry import Place, TokenOption, UrlOption

app = typer.Typer(
    name="robot", help="Accounts of programs, each in a namespace.", no_args_is_help=True
)

WholeName = Annotated[
    str, typer.Argument(metavar="ROBOT", help="The whole name, such as 'robot$team-a+ci'.")
]


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name, such as ci.")],
    *,
    namespace: Annotated[
        str,
        typer.Option("--namespace", "-n", help="The namespace it is in; without it the root."),
    ] = "",
    description: Annotated[str, typer.Option(help="What it does.")] = "",
    scope: ScopeOption = None,
    expires: ExpiresOption = None,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Make a robot and print its secret, which is shown this once.

    A robot may do what it is granted, and of that only what its scopes name.
    """
    lives = seconds(expires)

    from entrepot.api.v1.forms import RobotMake
    from entrepot.api.v1.robots import create_robot

    body = RobotMake(
        name=name,
        namespace=namespace or "/",
        description=description,
        scopes=scope or [],
        expires_in=lives,
    )
    show_secret(row(Place(config, url, token).do(create_robot, body)), output=output)


@app.command("list")
def list_robots(
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """List every robot."""
    from entrepot.api.v1 import robots

    found = Place(config, url, token).every(robots.list_robots)
    show_views(found, output=output)


@app.command("show")
def show_robot(
    name: WholeName,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Show one robot and its secrets: not what they are, but until when, and their last use."""
    from entrepot.api.v1 import robots

    show_one(row(Place(config, url, token).do(robots.show_robot, name)), output=output)


@app.command()
def rotate(
    name: WholeName,
    overlap: OverlapOption = None,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Make another secret of a robot and print it; the old one goes on for a while."""
    left = seconds(overlap)

    from entrepot.api.v1.forms import Rotate
    from entrepot.api.v1.robots import rotate_robot

    rotated = Place(config, url, token).do(rotate_robot, name, Rotate(overlap=left))
    show_secret(row(rotated), output=output)


@app.command()
def revoke(
    name: WholeName,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Remove a robot and all its secrets."""
    from entrepot.api.v1 import robots

    Place(config, url, token).do(robots.revoke_robot, name)
    typer.echo(f"{name} is revoked")
