"""Certificates for tests, made on the spot: an authority and what it signs for 127.0.0.1."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; its own is `ca.crt` in the folder it was made in."""

    def __init__(
        self, folder: Path, *, name: str = "Test authority", signed_by: Authority | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        above = signed_by or self
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        builder = _builder(self._name, above._name, self._key, days=30)
        self._own = builder.add_extension(constraints, critical=True).sign(
            above._key, hashes.SHA256()
        )
        self.certificate = folder / "ca.crt"
        self.certificate.write_bytes(self._own.public_bytes(serialization.Encoding.PEM))

    def server(self, name: str = "server", *, days: int = 10) -> Pair:
        """A certificate for localhost, 127.0.0.1, and 0.0.0.0, which is this machine too, but not
        to docker; expired since yesterday if `days` is -1.
        """
        names = x509.SubjectAlternativeName(
            [
                x509.DNSName("localhost"),
                *(x509.IPAddress(ipaddress.ip_address(each)) for each in ("127.0.0.1", "0.0.0.0")),
            ]
        )
        return self._sign(name, names, usage=ExtendedKeyUsageOID.SERVER_AUTH, days=days)

    def client(self, name: str = "client", *, days: int = 10) -> Pair:
        """A certificate that a client shows; its common name is `name`. It has expired since
        yesterday if `days` is -1.
        """
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        return self._sign(name, names, usage=ExtendedKeyUsageOID.CLIENT_AUTH, days=days)

    def _sign(
        self,
        name: str,
        names: x509.SubjectAlternativeName,
        *,
        usage: x509.ObjectIdentifier,
        days: int,
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(_named(name), self._name, key, days=days)
            .add_extension(names, critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        )
        pair = Pair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        signed = builder.sign(self._key, hashes.SHA256())
        pair.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        pair.key.chmod(0o600)
        return pair


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=40))
        .not_valid_after(now + timedelta(days=days))
    )
