"""`entrepot delete`: tags, images and whole repositories; what goes is in the trash."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Final

import typer

from entrepot.cli.accounts import (
    ConfigOption,
    Form,
    OutputOption,
    fail,
    row,
    show_one,
    split_reference,
)
from entrepot.cli.registry import Place, TokenOption, UrlOption

if TYPE_CHECKING:
    from entrepot.api.v1.forms_deletions import DeletedView, DeletionView

_MANY: Final = 100
"""Manifests beyond which a deletion must be confirmed."""

DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would go, what would stay, and why.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Don't ask.")]


def delete(
    what: Annotated[
        str,
        typer.Argument(
            metavar="REPOSITORY[:TAG|@DIGEST]",
            help="A tag alone, an image with its signatures and all its tags, or a repository.",
        ),
    ],
    *,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Delete a tag, an image with what belongs to it, or a whole repository.

    It can be restored from the trash as long as the window lasts. A repository, and what has more
    than 100 manifests, is only deleted with --yes.
    """
    from entrepot.api.v1 import deletions
    from entrepot.api.v1.forms_deletions import DeletionMake

    name, reference = split_reference(what)
    place = Place(config, url, token)
    if dry_run or not yes:
        found = place.do(deletions.preview_deletion, name, reference=reference)
        if dry_run:
            show_preview(found, output)
            return
        confirm(found, output, whole=not reference, yes=yes)
    done = delete_in_steps(
        lambda operation: place.do(
            deletions.delete_content,
            name,
            DeletionMake(reference=reference, whole=not reference, operation=operation),
        )
    )
    show_deleted(done, output)


def delete_in_steps(step: "Callable[[str], DeletedView]") -> "DeletedView":
    """Carry out a deletion step by step, each with the operation of the first; return the sum."""
    from msgspec.structs import replace

    done = step("")
    while done.left:
        more = step(done.operation)
        done = replace(more, manifests=done.manifests + more.manifests, tags=done.tags + more.tags)
    return done


def confirm(found: "DeletionView", output: Form, *, whole: bool, yes: bool) -> None:
    """End the program if a deletion needs to be confirmed, or is going to be refused."""
    if found.refused:
        fail("\n".join(found.refused))
    if not yes and (whole or found.manifests > _MANY):
        show_preview(found, output)
        fail("that is a lot: confirm with --yes")


def show_preview(found: "DeletionView", output: Form) -> None:
    """Print what a deletion would do; the status is 2 if it would be refused."""
    from entrepot.core.quotas import show_size

    if output is Form.JSON:
        show_one(row(found), output=output)
    else:
        within = ", within what you may read" if found.partial else ""
        typer.echo(
            f"{found.manifests} manifests and {found.tags} tags of {found.repositories} "
            f"repositories would go; {show_size(found.freed)} would be free in the end{within}"
        )
        for sign, lines in (("-", found.going), (" ", found.staying), ("!", found.refused)):
            for line in lines:
                typer.echo(f"{sign} {line}")
    if found.refused:
        raise typer.Exit(2)


def show_deleted(done: "DeletedView", output: Form) -> None:
    """Print what was deleted, and how it comes back."""
    if output is Form.JSON:
        show_one(row(done), output=output)
        return
    typer.echo(f"{done.manifests} manifests and {done.tags} tags are deleted")
    if done.manifests or done.tags:
        typer.echo(f"entrepot trash restore --operation {done.operation} brings them back")
