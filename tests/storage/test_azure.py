"""Azure's accounts: keys, tokens, signatures."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any, Self

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from entrepot.config.schema_objects import AzureCredentials, AzureDriver
from entrepot.storage import StorageError, StorageSettingError
from entrepot.storage.azure import open_azure
from entrepot.storage.azure_access import AzureAccess, access_by_key
from tests.certificates import Authority
from tests.emulators import ACCOUNT, FEW, Azurite, nobody, start_azurite
from tests.servers import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.clients]


class Identity:
    """Gives tokens that look right, as Azurite wants no more; `fails` says why it gives none."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails

    async def get_token(self, *_scopes: str, **_: Any) -> AccessToken:
        if self.fails:
            raise ClientAuthenticationError(self.fails)
        now = int(time.time())
        claims = {
            "aud": "https://storage.azure.com",
            "iss": "https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/",
            "iat": now - 60,
            "nbf": now - 60,
            "exp": now + 3600,
            "oid": "23657296-5cd5-45b0-a809-d972a7f4dfe1",
            "tid": "dd0d0df1-06c3-436c-8034-4b9a153097ce",
        }
        parts = [{"alg": "none", "typ": "JWT"}, claims]
        encoded = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=") for p in parts]
        return AccessToken(b".".join([*encoded, b"c2ln"]).decode(), now + 3600)

    async def close(self) -> None:
        return None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """An Azurite that takes tokens, which it does over TLS only."""
    place = tmp_path_factory.mktemp("azurite-tls")
    authority = Authority(place / "certificates")
    pair = authority.server()
    options = ["--oauth", "basic", "--cert", str(pair.certificate), "--key", str(pair.key)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(authority.certificate))
        with start_azurite(place, options=options, scheme="https") as running:
            running.make_bucket("tests")
            yield running


async def test_tokens_and_a_delegated_key(secure: Azurite) -> None:
    """Who has no account key signs with one that he is lent, and asks for it once. Azurite doesn't
    know how such signatures are made in this version of the service, so none is used here.
    """
    access = AzureAccess(ACCOUNT, Identity(), "credentials")
    client = secure.client("tests", access=access)
    try:
        await client.put("dir/source", b"data")
        await client.copy("dir/source", "dir/target", size=4)
        assert await client.read("dir/target") == b"data"
        address = await client.address("dir/target", seconds=60)
        assert address is not None
        assert "skoid=" in address
        assert "sp=r" in address.split("&")
        again = await client.address("dir/target", seconds=60)
        assert again is not None
        assert [p for p in again.split("&") if p.startswith("ske=")] == [
            p for p in address.split("&") if p.startswith("ske=")
        ]
    finally:
        await client.close()


def test_tokens_stay_secret(azurite: Azurite) -> None:
    with pytest.raises(StorageSettingError, match="must be https") as told:
        azurite.client("tests", access=AzureAccess(ACCOUNT, Identity(), "credentials"))
    assert told.value.setting == "serviceurl"


async def test_a_secret_that_is_refused(secure: Azurite) -> None:
    """The key of the configuration, and what Azure says about it."""
    access = AzureAccess(ACCOUNT, Identity("AADSTS7000215: Invalid client secret"), "credentials")
    client = secure.client("tests", access=access)
    try:
        with pytest.raises(StorageSettingError, match="AADSTS7000215") as told:
            await client.put("key", b"")
        assert told.value.setting == "credentials"
        assert await client.address("key", seconds=60) is None
    finally:
        await client.close()


async def test_a_wrong_key(azurite: Azurite) -> None:
    access = access_by_key(ACCOUNT, base64.b64encode(b"another").decode())
    client = azurite.client("tests", access=access)
    try:
        with pytest.raises(StorageSettingError, match="403 Auth") as told:
            await client.put("key", b"")
        assert told.value.setting == "accountkey"
        with pytest.raises(StorageSettingError):
            await client.read("key")
        with pytest.raises(StorageSettingError):
            await client.size("key")
    finally:
        await client.close()


async def test_a_container_that_is_not_there(azurite: Azurite) -> None:
    client = azurite.client("nothing")
    try:
        for asked in (client.put("key", b""), client.read("key"), client.size("key")):
            with pytest.raises(StorageSettingError, match="404 ContainerNotFound") as told:
                await asked
            assert told.value.setting == "container"
    finally:
        await client.close()


async def test_nobody_there() -> None:
    url = f"http://127.0.0.1:{free_port()}/account"
    client = Azurite(url).client("tests")
    try:
        with pytest.raises(StorageError, match=f"{url} can't be reached"):
            await client.size("key")
    finally:
        await client.close()


def test_what_is_no_key() -> None:
    config = AzureDriver(accountname="a", accountkey="%%%", container="c")
    with pytest.raises(StorageSettingError, match="not base64") as told:
        open_azure(config, observe=nobody)
    assert told.value.setting == "accountkey"


def test_what_is_no_tenant() -> None:
    who = AzureCredentials(type="client_secret", tenantid="/", clientid="c", secret="s")
    config = AzureDriver(accountname="a", container="c", credentials=who)
    with pytest.raises(StorageSettingError) as told:
        open_azure(config, observe=nobody)
    assert told.value.setting == "credentials"


async def test_what_is_configured(azurite: Azurite) -> None:
    client = open_azure(AzureDriver(**azurite.config("tests")), observe=nobody, retries=FEW)
    try:
        await client.put("configured/key", b"data")
        address = await client.address("configured/key", seconds=60)
        assert address is not None
        assert address.startswith(azurite.url)
    finally:
        await client.close()


async def test_blobs_of_another_kind(azurite: Azurite) -> None:
    """`registry:2` wrote layers as append blobs; they are read, listed, copied and replaced."""
    client = azurite.client("tests")
    blob = client._blob("legacy/one")
    try:
        await blob.create_append_blob()
        await blob.append_block(b"old bytes")
        assert await client.read("legacy/one") == b"old bytes"
        assert await client.size("legacy/one") == 9
        await client.copy("legacy/one", "legacy/two", size=9)
        assert await client.read("legacy/two") == b"old bytes"
        await client.put("legacy/one", b"new")
        assert await client.read("legacy/one") == b"new"
        assert [entry.size async for entry in client.entries("legacy/")] == [3, 9]
    finally:
        await client.close()
