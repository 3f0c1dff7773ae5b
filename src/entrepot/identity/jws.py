"""Signatures of tokens: JSON Web Signature, compact form (RFC 7515), by joserfc's algorithms.

What a token is refused for here is what it is or who signed it; what it says is judged by
`entrepot.core.tokens`. The keys decide which algorithms there are: a public key is never taken for
a secret, because a key is an object with a type and not a piece of text.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key
from joserfc.jws import JWSRegistry

from entrepot.core.tokens import LONGEST_TOKEN, TokenRefusedError

ALGORITHMS: Final = (
    *("EdDSA", "ES256", "ES384", "ES512", "HS256", "HS384", "HS512"),
    *("PS256", "PS384", "PS512", "RS256", "RS384", "RS512"),
)
"""Every algorithm that can be accepted, as in registry:3. `none` is not one."""

OURS: Final = "ES256"

_LONGEST_CHAIN: Final = 8
_PART: Final = re.compile(r"[A-Za-z0-9_-]+")


class Header(msgspec.Struct, frozen=True):
    """What the header of a token says about the key (RFC 7515, 4.1); `crit` is never understood."""

    alg: str
    kid: str = ""
    x5c: tuple[str, ...] = ()
    jwk: dict[str, Any] | None = None
    crit: Any = msgspec.UNSET


class Unverified(msgspec.Struct, frozen=True):
    """A token of which nothing is known yet but that it has the form of one."""

    header: Header
    payload: bytes
    signed: bytes
    signature: bytes


_header: Final = msgspec.json.Decoder(Header)


def read_token(token: str, *, algorithms: Iterable[str]) -> Unverified:
    """Return the parts of a token, or raise `TokenRefusedError`.

    1. It is not longer than `LONGEST_TOKEN`, and has three parts, none of which is empty.
    2. Each is base64url without padding (RFC 7515, 2), the first a JSON object.
    3. The algorithm is one of `algorithms`: never `none`.
    4. Nothing in it is critical (RFC 7515, 4.1.11), because no extension is understood.
    """
    if len(token) > LONGEST_TOKEN:
        raise TokenRefusedError("the token is too long")
    parts = token.split(".")
    if len(parts) != 3 or not all(map(_PART.fullmatch, parts)):
        raise TokenRefusedError("not three parts of base64url")
    head, body, signature = map(_decode, parts)
    try:
        header = _header.decode(head)
    except (msgspec.DecodeError, RecursionError) as error:
        raise TokenRefusedError(f"malformed header: {error}") from error
    if header.alg not in algorithms or header.alg not in ALGORITHMS:
        raise TokenRefusedError("the algorithm is not accepted")
    if header.crit is not msgspec.UNSET:
        raise TokenRefusedError("a critical header is not understood")
    if len(header.x5c) > _LONGEST_CHAIN:
        raise TokenRefusedError("the chain of certificates is too long")
    signed = token.rpartition(".")[0].encode("ascii")
    return Unverified(header, body, signed, signature)


def verify(token: Unverified, keys: Iterable[Key]) -> bytes:
    """Return what the token says, if one of `keys` has signed it; else raise `TokenRefusedError`.

    A key whose type, curve, `use` or `alg` is not the algorithm's is passed over.
    """
    algorithm = JWSRegistry.algorithms[token.header.alg]
    for key in keys:
        try:
            algorithm.check_key(key)
            if algorithm.verify(token.signed, token.signature, key):
                return token.payload
        except (JoseError, ValueError):
            continue
    raise TokenRefusedError("no trusted key has signed the token")


def sign(payload: bytes, key: ECKey, *, kid: str) -> str:
    """Return a token of ours that says `payload`, a JSON object."""
    header = msgspec.json.encode({"alg": OURS, "kid": kid, "typ": "JWT"})
    signed = encode(header) + b"." + encode(payload)
    signature = JWSRegistry.algorithms[OURS].sign(signed, key)
    return (signed + b"." + encode(signature)).decode("ascii")


def encode(raw: bytes) -> bytes:
    """Return base64url without padding (RFC 7515, 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _decode(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars="-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise TokenRefusedError("malformed base64url") from error
