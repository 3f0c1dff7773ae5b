"""A real OpenID Connect provider (oidc-provider), and somebody who uses a browser with it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any, Final

import httpx
from joserfc.jwk import RSAKey

from tests.clients.provide import NODE, path_of
from tests.servers import free_port, wait_until

CLIENT: Final = "registry"
SECRET: Final = "a secret: of the/client+"
RETURNS: Final = [f"http://127.0.0.1/auth/callback/{name}" for name in ("sso", "second")]
"""Where browsers come back to, on whatever port."""

PEOPLE: Final = {
    "ada": {"groups": ["team-a", "devs"], "email": "ada@example.com", "email_verified": True},
    "bob": {"groups": "devs", "email": "bob@example.com", "email_verified": False},
    "eve": {"email": "eve@example.com.evil.example", "email_verified": True},
    "mallory": {"preferred_username": "robot$ci", "groups": ["team-a"]},
    "trent": {"groups": [{"name": "team-a"}]},
}


def new_key() -> RSAKey:
    return RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"})


@dataclass
class OpenId:
    """A provider that runs, or is away."""

    port: int
    folder: Path
    key: RSAKey = field(default_factory=new_key)
    conform: bool = True
    people: dict[str, Any] = field(default_factory=lambda: dict(PEOPLE))
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it with its key; it knows nothing of what was before."""
        settings = {
            "clients": [
                {"client_id": name, "client_secret": SECRET, "redirect_uris": RETURNS}
                for name in (CLIENT, "other")
            ],
            "keys": [self.key.as_dict(private=True)],
            "people": self.people,
            "conform": self.conform,
        }
        script = Path(__file__).with_name("provider.mjs")
        command = [path_of("node"), str(script), str(NODE), str(self.port), json.dumps(settings)]
        with (self.folder / "provider.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._answers, seconds=60, what=f"the provider at {self.url}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "provider.log").read_text()
        try:
            return httpx.get(f"{self.url}/.well-known/openid-configuration").status_code == 200
        except httpx.HTTPError:
            return False


@contextmanager
def openid(folder: Path, *, conform: bool = True) -> Iterator[OpenId]:
    """A provider; with `conform` False groups are in its ID tokens, else in userinfo only."""
    folder.mkdir(parents=True, exist_ok=True)
    provider = OpenId(free_port(), folder, conform=conform)
    try:
        provider.start()
        yield provider
    finally:
        provider.stop()


def enter(page: str, name: str, *, abort: bool = False) -> None:
    """Open the page with the code in it, log in as `name`, and agree, or don't."""
    with httpx.Client(follow_redirects=True, timeout=30) as browser:
        answer = fill_in(browser, browser.get(page), name, abort=abort)
        wanted = "The Sign-in request was interrupted" if abort else "Sign-in Success"
        assert wanted in answer.text, answer.text[-2000:]


def log_in_by_device(url: str, name: str, *, environment: Mapping[str, str]) -> None:
    """Run `entrepot login` at a registry, and be `name` in the browser that it asks for."""
    command = [sys.executable, "-u", "-m", "entrepot", "login", url]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        shown = process.stdout.readline() + process.stdout.readline()
        page = re.search(r"open (\S+)\n", shown)
        assert page is not None, shown + process.stdout.read()
        enter(page[1], name)
        rest = process.stdout.read()
        assert process.wait(timeout=60) == 0, rest


def fill_in(
    browser: httpx.Client, answer: httpx.Response, name: str, *, abort: bool = False
) -> httpx.Response:
    """Fill in the provider's forms as `name`, and agree, or don't, until it has no more of them or
    the browser is sent elsewhere; return the last answer.
    """
    place = answer.url.port
    for _ in range(8):
        form = re.search(r'<form[^>]*action="([^"]*)"', answer.text)
        if form is None or answer.url.port != place or answer.has_redirect_location:
            break
        fields: dict[str, Any] = {
            match[1]: unescape(match[2])
            for match in re.finditer(r'<input[^>]*name="([^"]+)" value="([^"]*)"', answer.text)
        }
        if 'name="login"' in answer.text:
            fields |= {"login": name, "password": "any"}
        target = answer.url.join(unescape(form[1]))
        if abort and "confirm" in fields:
            fields = {**fields, "abort": "yes"}
        elif abort and "/abort" in answer.text:
            return browser.get(f"{target}/abort")
        answer = browser.post(target, data=fields)
        if "abort" in fields:
            break
    return answer
