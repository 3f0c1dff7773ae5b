"""`auth.certificate`: client certificates that a proxy in front has verified."""

import re
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Final, Literal
from urllib.parse import unquote

import structlog
from cryptography import x509
from cryptography.x509.oid import NameOID

from entrepot.core.access import Identity, Origin
from entrepot.core.errors import UnauthorizedError
from entrepot.telemetry import Metrics

METHOD: Final = "certificate"
_LONGEST: Final = 16_384

NameField = Literal["commonname", "email", "dns", "uri"]

_log = structlog.get_logger("entrepot.identity")


class Certificates:
    """Tells people by the `field` of their certificate. Of its values the first that `pattern`
    matches as a whole counts; the pattern's first group is the name, or all of it without a group.

    Whoever sends credentials besides is judged by those alone.
    """

    challenge: None = None

    def __init__(
        self,
        *,
        field: NameField,
        pattern: str,
        adopt: Callable[[Identity], Awaitable[Identity | None]],
        metrics: Metrics,
    ) -> None:
        self._field = field
        self._pattern = re.compile(pattern)
        self._adopt = adopt
        self._metrics = metrics
        self._name = lru_cache(maxsize=1024)(self._read)

    async def authenticate(self, authorization: str | None, origin: Origin) -> Identity:
        """See `Authenticator.authenticate`."""
        if authorization or not origin.certificate or len(origin.certificate) > _LONGEST:
            raise UnauthorizedError
        name = self._name(origin.certificate)
        identity = await self._adopt(Identity(name, METHOD)) if name else None
        if identity is None:
            self._metrics.authentication(METHOD, "refused")
            _log.info("authentication by certificate refused", **{"user.name": name})
            raise UnauthorizedError
        self._metrics.authentication(METHOD, "verified")
        return identity

    def recall(self, authorization: str | None) -> None:
        """See `Authenticator.recall`: a certificate is not in the header."""

    def _read(self, escaped: str) -> str:
        """Return whom a certificate, URL-encoded PEM, names; nothing if nobody."""
        for value in _values(unquote(escaped).encode("latin-1", "replace"), self._field):
            match = self._pattern.fullmatch(value)
            if match is not None and value.isprintable():
                return match[1] if match.re.groups else value
        return ""


def _values(pem: bytes, field: NameField) -> list[str]:
    """Return the values of a field of a certificate; none if it is no certificate."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
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
