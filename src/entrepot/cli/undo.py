"""`entrepot trash` and `entrepot tag`: what was deleted or moved comes back. On the host alone."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from entrepot.cli.accounts import ConfigOption, Form, OutputOption, caller, fail, run, show

if TYPE_CHECKING:
    from entrepot.core.audit import Actor
    from entrepot.services.administration import Administration
    from entrepot.services.stores import Stores
    from entrepot.services.trash import Selection

T = TypeVar("T")

trash = typer.Typer(
    name="trash", help="What was deleted: list, restore, empty.", no_args_is_help=True
)
tag = typer.Typer(name="tag", help="Where tags pointed, and putting them back.")

IdsArgument = Annotated[list[int] | None, typer.Argument(metavar="ID", help="As `list` shows it.")]
OperationOption = Annotated[
    str, typer.Option("--operation", help="All that one deletion threw away.")
]
RepositoryOption = Annotated[str, typer.Option("--repository", help="All of a repository.")]


def _do(config: Path | None, work: "Callable[[Stores, Actor], Awaitable[T]]") -> T:
    from entrepot.core.audit import on_host

    async def do(services: "Administration") -> T:
        if services.stores is None:
            fail("there is no content here")
        return await work(services.stores, on_host(caller()))

    return run(config, do)


def _selected(ids: list[int] | None, operation: str, repository: str) -> "Selection":
    from entrepot.services.trash import Selection

    if sum(map(bool, (ids, operation, repository))) != 1:
        fail("say what: some IDs, an --operation, or a --repository")
    return Selection(ids or (), operation, repository)


@trash.command("list")
def list_trash(
    operation: OperationOption = "",
    repository: RepositoryOption = "",
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 1000,
    config: ConfigOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """List what is in the trash, the last deletion first."""
    from entrepot.api.v1.forms import moment
    from entrepot.services import trash as service

    wanted = service.Selection((), operation, repository)
    rows = _do(config, lambda stores, _: service.list_trash(stores.index, wanted, limit=limit))
    shown = [
        {
            "id": row.id,
            "what": f"{row.repository}:{row.tag}" if row.tag else f"{row.repository}@{row.digest}",
            "digest": str(row.digest),
            "operation": row.operation,
            "deleted_at": moment(row.deleted_at).isoformat(),
            "deleted_by": row.deleted_by,
            "until": moment(row.expires_at).isoformat(),
        }
        for row in rows
    ]
    show(shown, output=output)


@trash.command()
def restore(
    ids: IdsArgument = None,
    operation: OperationOption = "",
    repository: RepositoryOption = "",
    force: Annotated[
        bool, typer.Option("--force", help="Move tags back that point at something else by now.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Bring tags and manifests back, with what belongs to them."""
    from entrepot.services import trash as service

    wanted = _selected(ids, operation, repository)
    done = _do(config, lambda stores, by: service.restore(stores, wanted, by=by, force=force))
    typer.echo(f"restored {done.manifests} manifests and {done.tags} tags")
    for left in done.left:
        typer.echo(f"{left} is there again and was left alone")


@trash.command()
def empty(
    ids: IdsArgument = None,
    operation: OperationOption = "",
    repository: RepositoryOption = "",
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    config: ConfigOption = None,
) -> None:
    """Let what is in the trash go for good; what is on hold stays."""
    from entrepot.services import trash as service

    wanted = _selected(ids, operation, repository)
    if not yes:
        fail("what is emptied can't be restored: confirm with --yes")
    done = _do(config, lambda stores, by: service.empty_trash(stores, wanted, by=by))
    typer.echo(f"{done.gone} are gone for good, {done.held} are on hold")


@tag.command()
def rollback(
    reference: Annotated[str, typer.Argument(metavar="REPOSITORY:TAG")],
    to: Annotated[str, typer.Option("--to", metavar="DIGEST", help="Where it shall point.")] = "",
    steps: Annotated[int, typer.Option(min=1, help="How many moves to take back.")] = 1,
    config: ConfigOption = None,
) -> None:
    """Point a tag at what it pointed at before."""
    from entrepot.core.digest import Digest
    from entrepot.core.errors import EntrepotError
    from entrepot.core.names import RepositoryName, Tag
    from entrepot.services.tag_history import Target, roll_back_tag

    name, _, text = reference.rpartition(":")
    try:
        where, parsed = RepositoryName.parse(name), Tag.parse(text)
        target = Target(Digest.parse(to) if to else None, steps=steps)
    except EntrepotError as error:
        fail(str(error))
    done = _do(config, lambda stores, by: roll_back_tag(stores, where, parsed, target, by=by))
    typer.echo(f"{reference} points at {done.digest}; before it was {done.previous or 'nowhere'}")
