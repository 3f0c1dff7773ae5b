"""Other registries, as a client: what imports, pull-through caches and replication read from."""

from entrepot.upstream.address import UpstreamAddress
from entrepot.upstream.errors import (
    UpstreamAddressError,
    UpstreamContentError,
    UpstreamError,
    UpstreamRefusedError,
    UpstreamUnreachableError,
)
from entrepot.upstream.options import Credentials, TlsOptions, UpstreamOptions

__all__ = [
    "Credentials",
    "TlsOptions",
    "UpstreamAddress",
    "UpstreamAddressError",
    "UpstreamContentError",
    "UpstreamError",
    "UpstreamOptions",
    "UpstreamRefusedError",
    "UpstreamUnreachableError",
]
