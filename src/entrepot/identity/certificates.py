"""`auth.certificate`: client certificates that the server, or a proxy in front, has verified."""

import re
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Final, Literal, NoReturn

import structlog
from cryptography import x509
from cryptography.x509.oid import NameOID
from msgspec import Struct

from entrepot.core.access import Identity, Origin
from entrepot.core.accounts import ROBOT_PREFIX
from entrepot.core.errors import CertificateRefusedError, UnauthorizedError
from entrepot.telemetry import Metrics

METHOD: Final = "certificate"
_LONGEST: Final = 16_384
_LONGEST_NAME: Final = 255

NameField = Literal["commonname", "email", "dns", "uri"]

_log = structlog.get_logger("entrepot.identity")


class Shown(Struct, frozen=True):
    """Whom a certificate names, empty for nobody, and until when (microseconds since 1970)."""

    name: str = ""
    until: int = 0


class Certificates:
    """Tells people by the `field` of their certificate. Of its values the first that `pattern`
    matches as a whole counts; the pattern's first group is the name, or all of it without a group.
    `now` is in microseconds since 1970: connections may outlive a certificate.

    Whoever sends credentials besides is judged by those alone.
    """

    challenge: None = None

    def __init__(
        self,
        *,
        field: NameField,
        pattern: str,
        adopt: Callable[[Identity], Awaitable[Identity | None]],
        now: Callable[[], int],
        metrics: Metrics,
    ) -> None:
        self._field = field
        self._pattern = re.compile(pattern)
        self._adopt = adopt
        self._now = now
        self._metrics = metrics
        self._shown = lru_cache(maxsize=1024)(self._read)

    async def authenticate(self, authorization: str | None, origin: Origin) -> Identity:
        """See `Authenticator.authenticate`. Raises CertificateRefusedError if a certificate was
        shown and is no good.
        """
        if authorization or not origin.certificate:
            raise UnauthorizedError
        fits = len(origin.certificate) <= _LONGEST
        shown = self._shown(origin.certificate) if fits else Shown()
        name = shown.name
        if not name:
            self._refuse("the client certificate names nobody who is known here")
        if self._now() >= shown.until:
            self._refuse(f"the client certificate of {name} has expired", name)
        identity = await self._adopt(Identity(name, METHOD))
        if identity is None:
            self._refuse(f"{name} may not log in by a client certificate", name)
        self._metrics.authentication(METHOD, "verified")
        return identity

    def recall(self, authorization: str | None) -> None:
        """See `Authenticator.recall`: a certificate is not in the header."""

    def _refuse(self, reason: str, name: str = "") -> NoReturn:
        self._metrics.authentication(METHOD, "refused")
        _log.info("authentication by certificate refused", reason=reason, **{"user.name": name})
        raise CertificateRefusedError(reason, name=name)

    def _read(self, pem: str) -> Shown:
        try:
            certificate = x509.load_pem_x509_certificate(pem.encode("latin-1", "replace"))
        except ValueError:
            return Shown()
        until = round(certificate.not_valid_after_utc.timestamp() * 1_000_000)
        for value in _values(certificate, self._field):
            match = self._pattern.fullmatch(value)
            if match is not None:
                name = (match[1] or "") if match.re.groups else value
                return Shown(name, until) if _can_be_a_user(name) else Shown()
        return Shown()


def _can_be_a_user(name: str) -> bool:
    fits = name.isprintable() and name == name.strip() and len(name) <= _LONGEST_NAME
    return fits and not name.startswith(ROBOT_PREFIX)


def _values(certificate: x509.Certificate, field: NameField) -> list[str]:
    """Return the values of a field of a certificate; none if it can't be read."""
    try:
        if field == "commonname":
            found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            return [str(name.value) for name in found]
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (ValueError, x509.ExtensionNotFound):
        return []
    names = extension.value
    match field:
        case "email":
            return list(names.get_values_for_type(x509.RFC822Name))
        case "dns":
            return list(names.get_values_for_type(x509.DNSName))
    return list(names.get_values_for_type(x509.UniformResourceIdentifier))
