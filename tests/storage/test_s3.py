"""What is S3's own: addresses, headers, large copies, credentials."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from entrepot.config.schema_objects import S3Driver
from entrepot.storage import StorageSettingError
from entrepot.storage.retries import Retries
from entrepot.storage.s3 import S3Client
from entrepot.storage.s3_requests import bucket_url
from tests.certificates import Authority, Pair
from tests.faulty import start_proxy
from tests.objectstores import ACCESS_KEY, SECRET_KEY, SeaweedFS
from tests.storage.conftest import MIB

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "settings, url",
    [
        ({}, "https://images.s3.eu-west-1.amazonaws.com/"),
        ({"secure": False}, "http://images.s3.eu-west-1.amazonaws.com/"),
        ({"forcepathstyle": True}, "https://s3.eu-west-1.amazonaws.com/images/"),
        ({"bucket": "a.b"}, "https://s3.eu-west-1.amazonaws.com/a.b/"),
        ({"region": "cn-north-1"}, "https://images.s3.cn-north-1.amazonaws.com.cn/"),
        ({"usedualstack": True}, "https://images.s3.dualstack.eu-west-1.amazonaws.com/"),
        ({"usefipsendpoint": True}, "https://images.s3-fips.eu-west-1.amazonaws.com/"),
        ({"accelerate": True}, "https://images.s3-accelerate.amazonaws.com/"),
        (
            {"accelerate": True, "usedualstack": True},
            "https://images.s3-accelerate.dualstack.amazonaws.com/",
        ),
        ({"regionendpoint": "https://rgw:7480/"}, "https://rgw:7480/images/"),
        ({"regionendpoint": "rgw:7480", "secure": False}, "http://rgw:7480/images/"),
        ({"regionendpoint": "rgw:7480"}, "https://rgw:7480/images/"),
        ({"regionendpoint": "http://rgw", "forcepathstyle": False}, "http://images.rgw/"),
    ],
    ids=str,
)
def test_where_the_bucket_is(settings: dict[str, Any], url: str) -> None:
    config = S3Driver(**{"bucket": "images", "region": "eu-west-1", **settings})
    assert bucket_url(config, config.regionendpoint) == url


@pytest.mark.parametrize(
    "settings, headers",
    [
        ({}, {}),
        ({"storageclass": "STANDARD"}, {}),
        ({"storageclass": "NONE"}, {}),
        ({"storageclass": "GLACIER_IR"}, {"x-amz-storage-class": "GLACIER_IR"}),
        ({"objectacl": "public-read"}, {"x-amz-acl": "public-read"}),
        ({"encrypt": True}, {"x-amz-server-side-encryption": "AES256"}),
        (
            {"encrypt": True, "keyid": "key"},
            {
                "x-amz-server-side-encryption": "aws:kms",
                "x-amz-server-side-encryption-aws-kms-key-id": "key",
            },
        ),
    ],
    ids=str,
)
def test_what_new_objects_are_told(settings: dict[str, Any], headers: dict[str, str]) -> None:
    client = S3Client(S3Driver(bucket="b", region="r", **settings), observe=lambda _a, _s: None)
    assert client._new == {"Content-Type": "application/octet-stream", **headers}


@pytest.mark.parametrize("size", [11 * MIB, 10 * MIB, 5 * MIB + 1])
async def test_large_copies_are_made_in_parts(seaweedfs: SeaweedFS, size: int) -> None:
    """Also those above the 5 GiB that one request copies at most; here the limit is smaller."""
    asked: list[str] = []
    client = seaweedfs.client(
        "tests",
        observe=lambda action, _: asked.append(action),
        multipartcopythresholdsize=5 * MIB,
        multipartcopychunksize=5 * MIB,
        multipartcopymaxconcurrency=2,
    )
    data = os.urandom(size)
    await client.put("s3/large", data)
    asked.clear()
    await client.copy("s3/large", "s3/copied", size=size)
    assert asked.count("Move") == -(-size // (5 * MIB))
    assert await client.read("s3/copied") == data
    assert [u async for u in client.unfinished("s3/")] == []
    await client.delete(["s3/large", "s3/copied"])
    await client.close()


@asynccontextmanager
async def over_tls(port: int, pair: Pair) -> AsyncIterator[int]:
    """The port of a server that takes TLS away and passes everything on to `port`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pass_on(reader, forth), pass_on(back, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


async def test_a_certificate_of_nobody(seaweedfs: SeaweedFS, tmp_path: Path) -> None:
    """`skipverify` is for that; without it nothing is sent, and the key is named."""
    async with over_tls(seaweedfs.port, Authority(tmp_path).server()) as port:
        settings: dict[str, Any] = {"regionendpoint": f"127.0.0.1:{port}", "secure": True}
        strict = seaweedfs.client("tests", **settings)
        with pytest.raises(StorageSettingError, match="no TLS with ") as caught:
            await strict.read("nothing")
        assert caught.value.setting == "regionendpoint"
        await strict.close()
        lax = seaweedfs.client("tests", **settings, skipverify=True)
        key = f"s3/{uuid4()}"
        await lax.put(key, b"over TLS")
        assert await lax.read(key) == b"over TLS"
        await lax.close()


async def test_a_store_without_conditional_writes(seaweedfs: SeaweedFS) -> None:
    """It is asked to write without a condition."""
    with start_proxy(seaweedfs.port) as proxy:
        proxy.conditions = False
        client = seaweedfs.client("tests", regionendpoint=proxy.url)
        key = f"s3/{uuid4()}"
        await client.create(key, b"once")
        assert await client.read(key) == b"once"
        await client.close()
    assert [request.partition(" ")[0] for request in proxy.requests] == ["PUT", "PUT", "GET"]


async def test_credentials_of_the_surroundings(
    seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where none are configured: from the environment, and a clear error where there are none."""
    settings = seaweedfs.config("tests", accesskey="", secretkey="")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = S3Client(S3Driver(**settings), observe=lambda _a, _s: None, retries=Retries(times=0))
    with pytest.raises(StorageSettingError) as caught:
        await client.size("s3/anything")
    assert caught.value.setting == "accesskey"
    await client.close()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    client = S3Client(S3Driver(**settings), observe=lambda _a, _s: None, retries=Retries(times=0))
    assert await client.size("s3/anything") is None
    await client.close()
