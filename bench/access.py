"""What rights cost: `python -m bench.access`.

Starts the registry twice on the same storage: open, and with local users, tokens and access control
over 10,000 users, 1,000 namespaces and 100,000 grants. Manifest GETs of both by turns, with wrk;
then the catalog of a user who may see 10 of 100,000 repositories, and tokens for a password that
was seen before.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bench.index import INDEX, fill_for_lists, repository_name
from bench.loads import wrk
from bench.measure import cpu_seconds
from bench.servers import READY, Server, free_port, running

REPOSITORIES, USERS, NAMESPACES, GRANTS, SEEN = 100_000, 10_000, 1_000, 100_000, 10
ROUNDS, SECONDS, CONNECTIONS = 20, 1.0, 32
USER, PASSWORD = "reader", "Bench-password-1"
NOW = 1_700_000_000_000_000


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="entrepot-access-") as folder:
        root = Path(folder)
        print(f"filling {root}")
        storage = root / "storage"
        fill_for_lists(storage, count=REPOSITORIES)
        _grant(storage / INDEX)
        local = "auth: {local: {admin: {password: Bench-password-0}}}"
        with _registry(root, "open", "") as free, _registry(root, "access", local) as governed:
            _make_user(root / "access.yml")
            headers = f"Authorization: Bearer {_token(governed)}\r\n"
            _pulls(free, governed, headers)
            _catalogs(free, governed)
            _tokens(governed)


def _grant(path: Path) -> None:
    """Rows of namespaces, users and grants; the user of the measurements gets 10 repositories."""
    with closing(sqlite3.connect(path)) as index:
        index.executemany(
            "INSERT INTO namespaces (id, parent_id, name, created_at) VALUES (?, 1, ?, ?)",
            ((n + 2, f"team-{n}", NOW) for n in range(NAMESPACES)),
        )
        index.executemany(
            "INSERT INTO users (name, administrator, disabled, created_at, password_changed_at)"
            " VALUES (?, 0, 0, ?, ?)",
            ((f"user-{n}", NOW, NOW) for n in range(USERS)),
        )
        roles = ("reader", "developer", "operator")
        index.executemany(
            "INSERT INTO grants (namespace_id, subject_kind, subject, role, created_at)"
            " VALUES (?, ?, ?, ?, ?)",
            (
                (
                    n % NAMESPACES + 2,
                    "group" if n % 4 == 0 else "user",
                    f"group-{n // 4 % 500}" if n % 4 == 0 else f"user-{n % USERS}",
                    roles[n % 3],
                    NOW,
                )
                for n in range(GRANTS - SEEN)
            ),
        )
        index.executemany(
            "INSERT INTO grants (namespace_id, subject_kind, subject, role, repository_pattern,"
            " created_at) VALUES (1, 'user', ?, 'reader', ?, ?)",
            ((USER, repository_name(n * 9_973 + 1), NOW) for n in range(SEEN)),
        )
        index.commit()


@contextmanager
def _registry(root: Path, name: str, text: str) -> Iterator[Server]:
    port = free_port()
    path = root / f"{name}.yml"
    path.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {root / 'storage'}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}', workers: 1}}\n{text}\n"
    )
    command = [sys.executable, "-m", "entrepot", "serve", str(path)]
    with running(command, log=root / f"{name}.log", port=port, path=READY) as pid:
        yield Server(name, "127.0.0.1", port, (pid,))


def _make_user(config: Path) -> None:
    command = [sys.executable, "-m", "entrepot", "user", "create", USER, "--password-stdin"]
    subprocess.run(
        [*command, "--config", str(config)], input=f"{PASSWORD}\n", text=True, check=True
    )


def _token(server: Server) -> str:
    scopes = f"repository:{repository_name(1)}:pull registry:catalog:*".replace(" ", "%20")
    return str(_get(f"{server.url}/auth/token?service=entrepot&scope={scopes}")["token"])


def _get(url: str, authorization: str = "") -> dict[str, object]:
    basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    request = urllib.request.Request(url)
    request.add_header("Authorization", authorization or f"Basic {basic}")
    with urllib.request.urlopen(request) as answer:
        found: dict[str, object] = json.load(answer)
        return found


def _pulls(free: Server, governed: Server, headers: str) -> None:
    path = f"/v2/{repository_name(1)}/manifests/latest"
    costs: dict[str, list[float]] = {free.name: [], governed.name: []}
    for number in range(ROUNDS + 1):
        for server, sent in ((free, ""), (governed, headers)):
            before = cpu_seconds(server.pids)
            load = wrk(server, path, headers=sent, connections=CONNECTIONS, seconds=SECONDS)
            spent = cpu_seconds(server.pids) - before
            if number:  # the first round warms up
                costs[server.name].append(spent / load.requests * 1e6)
    for name, found in costs.items():
        least, median = min(found), statistics.median(found)
        print(f"manifest GET, {name}: {median:.1f} us of CPU, {least:.1f} at least")
    ratios = [b / a for a, b in zip(*costs.values(), strict=True)]
    least = min(costs[governed.name]) / min(costs[free.name])
    print(f"authorised to open: {statistics.median(ratios):.3f}, of the least {least:.3f}")


def _catalogs(free: Server, governed: Server) -> None:
    token = f"Bearer {_token(governed)}"
    for server in (free, governed):
        times, page = list[float](), list[str]()
        for _ in range(200):
            began = time.perf_counter()
            page = _names(_get(f"{server.url}/v2/_catalog", token))
            times.append((time.perf_counter() - began) * 1000)
        print(
            f"catalog, {server.name}: {len(page)} names, first {times[0]:.2f} ms, "
            f"median {statistics.median(times):.2f} ms, worst {max(times):.2f} ms"
        )


def _tokens(governed: Server) -> None:
    basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    path = f"/auth/token?service=entrepot&scope=repository:{repository_name(1)}:pull"
    before, headers = cpu_seconds(governed.pids), f"Authorization: Basic {basic}\r\n"
    load = wrk(governed, path, headers=headers, connections=CONNECTIONS, seconds=5)
    spent = (cpu_seconds(governed.pids) - before) / load.requests * 1e6
    rate = load.requests / load.seconds
    print(f"tokens, one worker: {rate:.0f} a second, {spent:.0f} us of CPU each")


def _names(page: dict[str, object]) -> list[str]:
    found = page["repositories"]
    assert isinstance(found, list)
    return found


if __name__ == "__main__":
    os.environ.pop("REGISTRY_CONFIGURATION_PATH", None)
    main()
