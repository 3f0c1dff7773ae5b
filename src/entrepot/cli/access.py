"""`entrepot access`: who has which role where, and what that lets them do."""

from typing import TYPE_CHECKING, Annotated

import typer

from entrepot.cli.accounts import (
    ConfigOption,
    ExpiresOption,
    Form,
    OutputOption,
    Row,
    fail,
    row,
    seconds,
    show,
    show_one,
    show_views,
)
from entrepot.cli.registry import Place, TokenOption, UrlOption

if TYPE_CHECKING:
    from entrepot.api.v1.forms import GrantView
    from entrepot.core.decision import SubjectKind

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
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Give users, groups or robots roles in a namespace and in those below it.

    Without --user, --group and --robot the roles go to the group that is called like the namespace.
    """
    words = [word.strip() for word in given.split(",")]
    lives = seconds(expires)
    subjects = _subjects(user, group, robot)

    if not subjects and namespace in {"", "/"}:
        fail("the root has no group of its name: say who gets the roles (--user, --group, --robot)")
    from entrepot.api.v1.access import create_grants
    from entrepot.api.v1.forms import GrantMake, Subject

    body = GrantMake(
        namespace=namespace,
        roles=words,
        subjects=[Subject(kind=kind, name=name) for kind, name in subjects],
        effect="deny" if deny else "allow",
        repositories=repositories,
        tags=tags,
        expires_in=lives,
    )
    made = Place(config, url, token).do(create_grants, body).items
    if output is Form.JSON:
        show([_row(grant) for grant in made], output=output)
        return
    if not subjects:
        typer.echo(
            f"no --user, --group or --robot is given: the roles go to the group {namespace}, which "
            "is called like the namespace"
        )
    for one in made:
        typer.echo(one.text)


@app.command()
def revoke(
    numbers: Annotated[
        list[int], typer.Argument(metavar="GRANT...", help="Numbers of grants: see access list.")
    ],
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Take grants back."""
    from entrepot.api.v1.access import revoke_grant, show_grant

    place = Place(config, url, token)
    for number in numbers:  # all of them must be there before one is taken back
        place.do(show_grant, number)
    for number in numbers:
        typer.echo(f"no longer: {place.do(revoke_grant, number).text}")


@app.command("list")
def list_grants(
    namespace: Annotated[
        str | None, typer.Argument(metavar="[NAMESPACE]", help="Only in this namespace itself.")
    ] = None,
    user: UserOption = None,
    group: GroupOption = None,
    robot: RobotOption = None,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """List grants: all of them, or those in a namespace, or of somebody."""
    subjects = _subjects(user, group, robot)

    from entrepot.api.v1 import access

    found = [
        grant
        for grant in Place(config, url, token).every(access.list_grants, namespace=namespace or "")
        if not subjects or (grant.kind, grant.subject) in subjects
    ]
    show([_row(grant) for grant in found], output=output)


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
    *,
    tag: Annotated[str | None, typer.Option(help="A tag of the repository.")] = None,
    groups: Annotated[
        str,
        typer.Option(
            metavar="GROUP[,GROUP]",
            help="Groups that the user is in, besides those that the registry knows of.",
        ),
    ] = "",
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """Say whether somebody may do something, and why. The exit status is 2 if not."""
    words = [word.strip() for word in groups.split(",") if word.strip()]

    from entrepot.api.v1.access import decide_access

    verdict = Place(config, url, token).do(
        decide_access,
        action=action,
        repository=repository,
        tag=tag or "",
        user=who,
        anonymous=not who,
        group=words,
    )
    if output is Form.JSON:
        grants = [_row(grant) for grant in verdict.grants]
        show_one({**row(verdict), "grants": grants}, output=output)
    else:
        typer.echo(f"{'yes' if verdict.allowed else 'no'}: {verdict.reason}")
        for grant in verdict.grants:
            if grant.text != verdict.reason:
                typer.echo(f"  there is, too: {grant.text}")
    raise typer.Exit(0 if verdict.allowed else DENIED)


@roles.command("create")
def create_role(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the role.")],
    actions: Annotated[
        str, typer.Option(metavar="ACTION[,ACTION]", help="What it allows, such as pull,push.")
    ],
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Make a custom role."""

    from entrepot.api.v1 import access
    from entrepot.api.v1.forms import RoleMake

    words = [word.strip() for word in actions.split(",") if word.strip()]
    Place(config, url, token).do(access.create_role, RoleMake(name=name, actions=words))
    typer.echo(f"role {name} is made")


@roles.command("list")
def list_roles(
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Form.TEXT,
) -> None:
    """List every role with its actions."""
    from entrepot.api.v1 import access

    found = Place(config, url, token).do(access.list_roles)
    show_views(found.items, output=output)


@roles.command("delete")
def delete_role(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the role.")],
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Delete a custom role that no grant gives."""
    from entrepot.api.v1 import access

    Place(config, url, token).do(access.delete_role, name)
    typer.echo(f"role {name} is deleted")


def _subjects(
    users: list[str] | None, groups: list[str] | None, robots: list[str] | None
) -> "list[tuple[SubjectKind, str]]":
    found: list[tuple[SubjectKind, str]] = [("user", name) for name in users or ()]
    found += [("group", name) for name in groups or ()]
    found += [("robot", name) for name in robots or ()]
    return found


def _row(grant: "GrantView") -> Row:
    return {key: value for key, value in row(grant).items() if key != "text"}
