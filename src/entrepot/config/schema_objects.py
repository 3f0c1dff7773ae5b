"""The drivers of `storage` that keep blobs in an object store."""

from typing import Annotated, Literal

from msgspec import Struct

from entrepot.config.about import Size, about

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
