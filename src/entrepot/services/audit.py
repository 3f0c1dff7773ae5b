"""What was done to accounts, and by whom: one line of the log for each."""

import structlog

_log = structlog.get_logger("entrepot.audit")


def record(action: str, *, by: str, on: str, outcome: str = "success", **facts: object) -> None:
    """Note that `by` did `action`, a constant such as `user.create`, on an account or address."""
    named = {
        "event.action": action,
        "event.outcome": outcome,
        "user.name": by,
        "user.target.name": on,
    }
    _log.info("audit", **named, **facts)
