"""An `ObjectClient` and a `MultipartClient` for S3: Amazon's, Ceph, SeaweedFS, MinIO and others."""

import asyncio
import base64
import hashlib
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import quote
from xml.sax.saxutils import escape

from entrepot.config.schema_objects import S3Driver
from entrepot.storage.errors import StorageError
from entrepot.storage.objects import Entry, Unfinished
from entrepot.storage.retries import Retries
from entrepot.storage.s3_requests import Answer, Observe, S3Requests

_DELETED_AT_ONCE: Final = 1000


class S3Client:
    """One bucket of S3."""

    least = 5 * 1_048_576
    most = 10_000

    def __init__(
        self, config: S3Driver, *, observe: Observe, retries: Retries | None = None
    ) -> None:
        self._config = config
        self._requests = S3Requests(config, observe=observe, retries=retries or Retries())
        self._new = _headers_of_new_objects(config)

    # Objects ------------------------------------------------------------------------------------

    async def read(self, key: str, *, start: int = 0, length: int | None = None) -> bytes | None:
        """Return an object's bytes, or a part of them, or None if there is no such object."""
        if length == 0:
            return b""
        headers = {}
        if start or length is not None:
            last = "" if length is None else str(start + length - 1)
            headers["Range"] = f"bytes={start}-{last}"
        answer = await self._requests.send("GetContent", "GET", key, headers=headers)
        return None if answer is None else answer.body

    async def size(self, key: str) -> int | None:
        """Return an object's bytes, or None if there is no such object."""
        answer = await self._requests.send("Stat", "HEAD", key)
        return None if answer is None else int(answer.headers["Content-Length"])

    async def put(self, key: str, data: bytes) -> None:
        """Write an object whole."""
        _there(await self._requests.send("PutContent", "PUT", key, headers=self._new, data=data))

    async def create(self, key: str, data: bytes) -> None:
        """Write an object unless there is one. A store that can't look and write in one step
        (501) is asked only to write.
        """
        once = {**self._new, "If-None-Match": "*"}
        answer = _there(
            await self._requests.send(
                "PutContent", "PUT", key, headers=once, data=data, also=(412, 501)
            )
        )
        if answer.status == 501:
            await self.put(key, data)

    async def copy(self, source: str, target: str, *, size: int) -> None:
        """Copy an object inside the bucket, in parts where it is large."""
        origin = quote(f"{self._config.bucket}/{source}", safe="/-_.~")
        if size > self._config.multipartcopythresholdsize:
            await self._copy_parts(origin, target, size)
            return
        headers = {**self._new, "x-amz-copy-source": origin}
        if _there(await self._requests.send("Move", "PUT", target, headers=headers)) is None:
            raise StorageError(f"{source} is gone")

    async def _copy_parts(self, origin: str, target: str, size: int) -> None:
        length = self._config.multipartcopychunksize
        starts = range(0, size, length)
        token = await self.begin(target)
        at_once = asyncio.Semaphore(self._config.multipartcopymaxconcurrency)

        async def copy_part(number: int, start: int) -> str:
            headers = {
                "x-amz-copy-source": origin,
                "x-amz-copy-source-range": f"bytes={start}-{min(start + length, size) - 1}",
            }
            query = {"partNumber": str(number), "uploadId": token}
            async with at_once:
                answer = _there(
                    await self._requests.send("Move", "PUT", target, query=query, headers=headers)
                )
            return _text(answer.xml(), "ETag")

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(copy_part(n, start)) for n, start in enumerate(starts, 1)
                ]
        except* StorageError as failures:
            await self.abort(target, token)
            raise failures.exceptions[0] from None
        await self.complete(target, token, [task.result() for task in tasks])

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects, as many as there are."""
        if len(keys) == 1:
            await self._requests.send("Delete", "DELETE", keys[0])
            return
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            await self._delete_many(keys[start : start + _DELETED_AT_ONCE])

    async def _delete_many(self, keys: Sequence[str]) -> None:
        listed = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in keys)
        body = f"<Delete><Quiet>true</Quiet>{listed}</Delete>".encode()
        md5 = hashlib.md5(body, usedforsecurity=False).digest()
        headers = {"Content-MD5": base64.b64encode(md5).decode()}
        query = {"delete": ""}
        answer = _there(
            await self._requests.send("Delete", "POST", "", query=query, headers=headers, data=body)
        )
        for failed in answer.xml().findall("{*}Error"):
            if (code := _text(failed, "Code")) != "NoSuchKey":
                raise StorageError(f"{_text(failed, 'Key')} could not be deleted: {code}")

    async def entries(self, prefix: str, *, after: str = "") -> AsyncIterator[Entry]:
        """Yield the objects whose keys begin with `prefix` and are greater than `after`."""
        query = {"list-type": "2", "prefix": prefix}
        if after:
            query["start-after"] = after
        while True:
            root = _there(await self._requests.send("List", "GET", "", query=query)).xml()
            for found in root.findall("{*}Contents"):
                modified = _seconds(_text(found, "LastModified"))
                yield Entry(_text(found, "Key"), int(_text(found, "Size")), modified)
            if root.findtext("{*}IsTruncated") != "true":
                return
            query["continuation-token"] = _text(root, "NextContinuationToken")

    async def address(self, key: str, *, seconds: int, method: str = "GET") -> str | None:
        """Return a URL by which anyone may read the object for `seconds`."""
        return await self._requests.address(key, seconds=seconds, method=method)

    async def close(self) -> None:
        """Release connections."""
        await self._requests.close()

    # Parts --------------------------------------------------------------------------------------

    async def begin(self, key: str) -> str:
        """Begin an upload in parts and return its token."""
        query = {"uploads": ""}
        answer = await self._requests.send("Writer", "POST", key, query=query, headers=self._new)
        return _text(_there(answer).xml(), "UploadId")

    async def put_part(self, key: str, token: str, number: int, data: bytes) -> str:
        """Write a part and return its ETag."""
        query = {"partNumber": str(number), "uploadId": token}
        answer = await self._requests.send("Writer", "PUT", key, query=query, data=data)
        return _there(answer).headers["ETag"]

    async def complete(self, key: str, token: str, marks: Sequence[str]) -> None:
        """Make the object of its parts; if the upload is gone, see whether it was made before."""
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(mark)}</ETag></Part>"
            for number, mark in enumerate(marks, 1)
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        query = {"uploadId": token}
        answer = await self._requests.send("Writer", "POST", key, query=query, data=body)
        if answer is not None:
            return
        made = await self._requests.send("Stat", "HEAD", key)
        if made is None or not made.headers.get("ETag", "").strip('"').endswith(f"-{len(marks)}"):
            raise StorageError(f"the parts of {key} are gone")

    async def abort(self, key: str, token: str) -> None:
        """Drop an upload with its parts."""
        await self._requests.send("Delete", "DELETE", key, query={"uploadId": token})

    async def unfinished(self, prefix: str) -> AsyncIterator[Unfinished]:
        """Yield the uploads below `prefix` that were begun and not completed."""
        query = {"uploads": "", "prefix": prefix}
        while True:
            root = _there(await self._requests.send("List", "GET", "", query=query)).xml()
            for found in root.findall("{*}Upload"):
                begun = _seconds(_text(found, "Initiated"))
                yield Unfinished(_text(found, "Key"), _text(found, "UploadId"), begun)
            if root.findtext("{*}IsTruncated") != "true":
                return
            query["key-marker"] = _text(root, "NextKeyMarker")
            query["upload-id-marker"] = _text(root, "NextUploadIdMarker")


def _headers_of_new_objects(config: S3Driver) -> Mapping[str, str]:
    headers = {"Content-Type": "application/octet-stream"}
    if config.encrypt:
        headers["x-amz-server-side-encryption"] = "aws:kms" if config.keyid else "AES256"
    if config.encrypt and config.keyid:
        headers["x-amz-server-side-encryption-aws-kms-key-id"] = config.keyid
    if config.storageclass not in {"", "NONE", "STANDARD"}:
        headers["x-amz-storage-class"] = config.storageclass
    if config.objectacl != "private":
        headers["x-amz-acl"] = config.objectacl
    return headers


def _there(answer: Answer | None) -> Answer:
    if answer is None:
        raise StorageError("the store answered 404 to what can't be missing")
    return answer


def _text(element: ET.Element, name: str) -> str:
    found = element.findtext(f"{{*}}{name}")
    if found is None:
        raise StorageError(f"the store's answer has no {name}")
    return found


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
