"""Who is calling: what an authenticator promises, and what it returns.

`anonymous` and `htpasswd` are the authenticators; `entrepot.app` chooses one.
"""

from entrepot.identity.authenticator import Authenticator, Identity
from entrepot.identity.errors import IdentityError

__all__ = ["Authenticator", "Identity", "IdentityError"]
