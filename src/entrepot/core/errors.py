"""Every error that Entrepot raises on purpose.

    EntrepotError
    ├── ProtocolError              what a client is told; `code` is the specification's
    │   ├── BlobDamagedError            UNKNOWN (its bytes are known to be wrong)
    │   ├── BlobUnknownError            BLOB_UNKNOWN
    │   ├── BlobUploadInvalidError      BLOB_UPLOAD_INVALID
    │   ├── BlobUploadUnknownError      BLOB_UPLOAD_UNKNOWN
    │   ├── ConflictError               CONFLICT (/api/v1)
    │   ├── DeniedError                 DENIED
    │   │   ├── CrossSiteError          (a request that another site made a browser send)
    │   │   └── QuotaExceededError
    │   ├── DigestInvalidError          DIGEST_INVALID
    │   ├── HeadersTooLargeError        SIZE_INVALID
    │   ├── ManifestBlobUnknownError    MANIFEST_BLOB_UNKNOWN
    │   ├── ManifestInvalidError        MANIFEST_INVALID
    │   │   └── ManifestTooLargeError
    │   ├── ManifestUnknownError        MANIFEST_UNKNOWN
    │   ├── NameInvalidError            NAME_INVALID
    │   ├── NameUnknownError            NAME_UNKNOWN
    │   ├── NotFoundError               UNSUPPORTED (a path that is no endpoint)
    │   ├── ObjectUnknownError          OBJECT_UNKNOWN (/api/v1)
    │   ├── PaginationInvalidError      PAGINATION_NUMBER_INVALID
    │   ├── RangeInvalidError           RANGE_INVALID
    │   ├── RequestInvalidError         REQUEST_INVALID (/api/v1)
    │   │   └── RequestTooLargeError
    │   ├── RequestTimeoutError         UNKNOWN (the client stopped sending)
    │   ├── SizeInvalidError            SIZE_INVALID
    │   ├── TagInvalidError             TAG_INVALID
    │   ├── TooManyRequestsError        TOOMANYREQUESTS
    │   ├── TooManyTagsError            TAG_INVALID
    │   ├── UnauthorizedError           UNAUTHORIZED
    │   │   ├── CertificateRefusedError
    │   │   ├── InsufficientScopeError
    │   │   └── InvalidTokenError
    │   ├── UnavailableError            UNAVAILABLE
    │   ├── UnknownError                UNKNOWN (a fault of the registry itself)
    │   └── UnsupportedError            UNSUPPORTED
    ├── AccessError                (entrepot.core.decision) a right can't be as it was asked for
    │   ├── AccessConflictError
    │   └── AccessUnknownError
    ├── AccountError               (entrepot.core.accounts) an account can't be as it was asked for
    │   ├── AccountConflictError
    │   └── AccountUnknownError
    ├── ProtectionError            (entrepot.core.protections) a protection or hold can't be so
    │   ├── ProtectionConflictError
    │   └── ProtectionUnknownError
    ├── UndoError                  (entrepot.core.undo) a deletion or move can't be undone so
    │   ├── UndoConflictError
    │   └── UndoUnknownError
    ├── ClientDisconnectedError         nobody is left to be told
    ├── CronError                  (entrepot.core.cron) this is no cron line
    ├── ConfigError                (entrepot.config) the configuration can't be used
    ├── PatternInvalidError        (entrepot.core.patterns)
    ├── QuotaError                 (entrepot.core.quotas) a quota can't be as it was asked for
    │   └── QuotaUnknownError
    ├── RetentionInvalidError      (entrepot.core.retention_policy)
    ├── RoleInvalidError           (entrepot.core.roles)
    ├── SpanInvalidError           (entrepot.core.spans) a text is no length of time
    ├── LoginUnfinishedError       (entrepot.identity.errors) a login at a provider is not done
    ├── NoSpaceError               there is no room left, for blobs or for the index
    ├── RightsChangedError         what let a request in may not be right any more
    ├── UnreachableError           a server that this one needs doesn't answer just now
    ├── DatabaseError              (entrepot.db) the index can't be used
    ├── StorageError               (entrepot.storage) the blob store failed
    ├── WorkError                  (entrepot.core.work) background work can't be as it was asked for
    │   └── WorkUnknownError
    └── UpstreamError              (entrepot.upstream) another registry failed

HTTP statuses stand in `entrepot.api.errors`, in one table.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar


class EntrepotError(Exception):
    """Root of everything raised on purpose; its text is fit for an operator to read."""


class ClientDisconnectedError(EntrepotError):
    """The client went away before its request was complete."""


class NoSpaceError(EntrepotError):
    """There is no room left where something had to be written."""


class RightsChangedError(EntrepotError):
    """Who may do what has changed since somebody was let in."""


class UnreachableError(EntrepotError):
    """A server that this one needs, for its index or its blobs, doesn't answer just now."""


class ProtocolError(EntrepotError):
    """A request can't be carried out, in the words of the specification ("Error Codes").

    `code` is the identifier clients act on, `message` the fixed text that goes with it, `detail`
    anything JSON that helps to mend the request, `headers` what the answer carries besides.
    """

    code: ClassVar[str]
    message: ClassVar[str]

    def __init__(self, detail: object = None, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{self.message}: {detail}" if detail is not None else self.message)
        self.detail = detail
        self.headers = dict(headers or {})

    def entries(self) -> list[dict[str, object]]:
        """Return the entries of the `errors` list that this error becomes."""
        return [{"code": self.code, "message": self.message, "detail": self.detail}]


class BlobDamagedError(ProtocolError):
    code = "UNKNOWN"
    message = "the registry's copy of this blob is damaged"


class BlobUnknownError(ProtocolError):
    code = "BLOB_UNKNOWN"
    message = "blob unknown to registry"


class BlobUploadInvalidError(ProtocolError):
    code = "BLOB_UPLOAD_INVALID"
    message = "blob upload invalid"


class BlobUploadUnknownError(ProtocolError):
    code = "BLOB_UPLOAD_UNKNOWN"
    message = "blob upload unknown to registry"


class ConflictError(ProtocolError):
    code = "CONFLICT"
    message = "what there is stands against it"


class DeniedError(ProtocolError):
    code = "DENIED"
    message = "requested access to the resource is denied"


class CrossSiteError(DeniedError):
    """A browser sent a request that no page of ours made it send. `why` is for the audit log."""

    def __init__(self, why: str, *, told: str = "") -> None:
        super().__init__({"reason": told or why})
        self.why = why


class QuotaExceededError(DeniedError):
    """A namespace may not hold more: `quota` are the namespace and the resource. Clients such as
    docker show the `message` alone, so it says all there is to say.
    """

    def __init__(
        self, detail: Mapping[str, object], *, message: str, quota: tuple[str, str]
    ) -> None:
        super().__init__(detail)
        self.quota = quota
        self._message = message

    def entries(self) -> list[dict[str, object]]:
        return [{"code": self.code, "message": self._message, "detail": self.detail}]


class DigestInvalidError(ProtocolError):
    code = "DIGEST_INVALID"
    message = "provided digest did not match uploaded content"


class HeadersTooLargeError(ProtocolError):
    code = "SIZE_INVALID"
    message = "the request's headers are larger than this registry accepts"


class ManifestBlobUnknownError(ProtocolError):
    """The manifest names content that its repository does not hold; one entry per digest."""

    code = "MANIFEST_BLOB_UNKNOWN"
    message = "manifest references a manifest or blob unknown to registry"

    def __init__(self, digests: Sequence[str]) -> None:
        super().__init__(list(digests))
        self.digests = tuple(digests)

    def entries(self) -> list[dict[str, object]]:
        return [
            {"code": self.code, "message": self.message, "detail": {"digest": digest}}
            for digest in self.digests
        ]


class ManifestInvalidError(ProtocolError):
    code = "MANIFEST_INVALID"
    message = "manifest invalid"


class ManifestTooLargeError(ManifestInvalidError):
    message = "manifest is larger than this registry accepts"


class ManifestUnknownError(ProtocolError):
    code = "MANIFEST_UNKNOWN"
    message = "manifest unknown"


class NameInvalidError(ProtocolError):
    code = "NAME_INVALID"
    message = "invalid repository name"


class NameUnknownError(ProtocolError):
    code = "NAME_UNKNOWN"
    message = "repository name not known to registry"


class NotFoundError(ProtocolError):
    code = "UNSUPPORTED"
    message = "there is no such endpoint"


class ObjectUnknownError(ProtocolError):
    code = "OBJECT_UNKNOWN"
    message = "there is no such thing"


class PaginationInvalidError(ProtocolError):
    code = "PAGINATION_NUMBER_INVALID"
    message = "invalid number of results requested"


class RangeInvalidError(ProtocolError):
    code = "RANGE_INVALID"
    message = "invalid content range"


class RequestInvalidError(ProtocolError):
    code = "REQUEST_INVALID"
    message = "the request is not what this operation takes"


class RequestTooLargeError(RequestInvalidError):
    message = "the request's body is larger than this registry accepts"


class RequestTimeoutError(ProtocolError):
    code = "UNKNOWN"
    message = "the request's body stopped arriving"


class SizeInvalidError(ProtocolError):
    code = "SIZE_INVALID"
    message = "provided length did not match content length"


class TagInvalidError(ProtocolError):
    code = "TAG_INVALID"
    message = "manifest tag did not match URI"


class TooManyTagsError(TagInvalidError):
    message = "more tags in one request than this registry accepts"


class TooManyRequestsError(ProtocolError):
    """`retry_after` is in seconds."""

    code = "TOOMANYREQUESTS"
    message = "too many requests"

    def __init__(self, detail: object = None, *, retry_after: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class UnauthorizedError(ProtocolError):
    """`problem` is what a Bearer challenge says in `error` (RFC 6750, 3.1); empty for nothing."""

    code = "UNAUTHORIZED"
    message = "authentication required"
    problem: ClassVar[str] = ""


class CertificateRefusedError(UnauthorizedError):
    """A client's certificate is verified, and lets nobody in: `name` is whom it names, empty for
    nobody. Clients such as docker show the `message` alone, so it says why.
    """

    def __init__(self, reason: str, *, name: str = "") -> None:
        super().__init__({"reason": reason})
        self.name = name
        self._message = reason

    def entries(self) -> list[dict[str, object]]:
        return [{"code": self.code, "message": self._message, "detail": self.detail}]


class InsufficientScopeError(UnauthorizedError):
    problem = "insufficient_scope"


class InvalidTokenError(UnauthorizedError):
    problem = "invalid_token"


class UnavailableError(ProtocolError):
    """The registry can't serve just now; `retry_after` is in seconds."""

    code = "UNAVAILABLE"
    message = "service unavailable"

    def __init__(self, detail: object = None, *, retry_after: int = 5) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class UnknownError(ProtocolError):
    code = "UNKNOWN"
    message = "the registry failed; its log says why under the id of this request"


class UnsupportedError(ProtocolError):
    code = "UNSUPPORTED"
    message = "the operation is unsupported"
