"""Writes the servers' configuration files. JSON is YAML, so the registries' need no YAML writer."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from bench.content import MANIFEST_TYPE, pull_content

HTPASSWD_LINE = "bench:$2y$10$gyXfUmicVjnRwQ0UC4j11.KIOulOpHWnLhQsIpsxuCNpDDXXxVChm"
"""bcrypt of cost 10 of the password in `bench.servers.CREDENTIALS`, which guards nothing."""

BLOBS = "docker/registry/v2/blobs"
_NGINX_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def _write(file: Path, value: Mapping[str, object]) -> Path:
    file.write_text(json.dumps(value, indent=2) + "\n")
    return file


def _auth(htpasswd: Path | None) -> dict[str, object]:
    if htpasswd is None:
        return {}
    return {"auth": {"htpasswd": {"realm": "bench", "path": str(htpasswd)}}}


def docker_registry(
    directory: Path,
    *,
    port: int,
    htpasswd: Path | None,
    storage: Mapping[str, object] | None = None,
) -> Path:
    """As Debian's example (in-memory descriptor cache, delete, health), access log off; with files
    in `directory` unless another storage driver is given.
    """
    value = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {
            "cache": {"blobdescriptor": "inmemory"},
            "delete": {"enabled": True},
            **(storage or {"filesystem": {"rootdirectory": str(directory / "data")}}),
        },
        "http": {
            "addr": f"127.0.0.1:{port}",
            "headers": {"X-Content-Type-Options": ["nosniff"]},
        },
        "health": {"storagedriver": {"enabled": True, "interval": "10s", "threshold": 3}},
        **_auth(htpasswd),
    }
    return _write(directory / "config.yml", value)


def entrepot(
    directory: Path,
    *,
    port: int,
    durability: str,
    htpasswd: Path | None,
    http: Mapping[str, object],
    more: Mapping[str, object],
) -> Path:
    """Entrepot's defaults but for the place, the access log and what the workload asks for."""
    value = {
        "version": "0.1",
        "log": {"accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(directory / "data"), "durability": durability}
        },
        "http": {"addr": f"127.0.0.1:{port}", **http},
        **_auth(htpasswd),
        **more,
    }
    return _write(directory / "config.yml", value)


def entrepot_cluster(
    directory: Path, *, port: int, database: str, storage: Mapping[str, object]
) -> Path:
    """A node of a cluster with nothing on its own disk."""
    value = {
        "version": "0.1",
        "log": {"accesslog": {"disabled": True}},
        "database": {"url": database},
        "storage": storage,
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    return _write(directory / "config.yml", value)


def write_static(root: Path) -> None:
    """The pull content as files whose paths are the registries' URL paths."""
    content = pull_content()
    manifests = root / "v2" / content.repository / "manifests"
    blobs = root / "v2" / content.repository / "blobs"
    manifests.mkdir(parents=True)
    blobs.mkdir()
    for name in (content.tag, content.manifest.digest):
        (manifests / name).write_bytes(content.manifest.body)
    for blob in content.blobs:
        (blobs / blob.digest).write_bytes(blob.body)


def _nginx(directory: Path, server: str, *, outside: str = "") -> Path:
    temporary = "\n".join(
        f"    {name}_temp_path {directory}/{name}_temp;" for name in _NGINX_TEMPORARY
    )
    user = "user root;" if os.geteuid() == 0 else ""
    file = directory / "nginx.conf"
    file.write_text(
        f"""{user}
worker_processes auto;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    types {{ }}
    default_type application/octet-stream;
{temporary}
{outside}
    server {{
{server}
    }}
}}
"""
    )
    return file


def nginx_static(directory: Path, *, port: int) -> Path:
    """Static files as nginx serves them best: sendfile, no access log, connections kept open."""
    return _nginx(
        directory,
        f"""        listen 127.0.0.1:{port};
        root {directory}/files;
        location /v2/{pull_content().repository}/manifests/ {{ default_type {MANIFEST_TYPE}; }}""",
    )


def nginx_proxy(directory: Path, *, port: int, upstream: int) -> Path:
    """nginx in front of Entrepot, sending blob files that Entrepot names in X-Accel-Redirect; with
    send buffers that fit the processor's cache, which suits a local network (docs/performance.md).
    """
    return _nginx(
        directory,
        f"""        listen 127.0.0.1:{port} sndbuf=384k;
        client_max_body_size 0;
        location / {{
            proxy_pass http://entrepot;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
        }}
        location /_blobs/ {{
            internal;
            tcp_nopush off;
            etag off;
            add_header ETag $upstream_http_etag;
            add_header Docker-Content-Digest $upstream_http_docker_content_digest;
            alias {directory}/data/{BLOBS}/;
        }}""",
        outside=f"    upstream entrepot {{ server 127.0.0.1:{upstream}; keepalive 32; }}",
    )
