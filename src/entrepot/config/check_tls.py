"""Trying out certificates and keys."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from entrepot.config.finding import Finding, error, ok, warning
from entrepot.config.schema_http import Tls

SOON = timedelta(days=30)
"""Time before its end from which a certificate is warned of."""


def check_tls(tls: Tls, *, now: datetime) -> Iterator[Finding]:
    """What is wrong with certificate, key and client authorities; `now` is in UTC."""
    if not tls.enabled:
        yield ok("http.tls", "off")
        return
    chain, findings = _certificates("http.tls.certificate", tls.certificate)
    yield from findings
    if chain:
        yield from _validity("http.tls.certificate", tls.certificate, chain[0], now=now)
        yield from _names(tls.certificate, chain[0])
    yield _key(tls.key, chain[0] if chain else None)
    for index, path in enumerate(tls.clientcas):
        what = f"http.tls.clientcas[{index}]"
        authorities, findings = _certificates(what, path)
        yield from findings
        for authority in authorities:
            yield from _validity(what, path, authority, now=now)
    yield ok("http.tls.minimumtls", tls.minimum_version)


def _read(what: str, path: str) -> tuple[bytes, list[Finding]]:
    try:
        return Path(path).read_bytes(), []
    except (OSError, ValueError) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else failure
        return b"", [error(what, f"{path} can't be read: {reason}")]


def _certificates(what: str, path: str) -> tuple[list[x509.Certificate], list[Finding]]:
    content, findings = _read(what, path)
    if findings:
        return [], findings
    try:
        return x509.load_pem_x509_certificates(content), []
    except ValueError:
        return [], [error(what, f"{path} has no PEM certificates that can be read")]


def _validity(
    what: str, path: str, certificate: x509.Certificate, *, now: datetime
) -> Iterator[Finding]:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now >= end:
        yield error(what, f"{path} expired on {end:%Y-%m-%d}")
    elif now < start:
        yield error(what, f"{path} is not valid before {start:%Y-%m-%d %H:%M} UTC")
    elif end - now < SOON:
        yield warning(what, f"{path} expires in {(end - now).days} days, on {end:%Y-%m-%d}")
    else:
        yield ok(what, f"{path} is valid until {end:%Y-%m-%d}")


def _names(path: str, certificate: x509.Certificate) -> Iterator[Finding]:
    """Docker and every other client in Go ignores the common name."""
    try:
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        message = f"{path} has no subject alternative name; clients will refuse it"
        yield warning("http.tls.certificate", message)
    except ValueError:
        yield warning("http.tls.certificate", f"{path} has extensions that can't be read")


def _key(path: str, certificate: x509.Certificate | None) -> Finding:
    what = "http.tls.key"
    content, findings = _read(what, path)
    if findings:
        return findings[0]
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError:
        return error(what, f"{path} is encrypted with a password; give it without")
    except (ValueError, UnsupportedAlgorithm):
        return error(what, f"{path} has no PEM private key that can be read")
    if certificate is None:
        return ok(what, f"{path} can be read")
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        return error(what, f"{path} doesn't belong to the certificate")
    return ok(what, f"{path} belongs to the certificate")
