"""Keys of registry:2 and registry:3 that this version recognises but doesn't honour.

Why each isn't honoured stands in `entrepot.config.honoured`.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Struct, field

from entrepot.config.about import Duration, about


class SmtpServer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mail server."""

    addr: Annotated[str, about("Its `host:port`.")] = ""
    username: Annotated[str, about("User name.")] = ""
    password: Annotated[str, about("Password.", masked="all")] = ""
    insecure: Annotated[bool, about("Don't verify its certificate.")] = False


class MailOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How mail is sent."""

    smtp: Annotated[SmtpServer, about("The mail server.")] = SmtpServer()
    from_: Annotated[str, about("Sender.")] = field(default="", name="from")
    to: Annotated[tuple[str, ...], about("Receivers.")] = ()


class LogHook(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens when something is logged."""

    disabled: Annotated[bool, about("Don't use this hook.")] = False
    type: Annotated[str, about("Kind of hook; registry:2 knows `mail`.")] = ""
    levels: Annotated[tuple[str, ...], about("Levels that cause it.")] = ()
    options: Annotated[MailOptions, about("How mail is sent.", variable="MAILOPTIONS")] = (
        MailOptions()
    )


class SwiftDriver(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """OpenStack Swift, which registry:3 has removed."""

    authurl: Annotated[str, about("URL of the identity service.", masked="url")] = ""
    username: Annotated[str, about("User name.")] = ""
    userid: Annotated[str, about("User.")] = ""
    password: Annotated[str, about("Password.", masked="all")] = ""
    container: Annotated[str, about("Container.")] = ""
    region: Annotated[str, about("Region.")] = ""
    tenant: Annotated[str, about("Tenant.")] = ""
    tenantid: Annotated[str, about("Identifier of the tenant.")] = ""
    tenantdomain: Annotated[str, about("Domain of the tenant.")] = ""
    tenantdomainid: Annotated[str, about("Identifier of that domain.")] = ""
    domain: Annotated[str, about("Domain.")] = ""
    domainid: Annotated[str, about("Identifier of the domain.")] = ""
    trustid: Annotated[str, about("Trust.")] = ""
    insecureskipverify: Annotated[bool, about("Don't verify certificates.")] = False
    chunksize: Annotated[int, about("Bytes per segment.")] = 20971520
    prefix: Annotated[str, about("Prefix of all names (old name).")] = ""
    rootdirectory: Annotated[str, about("Prefix of all names.")] = ""
    secretkey: Annotated[str, about("Key for temporary URLs.", masked="all")] = ""
    accesskey: Annotated[str, about("Container key.", masked="all")] = ""
    authversion: Annotated[int, about("Version of the identity service.")] = 0
    endpointtype: Annotated[str, about("Kind of endpoint.")] = ""
    tempurlcontainerkey: Annotated[bool, about("Use the container's key.")] = False
    tempurlmethods: Annotated[tuple[str, ...], about("Methods of temporary URLs.")] = ()


class OssDriver(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Aliyun OSS, which registry:3 has removed."""

    accesskeyid: Annotated[str, about("Access key.", masked="all")] = ""
    accesskeysecret: Annotated[str, about("Secret key.", masked="all")] = ""
    region: Annotated[str, about("Region.")] = ""
    endpoint: Annotated[str, about("Host of the service.", masked="url")] = ""
    internal: Annotated[bool, about("Use the internal network.")] = False
    bucket: Annotated[str, about("Bucket.")] = ""
    encrypt: Annotated[bool, about("Encrypt on the server.")] = False
    encryptionkeyid: Annotated[str, about("Key for encryption.")] = ""
    secure: Annotated[bool, about("Use HTTPS.")] = True
    chunksize: Annotated[int, about("Bytes per part of an upload.")] = 10485760
    rootdirectory: Annotated[str, about("Prefix of all keys.")] = ""


class Middleware(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of registry:2's plug-ins."""

    name: Annotated[str, about("Its name.")] = ""
    disabled: Annotated[bool, about("Don't use it.")] = False
    options: Annotated[Mapping[str, Any], about("Its options.", masked="all")] = {}


class BugsnagReporting(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Error reports to Bugsnag."""

    apikey: Annotated[str, about("Key.", masked="all")] = ""
    releasestage: Annotated[str, about("Stage.")] = ""
    endpoint: Annotated[str, about("URL of the service.", masked="url")] = ""


class NewRelicReporting(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reports to New Relic."""

    licensekey: Annotated[str, about("Key.", masked="all")] = ""
    name: Annotated[str, about("Name of the application.")] = ""
    verbose: Annotated[bool, about("Log what is sent.")] = False


class Reporting(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Error reporting services, which registry:3 has removed."""

    bugsnag: Annotated[BugsnagReporting, about("Bugsnag.")] = BugsnagReporting()
    newrelic: Annotated[NewRelicReporting, about("New Relic.")] = NewRelicReporting()


class EventRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What events contain."""

    includereferences: Annotated[bool, about("Name what a manifest references.")] = False


class IgnoredEvents(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Events that aren't sent."""

    mediatypes: Annotated[tuple[str, ...], about("Events about these media types.")] = ()
    actions: Annotated[tuple[str, ...], about("Events of these actions.")] = ()


class Endpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server that is told of events."""

    name: Annotated[str, about("Its name.")] = ""
    disabled: Annotated[bool, about("Send it nothing.")] = False
    url: Annotated[str, about("Where events are posted.", masked="url")] = ""
    headers: Annotated[
        Mapping[str, tuple[str, ...]], about("Headers sent with them.", masked="all")
    ] = {}
    timeout: Annotated[Duration, about("Time after which a post has failed.")] = 1.0
    threshold: Annotated[int, about("Failures after which to wait.")] = 10
    backoff: Annotated[Duration, about("Time to wait.")] = 1.0
    ignoredmediatypes: Annotated[tuple[str, ...], about("Media types not told of.")] = ()
    ignore: Annotated[IgnoredEvents, about("Events that aren't sent.")] = IgnoredEvents()


class Notifications(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Servers that are told of events."""

    events: Annotated[EventRules, about("What events contain.", variable="EVENTCONFIG")] = (
        EventRules()
    )
    endpoints: Annotated[tuple[Endpoint, ...], about("The servers.")] = ()


class RedisPool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """registry:2's pool of connections."""

    maxidle: Annotated[int, about("Idle connections at most.")] = 0
    maxactive: Annotated[int, about("Connections at most.")] = 0
    idletimeout: Annotated[Duration, about("Time after which idle ones are closed.")] = 0.0


class RedisTls(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TLS to Redis."""

    enabled: Annotated[bool, about("Use TLS (registry:2).")] = False
    certificate: Annotated[str, about("Client certificate.")] = ""
    key: Annotated[str, about("Its key.")] = ""
    rootcas: Annotated[tuple[str, ...], about("Authorities that are trusted.")] = ()


class Redis(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Redis server; the keys of registry:2 and registry:3."""

    addr: Annotated[str, about("`host:port` (registry:2).")] = ""
    addrs: Annotated[tuple[str, ...], about("`host:port` of each server (registry:3).")] = ()
    clientname: Annotated[str, about("Name of the connections.")] = ""
    db: Annotated[int, about("Number of the database.")] = 0
    protocol: Annotated[int, about("Version of the protocol.")] = 0
    username: Annotated[str, about("User name.")] = ""
    password: Annotated[str, about("Password.", masked="all")] = ""
    sentinelusername: Annotated[str, about("User name for the sentinels.")] = ""
    sentinelpassword: Annotated[str, about("Their password.", masked="all")] = ""
    mastername: Annotated[str, about("Name of the master.")] = ""
    maxretries: Annotated[int, about("Retries.")] = 0
    minretrybackoff: Annotated[Duration, about("Shortest time between retries.")] = 0.0
    maxretrybackoff: Annotated[Duration, about("Longest time between retries.")] = 0.0
    dialtimeout: Annotated[Duration, about("Time to connect.")] = 0.0
    readtimeout: Annotated[Duration, about("Time to read.")] = 0.0
    writetimeout: Annotated[Duration, about("Time to write.")] = 0.0
    contexttimeoutenabled: Annotated[bool, about("Obey the request's time limit.")] = False
    poolfifo: Annotated[bool, about("Use the oldest connection first.")] = False
    poolsize: Annotated[int, about("Connections.")] = 0
    pooltimeout: Annotated[Duration, about("Time to wait for a connection.")] = 0.0
    minidleconns: Annotated[int, about("Idle connections at least.")] = 0
    maxidleconns: Annotated[int, about("Idle connections at most.")] = 0
    maxactiveconns: Annotated[int, about("Connections at most.")] = 0
    connmaxidletime: Annotated[Duration, about("Time for which one may be idle.")] = 0.0
    connmaxlifetime: Annotated[Duration, about("Time for which one is used.")] = 0.0
    maxredirects: Annotated[int, about("Redirects in a cluster.")] = 0
    readonly: Annotated[bool, about("Read from replicas.")] = False
    routebylatency: Annotated[bool, about("Choose the nearest server.")] = False
    routerandomly: Annotated[bool, about("Choose any server.")] = False
    disableidentity: Annotated[bool, about("Don't tell the client's name.")] = False
    identitysuffix: Annotated[str, about("Added to the client's name.")] = ""
    unstableresp3: Annotated[bool, about("Use version 3 of the protocol.")] = False
    tls: Annotated[RedisTls, about("TLS.")] = RedisTls()
    pool: Annotated[RedisPool, about("Connections (registry:2).")] = RedisPool()


class ProxyCommand(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A credential helper."""

    command: Annotated[str, about("The command.")] = ""
    lifetime: Annotated[Duration | None, about("How long its answer is used.")] = None


class Proxy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A registry that this one is a cache of."""

    remoteurl: Annotated[str, about("Its URL.", masked="url")] = ""
    username: Annotated[str, about("User name.")] = ""
    password: Annotated[str, about("Password.", masked="all")] = ""
    ttl: Annotated[Duration, about("Time for which content is kept; 0 is for ever.")] = 604800.0
    exec: Annotated[ProxyCommand | None, about("Credential helper.")] = None
    cachewritetimeout: Annotated[Duration, about("Time to write into the cache.")] = 300.0


class Schema1(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Docker's manifests of schema 1."""

    signingkeyfile: Annotated[str, about("Key that signs them.", variable="TRUSTKEY")] = ""
    enabled: Annotated[bool, about("Accept them.")] = False


class Compatibility(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Old formats, which registry:3 has removed."""

    schema1: Annotated[Schema1, about("Docker's manifests of schema 1.")] = Schema1()


class RepositoryPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Policy for repositories."""

    classes: Annotated[tuple[str, ...], about("Classes of repositories that are served.")] = ()


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Policies."""

    repository: Annotated[RepositoryPolicy, about("Repositories.")] = RepositoryPolicy()
