"""Requests to another registry: logins, redirects, repetitions, limits."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, TypeVar

import httpx
import msgspec

from entrepot.upstream.access import Access
from entrepot.upstream.address import UpstreamAddress, joined, origin, without_query
from entrepot.upstream.challenges import parse_challenges
from entrepot.upstream.errors import (
    UpstreamContentError,
    UpstreamError,
    UpstreamRefusedError,
    UpstreamUnreachableError,
)
from entrepot.upstream.options import UpstreamOptions
from entrepot.upstream.patience import PASSING, Patience, asked_to_wait

T = TypeVar("T")

BROKEN: Final = (httpx.TransportError, ssl.SSLError)
"""What is raised when a connection breaks, or was none; the second after TLS was agreed on."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS: Final = 5
_TOKEN_SIZE: Final = 1_048_576
_PROBLEM_SIZE: Final = 65_536
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Ask:
    """A request: what for (a repository, or ""), and which statuses besides 200 are answers."""

    method: str
    url: str
    purpose: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    expected: frozenset[int] = frozenset({404})

    @property
    def shown(self) -> str:
        return f"{self.method} {without_query(self.url)}"


class Connection:
    """Connections to one registry, and to where it redirects to. Close it in the end."""

    def __init__(self, address: UpstreamAddress, options: UpstreamOptions) -> None:
        self._address = address
        self._options = options
        self._origin = origin(address.url)
        self._access = Access(address, options, self._fetch_token)
        self._client = httpx.AsyncClient(
            verify=options.tls.context(),
            timeout=httpx.Timeout(options.timeout, connect=min(options.timeout, 10.0), pool=None),
            limits=httpx.Limits(max_connections=options.connections),
            headers={"Accept-Encoding": "identity", "User-Agent": "entrepot"},
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    def patience(self) -> Patience:
        """Return a new count of attempts."""
        return Patience(self._options.attempts, self._options.pause)

    async def perform(self, ask: Ask, use: Callable[[httpx.Response], Awaitable[T]]) -> T:
        """Return what `use` makes of the answer; both are done again if the connection breaks.

        Raises:
            UpstreamError: there is no answer that is expected.
        """
        patience = self.patience()
        while True:
            try:
                async with self.opened(ask, patience) as response:
                    return await use(response)
            except BROKEN as error:
                await patience.wait(self._about(error, ask))

    @asynccontextmanager
    async def opened(self, ask: Ask, patience: Patience) -> AsyncIterator[httpx.Response]:
        """An answer whose body is still to come, asked for again while the registry is unwell.

        Raises:
            BROKEN: the connection broke while the body was read.
            UpstreamError: there is no answer that is expected.
        """
        response = await self._asked(ask, patience)
        try:
            if response.status_code != HTTPStatus.OK and response.status_code not in ask.expected:
                raise await self._refusal(response, ask)
            yield response
        finally:
            await response.aclose()

    async def _asked(self, ask: Ask, patience: Patience) -> httpx.Response:
        while True:
            try:
                response = await self._logged_in(ask)
            except BROKEN as error:
                if _is_distrust(error):
                    raise UpstreamUnreachableError(self._about(error, ask)) from error
                await patience.wait(self._about(error, ask))
                continue
            if response.status_code not in PASSING:
                return response
            asked = asked_to_wait(response.headers.get("retry-after"))
            await response.aclose()
            await patience.wait(f"{ask.shown} was answered {_named(response)}", asked=asked)

    async def _logged_in(self, ask: Ask) -> httpx.Response:
        sent = self._access.known(ask.purpose)
        response = await self._follow(ask, sent)
        # A token may have ended just now: then the first answer brings another challenge.
        for _ in range(2):
            if response.status_code != HTTPStatus.UNAUTHORIZED or not self._is_own(response):
                break
            challenges = parse_challenges(response.headers.get_list("www-authenticate"))
            await response.aclose()
            if not challenges:
                break
            sent = await self._access.answer(ask.purpose, challenges, refused=sent)
            response = await self._follow(ask, sent)
        return response

    def _is_own(self, response: httpx.Response) -> bool:
        return origin(str(response.url)) == self._origin

    async def _follow(self, ask: Ask, authorization: str | None) -> httpx.Response:
        """Send a request and follow redirects; only the registry itself gets `authorization`."""
        url = ask.url
        for _ in range(_MOST_REDIRECTS + 1):
            headers = dict(ask.headers)
            if authorization is not None and origin(url) == self._origin:
                headers["Authorization"] = authorization
            request = self._client.build_request(ask.method, url, headers=headers)
            response = await self._client.send(request, stream=True)
            if response.status_code not in _REDIRECTS:
                return response
            await response.aclose()
            url = self._redirected(url, response)
        raise UpstreamContentError(f"{ask.shown} is redirected again and again")

    def _redirected(self, url: str, response: httpx.Response) -> str:
        target = joined(url, response.headers.get("location", ""))
        if target is None:
            raise UpstreamContentError(f"{without_query(url)} is redirected to no address")
        if url.startswith("https:") and target.startswith("http:"):
            raise UpstreamContentError(
                f"{without_query(url)} is redirected to {without_query(target)}, "
                "which is not encrypted"
            )
        return target

    async def _fetch_token(self, url: str, authorization: str | None) -> bytes:
        """Get a token. Redirects are not followed: the credentials are meant for this address."""
        patience = self.patience()
        headers = {"Authorization": authorization} if authorization else {}
        shown = f"GET {without_query(url)}"
        while True:
            request = self._client.build_request("GET", url, headers=headers)
            try:
                response = await self._client.send(request, stream=True)
                try:
                    if response.status_code == HTTPStatus.OK:
                        return await read(response, limit=_TOKEN_SIZE)
                finally:
                    await response.aclose()
            except BROKEN as error:
                problem, asked = f"{shown}: {_reason(error)}", 0.0
            else:
                problem = f"{shown} was answered {_named(response)}"
                if response.status_code in {401, 403}:
                    raise UpstreamRefusedError(f"{problem}: no token for this user or password")
                if response.status_code not in PASSING:
                    raise UpstreamError(problem)
                asked = asked_to_wait(response.headers.get("retry-after"))
            await patience.wait(problem, asked=asked)

    def _about(self, error: Exception, ask: Ask) -> str:
        hint = ""
        if _is_distrust(error):
            hint = "; name a file with the authority that signed its certificate"
        return f"{ask.shown}: {_reason(error)}{hint}"

    async def _refusal(self, response: httpx.Response, ask: Ask) -> UpstreamError:
        said = ""
        if not response.is_closed:
            try:
                said = _said(await read(response, limit=_PROBLEM_SIZE))
            except (*BROKEN, UpstreamContentError):
                said = ""
        problem = f"{ask.shown} was answered {_named(response)}{said}"
        if response.status_code in {401, 403}:
            return UpstreamRefusedError(problem)
        return UpstreamError(problem)


async def read(response: httpx.Response, *, limit: int) -> bytes:
    """Return a body of at most `limit` bytes, or raise `UpstreamContentError` if there are more."""
    pieces: list[bytes] = []
    size = 0
    async for piece in response.aiter_raw():
        size += len(piece)
        if size > limit:
            raise UpstreamContentError(
                f"{without_query(str(response.url))} is longer than {limit} bytes"
            )
        pieces.append(piece)
    return b"".join(pieces)


class _Error(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Errors(msgspec.Struct):
    errors: list[_Error] = []


def _said(body: bytes) -> str:
    """Return what the body of an error says, as far as it is fit to be shown."""
    try:
        errors = msgspec.json.decode(body, type=_Errors).errors
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    if not errors:
        return ""
    text = f"{errors[0].code} {errors[0].message}"[:_SHOWN]
    return ": " + "".join(c if c.isprintable() else "?" for c in text).strip()


def _named(response: httpx.Response) -> str:
    try:
        return f"{response.status_code} {HTTPStatus(response.status_code).phrase}"
    except ValueError:
        return str(response.status_code)


def _is_distrust(error: BaseException) -> bool:
    """Whether the reason is a certificate, which waiting doesn't mend."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return str(error) or "the connection broke"
