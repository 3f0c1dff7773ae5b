"""`entrepot quota`: how much namespaces may hold."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from entrepot.cli.accounts import ConfigOption, Form, OutputOption, fail, row, show, show_one
from entrepot.cli.registry import Place, TokenOption, UrlOption

if TYPE_CHECKING:
    from entrepot.api.v1.forms_quotas import QuotaView

app = typer.Typer(
    name="quota",
    help="Quotas: how much a namespace, with all below it, may hold.",
    no_args_is_help=True,
)

NamespaceArgument = Annotated[
    str,
    typer.Argument(metavar="NAMESPACE", help="Its name, such as team-a/backend; / is the root."),
]
ResourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="RESOURCE",
        help="bytes (those of blobs, each once), repositories, manifests or tags.",
    ),
]


@app.command("set")
def set_quota(
    namespace: NamespaceArgument,
    resource: ResourceArgument,
    hard: Annotated[
        str | None,
        typer.Option(metavar="LIMIT", help="Refuse beyond this, such as 500GiB or 1000."),
    ] = None,
    soft: Annotated[
        str | None,
        typer.Option(metavar="LIMIT", help="Warn above this, and record it once."),
    ] = None,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Limit a resource in a namespace and all below it, instead of what was set before."""
    from entrepot.api.v1 import quotas
    from entrepot.api.v1.forms_quotas import QuotaSet
    from entrepot.core.quotas import QuotaError, parse_limit, parse_resource

    try:
        known = parse_resource(resource)
        body = QuotaSet(
            resource=known,
            soft=None if soft is None else parse_limit(known, soft),
            hard=None if hard is None else parse_limit(known, hard),
        )
    except QuotaError as error:
        fail(str(error))
    made = Place(config, url, token).do(quotas.set_quota, namespace, body)
    _show_one(made, output)
    if made.counted_at is None and output is Form.TEXT:
        typer.echo("what is there already is being counted by the server")


@app.command("show")
def show_quotas(
    namespace: NamespaceArgument,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Show the quotas of a namespace, and what is used."""
    from entrepot.api.v1 import quotas

    found = Place(config, url, token).do(quotas.show_quotas, namespace)
    show([_row(view, output) for view in found], output=output)


@app.command("list")
def list_quotas(
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """List every quota, and what is used."""
    from entrepot.api.v1 import quotas

    found = Place(config, url, token).every(quotas.list_quotas)
    show([_row(view, output) for view in found], output=output)


@app.command("remove")
def remove_quota(
    namespace: NamespaceArgument,
    resource: ResourceArgument,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Limit a resource in a namespace no more."""
    from entrepot.api.v1 import quotas
    from entrepot.core.quotas import QuotaError, parse_resource

    try:
        known = parse_resource(resource)
    except QuotaError as error:
        fail(str(error))
    Place(config, url, token).do(quotas.remove_quota, namespace, resource=known)
    typer.echo(f"{namespace} has no quota of {resource} any more")


def _show_one(view: "QuotaView", output: Form) -> None:
    show_one(_row(view, output), output=output)


def _row(view: "QuotaView", output: Form) -> dict[str, Any]:
    """Return what is shown of a quota; people get sizes in words."""
    known = row(view)
    if output is Form.TEXT and view.resource == "bytes":
        for key in ("used", "soft", "hard"):
            known[key] = _size(known[key])
    return known


def _size(count: "int | None") -> str | None:
    from entrepot.core.quotas import show_size

    return None if count is None else show_size(count)
