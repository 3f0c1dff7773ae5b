"""What a line of the table of routes is."""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from entrepot.api.http import Response
from entrepot.core.access import Action

Handler = Callable[..., Awaitable[Response]]

REPOSITORY: Final = "/v2/{name}/"


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

    @property
    def on_repository(self) -> bool:
        """Whether its first field is a repository, on which the action is done."""
        return self.path.startswith(REPOSITORY)


NAMES: Final = frozenset({"{namespace}", "{repository}", "{robot}", "{subject}"})
"""Fields of `/api/v1` that may hold slashes."""
