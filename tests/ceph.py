"""A real Ceph for tests: one of each daemon, with everything in memory, and its S3 gateway.

Only the tests with the marker `ceph` use it, which run when asked for: `./dev test -m ceph`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.objectstores import S3Server
from tests.servers import free_port, wait_until

PACKAGES = "ceph-mon ceph-osd ceph-mgr radosgw ceph-common"

_CONFIGURATION = """
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{ports[0]},v1:127.0.0.1:{ports[1]}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
run dir = {place}/run
log file = {place}/log/$name.log
admin socket = {place}/run/$name.asok
pid file = {place}/run/$name.pid
keyring = {place}/keyring
mon data = {place}/mon
mgr data = {place}/mgr
osd data = {place}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
ms bind ipv6 = false
mon warn on pool no redundancy = false
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{ports[2]}
rgw data = {place}/rgw
"""
_KEYS = {
    "mon.": ["mon", "allow *"],
    "client.admin": ["mon", "allow *", "osd", "allow *", "mgr", "allow *"],
    "mgr.x": ["mon", "allow profile mgr", "osd", "allow *", "mds", "allow *"],
    "osd.0": ["mon", "allow profile osd", "mgr", "allow profile osd"],
    "client.rgw": ["mon", "allow rw", "mgr", "allow rw", "osd", "allow rwx"],
}


class Ceph(S3Server):
    """A running gateway and what it stands on."""

    access_key = "AK"
    secret_key = "SK"

    def __init__(self, place: Path) -> None:
        self.place = place
        self.ports = [free_port(), free_port(), free_port()]
        self.endpoint = f"http://127.0.0.1:{self.ports[2]}"
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Make a new cluster and wait until its gateway serves."""
        if shutil.which("ceph-mon") is None:
            pytest.fail(
                f"Ceph is not installed: apt-get install --no-install-recommends {PACKAGES}"
            )
        for name in ("mon", "osd", "mgr", "run", "log", "rgw"):
            (self.place / name).mkdir(parents=True)
        fsid = str(uuid.uuid4())
        text = _CONFIGURATION.format(fsid=fsid, ports=self.ports, place=self.place)
        (self.place / "ceph.conf").write_text(text)
        self._make_monitor(fsid)
        self._daemon("ceph-mon", "-f", "-i", "a")
        self._daemon("ceph-mgr", "-f", "-i", "x")
        osd = str(uuid.uuid4())
        self._run("ceph", "--connect-timeout", "60", "osd", "new", osd)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._daemon("ceph-osd", "-f", "-i", "0")
        self._daemon("radosgw", "-f", "-n", "client.rgw")
        wait_until(self._serves, seconds=120, what="Ceph's gateway")
        self._run(
            "radosgw-admin",
            *("user", "create", "--uid=u", "--display-name=u"),
            *(f"--access-key={self.access_key}", f"--secret-key={self.secret_key}"),
        )

    def kill(self) -> None:
        for process in reversed(self._processes):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)

    def _make_monitor(self, fsid: str) -> None:
        keyring, monitors = self.place / "keyring", str(self.place / "monmap")
        for number, (name, grants) in enumerate(_KEYS.items()):
            caps = [
                word
                for pair in zip(grants[::2], grants[1::2], strict=True)
                for word in ("--cap", *pair)
            ]
            made = ["--create-keyring"] if number == 0 else []
            self._run("ceph-authtool", *made, str(keyring), "--gen-key", "-n", name, *caps)
        addresses = f"[v2:127.0.0.1:{self.ports[0]},v1:127.0.0.1:{self.ports[1]}]"
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", addresses, monitors)
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monitors, "--keyring", str(keyring))

    def _serves(self) -> bool:
        try:
            with urllib.request.urlopen(self.endpoint, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "CEPH_CONF": str(self.place / "ceph.conf")}

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            command, check=False, capture_output=True, timeout=120, env=self._environment()
        )
        assert done.returncode == 0, f"{command}: {done.stderr.decode()}"

    def _daemon(self, *command: str) -> None:
        with (self.place / "log" / f"{command[0]}.out").open("ab") as output:
            self._processes.append(
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=self._environment(),
                    start_new_session=True,
                )
            )


@contextmanager
def start_ceph(place: Path) -> Iterator[Ceph]:
    """A running Ceph, ended on leaving."""
    running = Ceph(place)
    try:
        running.start()
        yield running
    finally:
        running.kill()
