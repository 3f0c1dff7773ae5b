"""The HTTP status of every error, in one place (distribution-spec 1.1.1, "Error Codes")."""

from typing import Final

from entrepot.api.http import Response, json_response
from entrepot.core import errors
from entrepot.core.errors import ProtocolError

STATUS: Final[dict[type[ProtocolError], int]] = {
    errors.BlobDamagedError: 500,
    errors.BlobUnknownError: 404,
    errors.BlobUploadInvalidError: 404,
    errors.BlobUploadUnknownError: 404,
    errors.ConflictError: 409,
    errors.DeniedError: 403,
    errors.CrossSiteError: 403,
    errors.DigestInvalidError: 400,
    errors.HeadersTooLargeError: 431,
    errors.ManifestBlobUnknownError: 400,
    errors.ManifestInvalidError: 400,
    errors.ManifestTooLargeError: 413,
    errors.ManifestUnknownError: 404,
    errors.NameInvalidError: 400,
    errors.NameUnknownError: 404,
    errors.NotFoundError: 404,
    errors.ObjectUnknownError: 404,
    errors.PaginationInvalidError: 400,
    errors.QuotaExceededError: 403,
    errors.RangeInvalidError: 416,
    errors.RequestInvalidError: 400,
    errors.RequestTimeoutError: 408,
    errors.RequestTooLargeError: 413,
    errors.SizeInvalidError: 400,
    errors.TagInvalidError: 400,
    errors.TooManyTagsError: 414,
    errors.TooManyRequestsError: 429,
    errors.UnauthorizedError: 401,
    errors.CertificateRefusedError: 401,
    errors.InsufficientScopeError: 401,
    errors.InvalidTokenError: 401,
    errors.UnavailableError: 503,
    errors.UnknownError: 500,
    errors.UnsupportedError: 405,
}


def error_response(error: ProtocolError) -> Response:
    """Return the answer that tells a client of an error, in the specification's JSON form."""
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1", "replace"))
        for name, value in error.headers.items()
    ]
    return json_response(STATUS[type(error)], {"errors": error.entries()}, headers=headers)
