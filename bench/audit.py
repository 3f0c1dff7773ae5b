"""What the audit log adds to a push: `python -m bench.audit`.

It can't be switched off, because a change and its event are one transaction. So two things are
measured in one process, without a server: small images pushed one after the other, and by turns
transactions that write one row, durably, with as many events as a push records and without any.
What these differ by, statement, hash and commit included, is what the events cost.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.content import make_image
from entrepot import app
from entrepot.api.asgi import Application
from entrepot.config import load
from entrepot.core.audit import Actor, event
from entrepot.db.engine import Transaction
from entrepot.health import HealthBoard
from entrepot.services.audit import Notes
from entrepot.services.stores import Stores

ROUNDS, EACH = 15, 60
MANIFEST = b"application/vnd.oci.image.manifest.v1+json"
_WRITE = """
    INSERT INTO settings (key, value) VALUES ('bench', :value)
    ON CONFLICT (key) DO UPDATE SET value = :value
"""
Cost = tuple[float, float]
"""Microseconds of CPU and of time for each operation."""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="entrepot-audit-", dir=".") as folder:
        root = Path(folder)
        path = root / "config.yml"
        path.write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {root / 'storage'}}}}}\n"
        )
        config = load(path, {}).config
        app.prepare(config)
        asyncio.run(_measure(app.build(config, health=HealthBoard(), metrics=root)))


async def _measure(application: Application) -> None:
    heard, said = asyncio.Queue[dict[str, Any]](), asyncio.Queue[Any]()
    living = asyncio.ensure_future(application({"type": "lifespan"}, heard.get, said.put))
    await heard.put({})
    await said.get()
    stores = application._context.stores  # noqa: SLF001 - there is no server to ask
    await _timed(lambda: _push(application))  # warms up
    before = await _events(stores)
    pushed = await _timed(lambda: _push(application))
    each = round((await _events(stores) - before) / EACH)
    costs: dict[str, list[Cost]] = {"push": [pushed], "with": [], "without": []}
    for _ in range(ROUNDS):
        costs["without"].append(await _timed(lambda: _write(stores)))
        costs["with"].append(await _timed(lambda: _write(stores, events=each)))
        costs["push"].append(await _timed(lambda: _push(application)))
    await heard.put({})
    await living
    _show(costs, each)


def _show(costs: dict[str, list[Cost]], each: int) -> None:
    print(f"{each} events for each push; medians of {ROUNDS} rounds of {EACH}")
    for place, what in enumerate(("CPU", "time")):
        push, bare, told = (
            statistics.median(cost[place] for cost in costs[name])
            for name in ("push", "without", "with")
        )
        events = statistics.median(
            a[place] - b[place] for a, b in zip(costs["with"], costs["without"], strict=True)
        )
        print(
            f"{what}: a push {push:.0f} us, a transaction {bare:.0f} us, with events {told:.0f} us"
        )
        print(f"  they add {events:.0f} us, {events / (push - events):.1%} to a push without them")


async def _timed(work: Callable[[], Awaitable[None]]) -> Cost:
    cpu, began = time.process_time(), time.perf_counter()
    for _ in range(EACH):
        await work()
    spent, took = time.process_time() - cpu, time.perf_counter() - began
    return spent / EACH * 1e6, took / EACH * 1e6


async def _write(stores: Stores, events: int = 0) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.execute(_WRITE, {"value": str(time.time_ns())})

    async def audited(transaction: Transaction, notes: Notes) -> None:
        await work(transaction)
        for _ in range(events):
            digest = f"sha256:{'0' * 64}"
            notes.add(event("manifest.push", repository="bench/app", tag="v1", digest=digest))

    if events:
        by = Actor(
            "somebody", address="192.0.2.1", request="0" * 32, reason="access control is off"
        )
        await stores.trail.write(audited, by=by)
    else:
        await stores.index.write(work)


async def _events(stores: Stores) -> int:
    row = await stores.index.fetch_one("SELECT count(*) FROM audit_events", {})
    return int(row[0]) if row else 0


async def _push(application: Application) -> None:
    image = make_image("v1")
    for blob in image.blobs:
        query = f"digest={blob.digest}".encode()
        await _ask(application, "POST", "/v2/bench/app/blobs/uploads/", bytes(blob.body), query)
    path = f"/v2/bench/app/manifests/{image.manifest.digest[7:19]}"
    await _ask(application, "PUT", path, bytes(image.manifest.body))


async def _ask(
    application: Application, method: str, path: str, body: bytes, query: bytes = b""
) -> None:
    headers = [(b"host", b"bench"), (b"content-length", b"%d" % len(body))]
    if method == "PUT":
        headers.append((b"content-type", MANIFEST))
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "headers": headers,
        "scheme": "http",
        "http_version": "1.1",
        "client": ("::1", 1),
    }
    statuses = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        if "status" in message:
            statuses.append(message["status"])

    await application(scope, receive, send)
    assert statuses == [201], statuses


if __name__ == "__main__":
    main()
