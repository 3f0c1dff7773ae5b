"""The `audit` section: what is recorded beside every change, for how long, and where to."""

from typing import Annotated

from msgspec import Struct

from entrepot.config.about import Duration, about


class Audit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The audit log. Every change, login, failed login and refusal is recorded in the index."""

    pulls: Annotated[bool, about("Record every pull of a manifest, too.")] = False
    blobs: Annotated[bool, about("Record every blob that is pushed or mounted, too.")] = False
    keep: Annotated[
        Duration,
        about("How long events are kept, a day at least; 0 is for ever.", minimum=0),
    ] = 31_536_000.0
    checkpoints: Annotated[
        Duration,
        about("Time between two signed checkpoints, if something was recorded.", minimum=5),
    ] = 60.0
    log: Annotated[
        str,
        about(
            "Where events are written as well, as lines of JSON in Elastic Common Schema: "
            "`stdout`, or a file, which may be renamed at any time; empty is nowhere."
        ),
    ] = ""
