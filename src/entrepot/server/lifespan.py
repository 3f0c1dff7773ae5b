"""The start and the end of an application, by ASGI's lifespan protocol."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from entrepot.server.errors import StartError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Application(Protocol):
    """An ASGI application that can be told what no request tells."""

    draining: bool
    """Set before connections are refused: /readyz says 503 from then on."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection's event stream, or the lifespan of the process."""

    def certificate_refused(self, address: str, reason: str) -> None:
        """Take note that a client at `address` showed a certificate that doesn't count."""


class Lifespan:
    """Runs an application's lifespan: `startup`, then `shutdown`, each once."""

    def __init__(self, application: Application) -> None:
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        self._task = asyncio.ensure_future(self._run(application))

    async def startup(self) -> None:
        """Start the application; raises StartError if it says that it failed, or what it raised."""
        await self._exchange("startup")

    async def shutdown(self) -> None:
        """Let the application finish; raises as `startup` does."""
        await self._exchange("shutdown")

    async def _run(self, application: Application) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.3"}, "state": {}}
        await application(scope, self._events.get, self._answers.put)

    async def _exchange(self, phase: str) -> None:
        await self._events.put({"type": f"lifespan.{phase}"})
        answer = asyncio.ensure_future(self._answers.get())
        await asyncio.wait({answer, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            self._task.result()  # raises what the application raised
            raise StartError(f"the application ended during its {phase}")
        message = answer.result()
        if message["type"] != f"lifespan.{phase}.complete":
            raise StartError(str(message.get("message") or f"the application's {phase} failed"))
