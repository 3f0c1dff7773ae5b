"""`entrepot import` and `entrepot export-layout`: in from `registry:2`, and back."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from entrepot.cli.config import PathArgument

if TYPE_CHECKING:
    from entrepot.config import Config
    from entrepot.db.imports import Finding, Import, Progress


app = typer.Typer(
    name="import",
    help="Take over what registry:2 left. `entrepot import PATH_OR_BUCKET` is short for "
    "`entrepot import storage PATH_OR_BUCKET`, `entrepot import --from URL` for "
    "`entrepot import registry --from URL`.",
    no_args_is_help=True,
)


def completed(arguments: list[str]) -> list[str]:
    """Put the name of the command that imports behind `import`, unless it is there."""
    words = arguments[1:]
    if not words or words[0] in {"storage", "status", "registry", "-h", "--help"}:
        return arguments
    if any(word == "--from" or word.startswith("--from=") for word in words):
        return ["import", "registry", *words]
    return ["import", "storage", *words]


@app.command("storage")
def import_storage(
    source: Annotated[
        str,
        typer.Argument(
            metavar="PATH_OR_BUCKET",
            help="The directory that holds docker/registry/v2, or s3://BUCKET/ROOT, "
            "gs://BUCKET/ROOT, azure://ACCOUNT/CONTAINER/ROOT with the endpoint and the "
            "credentials of the registry's own storage. Nothing there is changed.",
        ),
    ],
    path: PathArgument = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every blob and compare its digest.")
    ] = False,
) -> None:
    """Import every repository of a storage that registry:2 wrote.

    If it is the registry's own storage no blob is copied. Otherwise blobs that the registry lacks
    are: by hard links on the same file system. What the registry has already is left alone, and so
    is a tag that it has or had. An import that was interrupted goes on where it was; one that was
    finished begins anew. Servers may run meanwhile. The exit status is 2 if something was broken.
    """
    from entrepot import moving

    config = load_config(path)
    with reported():
        done = moving.import_storage(config, source, verify=verify, tell=_tell)
    typer.echo(_line(done, None))
    if done.findings:
        typer.echo(f"{done.findings} broken: see entrepot import status --broken", err=True)
        raise typer.Exit(2)


@app.command()
def status(
    path: PathArgument = None,
    broken: Annotated[
        bool, typer.Option("--broken", help="List what could not be taken over, and why.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a line for each.")] = False,
) -> None:
    """Say how far every import is, that of the registry's own storage included."""
    from entrepot import moving

    config = load_config(path)
    with reported():
        found = moving.imports(config)
        if not found:
            typer.echo("nothing was imported", err=True)
        for entry, progress in found:
            typer.echo(_json(entry, progress) if as_json else _line(entry, progress))
            if broken:
                _list_findings(moving.findings(config, entry), as_json=as_json)


def export_layout(path: PathArgument = None) -> None:
    """Write the index down as registry:2's link files, so that it can serve this storage again.

    May be repeated: what is missing is written, links of what is gone are removed. Stop the servers
    first, or what is pushed meanwhile may be missing.
    """
    from entrepot import moving

    config = load_config(path)
    with reported():
        done = moving.export(config)
    typer.echo(
        f"{done.repositories} repositories, {done.manifests} manifests, {done.tags} tags: "
        f"{done.written} links written, {done.removed} removed"
    )
    if done.younger:
        typer.echo(
            f"{done.younger} links are younger than the last takeover or export and were left: "
            "registry:2 wrote them. Take them in with entrepot import",
            err=True,
        )


def _list_findings(found: "Iterable[Finding]", *, as_json: bool) -> None:
    for finding in found:
        if as_json:
            typer.echo(json.dumps(finding._asdict(), ensure_ascii=False))
        else:
            typer.echo(f"  {finding.kind:11} {finding.place}: {finding.reason}")


def load_config(path: Path | None) -> "Config":
    """Return the configuration, or end the program with status 1 and what is wrong with it."""
    from entrepot.config import ConfigError, load, resolve_path

    try:
        return load(resolve_path(path, os.environ), os.environ).config
    except ConfigError as error:
        raise _failed(error) from error


@contextmanager
def reported() -> Iterator[None]:
    """End the program with the reason and status 1 if something goes wrong."""
    from entrepot.core.errors import EntrepotError

    try:
        yield
    except EntrepotError as error:
        raise _failed(error) from error
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on", err=True)
        raise typer.Exit(130) from None


def _failed(error: Exception) -> typer.Exit:
    typer.secho(str(error), fg=typer.colors.RED, err=True)
    return typer.Exit(1)


def _tell(entry: "Import", progress: "Progress") -> None:
    typer.echo(_line(entry, progress), err=True)


def _line(entry: "Import", progress: "Progress | None") -> str:
    now = datetime.now(UTC)
    started = _time(entry.started_at)
    ended = None if entry.finished_at is None else _time(entry.finished_at)
    seconds = max(((ended or now) - started).total_seconds(), 0.001)
    if ended is not None or progress is None:
        return (
            f"{entry.source}: finished {ended:%Y-%m-%d %H:%M:%S}Z; {entry.repositories} "
            f"repositories, {entry.indexed} of {entry.manifests} manifests, {entry.findings} "
            f"broken; {seconds:.0f} s, {entry.indexed / seconds:.0f} manifests/s"
        )
    return (
        f"{entry.source}: {entry.phase} since {started:%Y-%m-%d %H:%M:%S}Z; {progress.done} of "
        f"{progress.repositories} repositories, {progress.seen} of {progress.manifests} manifests, "
        f"{entry.findings} broken; {progress.seen / seconds:.0f} manifests/s"
    )


def _json(entry: "Import", progress: "Progress") -> str:
    document = entry._asdict()
    document |= {"started_at": _time(entry.started_at).isoformat()}
    if entry.finished_at is None:
        document |= progress._asdict()
    else:
        document |= {"finished_at": _time(entry.finished_at).isoformat()}
    return json.dumps(document, ensure_ascii=False)


def _time(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, UTC)
