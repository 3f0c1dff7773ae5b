"""The description of `/api/v1` in OpenAPI 3.1, made from the routes and the forms of what is sent
and answered.
"""

import inspect
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any, Final

import msgspec
from msgspec import Struct

from entrepot.api.context import Context
from entrepot.api.cookies import SESSION, cookie_name
from entrepot.api.http import Request, Response, json_response
from entrepot.api.route import NAMES, Route
from entrepot.api.v1.forms import Stream
from entrepot.api.v1.operation import LARGEST, Operation

_REFERENCE: Final = "#/components/schemas/{name}"
_JSON: Final = "application/json"

_ERRORS: Final = {
    400: "The request is not what the operation takes; the detail says where.",
    401: "Credentials are missing, or no good.",
    403: "You may not do this; the detail says why.",
    404: "There is no such thing, or you may not see it.",
    408: "The body stopped arriving.",
    409: "What there is stands against it.",
    413: f"The body has more than {LARGEST} bytes.",
    429: "Too many requests, or failed logins; `Retry-After` says for how long.",
    431: "The headers are too large.",
    503: "The registry can't serve just now.",
}


class ErrorEntry(Struct, frozen=True):
    """What went wrong; clients act on the code."""

    code: str
    message: str
    detail: Any = None


class Errors(Struct, frozen=True):
    """An error, as the registry's protocol has it."""

    errors: list[ErrorEntry]


class Description:
    """A handler that gives the description of some routes."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = routes

    async def __call__(self, context: Context, request: Request) -> Response:
        """Answer with the description; the server in it is the one that was asked."""
        servers = [{"url": context.links.absolute(request, "") or "/"}]
        return json_response(200, self.document | {"servers": servers})

    @cached_property
    def document(self) -> dict[str, Any]:
        """The description without its servers."""
        operations = [
            (route, route.handler) for route in self._routes if isinstance(route.handler, Operation)
        ]
        kinds: list[Any] = [Errors]
        for _, operation in operations:
            kinds += [operation.result] * (operation.result not in {type(None), Stream})
            kinds += [operation.body] * (operation.body is not None)
            kinds += [field.type for field in msgspec.structs.fields(operation.query)]
            kinds += [kind for _, kind in operation.fields]
        schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
        found = {repr(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
        paths: dict[str, dict[str, Any]] = {}
        for route, operation in operations:
            described = _operation(route, operation, found)
            paths.setdefault(route.path, {})[route.method.lower()] = described
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "Entrepot",
                "version": version("entrepot"),
                "description": "Accounts of a registry, who may do what, and who did.",
            },
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {
                    "basic": {"type": "http", "scheme": "basic"},
                    "bearer": {"type": "http", "scheme": "bearer"},
                    "session": {
                        "type": "apiKey",
                        "in": "cookie",
                        "name": cookie_name(SESSION, secure=True),
                    },
                },
            },
            "security": [{"basic": []}, {"bearer": []}, {"session": []}],
        }


def _operation(route: Route, operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "Done."}
    status = operation.status
    if operation.result is type(None):
        status = 204
    elif operation.result is Stream:
        text = {"schema": {"type": "string"}}
        answer["content"] = {Stream.LINES: text, Stream.CSV: text}
    else:
        answer["content"] = {_JSON: {"schema": schemas[repr(operation.result)]}}
    wrong = {"content": {_JSON: {"schema": schemas[repr(Errors)]}}}
    described: dict[str, Any] = {
        "operationId": operation.function.__name__,
        "tags": [route.path.split("/")[3]],
        "summary": (inspect.getdoc(operation.function) or "").partition(".")[0] + ".",
        "description": inspect.getdoc(operation.function),
        "x-action": route.action.value,
        "parameters": _parameters(operation, schemas),
        "responses": {
            str(status): answer,
            **{str(code): {"description": text, **wrong} for code, text in _ERRORS.items()},
        },
    }
    if operation.body is not None:
        content = {_JSON: {"schema": schemas[repr(operation.body)]}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _parameters(operation: Operation, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for name, kind in operation.fields:
        schema = dict(schemas[repr(kind)])
        if schema["type"] == "string":
            schema["minLength"] = 1
        entry = {"name": name, "in": "path", "required": True, "schema": schema}
        if "{" + name + "}" in NAMES:
            entry["description"] = "May hold slashes, which may be sent as they are."
        found.append(entry)
    for field in msgspec.structs.fields(operation.query):
        schema = dict(schemas[repr(field.type)])
        if not field.required:
            schema["default"] = field.default if field.default is not msgspec.NODEFAULT else []
        found.append(
            {
                "name": field.name,
                "in": "query",
                "required": field.required,
                "schema": schema,
            }
        )
    return found
