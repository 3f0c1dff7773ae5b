"""The `lifecycle` section: how long content that nothing needs any more is kept."""

from typing import Annotated

from msgspec import Struct

from entrepot.config.about import Duration, Size, about


class Collection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Removing what nothing needs any more, all the time and beside everything else."""

    enabled: Annotated[bool, about("Collect in the background.")] = True
    grace: Annotated[
        Duration,
        about(
            "How long something that may have lost its last user stays before it is looked at; "
            "what a client was told exists stays for at least half of it.",
            minimum=2,
        ),
    ] = 86_400.0
    untagged: Annotated[
        bool,
        about(
            "Collect manifests that lost their last tag, index or subject. Those that "
            "`registry:2` left untagged stay until somebody asks for it."
        ),
    ] = True
    batch: Annotated[
        int,
        about(
            "How much is looked at in one transaction, for the end of which pushes may wait; "
            "a tenth of it while the server is busy.",
            minimum=1,
        ),
    ] = 100
    rate: Annotated[
        int,
        about("How much is looked at in a second, at most; 0 is as much as possible.", minimum=0),
    ] = 2000
    maxpause: Annotated[
        Duration,
        about("The longest pause between two transactions while the server is busy.", minimum=0),
    ] = 1.0


class Trash(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was deleted can be brought back for a while."""

    window: Annotated[
        Duration,
        about("How long deleted tags, manifests and repositories can be restored.", minimum=0),
    ] = 604_800.0


class History(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of where tags pointed."""

    keep: Annotated[
        Duration,
        about(
            "How long moves and deletions of tags are remembered; 0 is for ever, and no time is "
            "shorter than `lifecycle.trash.window`.",
            minimum=0,
        ),
    ] = 31_536_000.0


class Peer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another registry that has the same content under the same names, such as a replica."""

    url: Annotated[
        str, about("Its address, such as `https://replica.example.com`.", masked="url", needs=True)
    ] = ""
    username: Annotated[str, about("Who we are there; nobody if it is empty.")] = ""
    password: Annotated[str, about("The password, or a robot's secret.", masked="all")] = ""
    passwordfile: Annotated[
        str, about("A file whose first line is the password, instead of `password`.")
    ] = ""
    ca: Annotated[
        str, about("A PEM file with the authorities to trust instead of the system's.")
    ] = ""
    insecure: Annotated[bool, about("Believe any certificate.")] = False


class Scrub(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reading what is stored and comparing it with its digest, when a schedule or somebody asks
    for it.
    """

    rate: Annotated[
        Size, about("Bytes that are read in a second at most; 0 is without a limit.", minimum=0)
    ] = 20_971_520
    peers: Annotated[
        tuple[Peer, ...],
        about("Registries from which damaged and missing content is fetched, in this order."),
    ] = ()


class Lifecycle(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Content over its life."""

    collection: Annotated[Collection, about("Removing what nothing needs.")] = Collection()
    trash: Annotated[Trash, about("Undoing deletions.")] = Trash()
    history: Annotated[History, about("Where tags pointed.")] = History()
    scrub: Annotated[Scrub, about("Finding and repairing damage.")] = Scrub()
