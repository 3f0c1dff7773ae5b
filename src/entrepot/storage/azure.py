"""Azure Blob Storage.

Parts of an upload are blocks, staged beside the blob that they are to become; Azure forgets those
that nobody commits for a week. Their ids say when the upload was begun and by whom.
"""

import asyncio
import io
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from secrets import token_hex
from typing import Any, Final, TypeVar

import aiohttp
from azure.core import MatchConditions
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob import BlobBlock
from azure.storage.blob.aio import BlobClient, BlobServiceClient, ContainerClient

from entrepot.config.schema_objects import AzureDriver
from entrepot.storage.azure_access import (
    AzureAccess,
    access_by_key,
    access_by_secret,
    ambient_access,
)
from entrepot.storage.errors import StorageError, StorageSettingError
from entrepot.storage.objects import Entry, Unfinished
from entrepot.storage.retries import PASSING, PassingError, Retries, asked_to_wait

T = TypeVar("T")

_AT_ONCE: Final = 16
"""Deletions that run side by side."""

_COPIED_AT_ONCE: Final = 256 * 1_048_576
"""Bytes that Azure copies while we wait; it copies larger blobs when it likes to."""

_SOURCE_SECONDS: Final = 24 * 3600
"""How long Azure may read the source of a copy."""

_LONGEST_POLL: Final = 5.0

_READ: Final = 64 * 1_048_576
_WRITTEN: Final = 4000 * 1_048_576
"""Bytes of one request."""

_BLOCK: Final = re.compile(r"(([0-9a-f]{8})[0-9a-f]{8})-\d{5}-[0-9a-f]{16}")

_CONTAINER_CODES: Final = {"ContainerNotFound", "InvalidResourceName", "OutOfRangeInput"}
_ACCESS_CODES: Final = {
    "AuthenticationFailed",
    "AuthorizationFailure",
    "AuthorizationPermissionMismatch",
    "InsufficientAccountPermissions",
    "InvalidAuthenticationInfo",
    "NoAuthenticationInformation",
}


class AzureAnswerError(StorageError):
    """What the store refused; `code` is its word for the reason."""

    def __init__(self, message: str, *, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class _Transport(AioHttpTransport):  # type: ignore[misc]  # it has no type there
    """Sends large bodies piece by piece, so that others have their turn."""

    async def send(self, request: Any, **options: Any) -> Any:
        if isinstance(request.data, bytes):
            request.data = io.BytesIO(request.data)
        return await super().send(request, **options)


class AzureClient:
    """An `ObjectClient` and a `MultipartClient`. `url` is the account's. A copy that Azure has put
    off is looked at every `poll` seconds and longer, `polls` times (0: until it is done).
    """

    least = 1
    most = 50_000

    def __init__(
        self,
        container: str,
        *,
        url: str,
        access: AzureAccess,
        poll: float = 0.1,
        polls: int = 0,
        connections: int = 100,
        retries: Retries | None = None,
        observe: Callable[[str, float], None] = lambda _action, _seconds: None,
    ) -> None:
        if access.gives_tokens and not url.startswith("https:"):
            raise StorageSettingError("serviceurl", "without an account key it must be https")
        self._name = container
        self._url = url
        self._access = access
        self._poll = poll
        self._polls = polls
        self._connections = connections
        self._retries = retries or Retries()
        self._observe = observe
        self._open: BlobServiceClient | None = None

    # Objects ------------------------------------------------------------------------------------

    async def read(self, key: str, *, start: int = 0, length: int | None = None) -> bytes | None:
        if length == 0:
            return None if await self.size(key) is None else b""

        async def call() -> bytes:
            got = await self._blob(key).download_blob(offset=start, length=length)
            return await got.readall()

        try:
            return await self._ask("GetContent", call)
        except AzureAnswerError as error:
            if error.status == 416:
                return b""
            if error.status == 404:
                return None
            raise

    async def size(self, key: str) -> int | None:
        found = await self._properties(key)
        return None if found is None else int(found.size)

    async def put(self, key: str, data: bytes) -> None:
        blob = self._blob(key)
        await self._replace(
            key, lambda: self._ask("PutContent", lambda: blob.upload_blob(data, overwrite=True))
        )

    async def create(self, key: str, data: bytes) -> None:
        blob = self._blob(key)
        try:
            await self._ask("PutContent", lambda: blob.upload_blob(data, overwrite=False))
        except AzureAnswerError as error:
            if error.status not in (409, 412):
                raise

    async def copy(self, source: str, target: str, *, size: int) -> None:
        url = await self.address(source, seconds=_SOURCE_SECONDS)
        at_once = url is not None and size <= _COPIED_AT_ONCE
        url = url or self._blob(source).url
        options: dict[str, Any] = {"requires_sync": True} if at_once else {}

        async def start() -> bool:
            begun = await self._blob(target).start_copy_from_url(url, **options)
            return begun["copy_status"] == "success"

        try:
            if await self._replace(target, lambda: self._ask("Move", start)):
                return
        except AzureAnswerError as error:
            if error.code != "PendingCopyOperation":
                raise
        await self._copied(target)

    async def _copied(self, target: str) -> None:
        """Wait until a copy is done."""
        looked = 0
        while True:
            found = await self._properties(target)
            state = None if found is None else found.copy
            if state is None or state.status != "pending":
                break
            if self._polls and looked >= self._polls:
                await self._ask("Move", partial(self._blob(target).abort_copy, state.id))
                raise StorageError(f"{target} was not copied in time")
            looked += 1
            await asyncio.sleep(min(_LONGEST_POLL, self._poll * looked))
        if state is None or state.status != "success":
            reason = None if state is None else state.status_description
            raise StorageError(f"{target} could not be copied: {reason or 'it is gone'}")

    async def _replace(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        """Write a blob. One of another kind, as `registry:2` wrote them, must be removed before."""
        try:
            return await work()
        except AzureAnswerError as error:
            if error.code != "InvalidBlobType":
                raise
        await self._delete(key)
        return await work()

    async def delete(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), _AT_ONCE):
            asked = [self._delete(key) for key in keys[start : start + _AT_ONCE]]
            for failure in await asyncio.gather(*asked, return_exceptions=True):
                if failure is not None:
                    raise failure

    async def _delete(self, key: str, **conditions: Any) -> None:
        blob = self._blob(key)
        try:
            await self._ask("Delete", lambda: blob.delete_blob("include", **conditions))
        except AzureAnswerError as error:
            if error.status not in (404, 412):
                raise

    async def entries(self, prefix: str, *, after: str = "") -> AsyncIterator[Entry]:
        options = {"start_from": after} if after else {}
        async for found in self._list(prefix, **options):
            if found.name > after:
                yield Entry(found.name, found.size, found.last_modified.timestamp())

    async def address(self, key: str, *, seconds: int, method: str = "GET") -> str | None:  # noqa: ARG002
        """The same for every method that reads."""
        service = self._service()
        signed = await self._access.sign(service, self._name, key, seconds=seconds)
        return None if signed is None else f"{self._blob(key).url}?{signed}"

    async def close(self) -> None:
        if self._open is not None:
            await self._open.close()
            self._open = None
        await self._access.close()

    # Parts --------------------------------------------------------------------------------------

    async def begin(self, key: str) -> str:  # noqa: ARG002
        """Nothing is written before the first part."""
        return f"{int(time.time()):08x}{token_hex(4)}"

    async def put_part(self, key: str, token: str, number: int, data: bytes) -> str:
        """Every writing has a name of its own, so nobody writes over a part that has a mark."""
        mark = f"{token}-{number:05}-{token_hex(8)}"
        blob = self._blob(key)
        await self._ask("Writer", lambda: blob.stage_block(mark, data))
        return mark

    async def complete(self, key: str, token: str, marks: Sequence[str]) -> None:  # noqa: ARG002
        """Azure drops every other block of that blob, those of other uploads to it, too."""
        blocks = [BlobBlock(mark) for mark in marks]
        blob = self._blob(key)
        await self._ask("Writer", lambda: blob.commit_block_list(blocks))

    async def abort(self, key: str, token: str) -> None:
        """Blocks go away when their blob is written; if that can't be, Azure drops them later."""
        if await self._tokens(key) != {token} or await self.size(key) is not None:
            return
        blob = self._blob(key)
        empty = await self._ask("Writer", lambda: blob.commit_block_list([]))
        await self._delete(key, etag=empty["etag"], match_condition=MatchConditions.IfNotModified)

    async def unfinished(self, prefix: str) -> AsyncIterator[Unfinished]:
        async for found in self._list(prefix, include=["uncommittedblobs"]):
            if found.size == 0:
                for token in sorted(await self._tokens(found.name)):
                    yield Unfinished(found.name, token, float(int(token[:8], 16)))

    async def _tokens(self, key: str) -> set[str]:
        """Return the uploads to a blob that have blocks which nobody committed."""
        blob = self._blob(key)
        try:
            _, blocks = await self._ask("List", lambda: blob.get_block_list("uncommitted"))
        except AzureAnswerError as error:
            if error.status == 404:
                return set()
            raise
        matches = (_BLOCK.fullmatch(block.id) for block in blocks)
        return {match[1] for match in matches if match}

    # Requests -----------------------------------------------------------------------------------

    def _service(self) -> BlobServiceClient:
        if self._open is not None:
            return self._open
        tls = ssl.create_default_context() if self._url.startswith("https:") else True
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, ssl=tls),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=True,
        )
        self._open = BlobServiceClient(
            self._url,
            self._access.credential,
            transport=_Transport(session=session, session_owner=True),
            retry_total=0,
            connection_timeout=10,
            read_timeout=60,
            max_single_get_size=_READ,
            max_chunk_get_size=_READ,
            max_single_put_size=_WRITTEN,
        )
        return self._open

    def _container(self) -> ContainerClient:
        return self._service().get_container_client(self._name)

    def _blob(self, key: str) -> BlobClient:
        return self._container().get_blob_client(key)

    async def _properties(self, key: str) -> Any:
        blob = self._blob(key)
        try:
            return await self._ask("Stat", blob.get_blob_properties)
        except AzureAnswerError as error:
            if error.status == 404:
                return None
            raise

    async def _list(self, prefix: str, **options: Any) -> AsyncIterator[Any]:
        """Yield blobs; a page that failed is asked for again."""
        token: str | None = None
        while True:
            listing = self._container().list_blobs(name_starts_with=prefix, **options)
            pages: Any = listing.by_page(token)

            async def page(pages: Any = pages) -> list[Any]:
                return [found async for found in await anext(pages)]

            for found in await self._ask("List", page):
                yield found
            token = pages.continuation_token
            if not token:
                return

    async def _ask(self, action: str, call: Callable[[], Awaitable[T]]) -> T:
        async def attempt() -> T:
            began = time.perf_counter()
            try:
                return await call()
            except AzureError as error:
                raise self._converted(error) from error
            finally:
                self._observe(action, time.perf_counter() - began)

        return await self._retries.run(attempt)

    def _converted(self, error: AzureError) -> StorageError:
        """Return what the store answered, as an error of ours."""
        message = error.message.split("\n")[0][:300]
        if not isinstance(error, HttpResponseError) or error.status_code is None:
            if isinstance(error, ClientAuthenticationError):
                return StorageSettingError(self._access.setting, message)
            if isinstance(error.inner_exception, aiohttp.ClientSSLError):
                return StorageError(f"no TLS with {self._url}: {message}")
            return PassingError(f"{self._url} can't be reached: {message}")
        found = getattr(error, "error_code", None)
        code = str(getattr(found, "value", found) or "")
        text = f"Azure answered {error.status_code} {code}".strip() + f": {message}"
        if error.status_code in PASSING:
            headers = getattr(error.response, "headers", {})
            return PassingError(text, after=asked_to_wait(headers.get("Retry-After")))
        if code in _CONTAINER_CODES:
            return StorageSettingError("container", text)
        if code in _ACCESS_CODES or isinstance(error, ClientAuthenticationError):
            return StorageSettingError(self._access.setting, text)
        return AzureAnswerError(text, status=error.status_code, code=code)


def open_azure(
    config: AzureDriver, *, observe: Callable[[str, float], None], retries: Retries | None = None
) -> AzureClient:
    """Return the client that is configured.

    Raises:
        StorageSettingError: the credentials can't be used.
    """
    who, account = config.credentials, config.accountname
    if config.accountkey:
        access = access_by_key(account, config.accountkey)
    elif who.type == "client_secret":
        access = access_by_secret(
            account, tenant=who.tenantid, client=who.clientid, secret=who.secret
        )
    else:
        access = ambient_access(account)
    return AzureClient(
        config.container,
        url=config.serviceurl or f"https://{account}.blob.{config.realm}",
        access=access,
        poll=config.copy_status_poll_delay,
        polls=config.copy_status_poll_max_retry,
        retries=retries or Retries(times=config.max_retries, delay=config.retry_delay),
        observe=observe,
    )
