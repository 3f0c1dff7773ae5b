"""The commands `entrepot` and `registry`, which are the same program."""

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from entrepot.cli import (
    access,
    admin,
    audit,
    check,
    collection,
    config,
    copying,
    database,
    delete,
    explain,
    login,
    moving,
    namespace,
    protecting,
    quota,
    retention,
    robot,
    schedule,
    scrub,
    token,
    undo,
    usage,
    user,
)

NAMES = ("entrepot", "registry")

app = typer.Typer(
    help="A private registry for container images and every other OCI artifact.",
    epilog="A path that ends in .yml or .yaml alone is short for `serve PATH`.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.add_typer(config.app)
app.add_typer(database.app)
moving.app.command("registry")(copying.import_registry)
app.add_typer(moving.app)
app.command()(moving.export_layout)
app.command()(login.login)
for group in (
    *(namespace.app, access.app, user.app, robot.app, token.app, admin.app, audit.app),
    *(quota.app, retention.app),
    *(undo.trash, undo.tag, protecting.app),
):
    app.add_typer(group)
app.add_typer(schedule.app)
app.add_typer(collection.app)
app.command("garbage-collect")(collection.garbage_collect)
app.command()(scrub.scrub)
app.command()(check.check)
app.command()(explain.explain)
app.command()(delete.delete)
app.command()(usage.usage)


def main() -> None:
    """Run the command that the arguments of this process name."""
    called = Path(sys.argv[0]).name
    app(args=completed(sys.argv[1:]), prog_name=called if called in NAMES else NAMES[0])


def completed(arguments: list[str]) -> list[str]:
    """The arguments, with `serve` in front if they are what registry:2's image was given, and with
    what `import` leaves out.
    """
    first = arguments[0] if arguments else ""
    if first == "import":
        return moving.completed(arguments)
    if first.endswith((".yml", ".yaml")) and Path(first).is_file():
        return ["serve", *arguments]
    return arguments


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"entrepot {version('entrepot')}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool,
        typer.Option(
            "--version",
            "-v",
            callback=_print_version,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    """A private registry for container images and every other OCI artifact."""


@app.command()
def serve(path: config.PathArgument = None) -> None:
    """Serve the registry until SIGTERM or Ctrl-C.

    Without a configuration file it listens on port 5000 of every interface, keeps its data in
    /var/lib/registry and asks for no password. REGISTRY_* variables change single values:
    REGISTRY_HTTP_ADDR=127.0.0.1:5001 stands for `addr` below `http`.

    SIGTERM and SIGINT refuse new connections and let requests finish within http.draintimeout;
    SIGHUP replaces the worker processes without losing a request. A changed certificate is noticed
    by itself.
    """
    from entrepot.config import ConfigError, load, resolve_path
    from entrepot.server import serve as run

    try:
        loaded = load(resolve_path(path, os.environ), os.environ)
    except ConfigError as error:
        typer.secho(str(error), fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from error
    raise typer.Exit(run(loaded))
