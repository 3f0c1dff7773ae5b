"""Google Cloud Storage, by its JSON API.

    KEY                         an object
    KEY.parts/TOKEN/MARK        a part of an upload to KEY, or some of its parts joined

Parts are objects of their own, which `compose` joins 32 at a time. The XML API has multipart
uploads as S3 has them, but no emulator can list them, so cleaning up after them couldn't be tested.
"""

import asyncio
import hashlib
import io
import json
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from msgspec.structs import asdict
from yarl import URL

from entrepot.config.schema_objects import GcsDriver
from entrepot.storage.errors import StorageError, StorageSettingError
from entrepot.storage.gcs_access import (
    GoogleAccess,
    access_by_file,
    access_by_key,
    ambient_access,
)
from entrepot.storage.objects import Entry, Unfinished
from entrepot.storage.retries import PASSING, PassingError, Retries, asked_to_wait

_JOIN: Final = 32
"""Objects that one request joins at most ("compose")."""

_AT_ONCE: Final = 16
"""Deletions that run side by side."""

_ANSWER: Final = 60.0
"""Seconds to wait for the next byte of an answer."""

_PART: Final = re.compile(r"(.+)\.parts/([0-9a-f]{16})/[^/]+")


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class GcsClient:
    """An `ObjectClient` and a `MultipartClient`. `endpoint` is the service's URL without a path;
    `project` pays for requests if the bucket has its readers pay.
    """

    least = 1
    most = 10_000

    def __init__(
        self,
        bucket: str,
        *,
        access: GoogleAccess,
        endpoint: str = "",
        project: str = "",
        user_agent: str = "",
        connections: int = 50,
        retries: Retries | None = None,
        observe: Callable[[str, float], None] = lambda _action, _seconds: None,
    ) -> None:
        self._bucket = quote(bucket, safe="")
        self._access = access
        self._endpoint = (endpoint or f"https://storage.{access.universe}").rstrip("/")
        self._project = project
        self._paying: dict[str, str] = {}
        self._headers = {"User-Agent": user_agent} if user_agent else {}
        self._connections = connections
        self._retries = retries or Retries()
        self._observe = observe
        self._open: aiohttp.ClientSession | None = None

    # Objects ------------------------------------------------------------------------------------

    async def read(self, key: str, *, start: int = 0, length: int | None = None) -> bytes | None:
        if length == 0:
            return None if await self.size(key) is None else b""
        headers = {}
        if start or length is not None:
            headers["Range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
        answer = await self._ask(
            "GetContent",
            "GET",
            self._object(key),
            query={"alt": "media"},
            headers=headers,
            also=(404, 416),
        )
        if answer.status == 404:
            return None
        return b"" if answer.status == 416 else answer.body

    async def size(self, key: str) -> int | None:
        found = await self._stat(key)
        return None if found is None else int(found["size"])

    async def put(self, key: str, data: bytes) -> None:
        await self._write("PutContent", key, data)

    async def create(self, key: str, data: bytes) -> None:
        """As a form of two parts: an emulator looks at no condition of other uploads."""
        form = token_hex(16)
        head = f"--{form}\r\nContent-Type: application/json\r\n\r\n{json.dumps({'name': key})}\r\n"
        head += f"--{form}\r\nContent-Type: application/octet-stream\r\n\r\n"
        await self._ask(
            "PutContent",
            "POST",
            f"/upload/storage/v1/b/{self._bucket}/o",
            query={"uploadType": "multipart", "ifGenerationMatch": "0", "fields": "name"},
            headers={"Content-Type": f"multipart/related; boundary={form}"},
            data=head.encode() + data + f"\r\n--{form}--\r\n".encode(),
            also=(412,),
        )

    async def _write(self, action: str, key: str, data: bytes) -> None:
        await self._ask(
            action,
            "POST",
            f"/upload/storage/v1/b/{self._bucket}/o",
            query={"uploadType": "media", "name": key, "fields": "name"},
            headers={"Content-Type": "application/octet-stream"},
            data=data,
        )

    async def copy(self, source: str, target: str, *, size: int) -> None:  # noqa: ARG002
        """The store does as much as it can in half a minute and says where to go on from."""
        path = f"{self._object(source)}/rewriteTo{self._object(target).removeprefix('/storage/v1')}"
        query = {"fields": "done,rewriteToken"}
        while True:
            answer = (await self._ask("Move", "POST", path, query=query)).json()
            if answer["done"]:
                return
            query["rewriteToken"] = answer["rewriteToken"]

    async def delete(self, keys: Sequence[str]) -> None:
        for some in _in_groups(keys, _AT_ONCE):
            asked = [self._ask("Delete", "DELETE", self._object(k), also=(404,)) for k in some]
            for answer in await asyncio.gather(*asked, return_exceptions=True):
                if isinstance(answer, BaseException):
                    raise answer

    async def entries(self, prefix: str, *, after: str = "") -> AsyncIterator[Entry]:
        query = {"prefix": prefix, "fields": "items(name,size,updated),nextPageToken"}
        if after:
            query["startOffset"] = after
        while True:
            path = f"/storage/v1/b/{self._bucket}/o"
            page = (await self._ask("List", "GET", path, query=query)).json()
            for item in page.get("items", ()):
                if item["name"] > after:
                    yield Entry(item["name"], int(item["size"]), _seconds(item["updated"]))
            if not page.get("nextPageToken"):
                return
            query["pageToken"] = page["nextPageToken"]

    async def address(self, key: str, *, seconds: int, method: str = "GET") -> str | None:
        """A signed URL of version 4, made here if the account's key is known; else Google is asked
        to sign in the account's name.
        """
        email = await self._access.email()
        if email is None:
            return None
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{now[:8]}/auto/storage/goog4_request"
        path = f"/{self._bucket}/{quote(key, safe='/~')}"
        query = urlencode(
            {
                "X-Goog-Algorithm": "GOOG4-RSA-SHA256",
                "X-Goog-Credential": f"{email}/{scope}",
                "X-Goog-Date": now,
                "X-Goog-Expires": str(seconds),
                "X-Goog-SignedHeaders": "host",
                **self._paying,
            },
            quote_via=quote,
            safe="",
        )
        host = urlsplit(self._endpoint).netloc
        asked = f"{method}\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
        hashed = hashlib.sha256(asked.encode()).hexdigest()
        text = f"GOOG4-RSA-SHA256\n{now}\n{scope}\n{hashed}"
        signed = await self._access.sign(text.encode(), email=email, session=self._session())
        if signed is None:
            return None
        return f"{self._endpoint}{path}?{query}&X-Goog-Signature={signed.hex()}"

    async def close(self) -> None:
        if self._open is not None:
            await self._open.close()
            self._open = None

    # Parts --------------------------------------------------------------------------------------

    async def begin(self, key: str) -> str:  # noqa: ARG002
        """Nothing is written before the first part."""
        return token_hex(8)

    async def put_part(self, key: str, token: str, number: int, data: bytes) -> str:
        """Every writing has a name of its own, so nobody writes over a part that has a mark."""
        mark = f"{number:05}-{token_hex(8)}"
        await self._write("Writer", f"{key}.parts/{token}/{mark}", data)
        return mark

    async def complete(self, key: str, token: str, marks: Sequence[str]) -> None:
        folder = f"{key}.parts/{token}/"
        names = [folder + mark for mark in marks]
        try:
            level = 0
            while len(names) > _JOIN:
                level += 1
                groups = _in_groups(names, _JOIN)
                names = [f"{folder}joined-{level}-{n:05}" for n in range(len(groups))]
                for name, group in zip(names, groups, strict=True):
                    await self._compose(name, group, token=token)
            await self._compose(key, names, token=token)
        except StorageError:
            found = await self._stat(key)
            if found is None or found.get("metadata", {}).get("entrepot-upload") != token:
                raise
        await self.abort(key, token)

    async def _compose(self, key: str, sources: Sequence[str], *, token: str) -> None:
        destination = {
            "contentType": "application/octet-stream",
            "metadata": {"entrepot-upload": token},
        }
        body = {"sourceObjects": [{"name": name} for name in sources], "destination": destination}
        await self._ask(
            "Writer",
            "POST",
            f"{self._object(key)}/compose",
            query={"fields": "name"},
            headers={"Content-Type": "application/json"},
            data=json.dumps(body).encode(),
        )

    async def abort(self, key: str, token: str) -> None:
        found = [entry.key async for entry in self.entries(f"{key}.parts/{token}/")]
        await self.delete(found)

    async def unfinished(self, prefix: str) -> AsyncIterator[Unfinished]:
        last: Unfinished | None = None
        async for entry in self.entries(prefix):
            match = _PART.fullmatch(entry.key)
            if match is None:
                continue
            key, token = match.groups()
            if last is not None and (last.key, last.token) == (key, token):
                last = Unfinished(key, token, min(last.begun, entry.modified))
                continue
            if last is not None:
                yield last
            last = Unfinished(key, token, entry.modified)
        if last is not None:
            yield last

    # Requests -----------------------------------------------------------------------------------

    def _object(self, key: str) -> str:
        return f"/storage/v1/b/{self._bucket}/o/{quote(key, safe='')}"

    async def _stat(self, key: str) -> Any:
        """Return the size and metadata of an object, or None if there is no such object."""
        answer = await self._ask(
            "Stat", "GET", self._object(key), query={"fields": "size,metadata"}, also=(404,)
        )
        return None if answer.status == 404 else answer.json()

    def _session(self) -> aiohttp.ClientSession:
        if self._open is None:
            self._open = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_ANSWER),
                headers=self._headers,
                auto_decompress=False,
                trust_env=True,
            )
        return self._open

    async def _ask(
        self,
        action: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        also: Sequence[int] = (),
    ) -> _Answer:
        """Return the answer if it is a success, or one of the statuses in `also`."""

        async def attempt() -> _Answer:
            parameters = {**(query or {}), **self._paying}
            url = f"{self._endpoint}{path}?{urlencode(parameters, quote_via=quote)}"
            began = time.perf_counter()
            try:
                sent = {**(headers or {}), **await self._access.headers()}
                return await self._send(method, url, sent, data, also)
            finally:
                self._observe(action, time.perf_counter() - began)

        return await self._retries.run(attempt)

    async def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: bytes | None,
        also: Sequence[int],
    ) -> _Answer:
        body = None if data is None else io.BytesIO(data)
        try:
            async with self._session().request(
                method, URL(url, encoded=True), headers=headers, data=body
            ) as got:
                answer = _Answer(got.status, await got.read())
                after = asked_to_wait(got.headers.get("Retry-After"))
        except aiohttp.ClientSSLError as error:
            raise StorageError(f"no TLS with {self._endpoint}: {error}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise PassingError(f"{self._endpoint} can't be reached: {reason}") from error
        if answer.status in PASSING:
            raise PassingError(_say(answer), after=after)
        if answer.status == 400 and self._must_pay(answer):
            raise PassingError(_say(answer))
        if answer.status == 404 and ("/o/" not in url or b"bucket does not exist" in answer.body):
            raise StorageSettingError("bucket", _say(answer))
        if answer.status < 300 or answer.status in also:
            return answer
        if answer.status in (401, 403):
            raise StorageSettingError(self._access.setting, _say(answer))
        raise StorageError(_say(answer))

    def _must_pay(self, answer: _Answer) -> bool:
        """Whether the request is refused only because it didn't say that our project pays."""
        if self._paying or not self._project or b"requester pays" not in answer.body:
            return False
        self._paying = {"userProject": self._project}
        return True


def open_gcs(
    config: GcsDriver, *, observe: Callable[[str, float], None], retries: Retries | None = None
) -> GcsClient:
    """Return the client that is configured.

    Raises:
        StorageSettingError: the account's key can't be used, or there is none.
    """
    endpoint = _emulator()
    if config.credentials is not None:
        access = access_by_key(asdict(config.credentials), setting="credentials")
    elif config.serviceaccount:
        access = access_by_file(config.serviceaccount, setting="serviceaccount")
    elif config.keyfile:
        access = access_by_file(config.keyfile, setting="keyfile")
    else:
        access = GoogleAccess(None) if endpoint else ambient_access()
    return GcsClient(
        config.bucket,
        access=access,
        endpoint=endpoint,
        project=config.project,
        user_agent=config.useragent,
        connections=config.maxconcurrency,
        retries=retries,
        observe=observe,
    )


def _emulator() -> str:
    """Return the URL of an emulator to use in place of Google's service, if there is one; the
    variable is that of Google's own libraries.
    """
    found = os.environ.get("STORAGE_EMULATOR_HOST", "")
    return found if not found or "://" in found else f"http://{found}"


def _in_groups(names: Sequence[str], size: int) -> list[Sequence[str]]:
    return [names[start : start + size] for start in range(0, len(names), size)]


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _say(answer: _Answer) -> str:
    """Return what the store answered, in one line."""
    try:
        message = str(json.loads(answer.body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = answer.body.decode(errors="replace")
    text = " ".join(message.split())[:300]
    return f"Google Cloud Storage answered {answer.status}{': ' + text if text else ''}"
