"""What the index keeps sealed opens with the same secret for the same purpose, and else not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.core.sealing import NONCE_BYTES, SealBrokenError, seal, unseal

NONCE = bytes(range(NONCE_BYTES))


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=80))
def test_what_was_sealed_opens(plain: bytes, secret: bytes) -> None:
    sealed = seal(plain, secret=secret, purpose="test", nonce=NONCE)
    assert unseal(sealed, secret=secret, purpose="test") == plain


@pytest.mark.parametrize(
    "secret, purpose", [(b"other", "test"), (b"secret", "other"), (b"", "test")]
)
def test_with_another_secret_or_for_another_purpose_it_does_not(
    secret: bytes, purpose: str
) -> None:
    sealed = seal(b"plain", secret=b"secret", purpose="test", nonce=NONCE)
    assert b"plain" not in sealed
    with pytest.raises(SealBrokenError):
        unseal(sealed, secret=secret, purpose=purpose)


def test_what_was_changed_does_not_open() -> None:
    """Not one bit of it, and no part of it."""
    sealed = seal(b"plain", secret=b"secret", purpose="test", nonce=NONCE)
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        for broken in (bytes(changed), sealed[:place]):
            with pytest.raises(SealBrokenError):
                unseal(broken, secret=b"secret", purpose="test")


def test_a_nonce_has_its_length() -> None:
    with pytest.raises(ValueError, match="random bytes"):
        seal(b"", secret=b"s", purpose="test", nonce=b"short")
