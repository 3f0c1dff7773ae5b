"""What is ours in the `auth` section: local users, certificates, secrets, sessions,
and guarding."""

from typing import Annotated, Literal

from msgspec import Struct

from entrepot.config.about import Duration, about


class Administrator(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first administrator, who is made when there is none at the start."""

    name: Annotated[str, about("The user's name.")] = "admin"
    password: Annotated[
        str,
        about(
            "The password. Without it and without `passwordfile` a random one is made and written "
            "to the log, once. It has no effect once there is an administrator.",
            masked="all",
        ),
    ] = ""
    passwordfile: Annotated[
        str, about("A file whose first line is the password, instead of `password`.")
    ] = ""


class Passwords(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What passwords must fulfil when they are set."""

    minlength: Annotated[int, about("Fewest characters.", minimum=8)] = 12


class Argon2(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How passwords are hashed: argon2id. Passwords that were hashed otherwise are hashed again
    when their user logs in."""

    timecost: Annotated[int, about("Passes over the memory.", minimum=1)] = 2
    memorycost: Annotated[int, about("Memory of one hash, in KiB.", minimum=1024)] = 19456
    parallelism: Annotated[int, about("Threads of one hash.", minimum=1)] = 1


class Local(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Users in the index, made with `entrepot user create`."""

    realm: Annotated[str, about("The realm named in the challenge.")] = "Entrepot"
    admin: Annotated[Administrator, about("The first administrator.")] = Administrator()
    passwords: Annotated[Passwords, about("What passwords must fulfil.")] = Passwords()
    argon2: Annotated[Argon2, about("How passwords are hashed.")] = Argon2()


class Certificate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Users by client certificates, which the registry verifies by `http.tls.clientcas`, or a proxy
    in front (`http.trustedproxies`)."""

    header: Annotated[
        str,
        about(
            "A proxy's header with the certificate, as URL-encoded PEM ($ssl_client_escaped_cert)."
        ),
    ] = "X-SSL-Client-Cert"
    verifiedheader: Annotated[
        str,
        about("A proxy's header that is SUCCESS for a verified certificate ($ssl_client_verify)."),
    ] = "X-SSL-Client-Verify"
    field: Annotated[
        Literal["commonname", "email", "dns", "uri"],
        about("Where the name is: the subject's common name, or alternative names of one kind."),
    ] = "commonname"
    pattern: Annotated[
        str,
        about(
            "A regular expression that must match the field as a whole; its first group is the "
            "user's name, or all of it without a group."
        ),
    ] = "[^:]+"


class Secrets(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Secrets of robots and personal access tokens."""

    overlap: Annotated[
        Duration,
        about("How long the old secret goes on when a new one takes its place.", minimum=0),
    ] = 86400.0
    lifetime: Annotated[
        Duration, about("How long a new one may live at most; 0 is no limit.", minimum=0)
    ] = 0.0


class Sessions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Logins in a browser, and the pages behind them."""

    enabled: Annotated[
        bool | None,
        about(
            "Serve `/auth/login` and `/account`. Without a value: yes where people have roles "
            "(`access.enabled`) and log in by name and password or by OpenID Connect."
        ),
    ] = None
    lifetime: Annotated[
        Duration, about("How long a login lasts at most; 1m at least.", minimum=60)
    ] = 43200.0
    idle: Annotated[
        Duration, about("How long it lasts without being used; 1m at least.", minimum=60)
    ] = 7200.0


class AuthLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done against guessing, and against too many requests."""

    attempts: Annotated[
        int, about("Failed logins of an account with which it is locked.", minimum=1)
    ] = 10
    addressattempts: Annotated[
        int, about("Failed logins from an address with which it is locked.", minimum=1)
    ] = 50
    delay: Annotated[
        Duration,
        about("How long the first lock holds; each further failure doubles it.", minimum=0),
    ] = 1.0
    maxdelay: Annotated[Duration, about("How long a lock holds at most.", minimum=0)] = 900.0
    memory: Annotated[
        Duration, about("Time without a failure after which all is forgotten.", minimum=0)
    ] = 3600.0
    requests: Annotated[
        int,
        about(
            "Requests a second that one identity may send to this server; 0 is no limit.",
            minimum=0,
        ),
    ] = 0
    burst: Annotated[int, about("Requests that may come at once after a pause.", minimum=1)] = 200
