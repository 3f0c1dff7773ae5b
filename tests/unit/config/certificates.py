"""Certificates and keys, made on the spot."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)


@dataclass(frozen=True)
class Pair:
    """The paths of a certificate and of its key."""

    certificate: Path
    key: Path


def make_pair(
    directory: Path,
    name: str,
    *,
    start: datetime,
    lifetime: timedelta,
    names: tuple[str, ...] = ("localhost",),
    password: bytes = b"",
) -> Pair:
    """A self-signed certificate, valid from `start` (UTC) for `lifetime`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + lifetime)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(host) for host in names])
        builder = builder.add_extension(alternatives, critical=False)
    pair = Pair(directory / f"{name}.pem", directory / f"{name}.key")
    certificate = builder.sign(key, hashes.SHA256())
    pair.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    protection = BestAvailableEncryption(password) if password else NoEncryption()
    pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection))
    return pair
