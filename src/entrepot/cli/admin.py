"""`entrepot admin`: what is done on the host itself."""

from typing import TYPE_CHECKING, Annotated

import typer

from entrepot.cli.accounts import ConfigOption, StdinOption, ask_password, caller, run

if TYPE_CHECKING:
    from entrepot.services.administration import Administration

app = typer.Typer(name="admin", help="What is done on the host itself.", no_args_is_help=True)


@app.callback()
def options() -> None:
    """What is done on the host itself."""


@app.command()
def recover(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="Who shall be an administrator.")
    ] = "admin",
    password_stdin: StdinOption = False,
    config: ConfigOption = None,
) -> None:
    """Get back in: make sure that NAME is an administrator, not disabled, with a new password,
    and forget all failed logins. Whoever may write to the index may do this; it is recorded.
    """
    password = ask_password(stdin=password_stdin)

    async def work(services: "Administration") -> None:
        await services.users.recover(name, password, by=caller())
        await services.lockouts.lift_all(by=caller())

    run(config, work)
    typer.echo(f"{name} is an administrator with the new password; all locks are lifted")
