"""What comes free when tags go: pure, over the graph of one repository."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from entrepot.core.digest import Digest
from entrepot.core.manifest import companion_tags


def _lists() -> "defaultdict[int, list[int]]":
    return defaultdict(list)


@dataclass(slots=True)
class Graph:
    """Who needs what: manifests by the ids of their rows, digests packed."""

    digests: dict[int, bytes] = field(default_factory=dict)
    children: defaultdict[int, list[int]] = field(default_factory=_lists)
    referrers: defaultdict[bytes, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Manifests with this subject."""
    blobs: defaultdict[int, list[bytes]] = field(default_factory=lambda: defaultdict(list))

    def closure(self, roots: Iterable[int], companions: Mapping[str, int]) -> set[int]:
        """Return manifests with everything that they consist of and that belongs to them.

        `companions` are manifests by the tags that say what they belong to.
        """
        found = set(roots)
        ahead = list(found)
        while ahead:
            manifest = ahead.pop()
            digest = self.digests[manifest]
            needed = [*self.children.get(manifest, ()), *self.referrers.get(digest, ())]
            if companions:
                tags = companion_tags(Digest.unpack(digest))
                needed += [companions[tag] for tag in tags if tag in companions]
            for other in needed:
                if other not in found:
                    found.add(other)
                    ahead.append(other)
        return found


def freed_blobs(
    graph: Graph,
    *,
    going: Collection[int],
    staying: Collection[int],
    companions: Mapping[str, int],
) -> set[bytes]:
    """Return the blobs that the repository needs no longer when the manifests `going` lose their
    tags and `staying` have some.

    What neither of them needs stays, because nobody decides about it.
    """
    kept = graph.closure(staying, companions)
    gone = graph.closure(set(going) - kept, companions) - kept
    freed = {blob for manifest in gone for blob in graph.blobs.get(manifest, ())}
    for manifest in graph.digests.keys() - gone:
        freed.difference_update(graph.blobs.get(manifest, ()))
    return freed
