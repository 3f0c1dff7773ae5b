"""What a request wants to do. Every route names one action; without one there is no route."""

from enum import Enum


class Action(Enum):
    """What the caller must be allowed to do, in `registry:2`'s words where it has one."""

    PROBE = "probe"
    """Ask whether the server lives; nothing of the registry shows."""

    CONNECT = "connect"
    """Use the registry at all."""

    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"
    LIST = "catalog"
    OBSERVE = "metrics"
