"""The configuration: every key, its type, its default and what it is for.

Attributes are named like the YAML keys. Keys of registry:2 and registry:3 that this version can't
honour are here as well (see `entrepot.config.honoured`), so that they are recognised and named.
"""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from msgspec import Struct

from entrepot.config.about import Duration, LogLevel, about
from entrepot.config.schema_access import Access
from entrepot.config.schema_audit import Audit
from entrepot.config.schema_auth import AuthLimits, Certificate, Local, Secrets, Sessions
from entrepot.config.schema_foreign import (
    Compatibility,
    LogHook,
    Middleware,
    Notifications,
    Policy,
    Proxy,
    Redis,
    Reporting,
)
from entrepot.config.schema_http import Http
from entrepot.config.schema_ldap import Ldap
from entrepot.config.schema_lifecycle import Lifecycle
from entrepot.config.schema_openid import OpenIdProvider
from entrepot.config.schema_storage import Filesystem, Storage
from entrepot.config.schema_tokens import SillyAuth, TokenAuth, Tokens, Workload

MOST_DEFAULT_WORKERS = 8
"""Worker processes that `http.workers: 0` starts at most."""


class AccessLog(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The access log."""

    disabled: Annotated[bool, about("Write no access log.")] = False
    format: Annotated[
        Literal["text", "json"],
        about("Form of the access log: lines of text, or JSON in Elastic Common Schema."),
    ] = "json"


class Log(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The logs, written to standard output and standard error."""

    accesslog: Annotated[AccessLog, about("The access log.")] = AccessLog()
    level: Annotated[LogLevel, about("The least severe level that is logged.")] = "info"
    formatter: Annotated[
        Literal["ecs", "json", "logstash", "text"],
        about(
            "Form of the application log: `ecs` is JSON in Elastic Common Schema, `json` and "
            "`logstash` have registry:2's field names, `text` is for people."
        ),
    ] = "ecs"
    fields: Annotated[
        Mapping[str, Any], about("Fields added to every line, such as `service: registry`.")
    ] = {}
    hooks: Annotated[tuple[LogHook, ...], about("Mail sent when something is logged.")] = ()
    reportcaller: Annotated[bool, about("Log the calling function with every line.")] = False


class Htpasswd(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Users and bcrypt passwords in a file of Apache's htpasswd form."""

    realm: Annotated[str, about("The realm named in the challenge.", needs=True)] = ""
    path: Annotated[
        str,
        about(
            "The htpasswd file. It is reread when it changes; if it doesn't exist it is created "
            "with the user `docker` and a random password, which is logged.",
            needs=True,
        ),
    ] = ""
    administrators: Annotated[
        tuple[str, ...] | None,
        about(
            "The users of the file who may do everything; `*` is all of them, which is the "
            "default if there are no other users, as in registry:2."
        ),
    ] = None
    groups: Annotated[
        Mapping[str, tuple[str, ...]], about("Groups, each with the users of the file in it.")
    ] = {}


class NoAuth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No authentication: everybody may do everything."""


Way = Literal["local", "htpasswd", "ldap", "oidc", "certificate", "workloads"]
"""How somebody may be known; these may stand beside each other."""


class Auth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may use the registry. Several ways stand beside each other; registry:2 has one."""

    none: Annotated[NoAuth | None, about("Everybody may do everything.")] = None
    local: Annotated[Local | None, about("Users in the index.")] = None
    htpasswd: Annotated[Htpasswd | None, about("Users in an htpasswd file.")] = None
    ldap: Annotated[Ldap | None, about("People in a directory service.")] = None
    oidc: Annotated[
        tuple[OpenIdProvider, ...], about("Providers of OpenID Connect, for single sign-on.")
    ] = ()
    certificate: Annotated[Certificate | None, about("Users by verified client certificates.")] = (
        None
    )
    silly: Annotated[SillyAuth | None, about("Accept any Authorization header.")] = None
    token: Annotated[
        TokenAuth | None, about("Bearer tokens of a token server beside the registry.")
    ] = None
    tokens: Annotated[Tokens, about("The registry's own token server.")] = Tokens()
    workloads: Annotated[
        tuple[Workload, ...], about("Issuers whose tokens let jobs in without a secret.")
    ] = ()
    secrets: Annotated[Secrets, about("Secrets of robots and personal access tokens.")] = Secrets()
    sessions: Annotated[Sessions, about("Logins in a browser.")] = Sessions()
    limits: Annotated[AuthLimits, about("Against guessing and too many requests.")] = AuthLimits()

    @property
    def type(
        self,
    ) -> Literal["none", "silly", "token", Way]:
        """The first way that is configured; `none` if everybody may do everything."""
        ways: tuple[Literal["silly", "token", Way], ...] = (*get_args(Way), "silly", "token")
        return next((way for way in ways if getattr(self, way) not in (None, ())), "none")

    @property
    def issues_tokens(self) -> bool:
        """Whether the registry is its own token server."""
        if self.type in {"none", "silly", "token"}:
            return False
        others = self.local, self.ldap, self.certificate, self.workloads or None, self.oidc or None
        return any(others) if self.tokens.enabled is None else self.tokens.enabled


class StorageDriverCheck(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A periodic check that the storage answers."""

    enabled: Annotated[bool, about("Check the storage periodically.")] = False
    interval: Annotated[Duration, about("Time between two checks.", minimum=0)] = 10.0
    threshold: Annotated[
        int, about("Failures in a row after which the registry is unhealthy.", minimum=0)
    ] = 0


class FileCheck(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The registry is unhealthy while a file exists."""

    file: Annotated[str, about("Path of the file.", needs=True)] = ""
    interval: Annotated[Duration, about("Time between two checks.", minimum=0)] = 10.0
    threshold: Annotated[
        int, about("Failures in a row after which the registry is unhealthy.", minimum=0)
    ] = 0


class HttpCheck(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The registry is unhealthy while a URI doesn't answer as expected."""

    uri: Annotated[str, about("The URI, asked with HEAD.", masked="url", needs=True)] = ""
    headers: Annotated[
        Mapping[str, tuple[str, ...]], about("Headers sent with the request.", masked="all")
    ] = {}
    statuscode: Annotated[int, about("The status that is expected.", minimum=0)] = 200
    timeout: Annotated[
        Duration, about("Time after which the request has failed; 0 is no limit.", minimum=0)
    ] = 0.0
    interval: Annotated[Duration, about("Time between two checks.", minimum=0)] = 10.0
    threshold: Annotated[
        int, about("Failures in a row after which the registry is unhealthy.", minimum=0)
    ] = 0


class TcpCheck(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The registry is unhealthy while a TCP address can't be reached."""

    addr: Annotated[str, about("`host:port` to connect to.", needs=True)] = ""
    timeout: Annotated[
        Duration, about("Time after which connecting has failed; 0 is no limit.", minimum=0)
    ] = 0.0
    interval: Annotated[Duration, about("Time between two checks.", minimum=0)] = 10.0
    threshold: Annotated[
        int, about("Failures in a row after which the registry is unhealthy.", minimum=0)
    ] = 0


class Health(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Checks that take the registry out of service while they fail."""

    storagedriver: Annotated[StorageDriverCheck, about("The storage.")] = StorageDriverCheck()
    file: Annotated[tuple[FileCheck, ...], about("Files.", variable="FILECHECKERS")] = ()
    http: Annotated[tuple[HttpCheck, ...], about("HTTP URIs.", variable="HTTPCHECKERS")] = ()
    tcp: Annotated[tuple[TcpCheck, ...], about("TCP addresses.", variable="TCPCHECKERS")] = ()


class Catalog(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The catalog, `/v2/_catalog`."""

    maxentries: Annotated[
        int, about("Repositories on one page at most; 0 or less is the default.")
    ] = 1000


class Tags(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The list of tags, `/v2/<name>/tags/list`."""

    maxtags: Annotated[int, about("Tags on one page at most; 0 or less is the default.")] = 1000


class UrlRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules for the `urls` of layers in manifests."""

    allow: Annotated[
        tuple[str, ...], about("Regular expressions of which each URL must match one.")
    ] = ()
    deny: Annotated[
        tuple[str, ...], about("Regular expressions of which no URL may match one.")
    ] = ()


class Platform(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A platform of an image index."""

    os: Annotated[str, about("The operating system, such as `linux`.", needs=True)] = ""
    architecture: Annotated[str, about("The processor, such as `amd64`.", needs=True)] = ""


class IndexRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which images of an index must exist when the index is pushed."""

    platforms: Annotated[
        Literal["all", "none", "list"], about("All of them, none, or those of `platformlist`.")
    ] = "all"
    platformlist: Annotated[tuple[Platform, ...], about("The platforms of `list`.")] = ()


class ManifestRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is checked in pushed manifests."""

    urls: Annotated[UrlRules, about("URLs of layers.")] = UrlRules()
    indexes: Annotated[IndexRules, about("Image indexes and manifest lists.")] = IndexRules()


class Validation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is checked when something is pushed."""

    enabled: Annotated[
        bool | None, about("The old form of `disabled`, with the opposite meaning.")
    ] = None
    disabled: Annotated[bool, about("Check nothing beyond the specification.")] = False
    manifests: Annotated[ManifestRules, about("Manifests.")] = ManifestRules()


class Database(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The index of everything that is stored."""

    url: Annotated[
        str,
        about(
            "Where the index is: `sqlite:////path/to/file`, or "
            "`postgresql://user:password@host:5432/database` with libpq's parameters (`sslmode`, "
            "`sslrootcert`, `sslcert`, `sslkey`); empty is the SQLite file "
            "`entrepot/index.sqlite3` below the root directory of the storage.",
            masked="url",
        ),
    ] = ""
    maxconnections: Annotated[
        int,
        about(
            "Connections to PostgreSQL that each worker, and the upkeep, opens at most.", minimum=1
        ),
    ] = 8
    connecttimeout: Annotated[
        Duration,
        about(
            "How long a request waits for a connection to PostgreSQL before it is answered 503.",
            minimum=0,
        ),
    ] = 5.0
    startuptimeout: Annotated[
        Duration,
        about(
            "How long a start waits for PostgreSQL, or for an object store, that does not answer "
            "yet, before it ends with an error; `0s` is for ever.",
            minimum=0,
        ),
    ] = 300.0
    statementtimeout: Annotated[
        Duration,
        about("How long PostgreSQL may work on one statement before it is given up.", minimum=0),
    ] = 10.0


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration."""

    version: Annotated[str, about("Version of the file's form; always `0.1`.")] = "0.1"
    log: Annotated[Log, about("Logs.")] = Log()
    loglevel: Annotated[LogLevel | None, about("The old name of `log.level`.")] = None
    storage: Annotated[
        Storage, about("Where blobs are kept, and what may be done with them.", names_choice=True)
    ] = Storage(filesystem=Filesystem())
    database: Annotated[Database, about("The index.")] = Database()
    auth: Annotated[Auth, about("Who may use the registry.", names_choice=True)] = Auth()
    access: Annotated[Access, about("Who may do what.")] = Access()
    audit: Annotated[Audit, about("What is recorded of who did what.")] = Audit()
    lifecycle: Annotated[Lifecycle, about("What is kept, and for how long.")] = Lifecycle()
    http: Annotated[Http, about("The HTTP server.")] = Http()
    health: Annotated[Health, about("Health checks.")] = Health()
    catalog: Annotated[Catalog, about("The catalog.")] = Catalog()
    tags: Annotated[Tags, about("The list of tags.")] = Tags()
    validation: Annotated[Validation, about("What is checked in pushes.")] = Validation()
    middleware: Annotated[
        Mapping[str, tuple[Middleware, ...]], about("registry:2's plug-ins, by where they act.")
    ] = {}
    reporting: Annotated[Reporting | None, about("Error reporting services.")] = None
    notifications: Annotated[Notifications | None, about("Webhooks told of events.")] = None
    redis: Annotated[Redis | None, about("The Redis server of registry:2's cache.")] = None
    proxy: Annotated[Proxy | None, about("A registry that this one is a cache of.")] = None
    compatibility: Annotated[Compatibility | None, about("Old formats.")] = None
    policy: Annotated[Policy | None, about("Repository policies.")] = None

    @property
    def access_enabled(self) -> bool:
        """Whether people may do only what they have a role for; see `access.enabled`."""
        if self.access.enabled is not None:
            return self.access.enabled
        htpasswd = self.auth.htpasswd
        if self.auth.type == "htpasswd" and htpasswd is not None:
            return bool(htpasswd.administrators is not None or htpasswd.groups)
        return self.auth.type not in {"none", "silly", "token"}

    @property
    def has_pages(self) -> bool:
        """Whether people log in with a browser; see `auth.sessions.enabled`."""
        auth = self.auth
        somebody = auth.local or auth.htpasswd or auth.ldap or auth.oidc
        return bool(self.access_enabled and somebody and auth.sessions.enabled is not False)

    def database_url(self) -> str:
        """The index's URL: as configured, else a SQLite file in the registry's own directory.

        With the memory driver and no URL it is "sqlite://", an index in memory.
        """
        if self.database.url:
            return self.database.url
        if self.storage.inmemory is not None:
            return "sqlite://"
        return f"sqlite:///{self.storage.own / 'index.sqlite3'}"

    @property
    def users_show_certificates(self) -> bool:
        """Whether users are told by the certificates that they show to the registry itself."""
        return self.auth.certificate is not None and bool(self.http.tls.clientcas)

    def worker_count(self) -> int:
        """How many worker processes to start; one with the memory driver, which can't be shared.

        With TLS by granian a worker keeps two processors busy, one with HTTP and one with Python:
        more of them than half the processors would only take turns.
        """
        if self.storage.inmemory is not None:
            return 1
        processors = len(os.sched_getaffinity(0))
        if self.http.tls.enabled and not self.users_show_certificates:
            processors = max(1, processors // 2)
        return self.http.workers or min(processors, MOST_DEFAULT_WORKERS)
