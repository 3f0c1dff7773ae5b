"""A registry with local users, in this process, and browsers that visit it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from html import unescape
from pathlib import Path

import httpx
import pytest

from entrepot import app
from entrepot.api.asgi import Application
from entrepot.api.context import Context
from entrepot.config import load
from entrepot.health import HealthBoard
from tests.unit.api.conftest import running

PASSWORD = "correct horse battery"
LOCAL = (
    f"auth: {{local: {{admin: {{name: root, password: {PASSWORD}}}, "
    "argon2: {timecost: 1, memorycost: 1024}}, limits: {attempts: 3}}"
)
SESSION = "entrepot-session"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class House:
    """A running registry."""

    def __init__(self, application: Application) -> None:
        self._application = application

    @property
    def context(self) -> Context:
        return self._application._context

    def browser(self, url: str = "http://registry", *, origin: bool = True) -> httpx.AsyncClient:
        """A browser that follows redirects, and says from where it comes unless told otherwise."""
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self._application),
            base_url=url,
            follow_redirects=True,
            headers={"Origin": url} if origin else {},
        )


@asynccontextmanager
async def open_house(tmp_path: Path, text: str = LOCAL) -> AsyncIterator[House]:
    path = tmp_path / "config.yml"
    path.write_text(
        "version: 0.1\nlog: {accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {tmp_path / 'registry'}}}}}\n{text}"
    )
    config = load(path, {}).config
    (tmp_path / "metrics").mkdir(exist_ok=True)
    await asyncio.to_thread(app.prepare, config)
    application = app.build(config, health=HealthBoard(), metrics=tmp_path / "metrics")
    async with running(application):
        yield House(application)


Open = Callable[..., AbstractAsyncContextManager[House]]


@pytest.fixture
def house(tmp_path: Path) -> Open:
    """Opens a registry, with local users unless told otherwise."""
    return partial(open_house, tmp_path)


def field_of(page: httpx.Response, name: str = "token") -> str:
    """The value of a hidden field of a page."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page.text)
    assert found is not None, page.text
    return unescape(found[1])


async def log_in(
    browser: httpx.AsyncClient, name: str = "root", password: str = PASSWORD, **more: str
) -> httpx.Response:
    """Fill in the form of the login, and return where that leads."""
    form = {"token": field_of(await browser.get("/auth/login")), "name": name}
    return await browser.post("/auth/login", data={**form, "password": password, **more})
