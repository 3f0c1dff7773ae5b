"""Policies of retention: the document that people write, and what it means.

    rules:
      - name: builds
        tags: "build-*"
        keep:
          - newest: 20
          - pulled_within: 30d

A document is checked as a whole: what is wrong is named with its place, such as
`rules[0].keep[1].pulled_within`.
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from entrepot.core.errors import EntrepotError
from entrepot.core.patterns import (
    Pattern,
    PatternInvalidError,
    TagPattern,
    matches_text,
    parse_pattern,
    parse_tag_pattern,
)
from entrepot.core.spans import SpanInvalidError, parse_span

T = TypeVar("T")

MOST_RULES: Final = 100
BRAKE: Final = 50
"""Percent of the tags that may go at once, unless a policy says something else."""

_Text = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\u0000-\u001f\u007f]*$")]
_Texts = _Text | Annotated[list[_Text], Meta(min_length=1, max_length=MOST_RULES)]
_Values = Annotated[dict[_Text, _Text], Meta(min_length=1, max_length=MOST_RULES)]
_Count = Annotated[int, Meta(ge=1, le=1_000_000)]

By = Literal["push", "pull", "semver"]


class RetentionInvalidError(EntrepotError):
    """A policy can't be as it was written; says where and why."""


# The document -----------------------------------------------------------------------------------


class _Document(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Something that is written."""


class KeepDocument(_Document, frozen=True, kw_only=True):
    """What is kept: the tags for which all of this is true; of those, the `newest` only.

    `version` is a pattern with one `*`, for which the version stands in a tag. `pulled_within`
    counts from the push for what was never pulled. In `labels` and `annotations` a value is a
    pattern.
    """

    newest: _Count | UnsetType = UNSET
    by: By = "push"
    version: _Text | UnsetType = UNSET
    prereleases: bool = True
    tags: _Texts | UnsetType = UNSET
    pushed_within: _Text | UnsetType = UNSET
    pulled_within: _Text | UnsetType = UNSET
    labels: _Values | UnsetType = UNSET
    annotations: _Values | UnsetType = UNSET


class RuleDocument(_Document, frozen=True, kw_only=True):
    """A rule about tags of repositories. With `keep` those tags go that nothing of it keeps.

    With `expires` images that say how long they live (`org.entrepot.expires-after` or
    `quay.expires-after`, an annotation or a label) stay that long, and go then. `untagged` is how
    long manifests stay that nothing names.
    """

    name: _Text | UnsetType = UNSET
    repositories: _Texts = "**"
    tags: _Texts = "*"
    keep: Annotated[list[KeepDocument], Meta(max_length=MOST_RULES)] | UnsetType = UNSET
    expires: bool = False
    untagged: _Text | UnsetType = UNSET


class ExceptionDocument(_Document, frozen=True, kw_only=True):
    """Tags that stay, whatever rules say: those for which all of this is true."""

    repositories: _Texts = "**"
    tags: _Texts = "*"
    labels: _Values | UnsetType = UNSET
    annotations: _Values | UnsetType = UNSET


class PolicyDocument(_Document, frozen=True, kw_only=True):
    """What is kept in a namespace.

    `brake` is how much of the tags may go in one run, in percent; with `allow_empty` a repository
    may lose all of them.
    """

    rules: Annotated[list[RuleDocument], Meta(max_length=MOST_RULES)]
    exceptions: Annotated[list[ExceptionDocument], Meta(max_length=MOST_RULES)] = []
    brake: Annotated[int, Meta(ge=1, le=100)] = BRAKE
    allow_empty: bool = False


# What it means ----------------------------------------------------------------------------------


class Marks(Struct, frozen=True):
    """Names with patterns for values, all of which must be there."""

    wanted: tuple[tuple[str, str], ...] = ()

    def are_in(self, values: Mapping[str, str]) -> bool:
        """Tell whether `values` has all of them."""
        return not self.wanted or all(
            name in values and matches_text(pattern, values[name]) for name, pattern in self.wanted
        )


class Keep(Struct, frozen=True, kw_only=True):
    """What a rule keeps; times in microseconds. `text` says it in a few words."""

    text: str
    tags: tuple[TagPattern, ...] = ()
    newest: int | None = None
    by: By = "push"
    version: str = "*"
    prereleases: bool = True
    pushed_within: int | None = None
    pulled_within: int | None = None
    labels: Marks = Marks()
    annotations: Marks = Marks()


class Rule(Struct, frozen=True, kw_only=True):
    """A rule of a policy; without `keep` it is only about images that expire, and untagged ones."""

    name: str
    repositories: tuple[Pattern, ...]
    tags: tuple[TagPattern, ...]
    keep: tuple[Keep, ...] | None
    expires: bool
    untagged: int | None

    @property
    def text(self) -> str:
        """What the rule keeps, in words."""
        return "; ".join(keep.text for keep in self.keep or ()) or "nothing"


class Except(Struct, frozen=True, kw_only=True):
    """What stays, whatever rules say."""

    place: str
    repositories: tuple[Pattern, ...]
    tags: tuple[TagPattern, ...]
    labels: Marks
    annotations: Marks


class Policy(Struct, frozen=True, kw_only=True):
    """A policy. Patterns for repositories are relative to its namespace. Made by parsing only."""

    rules: tuple[Rule, ...]
    exceptions: tuple[Except, ...]
    brake: int
    allow_empty: bool

    @property
    def reads_labels(self) -> bool:
        """Whether it can be decided only with what stands in the configs of images."""
        kept = (keep for rule in self.rules for keep in rule.keep or ())
        marked: tuple[Keep | Except, ...] = (*kept, *self.exceptions)
        return any(rule.expires for rule in self.rules) or any(one.labels.wanted for one in marked)


def read_document(found: object) -> PolicyDocument:
    """Return the document that was read from YAML or JSON, or raise `RetentionInvalidError`."""
    try:
        return msgspec.convert(found, PolicyDocument)
    except msgspec.ValidationError as error:
        raise RetentionInvalidError(_explained(str(error))) from None


def parse_policy(document: PolicyDocument) -> Policy:
    """Return what a document means, or raise `RetentionInvalidError`."""
    return Policy(
        rules=tuple(_rule(rule, f"rules[{at}]") for at, rule in enumerate(document.rules)),
        exceptions=tuple(
            _exception(entry, f"exceptions[{at}]") for at, entry in enumerate(document.exceptions)
        ),
        brake=document.brake,
        allow_empty=document.allow_empty,
    )


def _rule(document: RuleDocument, place: str) -> Rule:
    if document.keep is UNSET and not document.expires and document.untagged is UNSET:
        raise RetentionInvalidError(
            f"{place}: the rule does nothing: say what to keep (`keep: []` keeps nothing), "
            "`expires: true`, or how long manifests stay `untagged`"
        )
    keep = None
    if not isinstance(document.keep, UnsetType):
        kept = enumerate(document.keep)
        keep = tuple(_keep(entry, f"{place}.keep[{at}]") for at, entry in kept)
    return Rule(
        name=_given(document.name, place),
        repositories=_patterns(parse_pattern, document.repositories, f"{place}.repositories"),
        tags=_patterns(parse_tag_pattern, document.tags, f"{place}.tags"),
        keep=keep,
        expires=document.expires,
        untagged=_span(document.untagged, f"{place}.untagged"),
    )


def _keep(document: KeepDocument, place: str) -> Keep:
    if document == KeepDocument():
        raise RetentionInvalidError(f'{place}: says nothing; to keep everything write tags: "*"')
    if document.by != "push" and document.newest is UNSET:
        raise RetentionInvalidError(f"{place}.by: only counts together with newest")
    version = _given(document.version, "*")
    if document.by != "semver":
        for name, used in (
            ("version", document.version is not UNSET),
            ("prereleases", not document.prereleases),
        ):
            if used:
                raise RetentionInvalidError(f"{place}.{name}: only counts with by: semver")
    if version.count("*") != 1:
        raise RetentionInvalidError(
            f"{place}.version: {version!r} needs one `*`, where the version stands in a tag"
        )
    return Keep(
        text=_described(document),
        tags=_patterns(parse_tag_pattern, _given(document.tags, []), f"{place}.tags"),
        newest=_given(document.newest, None),
        by=document.by,
        version=_patterns(parse_tag_pattern, version, f"{place}.version")[0].text,
        prereleases=document.prereleases,
        pushed_within=_span(document.pushed_within, f"{place}.pushed_within"),
        pulled_within=_span(document.pulled_within, f"{place}.pulled_within"),
        labels=_marks(document.labels),
        annotations=_marks(document.annotations),
    )


def _exception(document: ExceptionDocument, place: str) -> Except:
    return Except(
        place=place,
        repositories=_patterns(parse_pattern, document.repositories, f"{place}.repositories"),
        tags=_patterns(parse_tag_pattern, document.tags, f"{place}.tags"),
        labels=_marks(document.labels),
        annotations=_marks(document.annotations),
    )


def _described(document: KeepDocument) -> str:
    """Say what is kept, as `the newest 20 by push, tags v*`."""
    words = []
    if document.newest is not UNSET:
        words.append(f"the newest {document.newest} by {document.by}")
    if not document.prereleases:
        words.append("no prereleases")
    if document.version is not UNSET:
        words.append(f"versions {document.version}")
    if not isinstance(document.tags, UnsetType):
        tags = [document.tags] if isinstance(document.tags, str) else document.tags
        words.append(f"tags {', '.join(tags)}")
    if document.pushed_within is not UNSET:
        words.append(f"pushed within {document.pushed_within}")
    if document.pulled_within is not UNSET:
        words.append(f"pulled within {document.pulled_within}")
    words += [f"label {key}={value}" for key, value in _marks(document.labels).wanted]
    words += [f"annotation {key}={value}" for key, value in _marks(document.annotations).wanted]
    return ", ".join(words)


def _given(value: T | UnsetType, default: T) -> T:
    return default if isinstance(value, UnsetType) else value


def _marks(values: dict[str, str] | UnsetType) -> Marks:
    return Marks(tuple(sorted(_given(values, {}).items())))


def _patterns(parse: Callable[[str], T], texts: str | Sequence[str], place: str) -> tuple[T, ...]:
    if isinstance(texts, str):
        return (_pattern(parse, texts, place),)
    return tuple(_pattern(parse, text, f"{place}[{at}]") for at, text in enumerate(texts))


def _pattern(parse: Callable[[str], T], text: str, place: str) -> T:
    try:
        return parse(text)
    except PatternInvalidError as error:
        raise RetentionInvalidError(f"{place}: {error}") from None


def _span(text: str | UnsetType, place: str) -> int | None:
    if isinstance(text, UnsetType):
        return None
    try:
        return parse_span(text)
    except SpanInvalidError as error:
        raise RetentionInvalidError(f"{place}: {error}") from None


# What is wrong with a document ------------------------------------------------------------------

_AT: Final = re.compile(r"(.*) - at `\$\.?(.*)`", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_FORMS: Final[Sequence[tuple[str, type[Struct]]]] = (
    (r"rules\[\d+\]\.keep\[\d+\]", KeepDocument),
    (r"rules\[\d+\]", RuleDocument),
    (r"exceptions\[\d+\]", ExceptionDocument),
    ("", PolicyDocument),
)


def _explained(told: str) -> str:
    """Return a message of msgspec with the place in front, and a hint where a word is unknown."""
    found = _AT.fullmatch(told)
    reason, place = (found[1], found[2]) if found else (told, "")
    unknown = _UNKNOWN.fullmatch(reason)
    if unknown is not None:
        form = next((form for known, form in _FORMS if re.fullmatch(known, place)), None)
        names = form.__struct_fields__ if form else ()
        near = difflib.get_close_matches(unknown[1][:100], names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(names)}"
        reason = f"{unknown[1][:100]!r} is unknown; {hint}"
    elif place.endswith(("within", "untagged")):
        reason += ", such as 30d"
    return f"{place or 'the policy'}: {reason}"
