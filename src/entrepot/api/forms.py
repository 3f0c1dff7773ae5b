"""Bodies that are forms, as browsers and OAuth's clients send them."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qs

from entrepot.api.http import Request
from entrepot.core.errors import RequestInvalidError, SizeInvalidError

LARGEST_FORM: Final = 65_536
"""Bytes of a form at most; a token of another issuer takes some thousand."""

_MOST_FIELDS: Final = 64

Form = dict[str, list[str]]


async def read_form(request: Request) -> Form:
    """Return the fields of a form.

    Raises:
        RequestInvalidError: the body is no form.
        SizeInvalidError: it is too large.
    """
    kind = (request.header(b"content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise RequestInvalidError({"reason": "expected application/x-www-form-urlencoded"})
    body = bytearray()
    async for piece in request.body():
        body += piece
        if len(body) > LARGEST_FORM:
            raise SizeInvalidError({"most": LARGEST_FORM})
    try:
        return parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise RequestInvalidError({"reason": "malformed form"}) from error


def first_of(fields: Form, name: str) -> str:
    """Return the first value of a field, empty if there is none."""
    values: Sequence[str] = fields.get(name, ())
    return values[0] if values else ""
