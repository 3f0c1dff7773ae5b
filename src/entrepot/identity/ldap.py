"""`auth.ldap`: people in a directory service, such as OpenLDAP or Active Directory.

How somebody is let in, and what each step is for:

1. An empty password is refused before anybody is asked: a server would be content with it, as with
   somebody who wants to be nobody (RFC 4513, 5.1.2).
2. A domain of Active Directory is taken off, if it is one of ours. What was typed is escaped
   wherever it goes: it can be nothing but a value.
3. The entry is searched, and exactly one must be found. Who isn't there costs a login of a name
   that nobody has, so that the time doesn't tell who is.
4. The entry and the password are given to the server. Or with `directbind` the name as it is in
   there, and then the entry must be the one that logged in.
5. Somebody is called as the entry says, not as it was typed: for a directory `ada`, `ADA` and
   `ada ` are the same, for grants they would not be.

The password is not kept. Once `life` is over the server is asked again.
"""

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final

import sansldap
import structlog
from msgspec import Struct

from entrepot.core.access import Identity
from entrepot.core.accounts import ROBOT_PREFIX
from entrepot.identity.errors import IdentityError
from entrepot.identity.ldap_answers import as_compared, without_domain
from entrepot.identity.ldap_groups import GroupFinder, GroupRules
from entrepot.identity.ldap_names import filled, in_filter, in_name, parse_name
from entrepot.identity.ldap_pool import Pool, Servers
from entrepot.identity.ldap_wire import Connection, Entry, LdapError, Server
from entrepot.identity.sources import Proof

METHOD: Final = "ldap"

_LONGEST_NAME: Final = 128
_LONGEST_PASSWORD: Final = 1024

_log = structlog.get_logger("entrepot.identity")

Adopt = Callable[[Identity], Awaitable[Identity | None]]


class LdapRules(Struct, frozen=True):
    """How people are found; see `config.schema_ldap.Ldap`. Times are in seconds."""

    binddn: str
    bindpassword: str
    directbind: str
    base: str
    filter: str
    attribute: str
    domains: frozenset[str]
    groups: GroupRules
    size: int
    connect: float
    timeout: float
    life: float


class _Person(Struct, frozen=True):
    name: str
    groups: tuple[str, ...]


class _Stamp(Struct, frozen=True):
    identity: Identity
    """As the directory has them."""
    until: float


class Ldap:
    """A source (see `identity.sources.Source`). `adopt` has the last word on who somebody is."""

    method = METHOD

    def __init__(
        self,
        servers: list[Server],
        rules: LdapRules,
        *,
        adopt: Adopt,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises IdentityError if one of the rules is malformed."""
        self._rules = rules
        self._adopt = adopt
        self._clock = clock
        try:
            parse_name(rules.base)
            self._groups = GroupFinder(rules.groups)
            self._filter("somebody")
        except ValueError as error:
            raise IdentityError(f"not as directories write it: {error}") from error
        known = Servers(servers, clock=clock)
        limits = (rules.size, rules.connect, rules.timeout)
        self._searching = _pool(known, limits, greet=self._greet)
        self._proving = _pool(known, limits)
        self._nobody = f"cn={secrets.token_hex(8)},{rules.base}"

    def account_of(self, name: bytes) -> bytes:
        """See `Source.account_of`: directories compare names without regard to case, spaces and
        accents, and a domain of ours says nothing.
        """
        typed = name.decode("utf-8", "replace").strip(" ")
        return as_compared(typed, self._rules.domains).encode()

    async def verify(self, name: bytes, password: bytes) -> Proof | None:
        """See `Source.verify`."""
        try:
            typed, secret = name.decode("utf-8").strip(" "), password.decode("utf-8")
        except UnicodeDecodeError:
            return None
        typed = without_domain(typed, self._rules.domains)
        if not typed.isprintable() or not 0 < len(typed) <= _LONGEST_NAME:
            return None
        if not 0 < len(secret) <= _LONGEST_PASSWORD:
            return None
        log_in = self._log_in_directly if self._rules.directbind else self._search_and_log_in
        person = await log_in(typed, secret)
        if person is None:
            _log.info("authentication by a directory refused")
            return None
        identity = Identity(person.name, METHOD, groups=person.groups)
        stamp = _Stamp(identity, self._clock() + self._rules.life)
        adopted = await self._adopt(identity)
        if adopted is None:
            _log.info("authentication refused", **{"user.name": person.name})
            return None
        return Proof(adopted, stamp)

    async def renew(self, proof: Proof) -> Identity | None:
        """See `Source.renew`."""
        stamp = proof.stamp
        if not isinstance(stamp, _Stamp) or self._clock() >= stamp.until:
            return None
        return await self._adopt(stamp.identity)

    def close(self) -> None:
        """See `Source.close`."""
        self._searching.close()
        self._proving.close()

    async def try_search(self) -> None:
        """Search for somebody, to see whether that works.

        Raises:
            UnreachableError: no server can be reached.
            LdapError: the server refuses it.
        """
        await self._searching.run(lambda connection: self._find(connection, "somebody"))

    async def _search_and_log_in(self, typed: str, secret: str) -> _Person | None:
        entry = await self._searching.run(lambda connection: self._find(connection, typed))
        dn = self._nobody if entry is None else entry.dn
        right = await self._proving.run(lambda connection: connection.bind(dn, secret))
        if entry is None or not right:
            return None
        return await self._searching.run(lambda connection: self._person(connection, entry))

    async def _log_in_directly(self, typed: str, secret: str) -> _Person | None:
        """Search with the rights of whoever logs in, on their own connection."""
        template = self._rules.directbind
        is_name = "=" in template
        login = filled(template, {"username": in_name(typed) if is_name else typed})

        async def work(connection: Connection) -> _Person | None:
            if not await connection.bind(login, secret):
                return None
            entry = await self._find(connection, typed, login=login)
            return None if entry is None else await self._person(connection, entry)

        return await self._proving.run(work)

    async def _greet(self, connection: Connection) -> None:
        rules = self._rules
        if rules.binddn and not await connection.bind(rules.binddn, rules.bindpassword):
            raise LdapError(f"{connection.server.url} refuses the password of {rules.binddn}")

    async def _find(self, connection: Connection, typed: str, *, login: str = "") -> Entry | None:
        """Return the one entry that is meant; with `login` it must be the one that logged in so,
        by its distinguished name, or by its name in Active Directory.
        """
        rules = self._rules
        base, scope, wanted = rules.base, sansldap.SearchScope.SUBTREE, self._filter(typed)
        if "=" in login:
            base, scope = login, sansldap.SearchScope.BASE
        elif login:
            domain, backslash, account = login.rpartition("\\")
            own = (
                ("sAMAccountName", account)
                if domain and backslash
                else ("userPrincipalName", login)
            )
            same = sansldap.FilterEquality(own[0], own[1].encode())
            wanted = sansldap.FilterAnd([wanted, same])
        attributes = [rules.attribute, *self._groups.attributes]
        found = await connection.search(base, wanted, attributes, scope=scope, most=2)
        if len(found) > 1:
            _log.warning("a name is that of several entries of a directory", base=base)
        return found[0] if len(found) == 1 and found[0].dn else None

    async def _person(self, connection: Connection, entry: Entry) -> _Person | None:
        names = entry.values(self._rules.attribute)
        name = names[0] if len(names) == 1 else ""
        fits = name.isprintable() and name == name.strip() and 0 < len(name) <= _LONGEST_NAME
        if not fits or name.startswith(ROBOT_PREFIX):
            _log.warning(
                "an entry of a directory can't log in: it needs one name that can be one here",
                entry=entry.dn,
                attribute=self._rules.attribute,
            )
            return None
        return _Person(name, await self._groups.find(connection, entry, name))

    def _filter(self, typed: str) -> sansldap.LDAPFilter:
        text = filled(self._rules.filter, {"username": in_filter(typed)})
        return sansldap.LDAPFilter.from_string(text)


def _pool(
    servers: Servers,
    limits: tuple[int, float, float],
    *,
    greet: Callable[[Connection], Awaitable[None]] | None = None,
) -> Pool:
    size, connect, timeout = limits
    return Pool(servers, size=size, connect=connect, timeout=timeout, greet=greet)
