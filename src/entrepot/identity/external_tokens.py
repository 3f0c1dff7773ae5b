"""`auth: token`: tokens of a token server beside the registry, as registry:2 and registry:3 accept
them. What they grant is granted: the server has decided.
"""

import time
from collections.abc import Callable, Collection

from entrepot.core.tokens import (
    TokenRules,
    bearer_of,
    check_claims,
    external_holder,
    limits_of,
    read_claims,
)
from entrepot.identity.bearer import Good
from entrepot.identity.jws import read_token, verify
from entrepot.identity.key_sources import KeySource


class ExternalTokens:
    """Judges tokens of another server."""

    def __init__(
        self,
        source: KeySource,
        rules: TokenRules,
        *,
        algorithms: Collection[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._rules = rules
        self._algorithms = algorithms
        self._clock = clock

    async def check(self, token: str) -> Good:
        """Return what a token is good for, or raise `TokenRefusedError`.

        The cheap things come first: a token that says it is for somebody else costs no signature,
        and has no keys fetched.
        """
        now = self._clock()
        unverified = read_token(token, algorithms=self._algorithms)
        claims = read_claims(unverified.payload)
        check_claims(claims, self._rules, now=now)
        keys = await self._source.keys(unverified.header)
        verify(unverified, keys.find(unverified.header, now=now))
        holder = external_holder(claims)
        limits = limits_of(claims.access or ())
        return Good(
            holder=holder,
            limits=limits,
            issued=claims.iat,
            until=claims.exp + self._rules.leeway,
            revision=0,
            identity=bearer_of(holder, limits),
        )
