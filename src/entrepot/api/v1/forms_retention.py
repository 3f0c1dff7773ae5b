"""What `/api/v1/retention` takes and gives."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from entrepot.api.v1.forms import Form, ending, moment
from entrepot.core.retention import Fate, Percent, Tagged
from entrepot.core.retention_policy import PolicyDocument
from entrepot.services.retention import KnownPolicy, Plan

Show = Literal["delete", "all"]
"""What of a repository is shown: what would go, or everything."""


class PolicyView(Struct, frozen=True):
    """The policy of a namespace, and who set it when."""

    namespace: str
    policy: PolicyDocument
    updated_at: datetime
    updated_by: str

    @classmethod
    def of(cls, known: KnownPolicy) -> "PolicyView":
        """Return what is shown of a policy."""
        return cls(
            namespace=known.namespace or "/",
            policy=known.document,
            updated_at=moment(known.updated_at),
            updated_by=known.updated_by,
        )


class RetentionMake(Form, frozen=True):
    """How a run is done. `brake` counts instead of that of the policies, in percent; with
    `allow_empty` repositories may lose all their tags.
    """

    dry_run: bool = False
    brake: Percent | None = None
    allow_empty: bool = False


class FateView(Struct, frozen=True):
    """What becomes of a tag, or, without one, of a manifest that nothing names: by which rule or
    exception, and why.
    """

    action: Literal["delete", "keep"]
    tag: str
    digest: str
    rule: str
    reason: str
    pushed_at: datetime | None
    pulled_at: datetime | None

    @classmethod
    def of(cls, fate: Fate, tagged: Tagged | None) -> "FateView":
        """Return what is shown of it."""
        return cls(
            action="delete" if fate.goes else "keep",
            tag=fate.tag,
            digest=str(fate.digest),
            rule=fate.rule,
            reason=fate.reason,
            pushed_at=None if tagged is None else moment(tagged.pushed_at),
            pulled_at=None if tagged is None else ending(tagged.pulled_at),
        )


class PlanView(Struct, frozen=True):
    """What becomes of a repository by the policy of `namespace`.

    `tags` are those that are counted, `going` what goes of them, `untagged` the manifests without a
    tag that go. `freed` are the bytes of the blobs that nothing in the registry needs then; what
    other repositories have as well does not count. `stopped` says why nothing would be deleted.
    Nothing would be either if of all tags of the policy more went than its `brake`, in percent.
    """

    repository: str
    namespace: str
    tags: int
    going: int
    untagged: int
    freed: int
    brake: int
    stopped: str | None
    entries: list[FateView]

    @classmethod
    def of(cls, plan: Plan, show: Show) -> "PlanView":
        """Return what is shown of a repository."""
        tagged = {each.tag: each for each in plan.tagged}
        going = plan.going
        tags = sum(1 for fate in going if fate.tag)
        return cls(
            repository=str(plan.name),
            namespace=plan.namespace or "/",
            tags=plan.tags,
            going=tags,
            untagged=len(going) - tags,
            freed=plan.freed,
            brake=plan.brake,
            stopped=plan.stopped,
            entries=[
                FateView.of(fate, tagged.get(fate.tag))
                for fate in plan.fates
                if fate.goes or show == "all"
            ],
        )
