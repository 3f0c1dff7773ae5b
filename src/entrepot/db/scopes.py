"""What a credential is limited to, as a text of the index: JSON, or nothing for no limit."""

import msgspec

from entrepot.core.access import Scope


def encode_scopes(scopes: tuple[Scope, ...] | None) -> str | None:
    """Return the text for some scopes."""
    if scopes is None:
        return None
    return msgspec.json.encode(scopes).decode()


def decode_scopes(text: str | None) -> tuple[Scope, ...] | None:
    """Return the scopes that a text stands for."""
    return None if text is None else msgspec.json.decode(text, type=tuple[Scope, ...])
