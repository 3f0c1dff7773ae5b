"""The state of an upload that travels in its address, signed, so that no server has to keep it."""

import base64
import binascii
import hashlib
import hmac
from typing import Final
from uuid import UUID

import msgspec

from entrepot.core.digest import Digest
from entrepot.core.names import RepositoryName

_MAC: Final = 32


class UploadState(msgspec.Struct, frozen=True):
    """What is known of an upload when its address is handed out.

    `started` is in microseconds since 1970; `digest` is the SHA-256 of the first `offset` bytes
    where it is known, so that finishing need not read them again.
    """

    name: str
    upload: UUID
    offset: int
    started: int
    digest: str = ""

    def known_digest(self, *, size: int) -> Digest | None:
        """Return the digest of the upload if it holds `size` bytes and that is known."""
        return Digest(self.digest) if self.digest and self.offset == size else None


_decoder: Final = msgspec.json.Decoder(UploadState)


def sign(state: UploadState, *, key: bytes) -> str:
    """Return the state as text that only a holder of `key` can make."""
    payload = msgspec.json.encode(state, enc_hook=str)
    return base64.urlsafe_b64encode(_mac(payload, key) + payload).decode().rstrip("=")


def verify(text: str, *, key: bytes, name: RepositoryName, upload: UUID) -> UploadState | None:
    """Return the state that was signed, or None if `text` was not signed with `key`, or belongs to
    another upload or repository.
    """
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    mac, payload = raw[:_MAC], raw[_MAC:]
    if not hmac.compare_digest(mac, _mac(payload, key)):
        return None
    state = _decoder.decode(payload)
    return state if (state.name, state.upload) == (name, upload) else None


def _mac(payload: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(
        payload, digest_size=_MAC, key=key[: hashlib.blake2b.MAX_KEY_SIZE]
    ).digest()
