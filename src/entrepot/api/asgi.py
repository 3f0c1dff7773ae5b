"""The ASGI application: from a request to a route, an identity, a handler and back."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from itertools import chain
from typing import Final

import structlog

from entrepot.api.admission import authorize, identify, note_denial, recall
from entrepot.api.context import Context
from entrepot.api.errors import error_response
from entrepot.api.http import Headers, Receive, Request, Response, Scope, Send, empty_response
from entrepot.api.route import Route
from entrepot.api.routes import Router
from entrepot.core.access import Action
from entrepot.core.errors import (
    ClientDisconnectedError,
    CrossSiteError,
    DeniedError,
    EntrepotError,
    HeadersTooLargeError,
    NoSpaceError,
    NotFoundError,
    ProtocolError,
    QuotaExceededError,
    RightsChangedError,
    SizeInvalidError,
    UnauthorizedError,
    UnavailableError,
    UnknownError,
    UnreachableError,
    UnsupportedError,
)
from entrepot.telemetry import Metrics

_log = structlog.get_logger("entrepot.api")

_ALWAYS: Final[Headers] = [
    (b"docker-distribution-api-version", b"registry/2.0"),
    (b"server", b"Entrepot"),
]
_WHOLE: Final = "entrepot.response"
"""An extension of ASGI by our own server: an answer in one message."""


AccessLog = Callable[[Request, int, float, int], None]
"""Told of a request, its status, its seconds and the bytes of its answer."""


class Application:
    """The registry as an ASGI application.

    `refused` are the actions that the configuration rules out, with the reason; `headers` go with
    every answer; `startup` opens the stores in the event loop of the
    server, and `shutdown` closes them.
    """

    def __init__(
        self,
        *,
        router: Router,
        metrics: Metrics,
        refused: dict[Action, str],
        headers: Headers,
        access_log: AccessLog | None,
        startup: Callable[[], Awaitable[Context]],
        shutdown: Callable[[], Awaitable[None]],
    ) -> None:
        self._context: Context
        self._router = router
        self._metrics = metrics
        self._refused = refused
        self._headers = _ALWAYS + headers
        self._access_log = access_log
        self._startup = startup
        self._shutdown = shutdown
        self._running = 0
        self.draining = False
        """Set by the server when no new work shall come: `/readyz` fails from then on."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http":
            await self._serve(Request(scope, receive, idle=self._context.limits.idle), send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    def certificate_refused(self, address: str, reason: str) -> None:
        """Note a client certificate that the server has refused, for the audit log."""
        self._metrics.authentication("certificate", "refused")
        self._context.logins.certificate_refused(address, reason)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            self._context = await self._startup()
        except EntrepotError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._shutdown()
        await send({"type": "lifespan.shutdown.complete"})

    # One request --------------------------------------------------------------------------------

    async def _serve(self, request: Request, send: Send) -> None:
        began = time.perf_counter()
        match = self._router.match(request.path)
        route = match.routes.get(request.method) if match else None
        label = route.label if route else "none"
        self._metrics.started(label)
        self._running += 1
        status, sent = 499, 0
        try:
            if route is None or match is None:
                response = self._unroutable(request, set(match.routes) if match else set())
            else:
                response = await self._respond(request, route, match.fields)
            if response.status >= 400:
                await request.drain()
            status = response.status
            sent = await _send(request, response, self._headers, send)
        except ClientDisconnectedError:
            status = 499
        finally:
            self._running -= 1
            seconds = time.perf_counter() - began
            if label == "blob" and sent:
                self._metrics.blob_bytes("out", sent)
            self._metrics.finished(label, request.method, status, seconds, request.received, sent)
            if self._access_log is not None:
                self._access_log(request, status, seconds, sent)
            request.end()

    def _unroutable(self, request: Request, methods: set[str]) -> Response:
        if not methods:
            return error_response(NotFoundError({"path": request.path[:512]}))
        allowed = ", ".join(sorted(methods | {"OPTIONS"}))
        if request.method == "OPTIONS":
            return empty_response(200, [(b"allow", allowed.encode())])
        error = UnsupportedError({"method": request.method[:32]}, headers={"Allow": allowed})
        return error_response(error)

    async def _respond(self, request: Request, route: Route, fields: tuple[str, ...]) -> Response:
        """Answer a request; every error becomes an answer here, and nowhere else."""
        try:
            if route.action is not Action.PROBE:
                self._admit(request)
                await self._let_in(request, route, fields)
            elif self.draining and route.label == "readyz":
                raise UnavailableError({"reason": "shutting down"})
            try:
                return await route.handler(self._context, request, *fields)
            except RightsChangedError:
                await self._context.access.look()
                await self._let_in(request, route, fields)
                request.as_of = None  # it was decided after the request had come
                return await route.handler(self._context, request, *fields)
        except UnauthorizedError as error:
            return self._challenge(error, request, route, fields)
        except ProtocolError as error:
            return self._refuse(error, request, route, fields)
        except ClientDisconnectedError:
            # Nobody may be left to read this; but a body that broke off looks the same.
            told: ProtocolError = SizeInvalidError({"reason": "the body ended too early"})
        except NoSpaceError as error:
            _log.error("no space left", error=str(error), request_id=request.id)
            told = UnavailableError({"reason": "no space left"}, retry_after=60)
        except UnreachableError as error:
            _log.error("a server that is needed is away", error=str(error), request_id=request.id)
            told = UnavailableError({"request": request.id}, retry_after=2)
        except EntrepotError as error:
            _log.error("request failed", error=str(error), request_id=request.id)
            told = UnavailableError({"request": request.id})
        except Exception:  # noqa: BLE001 - the last line of defence: no traceback in an answer
            _log.exception("request failed unexpectedly", request_id=request.id, path=request.path)
            told = UnknownError({"request": request.id})
        return route.told(self._context, request, told)

    async def _let_in(self, request: Request, route: Route, fields: tuple[str, ...]) -> None:
        """Refuse a request unless whoever sends it may do what the route is for, as of now; a pull
        may be let in by what is known, and the index says with the content if that is old.
        """
        if not route.tells_revision:
            await self._context.access.look()
        if route.action is Action.LOGIN:
            return
        if not recall(self._context, request, route, fields):
            origin = self._context.origins.of(request)
            request.address = origin.address
            await identify(self._context, request, route, origin)
            await authorize(self._context, request, route, fields)
        if route.action in self._refused:
            raise UnsupportedError({"reason": self._refused[route.action]})

    def _admit(self, request: Request) -> None:
        """Refuse a request that is too much: for this moment, or by the size of its headers."""
        if self._running > self._context.limits.requests:
            raise UnavailableError({"reason": "too many requests at once"}, retry_after=1)
        size = sum(map(len, chain.from_iterable(request.headers)))
        if size > self._context.limits.headers:
            raise HeadersTooLargeError({"most": self._context.limits.headers})
        if not self._context.health.healthy:
            raise UnavailableError("health check failed: please see /debug/health")

    def _refuse(
        self, error: ProtocolError, request: Request, route: Route, fields: tuple[str, ...]
    ) -> Response:
        """Refuse a request, and note it if that was after its action had been allowed, or if
        another site sent it with somebody's session, which a login has not yet.
        """
        decision = request.decision
        if isinstance(error, QuotaExceededError):
            self._metrics.quota_refused(*error.quota)
        allowed = decision is not None and decision.allowed
        forged = isinstance(error, CrossSiteError) and route.action is not Action.LOGIN
        if forged or (isinstance(error, DeniedError) and allowed):
            note_denial(self._context, request, route, fields, error)
        return route.told(self._context, request, error)

    def _challenge(
        self, error: UnauthorizedError, request: Request, route: Route, fields: tuple[str, ...]
    ) -> Response:
        """Ask for credentials, and say for what, as `registry:2` does."""
        challenge = self._context.authenticator.challenge
        if self._context.challenges is not None:
            name = fields[0] if fields else None
            challenge = self._context.challenges.to(request, error, route.action, name)
        if challenge is not None:
            error.headers["WWW-Authenticate"] = challenge
        if error.detail is None:
            error.detail = _needed(route, fields)
        return route.told(self._context, request, error)


def _needed(route: Route, fields: tuple[str, ...]) -> list[dict[str, str]] | None:
    if route.action is Action.LIST:
        return [{"Type": "registry", "Class": "", "Name": "catalog", "Action": "*"}]
    if not fields:
        return None
    actions = ("pull", "push") if route.action is Action.PUSH else (route.action.value,)
    return [
        {"Type": "repository", "Class": "", "Name": fields[0], "Action": action}
        for action in actions
    ]


async def _send(request: Request, response: Response, headers: Headers, send: Send) -> int:
    """Send an answer and return the bytes of its body; stop when nobody reads it any more."""
    status, told = response.status, response.headers + headers
    body = b"" if request.method == "HEAD" else response.body
    if isinstance(body, bytes) and _WHOLE in request.scope.get("extensions", ()):
        await send({"type": _WHOLE, "status": status, "headers": told, "body": body})
        return len(body)
    await send({"type": "http.response.start", "status": status, "headers": told})
    if isinstance(body, bytes):
        await send({"type": "http.response.body", "body": body})
        return len(body)
    return await _stream(request, body, send)


async def _stream(request: Request, body: AsyncIterator[bytes], send: Send) -> int:
    sent = 0
    gone = asyncio.ensure_future(request.disconnected())
    try:
        async for piece in body:
            if gone.done():
                raise ClientDisconnectedError("the client went away")
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            sent += len(piece)
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone
        await body.aclose()  # type: ignore[attr-defined]
    return sent
