"""Whom a client certificate names: by its subject, or by an alternative name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from entrepot.core.access import Identity, Origin
from entrepot.core.errors import CertificateRefusedError, UnauthorizedError
from entrepot.identity.certificates import Certificates, NameField
from entrepot.telemetry import Metrics


def certificate(common: str = "Ada", *names: x509.GeneralName) -> str:
    """A certificate in PEM, good for a day."""
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
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


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
        ("commonname", "(?s).+", certificate("a\nb"), None),
        ("commonname", ".+", certificate(" ada"), None),
        ("commonname", ".+", certificate("robot$team+ci"), None),
        ("commonname", "(x)?Ada", FULL, None),
        ("commonname", ".+", "nonsense", None),
        ("commonname", ".+", FULL + "A" * 20_000, None),
        ("commonname", ".+", "", None),
    ],
)
def test_whom_it_names(
    tmp_path: Path, field: NameField, pattern: str, shown: str, name: str | None
) -> None:
    source = certificates(tmp_path, field=field, pattern=pattern)
    for authorization in (None, "Basic YTpi"):
        asked = source.authenticate(authorization, Origin("192.0.2.1", shown))
        if name is None or authorization is not None:
            with pytest.raises(UnauthorizedError) as refusal:
                asyncio.run(asked)
            refused = isinstance(refusal.value, CertificateRefusedError)
            assert refused is (bool(shown) and authorization is None)
        else:
            assert asyncio.run(asked) == Identity(name, "certificate")


def test_a_certificate_that_has_expired_meanwhile(tmp_path: Path) -> None:
    """On a connection that is older, it lets nobody in any more."""
    source = certificates(tmp_path, days=2)
    with pytest.raises(CertificateRefusedError) as refusal:
        asyncio.run(source.authenticate(None, Origin("192.0.2.1", FULL)))
    assert refusal.value.name == "Ada"
    assert "expired" in str(refusal.value)


def test_an_account_that_may_not_log_in(tmp_path: Path) -> None:
    async def adopt(_: Identity) -> None:
        return None

    source = certificates(tmp_path, adopt=adopt)
    with pytest.raises(CertificateRefusedError) as refusal:
        asyncio.run(source.authenticate(None, Origin("192.0.2.1", FULL)))
    assert refusal.value.entries()[0]["message"] == "Ada may not log in by a client certificate"


async def themselves(identity: Identity) -> Identity:
    return identity


def certificates(
    place: Path,
    *,
    field: NameField = "commonname",
    pattern: str = ".+",
    adopt: Callable[[Identity], Awaitable[Identity | None]] = themselves,
    days: int = 0,
) -> Certificates:
    """What knows people, some days from now."""
    return Certificates(
        field=field,
        pattern=pattern,
        adopt=adopt,
        now=lambda: time.time_ns() // 1000 + days * 86_400 * 1_000_000,
        metrics=Metrics(place),
    )
