"""A proxy in front of an HTTP server that counts requests, and fails as servers and networks do.

with start_proxy(port) as proxy:
    proxy.faults = Faults(seed=1, drop=0.1)
    ...
    proxy.requests  # ["PUT /bucket/key", ...]
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate

_HEAD = 65_536
_TOO_SKEWED = (
    b'<?xml version="1.0"?><Error><Code>RequestTimeTooSkewed</Code><Message>The difference between '
    b"the request time and the current time is too large.</Message></Error>"
)
_SLOW_DOWN = (
    b'<?xml version="1.0"?><Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message></Error>"
)


@dataclass
class Faults:
    """How likely each fault is, from 0 to 1, and the seed of the dice.

    `drop` ends the connection before the request is passed on, `lose` after the server has done
    what was asked, `cut` in the middle of the answer; `delay` takes a moment, `refuse` answers 503.
    """

    seed: int = 0
    drop: float = 0.0
    lose: float = 0.0
    cut: float = 0.0
    delay: float = 0.0
    refuse: float = 0.0
    dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)

    def happens(self, likelihood: float) -> bool:
        return self.dice.random() < likelihood


class Proxy:
    """Between `port` and the server at `target`, both of 127.0.0.1."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.port = 0
        self.faults = Faults()
        self.requests: list[str] = []
        self.broken = 0
        """Requests that met a fault, delays aside."""
        self.clock = 0.0
        """Seconds by which the server's clock is ahead of this machine's: with more than Amazon's
        900 either way it refuses every request as S3 does.
        """
        self.conditions = True
        """Whether the server knows conditional writes; where it doesn't, it refuses them."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while await self._pass_on(reader, writer):
                pass
        writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Handle one request; whether the connection lives."""
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        body = await reader.readexactly(_length(lines))
        self.requests.append(lines[0].rpartition(" ")[0])
        faults = self.faults
        if abs(self.clock) > 900:
            date = formatdate(time.time() + self.clock, usegmt=True)
            refusal = f"HTTP/1.1 403 Forbidden\r\nDate: {date}\r\n"
            refusal += f"Content-Length: {len(_TOO_SKEWED)}\r\n\r\n"
            writer.write(refusal.encode() + (b"" if lines[0].startswith("HEAD") else _TOO_SKEWED))
            await writer.drain()
            return True
        if faults.happens(faults.delay):
            await asyncio.sleep(faults.dice.uniform(0.05, 0.5))
        if faults.happens(faults.drop):
            self.broken += 1
            return False
        if faults.happens(faults.refuse):
            self.broken += 1
            answer = b"HTTP/1.1 503 Slow Down\r\nContent-Length: %d\r\n\r\n" % len(_SLOW_DOWN)
            writer.write(answer + (b"" if lines[0].startswith("HEAD") else _SLOW_DOWN))
            await writer.drain()
            return True
        if not self.conditions and any(line.lower().startswith("if-none-match") for line in lines):
            writer.write(b"HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return True
        answer = await self._ask(lines, body)
        if faults.happens(faults.lose):
            self.broken += 1
            return False
        if faults.happens(faults.cut):
            self.broken += 1
            answer = answer[: len(answer) // 2]
        writer.write(answer)
        await writer.drain()
        return False

    async def _ask(self, lines: list[str], body: bytes) -> bytes:
        """The server's whole answer. Its connection ends with it, so ours must, too."""
        kept = [line for line in lines if not line.lower().startswith("connection:")]
        head = "\r\n".join([kept[0], "Connection: close", *kept[1:]])
        reader, writer = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            writer.write(head.encode("latin-1") + body)
            await writer.drain()
            return await reader.read()
        finally:
            writer.close()


def _length(lines: list[str]) -> int:
    for line in lines:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return int(value)
    return 0


@contextmanager
def start_proxy(target: int, *, port: int = 0) -> Iterator[Proxy]:
    """A proxy in a thread of its own, on any port that is free; without faults until it is given
    some.
    """
    proxy, loop, ready = Proxy(target), asyncio.new_event_loop(), threading.Event()
    ended = asyncio.Event()

    async def live() -> None:
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", port, limit=_HEAD)
        proxy.port = server.sockets[0].getsockname()[1]
        ready.set()
        await ended.wait()
        server.close()
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(live(),))
    thread.start()
    ready.wait(60)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(60)
        loop.close()
