"""The names of everything that is counted, with labels and buckets: a table."""

from typing import Literal

import msgspec

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0)
"""Buckets of request durations: registry:2's."""
ACTION_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Buckets of storage actions: the Go client's, which registry:2 leaves as they are."""
COMMIT_SECONDS = (0.0001, 0.00025, 0.0005, *(0.001, 0.0025), *ACTION_SECONDS)
SIZES = tuple(1024 * 2**power for power in range(22))
"""Buckets of request and response sizes: 1 KiB to 2 GiB, registry:2's."""


class Family(msgspec.Struct, frozen=True):
    """One metric: its name, what it means and how it is told apart by labels."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    latest: bool = False
    """Whether it is a time, of which that of a server is the latest that any process of it knew."""

    @property
    def length(self) -> int:
        """How many values a series has: one, or the sum and a count for each bucket and beyond."""
        return len(self.buckets) + 2 if self.kind == "histogram" else 1


IN_FLIGHT = Family(
    "registry_http_in_flight_requests", "gauge", "The in-flight HTTP requests", ("handler",)
)
REQUESTS = Family(
    "registry_http_requests_total",
    "counter",
    "Total number of HTTP requests made",
    ("handler", "code", "method"),
)
REQUEST_SECONDS = Family(
    "registry_http_request_duration_seconds",
    "histogram",
    "The HTTP request latencies in seconds",
    ("handler", "method"),
    SECONDS,
)
REQUEST_SIZE = Family(
    "registry_http_request_size_bytes",
    "histogram",
    "The HTTP request sizes in bytes",
    ("handler",),
    SIZES,
)
RESPONSE_SIZE = Family(
    "registry_http_response_size_bytes",
    "histogram",
    "The HTTP response sizes in bytes",
    ("handler",),
    SIZES,
)
STORAGE_ACTIONS = Family(
    "registry_storage_action_seconds",
    "histogram",
    "The number of seconds that the storage action takes",
    ("driver", "action"),
    ACTION_SECONDS,
)
INDEX_COMMITS = Family(
    "entrepot_index_commit_seconds",
    "histogram",
    "Time that one commit of the index took, in seconds; several writers may share a commit",
    (),
    COMMIT_SECONDS,
)
AUTHENTICATIONS = Family(
    "entrepot_auth_attempts_total",
    "counter",
    "Requests by how their authentication ended",
    ("method", "outcome"),
)
LOCKS = Family(
    "entrepot_auth_locks_total",
    "counter",
    "Times that failed logins locked an account or an address",
    ("kind",),
)
AUDIT_EVENTS = Family(
    "entrepot_audit_events_total",
    "counter",
    "Events recorded in the audit log, and those that were dropped because too many waited",
    ("outcome",),
)
UPLOADS_STARTED = Family("entrepot_uploads_started_total", "counter", "Uploads of blobs begun")
UPLOADS_FINISHED = Family(
    "entrepot_uploads_finished_total",
    "counter",
    "Uploads of blobs that came to an end, by how",
    ("outcome",),
)
BLOB_BYTES = Family(
    "entrepot_blob_bytes_total",
    "counter",
    "Bytes of blobs received from clients (in) and sent to them (out)",
    ("direction",),
)
IMPORTED = Family(
    "entrepot_import_manifests_total",
    "counter",
    "Manifests of registry:2's storage that were taken over (taken), and what was found broken",
    ("outcome",),
)
RUNS = Family(
    "entrepot_runs_total",
    "counter",
    "Runs of background work that came to an end, by how",
    ("kind", "outcome"),
)
RETENTION_DELETED = Family(
    "entrepot_retention_deleted_total",
    "counter",
    "Tags, and manifests without one, that retention deleted",
    ("kind",),
)
RETENTION_STOPPED = Family(
    "entrepot_retention_stopped_total",
    "counter",
    "Times that a policy was left out of a run because too much would have gone",
)
RUN_SUCCEEDED = Family(
    "entrepot_run_last_success_timestamp_seconds",
    "gauge",
    "When the last run of a kind of background work succeeded, in seconds since unix epoch",
    ("kind",),
    latest=True,
)
COLLECTED = Family(
    "entrepot_collected_total",
    "counter",
    "What was removed because nothing needed it: manifests, links of repositories to blobs, blobs "
    "with their bytes, empty repositories",
    ("kind",),
)
RECLAIMED = Family(
    "entrepot_reclaimed_bytes_total", "counter", "Bytes of blobs that collection has deleted"
)
POSTPONED = Family(
    "entrepot_collection_postponed_total",
    "counter",
    "Reviews that were put off because something keeps their content for a known time",
)
COLLECTION_ERRORS = Family(
    "entrepot_collection_errors_total",
    "counter",
    "Objects that could not be deleted, and steps of collection that failed; both are tried again",
)
COLLECTION_QUEUE = Family(
    "entrepot_collection_queue",
    "gauge",
    "Reviews that wait (waiting), those that should have been done a day ago (overdue), and "
    "objects that are about to be deleted (doomed); only where the collector works",
    ("state",),
)
COLLECTION_AGE = Family(
    "entrepot_collection_queue_age_seconds",
    "gauge",
    "For how long the first review that waits has been due",
)
COLLECTION_RUN = Family(
    "entrepot_collection_last_run_timestamp_seconds",
    "gauge",
    "When the collector last looked how much there is to do, since unix epoch in seconds",
    latest=True,
)
TRASH_ENTRIES = Family(
    "entrepot_trash_entries",
    "gauge",
    "Tags and manifests in the trash; only where the collector works",
    ("kind",),
)
TRASH_BYTES = Family(
    "entrepot_trash_bytes",
    "gauge",
    "Bytes of blobs that manifests in the trash need and no other manifest does; only where the "
    "collector works",
)
RESTORED = Family(
    "entrepot_trash_restored_total",
    "counter",
    "Tags and manifests that were brought back from the trash over the API",
    ("kind",),
)
SCRUBBED = Family(
    "entrepot_scrub_objects_total",
    "counter",
    "Stored objects that were compared with their digests, and damaged ones that were repaired",
    ("outcome",),
)
SCRUBBED_BYTES = Family(
    "entrepot_scrub_bytes_total", "counter", "Bytes of stored objects that were read for that"
)
QUOTA_USED = Family(
    "entrepot_quota_used",
    "gauge",
    "What a namespace with a quota holds, in bytes or in numbers of the resource",
    ("namespace", "resource"),
)
QUOTA_LIMIT = Family(
    "entrepot_quota_limit",
    "gauge",
    "What a namespace may hold: above soft it is warned, beyond hard refused",
    ("namespace", "resource", "limit"),
)
QUOTA_REFUSALS = Family(
    "entrepot_quota_refusals_total",
    "counter",
    "Requests that were refused because a quota left no room",
    ("namespace", "resource"),
)
FAMILIES = (
    REQUESTS,
    REQUEST_SECONDS,
    IN_FLIGHT,
    REQUEST_SIZE,
    RESPONSE_SIZE,
    STORAGE_ACTIONS,
    INDEX_COMMITS,
    AUTHENTICATIONS,
    LOCKS,
    AUDIT_EVENTS,
    UPLOADS_STARTED,
    UPLOADS_FINISHED,
    BLOB_BYTES,
    IMPORTED,
    RUNS,
    RUN_SUCCEEDED,
    COLLECTED,
    RECLAIMED,
    POSTPONED,
    COLLECTION_ERRORS,
    COLLECTION_QUEUE,
    COLLECTION_AGE,
    COLLECTION_RUN,
    TRASH_ENTRIES,
    TRASH_BYTES,
    RESTORED,
    RETENTION_DELETED,
    RETENTION_STOPPED,
    SCRUBBED,
    SCRUBBED_BYTES,
    QUOTA_USED,
    QUOTA_LIMIT,
    QUOTA_REFUSALS,
)
"""Every metric that is counted, in the order in which they are rendered."""
