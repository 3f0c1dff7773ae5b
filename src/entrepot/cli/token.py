"""`entrepot token`: personal access tokens, which people use in place of their password."""

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
    show_secret,
    show_views,
)
from entrepot.cli.registry import Place, TokenOption, UrlOption

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
    url: UrlOption = None,
    secret: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Make a token of a user and print it; it is shown this once."""
    lives = seconds(expires)

    from entrepot.api.v1.forms import TokenMake
    from entrepot.api.v1.users import create_token

    body = TokenMake(name=name, scopes=scope or [], expires_in=lives)
    show_secret(row(Place(config, url, secret).do(create_token, user, body)), output=output)


@app.command("list")
def list_tokens(
    user: UserArgument,
    config: ConfigOption = None,
    url: UrlOption = None,
    secret: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """List a user's tokens: not what they are, but what for, until when, and their last use."""
    from entrepot.api.v1 import users

    found = Place(config, url, secret).do(users.list_tokens, user)
    show_views(found.items, output=output)


@app.command()
def rotate(
    user: UserArgument,
    token: IdArgument,
    overlap: OverlapOption = None,
    config: ConfigOption = None,
    url: UrlOption = None,
    secret: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Make a token like another one and print it; the old one goes on for a while."""
    left = seconds(overlap)

    from entrepot.api.v1.forms import Rotate
    from entrepot.api.v1.users import rotate_token

    made = Place(config, url, secret).do(rotate_token, user, token, Rotate(overlap=left))
    show_secret(row(made), output=output)


@app.command()
def revoke(
    user: UserArgument,
    token: IdArgument,
    config: ConfigOption = None,
    url: UrlOption = None,
    secret: TokenOption = None,
) -> None:
    """Remove a token."""
    from entrepot.api.v1.users import revoke_token

    Place(config, url, secret).do(revoke_token, user, token)
    typer.echo(f"token {token} of {user} is revoked")
