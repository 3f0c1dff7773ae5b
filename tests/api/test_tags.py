"""What the API says of tags: the pulls of every worker, those before a restart as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tests.api.test_description import LOCAL, PASSWORD
from tests.servers import start_registry
from tests.wire.images import image

PULLS = 20


def test_pulls_of_all_workers_add_up(tmp_path: Path) -> None:
    """Each pull has a connection of its own; what was counted is written when the server ends."""
    made = image("counted")
    root = tmp_path / "registry"
    auth = ("admin", PASSWORD)

    def shown(url: str) -> Any:
        answer = httpx.get(f"{url}/api/v1/repositories/team/app/tags", auth=auth)
        return answer.raise_for_status().json()["items"]

    with start_registry(root, config=LOCAL, workers=2) as registry:
        manifests = f"{registry.url}/v2/team/app/manifests"
        with httpx.Client(auth=auth) as client:
            for blob in made.blobs:
                uploads = f"{registry.url}/v2/team/app/blobs/uploads/"
                client.post(
                    uploads, params={"digest": blob.digest}, content=blob.data
                ).raise_for_status()
            client.put(
                f"{manifests}/v1",
                content=made.manifest.data,
                headers={"content-type": made.manifest.media_type},
            ).raise_for_status()
        assert [(tag["name"], tag["pulled_at"]) for tag in shown(registry.url)] == [("v1", None)]
        for _ in range(PULLS):
            httpx.head(f"{manifests}/v1", auth=auth).raise_for_status()
            httpx.get(f"{manifests}/{made.digest}", auth=auth).raise_for_status()
    with start_registry(root, config=LOCAL, workers=1) as registry:
        (tag,) = shown(registry.url)
        assert (tag["pulls"], tag["digest"]) == (PULLS, made.digest)
        assert tag["pulled_at"] >= tag["pushed_at"]
        answer = httpx.get(f"{registry.url}/api/v1/repositories/none/tags", auth=auth)
        assert answer.status_code == 404, answer.text
