"""What must fit together in `auth.ldap`."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from entrepot.config.schema import Config
from entrepot.config.schema_ldap import Ldap


def check_ldap(config: Config) -> Iterator[tuple[str, str]]:
    """Give the key and the text of everything that doesn't fit."""
    ldap = config.auth.ldap
    if ldap is None:
        return
    for key, message in (*_servers(ldap), *_people(ldap)):
        yield f"auth.ldap.{key}", message


def _servers(ldap: Ldap) -> Iterator[tuple[str, str]]:
    if not ldap.urls:
        yield "urls", "name at least one server, such as ldaps://ldap.example.com"
    for number, url in enumerate(ldap.urls):
        key = f"urls[{number}]"
        if not _is_ldap_url(url):
            yield key, "expected ldaps://HOST or ldap://HOST, perhaps with a port, and no more"
        elif url.startswith("ldap://") and not ldap.starttls and not ldap.plaintext:
            message = "passwords would be sent in plain text: use ldaps://, starttls or plaintext"
            yield key, message
        elif url.startswith("ldaps://") and ldap.starttls:
            yield key, "ldaps:// has TLS from the start; use ldap:// with starttls"


def _people(ldap: Ldap) -> Iterator[tuple[str, str]]:
    if ldap.bindpassword and ldap.bindpasswordfile:
        yield "bindpassword", "bindpasswordfile is given, too; remove one of them"
    if bool(ldap.binddn) != bool(ldap.bindpassword or ldap.bindpasswordfile):
        yield "binddn", "give both binddn and its password, or neither"
    if ldap.binddn and ldap.directbind:
        yield "directbind", "whoever logs in searches themselves; remove binddn"
    if "{username}" not in ldap.filter:
        yield "filter", "{username} is missing: everybody would be the same"
    if ldap.directbind and "{username}" not in ldap.directbind:
        yield "directbind", "{username} is missing: everybody would be the same"
    if any(not domain or set(domain) & set("\\@ ") for domain in ldap.domains):
        yield "domains", "expected names of domains alone, such as CORP or corp.example.com"
    if not ldap.base:
        yield "base", "say where people are, such as ou=people,dc=example,dc=com"
    if not {"{dn}", "{username}"} & set(_fields(ldap.groups.filter)):
        yield "groups.filter", "neither {dn} nor {username} is there: everybody would be in it"


def _fields(template: str) -> Iterator[str]:
    return (field for field in ("{dn}", "{username}") if field in template)


def _is_ldap_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("ldap", "ldaps")
        and bool(parts.hostname)
        and port != 0
        and parts.path in ("", "/")
        and not (parts.query or parts.fragment or parts.username)
    )
