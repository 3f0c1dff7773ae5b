"""`http.prefix`: everything is served below it, nothing beside it, and addresses know of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from entrepot.api.asgi import Application
from tests.unit.api.conftest import running
from tests.wire.images import image

IMAGE = image("prefix")


def test_everything_is_below_the_prefix(build: Callable[..., Application]) -> None:
    application = build("http: {prefix: /hub/, host: 'https://registry.example.com'}")
    origin = b"https://registry.example.com/hub"

    async def scenario() -> None:
        async with running(application) as site:
            for path in ("/v2/", "/v2/a/tags/list", "/hubv2/"):
                assert (await site.ask("GET", path)).status == 404
            assert (await site.ask("GET", "/hub/v2")).headers[b"location"] == origin + b"/v2/"
            assert (await site.ask("GET", "/hub/v2/")).status == 200
            for blob in IMAGE.blobs:
                query = b"digest=" + blob.digest.encode()
                uploads = "/hub/v2/a/blobs/uploads/"
                pushed = await site.ask("POST", uploads, query=query, body=blob.data)
                expected = f"/v2/a/blobs/{blob.digest}".encode()
                assert pushed.headers[b"location"] == origin + expected
            begun = await site.ask("POST", "/hub/v2/a/blobs/uploads/")
            assert begun.headers[b"location"].startswith(origin + b"/v2/a/blobs/uploads/")
            kind = (b"content-type", IMAGE.manifest.media_type.encode())
            for tag in ("one", "two"):
                path = f"/hub/v2/a/manifests/{tag}"
                put = await site.ask("PUT", path, headers=(kind,), body=IMAGE.manifest.data)
                assert put.headers[b"location"].startswith(origin + b"/v2/a/manifests/sha256:")
            tags = await site.ask("GET", "/hub/v2/a/tags/list", query=b"n=1")
            assert tags.headers[b"link"] == b'</hub/v2/a/tags/list?last=one&n=1>; rel="next"'

    asyncio.run(scenario())


def test_relative_addresses_below_the_prefix(build: Callable[..., Application]) -> None:
    application = build("http: {prefix: /hub/, relativeurls: true}")

    async def scenario() -> None:
        async with running(application) as site:
            begun = await site.ask("POST", "/hub/v2/a/blobs/uploads/")
            assert begun.headers[b"location"].startswith(b"/hub/v2/a/blobs/uploads/")

    asyncio.run(scenario())
