"""`entrepot usage`: who has how many bytes."""

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entrepot.cli.accounts import ConfigOption, Form, OutputOption, row
from entrepot.cli.registry import Place, TokenOption, UrlOption

if TYPE_CHECKING:
    from entrepot.api.v1.forms import Page
    from entrepot.api.v1.usage import UsageView

_PAGE = 1000


def usage(
    name: Annotated[
        str,
        typer.Argument(
            metavar="[NAMESPACE]",
            help="A namespace, of which the repositories are listed, with those below it; / is the "
            "root. With --tags a repository.",
        ),
    ] = "/",
    tags: Annotated[
        bool, typer.Option("--tags", help="It is a repository, of which the tags are listed.")
    ] = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Say how many bytes a namespace has with its repositories, or a repository with its tags.

    Every blob counts once. Exclusive are the bytes that nothing else has: of a namespace, that no
    repository outside links; of a repository, that no other links; of a tag, that no other image
    needs. The rest is shared, so the sums of parts are more than the whole.
    """
    from entrepot.api.v1 import usage as operations

    place = Place(config, url, token)
    parts: Callable[..., Any]
    if tags:
        whole, parts = place.do(operations.show_repository_usage, name), operations.list_tag_usage
    else:
        whole = place.do(operations.show_namespace_usage, name)
        parts = operations.list_repository_usage
    pages = _pages(lambda after: place.do(parts, name, limit=_PAGE, after=after))
    _print(whole, pages, "tags" if tags else "repositories", output)


def _pages(ask: "Callable[[str], Page[UsageView]]") -> "Iterator[UsageView]":
    """Give the entries page by page, so that there are never many in memory."""
    after = ""
    while True:
        page = ask(after)
        yield from page.items
        if page.next is None:
            return
        after = page.next


def _print(whole: "UsageView", parts: "Iterator[UsageView]", called: str, output: Form) -> None:
    from entrepot.core.quotas import show_size

    if output is Form.JSON:
        typer.echo(f'{json.dumps(row(whole))[:-1]}, "{called}": [', nl=False)
        for number, part in enumerate(parts):
            typer.echo(f"{',' if number else ''}\n{json.dumps(row(part))}", nl=False)
        typer.echo("\n]}")
        return
    typer.echo(f"{'BYTES':>12} {'EXCLUSIVE':>12} {'SHARED':>12}  {called.upper()}")
    for part in parts:
        sizes = (part.bytes, part.exclusive, part.shared)
        typer.echo(" ".join(f"{show_size(size):>12}" for size in sizes) + f"  {part.name}")
    sizes = (whole.bytes, whole.exclusive, whole.shared)
    typer.echo(" ".join(f"{show_size(size):>12}" for size in sizes) + f"  {whole.name} as a whole")
    if whole.partial:
        typer.echo("within what you may read: other repositories may have the same bytes")
