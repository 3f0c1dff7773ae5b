"""`entrepot database`: moving the index to another engine, and whose a storage is."""

import sys
from typing import Annotated

import typer

from entrepot.cli.config import PathArgument
from entrepot.cli.moving import load_config, reported

app = typer.Typer(name="database", help="The index.", no_args_is_help=True)


@app.command()
def move(
    to: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Where the index shall be: postgresql://USER:PASSWORD@HOST/DATABASE, or "
            "sqlite:////path/to/file. The database must be there, and empty.",
        ),
    ],
    path: PathArgument = None,
) -> None:
    """Copy the index into another database, and compare every row.

    Pulls go on meanwhile; pushes wait, and fail when they have waited too long. An interrupted
    move leaves the target empty: repeat it. Afterwards set `database.url` to the new URL and start
    the registry again: what is pushed before that stays in the old index.
    """
    from entrepot.app.database import move_index
    from entrepot.cli.accounts import caller
    from entrepot.config.rules import is_database_url

    if not is_database_url(to):
        raise typer.BadParameter(
            "expected postgresql://... or sqlite:////path/to/file", param_hint="--to"
        )
    config = load_config(path)
    with reported():
        rows = move_index(config, to, by=caller(), tell=_tell)
    typer.echo(f"{rows} rows moved; every table is the same. Set database.url and restart.")


@app.command()
def adopt(
    path: PathArgument = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Make the index of this configuration the owner of its storage.

    A storage belongs to the index that was first started with it, and a server with another one
    ends at once. This is for an index that takes the place of one that is lost: blobs that it does
    not know will be deleted when their time is over, which begins now. Make sure that no other
    registry uses the storage.
    """
    from entrepot import app as registry
    from entrepot.cli.accounts import caller

    config = load_config(path)
    if not yes:
        typer.confirm(
            f"{registry.place(config)}: shall the index of this configuration own it? Blobs that "
            "are not in the index will be deleted in time.",
            abort=True,
        )
    with reported():
        adopted = registry.adopt(config, by=caller())
    if adopted.previous == adopted.index:
        typer.echo(f"{adopted.index} was the owner already")
        return
    typer.echo(f"{adopted.index} is the owner; before it was {adopted.previous or 'nobody'}")


def _tell(table: str, done: int, total: int) -> None:
    if total and (done == total or sys.stderr.isatty()):
        end = "\n" if done == total else "\r"
        typer.echo(f"{table}: {done} of {total}{end}", err=True, nl=False)
