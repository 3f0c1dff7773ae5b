"""The `auth.ldap` section: people in a directory service."""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Struct

from entrepot.config.about import Duration, about


class LdapGroups(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The groups that people are in."""

    memberof: Annotated[
        str,
        about("The attribute of people and groups that names their groups; empty is none."),
    ] = "memberOf"
    base: Annotated[
        str,
        about("Where groups are. With it they are searched, and none outside of it counts."),
    ] = ""
    filter: Annotated[
        str,
        about(
            "Which groups somebody is in: `{dn}` and `{username}` stand for them. In Active "
            "Directory `(member:1.2.840.113556.1.4.1941:={dn})` finds nested groups at once."
        ),
    ] = "(member={dn})"
    attribute: Annotated[str, about("The attribute that names a group.")] = "cn"
    nested: Annotated[bool, about("Look for the groups that groups are in, too.")] = False
    mapping: Annotated[
        Mapping[str, tuple[str, ...]],
        about(
            "Our groups, each with the names or distinguished names of the groups that are meant. "
            "Without it groups are called as in the directory."
        ),
    ] = {}


class Ldap(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """People in a directory service: LDAP, Active Directory."""

    urls: Annotated[
        tuple[str, ...],
        about(
            "The servers, `ldaps://HOST` or `ldap://HOST`, perhaps with a port. While one is away "
            "the next is asked.",
            needs=True,
        ),
    ] = ()
    starttls: Annotated[bool, about("Begin TLS on `ldap://` connections.")] = False
    plaintext: Annotated[
        bool, about("Send passwords over `ldap://` without TLS, for everybody to read.")
    ] = False
    cafile: Annotated[
        str, about("PEM file with the authorities that are trusted, instead of the system's.")
    ] = ""
    binddn: Annotated[
        str, about("The account that searches for people and groups; empty is nobody.")
    ] = ""
    bindpassword: Annotated[str, about("Its password.", masked="all")] = ""
    bindpasswordfile: Annotated[
        str, about("A file whose first line is the password, instead of `bindpassword`.")
    ] = ""
    directbind: Annotated[
        str,
        about(
            "Log in at once as this, with `{username}` for the name, instead of searching before: "
            "`uid={username},ou=people,dc=example,dc=com`, or `{username}@corp.example.com`."
        ),
    ] = ""
    base: Annotated[str, about("Where people are.", needs=True)] = ""
    filter: Annotated[
        str, about("How to find somebody: `{username}` stands for the name that was typed.")
    ] = "(uid={username})"
    attribute: Annotated[
        str,
        about(
            "The attribute whose value somebody is called by here; it must be unique. "
            "`sAMAccountName` in Active Directory."
        ),
    ] = "uid"
    domains: Annotated[
        tuple[str, ...],
        about(
            "Domains of Active Directory that people may type with their name: with `CORP` and "
            "`corp.example.com` `CORP\\ada` and `ada@corp.example.com` are `ada`."
        ),
    ] = ()
    groups: Annotated[LdapGroups, about("The groups that people are in.")] = LdapGroups()
    poolsize: Annotated[
        int,
        about("Connections of a process for searching, and as many for passwords.", minimum=1),
    ] = 4
    connecttimeout: Annotated[
        Duration, about("How long connecting to a server may take.", minimum=1)
    ] = 3.0
    timeout: Annotated[Duration, about("How long an answer may take.", minimum=1)] = 5.0
    cachelife: Annotated[
        Duration,
        about(
            "How long somebody who logged in goes on before the servers are asked again.", minimum=0
        ),
    ] = 300.0
