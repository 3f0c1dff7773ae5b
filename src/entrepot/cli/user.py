"""`entrepot user`: people who log in."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from entrepot.cli.accounts import (
    ConfigOption,
    Form,
    OutputOption,
    Row,
    StdinOption,
    ask_password,
    caller,
    fail,
    run,
    show,
    show_one,
    time,
)

if TYPE_CHECKING:
    from entrepot.app import AccountServices
    from entrepot.core.accounts import User
    from entrepot.core.guarding import Failures

app = typer.Typer(name="user", help="People who log in.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]
AdministratorOption = Annotated[
    bool, typer.Option("--administrator", help="May do everything, everywhere.")
]
GroupOption = Annotated[
    list[str] | None,
    typer.Option("--group", metavar="GROUP", help="A group to be in; may be given again."),
]


@app.command()
def create(
    name: NameArgument,
    administrator: AdministratorOption = False,
    group: GroupOption = None,
    description: Annotated[str, typer.Option(help="Who that is.")] = "",
    no_password: Annotated[
        bool,
        typer.Option(
            "--no-password",
            help="For somebody whom another source knows, such as an htpasswd file: groups and "
            "rights are kept here.",
        ),
    ] = False,
    password_stdin: StdinOption = False,
    config: ConfigOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Make a user. The password is asked for."""
    password = None if no_password else ask_password(stdin=password_stdin)

    async def work(services: "AccountServices") -> "User":
        return await services.users.create(
            name,
            password=password,
            by=caller(),
            administrator=administrator,
            groups=group or (),
            description=description,
        )

    show_one(_row(run(config, work)), output=output)


@app.command("list")
def list_users(config: ConfigOption = None, output: OutputOption = Form.TEXT) -> None:
    """List everybody."""
    users = run(config, lambda services: services.users.list())
    show([_row(user) for user in users], output=output)


@app.command("show")
def show_user(
    name: NameArgument, config: ConfigOption = None, output: OutputOption = Form.TEXT
) -> None:
    """Show one user."""
    show_one(_row(run(config, lambda services: services.users.find(name))), output=output)


@app.command("set")
def set_user(
    name: NameArgument,
    administrator: Annotated[
        bool | None,
        typer.Option("--administrator/--no-administrator", help="May do everything, or not."),
    ] = None,
    description: Annotated[str | None, typer.Option(help="Who that is.")] = None,
    join: Annotated[
        list[str] | None,
        typer.Option("--group", metavar="GROUP", help="A group to join; may be given again."),
    ] = None,
    leave: Annotated[
        list[str] | None,
        typer.Option("--no-group", metavar="GROUP", help="A group to leave; may be given again."),
    ] = None,
    config: ConfigOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Change what is known of a user; what isn't given stays."""

    async def work(services: "AccountServices") -> "User":
        return await services.users.change(
            name,
            by=caller(),
            administrator=administrator,
            description=description,
            join=join or (),
            leave=leave or (),
        )

    show_one(_row(run(config, work)), output=output)


@app.command()
def disable(name: NameArgument, config: ConfigOption = None) -> None:
    """Let a user, and the personal access tokens, in no more; undone by `enable`."""
    run(config, lambda services: services.users.change(name, by=caller(), disabled=True))
    typer.echo(f"{name} is disabled")


@app.command()
def enable(name: NameArgument, config: ConfigOption = None) -> None:
    """Let a user in again."""
    run(config, lambda services: services.users.change(name, by=caller(), disabled=False))
    typer.echo(f"{name} is enabled")


@app.command()
def delete(name: NameArgument, config: ConfigOption = None) -> None:
    """Remove a user and the personal access tokens."""
    run(config, lambda services: services.users.delete(name, by=caller()))
    typer.echo(f"{name} is deleted")


@app.command()
def passwd(
    name: NameArgument,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="Take the password away.")
    ] = False,
    password_stdin: StdinOption = False,
    config: ConfigOption = None,
) -> None:
    """Give a user another password, which is asked for; the old one counts no more."""
    password = None if no_password else ask_password(stdin=password_stdin)
    run(config, lambda services: services.users.set_password(name, password, by=caller()))
    typer.echo(f"the password of {name} is {'taken away' if no_password else 'changed'}")


@app.command()
def locks(config: ConfigOption = None, output: OutputOption = Form.TEXT) -> None:
    """List the accounts and addresses from which logins failed, and how long they are locked."""
    failures = run(config, lambda services: services.lockouts.list())
    now = int(datetime.now(UTC).timestamp() * 1_000_000)
    show([_failures(each, now) for each in failures], output=output)


@app.command()
def unlock(
    subject: Annotated[
        str | None, typer.Argument(metavar="[NAME|ADDRESS]", help="An account or an address.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All accounts and addresses.")] = False,
    config: ConfigOption = None,
) -> None:
    """Forget the failed logins of an account or from an address."""
    if (subject is None) is not every:
        fail("name one account or address, or say --all")
    if subject is None:
        lifted = run(config, lambda services: services.lockouts.lift_all(by=caller()))
        typer.echo(f"{lifted} forgotten")
    elif run(config, lambda services: services.lockouts.lift(subject, by=caller())):
        typer.echo(f"the failed logins of {subject} are forgotten")
    else:
        fail(f"no failed logins of {subject} are known; `entrepot user locks` lists them")


def _row(user: "User") -> Row:
    return {
        "name": user.name,
        "administrator": user.administrator,
        "disabled": user.disabled,
        "groups": list(user.groups),
        "password": user.password is not None,
        "description": user.description,
        "created_at": time(user.created_at),
    }


def _failures(failures: "Failures", now: int) -> Row:
    left = failures.seconds_left(now)
    return {
        "kind": failures.kind,
        "subject": failures.subject,
        "failures": failures.count,
        "failed_at": time(failures.failed_at),
        "locked_until": time(failures.locked_until) if left > 0 else None,
    }
