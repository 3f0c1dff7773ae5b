"""What is to be served, by how many processes, on which sockets."""

import os
import shutil
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from entrepot import app
from entrepot.config import Address, Config, UnixAddress
from entrepot.core.errors import EntrepotError
from entrepot.health import HealthBoard, configured_checks
from entrepot.server.certificates import Certificates, load_certificates
from entrepot.server.children import Body
from entrepot.server.lifespan import Application
from entrepot.server.linux import raise_open_files
from entrepot.server.listening import bind, bound_address, listen
from entrepot.server.monitor import Watch, monitor
from entrepot.server.upkeep import Keep, upkeep
from entrepot.server.waiting import answer_meanwhile, keep_trying
from entrepot.telemetry import new_directory

_log = structlog.get_logger("entrepot.server")


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the processes of one server share. Made before any of them is forked."""

    config: Config
    workers: int
    bound: socket.socket
    debug_bound: socket.socket | None
    certificates: Certificates | None
    board: HealthBoard
    metrics: Path
    open_files: int

    def build(self) -> Application:
        """The application of one worker."""
        return app.build(self.config, health=self.board, metrics=self.metrics)

    def prepare(self, pipe: int) -> int:
        """What must be done once before there are workers; tells the pipe what went wrong. Where
        the database or the object store is away, it waits for them, until a signal ends it.
        """
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        try:
            keep_trying(
                lambda: app.prepare(self.config),
                most=self.config.database.startuptimeout,
                answer=self._answer_meanwhile,
            )
        except EntrepotError as error:
            os.write(pipe, str(error).encode())
            return 1
        return 0

    def _answer_meanwhile(self) -> Callable[[], None]:
        listen(self.bound, address=self.config.http.listen())
        sockets = [(self.bound, self.certificates)]
        debug = self.config.http.debug_listen()
        if self.debug_bound is not None and debug is not None:
            listen(self.debug_bound, address=debug)
            sockets.append((self.debug_bound, None))
        return answer_meanwhile(sockets)

    @property
    def monitor(self) -> Body | None:
        """The process beside the workers, if there is anything for it to do."""
        storage = app.storage_check(self.config)
        checks = tuple(configured_checks(self.config, storage=storage))
        if not checks and self.debug_bound is None:
            return None
        given = Watch(self.config, checks, self.board, self.metrics, self.debug_bound)
        return lambda _: monitor(given)

    @property
    def upkeep(self) -> Body | None:
        """The process that does what is done in the background, unless that is nothing, or can only
        be done where the content is: in the only worker.
        """
        storage = self.config.storage
        if storage.maintenance.readonly.enabled or storage.inmemory is not None:
            return None
        given = Keep(self.config, self.metrics)
        return lambda _: upkeep(given)

    def listen(self) -> None:
        """Let connections come in. Raises StartError."""
        debug = self.config.http.debug_listen()
        if self.debug_bound is not None and debug is not None:
            listen(self.debug_bound, address=debug)
        listen(self.bound, address=self.config.http.listen())

    def serving(self) -> None:
        """Say that requests are served now."""
        address = self.config.http.listen()
        _log.info(
            "serving",
            address=bound_address(self.bound, address=address),
            tls=self.certificates is not None,
            workers=self.workers,
            pid=os.getpid(),
        )

    def close(self) -> None:
        """Remove what doesn't outlive the server."""
        address = self.config.http.listen()
        if isinstance(address, UnixAddress):
            Path(address.path).unlink(missing_ok=True)
        shutil.rmtree(self.metrics, ignore_errors=True)


def make_plan(config: Config) -> Plan:
    """Take the addresses and read the certificate; raises StartError."""
    address, debug = config.http.listen(), config.http.debug_listen()
    _warn_of_exposure(config, address)
    certificates = load_certificates(config.http.tls) if config.http.tls.enabled else None
    bound = bind(address)
    return Plan(
        config=config,
        workers=config.worker_count(),
        bound=bound,
        debug_bound=bind(debug) if debug is not None else None,
        certificates=certificates,
        board=HealthBoard(),
        metrics=new_directory(),
        open_files=raise_open_files(),
    )


def _warn_of_exposure(config: Config, address: Address | UnixAddress) -> None:
    if isinstance(address, UnixAddress) or address.is_loopback:
        return
    if config.auth.type in {"none", "silly"}:
        _log.warning(
            "no authentication: whoever can reach this address may push and delete",
            address=str(address),
        )
