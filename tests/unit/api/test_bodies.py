"""What becomes of a request's body when nobody wants it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

from entrepot.api.asgi import Application
from tests.unit.api.conftest import running

PIECE = bytes(1 << 20)


class Body:
    """A client that never stops sending; weakly referred to, as the connection is by a server."""

    def __init__(self) -> None:
        self.given = 0

    async def receive(self) -> dict[str, Any]:
        self.given += 1
        return {"type": "http.request", "body": PIECE, "more_body": True}


def test_a_refused_body_is_not_held(build: Callable[..., Application]) -> None:
    """When the answer is sent nothing refers to the body any more, garbage collected or not: the
    server can't close a connection whose body somebody may still read.
    """
    asyncio.run(_refuse(build("")))


async def _refuse(application: Application) -> None:
    async with running(application) as site:
        begun = await site.ask("POST", "/v2/a/blobs/uploads/")
        path, _, query = begun.headers[b"location"].decode().partition("?")
        body = Body()
        scope = {
            "type": "http",
            "method": "PATCH",
            "path": "/" + path.split("/", 3)[3],
            "query_string": query.encode(),
            "headers": [(b"host", b"registry"), (b"content-range", b"5-9999999")],
            "scheme": "http",
            "http_version": "1.1",
            "client": ("127.0.0.1", "1"),
        }
        statuses: list[int] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        gc.disable()
        try:
            await application(scope, body.receive, send)
            assert statuses == [416]
            assert 0 < body.given < 40, "some of it was read, but not for ever"
            held = weakref.ref(body)
            del body
            assert held() is None
        finally:
            gc.enable()
