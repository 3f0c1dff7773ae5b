"""Showing values without the secrets in them."""

import re
from collections.abc import Mapping

from entrepot.config.about import Secrecy

MASK = "********"

_SECRET_NAME = re.compile(r"pass|secret|token|key|credential|auth|cookie|signature", re.IGNORECASE)
_SECRET_PARAMETER = re.compile(
    r"([?&;][^=&;]*(?:pass|secret|token|key|credential|sig)[^=&;]*=)[^&;#]*", re.IGNORECASE
)
_USER = re.compile(r"^([^:/@]*://)?.*@", re.DOTALL)


def mask(value: object, secrecy: Secrecy) -> object:
    """`value` with what is secret in it replaced; an empty value is shown to be empty."""
    if secrecy == "all":
        return MASK if value or value == 0 else value
    if secrecy == "url" and isinstance(value, str):
        return mask_url(value)
    return value


def mask_url(url: str) -> str:
    """The URL without user name, password and secret query parameters.

    Everything up to the last `@` goes, so that nothing is left of a password that should have been
    percent-encoded and wasn't.
    """
    return _SECRET_PARAMETER.sub(rf"\1{MASK}", _USER.sub(rf"\1{MASK}@", url))


def sounds_secret(name: str) -> bool:
    """Whether a key that is not in the schema is probably that of a secret."""
    return _SECRET_NAME.search(name) is not None


def mask_named(name: str, value: object) -> object:
    """A value whose key is not in the schema: masked if the key sounds secret, at any depth."""
    if sounds_secret(name):
        return mask(value, "all")
    if isinstance(value, Mapping):
        return {key: mask_named(str(key), inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(mask_named(name, inner) for inner in value)
    return value
