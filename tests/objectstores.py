"""Real object stores for tests: started on free ports of 127.0.0.1, waited for, and ended.

with start_seaweedfs(tmp_path) as s3:
    start_registry(root, config={"storage": {"s3": s3.config("bucket")}})
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from entrepot.config.schema_objects import S3Driver
from entrepot.storage.retries import Retries
from entrepot.storage.s3 import S3Client
from entrepot.storage.s3_requests import Observe, S3Requests
from tests.servers import free_port, wait_until

ACCESS_KEY: Final = "entrepot"
SECRET_KEY: Final = "a secret of the tests"


class S3Server:
    """A running store of S3's kind; `endpoint` is its address."""

    endpoint: str
    access_key = ACCESS_KEY
    secret_key = SECRET_KEY

    def config(self, bucket: str, **more: Any) -> dict[str, Any]:
        """The section `storage.s3` of a registry that uses a bucket here."""
        return {
            "regionendpoint": self.endpoint,
            "region": "us-east-1",
            "bucket": bucket,
            "accesskey": self.access_key,
            "secretkey": self.secret_key,
            **more,
        }

    def client(self, bucket: str, *, observe: Observe | None = None, **more: Any) -> S3Client:
        """The driver, on a bucket here."""
        config = S3Driver(**self.config(bucket, **more))
        return S3Client(config, observe=observe or (lambda _action, _seconds: None))

    def make_bucket(self, bucket: str) -> None:
        with ThreadPoolExecutor(1) as elsewhere:  # a test may run a loop in this thread
            elsewhere.submit(asyncio.run, self._make_bucket(bucket)).result()

    async def _make_bucket(self, bucket: str) -> None:
        config = S3Driver(**self.config(bucket))
        requests = S3Requests(config, observe=lambda _a, _s: None, retries=Retries())
        try:
            await requests.send("PutContent", "PUT", "")
        finally:
            await requests.close()

    def listing(self, bucket: str, prefix: str) -> list[str]:
        """The keys of objects, and of uploads that were not completed."""

        async def find() -> list[str]:
            client = self.client(bucket)
            keys = [entry.key async for entry in client.entries(prefix)]
            keys += [begun.key async for begun in client.unfinished(prefix)]
            await client.close()
            return keys

        return asyncio.run(find())


@dataclass
class SeaweedFS(S3Server):
    """A running SeaweedFS."""

    directory: Path
    ports: dict[str, int]
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def port(self) -> int:
        return self.ports["s3"]

    @property
    def endpoint(self) -> str:  # type: ignore[override]
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, again on the same ports and data if it ran before, and wait until it serves."""
        (self.directory / "data").mkdir(parents=True, exist_ok=True)
        settings = self.directory / "s3.json"
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        settings.write_text(json.dumps({"identities": [identity]}))
        weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or "weed"
        ports = [
            f"-{name}={self.ports[name]}"
            for name in self.ports
            if name not in {"s3", "s3.port.grpc"}
        ]
        with (self.directory / "weed.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    weed,
                    "server",
                    "-ip=127.0.0.1",
                    "-ip.bind=127.0.0.1",
                    f"-dir={self.directory / 'data'}",
                    "-volume.max=50",
                    "-master.volumeSizeLimitMB=1024",
                    "-filer",
                    "-s3",
                    "-s3.autoCreateBucket=false",
                    f"-s3.port={self.port}",
                    f"-s3.config={settings}",
                    f"-s3.port.grpc={self.ports['s3.port.grpc']}",
                    *ports,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._serves, seconds=60, what="SeaweedFS")

    def _serves(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError((self.directory / "weed.log").read_text()[-4000:])
        probe = f"http://127.0.0.1:{self.ports['master.port']}/dir/assign"
        try:
            with urllib.request.urlopen(probe, timeout=2) as answer:
                if "fid" not in json.load(answer):
                    return False
            with urllib.request.urlopen(f"{self.endpoint}/healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError:
            return False
        except OSError:
            return False

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)


@contextmanager
def start_seaweedfs(directory: Path) -> Iterator[SeaweedFS]:
    """A running SeaweedFS that keeps its data under `directory`; ended on leaving."""
    names = (
        *("s3", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port"),
        *("volume.port.grpc", "filer.port", "filer.port.grpc", "s3.port.iceberg", "s3.port.lance"),
    )
    ports: dict[str, int] = {}
    for name in names:
        port = free_port()
        while port in ports.values():
            port = free_port()
        ports[name] = port
    store = SeaweedFS(directory, ports)
    store.start()
    try:
        yield store
    finally:
        store.kill()
