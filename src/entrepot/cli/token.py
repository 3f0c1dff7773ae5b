"""`entrepot token`: personal access tokens, which people use in place of their password."""

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
    show_secret,
    shown_scopes,
    time,
)

if TYPE_CHECKING:
    from entrepot.app import AccountServices
    from entrepot.core.accounts import Credential

app = typer.Typer(name="token", help="Personal access tokens.", no_args_is_help=True)

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="Whose token it is.")]
IdArgument = Annotated[int, typer.Argument(metavar="ID", help="The token's id, as listed.")]


@app.command()
def create(
    user: UserArgument,
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    scope: ScopeOption = None,
    expires: ExpiresOption = None,
    config: ConfigOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Make a token of a user and print it; it is shown this once."""
    limits, lives = scopes(scope), seconds(expires)

    async def work(services: "AccountServices") -> "tuple[Credential, str]":
        return await services.tokens.create(
            user, name, by=caller(), scopes=limits, expires_in=lives
        )

    token, secret = run(config, work)
    show_secret(_row(token), secret, output=output)


@app.command("list")
def list_tokens(
    user: UserArgument, config: ConfigOption = None, output: OutputOption = Form.TEXT
) -> None:
    """List a user's tokens: not what they are, but what for, until when, and their last use."""
    tokens = run(config, lambda services: services.tokens.list(user))
    show([_row(token) for token in tokens], output=output)


@app.command()
def rotate(
    user: UserArgument,
    token: IdArgument,
    overlap: OverlapOption = None,
    config: ConfigOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Make a token like another one and print it; the old one goes on for a while."""
    left = seconds(overlap)

    async def work(services: "AccountServices") -> "tuple[Credential, str]":
        return await services.tokens.rotate(user, token, by=caller(), overlap=left)

    made, secret = run(config, work)
    show_secret(_row(made), secret, output=output)


@app.command()
def revoke(user: UserArgument, token: IdArgument, config: ConfigOption = None) -> None:
    """Remove a token."""
    run(config, lambda services: services.tokens.revoke(user, token, by=caller()))
    typer.echo(f"token {token} of {user} is revoked")


def _row(token: "Credential") -> Row:
    return {
        "id": token.id,
        "user": token.owner,
        "name": token.name,
        "scopes": shown_scopes(token.scopes),
        "created_at": time(token.created_at),
        "expires_at": time(token.expires_at),
        "used_at": time(token.used_at),
    }
