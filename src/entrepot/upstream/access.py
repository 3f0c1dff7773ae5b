"""Who we are for another registry: nothing, Basic, or tokens (distribution's token specification).

Credentials go to the registry's own host, and to hosts that are named to give tokens for it; never
to one that only the registry's answer names, which an attacker may have written (CVE-2026-33540).
"""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from entrepot.upstream.address import UpstreamAddress, is_address, origin, without_query
from entrepot.upstream.challenges import Challenge
from entrepot.upstream.errors import UpstreamContentError, UpstreamRefusedError
from entrepot.upstream.options import Credentials, UpstreamOptions

KNOWN_TOKEN_HOSTS: Final = {"registry-1.docker.io": frozenset({"auth.docker.io"})}
"""Registry -> hosts that are known to give tokens for it."""

_LIFETIME: Final = 60
"""Seconds that a token is good for if its giver doesn't say."""

_MARGIN: Final = 10
"""Seconds before its end in which a token is not used any more."""

Fetch = Callable[[str, str | None], Awaitable[bytes]]
"""Gets an address, with an `Authorization` header if there is one."""


class _TokenAsk(NamedTuple):
    realm: str
    service: str
    scope: str


class _Token(NamedTuple):
    value: str
    until: float


class _TokenAnswer(msgspec.Struct):
    token: str = ""
    access_token: str = ""
    expires_in: int = 0


class Access:
    """What is sent as `Authorization`, by what a request is for: a repository, or "" for others."""

    def __init__(self, address: UpstreamAddress, options: UpstreamOptions, fetch: Fetch) -> None:
        self._address = address
        self._credentials = options.credentials
        known = KNOWN_TOKEN_HOSTS.get(address.hostname, frozenset())
        self._token_hosts = options.token_hosts | known | {address.hostname}
        self._fetch = fetch
        self._basic: str | None = None
        self._asks: dict[str, _TokenAsk] = {}
        self._tokens: dict[_TokenAsk, _Token] = {}
        self._lock = asyncio.Lock()

    def known(self, purpose: str) -> str | None:
        """Return what is known to be right, so that it needn't be asked for."""
        ask = self._asks.get(purpose)
        token = self._tokens.get(ask) if ask else None
        if token is not None and token.until > time.monotonic():
            return f"Bearer {token.value}"
        return self._basic

    async def answer(
        self, purpose: str, challenges: Sequence[Challenge], *, refused: str | None
    ) -> str:
        """Return what the challenges ask for, which is not what was `refused`.

        Raises:
            UpstreamRefusedError: we have nothing that the registry wants, or that it should get.
            UpstreamError: the giver of tokens failed.
        """
        for challenge in challenges:
            if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
                return await self._bearer(purpose, challenge, refused)
        if not any(challenge.scheme == "basic" for challenge in challenges):
            raise UpstreamRefusedError(
                f"{self._address.host} asks for a login of a kind that is not supported"
            )
        if self._credentials is None:
            raise UpstreamRefusedError(f"{self._address.host} asks for a user and a password")
        self._basic = _basic(self._credentials)
        if refused == self._basic:
            raise self._wrong()
        return self._basic

    async def _bearer(self, purpose: str, challenge: Challenge, refused: str | None) -> str:
        parameters = challenge.parameters
        ask = _TokenAsk(
            parameters["realm"], parameters.get("service", ""), parameters.get("scope", "")
        )
        async with self._lock:
            token = self._tokens.get(ask)
            if (
                token is None
                or token.until <= time.monotonic()
                or f"Bearer {token.value}" == refused
            ):
                token = await self._ask(ask)
            self._tokens[ask] = token
            self._asks[purpose] = ask
        return f"Bearer {token.value}"

    async def _ask(self, ask: _TokenAsk) -> _Token:
        self._check(ask.realm)
        parts = urlsplit(ask.realm)
        query = parse_qsl(parts.query)
        if ask.service:
            query.append(("service", ask.service))
        query += [("scope", scope) for scope in ask.scope.split()]
        if self._credentials is not None:
            query.append(("account", self._credentials.username))
        authorization = _basic(self._credentials) if self._credentials else None
        payload = await self._fetch(parts._replace(query=urlencode(query)).geturl(), authorization)
        try:
            answer = msgspec.json.decode(payload, type=_TokenAnswer)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            answer = _TokenAnswer()
        value = answer.token or answer.access_token
        if not value or not value.isascii() or not value.isprintable():
            raise UpstreamContentError(f"{without_query(ask.realm)} gave no token")
        lifetime = answer.expires_in if answer.expires_in > 0 else _LIFETIME
        return _Token(value, time.monotonic() + max(lifetime - _MARGIN, 1))

    def _check(self, realm: str) -> None:
        """Raise `UpstreamRefusedError` if nothing should be sent there.

        1. It is an address of HTTP without a user in it.
        2. It is encrypted, unless the registry itself isn't and the host is one that we know.
        3. It may have the credentials, if there are any.
        """
        if not is_address(realm):
            raise UpstreamRefusedError(
                f"{self._address.host} sends us to an address that is none for a token"
            )
        scheme, host, _ = origin(realm)
        known = host in self._token_hosts
        if scheme == "http" and (self._address.encrypted or not known):
            raise UpstreamRefusedError(
                f"{self._address.host} sends us to {without_query(realm)} for a token, "
                "which is not encrypted"
            )
        if self._credentials is not None and not known:
            raise UpstreamRefusedError(
                f"{self._address.host} wants the password to be sent to {host}; "
                f"if that is right, name {host} as a host that gives tokens"
            )

    def _wrong(self) -> UpstreamRefusedError:
        return UpstreamRefusedError(f"{self._address.host} refuses this user or password")


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"
