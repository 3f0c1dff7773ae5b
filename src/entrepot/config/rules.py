"""What must fit together in a configuration whose single values are right."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import get_args
from urllib.parse import parse_qs, urlsplit

from entrepot.config.errors import ConfigError, Notice, Origin, Problem
from entrepot.config.nodes import printable
from entrepot.config.rules_access import check_access
from entrepot.config.rules_ldap import check_ldap
from entrepot.config.rules_lifecycle import check_lifecycle
from entrepot.config.rules_openid import check_openid
from entrepot.config.rules_tokens import check_tokens, is_http_url
from entrepot.config.schema import Config, Way
from entrepot.config.schema_auth import Certificate, Local
from entrepot.config.schema_objects import MIB, AzureDriver, GcsDriver, S3Driver
from entrepot.config.schema_storage import DRIVERS
from entrepot.core.accounts import AccountError, check_user_name

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST_AND_PORT = r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:]*)(:[0-9]{1,5})?"
_VERIFYING = ("", "verify-client-cert-if-given", "require-and-verify-client-cert")


def broken_rules(config: Config, origins: Mapping[str, Origin]) -> list[Problem]:
    """Everything that doesn't fit together, with the origin of the key that it is about."""
    checks = (
        _storage,
        _auth,
        check_ldap,
        check_openid,
        check_tokens,
        check_access,
        check_lifecycle,
        _database,
        _addresses,
        _urls,
        _tls,
        _headers,
        _validation,
        _accel,
    )
    return [
        Problem(f"{key}: {message}", _nearest(key, origins))
        for check in checks
        for key, message in check(config)
    ]


def without_effect(config: Config, origins: Mapping[str, Origin]) -> list[Notice]:
    """Values that are right, and have no effect beside the others."""
    storage, http, indexes = config.storage, config.http, config.validation.manifests.indexes
    found = []
    if storage.inmemory is not None and http.workers > 1:
        found.append(("http.workers", "the memory driver has one process"))
    if storage.inmemory is not None and config.database.url:
        found.append(("database.url", "the memory driver has an index of its own"))
    if storage.s3 is not None and storage.s3.keyid and not storage.s3.encrypt:
        found.append(("storage.s3.keyid", "no effect without encrypt"))
    if http.debug.prometheus.enabled and not http.debug.addr:
        found.append(("http.debug.prometheus", "no effect without http.debug.addr"))
    if http.tls.minimumtls and not http.tls.enabled:
        found.append(("http.tls.minimumtls", "no effect without http.tls.certificate"))
    if indexes.platformlist and indexes.platforms != "list":
        key = "validation.manifests.indexes.platformlist"
        found.append((key, "no effect without platforms: list"))
    return [Notice(key, message, _nearest(key, origins)) for key, message in found]


def _nearest(key: str, origins: Mapping[str, Origin]) -> Origin:
    """The origin of the key, else of the section that it would stand in."""
    while key and key not in origins:
        key = key.rpartition(".")[0]
    return origins.get(key, Origin())


def _storage(config: Config) -> Iterator[tuple[str, str]]:
    given = [name for name in DRIVERS if getattr(config.storage, name) is not None]
    if len(given) > 1:
        message = (
            f"multiple storage drivers specified: {', '.join(given)}; keep one of them "
            f"(REGISTRY_STORAGE={given[-1]} replaces the file's)"
        )
        yield "storage", message
    if config.storage.s3 is not None:
        yield from _s3(config.storage.s3)
    if config.storage.gcs is not None:
        yield from _gcs(config.storage.gcs)
    if config.storage.azure is not None:
        yield from _azure(config.storage.azure)
    files = config.storage.filesystem
    if files is not None and not files.rootdirectory:
        yield "storage.filesystem.rootdirectory", "found an empty text, expected a path"


def _s3(s3: S3Driver) -> Iterator[tuple[str, str]]:
    if not s3.bucket:
        yield "storage.s3.bucket", "no bucket is given"
    if not s3.region and not s3.regionendpoint:
        yield "storage.s3.region", "no region is given"
    if bool(s3.accesskey) != bool(s3.secretkey):
        given, missing = sorted(("accesskey", "secretkey"), key=lambda name: not getattr(s3, name))
        yield f"storage.s3.{missing}", f"{given} is given without it"
    if not s3.v4auth:
        yield "storage.s3.v4auth", "signatures of version 2 are not supported; remove the key"
    for key in ("regionendpoint", "redirectendpoint"):
        url = getattr(s3, key)
        if url and not is_http_url(url if "://" in url else f"https://{url}"):
            yield f"storage.s3.{key}", "expected a URL such as https://s3.example.com"


def _gcs(gcs: GcsDriver) -> Iterator[tuple[str, str]]:
    if not gcs.bucket:
        yield "storage.gcs.bucket", "no bucket is given"
    keys = ("serviceaccount", "keyfile", "credentials")
    given = [name for name in keys if getattr(gcs, name)]
    if len(given) > 1:
        yield f"storage.gcs.{given[1]}", f"the account's key is given by {given[0]}; keep one"
    if gcs.chunksize % (MIB // 4):
        yield "storage.gcs.chunksize", "expected a multiple of 262144"


def _azure(azure: AzureDriver) -> Iterator[tuple[str, str]]:
    if not azure.accountname:
        yield "storage.azure.accountname", "no storage account is given"
    if not azure.container:
        yield "storage.azure.container", "no container is given"
    kind = azure.credentials.type
    if kind == "shared_key" and not azure.accountkey:
        yield "storage.azure.accountkey", "credentials.type is shared_key, but no key is given"
    if kind not in ("", "shared_key") and azure.accountkey:
        yield "storage.azure.accountkey", f"credentials.type is {kind}; keep one of them"
    if kind == "client_secret":
        for name in ("clientid", "tenantid", "secret"):
            if not getattr(azure.credentials, name):
                yield f"storage.azure.credentials.{name}", "client_secret needs it"
    if azure.serviceurl and not is_http_url(azure.serviceurl):
        yield "storage.azure.serviceurl", "expected a URL such as https://account.blob.example.com"


def _auth(config: Config) -> Iterator[tuple[str, str]]:
    kinds = ("none", "htpasswd", "silly", "token")
    given = [name for name in kinds if getattr(config.auth, name) is not None]
    if len(given) > 1:
        yield "auth", f"must provide exactly one type, found {', '.join(given)}"
    auth = config.auth
    ways = [way for way in get_args(Way) if getattr(auth, way) not in (None, ())]
    ours = [way for way in ways if way != "htpasswd"]
    for name in ("none", "silly", "token"):
        if ours and getattr(auth, name) is not None:
            yield f"auth.{name}", f"can't stand beside {' and '.join(ours)}: remove one of them"
    if ours and auth.htpasswd is not None and auth.htpasswd.administrators is None:
        message = (
            f"administrators is missing: beside {' and '.join(ours)} say who of the file may do "
            "everything, and the others what they are granted; "
            '["*"] is all of them, [] is nobody'
        )
        yield "auth.htpasswd", message
    if auth.local is not None:
        yield from _local(auth.local)
    if auth.certificate is not None:
        yield from _certificate(auth.certificate, config)
    if auth.limits.maxdelay < auth.limits.delay:
        yield "auth.limits.maxdelay", "expected at least as much as delay"


def _local(local: Local) -> Iterator[tuple[str, str]]:
    try:
        check_user_name(local.admin.name)
    except AccountError as error:
        yield "auth.local.admin.name", str(error)
    if local.admin.password and local.admin.passwordfile:
        yield "auth.local.admin", "both password and passwordfile are given; remove one of them"


def _certificate(certificate: Certificate, config: Config) -> Iterator[tuple[str, str]]:
    if not config.http.trustedproxies and not config.http.tls.clientcas:
        message = (
            "needs http.tls.clientcas, by which the registry verifies them itself, or "
            "http.trustedproxies, if a proxy in front does"
        )
        yield "auth.certificate", message
    for key in ("header", "verifiedheader"):
        if not _HEADER_NAME.fullmatch(getattr(certificate, key)):
            yield f"auth.certificate.{key}", "not a name of a header"
    try:
        re.compile(certificate.pattern)
    except (re.error, OverflowError, RecursionError) as error:
        yield "auth.certificate.pattern", f"not a regular expression: {error}"


def is_database_url(url: str) -> bool:
    """Whether `database.url` may be this."""
    file = re.fullmatch(r"sqlite:////[^?#]*[^?#/]", url)
    return file is not None or _is_postgresql_url(url)


def _database(config: Config) -> Iterator[tuple[str, str]]:
    database = config.database
    if database.url and not is_database_url(database.url):
        message = (
            "expected sqlite:////path/to/file or postgresql://user:password@host:5432/database, "
            "with reserved characters in the password percent-encoded"
        )
        yield "database.url", message
    for key in ("connecttimeout", "statementtimeout"):
        if getattr(database, key) <= 0:
            yield f"database.{key}", "expected more than 0"


def _is_postgresql_url(url: str) -> bool:
    """Whether asyncpg can read it; its own message could show a part of the password."""
    try:
        parts = urlsplit(url)
        parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        return False
    hosts = parts.netloc.rpartition("@")[2]
    return (
        parts.scheme in {"postgresql", "postgres"}
        and parts.netloc.count("@") <= 1
        and not parts.fragment
        and all(re.fullmatch(_HOST_AND_PORT, host) for host in hosts.split(","))
    )


def _addresses(config: Config) -> Iterator[tuple[str, str]]:
    if config.http.net == "unix" and not config.http.addr.startswith("/"):
        yield "http.addr", "with net: unix expected the absolute path of a socket"
    for listen in (config.http.listen, config.http.debug_listen):
        try:
            listen()
        except ConfigError as error:
            for problem in error.problems:
                key, _, message = problem.message.partition(": ")
                yield key, message


def _urls(config: Config) -> Iterator[tuple[str, str]]:
    host = config.http.host
    if host and not is_http_url(host):
        yield "http.host", "expected a URL such as https://registry.example.com"
    if any(c in config.http.prefix for c in "?#% \t\r\n") or "//" in config.http.prefix:
        yield "http.prefix", "expected a path such as /hub/"
    for index, proxy in enumerate(config.http.trustedproxies):
        if proxy != "unix" and not _is_network(proxy):
            key = f"http.trustedproxies[{index}]"
            yield key, "expected an address, a network such as 10.0.0.0/8, or unix"
    if not config.http.debug.prometheus.path.startswith("/"):
        yield "http.debug.prometheus.path", "expected a path such as /metrics"
    for index, check in enumerate(config.health.http):
        if not is_http_url(check.uri):
            yield f"health.http[{index}].uri", "expected a URL such as http://example.com/health"


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _tls(config: Config) -> Iterator[tuple[str, str]]:
    tls = config.http.tls
    if tls.certificate and not tls.key:
        yield "http.tls", "certificate is given without key"
    if tls.key and not tls.certificate:
        yield "http.tls", "key is given without certificate"
    if tls.clientcas and not tls.certificate:
        yield "http.tls.clientcas", "client certificates need TLS: give certificate and key"
    if tls.clientauth and not tls.clientcas:
        yield "http.tls.clientauth", "client certificates need clientcas"
    if tls.clientauth not in _VERIFYING:
        wanted = " or ".join(_VERIFYING[1:])
        message = f"unverified client certificates are not supported; expected {wanted}"
        yield "http.tls.clientauth", message


def _headers(config: Config) -> Iterator[tuple[str, str]]:
    for name, values in config.http.headers.items():
        key = f"http.headers.{printable(name)}"
        if not _HEADER_NAME.fullmatch(name):
            yield key, "not a name of a header"
        if any(not v.isprintable() or not _is_latin(v) for v in values):
            yield key, "a value has characters that no header may have"


def _is_latin(text: str) -> bool:
    return all(ord(character) < 256 for character in text)


def _validation(config: Config) -> Iterator[tuple[str, str]]:
    urls = config.validation.manifests.urls
    for name, patterns in (("allow", urls.allow), ("deny", urls.deny)):
        for index, pattern in enumerate(patterns):
            try:
                re.compile(pattern)
            except (re.error, OverflowError, RecursionError) as error:
                key = f"validation.manifests.urls.{name}[{index}]"
                yield key, f"not a regular expression: {error}"


def _accel(config: Config) -> Iterator[tuple[str, str]]:
    if config.http.accel and config.storage.driver != "filesystem":
        yield "http.accel", "needs the filesystem driver"
    if not config.http.accelprefix.startswith("/"):
        yield "http.accelprefix", "expected a path such as /_blobs/"
