"""What is counted, under which names, over all worker processes."""

import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from entrepot.telemetry import Metrics, new_directory, render
from entrepot.telemetry.families import FAMILIES
from entrepot.telemetry.series import Series

WORKER = """
import sys
from pathlib import Path
from entrepot.telemetry import Metrics
metrics = Metrics(Path(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    metrics.started("manifest")
    metrics.finished("manifest", "GET", 200, 0.004, 0, 2000)
metrics.started("blob")
print("counted", flush=True)
sys.stdin.read()
"""


def start_worker(directory: Path, *, requests: int) -> subprocess.Popen[str]:
    """Start a worker process that has served `requests` manifests and has one blob in flight."""
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(directory), str(requests)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "counted\n"
    return worker


def end(worker: subprocess.Popen[str], number: signal.Signals) -> None:
    worker.send_signal(number)
    worker.communicate()


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    """Return (name, label values in the order of the label names) -> value."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_names_and_labels_are_those_of_registry2(directory: Path) -> None:
    """Dashboards made for registry:2 find their metrics, with the labels they ask for."""
    metrics = Metrics(directory)
    metrics.started("manifest")
    metrics.finished("manifest", "GET", 200, 0.3, 0, 2000)
    metrics.storage_action("filesystem", "GetContent", 0.01)
    lines = metrics.render().decode().splitlines()

    seconds = "registry_http_request_duration_seconds"
    for line in (
        'registry_http_requests_total{code="200",handler="manifest",method="get"} 1.0',
        seconds + '_bucket{handler="manifest",le="0.25",method="get"} 0.0',
        seconds + '_bucket{handler="manifest",le="0.5",method="get"} 1.0',
        seconds + '_bucket{handler="manifest",le="60",method="get"} 1.0',
        seconds + '_bucket{handler="manifest",le="+Inf",method="get"} 1.0',
        seconds + '_sum{handler="manifest",method="get"} 0.3',
        'registry_http_in_flight_requests{handler="manifest"} 0.0',
        'registry_http_request_size_bytes_bucket{handler="manifest",le="1024"} 1.0',
        'registry_http_response_size_bytes_bucket{handler="manifest",le="1024"} 0.0',
        'registry_http_response_size_bytes_bucket{handler="manifest",le="2048"} 1.0',
        'registry_http_response_size_bytes_bucket{handler="manifest",le="2.147483648e+09"} 1.0',
        'registry_storage_action_seconds_count{action="GetContent",driver="filesystem"} 1.0',
    ):
        assert line in lines


def test_every_family_is_described_once(directory: Path) -> None:
    """The text has a HELP and a TYPE for each metric, counted or not, and parses."""
    lines = Metrics(directory).render().decode().splitlines()
    for family in FAMILIES:
        assert lines.count(f"# HELP {family.name} {family.help}") == 1
        assert lines.count(f"# TYPE {family.name} {family.kind}") == 1


def test_our_own_metrics(directory: Path) -> None:
    metrics = Metrics(directory)
    metrics.index_commit(0.0004)
    metrics.authentication("htpasswd", "remembered")
    metrics.upload_started()
    metrics.upload_finished("completed")
    metrics.blob_bytes("in", 1000)
    metrics.blob_bytes("in", 24)
    found = samples(metrics.render())

    assert found["entrepot_index_commit_seconds_count",] == 1
    assert found["entrepot_index_commit_seconds_bucket", "0.0005"] == 1
    assert found["entrepot_auth_attempts_total", "htpasswd", "remembered"] == 1
    assert found["entrepot_uploads_started_total",] == 1
    assert found["entrepot_uploads_finished_total", "completed"] == 1
    assert found["entrepot_blob_bytes_total", "in"] == 1024
    assert found["entrepot_workers",] == 1
    assert any(key[0] == "entrepot_build_info" for key in found)


@pytest.mark.parametrize("size, limit", [(0, "1024"), (1024, "1024"), (1025, "2048")])
def test_a_value_on_a_limit_is_within(directory: Path, size: int, limit: str) -> None:
    """`le` means less or equal."""
    metrics = Metrics(directory)
    metrics.started("blob")
    metrics.finished("blob", "PUT", 201, 0.005, size, 0)
    found = samples(metrics.render())
    assert found["registry_http_request_size_bytes_bucket", "blob", limit] == 1
    assert found["registry_http_request_duration_seconds_bucket", "blob", "0.005", "put"] == 1
    if limit == "2048":
        assert found["registry_http_request_size_bytes_bucket", "blob", "1024"] == 0


def test_values_beyond_the_last_bucket(directory: Path) -> None:
    metrics = Metrics(directory)
    metrics.started("blob")
    metrics.finished("blob", "GET", 200, 100.0, 2**40, 2**40)
    found = samples(metrics.render())
    assert found["registry_http_request_duration_seconds_bucket", "blob", "60", "get"] == 0
    assert found["registry_http_request_duration_seconds_bucket", "blob", "+Inf", "get"] == 1
    assert found["registry_http_response_size_bytes_sum", "blob"] == 2**40


def test_invented_methods_share_one_label(directory: Path) -> None:
    """A client can't fill the memory by making up methods."""
    metrics = Metrics(directory)
    for number in range(1000):
        metrics.started("base")
        metrics.finished("base", f"METHOD{number}", 405, 0.001, 0, 0)
    found = samples(metrics.render())
    assert found["registry_http_requests_total", "405", "base", "unknown"] == 1000
    assert len(metrics._places) == 1


def test_workers_are_added_up(directory: Path) -> None:
    """Any process tells about all of them, at once."""
    mine = Metrics(directory)
    mine.started("manifest")
    mine.finished("manifest", "GET", 200, 0.004, 0, 2000)
    worker = start_worker(directory, requests=5)
    try:
        for text in (mine.render(), render(directory)):
            found = samples(text)
            assert found["registry_http_requests_total", "200", "manifest", "get"] == 6
            assert found["registry_http_in_flight_requests", "blob"] == 1
            assert found["entrepot_workers",] == 2
    finally:
        end(worker, signal.SIGKILL)


def test_totals_never_go_back_when_workers_are_killed(directory: Path) -> None:
    """What killed workers counted stays; what they had in flight does not; files are reused."""
    for round_ in range(1, 4):
        worker = start_worker(directory, requests=10)
        found = samples(render(directory))
        assert found["registry_http_requests_total", "200", "manifest", "get"] == 10 * round_
        assert found["registry_http_in_flight_requests", "blob"] == 1
        end(worker, signal.SIGKILL)
        found = samples(render(directory))
        assert found["registry_http_requests_total", "200", "manifest", "get"] == 10 * round_
        assert ("registry_http_in_flight_requests", "blob") not in found
    assert len(list(directory.iterdir())) == 1


def test_after_close_counting_does_no_harm(directory: Path) -> None:
    """Requests that end during shutdown may still count; the totals until then remain."""
    metrics = Metrics(directory)
    metrics.started("blob")
    metrics.close()
    metrics.finished("blob", "GET", 200, 0.1, 0, 10)
    metrics.started("tags")
    metrics.storage_action("memory", "Stat", 0.1)
    metrics.close()
    assert ("registry_http_in_flight_requests", "blob") not in samples(render(directory))

    successor = Metrics(directory)
    successor.started("blob")
    assert samples(render(directory))["registry_http_in_flight_requests", "blob"] == 1
    assert len(list(directory.iterdir())) == 1


def test_without_a_directory_a_process_tells_about_itself(tmp_path: Path) -> None:
    """Metrics are no reason not to serve."""
    metrics = Metrics(tmp_path / "absent")
    metrics.storage_action("memory", "Stat", 0.1)
    found = samples(metrics.render())
    assert found["registry_storage_action_seconds_count", "Stat", "memory"] == 1


def test_threads_lose_no_count(directory: Path) -> None:
    metrics = Metrics(directory)

    def act() -> None:
        for _ in range(2000):
            metrics.storage_action("filesystem", "PutContent", 0.001)

    threads = [threading.Thread(target=act) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = samples(metrics.render())
    assert found["registry_storage_action_seconds_count", "PutContent", "filesystem"] == 8000


def test_a_full_file_loses_series_and_nothing_else(directory: Path) -> None:
    """Labels are bounded, so this can't happen; if it does, what was there first still counts."""
    series = Series(directory)
    first = series.place(("first",))
    places = {series.place(("filler", "x" * 200, str(number)), length=24) for number in range(2000)}
    assert len(places) < 2000
    for place in places:
        series.values[place + 23] += 1
    series.values[first] += 1
    values = series.snapshot().values
    assert values["first",] == (1.0,)
    assert all(row[23] == 1.0 for key, row in values.items() if key[0] == "filler")


def test_a_file_of_something_else_is_begun_anew(directory: Path) -> None:
    (directory / "0.metrics").write_bytes(b"not ours" * 100)
    assert b"registry_http_requests_total{" not in render(directory)
    metrics = Metrics(directory)
    metrics.started("tags")
    assert samples(render(directory))["registry_http_in_flight_requests", "tags"] == 1


def test_directories_of_killed_servers_are_removed() -> None:
    """The next server to start cleans up; directories in use stay, whoever forked lives on too."""
    script = (
        "import os, sys; from entrepot.telemetry import new_directory\n"
        "made = new_directory(); os.fork() or (print(made, flush=True), sys.stdin.read())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        left = Path(server.stdout.readline().strip())
        server.kill()
        server.wait()
        shutil.rmtree(new_directory())
        assert left.exists()  # the child that it forked lives
        server.communicate()  # the end of its input ends it
    mine = new_directory()
    try:
        shutil.rmtree(new_directory())
        assert not left.exists()
        assert mine.exists()
    finally:
        shutil.rmtree(mine)


def test_the_server_and_its_workers_are_measured_together() -> None:
    """process_* are about the server: the process that made the directory, and its workers."""
    directory = new_directory()
    try:
        alone = samples(render(directory))
        assert alone["process_cpu_seconds_total",] > 0
        assert alone["process_start_time_seconds",] > 1_600_000_000
        worker = start_worker(directory, requests=1)
        both = samples(render(directory))
        end(worker, signal.SIGKILL)
        after = samples(render(directory))
    finally:
        shutil.rmtree(directory)
    assert both["process_resident_memory_bytes",] > 10_000_000
    assert both["process_open_fds",] > alone["process_open_fds",]
    assert after["process_cpu_seconds_total",] >= both["process_cpu_seconds_total",]


def test_every_metric_is_documented(directory: Path) -> None:
    """docs/observability.md names what is rendered, and nothing else of ours or registry:2's."""
    page = (Path(__file__).parents[3] / "docs/observability.md").read_text(encoding="utf-8")
    text = Metrics(directory).render().decode()
    rendered = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    named = set(re.findall(r"`((?:registry|entrepot|process)_\w+)`", page))
    assert named == rendered


def test_of_times_the_latest_counts_whoever_knew_it(directory: Path) -> None:
    """Also that of a process that is gone."""
    mine, others = Metrics(directory), start_worker(directory, requests=1)
    mine.run_ended("scrub", "success", 3_000_000)
    mine.run_ended("scrub", "failure", 9_000_000)
    end(others, signal.SIGKILL)
    code = (
        "import sys; from pathlib import Path; from entrepot.telemetry import Metrics\n"
        "Metrics(Path(sys.argv[1])).run_ended('scrub', 'success', 2_000_000)"
    )
    subprocess.run([sys.executable, "-c", code, str(directory)], check=True, timeout=60)
    found = samples(render(directory))
    assert found["entrepot_run_last_success_timestamp_seconds", "scrub"] == 3
    assert found["entrepot_runs_total", "scrub", "success"] == 2
    assert found["entrepot_runs_total", "scrub", "failure"] == 1
    mine.close()
