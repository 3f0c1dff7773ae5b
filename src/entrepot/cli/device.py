"""A login by device: `entrepot login` without a user shows a code to enter in a browser."""

import ssl
import time
from typing import Any

import httpx
import typer

from entrepot.cli.accounts import fail

CLIENT = "docker"
"""The client whose refresh token it becomes: those that read docker's configuration bring it."""

_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_SECONDS = 30.0
_SLOWER = 5.0


def log_in_by_device(url: str, provider: str, *, trust: ssl.SSLContext) -> str:
    """Return the refresh token of whoever enters the code that is shown; ends the program if nobody
    does. `url` is the registry's, without a slash at its end.
    """
    with httpx.Client(verify=trust, timeout=_SECONDS) as client:
        begun = _post(client, f"{url}/auth/device", {"client_id": CLIENT, "provider": provider})
        if "device_code" not in begun:
            fail(str(begun.get("error_description", "the registry begins no login")))
        typer.echo(f"Open {begun['verification_uri']} in a browser and enter {begun['user_code']}")
        if complete := begun.get("verification_uri_complete"):
            typer.echo(f"or open {complete}")
        form = {
            "grant_type": _GRANT,
            "device_code": str(begun["device_code"]),
            "client_id": CLIENT,
            "access_type": "offline",
        }
        return _wait(
            client,
            f"{url}/auth/token",
            form,
            interval=float(begun["interval"]),
            ends=time.monotonic() + float(begun["expires_in"]),
        )


def _wait(
    client: httpx.Client, url: str, form: dict[str, str], *, interval: float, ends: float
) -> str:
    while time.monotonic() < ends:
        time.sleep(interval)
        answer = _post(client, url, form)
        match answer.get("error"):
            case "authorization_pending":
                continue
            case "slow_down":
                interval += _SLOWER
            case "access_denied":
                fail("the login was refused")
            case None if "refresh_token" in answer:
                return str(answer["refresh_token"])
            case _:
                break
    return fail("the code has expired; log in again")


def _post(client: httpx.Client, url: str, form: dict[str, str]) -> dict[str, Any]:
    """Return what the registry answers to a form, an error as OAuth has it, too."""
    try:
        answer = client.post(url, data=form)
        content = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        fail(f"{url} can't be asked: {error}")
    if answer.status_code == 404:
        fail("nobody can log in to this registry in a browser: give a name with --username")
    if answer.status_code in {429, 503}:
        fail("the registry can't be asked just now, or its provider can't: try again in a minute")
    if not isinstance(content, dict) or answer.status_code not in {200, 400, 401}:
        fail(f"{url} answers {answer.status_code}, which no registry of this kind does")
    return content
