"""`entrepot import --from URL`: in from a running registry."""

import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from entrepot.cli.config import PathArgument
from entrepot.cli.moving import load_config, reported

if TYPE_CHECKING:
    from entrepot.services.copying import Counts, Failure
    from entrepot.upstream import Credentials, UpstreamAddress

PASSWORD_VARIABLE = "ENTREPOT_IMPORT_PASSWORD"  # noqa: S105 - its name
_LOG_EVERY = 10.0
_MIB = 1_048_576

_Patterns = list[str] | None


_From = Annotated[
    str,
    typer.Option("--from", metavar="URL", help="The registry: https://HOST, or http://HOST."),
]
_Repositories = Annotated[
    _Patterns,
    typer.Option(
        "--repository",
        metavar="PATTERN",
        help="Copy these repositories only; * stands for slashes, too. Names without * ? [ "
        "need no catalog. May be repeated, as --exclude and --tag.",
    ),
]
_Excluded = Annotated[
    _Patterns,
    typer.Option("--exclude", metavar="PATTERN", help="Leave these repositories out."),
]
_Tags = Annotated[_Patterns, typer.Option("--tag", metavar="PATTERN", help="Copy these tags only.")]
_Jobs = Annotated[int, typer.Option(min=1, max=64, help="Requests to the other registry at once.")]
_Username = Annotated[
    str | None,
    typer.Option(
        help="The user there. Without one, the login that docker's configuration has.",
        envvar="ENTREPOT_IMPORT_USERNAME",
    ),
]
_PasswordStdin = Annotated[
    bool,
    typer.Option(
        "--password-stdin",
        help=f"Read the password from standard input instead of ${PASSWORD_VARIABLE}.",
    ),
]
_TokenHosts = Annotated[
    _Patterns,
    typer.Option(
        "--token-host",
        metavar="HOST",
        help="Another host that may be sent the password, because it gives tokens for the "
        "registry. May be repeated.",
    ),
]
_CaFile = Annotated[
    Path | None,
    typer.Option("--ca-file", help="Trust the authorities in this PEM file, and no others."),
]
_Certificate = Annotated[
    Path | None, typer.Option("--client-certificate", help="Show this certificate (PEM).")
]
_Key = Annotated[
    Path | None,
    typer.Option("--client-key", help="Its key, if it is in a file of its own."),
]
_Insecure = Annotated[
    bool, typer.Option("--insecure", help="Believe any certificate of the registry.")
]


def import_registry(
    address: _From,
    path: PathArgument = None,
    *,
    repositories: _Repositories = None,
    excluded: _Excluded = None,
    tags: _Tags = None,
    jobs: _Jobs = 8,
    username: _Username = None,
    password_stdin: _PasswordStdin = False,
    token_hosts: _TokenHosts = None,
    ca: _CaFile = None,
    certificate: _Certificate = None,
    key: _Key = None,
    insecure: _Insecure = False,
) -> None:
    """Copy repositories of a running registry: every tag, and what refers to the images.

    Digests are kept and checked. What is here already is not copied again, so an import that was
    interrupted, or met failures, is finished by the same command; later it brings what has come
    since. Servers may run meanwhile. The exit status is 1 if anything failed.
    """
    from entrepot.copying import copy
    from entrepot.services.copying import Selection
    from entrepot.upstream import TlsOptions, UpstreamAddress, UpstreamOptions

    config = load_config(path)
    progress = _Progress()
    with reported():
        upstream = UpstreamAddress.parse(address)
        options = UpstreamOptions(
            credentials=_credentials(upstream, username, from_stdin=password_stdin),
            token_hosts=frozenset(token_hosts or ()),
            tls=TlsOptions(ca=ca, certificate=certificate, key=key, insecure=insecure),
            connections=jobs,
            manifest_size=config.http.limits.manifestsize,
        )
        try:
            done = copy(
                config,
                upstream,
                options,
                selection=Selection(
                    tuple(repositories or ()), tuple(excluded or ()), tuple(tags or ())
                ),
                jobs=jobs,
                tell=progress,
            )
        finally:
            progress.end()
    typer.echo(f"{upstream.host}: {_line(done, progress.seconds)}")
    if done.failures:
        raise typer.Exit(1)


def _credentials(
    address: "UpstreamAddress", username: str | None, *, from_stdin: bool
) -> "Credentials | None":
    from entrepot.upstream import Credentials, UpstreamAddressError
    from entrepot.upstream.logins import find_login, login_path

    password = os.environ.get(PASSWORD_VARIABLE)
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    if username and password:
        return Credentials(username, password)
    if username:
        raise UpstreamAddressError(
            f"the password of {username} is missing: give --password-stdin, or ${PASSWORD_VARIABLE}"
        )
    if from_stdin:
        raise UpstreamAddressError("--password-stdin needs --username")
    file = login_path(os.environ)
    return None if file is None else find_login(file, address)


class _Progress:
    """Tells on standard error: one line that changes for a terminal, else lines of JSON."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._began = time.monotonic()
        self._logged = self._began

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def __call__(self, news: "Counts | Failure") -> None:
        from entrepot.services.copying import Failure

        if isinstance(news, Failure):
            if self._terminal:
                self.end()
                typer.secho(f"{news.place}: {news.reason}", fg=typer.colors.RED, err=True)
            else:
                _log("error", "not copied", place=news.place, reason=news.reason)
        elif self._terminal:
            typer.echo(f"\r\x1b[K{_line(news, self.seconds)}", nl=False, err=True)
        elif time.monotonic() - self._logged >= _LOG_EVERY:
            self._logged = time.monotonic()
            _log("info", "import is under way", **_fields(news))

    def end(self) -> None:
        """Clear the line that changes."""
        if self._terminal:
            typer.echo("\r\x1b[K", nl=False, err=True)


def _fields(counts: "Counts") -> dict[str, object]:
    from dataclasses import asdict

    return asdict(counts)


def _log(level: str, message: str, **fields: object) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = {"@timestamp": now, "log.level": level, "message": message, **fields}
    typer.echo(json.dumps(line, ensure_ascii=False), err=True)


def _line(counts: "Counts", seconds: float) -> str:
    return (
        f"{counts.repositories} repositories, {counts.tags} tags set, {counts.unchanged_tags} "
        f"unchanged, {counts.manifests} manifests, {counts.blobs} blobs, "
        f"{counts.received / _MIB:.1f} MiB in {seconds:.0f} s; {counts.failures} failed"
    )
