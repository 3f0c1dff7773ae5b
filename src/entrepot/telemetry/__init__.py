"""Logs and metrics: set-up and names. docs/observability.md tells an operator what there is."""

from entrepot.telemetry.accesslog import Access, AccessLog
from entrepot.telemetry.directory import new_directory
from entrepot.telemetry.exposition import CONTENT_TYPE
from entrepot.telemetry.load import Load
from entrepot.telemetry.logs import configure_logging
from entrepot.telemetry.masking import Revealed
from entrepot.telemetry.metrics import Metrics, render

__all__ = [
    "CONTENT_TYPE",
    "Access",
    "AccessLog",
    "Load",
    "Metrics",
    "Revealed",
    "configure_logging",
    "new_directory",
    "render",
]
