"""The registries that the clients are tried on, and how a client is run apart from the system.

A site is a running registry seen from a client: its address, how it is spoken to and who may.
"""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from tests.clients.provide import SEARCH_PATH, path_of

USER: Final = "ada"
PASSWORD: Final = "in: und wieder out"
"""The one account of a site that has some. Guards nothing; spaces and a colon are allowed."""

SITES: Final = ["plain-open", "plain-htpasswd", "plain-tokens", "tls-open", "tls-htpasswd"]
WITH_ACCOUNTS: Final = [name for name in SITES if "open" not in name]
PLAIN: Final = [name for name in SITES if "plain" in name]
"""The kinds of site; the `site` fixture makes them by these names."""

CLIENT_SECONDS: Final = 60.0
"""How long one run of a client may take."""


@dataclass(frozen=True, slots=True)
class Site:
    """A running registry as clients see it."""

    host: str
    """`address:port`."""
    folder: Path
    """For a site with TLS: has the `ca.crt` of whoever signed its certificate, and nothing else."""
    tls: bool
    accounts: bool
    """Whether it asks for USER and PASSWORD."""

    @property
    def ca(self) -> Path:
        """The certificate to trust."""
        return self.folder / "ca.crt"

    @property
    def url(self) -> str:
        """The address for an HTTP client."""
        return f"{'https' if self.tls else 'http'}://{self.host}"

    def http(self) -> httpx.Client:
        """A plain HTTP client of the site, with its certificate and its account."""
        return httpx.Client(
            base_url=self.url,
            verify=ssl.create_default_context(cafile=str(self.ca)) if self.tls else True,
            auth=httpx.BasicAuth(USER, PASSWORD) if self.accounts else None,
            timeout=30,
        )


class ClientError(AssertionError):
    """A client failed; the message is the command and everything it printed."""


@dataclass(frozen=True, slots=True)
class Client:
    """Runs programs with a home of their own, and nothing of the caller's environment."""

    home: Path
    variables: Mapping[str, str]

    def environment(self) -> dict[str, str]:
        """What a program of this client finds in its environment."""
        return {
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.home / "run"),
            "TMPDIR": str(self.home / "tmp"),
            "PATH": SEARCH_PATH,
            "LANG": "C.UTF-8",
            **self.variables,
        }

    def run(self, *command: str, given: str | None = None, cwd: Path | None = None) -> str:
        """What the command printed on its standard output. Raises ClientError when it fails."""
        for folder in ("run", "tmp"):
            (self.home / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            done = subprocess.run(
                [path_of(command[0]), *command[1:]],
                input=given,
                stdin=subprocess.DEVNULL if given is None else None,
                capture_output=True,
                text=True,
                check=False,
                cwd=cwd or self.home,
                env=self.environment(),
                timeout=CLIENT_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            printed = [str(part or "") for part in (error.stdout, error.stderr)]
            raise ClientError(f"no end: {' '.join(command)}\n{''.join(printed)}") from error
        if done.returncode != 0:
            raise ClientError(
                f"status {done.returncode}: {' '.join(command)}\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def fails(self, *command: str) -> str:
        """The message of a command that must fail."""
        try:
            printed = self.run(*command)
        except ClientError as error:
            return str(error)
        raise AssertionError(f"should have failed: {' '.join(command)}\n{printed}")


def end(process: subprocess.Popen[bytes], *, seconds: float = 20.0) -> None:
    """End a daemon and everything in its process group."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait(seconds)
