"""The shipped configurations of HAProxy and nginx, started in front of registries of a test.

Only what a user has to change is replaced: addresses, names and the certificate.
"""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from tests.certificates import Authority
from tests.clients.provide import path_of
from tests.servers import free_port, wait_until

SHIPPED: Final = Path(__file__).parents[2] / "deploy"

_NGINX: Final = """
user root;
daemon off;
worker_processes 1;
pid {place}/pid;
error_log {place}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log {place}/access.log;
    default_type application/octet-stream;
    client_body_temp_path {place}/temporary/body;
    proxy_temp_path {place}/temporary/proxy;
    fastcgi_temp_path {place}/temporary/fastcgi;
    uwsgi_temp_path {place}/temporary/uwsgi;
    scgi_temp_path {place}/temporary/scgi;
    include {file};
}}
"""


@dataclass(frozen=True)
class Proxy:
    """A running proxy at `https://127.0.0.1:PORT`; nodes by name are `hosts`."""

    port: int
    place: Path
    authority: Authority
    process: subprocess.Popen[bytes]

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"https://{self.host}"

    def client(self, *, timeout: float = 60.0) -> httpx.Client:
        """An HTTP client that trusts the proxy's certificate."""
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        return httpx.Client(base_url=self.url, verify=context, timeout=timeout)

    def temporary_bytes(self) -> int:
        """What lies on disk of bodies that go through."""
        files = (self.place / "temporary").rglob("*")
        return sum(file.stat().st_size for file in files if file.is_file())

    def answers(self) -> bool:
        try:
            with self.client(timeout=5) as client:
                return client.get("/v2/").status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def start_proxy(
    kind: str, place: Path, hosts: Sequence[str], *, blobs: Path | None = None
) -> Iterator[Proxy]:
    """Start `haproxy`, `nginx` (deploy/nginx/cluster.conf) or `nginx on one host`, which reads
    `blobs`, in front of `hosts`; ended on leaving.
    """
    place.mkdir(parents=True)
    (place / "temporary").mkdir()
    authority = Authority(place / "tls")
    pair = authority.server()
    (place / "trusted").mkdir()
    shutil.copy(authority.certificate, place / "trusted")
    port = free_port()
    file = place / "configuration"
    if kind == "haproxy":
        joined = place / "tls" / "registry.pem"
        joined.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
        text = _with_servers((SHIPPED / "haproxy" / "haproxy.cfg").read_text(), hosts)
        text = text.replace("bind :443", f"bind 127.0.0.1:{port}")
        text = text.replace("/etc/entrepot/tls/registry.pem", str(joined))
        file.write_text(text)
        command = [path_of("haproxy"), "-W", "-db", "-f", str(file)]
    else:
        shipped = "cluster.conf" if kind == "nginx" else "one-host.conf"
        text = _with_servers((SHIPPED / "nginx" / shipped).read_text(), hosts)
        text = text.replace("listen 443", f"listen 127.0.0.1:{port}")
        text = text.replace("/etc/entrepot/tls/registry.crt", str(pair.certificate))
        text = text.replace("/etc/entrepot/tls/registry.key", str(pair.key))
        text = text.replace("/var/lib/registry/docker/registry/v2/blobs", str(blobs))
        file.write_text(text)
        main = place / "nginx.conf"
        main.write_text(_NGINX.format(place=place, file=file))
        command = [path_of("nginx"), "-p", str(place), "-c", str(main), "-e", f"{place}/error.log"]
    with (place / "log").open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    proxy = Proxy(port, place, authority, process)
    try:
        wait_until(lambda: process.poll() is not None or proxy.answers(), seconds=30, what=kind)
        assert process.poll() is None, (place / "log").read_text()
        yield proxy
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(60)


def _with_servers(text: str, hosts: Sequence[str]) -> str:
    """The shipped text with one `server` line for each of `hosts`, in the form that it shows."""
    lines = text.splitlines()
    form = re.compile(r"( *server (?:node\d )?)(?:\d+\.){3}\d+:5000(.*)")
    shown = [number for number, line in enumerate(lines) if form.fullmatch(line)]
    assert shown, "the shipped file names nodes"
    found = form.fullmatch(lines[shown[0]])
    assert found
    start, end = found.groups()
    ours = [
        f"{start.replace('node1', f'node{number}')}{host}{end}"
        for number, host in enumerate(hosts, start=1)
    ]
    lines[shown[0] : shown[-1] + 1] = ours
    return "\n".join(lines) + "\n"
