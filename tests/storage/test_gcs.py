"""Google's accounts: tokens, signatures, and who pays. Google's own services are stood in for."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.request
from asyncio import to_thread
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from google.auth.credentials import Credentials

from entrepot.config.schema_objects import GcsCredentials, GcsDriver
from entrepot.storage import StorageError, StorageSettingError
from entrepot.storage.gcs import GcsClient, open_gcs
from entrepot.storage.gcs_access import GoogleAccess, access_by_file, access_by_key
from tests.emulators import FEW, FakeGcs, nobody
from tests.servers import free_port
from tests.storage.faults import serving

pytestmark = pytest.mark.anyio

EMAIL = "registry@project.iam.gserviceaccount.com"
PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Google:
    """What stands in for Google: `asked` are the paths of the requests, `refuse` what is said to
    whoever asks for a token.
    """

    url: str = ""
    asked: list[str] = field(default_factory=list)
    refuse: dict[str, str] | None = None
    may_sign: bool = True

    def key(self, **change: Any) -> dict[str, Any]:
        pem = PRIVATE.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return {
            "type": "service_account",
            "client_email": EMAIL,
            "private_key": pem.decode(),
            "private_key_id": "1",
            "project_id": "project",
            "token_uri": f"{self.url}/token",
            **change,
        }

    async def token(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if self.refuse is not None:
            return web.json_response(self.refuse, status=400)
        assertion = str((await request.post())["assertion"])
        signed, _, signature = assertion.rpartition(".")
        raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
        PRIVATE.public_key().verify(raw, signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return web.json_response({"access_token": "the token", "expires_in": 3600})

    async def sign(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if not self.may_sign or request.headers["Authorization"] != "Bearer ambient":
            return web.json_response({}, status=403)
        payload = base64.b64decode((await request.json())["payload"])
        signed = PRIVATE.sign(payload, padding.PKCS1v15(), hashes.SHA256())
        return web.json_response({"signedBlob": base64.b64encode(signed).decode()})

    async def stat(self, request: web.Request) -> web.Response:
        """A bucket whose readers pay, and which lets only the owner of the token in."""
        self.asked.append(request.path_qs)
        if request.headers.get("Authorization") != "Bearer the token":
            return web.json_response({"error": {"message": "Invalid Credentials"}}, status=401)
        if request.query.get("userProject") != "payer":
            message = "Bucket is a requester pays bucket but no user project provided."
            return web.json_response({"error": {"message": message}}, status=400)
        return web.json_response({"size": "3"})


@pytest.fixture
async def google() -> AsyncIterator[Google]:
    standing_in = Google()
    application = web.Application()
    application.router.add_post("/token", standing_in.token)
    application.router.add_post("/v1/{path:.*}", standing_in.sign)
    application.router.add_get("/storage/v1/b/bucket/o/{key}", standing_in.stat)
    async with serving(application) as port:
        standing_in.url = f"http://127.0.0.1:{port}"
        yield standing_in


class Ambient(Credentials):
    """An account whose name and tokens the machine tells, and whose key nobody has."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.service_account_email = "default"

    def refresh(self, request: Any) -> None:  # noqa: ARG002
        self.token, self.service_account_email = "ambient", EMAIL


def verify(address: str, method: str = "GET") -> None:
    """Check a signed URL of version 4 as Google does. Raises InvalidSignature."""
    parts = urlsplit(address)
    query, _, signature = parts.query.rpartition("&X-Goog-Signature=")
    given = {name: values[0] for name, values in parse_qs(query).items()}
    assert given["X-Goog-Expires"] == "60"
    assert query == "&".join(sorted(query.split("&")))
    account, _, scope = given["X-Goog-Credential"].partition("/")
    assert account == EMAIL
    request = f"{method}\n{parts.path}\n{query}\nhost:{parts.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
    hashed = hashlib.sha256(request.encode()).hexdigest()
    text = f"{given['X-Goog-Algorithm']}\n{given['X-Goog-Date']}\n{scope}\n{hashed}"
    PRIVATE.public_key().verify(
        bytes.fromhex(signature), text.encode(), padding.PKCS1v15(), hashes.SHA256()
    )


async def test_an_address_is_signed_with_the_key(fake_gcs: FakeGcs, google: Google) -> None:
    """As Google checks it; making it asks nobody."""
    access = access_by_key(google.key(), setting="credentials")
    client = fake_gcs.client("tests", access=access)
    try:
        await client.put("signed/a b", b"data")
        google.asked.clear()
        address = await client.address("signed/a b", seconds=60)
        assert address is not None
        assert google.asked == []
        verify(address)
        with pytest.raises(InvalidSignature):
            verify(address.replace("signed", "other"))
        with pytest.raises(InvalidSignature):
            verify(address, "HEAD")
        head = await client.address("signed/a b", seconds=60, method="HEAD")
        assert head is not None
        verify(head, "HEAD")
        assert unquote(urlsplit(address).path) == "/tests/signed/a b"
        with await to_thread(urllib.request.urlopen, address, timeout=10) as answer:
            assert answer.read() == b"data"
    finally:
        await client.close()


async def test_one_token_for_many_requests(fake_gcs: FakeGcs, google: Google) -> None:
    access = access_by_key(google.key(), setting="credentials")
    client = fake_gcs.client("tests", access=access)
    try:
        for n in range(3):
            await client.put(f"tokens/{n}", b"")
        assert google.asked == ["/token"]
    finally:
        await client.close()


async def test_an_account_whose_key_nobody_has(fake_gcs: FakeGcs, google: Google) -> None:
    """Google signs in its name; where it won't, it is not asked again and again."""
    access = GoogleAccess(Ambient(), iam=google.url)
    client = fake_gcs.client("tests", access=access)
    try:
        address = await client.address("key", seconds=60)
        assert address is not None
        verify(address)
        google.may_sign = False
        google.asked.clear()
        assert await client.address("key", seconds=60) is None
        assert await client.address("key", seconds=60) is None
        assert google.asked == [f"/v1/projects/-/serviceAccounts/{EMAIL}:signBlob"]
    finally:
        await client.close()


async def test_the_reader_pays(google: Google) -> None:
    """Only where the bucket asks for it, because naming a project needs a permission."""
    access = access_by_key(google.key(), setting="credentials")
    client = GcsClient("bucket", access=access, endpoint=google.url, project="payer", retries=FEW)
    try:
        assert await client.size("key") == 3
        assert await client.size("key") == 3
        without, *later = [path for path in google.asked if path != "/token"]
        assert "userProject" not in without
        assert len(later) == 2
        assert all("userProject=payer" in path for path in later)
        address = await client.address("key", seconds=60)
        assert address is not None
        verify(address)
        assert "userProject=payer" in address
    finally:
        await client.close()


async def test_a_key_that_google_refuses(google: Google, fake_gcs: FakeGcs) -> None:
    """The key of the configuration, and what Google says about it."""
    google.refuse = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
    client = fake_gcs.client("tests", access=access_by_key(google.key(), setting="keyfile"))
    try:
        with pytest.raises(StorageSettingError, match=r"Invalid JWT Signature") as told:
            await client.read("key")
        assert told.value.setting == "keyfile"
        assert google.asked == ["/token"]
    finally:
        await client.close()


async def test_a_token_that_the_store_refuses(google: Google) -> None:
    access = GoogleAccess(Ambient())
    client = GcsClient("bucket", access=access, endpoint=google.url, retries=FEW)
    try:
        with pytest.raises(StorageSettingError, match="401: Invalid Credentials") as told:
            await client.read("key")
        assert told.value.setting == "serviceaccount"
    finally:
        await client.close()


async def test_a_bucket_that_is_not_there(fake_gcs: FakeGcs) -> None:
    client = fake_gcs.client("nothing")
    try:
        with pytest.raises(StorageSettingError, match="404") as told:
            await client.put("key", b"")
        assert told.value.setting == "bucket"
        with pytest.raises(StorageSettingError):
            _ = [entry async for entry in client.entries("")]
    finally:
        await client.close()


async def test_nobody_there() -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    client = GcsClient("bucket", access=GoogleAccess(None), endpoint=endpoint, retries=FEW)
    try:
        with pytest.raises(StorageError, match=f"{endpoint} can't be reached"):
            await client.size("key")
    finally:
        await client.close()


async def test_nobody_gives_tokens(fake_gcs: FakeGcs, google: Google) -> None:
    key = google.key(token_uri=f"http://127.0.0.1:{free_port()}/token")
    client = fake_gcs.client("tests", access=access_by_key(key, setting="credentials"))
    try:
        with pytest.raises(StorageError, match="no token for Google Cloud Storage"):
            await client.size("key")
    finally:
        await client.close()


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "it is not JSON"),
        ("/nowhere/key.json", "/nowhere/key.json: No such file"),
        ('{"type": "service_account"}', "it is not a service account's key"),
        ('{"type": "service_account", "private_key": "x"}', "it is not a service account's key"),
    ],
)
def test_what_is_no_key(text: str, message: str) -> None:
    with pytest.raises(StorageSettingError, match=message) as told:
        access_by_file(text, setting="serviceaccount")
    assert told.value.setting == "serviceaccount"


@pytest.mark.parametrize("way", ["keyfile", "serviceaccount", "inline", "credentials", "none"])
async def test_every_way_to_give_a_key(
    way: str, google: Google, fake_gcs: FakeGcs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The emulator that the environment names is used; without a key it is asked without one."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", fake_gcs.url.removeprefix("http://"))
    path = tmp_path / "key.json"
    path.write_text(json.dumps(google.key()))
    config = {
        "keyfile": GcsDriver(bucket="tests", keyfile=str(path)),
        "serviceaccount": GcsDriver(bucket="tests", serviceaccount=str(path)),
        "inline": GcsDriver(bucket="tests", serviceaccount=path.read_text()),
        "credentials": GcsDriver(bucket="tests", credentials=GcsCredentials(**google.key())),
        "none": GcsDriver(bucket="tests", useragent="tests"),
    }[way]
    client = open_gcs(config, observe=nobody)
    try:
        await client.put("ways/key", b"data")
        assert await client.read("ways/key") == b"data"
        assert google.asked == ([] if way == "none" else ["/token"])
    finally:
        await client.close()
