"""Tokens and signatures of a Google account."""

import asyncio
import base64
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import aiohttp
import google.auth
from google.auth.credentials import Credentials, TokenState
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from entrepot.storage.errors import StorageError, StorageSettingError
from entrepot.storage.retries import PassingError

_OBJECTS: Final = "https://www.googleapis.com/auth/devstorage.read_write"
_EVERYTHING: Final = "https://www.googleapis.com/auth/cloud-platform"
"""What a token is for. Signing in the name of an account needs the second."""

_PUBLIC: Final = "googleapis.com"

_UNABLE: Final = 600.0
"""Seconds for which nobody is asked to sign after that was refused."""


class GoogleAccess:
    """What the registry may do in the name of an account; `credentials` is None for an emulator,
    which asks nobody who he is. `setting` names the key of the configuration that holds them, `iam`
    is the address of the service that signs for accounts whose keys nobody has.
    """

    def __init__(
        self,
        credentials: Credentials | None,
        *,
        setting: str = "serviceaccount",
        iam: str = "https://iamcredentials.googleapis.com",
    ) -> None:
        self.setting = setting
        self._credentials = credentials
        self._iam = iam
        self._refreshing = asyncio.Lock()
        self._unable_until = 0.0

    @property
    def universe(self) -> str:
        """The domain of the cloud that the account belongs to."""
        key = self._credentials
        return key.universe_domain if isinstance(key, service_account.Credentials) else _PUBLIC

    async def headers(self) -> dict[str, str]:
        """Return what a request must carry.

        Raises:
            StorageError: no token is to be had.
        """
        known = self._credentials
        if known is None:
            return {}
        if known.token_state is not TokenState.FRESH:
            async with self._refreshing:
                await self._refresh(known)
        return {"Authorization": f"Bearer {known.token}"}

    async def _refresh(self, known: Credentials) -> None:
        if known.token_state is TokenState.FRESH:
            return
        try:
            await asyncio.to_thread(known.refresh, Request())
        except TransportError as error:
            if known.token_state is TokenState.INVALID:
                raise PassingError(f"no token for Google Cloud Storage: {_say(error)}") from error
        except GoogleAuthError as error:
            if known.token_state is TokenState.INVALID:
                message = f"no token for Google Cloud Storage: {_say(error)}"
                raise StorageSettingError(self.setting, message) from error

    async def sign(
        self, data: bytes, *, email: str, session: aiohttp.ClientSession
    ) -> bytes | None:
        """Return the signature of the account `email`, RSA with SHA-256, or None."""
        if isinstance(self._credentials, service_account.Credentials):
            signed = self._credentials.sign_bytes(data)
            return signed if isinstance(signed, bytes) else None
        if time.monotonic() < self._unable_until:
            return None
        url = f"{self._iam}/v1/projects/-/serviceAccounts/{email}:signBlob"
        body = {"payload": base64.b64encode(data).decode()}
        try:
            async with session.post(url, json=body, headers=await self.headers()) as answer:
                if answer.status == 200:
                    return base64.b64decode((await answer.json())["signedBlob"])
        except (StorageError, aiohttp.ClientError, TimeoutError):
            pass
        self._unable_until = time.monotonic() + _UNABLE
        return None

    async def email(self) -> str | None:
        """Return the account's name; None where nobody can sign. The metadata server tells it with
        the first token.
        """
        found = getattr(self._credentials, "service_account_email", None)
        if found == "default":
            await self.headers()
            found = getattr(self._credentials, "service_account_email", None)
        return found if isinstance(found, str) and "@" in found else None


def access_by_key(key: Mapping[str, object], *, setting: str) -> GoogleAccess:
    """Return the access of a service account with its key, which `setting` holds.

    Raises:
        StorageSettingError: that is no key.
    """
    try:
        found = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
            key, scopes=[_OBJECTS]
        )
    except (GoogleAuthError, ValueError, TypeError) as error:
        raise StorageSettingError(setting, "it is not a service account's key (JSON)") from error
    return GoogleAccess(found, setting=setting)


def access_by_file(text: str, *, setting: str) -> GoogleAccess:
    """The same with the path of a file that has the key, or with the JSON itself."""
    try:
        key = json.loads(text if text.lstrip().startswith("{") else Path(text).read_bytes())
    except OSError as error:
        raise StorageSettingError(setting, f"{text}: {error.strerror}") from error
    except ValueError as error:
        raise StorageSettingError(setting, "it is not JSON") from error
    return access_by_key(key if isinstance(key, dict) else {}, setting=setting)


def ambient_access() -> GoogleAccess:
    """Return the access of the account that this machine has: by GOOGLE_APPLICATION_CREDENTIALS,
    gcloud, or the metadata server of Google's cloud.

    Raises:
        StorageSettingError: there is none.
    """
    try:
        found, _ = google.auth.default(scopes=[_EVERYTHING])
    except GoogleAuthError as error:
        raise StorageSettingError(
            "serviceaccount", f"is not given, and this machine has no account: {_say(error)}"
        ) from error
    return GoogleAccess(found)


def _say(error: GoogleAuthError) -> str:
    return " ".join(str(error.args[0] if error.args else error).split())[:300]
