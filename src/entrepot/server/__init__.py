"""Running the registry: processes, sockets, TLS, signals. docs/serving.md tells an operator."""

import gc

import structlog

from entrepot.config import Loaded
from entrepot.core.errors import EntrepotError
from entrepot.server.plan import make_plan
from entrepot.server.supervisor import Supervisor
from entrepot.telemetry import configure_logging

_log = structlog.get_logger("entrepot.server")


def serve(loaded: Loaded) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status, 1 if the server could not start."""
    configure_logging(loaded.config.log)
    _log.info("configuration", path=str(loaded.path) if loaded.path else "built-in defaults")
    for notice in loaded.notices:
        _log.warning("configuration has no effect", key=notice.key, reason=str(notice))
    try:
        plan = make_plan(loaded.config)
    except EntrepotError as error:
        _log.error("the server can't start", reason=str(error))
        return 1
    gc.collect()
    gc.freeze()  # what is here now is shared with the workers as long as nobody touches it
    try:
        return Supervisor(plan).run()
    except EntrepotError as error:
        _log.error("the server can't start", reason=str(error))
        return 1
    finally:
        plan.close()
