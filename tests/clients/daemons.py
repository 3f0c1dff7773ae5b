"""Engines that only run as daemons, each with folders and a socket of its own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.clients.provide import SEARCH_PATH, path_of
from tests.clients.sites import Client, ClientError, end
from tests.servers import wait_until


@contextmanager
def dockerd(variables: Mapping[str, str]) -> Iterator[str]:
    """A real engine without networks; gives the value for DOCKER_HOST.

    vfs works on every file system, also where the tests themselves run in a container.
    """
    with _folder("dockerd") as place:
        socket = f"unix://{place}/s"
        command = [
            *("dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none"),
            *("--storage-driver=vfs", "--data-root", f"{place}/data", "--exec-root", f"{place}/e"),
            *("--pidfile", f"{place}/pid", "--config-file", f"{place}/none.json", "-H", socket),
        ]
        (place / "none.json").write_text("{}")
        probe = Client(place / "home", variables={"DOCKER_HOST": socket})
        with _running(command, place, variables, probe=(probe, ["docker", "version"])):
            yield socket


@contextmanager
def containerd() -> Iterator[str]:
    """A containerd without plug-ins for Kubernetes; gives the address for `ctr --address`."""
    with _folder("containerd") as place:
        address = str(place / "s")
        settings = place / "config.toml"
        settings.write_text(
            f'version = 2\nroot = "{place}/root"\nstate = "{place}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\naddress = "{address}"\n'
        )
        probe = Client(place / "home", variables={})
        asked = (probe, ["ctr", "--address", address, "version"])
        with _running(["containerd", "--config", str(settings)], place, {}, probe=asked):
            yield address


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    """A folder with a short path, as addresses of sockets must be short."""
    place = Path(tempfile.mkdtemp(prefix=f"entrepot-{name}-"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _running(
    command: Sequence[str],
    place: Path,
    variables: Mapping[str, str],
    *,
    probe: tuple[Client, list[str]],
) -> Iterator[None]:
    """A daemon, from the moment that `probe` succeeds; ended with all its processes."""
    environment = {"PATH": SEARCH_PATH, "HOME": str(place), **variables}
    log = place / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [path_of(command[0]), *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )
    client, question = probe

    def answers() -> bool:
        if process.poll() is not None:
            raise ClientError(f"{command[0]} ended:\n{log.read_text()}")
        with suppress(ClientError):
            client.run(*question)
            return True
        return False

    try:
        wait_until(answers, seconds=60, what=f"{command[0]}'s answer")
        yield
    finally:
        end(process)
