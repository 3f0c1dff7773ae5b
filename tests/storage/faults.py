"""A proxy in front of a store, which does what a test tells it before it passes requests on."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web
from yarl import URL

DROP: Final = 0
"""Close the connection without an answer."""

LOSE: Final = 1
"""Let the store do it, and close the connection instead of passing the answer on."""

_OF_A_HOP: Final = {"connection", "transfer-encoding", "content-length", "keep-alive"}


@dataclass
class Proxy:
    """`faults` are what happens to the next requests: a status, DROP or LOSE; `seen` counts all."""

    url: str = ""
    port: int = 0
    faults: list[int] = field(default_factory=list)
    seen: int = 0


@asynccontextmanager
async def start_proxy(target: str) -> AsyncIterator[Proxy]:
    """A proxy in front of the server at the URL `target`, which has no path."""
    proxy = Proxy()
    upstream = ClientSession(
        connector=TCPConnector(limit=0),
        auto_decompress=False,
        cookie_jar=DummyCookieJar(),
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
    )

    async def serve(request: web.Request) -> web.Response:
        proxy.seen += 1
        fault = proxy.faults.pop(0) if proxy.faults else 200
        body = await request.read()
        if fault > LOSE and fault != 200:
            return web.Response(status=fault, headers={"Retry-After": "0"}, text="too much")
        if fault != DROP:
            sent = {k: v for k, v in request.headers.items() if k.lower() not in _OF_A_HOP}
            url = URL(target + request.raw_path, encoded=True)
            async with upstream.request(
                request.method,
                url,
                headers=sent,
                data=io.BytesIO(body) if body else None,
                allow_redirects=False,
            ) as answer:
                content = await answer.read()
                headers = {k: v for k, v in answer.headers.items() if k.lower() not in _OF_A_HOP}
                if request.method == "HEAD" and "Content-Length" in answer.headers:
                    headers["Content-Length"] = answer.headers["Content-Length"]
                if fault != LOSE:
                    return web.Response(status=answer.status, headers=headers, body=content)
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{path:.*}", serve)
    async with serving(application) as port:
        proxy.port, proxy.url = port, f"http://127.0.0.1:{port}"
        try:
            yield proxy
        finally:
            await upstream.close()


@asynccontextmanager
async def serving(application: web.Application) -> AsyncIterator[int]:
    """Serve on a port of 127.0.0.1."""
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    addresses: Sequence[tuple[str, int]] = runner.addresses
    try:
        yield addresses[0][1]
    finally:
        await runner.cleanup()
