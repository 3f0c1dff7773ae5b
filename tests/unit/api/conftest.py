"""The whole registry as an ASGI application, in this process and without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from entrepot import app
from entrepot.api.asgi import Application
from entrepot.config import load
from entrepot.health import HealthBoard


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Answer:
    """What the application sent."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""


class Site:
    """A running application."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: bytes = b"",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        body: bytes = b"",
    ) -> Answer:
        """Send one request."""
        given = (*headers, (b"host", b"registry"), (b"content-length", b"%d" % len(body)))
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query,
            "headers": list(given),
            "scheme": "http",
            "http_version": "1.1",
            "client": ("127.0.0.1", "1"),
        }
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": body, "more_body": False}
        ]
        answer = Answer()

        async def receive() -> dict[str, Any]:
            if not messages:
                await asyncio.Event().wait()
            return messages.pop()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer.status, answer.headers = message["status"], dict(message["headers"])
            else:
                answer.body += message.get("body", b"")

        await self.application(scope, receive, send)
        return answer


@asynccontextmanager
async def running(application: Application) -> AsyncIterator[Site]:
    """Start an application as a server does, and end it."""
    to_application: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    from_application: asyncio.Queue[Any] = asyncio.Queue()
    living = asyncio.ensure_future(
        application({"type": "lifespan"}, to_application.get, from_application.put)
    )
    await to_application.put({"type": "lifespan.startup"})
    started = await from_application.get()
    assert started["type"] == "lifespan.startup.complete", started
    try:
        yield Site(application)
    finally:
        await to_application.put({"type": "lifespan.shutdown"})
        await living


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Application]:
    """Build the application of a configuration with this text and these words in `storage`."""

    def make(text: str, storage: str = "") -> Application:
        path = tmp_path / "config.yml"
        files = f"filesystem: {{rootdirectory: {tmp_path / 'registry'}}}"
        silent = "log: {accesslog: {disabled: true}}"
        path.write_text(f"version: 0.1\n{silent}\nstorage: {{{files}, {storage}}}\n{text}")
        config = load(path, {}).config
        metrics = tmp_path / "metrics"
        metrics.mkdir(exist_ok=True)
        app.prepare(config)
        return app.build(config, health=HealthBoard(), metrics=metrics)

    return make
