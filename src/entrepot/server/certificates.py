"""The server's certificate, its key and the authorities of its clients.

The files are read once, checked, and handed to the workers as anonymous files in memory: every
worker of a generation has the same pair, however the files change meanwhile, and a worker that is
started again gets the last pair that worked.
"""

import os
import ssl
from pathlib import Path
from typing import Final, NamedTuple

from entrepot.config.schema_http import Tls
from entrepot.server.errors import StartError

Version = tuple[tuple[int, int, int], ...]
"""What tells versions of the files apart: inode, time of change and size of each."""


_VERSIONS: Final = {"tls1.2": ssl.TLSVersion.TLSv1_2, "tls1.3": ssl.TLSVersion.TLSv1_3}


class Certificates(NamedTuple):
    """Files that this process and its children may open, and what is to be done with them."""

    certificate: str
    key: str
    authorities: str | None
    minimum_version: str
    clients_must_have_one: bool
    version: Version


def load_certificates(tls: Tls) -> Certificates:
    """Read and check everything; raises StartError, naming the file, if it can't be used."""
    version = current_version(tls)
    certificate, key = _read(tls.certificate), _read(tls.key)
    authorities = b"\n".join(_read(path) for path in tls.clientcas)
    loaded = Certificates(
        certificate=_in_memory("certificate", certificate),
        key=_in_memory("key", key),
        authorities=_in_memory("clientcas", authorities) if tls.clientcas else None,
        minimum_version=tls.minimum_version,
        clients_must_have_one=tls.client_certificates == "required",
        version=version,
    )
    try:
        _check(loaded, tls=tls, authorities=authorities)
    except StartError:
        release(loaded)
        raise
    return loaded


def tls_context(given: Certificates) -> ssl.SSLContext:
    """Return what serves HTTP/1.1 over TLS with the pair, and verifies clients' certificates as the
    other server does (`engine.py`): an authority counts also if another one signed it, and of the
    cipher suites of TLS 1.2 those with forward secrecy and authenticated encryption.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[given.minimum_version]
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(given.certificate, given.key)
    if given.authorities is not None:
        context.load_verify_locations(given.authorities)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        required = given.clients_must_have_one
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def current_version(tls: Tls) -> Version:
    """The version of the files as they are now; zeros for one that can't be seen."""
    return tuple(_stamp(path) for path in (tls.certificate, tls.key, *tls.clientcas))


def release(certificates: Certificates) -> None:
    """Forget files in memory that no worker will be started with any more."""
    for path in (certificates.certificate, certificates.key, certificates.authorities):
        if path is not None:
            os.close(int(path.rpartition("/")[2]))


def _check(loaded: Certificates, *, tls: Tls, authorities: bytes) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(loaded.certificate, loaded.key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise StartError(
            f"certificate {tls.certificate} and key {tls.key} can't be used: {plain_reason(error)}"
        ) from error
    if tls.clientcas:
        try:
            context.load_verify_locations(cadata=authorities.decode("ascii", errors="replace"))
        except (ssl.SSLError, ValueError) as error:
            names = ", ".join(tls.clientcas)
            raise StartError(f"clientcas {names} can't be used: {plain_reason(error)}") from error


def _no_password() -> str:
    raise ValueError("the key is protected by a password")


def plain_reason(error: ssl.SSLError | ValueError) -> str:
    """Say in plain words what OpenSSL has against a certificate, a key or a client."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    reason = getattr(error, "reason", None)
    if isinstance(reason, str):
        return reason.replace("_", " ").lower()
    if isinstance(error, ssl.SSLError):
        return "one of them is not what it should be in PEM form"
    return str(error)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise StartError(f"{path} can't be read: {reason}") from error


def _stamp(path: str) -> tuple[int, int, int]:
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return (0, 0, 0)
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def _in_memory(name: str, content: bytes) -> str:
    descriptor = os.memfd_create(f"entrepot-{name}", os.MFD_CLOEXEC)
    os.write(descriptor, content)
    return f"/proc/self/fd/{descriptor}"
