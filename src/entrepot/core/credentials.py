"""Secrets that the registry makes itself: personal access tokens and robots' secrets.

    entr_pat_3vXmYB0c…  entr_rob_Zk81hUqT…

`entr_`, three letters for the kind, `_`, 32 random letters and digits (190 bits), and 6 that are
the CRC-32 of all before: secret scanners find them by `entr_(pat|rob)_[0-9A-Za-z]{38}`, and can
tell a real one from a look-alike without asking anybody. Nobody can guess such a secret, so a plain
SHA-256 of it is kept, and not a hash that is slow to make.
"""

import hashlib
import re
import zlib
from typing import Final, Literal

SecretKind = Literal["pat", "rob"]

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM: Final = 32
_SUM: Final = 6
RANDOM_BYTES: Final = 32
"""How many random bytes `make_secret` wants: more than it needs, so that no digit is favoured."""

_PREFIXES: Final = ("entr_pat_", "entr_rob_")
_FORM: Final = re.compile(r"entr_(pat|rob)_[0-9A-Za-z]{38}")


def make_secret(kind: SecretKind, random: bytes) -> str:
    """Return a new secret from `RANDOM_BYTES` random bytes."""
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"{RANDOM_BYTES} random bytes are needed")
    text = f"entr_{kind}_{_in_digits(int.from_bytes(random), _RANDOM)}"
    return text + _checksum(text)


def is_meant_as_secret(text: str) -> bool:
    """Tell whether `text` begins as our secrets do, mistyped or not."""
    return text.startswith(_PREFIXES)


def secret_kind(text: str) -> SecretKind | None:
    """Return what kind of secret `text` has the form of; None if it can be none of ours."""
    match = _FORM.fullmatch(text)
    if match is None or _checksum(text[:-_SUM]) != text[-_SUM:]:
        return None
    return "pat" if match[1] == "pat" else "rob"


def fingerprint(secret: str) -> bytes:
    """Return the 32 bytes by which a secret is known: they lead nobody back to it."""
    return hashlib.sha256(secret.encode("utf-8")).digest()


def _checksum(text: str) -> str:
    return _in_digits(zlib.crc32(text.encode("ascii")), _SUM)


def _in_digits(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
