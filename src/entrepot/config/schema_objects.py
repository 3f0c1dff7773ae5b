"""The drivers of `storage` that keep blobs in an object store."""

from typing import Annotated, Literal

from msgspec import Struct

from entrepot.config.about import Duration, Size, about

MIB = 1_048_576


class S3Driver(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Blobs in a bucket of Amazon S3 or a compatible service, at the keys of registry:2."""

    accesskey: Annotated[
        str,
        about(
            "Access key; if it is empty, environment, `~/.aws`, container and machine are asked.",
            masked="all",
        ),
    ] = ""
    secretkey: Annotated[str, about("Secret key.", masked="all")] = ""
    sessiontoken: Annotated[str, about("Session token.", masked="all")] = ""
    region: Annotated[str, about("Region; needed without `regionendpoint`.")] = ""
    regionendpoint: Annotated[
        str, about("URL of the service; empty is Amazon's in the region.", masked="url")
    ] = ""
    redirectendpoint: Annotated[
        str, about("URL of the service for clients; empty is the same.", masked="url")
    ] = ""
    forcepathstyle: Annotated[
        bool | None,
        about(
            "Bucket in the path, not in the host name; by default with `regionendpoint`, and for "
            "buckets with a dot."
        ),
    ] = None
    accelerate: Annotated[bool, about("Transfer acceleration of Amazon.")] = False
    bucket: Annotated[str, about("Bucket, which must exist.")] = ""
    encrypt: Annotated[bool, about("Have the service encrypt objects.")] = False
    keyid: Annotated[str, about("Identifier of the KMS key for `encrypt`.")] = ""
    secure: Annotated[bool, about("HTTPS, where `regionendpoint` doesn't say.")] = True
    skipverify: Annotated[bool, about("Don't verify certificates.")] = False
    v4auth: Annotated[bool, about("Signatures of version 4; there are no others.")] = True
    chunksize: Annotated[
        Size,
        about(
            "Bytes per part of an upload, of which some three are held in memory.", minimum=5 * MIB
        ),
    ] = 10 * MIB
    multipartcopychunksize: Annotated[Size, about("Bytes per part of a copy.", minimum=5 * MIB)] = (
        32 * MIB
    )
    multipartcopymaxconcurrency: Annotated[int, about("Parts copied at once.", minimum=1)] = 100
    multipartcopythresholdsize: Annotated[
        Size, about("Bytes up to which a copy is made in one request.")
    ] = 32 * MIB
    rootdirectory: Annotated[str, about("Prefix of all keys.")] = ""
    storageclass: Annotated[
        Literal[
            "",
            "NONE",
            "STANDARD",
            "REDUCED_REDUNDANCY",
            "STANDARD_IA",
            "ONEZONE_IA",
            "INTELLIGENT_TIERING",
            "OUTPOSTS",
            "GLACIER_IR",
        ],
        about("Storage class of objects; empty, `NONE` and `STANDARD` leave it to the service."),
    ] = ""
    useragent: Annotated[str, about("User agent.")] = ""
    usedualstack: Annotated[bool, about("Amazon's endpoints for IPv4 and IPv6.")] = False
    usefipsendpoint: Annotated[bool, about("Amazon's FIPS endpoints.")] = False
    objectacl: Annotated[
        Literal[
            "private",
            "public-read",
            "public-read-write",
            "authenticated-read",
            "aws-exec-read",
            "bucket-owner-read",
            "bucket-owner-full-control",
        ],
        about("Canned access control list of objects; `private` leaves it to the service."),
    ] = "private"
    loglevel: Annotated[str, about("Log level of registry:2's client library.")] = "off"


class GcsCredentials(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A service account's key, with the names of its JSON file."""

    type: Annotated[str, about("Kind of key.")] = "service_account"
    project_id: Annotated[str, about("Project of the account.")] = ""
    private_key_id: Annotated[str, about("Identifier of the key.", masked="all")] = ""
    private_key: Annotated[str, about("The key, in PEM.", masked="all")] = ""
    client_email: Annotated[str, about("Name of the account.")] = ""
    client_id: Annotated[str, about("Identifier of the account.")] = ""
    auth_uri: Annotated[str, about("Not needed.", masked="url")] = ""
    token_uri: Annotated[str, about("Where tokens are to be had.", masked="url")] = (
        "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
    )
    auth_provider_x509_cert_url: Annotated[str, about("Not needed.", masked="url")] = ""
    client_x509_cert_url: Annotated[str, about("Not needed.", masked="url")] = ""
    universe_domain: Annotated[str, about("Domain of the cloud.")] = "googleapis.com"


class GcsDriver(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Blobs in a bucket of Google Cloud Storage, at the names of registry:2. Without a key the
    account that the machine has is used (GOOGLE_APPLICATION_CREDENTIALS, gcloud, metadata server).
    """

    bucket: Annotated[str, about("Bucket, which must exist.")] = ""
    project: Annotated[
        str, about("Project that pays for requests, where the bucket has its readers pay.")
    ] = ""
    serviceaccount: Annotated[
        str, about("The service account's key: JSON, or the path of a file with it.", masked="all")
    ] = ""
    keyfile: Annotated[str, about("Path of a file with the service account's key.")] = ""
    credentials: Annotated[GcsCredentials | None, about("The service account's key.")] = None
    rootdirectory: Annotated[str, about("Prefix of all names.")] = ""
    chunksize: Annotated[
        Size,
        about(
            "Bytes per part of an upload, of which some three are held in memory; a multiple of "
            "256 KiB.",
            minimum=MIB // 4,
        ),
    ] = 10 * MIB
    maxconcurrency: Annotated[int, about("Requests at once, of a process.", minimum=1)] = 50
    useragent: Annotated[str, about("User agent.")] = ""


class AzureCredentials(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who the registry is for Azure."""

    type: Annotated[
        Literal["", "shared_key", "client_secret", "default_credentials"],
        about(
            "`shared_key`: `accountkey` (the default where it is given). `client_secret`: the "
            "other keys here. `default_credentials`: AZURE_* variables, workload or managed "
            "identity."
        ),
    ] = ""
    clientid: Annotated[str, about("Identifier of the application.")] = ""
    tenantid: Annotated[str, about("Identifier of its tenant.")] = ""
    secret: Annotated[str, about("Its secret.", masked="all")] = ""


class AzureDriver(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Blobs in a container of Azure Blob Storage, at the names of registry:2."""

    accountname: Annotated[str, about("Storage account.")] = ""
    accountkey: Annotated[str, about("Its key.", masked="all")] = ""
    container: Annotated[str, about("Container, which must exist.")] = ""
    realm: Annotated[str, about("Domain of the service.")] = "core.windows.net"
    serviceurl: Annotated[
        str,
        about(
            "URL of the account; empty is `https://ACCOUNTNAME.blob.REALM`.",
            masked="url",
        ),
    ] = ""
    credentials: Annotated[AzureCredentials, about("Who the registry is.")] = AzureCredentials()
    rootdirectory: Annotated[str, about("Prefix of all names.")] = ""
    max_retries: Annotated[
        int, about("How often a request is sent again that failed for a moment.", minimum=0)
    ] = 5
    retry_delay: Annotated[
        Duration,
        about("Wait before, at most; it doubles every time, up to 8 seconds.", minimum=0),
    ] = 0.1
    copy_status_poll_max_retry: Annotated[
        int,
        about(
            "How often a copy that Azure has put off is looked at; 0: until it is done, -1: never."
        ),
    ] = 0
    copy_status_poll_delay: Annotated[
        Duration,
        about("Wait before; longer by as much every time, up to 5 seconds.", minimum=0),
    ] = 0.1
