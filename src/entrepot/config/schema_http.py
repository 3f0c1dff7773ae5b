"""The `http` section: address, TLS, limits, headers."""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Struct

from entrepot.config.about import Duration, Size, about
from entrepot.config.address import Address, UnixAddress, parse_address
from entrepot.config.errors import ConfigError, Problem


class LetsEncrypt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Certificates fetched by the registry itself."""

    cachefile: Annotated[str, about("File that caches certificates and keys.")] = ""
    email: Annotated[str, about("Address registered with the certificate authority.")] = ""
    hosts: Annotated[tuple[str, ...], about("Names for which certificates may be fetched.")] = ()
    directoryurl: Annotated[str, about("The certificate authority's directory.")] = ""


class Tls(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TLS; off while no certificate is given."""

    certificate: Annotated[
        str, about("PEM file with the certificate and its chain; reread when it changes.")
    ] = ""
    key: Annotated[str, about("PEM file with the certificate's private key.")] = ""
    clientcas: Annotated[
        tuple[str, ...],
        about("PEM files with the authorities whose client certificates are accepted."),
    ] = ()
    clientauth: Annotated[
        Literal[
            "",
            "request-client-cert",
            "require-any-client-cert",
            "verify-client-cert-if-given",
            "require-and-verify-client-cert",
        ],
        about("What is asked of clients; empty with `clientcas` requires a valid certificate."),
    ] = ""
    minimumtls: Annotated[
        Literal["", "tls1.2", "tls1.3"], about("The lowest TLS version; empty is `tls1.2`.")
    ] = ""
    ciphersuites: Annotated[tuple[str, ...], about("Cipher suites that are allowed.")] = ()
    letsencrypt: Annotated[LetsEncrypt, about("Let's Encrypt.")] = LetsEncrypt()

    @property
    def enabled(self) -> bool:
        """Whether the registry speaks TLS."""
        return bool(self.certificate)

    @property
    def client_certificates(self) -> Literal["none", "optional", "required"]:
        """Whether clients must show a certificate of one of `clientcas`."""
        if not self.clientcas:
            return "none"
        return "optional" if self.clientauth == "verify-client-cert-if-given" else "required"

    @property
    def minimum_version(self) -> Literal["tls1.2", "tls1.3"]:
        """The lowest TLS version that is accepted."""
        return self.minimumtls or "tls1.2"


class Prometheus(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Metrics on the debug address."""

    enabled: Annotated[bool, about("Serve metrics on the debug address.")] = False
    path: Annotated[str, about("Their path.")] = "/metrics"


class Debug(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A second address for health and metrics, not meant for the public."""

    addr: Annotated[str, about("`host:port` of the debug server; empty is none.")] = ""
    prometheus: Annotated[Prometheus, about("Metrics.")] = Prometheus()


class Http2(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """HTTP/2."""

    disabled: Annotated[bool, about("Speak HTTP/1.1 only.")] = False


class H2c(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """HTTP/2 without TLS."""

    enabled: Annotated[bool, about("Speak HTTP/2 without TLS.")] = False


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one client may ask of the server."""

    manifestsize: Annotated[Size, about("Largest manifest, in bytes.", minimum=1)] = 4194304
    headersize: Annotated[Size, about("Largest head of a request, in bytes.", minimum=1)] = 65536
    headertimeout: Annotated[
        Duration,
        about(
            "Time in which the head of a request must arrive; the longer of this and "
            "keepalivetimeout counts.",
            minimum=0,
        ),
    ] = 30.0
    idletimeout: Annotated[
        Duration, about("Time in which at least one byte of a body must arrive.", minimum=0)
    ] = 60.0
    keepalivetimeout: Annotated[
        Duration, about("Time for which an idle connection is kept open.", minimum=0)
    ] = 90.0
    concurrency: Annotated[
        int,
        about(
            "Requests in progress per worker process; more are answered with 503 and Retry-After.",
            minimum=1,
        ),
    ] = 1024


class Http(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP server."""

    addr: Annotated[
        str, about("`host:port` to listen on, or the socket's path with `net: unix`.")
    ] = ":5000"
    net: Annotated[Literal["", "tcp", "unix"], about("Kind of `addr`; empty is `tcp`.")] = ""
    prefix: Annotated[str, about("Path below which everything is served, such as `/hub/`.")] = ""
    host: Annotated[
        str,
        about("The registry's URL as clients see it, such as `https://registry.example.com`."),
    ] = ""
    secret: Annotated[
        str,
        about(
            "Secret that signs the state of uploads; servers behind one load balancer share it. "
            "Empty is a random one, kept with the index.",
            masked="all",
        ),
    ] = ""
    relativeurls: Annotated[bool, about("Answer with relative URLs in Location.")] = False
    draintimeout: Annotated[
        Duration,
        about("Time for which requests may go on after SIGTERM; 0 ends them at once.", minimum=0),
    ] = 30.0
    tls: Annotated[Tls, about("TLS.")] = Tls()
    debug: Annotated[Debug, about("The debug server.")] = Debug()
    headers: Annotated[
        Mapping[str, tuple[str, ...]], about("Headers added to every answer, with their values.")
    ] = {}
    http2: Annotated[Http2, about("HTTP/2.")] = Http2()
    h2c: Annotated[H2c, about("HTTP/2 without TLS.")] = H2c()
    workers: Annotated[
        int,
        about(
            "Worker processes; 0 is one for each processor, at most 8; with TLS one for two unless "
            "certificates tell users.",
            minimum=0,
        ),
    ] = 0
    accel: Annotated[
        Literal["", "nginx"],
        about(
            "The proxy in front that sends blobs itself: `nginx` by X-Accel-Redirect; empty is "
            "none. Needs the filesystem driver."
        ),
    ] = ""
    accelprefix: Annotated[
        str,
        about(
            "The internal location in nginx that serves `docker/registry/v2/blobs/` of the root "
            "directory; docs/serving.md has it."
        ),
    ] = "/_blobs/"
    limits: Annotated[Limits, about("Limits.")] = Limits()
    trustedproxies: Annotated[
        tuple[str, ...],
        about(
            "Addresses and networks of the proxies in front, such as `10.0.0.0/8`, whose "
            "X-Forwarded-For is believed; `unix` is whoever comes by a Unix socket."
        ),
    ] = ()

    def listen(self) -> Address | UnixAddress:
        """Where to listen; ConfigError if `addr` is not an address."""
        if self.net == "unix":
            return UnixAddress(self.addr)
        return _address("http.addr", self.addr)

    def debug_listen(self) -> Address | None:
        """Where the debug server listens, None without one; ConfigError if it is no address."""
        return _address("http.debug.addr", self.debug.addr) if self.debug.addr else None

    @property
    def path_prefix(self) -> str:
        """`prefix` with a leading and without a trailing slash; empty for the root."""
        stripped = self.prefix.strip("/")
        return f"/{stripped}" if stripped else ""


def _address(key: str, text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as error:
        raise ConfigError([Problem(f"{key}: {error}")]) from error
