"""`entrepot access`: who has which role where, and what that lets them do."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from entrepot.cli.accounts import (
    ConfigOption,
    ExpiresOption,
    Form,
    OutputOption,
    Row,
    caller,
    fail,
    run,
    seconds,
    show,
    show_one,
    time,
)

if TYPE_CHECKING:
    from entrepot.app import AccountServices
    from entrepot.core.decision import Grant, SubjectKind
    from entrepot.services.access import Answer

app = typer.Typer(
    name="access",
    help="Who has which role where, and what that lets them do.",
    no_args_is_help=True,
)
roles = typer.Typer(
    name="role", help="Roles: those that are built in, and custom ones.", no_args_is_help=True
)
app.add_typer(roles)

DENIED = 2
"""The exit status of `access can` for somebody who may not."""

NamespaceArgument = Annotated[
    str, typer.Argument(metavar="NAMESPACE", help="The namespace; / is the root, all there is.")
]
UserOption = Annotated[list[str] | None, typer.Option("--user", "-u", help="A user.")]
GroupOption = Annotated[list[str] | None, typer.Option("--group", "-g", help="A group.")]
RobotOption = Annotated[
    list[str] | None, typer.Option("--robot", help="A robot by its whole name: 'robot$team-a+ci'.")
]


RolesOption = Annotated[
    str,
    typer.Option(
        "--roles",
        "--role",
        metavar="ROLE[,ROLE]",
        help="reader, developer, operator, admin, or custom roles.",
    ),
]
RepositoriesOption = Annotated[
    str,
    typer.Option(
        metavar="PATTERN",
        help="Only for these repositories, as seen from the namespace: * is anything in one "
        "part of a path, ** any number of parts.",
    ),
]
TagsOption = Annotated[
    str, typer.Option(metavar="PATTERN", help="Only for these tags: * is anything.")
]
DenyOption = Annotated[
    bool, typer.Option("--deny", help="Deny what the roles allow, whatever allows it.")
]


@app.command()
def grant(
    namespace: NamespaceArgument,
    given: RolesOption,
    *,
    user: UserOption = None,
    group: GroupOption = None,
    robot: RobotOption = None,
    repositories: RepositoriesOption = "**",
    tags: TagsOption = "*",
    deny: DenyOption = False,
    expires: ExpiresOption = None,
    config: ConfigOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Give users, groups or robots roles in a namespace and in those below it.

    Without --user, --group and --robot the roles go to the group that is called like the namespace.
    """
    words = [word.strip() for word in given.split(",")]
    lives = seconds(expires)
    subjects = _subjects(user, group, robot)

    async def work(services: "AccountServices") -> "Sequence[Grant]":
        from entrepot.core.decision import Grant, parse_namespace
        from entrepot.core.patterns import parse_pattern, parse_tag_pattern

        place = parse_namespace(namespace)
        ends = None if lives is None else services.now() + int(lives * 1_000_000)
        wanted = [
            Grant(
                id=0,
                namespace=place,
                subject_kind=kind,
                subject=name,
                role=role,
                effect="deny" if deny else "allow",
                repositories=parse_pattern(repositories),
                tags=parse_tag_pattern(tags),
                expires_at=ends,
            )
            for kind, name in subjects or [("group", place)]
            for role in words
        ]
        return await services.grants.grant(wanted, by=caller())

    if not subjects and namespace in {"", "/"}:
        fail("the root has no group of its name: say who gets the roles (--user, --group, --robot)")
    made = run(config, work)
    if output is Form.JSON:
        show([_row(grant) for grant in made], output=output)
        return
    if not subjects:
        typer.echo(
            f"no --user, --group or --robot is given: the roles go to the group {namespace}, which "
            "is called like the namespace"
        )
    for one in made:
        typer.echo(str(one))


@app.command()
def revoke(
    numbers: Annotated[
        list[int], typer.Argument(metavar="GRANT...", help="Numbers of grants: see access list.")
    ],
    config: ConfigOption = None,
) -> None:
    """Take grants back."""
    for gone in run(config, lambda services: services.grants.revoke(numbers, by=caller())):
        typer.echo(f"no longer: {gone}")


@app.command("list")
def list_grants(
    namespace: Annotated[
        str | None, typer.Argument(metavar="[NAMESPACE]", help="Only in this namespace itself.")
    ] = None,
    user: UserOption = None,
    group: GroupOption = None,
    robot: RobotOption = None,
    config: ConfigOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """List grants: all of them, or those in a namespace, or of somebody."""
    subjects = _subjects(user, group, robot)

    async def work(services: "AccountServices") -> "list[Grant]":
        return [
            found
            async for found in services.grants.list(namespace)
            if not subjects or (found.subject_kind, found.subject) in subjects
        ]

    show([_row(found) for found in run(config, work)], output=output)


@app.command()
def can(
    who: Annotated[
        str, typer.Argument(metavar="USER", help="A user, a robot, or '' for somebody unknown.")
    ],
    action: Annotated[str, typer.Argument(metavar="ACTION", help="pull, push, delete, ...")],
    repository: Annotated[
        str,
        typer.Argument(
            metavar="REPOSITORY", help="The repository; for what is about namespaces, one of them."
        ),
    ],
    tag: Annotated[str | None, typer.Option(help="A tag of the repository.")] = None,
    groups: Annotated[
        str,
        typer.Option(
            metavar="GROUP[,GROUP]",
            help="Groups that the user is in, besides those that the registry knows of.",
        ),
    ] = "",
    config: ConfigOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Say whether somebody may do something, and why. The exit status is 2 if not."""
    words = [word.strip() for word in groups.split(",") if word.strip()]

    async def work(services: "AccountServices") -> "Answer":
        from entrepot.core.roles import parse_action

        identity = await services.identity(who, groups=words)
        return await services.access.explain(identity, parse_action(action), repository, tag=tag)

    answer = run(config, work)
    decision, target = answer.decision, answer.target
    row = {
        "allowed": decision.allowed,
        "who": who,
        "groups": list(answer.identity.groups),
        "action": action,
        "on": str(target),
        "reason": decision.reason,
        "grants": [_row(found) for found in answer.grants],
    }
    if output is Form.JSON:
        show_one(row, output=output)
    else:
        typer.echo(f"{'yes' if decision.allowed else 'no'}: {decision.reason}")
        for found in answer.grants:
            if found != decision.grant:
                typer.echo(f"  there is, too: {found}")
    raise typer.Exit(0 if decision.allowed else DENIED)


@roles.command("create")
def create_role(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the role.")],
    actions: Annotated[
        str, typer.Option(metavar="ACTION[,ACTION]", help="What it allows, such as pull,push.")
    ],
    config: ConfigOption = None,
) -> None:
    """Make a custom role."""

    async def work(services: "AccountServices") -> None:
        from entrepot.core.roles import parse_actions

        words = [word.strip() for word in actions.split(",") if word.strip()]
        await services.grants.create_role(name, parse_actions(words), by=caller())

    run(config, work)
    typer.echo(f"role {name} is made")


@roles.command("list")
def list_roles(config: ConfigOption = None, output: OutputOption = Form.TEXT) -> None:
    """List every role with its actions."""
    found = run(config, lambda services: services.grants.roles())
    show(
        [
            {"name": name, "actions": sorted(action.value for action in actions)}
            for name, actions in found.items()
        ],
        output=output,
    )


@roles.command("delete")
def delete_role(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the role.")],
    config: ConfigOption = None,
) -> None:
    """Delete a custom role that no grant gives."""
    run(config, lambda services: services.grants.delete_role(name, by=caller()))
    typer.echo(f"role {name} is deleted")


def _subjects(
    users: list[str] | None, groups: list[str] | None, robots: list[str] | None
) -> "list[tuple[SubjectKind, str]]":
    found: list[tuple[SubjectKind, str]] = [("user", name) for name in users or ()]
    found += [("group", name) for name in groups or ()]
    found += [("robot", name) for name in robots or ()]
    return found


def _row(grant: "Grant") -> Row:
    return {
        "id": grant.id,
        "namespace": grant.namespace or "/",
        "kind": grant.subject_kind,
        "subject": grant.subject,
        "role": grant.role,
        "effect": grant.effect,
        "repositories": str(grant.repositories),
        "tags": str(grant.tags),
        "created_at": time(grant.created_at),
        "expires_at": time(grant.expires_at),
    }
