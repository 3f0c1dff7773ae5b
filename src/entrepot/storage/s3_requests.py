"""Requests to S3 and what is compatible with it: addresses, signatures, retries, errors."""

import asyncio
import hashlib
import io
import ssl
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, ReadOnlyCredentials, RefreshableCredentials
from botocore.exceptions import BotoCoreError
from botocore.session import Session
from yarl import URL

from entrepot.config.schema_objects import S3Driver
from entrepot.storage.errors import StorageError, StorageFullError, StorageSettingError
from entrepot.storage.retries import PASSING, PassingError, Retries, asked_to_wait

Observe = Callable[[str, float], None]

_HASHED_HERE: Final = 65_536
"""Bytes up to which a body is hashed at once; a thread hashes larger ones."""

_WHOLE: Final = 65_536
"""Bytes up to which a body is sent in one piece."""

_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=60.0)
_CONNECTIONS: Final = 128

_UNSIGNED: Final = "UNSIGNED-PAYLOAD"
_EMPTY: Final = hashlib.sha256(b"").hexdigest()

_PASSING_CODES: Final = {
    "ConditionalRequestConflict",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "TooManyRequests",
}
_FULL_CODES: Final = {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"}
_KEYS: Final = {
    "AccessDenied": "accesskey",
    "AuthorizationHeaderMalformed": "region",
    "ExpiredToken": "sessiontoken",
    "IllegalLocationConstraintException": "region",
    "InvalidAccessKeyId": "accesskey",
    "InvalidBucketName": "bucket",
    "InvalidStorageClass": "storageclass",
    "InvalidToken": "sessiontoken",
    "InvalidTokenId": "sessiontoken",
    "NoSuchBucket": "bucket",
    "PermanentRedirect": "region",
    "SignatureDoesNotMatch": "secretkey",
}
"""Which key of the configuration an error is about."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the store answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def xml(self) -> ET.Element:
        """Return the body as XML, or raise `StorageError`."""
        try:
            return ET.fromstring(self.body)  # noqa: S314 - of the store, and expat stops bombs
        except ET.ParseError as error:
            raise StorageError(f"the store's answer is no XML: {error}") from error


class _Signer(S3SigV4Auth):
    """Signs with a hash of the body that is known already."""

    def payload(self, request: AWSRequest) -> str:
        known: str = request.context["payload"]
        return known


class Account:
    """Whose credentials are used: the configured ones, or those that the surroundings give, as for
    Amazon's own tools: environment, files in `~/.aws`, the role of the container or machine.
    """

    def __init__(self, config: S3Driver) -> None:
        self._known: Credentials | None = None
        if config.accesskey:
            token = config.sessiontoken or None
            self._known = Credentials(config.accesskey, config.secretkey, token)
        self._looking = asyncio.Lock()

    async def credentials(self) -> ReadOnlyCredentials:
        """Return the credentials of this moment.

        Raises:
            StorageError: there are none, or they can't be renewed.
        """
        known = self._known
        if known is None:
            async with self._looking:
                if self._known is None:
                    self._known = await asyncio.to_thread(_look_around)
                known = self._known
        if isinstance(known, RefreshableCredentials) and known.refresh_needed():
            try:
                return await asyncio.to_thread(known.get_frozen_credentials)
            except BotoCoreError as error:
                raise StorageError(f"the credentials for S3 can't be renewed: {error}") from error
        return known.get_frozen_credentials()


def _look_around() -> Credentials:
    try:
        found = Session().get_credentials()
    except BotoCoreError as error:
        raise StorageError(f"looking for credentials for S3 failed: {error}") from error
    if found is None:
        message = "none is given, and none was found in the environment, ~/.aws or the metadata"
        raise StorageSettingError("accesskey", f"{message} of this machine")
    return found


class S3Requests:
    """One bucket. `observe` is told of each request: its action, and seconds."""

    def __init__(self, config: S3Driver, *, observe: Observe, retries: Retries) -> None:
        self._config = config
        self._observe = observe
        self._retries = retries
        self._account = Account(config)
        self._region = config.region or "us-east-1"
        self._base = bucket_url(config, config.regionendpoint)
        redirected = config.redirectendpoint
        self._public = bucket_url(config, redirected) if redirected else self._base
        self._signs_bodies = not self._base.startswith("https:")
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self,
        action: str,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes = b"",
        also: Sequence[int] = (),
    ) -> Answer | None:
        """Send a request, again if need be, and return the answer, if it is a success or its status
        is one in `also`; None for 404, unless it is the bucket that is not there.

        Raises:
            StorageError: with the key of the configuration that it is about, and the answer.
        """
        url = self._base + quote(key, safe="/-_.~")
        if query:
            url += "?" + urlencode(query, quote_via=quote, safe="-_.~")
        signed = await self._hash(data)

        async def attempt() -> Answer | None:
            sent = await self._signed(method, url, headers or {}, signed)
            began = time.perf_counter()
            try:
                answer = await self._once(method, url, sent, data)
                return answer if answer.status in also else self._judge(answer, method, key)
            finally:
                self._observe(action, time.perf_counter() - began)

        return await self._retries.run(attempt)

    async def address(self, key: str, *, seconds: int, method: str) -> str:
        """Return a URL that carries its own signature."""
        request = AWSRequest(method, self._public + quote(key, safe="/-_.~"))
        credentials: Any = await self._account.credentials()
        S3SigV4QueryAuth(credentials, "s3", self._region, expires=seconds).add_auth(request)
        return str(request.url)

    async def close(self) -> None:
        """Release connections."""
        if self._session is not None:
            await self._session.close()

    async def _hash(self, data: bytes) -> str:
        """Return what stands for the body in the signature. Under TLS nothing else need."""
        if not data:
            return _EMPTY
        if not self._signs_bodies:
            return _UNSIGNED
        if len(data) <= _HASHED_HERE:
            return hashlib.sha256(data).hexdigest()
        return (await asyncio.to_thread(hashlib.sha256, data)).hexdigest()

    async def _signed(
        self, method: str, url: str, headers: Mapping[str, str], payload: str
    ) -> dict[str, str]:
        request = AWSRequest(method, url, headers=dict(headers))
        request.context["payload"] = payload
        credentials: Any = await self._account.credentials()
        _Signer(credentials, "s3", self._region).add_auth(request)
        sent = {name: str(value) for name, value in request.headers.items()}
        if self._config.useragent:
            sent["User-Agent"] = self._config.useragent
        return sent

    async def _once(self, method: str, url: str, headers: dict[str, str], data: bytes) -> Answer:
        if self._session is None:
            self._session = _session(self._config)
        try:
            async with self._session.request(
                method,
                URL(url, encoded=True),
                headers=headers,
                data=io.BytesIO(data) if len(data) > _WHOLE else data,
                allow_redirects=False,
            ) as response:
                return Answer(response.status, response.headers, await response.read())
        except aiohttp.ClientSSLError as error:
            message = f"no TLS with {_host(url)}: {error}"
            raise StorageSettingError("regionendpoint", message) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = str(error) or "no answer in time"
            message = f"{_host(url)} can't be reached: {reason}; is regionendpoint right?"
            raise PassingError(message) from error

    def _judge(self, answer: Answer, method: str, key: str) -> Answer | None:
        """Return a good answer, None for 404, or raise what the answer says."""
        code, message = "", ""
        if answer.status >= 300 or _hides_error(answer):
            code, message = _reason(answer)
        elif answer.status < 300:
            return answer
        if answer.status == 404 and code != "NoSuchBucket":
            return None
        text = f"the store answered {answer.status} {code or 'without a reason'} to {method} {key}"
        if message:
            text += f": {message}"
        if answer.status in PASSING or code in _PASSING_CODES:
            raise PassingError(text, after=asked_to_wait(answer.headers.get("Retry-After")))
        if answer.status == 507 or code in _FULL_CODES:
            raise StorageFullError(text)
        if code == "RequestTimeTooSkewed":
            raise StorageError(f"the clock of this machine is {_off(answer)}: set it; {text}")
        setting = "keyid" if code.startswith("KMS") else _KEYS.get(code, "")
        if not setting and answer.status in (301, 307, 308):
            setting = "region"
        raise StorageSettingError(setting, text) if setting else StorageError(text)


def bucket_url(config: S3Driver, endpoint: str) -> str:
    """Return the address of the bucket, with a slash at its end, below `endpoint`; of Amazon's
    service if that is empty.
    """
    scheme = "https" if config.secure else "http"
    by_path = config.forcepathstyle
    if endpoint:
        if "://" in endpoint:
            scheme, _, endpoint = endpoint.partition("://")
        host = endpoint.rstrip("/")
        if by_path is None:
            by_path = True
    else:
        host = _amazon(config)
        if by_path is None:
            by_path = "." in config.bucket and not config.accelerate
    if by_path:
        return f"{scheme}://{host}/{quote(config.bucket)}/"
    return f"{scheme}://{config.bucket}.{host}/"


def _amazon(config: S3Driver) -> str:
    stack = ".dualstack" if config.usedualstack else ""
    if config.accelerate:
        return f"s3-accelerate{stack}.amazonaws.com"
    service = "s3-fips" if config.usefipsendpoint else "s3"
    end = ".cn" if config.region.startswith("cn-") else ""
    return f"{service}{stack}.{config.region}.amazonaws.com{end}"


def _session(config: S3Driver) -> aiohttp.ClientSession:
    context: ssl.SSLContext | bool = True
    if config.skipverify:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=context),
        timeout=_TIMEOUT,
        auto_decompress=False,
        skip_auto_headers=("Accept", "Accept-Encoding"),
    )


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _off(answer: Answer) -> str:
    """Say how far this machine's clock is from that of the store, by the date of an answer."""
    try:
        theirs = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except ValueError:
        return "wrong"
    seconds = time.time() - theirs
    return f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} the store's"


def _hides_error(answer: Answer) -> bool:
    """Whether an answer that began well is one of failure: copying and completing take so long
    that the store says 200 before it knows.
    """
    return answer.body[:256].lstrip().startswith(b"<") and b"<Error>" in answer.body[:256]


def _reason(answer: Answer) -> tuple[str, str]:
    """Return the code and the message of an error, empty where the answer has none."""
    try:
        root = answer.xml()
    except StorageError:
        return "", ""
    return root.findtext("{*}Code") or "", root.findtext("{*}Message") or ""
