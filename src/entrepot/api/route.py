"""What a line of the table of routes is."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from entrepot.api.errors import error_response
from entrepot.api.http import Request, Response
from entrepot.core.access import Action
from entrepot.core.errors import ProtocolError

Handler = Callable[..., Awaitable[Response]]

Tell = Callable[[Any, Request, ProtocolError], Response]
"""Makes an answer of an error, given the context and the request."""

REPOSITORY: Final = "/v2/{name}/"


WEB: Final = "web"
"""The label of what people see in a browser."""

BY_SESSION: Final = frozenset({WEB, "api"})
"""Labels of routes that the cookie of a session is good for."""


def told_in_json(_context: object, _request: Request, error: ProtocolError) -> Response:
    """Tell programs of an error."""
    return error_response(error)


class Route(NamedTuple):
    """One line of the table.

    `{name}` in a path is a repository and may hold slashes, and so may `NAMES`; every other field
    is one segment. The handler gets them in order after the context and the request. `label` is
    `registry:2`'s name for the handler, in metrics.
    """

    method: str
    path: str
    action: Action
    handler: Handler
    label: str
    told: Tell = told_in_json
    """How errors are told."""

    @property
    def tells_revision(self) -> bool:
        """Whether its handler makes sure of `request.as_of`, as those of content do."""
        return self.action is Action.PULL and self.label in ("manifest", "blob")

    @property
    def on_repository(self) -> bool:
        """Whether its first field is a repository, on which the action is done."""
        return self.path.startswith(REPOSITORY)


NAMES: Final = frozenset({"{namespace}", "{repository}", "{robot}", "{subject}"})
"""Fields of `/api/v1` that may hold slashes."""
