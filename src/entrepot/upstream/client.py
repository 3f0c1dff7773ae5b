"""What can be asked of another registry (distribution-spec 1.1.1). Whatever has a digest is
compared with it; whatever has no limit gets one.
"""

import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

import httpx
import msgspec

from entrepot.core.digest import Digest
from entrepot.core.errors import DigestInvalidError
from entrepot.core.manifest import DOCKER_SCHEMA1, MEDIA_TYPES
from entrepot.core.names import Reference, RepositoryName
from entrepot.upstream.address import UpstreamAddress, joined, origin, without_query
from entrepot.upstream.connection import BROKEN, Ask, Connection, read
from entrepot.upstream.errors import UpstreamContentError, UpstreamError
from entrepot.upstream.options import UpstreamOptions

_ACCEPT: Final = {"Accept": ", ".join(sorted(MEDIA_TYPES))}
_PIECE: Final = 262_144
_LIST_SIZE: Final = 33_554_432
_MOST_PAGES: Final = 100_000
_PAGE: Final = 1000
_NEXT: Final = re.compile(r"<([^<>]*)>\s*;[^,]*\brel\s*=\s*\"?next\"?", re.IGNORECASE)
_UNSUPPORTED: Final = frozenset({400, 404, 405, 501})
"""What registries without the referrers API answer."""


@dataclass(frozen=True, slots=True)
class FetchedManifest:
    """A manifest whose bytes have this digest, and the media type that the registry gave it."""

    digest: Digest
    content_type: str | None
    payload: bytes


class _Names(msgspec.Struct):
    repositories: list[str] | None = None
    tags: list[str] | None = None


class _Listed(msgspec.Struct):
    digest: str


class _Referrers(msgspec.Struct):
    manifests: list[_Listed] | None = None


class Upstream:
    """Another registry. Every method raises `UpstreamError`."""

    def __init__(self, address: UpstreamAddress, options: UpstreamOptions) -> None:
        self.address = address
        self._options = options
        self._connection = Connection(address, options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def check(self) -> None:
        """Raise what stands in the way of asking anything: no registry, or none that lets us in."""
        ask = Ask("GET", f"{self.address.url}/v2/", expected=frozenset())
        await self._connection.perform(ask, _nothing)

    async def find_digest(self, name: RepositoryName, reference: Reference) -> Digest | None:
        """Return the digest of a manifest, or None if there is none by that tag or digest."""
        url = f"{self._repository(name)}/manifests/{reference}"
        expected = frozenset({404, 405})
        ask = Ask("HEAD", url, name, _ACCEPT, expected)

        async def digest(response: httpx.Response) -> tuple[int, str]:
            return response.status_code, response.headers.get("docker-content-digest", "")

        status, text = await self._connection.perform(ask, digest)
        if status == 404:
            return None
        if status == 200 and text:
            return _digest(text, url)
        found = await self.get_manifest(name, reference)
        return None if found is None else found.digest

    async def get_manifest(
        self, name: RepositoryName, reference: Reference
    ) -> FetchedManifest | None:
        """Return a manifest, or None if there is none by that tag or digest."""
        url = f"{self._repository(name)}/manifests/{reference}"

        async def manifest(response: httpx.Response) -> FetchedManifest | None:
            if response.status_code == 404:
                return None
            content_type = response.headers.get("content-type")
            if content_type is not None and content_type.partition(";")[0] in DOCKER_SCHEMA1:
                raise UpstreamContentError(f"{url} is of schema 1, which is not supported")
            payload = await read(response, limit=self._options.manifest_size)
            promised = response.headers.get("docker-content-digest")
            digest = Digest.of(payload)
            for named in (promised and _digest(promised, url), reference):
                if isinstance(named, Digest):
                    digest = Digest.of(payload, algorithm=named.algorithm)
                    if digest != named:
                        raise UpstreamContentError(f"{url} has the digest {digest}")
            return FetchedManifest(digest, content_type, payload)

        return await self._connection.perform(Ask("GET", url, name, _ACCEPT), manifest)

    async def blob(
        self, name: RepositoryName, digest: Digest, *, size: int
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a blob, which are `size` in all. What was yielded is right only if it
        comes to its end. When the connection breaks it is taken up again where it was.
        """
        url = f"{self._repository(name)}/blobs/{digest}"
        running = hashlib.new(digest.algorithm)
        patience = self._connection.patience()
        received = 0
        while received < size or size == 0:
            problem, before = f"{url}: the connection ended early", received
            headers = {"Range": f"bytes={received}-"} if received else {}
            ask = Ask("GET", url, name, headers, frozenset({206}))
            try:
                async with self._connection.opened(ask, patience) as response:
                    surplus = received - _start(response, received)
                    async for whole in response.aiter_raw(_PIECE):
                        piece = whole[surplus:]
                        surplus = max(surplus - len(whole), 0)
                        received += len(piece)
                        if received > size:
                            raise UpstreamContentError(f"{url} is longer than {size} bytes")
                        running.update(piece)
                        yield piece
            except BROKEN as error:
                problem = f"{url}: {str(error) or 'the connection broke'}"
            if received == size:
                break
            if received - before >= _PIECE:
                patience.renew()
            await patience.wait(problem)
        if f"{digest.algorithm}:{running.hexdigest()}" != digest:
            raise UpstreamContentError(f"{url} has other bytes than its digest says")

    async def repositories(self) -> AsyncIterator[str]:
        """Yield the names in the catalog, as they come."""
        url = f"{self.address.url}/v2/_catalog?n={_PAGE}"
        async for page in self._pages(url, ""):
            for name in _names(page, url).repositories or ():
                yield name

    async def tags(self, name: RepositoryName) -> AsyncIterator[str]:
        """Yield the tags of a repository, as they come; none if there is no such repository."""
        url = f"{self._repository(name)}/tags/list?n={_PAGE}"
        async for page in self._pages(url, name):
            for tag in _names(page, url).tags or ():
                yield tag

    async def referrers(self, name: RepositoryName, subject: Digest) -> list[Digest] | None:
        """Return the manifests that refer to `subject`; None if the registry can't say, so that the
        tag of the referrers tag schema must do.
        """
        url = f"{self._repository(name)}/referrers/{subject}"
        found: list[Digest] = []
        async for page in self._pages(url, name, missing=_UNSUPPORTED):
            if page is None:
                return None
            try:
                listed = msgspec.json.decode(page, type=_Referrers).manifests or ()
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise UpstreamContentError(f"{url} is no list of referrers: {error}") from None
            found += [_digest(entry.digest, url) for entry in listed]
        return found

    def _repository(self, name: RepositoryName) -> str:
        return f"{self.address.url}/v2/{name}"

    async def _pages(
        self, url: str, purpose: str, *, missing: frozenset[int] = frozenset({404})
    ) -> AsyncIterator[bytes | None]:
        """Yield the pages of a list, or None if there is none."""

        async def page(response: httpx.Response) -> tuple[bytes | None, str | None]:
            if response.status_code in missing:
                return None, None
            links = ", ".join(response.headers.get_list("link"))[:8192]
            return await read(response, limit=_LIST_SIZE), links

        seen = 0
        while True:
            body, links = await self._connection.perform(
                Ask("GET", url, purpose, expected=missing), page
            )
            yield body
            following = self._next(url, links or "")
            seen += 1
            if following is None:
                return
            if following == url or seen >= _MOST_PAGES:
                raise UpstreamContentError(f"{without_query(url)} never ends")
            url = following

    def _next(self, url: str, links: str) -> str | None:
        """Return the address of the next page. It is asked of the registry itself, whatever host
        the link names, so that nobody else gets what the registry may get.
        """
        match = _NEXT.search(links)
        if match is None:
            return None
        target = joined(url, match[1])
        if target is None or origin(target)[1] != self.address.hostname:
            raise UpstreamContentError(f"{without_query(url)} goes on at another host")
        own = urlsplit(self.address.url)
        parts = urlsplit(target)
        return parts._replace(scheme=own.scheme, netloc=own.netloc, fragment="").geturl()


async def _nothing(_: httpx.Response) -> None:
    return None


def _digest(text: str, url: str) -> Digest:
    try:
        return Digest.parse(text)
    except DigestInvalidError:
        raise UpstreamContentError(f"{without_query(url)} names a malformed digest") from None


def _names(page: bytes | None, url: str) -> _Names:
    try:
        return _Names() if page is None else msgspec.json.decode(page, type=_Names)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UpstreamContentError(f"{without_query(url)} is no list: {error}") from None


def _start(response: httpx.Response, wanted: int) -> int:
    """Return the position of the first byte of an answer: `wanted`, or 0 if ranges are ignored."""
    if response.status_code == 200:
        return 0
    if response.status_code == 206 and wanted:
        match = re.match(r"bytes (\d{1,19})-", response.headers.get("content-range", ""))
        if match is not None and int(match[1]) == wanted:
            return wanted
        raise UpstreamContentError(f"{without_query(str(response.url))} sends another range")
    raise UpstreamError(f"{without_query(str(response.url))} was answered {response.status_code}")
