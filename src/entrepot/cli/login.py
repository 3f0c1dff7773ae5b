"""`entrepot login`: with a password or in a browser; kept where docker looks for it."""

import base64
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entrepot.cli.accounts import StdinOption, fail

if TYPE_CHECKING:
    import ssl

IDENTITY = "<token>"
"""The user name by which docker and its credential stores know that a secret is a refresh token."""

_SECONDS = 30.0


def login(
    registry: Annotated[
        str,
        typer.Argument(
            metavar="REGISTRY", help="The registry's address; http://ADDRESS for one without TLS."
        ),
    ],
    username: Annotated[
        str,
        typer.Option("--username", "-u", help="The user's name; without it log in in a browser."),
    ] = "",
    password_stdin: StdinOption = False,
    ca: Annotated[
        Path | None, typer.Option("--ca-file", help="PEM file with the authority to trust.")
    ] = None,
    provider: Annotated[
        str, typer.Option(help="Where to log in in a browser, if there are several.")
    ] = "",
) -> None:
    """Log in to a registry, with a password, a robot's secret or a personal access token.

    Without a name the login is in a browser, at the registry's OpenID Connect provider.

    What was right is kept where docker, podman, skopeo, helm and oras find it: in the credential
    store that docker's configuration names, else in that configuration itself
    ($DOCKER_CONFIG/config.json or ~/.docker/config.json).
    """
    scheme, _, host = registry.rpartition("://")
    host = host.rstrip("/")
    if scheme not in {"", "http", "https"} or not host or "/" in host:
        fail(f"{registry!r} is no address of a registry: write registry.example.com")
    url = f"{scheme or 'https'}://{host}"
    if not username:
        from entrepot.cli.device import log_in_by_device

        token = log_in_by_device(url, provider, trust=_trust(ca))
        typer.echo(f"logged in; kept in {_keep(host, IDENTITY, token)}")
        return
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        password = str(typer.prompt("Password", hide_input=True))
    else:
        fail("there is no terminal to ask for the password: use --password-stdin")
    _try(f"{url}/v2/", username, password, ca)
    typer.echo(f"logged in; kept in {_keep(host, username, password)}")


def _try(url: str, username: str, password: str, ca: Path | None) -> None:
    """Ask the registry; ends the program unless it lets the user in."""
    import httpx

    trust = _trust(ca)
    try:
        credentials = httpx.BasicAuth(username, password)
        answer = httpx.get(url, auth=credentials, verify=trust, timeout=_SECONDS)
    except (OSError, httpx.HTTPError, httpx.InvalidURL) as error:
        fail(f"{url} can't be asked: {error}")
    match answer.status_code:
        case 200:
            return
        case 401:
            fail("the registry refuses this name and password")
        case 429:
            wait = answer.headers.get("retry-after", "some")
            fail(f"too many logins failed, or too many requests were sent: wait {wait} seconds")
    fail(f"{url} answers {answer.status_code}, which no registry of this kind does")


def _trust(ca: Path | None) -> "ssl.SSLContext":
    import ssl

    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except OSError as error:
        fail(f"{ca} can't be read: {error}")


def _keep(host: str, username: str, password: str) -> str:
    """Keep the credential, and say where."""
    directory = os.environ.get("DOCKER_CONFIG")
    path = ((Path(directory) if directory else Path.home() / ".docker") / "config.json").resolve()
    try:
        known = json.loads(path.read_bytes()) if path.exists() else {}
    except (OSError, ValueError) as error:
        fail(f"{path} can't be read: {error}")
    if not isinstance(known, dict):
        fail(f"{path} is not a configuration of docker")
    store = (known.get("credHelpers") or {}).get(host) or known.get("credsStore")
    if store:
        return _hand_over(str(store), host, username, password)
    known.setdefault("auths", {})[host] = _entry(username, password)
    try:
        _replace(path, known)
    except OSError as error:
        fail(f"{path} can't be written: {error}")
    return str(path)


def _entry(username: str, password: str) -> dict[str, str]:
    """What docker writes: a password in `auth`, a refresh token beside an empty one."""
    if username == IDENTITY:
        empty = base64.b64encode(f"{username}:".encode()).decode()
        return {"auth": empty, "identitytoken": password}
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


def _hand_over(store: str, host: str, username: str, password: str) -> str:
    program = f"docker-credential-{store}"
    told = json.dumps({"ServerURL": host, "Username": username, "Secret": password})
    try:
        done = subprocess.run(
            [program, "store"], input=told, text=True, capture_output=True, check=False
        )
    except OSError as error:
        fail(f"{program} can't be run: {error.strerror}")
    if done.returncode != 0:
        fail(f"{program} failed: {done.stdout.strip() or done.stderr.strip()}")
    return program


def _replace(path: Path, content: dict[str, Any]) -> None:
    """Write the file for its owner alone; it is there as before or as it shall be."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".config-", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file, indent="\t")
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
