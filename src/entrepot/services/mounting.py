"""Finding a repository that a blob can be mounted from, for a client that names none."""

from typing import Final

from entrepot.core.digest import Digest
from entrepot.core.names import RepositoryName
from entrepot.db.blobs import list_linking
from entrepot.services.access import Visible
from entrepot.services.stores import Stores

_MOST_AREAS: Final = 64
_MOST_REPOSITORIES: Final = 1000
"""In each area; who may see more than that uploads now and then what could have been mounted."""


async def find_source(
    stores: Stores, visible: Visible, digest: Digest, *, near: RepositoryName
) -> RepositoryName | None:
    """Return a repository that links the blob and is one of `visible`, or None.

    Only what may be visible is looked at, so the time that this takes says nothing of the rest.
    What is around `near` comes first.
    """
    areas = sorted(visible.areas, key=lambda area: near not in area)
    for area in areas[:_MOST_AREAS]:
        for name in await list_linking(stores.index, digest, area=area, most=_MOST_REPOSITORIES):
            if visible.shows(name):
                return RepositoryName(name)
    return None
