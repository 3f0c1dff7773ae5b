"""What retention keeps of a repository, and why. Pure: a policy and facts in, fates out.

1. What a hold, a protection or an exception names stays, and so does what belongs to a manifest
   (`is_companion_tag`): that goes with its subject, and is never counted.
2. An image that says how long it lives, where a rule with `expires` is about its tag, stays that
   long from its push, and goes then.
3. A tag that some `keep` of some rule keeps, stays.
4. A tag that a rule with `keep` is about, goes.
5. Everything else is left alone.

So one more `keep` or exception never lets more go. Times are microseconds since 1970-01-01 UTC.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final

from msgspec import Meta, Struct

from entrepot.core.decision import AccessError, parse_namespace
from entrepot.core.digest import Digest
from entrepot.core.manifest import is_companion_tag
from entrepot.core.patterns import Pattern, TagPattern
from entrepot.core.retention_policy import Except, Keep, Policy, Rule
from entrepot.core.spans import SpanInvalidError, parse_span
from entrepot.core.versions import Version, is_prerelease, parse_version

RETENTION: Final = "retention"
"""The kind of background work that deletes what no rule keeps."""

EXPIRES: Final = ("org.entrepot.expires-after", "quay.expires-after")
"""Annotations or labels by which an image says how long it lives."""


Percent = Annotated[int, Meta(ge=1, le=100)]


class RetentionRun(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run is told: the namespace, all that is below it included. `brake` counts instead of
    that of the policies, in percent; with `allow_empty` repositories may lose all their tags.
    """

    namespace: str = ""
    dry_run: bool = False
    brake: Percent | None = None
    allow_empty: bool = False

    def __post_init__(self) -> None:
        try:
            parse_namespace(self.namespace)
        except AccessError as error:
            raise ValueError(str(error)) from None


class Tagged(Struct, frozen=True, kw_only=True):
    """A tag, and what is known of the image that it points at since `pushed_at`.

    `pulled_at` is None for what was never pulled. `fixed` says why it can't be deleted at all.
    """

    tag: str
    digest: Digest
    pushed_at: int
    pulled_at: int | None = None
    annotations: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    fixed: str = ""

    @property
    def used_at(self) -> int:
        """When it was last pulled, or else pushed."""
        return self.pushed_at if self.pulled_at is None else max(self.pushed_at, self.pulled_at)


class Untagged(Struct, frozen=True, kw_only=True):
    """A manifest that no tag, no index and no subject names, and since when it is of no use: the
    last of when it was pushed, was pulled, and lost its tag.
    """

    digest: Digest
    since: int
    fixed: str = ""


class Fate(Struct, frozen=True):
    """What becomes of a tag, or of a manifest if there is none, by which rule, and why."""

    tag: str
    digest: Digest
    goes: bool
    rule: str
    reason: str


def rules_for(policy: Policy, repository: str) -> list[Rule]:
    """Return the rules about a repository, whose name is relative to the policy's namespace."""
    return [rule for rule in policy.rules if _match(rule.repositories, repository)]


def decide(policy: Policy, repository: str, tags: Sequence[Tagged], *, now: int) -> list[Fate]:
    """Return what becomes of the tags of a repository, whose name is relative to the policy's
    namespace, in the order of `tags`.
    """
    rules = rules_for(policy, repository)
    exceptions = [entry for entry in policy.exceptions if _match(entry.repositories, repository)]
    fates = {tagged.tag: fate for tagged in tags if (fate := _fixed(tagged, exceptions))}
    images = [tagged for tagged in tags if not is_companion_tag(tagged.tag)]
    expiring = _expiring(rules, images, now)
    images = [tagged for tagged in images if tagged.tag not in expiring]
    concerned = {
        rule: [tagged for tagged in images if _match(rule.tags, tagged.tag)]
        for rule in rules
        if rule.keep is not None
    }
    kept: dict[str, Fate] = {}
    going: dict[str, Fate] = {}
    for rule, about in concerned.items():
        for keep in rule.keep or ():
            for tagged in _kept(keep, about, now):
                kept.setdefault(tagged.tag, _stays(tagged, rule.name, f"keeps {keep.text}"))
        for tagged in about:
            going.setdefault(tagged.tag, _goes(tagged, rule.name, f"keeps only {rule.text}"))
    decided = {**going, **kept, **expiring, **fates}
    return [decided.get(tagged.tag) or _stays(tagged, "", "no rule is about it") for tagged in tags]


def decide_untagged(
    policy: Policy, repository: str, manifests: Iterable[Untagged], *, now: int, least: int = 0
) -> list[Fate]:
    """Return what becomes of the manifests of a repository that nothing names. None goes within
    `least` microseconds of its last use, whatever the rules say.
    """
    rules = [rule for rule in rules_for(policy, repository) if rule.untagged is not None]
    if not rules:
        return []
    # Of several rules the one counts that keeps longest.
    rule = max(rules, key=lambda rule: rule.untagged or 0)
    before = now - max(rule.untagged or 0, least)
    fates = []
    for manifest in manifests:
        goes = not manifest.fixed and manifest.since < before
        reason = manifest.fixed or ("untagged for too long" if goes else "not untagged for long")
        fates.append(Fate("", manifest.digest, goes, rule.name, reason))
    return fates


def _match(patterns: Sequence[Pattern] | Sequence[TagPattern], name: str) -> bool:
    return any(pattern.matches(name) for pattern in patterns)


def _stays(tagged: Tagged, rule: str, reason: str) -> Fate:
    return Fate(tagged.tag, tagged.digest, goes=False, rule=rule, reason=reason)


def _goes(tagged: Tagged, rule: str, reason: str) -> Fate:
    return Fate(tagged.tag, tagged.digest, goes=True, rule=rule, reason=reason)


def _fixed(tagged: Tagged, exceptions: Iterable[Except]) -> Fate | None:
    """Return the fate of a tag about which no rule decides."""
    if tagged.fixed:
        return _stays(tagged, "", tagged.fixed)
    if is_companion_tag(tagged.tag):
        return _stays(tagged, "", "goes with what it belongs to")
    for entry in exceptions:
        marked = entry.labels.are_in(tagged.labels) and entry.annotations.are_in(tagged.annotations)
        if marked and _match(entry.tags, tagged.tag):
            return _stays(tagged, entry.place, "an exception")
    return None


# What a rule keeps ------------------------------------------------------------------------------


def _kept(keep: Keep, concerned: Iterable[Tagged], now: int) -> list[Tagged]:
    """Return those for which everything is true that is asked, of them the newest."""
    found = [tagged for tagged in concerned if _fits(keep, tagged, now)]
    if keep.newest is None:
        return found
    if keep.by == "semver":
        versions = {tagged.tag: _version(keep, tagged.tag) for tagged in found}
        known = [
            (version, tagged.pushed_at, tagged.tag, tagged)
            for tagged in found
            if (version := versions[tagged.tag]) is not None
            and (keep.prereleases or not is_prerelease(version))
        ]
        return [entry[-1] for entry in sorted(known, reverse=True)[: keep.newest]]

    def age(tagged: Tagged) -> tuple[int, int, str]:
        return (
            tagged.used_at if keep.by == "pull" else tagged.pushed_at,
            tagged.pushed_at,
            tagged.tag,
        )

    return sorted(found, key=age, reverse=True)[: keep.newest]


def _fits(keep: Keep, tagged: Tagged, now: int) -> bool:
    if keep.tags and not _match(keep.tags, tagged.tag):
        return False
    if keep.pushed_within is not None and tagged.pushed_at < now - keep.pushed_within:
        return False
    if keep.pulled_within is not None and tagged.used_at < now - keep.pulled_within:
        return False
    return keep.labels.are_in(tagged.labels) and keep.annotations.are_in(tagged.annotations)


def _version(keep: Keep, tag: str) -> Version | None:
    before, _, after = keep.version.partition("*")
    if not (tag.startswith(before) and tag.endswith(after)) or len(tag) < len(keep.version):
        return None
    return parse_version(tag[len(before) : len(tag) - len(after)])


# Images that say how long they live -------------------------------------------------------------


def _expiring(rules: Iterable[Rule], tags: Iterable[Tagged], now: int) -> dict[str, Fate]:
    """Return what becomes of the images that say how long they live. What nobody can read lets
    nothing go.
    """
    found: dict[str, Fate] = {}
    expiring = [rule for rule in rules if rule.expires]
    for tagged in tags if expiring else ():
        text = expires_after(tagged)
        rule = next((rule for rule in expiring if _match(rule.tags, tagged.tag)), None)
        if text is None or rule is None:
            continue
        reason = f"it says that it expires after {text[:64]}"
        try:
            goes = tagged.pushed_at + parse_span(text) <= now
        except SpanInvalidError:
            goes, reason = False, f"{reason}, which is no length of time"
        found[tagged.tag] = (_goes if goes else _stays)(tagged, rule.name, reason)
    return found


def expires_after(tagged: Tagged) -> str | None:
    """Return how long an image says that it lives, its annotations before its labels."""
    for values in (tagged.annotations, tagged.labels):
        for name in EXPIRES:
            if name in values:
                return values[name]
    return None


def wants_labels(policy: Policy, repository: str, tagged: Tagged) -> bool:
    """Tell whether what becomes of a tag depends on the labels of its image, which cost a read."""
    for entry in policy.exceptions:
        if (
            entry.labels.wanted
            and _match(entry.repositories, repository)
            and _match(entry.tags, tagged.tag)
        ):
            return True
    return not is_companion_tag(tagged.tag) and any(
        _match(rule.tags, tagged.tag)
        and (
            (rule.expires and expires_after(tagged) is None)
            or any(keep.labels.wanted for keep in rule.keep or ())
        )
        for rule in rules_for(policy, repository)
    )


# The brake --------------------------------------------------------------------------------------

FEW: Final = 10
"""Tags that the brake never minds in a repository of its own."""


def why_stopped(*, tags: int, going: int, brake: int) -> str | None:
    """Return why nothing may be deleted if so many of these tags of a repository, or of all
    together, would go; None if they may. The brake is in percent.
    """
    if going >= FEW and going * 100 > tags * brake:
        return f"{going} of {tags} tags would go, which is more than the brake of {brake} %"
    return None
