"""Credentials and signatures of an account of Azure Blob Storage."""

import asyncio
import base64
import binascii
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from azure.core.credentials import AzureNamedKeyCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError
from azure.identity.aio import ClientSecretCredential, DefaultAzureCredential
from azure.storage.blob import BlobSasPermissions, UserDelegationKey, generate_blob_sas
from azure.storage.blob.aio import BlobServiceClient

from entrepot.storage.errors import StorageSettingError

_KEY_LIFE: Final = 24 * 3600
_KEY_REST: Final = 2 * 3600
"""Seconds for which a key is asked for, and that must be left of it to sign with it."""

_UNABLE: Final = 600.0
"""Seconds for which no key is asked for after that was refused."""


class AzureAccess:
    """Who the registry is: an account's key, or somebody who is given tokens. `setting` names the
    key of the configuration that says so.
    """

    def __init__(
        self, account: str, credential: AzureNamedKeyCredential | AsyncTokenCredential, setting: str
    ) -> None:
        self.credential = credential
        self.setting = setting
        self._account = account
        self._key: UserDelegationKey | None = None
        self._key_ends = 0.0
        self._unable_until = 0.0
        self._asking = asyncio.Lock()

    @property
    def gives_tokens(self) -> bool:
        """Whether requests carry tokens, which only TLS keeps secret."""
        return not isinstance(self.credential, AzureNamedKeyCredential)

    async def sign(
        self, service: BlobServiceClient, container: str, name: str, *, seconds: int
    ) -> str | None:
        """Return what makes a blob's URL readable for `seconds` ("SAS"), or None if we may not.

        Who has no account key asks for another key once a day.
        """
        account_key = delegated = None
        if isinstance(self.credential, AzureNamedKeyCredential):
            account_key = self.credential.named_key.key
        else:
            delegated = await self._delegated(service)
            if delegated is None:
                return None
        return generate_blob_sas(
            self._account,
            container,
            name,
            account_key=account_key,
            user_delegation_key=delegated,
            permission=BlobSasPermissions(read=True),
            expiry=datetime.now(UTC) + timedelta(seconds=seconds),
        )

    async def _delegated(self, service: BlobServiceClient) -> UserDelegationKey | None:
        async with self._asking:
            now = time.time()
            if now + _KEY_REST < self._key_ends or now < self._unable_until:
                return self._key
            start = datetime.now(UTC) - timedelta(minutes=5)
            try:
                self._key = await service.get_user_delegation_key(
                    start, start + timedelta(seconds=_KEY_LIFE)
                )
                self._key_ends = start.timestamp() + _KEY_LIFE
            except AzureError:
                self._key, self._unable_until = None, now + _UNABLE
            return self._key

    async def close(self) -> None:
        """Release connections."""
        if not isinstance(self.credential, AzureNamedKeyCredential):
            await self.credential.close()


def access_by_key(account: str, key: str) -> AzureAccess:
    """Return the access that the account's key gives.

    Raises:
        StorageSettingError: that is no key.
    """
    try:
        base64.b64decode(key, validate=True)
    except binascii.Error as error:
        raise StorageSettingError("accountkey", "it is not base64") from error
    return AzureAccess(account, AzureNamedKeyCredential(account, key), "accountkey")


def access_by_secret(account: str, *, tenant: str, client: str, secret: str) -> AzureAccess:
    """Return the access of an application that is registered with a secret.

    Raises:
        StorageSettingError: one of them can't be right.
    """
    try:
        credential = ClientSecretCredential(tenant, client, secret)
    except ValueError as error:
        raise StorageSettingError("credentials", str(error)) from error
    return AzureAccess(account, credential, "credentials")


def ambient_access(account: str) -> AzureAccess:
    """Return the access that this machine has: by AZURE_* variables, workload or managed identity,
    or Azure's command line.
    """
    return AzureAccess(account, DefaultAzureCredential(), "credentials")
