"""Who is calling: what an authenticator promises, and what it returns.

`anonymous` and `htpasswd` are the authenticators; `entrepot.app` chooses one.
"""

from entrepot.core.access import Identity
from entrepot.identity.authenticator import Authenticator
from entrepot.identity.errors import IdentityError

__all__ = ["Authenticator", "Identity", "IdentityError"]
