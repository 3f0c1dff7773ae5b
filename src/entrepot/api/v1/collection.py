"""`/api/v1/collection`: what nobody needs goes, and how that is going."""

import msgspec

from entrepot.api.v1.forms import PAGE, After, Limit, Page
from entrepot.api.v1.forms_collection import CollectionMake, CollectionView
from entrepot.api.v1.forms_work import RunView
from entrepot.api.v1.operation import Call
from entrepot.api.v1.work import list_runs
from entrepot.core.collected import COLLECT
from entrepot.services.collection_status import find_status


async def show_collection(call: Call) -> CollectionView:
    """Say how collection is going."""
    names = await call.readable() is None
    return CollectionView.of(await find_status(call.content()), names=names)


async def request_collection(call: Call, body: CollectionMake) -> RunView:
    """Ask for a whole pass of collection as soon as may be: all that is due, and everything gone
    through once. If the same was asked for and is not done yet, that is the answer.
    """
    settings = msgspec.structs.asdict(body)
    return RunView.of(await call.services.runs.request(COLLECT, settings, by=call.by))


async def list_collections(call: Call, *, limit: Limit = PAGE, after: After = "") -> Page[RunView]:
    """List the passes of collection, the newest first."""
    return await list_runs(call, kind=COLLECT, limit=limit, after=after)
