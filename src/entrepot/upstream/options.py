"""How another registry is talked to."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from entrepot.upstream.errors import UpstreamAddressError


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name and its password, for one registry."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """`ca` holds the authorities to trust instead of the system's; `certificate` and `key` are what
    we show (PEM files). `insecure` believes any certificate.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False

    def context(self) -> ssl.SSLContext:
        """Return the context for connections, or raise `UpstreamAddressError`."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except OSError as error:  # ssl.SSLError is one
            files = ", ".join(str(path) for path in (self.ca, self.certificate, self.key) if path)
            reason = error.strerror or str(error)
            raise UpstreamAddressError(f"{files}: no usable PEM file: {reason}") from error
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


@dataclass(frozen=True, slots=True)
class UpstreamOptions:
    """`token_hosts` may receive the credentials besides the registry's own host, to give tokens for
    them. A request is sent at most `attempts` times; before the second `pause` seconds pass, then
    twice as many, and so on. `timeout` is how long nothing may arrive, in seconds.
    """

    credentials: Credentials | None = None
    token_hosts: frozenset[str] = frozenset()
    tls: TlsOptions = TlsOptions()
    attempts: int = 6
    pause: float = 0.5
    timeout: float = 60.0
    connections: int = 16
    manifest_size: int = 4_194_304
