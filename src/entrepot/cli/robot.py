"""`entrepot robot`: accounts of programs, such as a build server."""

from typing import TYPE_CHECKING, Annotated

import typer

from entrepot.cli.accounts import (
    ConfigOption,
    ExpiresOption,
    Form,
    OutputOption,
    OverlapOption,
    Row,
    ScopeOption,
    caller,
    run,
    scopes,
    seconds,
    show,
    show_one,
    show_secret,
    shown_scopes,
    time,
)

if TYPE_CHECKING:
    from entrepot.app import AccountServices
    from entrepot.core.accounts import Credential, Robot

app = typer.Typer(
    name="robot", help="Accounts of programs, each in a namespace.", no_args_is_help=True
)

WholeName = Annotated[
    str, typer.Argument(metavar="ROBOT", help="The whole name, such as 'robot$team-a+ci'.")
]


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name, such as ci.")],
    namespace: Annotated[
        str,
        typer.Option("--namespace", "-n", help="The namespace it is in; without it the root."),
    ] = "",
    description: Annotated[str, typer.Option(help="What it does.")] = "",
    scope: ScopeOption = None,
    expires: ExpiresOption = None,
    config: ConfigOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Make a robot and print its secret, which is shown this once.

    A robot may do what it is granted, and of that only what its scopes name.
    """
    limits, lives = scopes(scope), seconds(expires)

    async def work(services: "AccountServices") -> "tuple[Robot, str]":
        return await services.robots.create(
            namespace,
            name,
            by=caller(),
            description=description,
            scopes=limits,
            expires_in=lives,
        )

    robot, secret = run(config, work)
    show_secret(_row(robot), secret, output=output)


@app.command("list")
def list_robots(config: ConfigOption = None, output: OutputOption = Form.TEXT) -> None:
    """List every robot."""
    robots = run(config, lambda services: services.robots.list())
    show([_row(robot) for robot in robots], output=output)


@app.command("show")
def show_robot(
    name: WholeName, config: ConfigOption = None, output: OutputOption = Form.TEXT
) -> None:
    """Show one robot and its secrets: not what they are, but until when, and their last use."""
    robot, credentials = run(config, lambda services: services.robots.find(name))
    secrets = [_secret(credential) for credential in credentials]
    show_one({**_row(robot), "secrets": secrets}, output=output)


@app.command()
def rotate(
    name: WholeName,
    overlap: OverlapOption = None,
    config: ConfigOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Make another secret of a robot and print it; the old one goes on for a while."""
    left = seconds(overlap)

    async def work(services: "AccountServices") -> str:
        return await services.robots.rotate(name, by=caller(), overlap=left)

    show_secret({"name": name}, run(config, work), output=output)


@app.command()
def revoke(name: WholeName, config: ConfigOption = None) -> None:
    """Remove a robot and all its secrets."""
    run(config, lambda services: services.robots.revoke(name, by=caller()))
    typer.echo(f"{name} is revoked")


def _row(robot: "Robot") -> Row:
    return {
        "name": robot.name,
        "namespace": robot.namespace,
        "description": robot.description,
        "scopes": shown_scopes(robot.scopes),
        "created_by": robot.created_by,
        "created_at": time(robot.created_at),
        "expires_at": time(robot.expires_at),
    }


def _secret(credential: "Credential") -> Row:
    return {
        "id": credential.id,
        "created_at": time(credential.created_at),
        "expires_at": time(credential.expires_at),
        "used_at": time(credential.used_at),
    }
