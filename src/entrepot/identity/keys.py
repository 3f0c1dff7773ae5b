"""Keys that are trusted to sign tokens, and how a token says which of them signed it.

Every dialect is understood (the ids are explained in `docs/access.md`):

1. `x5c`: a chain of certificates that leads to one of the bundle, or is one of the bundle.
2. `jwk`: the key itself, which must be trusted, or have an `x5c` of its own.
3. `kid`: the id of a key in its set, its thumbprint (RFC 7638), or `registry:2`'s fingerprint.
4. none of these: any of the keys.
"""

import base64
import binascii
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key, OctKey, OKPKey, RSAKey

from entrepot.core.tokens import TokenRefusedError, libtrust_fingerprint
from entrepot.identity.errors import IdentityError
from entrepot.identity.jws import Header

LARGEST_SET: Final = 1_048_576
"""Bytes of a key set or bundle at most."""

MOST_KEYS: Final = 1024
_MOST_TRIED: Final = 32
"""Keys that are tried at most for a token that names none."""

_LEAST_RSA_BITS: Final = 2048
_LEAST_SECRET_BITS: Final = 256
_TYPES: Final[tuple[type[RSAKey] | type[ECKey] | type[OKPKey], ...]] = (ECKey, RSAKey, OKPKey)


class TrustedKeys:
    """Keys under every id that they may be called by, and certificates that chains may lead to."""

    def __init__(self, keys: Iterable[Key] = (), roots: Sequence[x509.Certificate] = ()) -> None:
        self.keys = list(keys)
        self._roots = list(roots)
        self._by_id: dict[str, Key] = {}
        for key in self.keys:
            for name in ids_of(key):
                self._by_id.setdefault(name, key)

    def __or__(self, other: "TrustedKeys") -> "TrustedKeys":
        """Return the keys and certificates of both."""
        return TrustedKeys(self.keys + other.keys, self._roots + other._roots)

    def find(self, header: Header, *, now: float) -> list[Key]:
        """Return the keys that may have signed a token with this header (see the module); `now` is
        in seconds since 1970.

        Raises:
            TokenRefusedError: the key that it names isn't trusted.
        """
        if header.x5c:
            return [self._leaf(header.x5c, now=now)]
        if header.jwk is not None:
            return [self._embedded(header.jwk, now=now)]
        if header.kid:
            key = self._by_id.get(header.kid)
            if key is None:
                raise TokenRefusedError("the key that signed the token is not trusted")
            return [key]
        return self.keys[:_MOST_TRIED]

    def knows(self, header: Header) -> bool:
        """Whether a token's key would be found by its id, if it has one."""
        return not header.kid or header.kid in self._by_id or bool(header.x5c)

    def _embedded(self, jwk: dict[str, Any], *, now: float) -> Key:
        if jwk.get("kty") == OctKey.key_type:
            raise TokenRefusedError("the key in the token's header is a secret")
        try:
            _refuse_weak(jwk)
            key = JWKRegistry.import_key(jwk)
        except (JoseError, IdentityError, ValueError, TypeError, KeyError) as error:
            raise TokenRefusedError("the key in the token's header is malformed") from error
        thumbprint = key.thumbprint()
        chain = jwk.get("x5c")
        if isinstance(chain, list) and chain:
            leaf = self._leaf([str(link) for link in chain], now=now)
            if leaf.thumbprint() != thumbprint:
                raise TokenRefusedError("the key in the token's header is not its certificate's")
            return leaf
        trusted = self._by_id.get(thumbprint)
        if trusted is None:
            raise TokenRefusedError("the key in the token's header is not trusted")
        return trusted

    def _leaf(self, chain: Sequence[str], *, now: float) -> Key:
        """Return the key of the first certificate of a chain that leads to the bundle."""
        try:
            leaf, *between = (
                x509.load_der_x509_certificate(base64.b64decode(link, validate=True))
                for link in chain
            )
            self._check_chain(leaf, between, moment=datetime.fromtimestamp(now, UTC))
            return key_of(leaf)
        except (VerificationError, UnsupportedAlgorithm) as error:
            raise TokenRefusedError("the chain of certificates is not trusted") from error
        except (binascii.Error, ValueError, IdentityError) as error:
            raise TokenRefusedError("a certificate of the chain is malformed") from error

    def _check_chain(
        self, leaf: x509.Certificate, between: list[x509.Certificate], *, moment: datetime
    ) -> None:
        if leaf in self._roots:
            if not leaf.not_valid_before_utc <= moment <= leaf.not_valid_after_utc:
                raise VerificationError
            return
        if not self._roots:
            raise VerificationError
        authority = ExtensionPolicy.permit_all().require_present(
            x509.BasicConstraints, Criticality.AGNOSTIC, _must_be_authority
        )
        verifier = (
            PolicyBuilder()
            .store(Store(self._roots))
            .time(moment)
            .extension_policies(ca_policy=authority, ee_policy=ExtensionPolicy.permit_all())
            .build_client_verifier()
        )
        verifier.verify(leaf, between)


def _must_be_authority(
    _policy: object, _certificate: x509.Certificate, constraints: x509.BasicConstraints
) -> None:
    if not constraints.ca:
        raise ValueError("not the certificate of an authority")


def ids_of(key: Key) -> Iterable[str]:
    """Return what a key may be called by in the header of a token."""
    if key.kid:
        yield key.kid
    if not isinstance(key, OctKey):
        yield key.thumbprint()
        raw = key.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        yield libtrust_fingerprint(raw)


def key_of(certificate: x509.Certificate) -> Key:
    """Return the public key of a certificate. Raises `IdentityError` if it can't sign tokens."""
    public = certificate.public_key()
    if isinstance(public, RSAPublicKey) and public.key_size < _LEAST_RSA_BITS:
        raise IdentityError(f"an RSA key of less than {_LEAST_RSA_BITS} bits is not accepted")
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for kind in _TYPES:
        try:
            return kind.import_key(pem)
        except (JoseError, ValueError, TypeError):
            continue
    raise IdentityError("the certificate's key is neither RSA nor EC nor Ed25519")


def read_bundle(content: bytes) -> TrustedKeys:
    """Return the keys of the certificates in a PEM file. Raises `IdentityError`."""
    try:
        certificates = x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise IdentityError(f"not a PEM file with certificates: {error}") from error
    return TrustedKeys([key_of(certificate) for certificate in certificates], certificates)


def read_key_set(content: bytes) -> TrustedKeys:
    """Return the keys of a JSON Web Key Set (RFC 7517, 5). Raises `IdentityError`.

    Keys of types that are unknown, and keys that are not for signatures, are passed over.
    """
    if len(content) > LARGEST_SET:
        raise IdentityError(f"the key set has more than {LARGEST_SET} bytes")
    try:
        found = msgspec.json.decode(content)["keys"]
        listed = [dict(entry) for entry in found[:MOST_KEYS]]
    except (msgspec.DecodeError, RecursionError, KeyError, TypeError, ValueError) as error:
        raise IdentityError('not a key set: expected {"keys": [...]}') from error
    keys = []
    for entry in listed:
        if entry.get("use", "sig") != "sig" or entry.get("kty") not in JWKRegistry.key_types:
            continue
        _refuse_weak(entry)
        try:
            keys.append(JWKRegistry.import_key(_cleaned(entry)))
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise IdentityError(f"a key of the set is malformed: {error}") from error
    return TrustedKeys(keys)


def _cleaned(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a key without members that say nothing about how it verifies."""
    return {name: value for name, value in entry.items() if name not in {"key_ops", "x5c"}}


def _refuse_weak(entry: dict[str, Any]) -> None:
    """Raise `IdentityError` for a key that is too short, by the length of its base64url."""
    if entry.get("kty") == RSAKey.key_type and len(str(entry.get("n"))) < _LEAST_RSA_BITS / 6:
        raise IdentityError(f"an RSA key of less than {_LEAST_RSA_BITS} bits is not accepted")
    if entry.get("kty") == OctKey.key_type and len(str(entry.get("k"))) < _LEAST_SECRET_BITS / 6:
        raise IdentityError(f"a secret of less than {_LEAST_SECRET_BITS} bits is not accepted")
