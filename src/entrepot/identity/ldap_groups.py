"""Which groups somebody in a directory is in, and what those are called here.

A group that is left out may be one that is denied something. So whatever can't be told whole is an
error, and the login fails.
"""

from collections.abc import Mapping
from typing import Final

import sansldap
from msgspec import Struct

from entrepot.identity.ldap_names import (
    DistinguishedName,
    filled,
    first_value,
    in_filter,
    is_below,
    parse_name,
)
from entrepot.identity.ldap_wire import Connection, Entry, LdapError

_MOST: Final = 500
_DEEPEST: Final = 10


class GroupRules(Struct, frozen=True):
    """How groups are found and called; see `config.schema_ldap.LdapGroups`."""

    memberof: str
    base: str
    filter: str
    attribute: str
    nested: bool
    mapping: Mapping[str, tuple[str, ...]]


class _Group(Struct, frozen=True):
    dn: str
    name: str


Groups = dict[DistinguishedName, _Group]


class GroupFinder:
    """Finds groups by `rules`."""

    def __init__(self, rules: GroupRules) -> None:
        """Raises ValueError if the base is no distinguished name, or the filter no filter."""
        self._rules = rules
        self._base = parse_name(rules.base)
        self._mapping = {
            ours: (
                frozenset(text.casefold() for text in theirs),
                frozenset(parse_name(text) for text in theirs if "=" in text),
            )
            for ours, theirs in rules.mapping.items()
        }
        self._filter("cn=somebody", "somebody")

    @property
    def attributes(self) -> list[str]:
        """The attributes of a person that `find` needs."""
        return [self._rules.memberof] if self._rules.memberof else []

    async def find(self, connection: Connection, entry: Entry, name: str) -> tuple[str, ...]:
        """Return the groups of the person `entry`, who is called `name`.

        Raises:
            LdapError: they can't be told, or there are too many.
        """
        found: Groups = {}
        self._add_named(found, entry)
        await self._add_searched(found, connection, entry.dn, name)
        if self._rules.nested:
            await self._add_outer(found, connection)
        return self._called(found)

    async def _add_outer(self, found: Groups, connection: Connection) -> None:
        """Add the groups that groups are in, and so on."""
        looked: set[DistinguishedName] = set()
        for _ in range(_DEEPEST):
            todo = [group for key, group in found.items() if key not in looked]
            looked = set(found)
            for group in todo:
                if self._rules.memberof:
                    for entry in await connection.search(
                        group.dn,
                        sansldap.FilterPresent("objectClass"),
                        [self._rules.memberof],
                        scope=sansldap.SearchScope.BASE,
                        most=1,
                    ):
                        self._add_named(found, entry)
                if "{dn}" in self._rules.filter:
                    await self._add_searched(found, connection, group.dn, group.name)
            if len(found) == len(looked):
                return
        raise LdapError(f"groups are nested more than {_DEEPEST} deep")

    def _add_named(self, found: Groups, entry: Entry) -> None:
        """Add the groups that an entry says it is in."""
        for dn in entry.values(self._rules.memberof) if self._rules.memberof else ():
            self._add(found, dn, "")

    async def _add_searched(
        self, found: Groups, connection: Connection, dn: str, name: str
    ) -> None:
        """Add the groups that say `dn` is in them."""
        if not self._rules.base:
            return
        attribute = self._rules.attribute
        for entry in await connection.search(
            self._rules.base, self._filter(dn, name), [attribute], most=_MOST + 1
        ):
            names = entry.values(attribute)
            self._add(found, entry.dn, names[0] if len(names) == 1 else "")

    def _add(self, found: Groups, dn: str, name: str) -> None:
        try:
            key = parse_name(dn)
            name = name or first_value(dn, self._rules.attribute) or ""
        except ValueError as error:
            raise LdapError(f"a group has no distinguished name: {dn!r}") from error
        if is_below(key, self._base) and name.isprintable():
            found.setdefault(key, _Group(dn, name))
        if len(found) > _MOST:
            raise LdapError(f"somebody is in more than {_MOST} groups")

    def _called(self, found: Groups) -> tuple[str, ...]:
        if not self._mapping:
            return tuple(sorted({group.name for group in found.values() if group.name}))
        names = {group.name.casefold() for group in found.values()}
        return tuple(
            sorted(
                ours
                for ours, (theirs, dns) in self._mapping.items()
                if not names.isdisjoint(theirs) or not dns.isdisjoint(found)
            )
        )

    def _filter(self, dn: str, name: str) -> sansldap.LDAPFilter:
        values = {"dn": in_filter(dn), "username": in_filter(name)}
        return sansldap.LDAPFilter.from_string(filled(self._rules.filter, values))
