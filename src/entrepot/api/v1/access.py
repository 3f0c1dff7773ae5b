"""`/api/v1/grants`, `/api/v1/roles` and `/api/v1/access/can`."""

from entrepot.api.v1.forms import (
    PAGE,
    After,
    GrantMake,
    GrantView,
    Limit,
    Page,
    RoleMake,
    RoleView,
    Verdict,
)
from entrepot.api.v1.operation import Call, parse_mark
from entrepot.core.access import Action
from entrepot.core.decision import AccessError, Grant, SubjectKind, parse_namespace
from entrepot.core.patterns import parse_pattern, parse_tag_pattern
from entrepot.core.roles import parse_action, parse_actions


async def list_grants(
    call: Call, *, namespace: str = "", limit: Limit = PAGE, after: After = ""
) -> Page[GrantView]:
    """List the grants in a namespace itself, or, without one, all of them, oldest first."""
    begin = parse_mark(after, first=0)
    found = await call.services.grants.page(namespace or None, after=begin, limit=limit + 1)
    shown = [GrantView.of(grant) for grant in found[:limit]]
    return Page(shown, str(shown[-1].id) if len(found) > limit else None)


async def create_grants(call: Call, body: GrantMake) -> Page[GrantView]:
    """Give roles in a namespace and in those below it, of which the caller has all that they allow.
    A grant that is there already gets the new end.
    """
    place = parse_namespace(body.namespace)
    for role in body.roles if body.effect == "allow" else ():
        await call.services.access.check_giver(call.identity, role, namespace=place)
    subjects: list[tuple[SubjectKind, str]] = [(each.kind, each.name) for each in body.subjects]
    if not subjects and not place:
        raise AccessError("the root has no group of its name: say who gets the roles")
    ends = None
    if body.expires_in is not None:
        ends = call.services.now() + int(body.expires_in * 1_000_000)
    wanted = [
        Grant(
            id=0,
            namespace=place,
            subject_kind=kind,
            subject=name,
            role=role,
            effect=body.effect,
            repositories=parse_pattern(body.repositories),
            tags=parse_tag_pattern(body.tags),
            expires_at=ends,
        )
        for kind, name in subjects or [("group", place)]
        for role in body.roles
    ]
    if body.effect == "allow":
        for role in body.roles:
            await call.services.access.check_giver(call.identity, role, namespace=place)
    made = await call.services.grants.grant(wanted, by=call.by)
    return Page([GrantView.of(grant) for grant in made])


async def show_grant(call: Call, grant: int) -> GrantView:
    """Show a grant."""
    return GrantView.of(await call.services.grants.find(grant))


async def revoke_grant(call: Call, grant: int) -> GrantView:
    """Take a grant back; the answer shows what it was."""
    (gone,) = await call.services.grants.revoke([grant], by=call.by)
    return GrantView.of(gone)


async def list_roles(call: Call) -> Page[RoleView]:
    """List every role with its actions, those that are built in first."""
    roles = await call.services.grants.roles()
    return Page([RoleView.of(name, actions) for name, actions in roles.items()])


async def create_role(call: Call, body: RoleMake) -> RoleView:
    """Make a custom role."""
    actions = parse_actions(body.actions)
    await call.services.grants.create_role(body.name, actions, by=call.by)
    return RoleView.of(body.name, actions)


async def delete_role(call: Call, role: str) -> None:
    """Delete a custom role that no grant gives."""
    await call.services.grants.delete_role(role, by=call.by)


async def decide_access(
    call: Call,
    *,
    action: str,
    repository: str,
    tag: str = "",
    user: str = "",
    anonymous: bool = False,
    group: list[str] = [],  # noqa: B006 - a default that msgspec copies
) -> Verdict:
    """Say whether somebody may do something, and why: you, `user`, or somebody `anonymous`. A
    `group` is one that the user is in besides those that the registry knows of. For what is about
    namespaces `repository` is one of them.
    """
    services = call.services
    if anonymous or user not in {"", call.identity.name}:
        identity = await services.identity("" if anonymous else user, groups=group)
    else:
        identity = call.identity
    answer = await services.access.explain(
        identity, parse_action(action), repository, tag=tag or None
    )
    decision = answer.decision
    groups = list(answer.identity.groups)
    everything = await services.access.decide(call.identity, Action.ADMINISTER)
    if identity is not call.identity and not everything.allowed:
        named = {grant.subject for grant in answer.grants if grant.subject_kind == "group"}
        groups = [name for name in groups if name in named | set(group)]
    return Verdict(
        allowed=decision.allowed,
        who=answer.identity.name,
        groups=groups,
        action=action,
        on=str(answer.target),
        reason=decision.reason,
        decided_by=decision.grant.id if decision.grant is not None else None,
        grants=[GrantView.of(grant) for grant in answer.grants],
    )
