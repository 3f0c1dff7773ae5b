"""`entrepot retention`: what is kept in a namespace, and what becomes of its tags."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entrepot.cli.accounts import ConfigOption, Form, OutputOption, fail, row, show_views
from entrepot.cli.registry import Place, TokenOption, UrlOption
from entrepot.cli.work import Desk, NoWaitOption, have_done, show_run

if TYPE_CHECKING:
    from entrepot.api.v1.forms_retention import PlanView, Show
    from entrepot.api.v1.forms_work import RunView
    from entrepot.core.retention_policy import PolicyDocument

app = typer.Typer(
    name="retention",
    help="Retention: which tags are kept in a namespace, and which go.",
    no_args_is_help=True,
)

NamespaceArgument = Annotated[
    str, typer.Argument(metavar="NAMESPACE", help="The namespace; / is the root, all there is.")
]

STOPPED = 2
"""The exit status if by some policy nothing goes, because it would be too much."""


@app.command("set")
def set_policy(
    namespace: NamespaceArgument,
    file: Annotated[
        Path,
        typer.Option(metavar="PATH", help="The policy, YAML or JSON; - is standard input."),
    ],
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Give a namespace a policy, in place of its own and of those above. Nothing is deleted by
    that: see `preview` for what a run would do.
    """
    from entrepot.api.v1 import retention

    document = _read(file)
    Place(config, url, token).do(retention.set_policy, namespace, document)
    typer.echo(f"the policy of {namespace} is set; entrepot retention preview {namespace} shows it")


@app.command("show")
def show_policy(
    namespace: NamespaceArgument,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Show the policy that counts in a namespace: its own, or that of the nearest one above."""
    import yaml

    from entrepot.api.v1 import retention

    found = row(Place(config, url, token).do(retention.show_policy, namespace))
    if output is Form.JSON:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    typer.echo(f"# of namespace {found['namespace']}, by {found['updated_by']}")
    typer.echo(yaml.safe_dump(found["policy"], sort_keys=False, allow_unicode=True), nl=False)


@app.command("list")
def list_policies(
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """List the policies."""
    from entrepot.api.v1 import retention

    found = Place(config, url, token).every(retention.list_policies)
    show_views(
        found,
        output=output,
        short=lambda each: {**each, "policy": f"{len(each['policy']['rules'])} rules"},
    )


@app.command()
def remove(
    namespace: NamespaceArgument,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Remove the policy of a namespace itself; that of the nearest one above counts again."""
    from entrepot.api.v1 import retention

    Place(config, url, token).do(retention.remove_policy, namespace)
    typer.echo(f"the policy of {namespace} is removed")


@app.command()
def preview(
    namespace: NamespaceArgument,
    every: Annotated[bool, typer.Option("--all", help="Show what stays, too.")] = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Say what a run would delete now, and why, tag by tag. Nothing is deleted.

    The exit status is 2 if a run would delete nothing, because too much would go.
    """
    place = Place(config, url, token)
    sums = _Sums()
    if output is Form.JSON:
        typer.echo('{"repositories": [', nl=False)
    for number, plan in enumerate(_plans(place, namespace, "all" if every else "delete")):
        sums.add(plan)
        if output is Form.JSON:
            typer.echo(f"{',' if number else ''}\n{json.dumps(row(plan))}", nl=False)
        else:
            _print(plan)
    stopped = sums.stopped()
    if output is Form.JSON:
        typer.echo(f'\n], "totals": {json.dumps({**sums.totals, "stopped": stopped})}}}')
    else:
        _print_totals(sums.totals, stopped)
    raise typer.Exit(STOPPED if stopped else 0)


@app.command()
def run(
    namespace: NamespaceArgument,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count what would go, and report it.")
    ] = False,
    brake: Annotated[
        int | None,
        typer.Option(
            metavar="PERCENT",
            min=1,
            max=100,
            help="How much of the tags may go this time, instead of what the policies say.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Let repositories lose all their tags without asking.")
    ] = False,
    no_wait: NoWaitOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Delete now what no rule keeps, in a namespace and in those below it.

    A server that runs does this; if none does, it is done here. What goes can be restored from the
    trash for a while. The exit status is 2 if something would go but must not, because it would be
    too much.
    """
    place = Place(config, url, token)
    done = _run(place, namespace, wait=not no_wait, dry_run=dry_run, brake=brake, allow_empty=yes)
    if _empties(done) and not (yes or no_wait or dry_run) and sys.stdin.isatty():
        for reason in _empties(done):
            typer.echo(reason)
        if typer.confirm("Let these repositories lose all their tags?"):
            done = _run(place, namespace, wait=True, dry_run=False, brake=brake, allow_empty=True)
    if output is Form.JSON or done.finished_at is None or done.outcome == "failure":
        show_run(done, output=output)
    else:
        _print_run(done)
    raise typer.Exit(STOPPED if done.report.get("stopped") else 0)


def _run(place: Place, namespace: str, *, wait: bool, **options: Any) -> "RunView":
    from entrepot.api.v1 import retention
    from entrepot.api.v1.forms_retention import RetentionMake
    from entrepot.core.decision import AccessError, parse_namespace
    from entrepot.core.retention import RETENTION

    try:
        settings = {"namespace": parse_namespace(namespace), **options}
    except AccessError as error:
        fail(str(error))
    body = RetentionMake(**options)
    desk = Desk(
        lambda: place.do(retention.request_retention, namespace, body),
        lambda number: place.do(retention.show_retention, namespace, run=number),
    )
    return have_done(place, RETENTION, settings, wait=wait, tell=_progress, desk=desk)


def _progress(run: "RunView") -> str:
    told = {"deleted": 0, "going": 0} | run.report
    return f"retention: {told['deleted']} of {told['going']} tags deleted"


def _empties(run: "RunView") -> list[str]:
    """Return the repositories that would lose all their tags."""
    stopped = run.report.get("stopped", {})
    return [reason for reasons in stopped.values() for reason in reasons if "allow_empty" in reason]


def _print_run(run: "RunView") -> None:
    report = run.report
    tags = report["going"] if report["dry_run"] else report["deleted"]
    free = ""
    if "freed" in report:
        free = f"; at least {size(report['freed'])} come free when they are gone for good"
    typer.echo(
        f"{tags} of {report['tags']} tags in {report['repositories']} repositories "
        f"{'would go' if report['dry_run'] else 'are deleted'}{free}"
    )
    for name in ("untagged", "skipped"):
        if report[name]:
            typer.echo(f"{name}: {report[name]}")
    for reason, count in report["fixed"].items():
        typer.echo(f"{count} stay: {reason}")
    if report["deleted"]:
        typer.echo(f"in the trash they are operation {report['operation']}")
    if report["ended"]:
        typer.echo(f"! it ended early: {report['ended']}")
    _print_stopped(report["stopped"])


class _Sums:
    """Adds up what is shown, and says what a run would be stopped by."""

    def __init__(self) -> None:
        names = ("repositories", "tags", "going", "untagged", "freed")
        self.totals: dict[str, int] = dict.fromkeys(names, 0)
        self._stopped: dict[str, list[str]] = {}
        self._policies: dict[str, tuple[int, int, int]] = {}

    def add(self, plan: "PlanView") -> None:
        """Add a repository."""
        self.totals["repositories"] += 1
        for name in ("tags", "going", "untagged", "freed"):
            self.totals[name] += getattr(plan, name)
        tags, going, _ = self._policies.get(plan.namespace, (0, 0, 0))
        self._policies[plan.namespace] = (tags + plan.tags, going + plan.going, plan.brake)
        if plan.stopped is not None:
            reasons = self._stopped.setdefault(plan.namespace, [])
            reasons.append(f"{plan.repository}: {plan.stopped}")

    def stopped(self) -> dict[str, list[str]]:
        """Return the namespaces by whose policies nothing would be deleted, and why."""
        from entrepot.core.retention import why_stopped

        for namespace, (tags, going, brake) in self._policies.items():
            reason = why_stopped(tags=tags, going=going, brake=brake)
            if reason is not None:
                self._stopped.setdefault(namespace, []).append(reason)
        return self._stopped


def _plans(place: Place, namespace: str, shown: "Show") -> "Iterator[PlanView]":
    """Give the plans page by page, so that there are never many in memory."""
    from entrepot.api.v1 import retention

    after = ""
    while True:
        page = place.do(retention.preview_retention, namespace, show=shown, limit=1000, after=after)
        yield from page.items
        if page.next is None:
            return
        after = page.next


def _print(plan: "PlanView") -> None:
    if not plan.entries:
        return
    typer.echo(f"{plan.repository}: {plan.going} of {plan.tags} tags go")
    for entry in plan.entries:
        sign = "-" if entry.action == "delete" else " "
        name = entry.tag or f"@{entry.digest}"
        rule = f"{entry.rule} " if entry.rule else ""
        typer.echo(f"{sign} {name}  ({rule}{entry.reason})")


def _print_totals(totals: dict[str, int], stopped: dict[str, list[str]]) -> None:
    typer.echo(
        f"{totals['going']} of {totals['tags']} tags in {totals['repositories']} repositories and "
        f"{totals['untagged']} untagged manifests go; at least {size(totals['freed'])} come free"
    )
    _print_stopped(stopped)


def _print_stopped(stopped: dict[str, list[str]]) -> None:
    for namespace, reasons in stopped.items():
        typer.echo(f"! by the policy of {namespace} nothing goes, because it would be too much; if")
        typer.echo("  that is right, allow it for one run (--brake, --yes):")
        for reason in reasons:
            typer.echo(f"  {reason}")


def size(count: int) -> str:
    """Return a number of bytes as people read it."""
    amount, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"


def _read(file: Path) -> "PolicyDocument":
    """Return the policy in a file; what is wrong with it ends the program."""
    import yaml

    from entrepot.core.retention_policy import RetentionInvalidError, parse_policy, read_document

    name = "standard input" if str(file) == "-" else str(file)
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        found: Any = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{name} can't be read: {error}")
    except yaml.YAMLError as error:
        fail(f"{name} is no YAML: {error}")
    try:
        document = read_document(found)
        parse_policy(document)
    except RetentionInvalidError as error:
        fail(f"{name}: {error}")
    return document
