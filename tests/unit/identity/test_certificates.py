"""Whom a client certificate names: by its subject, or by an alternative name."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from entrepot.core.access import Identity, Origin
from entrepot.core.errors import UnauthorizedError
from entrepot.identity.certificates import Certificates, NameField
from entrepot.telemetry import Metrics


def certificate(common: str = "Ada", *names: x509.GeneralName) -> str:
    """What a proxy sends of a certificate."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return quote(builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode())


FULL = certificate(
    "Ada",
    x509.RFC822Name("ada@elsewhere.example"),
    x509.RFC822Name("ada@corp.example"),
    x509.DNSName("ada.corp.example"),
    x509.UniformResourceIdentifier("spiffe://corp.example/ns/ci/sa/ada"),
)


@pytest.mark.parametrize(
    "field, pattern, shown, name",
    [
        ("commonname", ".+", FULL, "Ada"),
        ("commonname", "[a-z]+", FULL, None),
        ("email", "(.+)@corp\\.example", FULL, "ada"),
        ("email", "(.+)@corp", FULL, None),
        ("dns", ".+", FULL, "ada.corp.example"),
        ("dns", "([^.]+)\\.corp\\.example", FULL, "ada"),
        ("uri", "spiffe://corp\\.example/ns/ci/sa/(.+)", FULL, "ada"),
        ("uri", "spiffe://corp\\.example/ns/other/sa/(.+)", FULL, None),
        ("dns", ".+", certificate("Ada"), None),
        ("commonname", ".+", certificate("a\nb"), None),
        ("commonname", ".+", "nonsense", None),
        ("commonname", ".+", FULL + "A" * 20_000, None),
        ("commonname", ".+", "", None),
    ],
)
def test_whom_it_names(
    tmp_path: Path, field: NameField, pattern: str, shown: str, name: str | None
) -> None:
    async def adopt(identity: Identity) -> Identity:
        return identity

    source = Certificates(field=field, pattern=pattern, adopt=adopt, metrics=Metrics(tmp_path))
    for authorization in (None, "Basic YTpi"):
        asked = source.authenticate(authorization, Origin("192.0.2.1", shown))
        if name is None or authorization is not None:
            with pytest.raises(UnauthorizedError):
                asyncio.run(asked)
        else:
            assert asyncio.run(asked) == Identity(name, "certificate")
