"""What can go wrong with another registry.

UpstreamError                   it answered what can't be used
├── UpstreamAddressError        the address or an option can't be used
├── UpstreamContentError        what it sent is not what it promised, or is too large
├── UpstreamRefusedError        it wants other credentials, or gets none
└── UpstreamUnreachableError    it doesn't answer, or fails again and again

No message holds a secret: neither passwords and tokens, nor what follows the `?` of an address.
"""

from entrepot.core.errors import EntrepotError


class UpstreamError(EntrepotError):
    """Another registry answered what can't be used."""


class UpstreamAddressError(UpstreamError):
    """The address of another registry, or an option for it, can't be used."""


class UpstreamContentError(UpstreamError):
    """What another registry sent is not what it promised, or is too large."""


class UpstreamRefusedError(UpstreamError):
    """Another registry lets us not in, or asks for what we don't give."""


class UpstreamUnreachableError(UpstreamError):
    """Another registry doesn't answer, or fails again and again."""
