"""`entrepot user`: people who log in."""

from typing import Annotated

import typer

from entrepot.cli.accounts import (
    ConfigOption,
    Form,
    OutputOption,
    StdinOption,
    ask_password,
    fail,
    row,
    show_one,
    show_views,
)
from entrepot.cli.registry import Place, TokenOption, UrlOption

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
    *,
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
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Make a user. The password is asked for."""
    password = None if no_password else ask_password(stdin=password_stdin)

    from entrepot.api.v1.forms import UserMake
    from entrepot.api.v1.users import create_user

    body = UserMake(
        name=name,
        password=password,
        administrator=administrator,
        groups=group or [],
        description=description,
    )
    made = Place(config, url, token).do(create_user, body)
    show_one(row(made), output=output)


@app.command("list")
def list_users(
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """List everybody."""
    from entrepot.api.v1 import users

    found = Place(config, url, token).every(users.list_users)
    show_views(found, output=output)


@app.command("show")
def show_user(
    name: NameArgument,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Show one user."""
    from entrepot.api.v1 import users

    show_one(row(Place(config, url, token).do(users.show_user, name)), output=output)


@app.command("set")
def set_user(
    name: NameArgument,
    *,
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
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Change what is known of a user; what isn't given stays."""

    from entrepot.api.v1.forms import UserChange
    from entrepot.api.v1.users import change_user

    body = UserChange(
        administrator=administrator,
        description=description,
        join=join or [],
        leave=leave or [],
    )
    show_one(row(Place(config, url, token).do(change_user, name, body)), output=output)


@app.command()
def disable(
    name: NameArgument,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Let a user, and the personal access tokens, in no more; undone by `enable`."""
    from entrepot.api.v1.forms import UserChange
    from entrepot.api.v1.users import change_user

    Place(config, url, token).do(change_user, name, UserChange(disabled=True))
    typer.echo(f"{name} is disabled")


@app.command()
def logout(
    name: NameArgument,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """End every session that a user has in a browser."""
    from entrepot.api.v1.users import log_out

    Place(config, url, token).do(log_out, name)
    typer.echo(f"{name} is logged out")


@app.command()
def enable(
    name: NameArgument,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Let a user in again."""
    from entrepot.api.v1.forms import UserChange
    from entrepot.api.v1.users import change_user

    Place(config, url, token).do(change_user, name, UserChange(disabled=False))
    typer.echo(f"{name} is enabled")


@app.command()
def delete(
    name: NameArgument,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Remove a user and the personal access tokens."""
    from entrepot.api.v1 import users

    Place(config, url, token).do(users.delete_user, name)
    typer.echo(f"{name} is deleted")


@app.command()
def passwd(
    name: NameArgument,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="Take the password away.")
    ] = False,
    password_stdin: StdinOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Give a user another password, which is asked for; the old one counts no more."""
    password = None if no_password else ask_password(stdin=password_stdin)
    from entrepot.api.v1.forms import PasswordMake
    from entrepot.api.v1.users import set_password

    Place(config, url, token).do(set_password, name, PasswordMake(password=password))
    typer.echo(f"the password of {name} is {'taken away' if no_password else 'changed'}")


@app.command()
def locks(
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """List the accounts and addresses from which logins failed, and how long they are locked."""
    from entrepot.api.v1.users import list_locks

    found = Place(config, url, token).every(list_locks)
    show_views(found, output=output)


@app.command()
def unlock(
    subject: Annotated[
        str | None, typer.Argument(metavar="[NAME|ADDRESS]", help="An account or an address.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All accounts and addresses.")] = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Forget the failed logins of an account or from an address."""
    if (subject is None) is not every:
        fail("name one account or address, or say --all")
    from entrepot.api.v1.users import lift_lock, lift_locks

    place = Place(config, url, token)
    if subject is None:
        typer.echo(f"{place.do(lift_locks).lifted} forgotten")
    else:
        place.do(lift_lock, subject)
        typer.echo(f"the failed logins of {subject} are forgotten")
