"""Moving the index of a configuration, beside the servers."""

import socket
from dataclasses import replace

from entrepot.app.audit import shipper
from entrepot.app.stores import index_address, now
from entrepot.config import Config
from entrepot.core.audit import Record, event, extend, on_host
from entrepot.db.move import Tell
from entrepot.db.move import move_index as copy_index
from entrepot.services.audit import begin_chain


def move_index(config: Config, url: str, *, by: str, tell: Tell) -> int:
    """Copy the index into another database, which has an event of that besides, and return the
    rows that were copied. Raises as `copy_index` does.
    """
    source = index_address(config)
    target = replace(source, url=url)
    written: list[Record] = []

    def recorded(rows: int) -> Record:
        told = event("database.move", target=target.shown(), source=source.shown(), rows=rows)
        moment = now()
        happened = [(moment, on_host(by), told)]
        _, written[:] = extend(begin_chain(moment), happened, node=socket.gethostname())
        return written[0]

    rows = copy_index(source, target, recorded=recorded, tell=tell)
    shipper(config.audit.log)(written)
    return rows
