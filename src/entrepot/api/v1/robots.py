"""`/api/v1/robots`."""

import msgspec

from entrepot.api.v1.forms import (
    PAGE,
    After,
    Limit,
    Page,
    RobotDetail,
    RobotMade,
    RobotMake,
    RobotRotated,
    RobotView,
    Rotate,
    SecretView,
    parse_scopes,
)
from entrepot.api.v1.operation import Call
from entrepot.core.accounts import robot_name
from entrepot.core.decision import parse_namespace


async def list_robots(
    call: Call, *, namespace: str = "", limit: Limit = PAGE, after: After = ""
) -> Page[RobotView]:
    """List the robots in a namespace itself, or, without one, all of them, by name."""
    place = parse_namespace(namespace) if namespace else None
    found = [
        RobotView.of(robot)
        for robot in await call.services.robots.list()
        if robot.name > after and place in {None, robot.namespace}
    ]
    found.sort(key=lambda robot: robot.name)
    return Page(found[:limit], found[limit - 1].name if len(found) > limit else None)


async def create_robot(call: Call, body: RobotMake) -> RobotMade:
    """Make a robot; the secret is shown this once. It may do what it is granted, and of that only
    what its scopes name.
    """
    place = parse_namespace(body.namespace)
    await _check_holder(call, robot_name(place, body.name))
    robot, secret = await call.services.robots.create(
        place,
        body.name,
        by=call.by,
        description=body.description,
        scopes=parse_scopes(body.scopes),
        expires_in=body.expires_in,
    )
    return RobotMade(**msgspec.structs.asdict(RobotView.of(robot)), secret=secret)


async def show_robot(call: Call, robot: str) -> RobotDetail:
    """Show a robot and its secrets: not what they are, but until when, and their last use."""
    found, secrets = await call.services.robots.find(robot)
    return RobotDetail(
        **msgspec.structs.asdict(RobotView.of(found)),
        secrets=[SecretView.of(secret) for secret in secrets],
    )


async def rotate_robot(call: Call, robot: str, body: Rotate) -> RobotRotated:
    """Make another secret of a robot, which is shown this once; the old one goes on for a while.
    The robot may have no role that allows more than you may.
    """
    await _check_holder(call, robot)
    secret = await call.services.robots.rotate(robot, by=call.by, overlap=body.overlap)
    return RobotRotated(robot, secret)


async def revoke_robot(call: Call, robot: str) -> None:
    """Remove a robot with its secrets and grants."""
    await call.services.robots.revoke(robot, by=call.by)


async def _check_holder(call: Call, robot: str) -> None:
    """Make sure that nobody gets, with a robot's secret, what they lack. Raises DeniedError."""
    for grant in await call.services.grants.of("robot", robot):
        if grant.effect == "allow":
            await call.services.access.check_giver(
                call.identity, grant.role, namespace=grant.namespace
            )
