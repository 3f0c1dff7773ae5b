"""Keys, certificates and tokens, made as the token servers that people run make them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from joserfc import jws
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

ISSUER: Final = "auth.example"
SERVICE: Final = "registry.example"

EC: Final = ECKey.generate_key("P-256")
RSA: Final = RSAKey.generate_key(2048)
ED: Final = OKPKey.generate_key("Ed25519")
SECRET: Final = OctKey.generate_key(256)
OTHER: Final = ECKey.generate_key("P-256")
"""A key that nobody trusts."""


def claims_of(
    *access: Mapping[str, Any], at: float | None = None, **changes: Any
) -> dict[str, Any]:
    """Claims that count now, or at another time in seconds since 1970; None takes one out."""
    now = int(time.time() if at is None else at)
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "sub": "alice",
        "aud": SERVICE,
        "exp": now + 300,
        "nbf": now - 5,
        "iat": now,
        "jti": "1",
        "access": list(access),
    }
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


def pull(name: str, *actions: str) -> dict[str, Any]:
    return {"type": "repository", "name": name, "actions": list(actions or ("pull",))}


def token_of(
    claims: Mapping[str, Any] | bytes,
    key: Key = EC,
    *,
    alg: str = "ES256",
    header: Mapping[str, Any] | None = None,
) -> str:
    """A token signed by `key`, with whatever else its header shall say."""
    registry = jws.JWSRegistry(algorithms=[alg], strict_check_header=False)
    registry.max_header_length = 1 << 20
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    algorithm = registry.algorithms[alg]
    head = json.dumps({"typ": "JWT", "alg": alg, **(header or {})}).encode()
    signed = b".".join(map(b64, (head, payload)))
    return (signed + b"." + b64(algorithm.sign(signed, key))).decode()


def b64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def spki(key: Key) -> bytes:
    assert not isinstance(key, OctKey)
    return key.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_set(*keys: Key, **parameters: str) -> bytes:
    """A JWKS of the public sides of keys, each with the id `key-N` unless told otherwise."""
    listed = [
        {
            **key.as_dict(private=isinstance(key, OctKey)),
            "kid": f"key-{number}",
            "use": "sig",
            **parameters,
        }
        for number, key in enumerate(keys)
    ]
    return json.dumps({"keys": listed}).encode()


class Chain:
    """An authority, one below it, and a certificate for a key that signs tokens."""

    def __init__(self, leaf: Key = EC, *, days: int = 30) -> None:
        self.root_key = ec.generate_private_key(ec.SECP256R1())
        self._between_key = ec.generate_private_key(ec.SECP256R1())
        self.root = certify("root", self.root_key.public_key(), "root", self.root_key, days=days)
        self.between = certify(
            "between", self._between_key.public_key(), "root", self.root_key, days=days
        )
        assert not isinstance(leaf, OctKey)
        self.leaf = certify(
            "leaf", leaf.public_key, "between", self._between_key, authority=False, days=days
        )

    def header(self, *certificates: x509.Certificate) -> list[str]:
        return x5c(*(certificates or (self.leaf, self.between)))


def x5c(*certificates: x509.Certificate) -> list[str]:
    return [base64.b64encode(each.public_bytes(Encoding.DER)).decode() for each in certificates]


def self_signed(key: Key) -> x509.Certificate:
    """What `openssl req -x509` makes of a key, as guides to token servers have it."""
    assert not isinstance(key, OctKey | OKPKey)
    private = key.private_key
    assert private is not None
    return certify("token", private.public_key(), "token", private)


def certify(
    name: str,
    public: Any,
    issuer: str,
    signer: Any,
    *,
    authority: bool = True,
    days: int = 30,
) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(signer, SHA256())
    )


def pem(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)
