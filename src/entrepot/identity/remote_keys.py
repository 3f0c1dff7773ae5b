"""Trusted keys that a server has: a key set at a URL, or what an OpenID Connect issuer says."""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from entrepot.core.errors import UnreachableError
from entrepot.identity.errors import IdentityError
from entrepot.identity.key_sources import KeySource, Refreshed
from entrepot.identity.keys import LARGEST_SET, TrustedKeys, read_key_set

_TIMEOUT: Final = 10.0


def key_set_url(url: str, *, every: float, cafile: str = "") -> KeySource:
    """Return the keys of a key set that a server has."""

    async def load() -> TrustedKeys:
        return read_key_set(await fetch(url, cafile=cafile))

    return Refreshed(load, name=url, every=every)


def discovered(issuer: str, *, every: float, cafile: str = "") -> KeySource:
    """Return the keys of an issuer as OpenID Connect Discovery 1.0 finds them."""

    async def load() -> TrustedKeys:
        address = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        address_of_keys = key_set_address(await fetch(address, cafile=cafile), issuer=issuer)
        return read_key_set(await fetch(address_of_keys, cafile=cafile))

    return Refreshed(load, name=issuer, every=every)


def key_set_address(document: bytes, *, issuer: str) -> str:
    """Return where an issuer's keys are, by its discovery document. Raises `IdentityError`.

    The document must be the issuer's own (Discovery 1.0, 4.3), and an issuer that speaks https has
    its keys at an https address.
    """
    try:
        found = msgspec.json.decode(document)
        said, address = str(found["issuer"]), str(found["jwks_uri"])
    except (msgspec.DecodeError, RecursionError, KeyError, TypeError) as error:
        raise IdentityError("not a discovery document") from error
    if said != issuer:
        raise IdentityError("the discovery document is another issuer's")
    if urlsplit(issuer).scheme == "https" and urlsplit(address).scheme != "https":
        raise IdentityError("the discovery document leads to keys without https")
    return address


async def fetch(url: str, *, cafile: str) -> bytes:
    """Return what is at `url`. Redirects are not followed: keys come from where was configured.

    Raises:
        UnreachableError: the server is away, or answers otherwise than with the thing.
        IdentityError: it is too large.
    """
    status, content = await send("GET", url, cafile=cafile)
    if status != 200:
        raise UnreachableError(f"{url} answered {status}")
    return content


async def send(
    method: str,
    url: str,
    *,
    cafile: str,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """Return the status and the body of the answer to a request. Redirects are not followed.

    Raises:
        UnreachableError: the server is away.
        IdentityError: the answer is too large.
    """
    trusted: ssl.SSLContext | bool = True
    try:
        if cafile:
            trusted = await asyncio.to_thread(ssl.create_default_context, cafile=cafile)
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.request(
                method, url, data=form, headers=headers, allow_redirects=False, ssl=trusted
            ) as answer,
        ):
            content = await answer.content.read(LARGEST_SET + 1)
            while len(content) <= LARGEST_SET and not answer.content.at_eof():
                content += await answer.content.read(LARGEST_SET + 1 - len(content))
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise UnreachableError(f"{url} can't be reached: {error}") from error
    if len(content) > LARGEST_SET:
        raise IdentityError(f"{url} has more than {LARGEST_SET} bytes")
    return answer.status, content
