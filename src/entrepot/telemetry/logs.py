"""The application log: structlog and the standard library's loggers through one output.

    log = structlog.get_logger("entrepot.storage")
    log.warning("blob is missing on disk", digest=digest, path=path)

The text of an event is constant, its values are fields. Secrets are masked (see `masking`).
"""

import functools
import logging
import sys
import traceback
from collections.abc import Mapping
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from entrepot.config.schema import Log
from entrepot.telemetry.masking import mask_value
from entrepot.telemetry.renderers import RENDERERS

LEVELS: Mapping[str, int] = {
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}
"""`log.level` -> the standard library's level."""

_QUIET_BELOW_DEBUG = ("alembic", "asyncio", "azure", "google", "httpcore", "httpx", "msal")
"""Libraries whose information is about themselves."""

_TAKEN_OVER = ("_granian", "granian", "granian.access", *_QUIET_BELOW_DEBUG)
"""Loggers that other programs' set-up gives handlers of their own."""


class _Output(logging.StreamHandler[TextIO]):
    """The one handler that `configure_logging` puts on the root logger."""


def configure_logging(log: Log, *, stream: TextIO | None = None) -> None:
    """Send everything that is logged in this process to `stream` (standard error), as configured.

    May be called again: the last call counts. Call it in every process, in a worker after the
    HTTP server has done its own set-up.
    """
    level = LEVELS[log.level]
    output = _Output(stream if stream is not None else sys.stderr)
    output.setFormatter(_formatter(log))
    root = logging.getLogger()
    for handler in list(root.handlers):
        # Only ours and those of `logging.basicConfig`; a test runner's stay.
        if isinstance(handler, _Output) or type(handler) is logging.StreamHandler:
            root.removeHandler(handler)
    root.addHandler(output)
    root.setLevel(level)
    for name in _TAKEN_OVER:
        foreign = logging.getLogger(name)
        foreign.handlers.clear()
        foreign.propagate = True
        quiet = name in _QUIET_BELOW_DEBUG and level > logging.DEBUG
        foreign.setLevel(max(level, logging.WARNING) if quiet else level)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _formatter(log: Log) -> structlog.stdlib.ProcessorFormatter:
    fields = {str(name): mask_value(value, key=str(name)) for name, value in log.fields.items()}
    renderer = functools.partial(RENDERERS[log.formatter], fields=fields)

    def render(_: WrappedLogger, __: str, event: EventDict) -> str:
        return renderer(event)

    callers: list[Processor] = [
        structlog.processors.CallsiteParameterAdder(
            {
                structlog.processors.CallsiteParameter.PATHNAME,
                structlog.processors.CallsiteParameter.FUNC_NAME,
                structlog.processors.CallsiteParameter.LINENO,
            }
        ),
        _name_caller,
    ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name],
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
            *(callers if log.reportcaller else []),
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _describe_exception,
            _mask,
            render,
        ],
    )


def _mask(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Make every value fit for the log: JSON values only, no secrets."""
    return {key: mask_value(value, key=key) for key, value in event.items()}


def _describe_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace `exc_info` by the ECS fields of an error."""
    info = event.pop("exc_info", None)
    if isinstance(info, BaseException):
        error: BaseException | None = info
    elif isinstance(info, tuple):
        error = info[1]
    else:
        error = sys.exc_info()[1] if info else None
    if error is not None:
        event["error.type"] = type(error).__qualname__
        event["error.message"] = str(error)
        event["error.stack_trace"] = "".join(traceback.format_exception(error))
    return event


def _name_caller(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Give the caller's place its ECS names."""
    event["log.origin.file.name"] = event.pop("pathname", "")
    event["log.origin.file.line"] = event.pop("lineno", 0)
    event["log.origin.function"] = event.pop("func_name", "")
    return event
