"""Which passwords people may choose: long ones that nobody would try first."""

import re
from typing import Final

from msgspec import Struct

from entrepot.core.accounts import AccountError
from entrepot.core.credentials import is_meant_as_secret

LONGEST: Final = 1024
"""Characters; a longer one would only cost time."""

_FEWEST_KINDS: Final = 5
_LEET: Final = str.maketrans("013457@$!", "oieastasi")
_EDGES: Final = re.compile(r"^[\W\d_]+|[\W\d_]+$")
_ROWS: Final = (
    "01234567890123456789",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
)

# Words that lists of leaked passwords are full of, alone or with digits and signs around them.
_WORDS: Final = """
    access admin adminadmin administrator andrew asdasd asdf asdfgh asdfghjkl ashley azerty baseball
    basketball batman changeit changeme charlie chocolate computer container containers daniel
    default dockerdocker docker dockerhub dragon entrepot family flower football freedom friends
    fuckyou google guest harbor hello helloworld hunter iloveyou jennifer jessica jordan killer
    kubernetes letmein letmeinnow login loveme lovely manager master matrix michael michelle
    monkey mustang nicole ninja nothing orange passpass passw password passwordpassword passwort
    pepper please pokemon princess private purple qazwsx qwaszx qwert qwerty qwertyqwerty
    qwertyuiop rainbow ranger registry registryregistry robert root rootroot samsung secret
    secretsecret service shadow silver soccer starwars summer sunshine superman superuser supervisor
    sysadmin system temp temppass temporary test testing testtest thomas thunder tigger toor
    trustno trustnoone unknown user username welcome welcomewelcome whatever william winter
    woaini woaiwojia yankees yourpassword
"""
_COMMON: Final = frozenset(_WORDS.split())


class PasswordPolicy(Struct, frozen=True):
    """What a password must fulfil."""

    shortest: int = 12
    """In characters."""

    def check(self, password: str, *, name: str) -> None:
        """Raise AccountError, without a word of the password, unless `name` may have it."""
        if len(password) < self.shortest:
            raise AccountError(f"the password is shorter than {self.shortest} characters")
        if len(password) > LONGEST:
            raise AccountError(f"the password is longer than {LONGEST} characters")
        if "\0" in password:
            raise AccountError("the password has a NUL character, which no client can send")
        if is_meant_as_secret(password):
            raise AccountError("the password begins as secrets do that the registry makes")
        if _is_common(password):
            raise AccountError(
                "the password is one of those that are tried first; take some words that do not "
                "belong together"
            )
        if _has_name(password, name):
            raise AccountError("the password is the user's name with something around it")


def _is_common(password: str) -> bool:
    lowered = password.lower()
    if len(set(lowered)) < _FEWEST_KINDS:
        return True
    if any(lowered in row or lowered in row[::-1] for row in _ROWS):
        return True
    stem = _EDGES.sub("", lowered)
    stems = {stem, stem.translate(_LEET)}
    return bool(stems & _COMMON) or any(stem and stem in row for stem in stems for row in _ROWS)


def _has_name(password: str, name: str) -> bool:
    """Tell whether most of the password is the name, or the part of it before an @."""
    lowered = password.lower()
    parts = {name.lower(), name.lower().partition("@")[0]} - {""}
    return any(part in lowered and 2 * len(part) >= len(lowered) for part in parts) or any(
        _EDGES.sub("", lowered) == part for part in parts
    )
