"""What Entrepot counts: registry:2's metrics under its names, and our own.

Every worker process has one `Metrics`; what one of them renders is about all of them (see
`series` for how they share, docs/adr/0003-metrics.md for why not prometheus-client's own way).
"""

import threading
from bisect import bisect_left
from collections.abc import Mapping
from math import nan
from pathlib import Path
from typing import Literal

from entrepot.telemetry import exposition
from entrepot.telemetry.families import (
    AUDIT_EVENTS,
    AUTHENTICATIONS,
    BLOB_BYTES,
    COLLECTED,
    COLLECTION_AGE,
    COLLECTION_ERRORS,
    COLLECTION_QUEUE,
    COLLECTION_RUN,
    FAMILIES,
    IMPORTED,
    IN_FLIGHT,
    INDEX_COMMITS,
    LOCKS,
    POSTPONED,
    QUOTA_LIMIT,
    QUOTA_REFUSALS,
    QUOTA_USED,
    RECLAIMED,
    REQUEST_SECONDS,
    REQUEST_SIZE,
    REQUESTS,
    RESPONSE_SIZE,
    RESTORED,
    RETENTION_DELETED,
    RETENTION_STOPPED,
    RUN_SUCCEEDED,
    RUNS,
    SCRUBBED,
    SCRUBBED_BYTES,
    SECONDS,
    SIZES,
    STORAGE_ACTIONS,
    TRASH_BYTES,
    TRASH_ENTRIES,
    UPLOADS_FINISHED,
    UPLOADS_STARTED,
    Family,
)
from entrepot.telemetry.series import Role, Series, read

_GAUGES = frozenset(
    family.name for family in FAMILIES if family.kind == "gauge" and not family.latest
)
_NOW = frozenset({QUOTA_USED.name, QUOTA_LIMIT.name})
_MOST_OF_NOW = 1000
"""Series that a process gives of what is so now: their names must fit into its file."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The counters of this process.

    `started`, `authentication` and `finished` belong to the thread of the event loop: they take no
    lock. Everything else may be called from any thread. Nothing here raises.
    """

    def __init__(self, directory: Path, *, of: Role = "worker") -> None:
        """Count in `directory`, which all processes of one server share."""
        self._directory = directory
        self._series = Series(directory, of=of)
        self._values = self._series.values
        self._guard = threading.Lock()
        self._in_flight: dict[str, int] = {}
        self._authentications: dict[tuple[str, str], int] = {}
        self._places: dict[tuple[str, str, int], tuple[int, int, int, int, int]] = {}
        for key in self._series.known():
            if key[0] in _GAUGES:
                # What was in flight, or waited, in the process whose file this was is gone.
                self._values[self._series.place(key)] = nan if key[0] in _NOW else 0.0

    def started(self, handler: str) -> None:
        """Note that a request for `handler` (registry:2's label) begins."""
        try:
            place = self._in_flight[handler]
        except KeyError:
            place = self._in_flight[handler] = self._place(IN_FLIGHT, handler)
        self._values[place] += 1

    def finished(
        self,
        handler: str,
        method: str,
        status: int,
        seconds: float,
        request_bytes: int,
        response_bytes: int,
    ) -> None:
        """Note that a request for which `started` was called has been answered.

        The sizes are those of the bodies. Those of nothing are known without being counted: they
        are what is missing to the number of requests (`exposition`).
        """
        try:
            places = self._places[handler, method, status]
        except KeyError:
            places = self._find_places(handler, method, status)
        in_flight, count, duration, request, response = places
        values = self._values
        values[in_flight] -= 1
        values[count] += 1
        values[duration] += seconds
        values[duration + 1 + bisect_left(SECONDS, seconds)] += 1
        if request_bytes:
            values[request] += request_bytes
            values[request + 1 + bisect_left(SIZES, request_bytes)] += 1
        if response_bytes:
            values[response] += response_bytes
            values[response + 1 + bisect_left(SIZES, response_bytes)] += 1

    def storage_action(self, driver: str, action: str, seconds: float) -> None:
        """Note a call of the blob store; `action` is registry:2's word (`GetContent`, ...)."""
        self._observe(STORAGE_ACTIONS, seconds, driver, action)

    def index_commit(self, seconds: float) -> None:
        """Note a commit of the index."""
        self._observe(INDEX_COMMITS, seconds)

    def authentication(self, method: str, outcome: str) -> None:
        """Note how the authentication of a request ended; both words are ours, not a client's."""
        try:
            place = self._authentications[method, outcome]
        except KeyError:
            place = self._place(AUTHENTICATIONS, method, outcome)
            self._authentications[method, outcome] = place
        self._values[place] += 1

    def login_locked(self, kind: Literal["account", "address"]) -> None:
        """Note that failed logins locked an account or an address."""
        self._add(LOCKS, 1, kind)

    def audit_events(self, outcome: str, count: int = 1) -> None:
        """Note that events were recorded in the audit log, or dropped."""
        self._add(AUDIT_EVENTS, count, outcome)

    def upload_started(self) -> None:
        """Note that an upload session was opened."""
        self._add(UPLOADS_STARTED, 1)

    def upload_finished(
        self, outcome: Literal["completed", "mounted", "cancelled", "expired", "failed"]
    ) -> None:
        """Note the end of an upload."""
        self._add(UPLOADS_FINISHED, 1, outcome)

    def blob_bytes(self, direction: Literal["in", "out"], count: int) -> None:
        """Note `count` bytes of blobs received or sent."""
        self._add(BLOB_BYTES, count, direction)

    def import_progress(self, taken: int, broken: int) -> None:
        """Note manifests taken over from `registry:2`'s storage, and findings."""
        self._add(IMPORTED, taken, "taken")
        self._add(IMPORTED, broken, "broken")

    def run_ended(self, kind: str, outcome: str, now: int) -> None:
        """Note that background work ended, at a time in microseconds since 1970."""
        self._add(RUNS, 1, kind, outcome)
        if outcome == "success":
            self._advance(RUN_SUCCEEDED, now / 1_000_000, kind)

    def collected(self, kind: str, count: int) -> None:
        """Note what was removed because nothing needed it."""
        if count:
            self._add(COLLECTED, count, kind)

    def reclaimed(self, count: int) -> None:
        """Note bytes that the store has deleted."""
        if count:
            self._add(RECLAIMED, count)

    def reviews_postponed(self, count: int) -> None:
        """Note reviews that were put off."""
        if count:
            self._add(POSTPONED, count)

    def collection_failed(self, count: int = 1) -> None:
        """Note what collection could not do and will try again."""
        if count:
            self._add(COLLECTION_ERRORS, count)

    def collection_queue(self, *, waiting: int, overdue: int, doomed: int, age: float) -> None:
        """Say how much waits for the collector, and for how many seconds the first has been due."""
        for state, count in (("waiting", waiting), ("overdue", overdue), ("doomed", doomed)):
            self._set(COLLECTION_QUEUE, count, state)
        self._set(COLLECTION_AGE, age)

    def collection_ran(self, at: float) -> None:
        """Say when the collector last worked, in seconds since 1970."""
        self._advance(COLLECTION_RUN, at)

    def trash(self, *, tags: int, manifests: int, size: int) -> None:
        """Say how much is in the trash, and how many bytes only that needs."""
        self._set(TRASH_ENTRIES, tags, "tag")
        self._set(TRASH_ENTRIES, manifests, "manifest")
        self._set(TRASH_BYTES, size)

    def restored(self, *, tags: int, manifests: int) -> None:
        """Note that something was brought back from the trash."""
        self._add(RESTORED, tags, "tag")
        self._add(RESTORED, manifests, "manifest")

    def retention_deleted(self, kind: str, count: int) -> None:
        """Note that retention deleted tags, or manifests without one."""
        self._add(RETENTION_DELETED, count, kind)

    def retention_stopped(self, count: int) -> None:
        """Note that policies were left out of a run."""
        self._add(RETENTION_STOPPED, count)

    def scrubbed(self, outcome: str, count: int) -> None:
        """Note that an object was compared with its digest, for which `count` bytes were read."""
        self._add(SCRUBBED, 1, outcome)
        self._add(SCRUBBED_BYTES, count)

    def quota_refused(self, namespace: str, resource: str) -> None:
        """Note that something was refused because a quota left no room."""
        self._add(QUOTA_REFUSALS, 1, namespace, resource)

    def show_quotas(
        self, found: Mapping[tuple[str, str], tuple[int, int | None, int | None]]
    ) -> None:
        """Show what is used of quotas, by namespace and resource, with their soft and hard limits;
        whatever was shown before is not shown any more.
        """
        shown: dict[tuple[str, ...], float] = {}
        for (namespace, resource), (used, *limits) in found.items():
            shown[QUOTA_USED.name, namespace, resource] = used
            for kind, limit in zip(("soft", "hard"), limits, strict=True):
                if limit is not None:
                    shown[QUOTA_LIMIT.name, namespace, resource, kind] = limit
        for key in self._series.known():
            if key[0] in _NOW and key not in shown:
                self._values[self._series.place(key)] = nan
        for key in list(shown)[:_MOST_OF_NOW]:
            self._values[self._series.place(key)] = shown[key]

    def render(self) -> bytes:
        """Return the metrics of the whole server in Prometheus' text format."""
        snapshots = read(self._directory)
        if not self._series.shared:
            snapshots.append(self._series.snapshot())
        return exposition.render(snapshots, directory=self._directory)

    def close(self) -> None:
        """Stop sharing: in-flight requests of this process no longer count, totals remain."""
        self._series.close()
        self._values = self._series.values

    def _place(self, family: Family, *labels: str) -> int:
        return self._series.place((family.name, *labels), length=family.length)

    def _find_places(
        self, handler: str, method: str, status: int
    ) -> tuple[int, int, int, int, int]:
        """Look up the places of a combination that is seen for the first time.

        Methods that are no methods of ours share a label, lest a client fill the memory.
        """
        known = method if method in _METHODS else "unknown"
        key = (handler, known, status)
        if key not in self._places:
            label = known.lower()  # as registry:2 writes it
            self._places[key] = (
                self._place(IN_FLIGHT, handler),
                self._place(REQUESTS, handler, str(status), label),
                self._place(REQUEST_SECONDS, handler, label),
                self._place(REQUEST_SIZE, handler),
                self._place(RESPONSE_SIZE, handler),
            )
        return self._places[key]

    def _add(self, family: Family, amount: float, *labels: str) -> None:
        place = self._place(family, *labels)
        with self._guard:
            self._values[place] += amount

    def _set(self, family: Family, value: float, *labels: str) -> None:
        self._values[self._place(family, *labels)] = value

    def _advance(self, family: Family, value: float, *labels: str) -> None:
        """Note a time, unless a later one is known."""
        place = self._place(family, *labels)
        with self._guard:
            self._values[place] = max(self._values[place], value)

    def _observe(self, family: Family, value: float, *labels: str) -> None:
        place = self._place(family, *labels)
        bucket = place + 1 + bisect_left(family.buckets, value)
        with self._guard:
            self._values[place] += value
            self._values[bucket] += 1


def render(directory: Path) -> bytes:
    """Return the metrics of the server whose workers count in `directory`.

    For a process that counts nothing itself, such as the one that has the workers as children.
    """
    return exposition.render(read(directory), directory=directory)
