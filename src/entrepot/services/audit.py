"""What was done to accounts, and by whom: one line of the log for each."""

import structlog

_log = structlog.get_logger("entrepot.audit")


def record(action: str, *, by: str, outcome: str = "success", **facts: object) -> None:
    """Note that `by` did `action`, a constant such as `user.create`; `facts` say on what."""
    named = {"event.action": action, "event.outcome": outcome, "user.name": by}
    _log.info("audit", **named, **facts)
