"""Secrets that the index keeps for the registry, sealed with a key from the configuration.

AES-256-GCM; the key is derived by HKDF-SHA-256 from the secret of the configuration, for one
purpose, which is authenticated as well: what was sealed for one purpose opens for no other.
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from entrepot.core.errors import EntrepotError

NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32


class SealBrokenError(EntrepotError):
    """What was sealed can't be opened: with another secret, for another purpose, or damaged."""


def seal(plain: bytes, *, secret: bytes, purpose: str, nonce: bytes) -> bytes:
    """Return `plain`, sealed. `nonce` is `NONCE_BYTES` random bytes, never used twice."""
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"{NONCE_BYTES} random bytes are needed")
    return nonce + _cipher(secret, purpose).encrypt(nonce, plain, purpose.encode())


def unseal(sealed: bytes, *, secret: bytes, purpose: str) -> bytes:
    """Return what was sealed with that secret for that purpose, or raise SealBrokenError."""
    try:
        return _cipher(secret, purpose).decrypt(
            sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], purpose.encode()
        )
    except (InvalidTag, ValueError) as error:
        raise SealBrokenError(
            f"what is sealed for {purpose} can't be opened: http.secret is another one now, or the "
            "index is damaged"
        ) from error


def _cipher(secret: bytes, purpose: str) -> AESGCM:
    info = b"entrepot " + purpose.encode()
    return AESGCM(HKDF(SHA256(), _KEY_BYTES, salt=None, info=info).derive(secret))
