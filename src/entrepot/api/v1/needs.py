"""Where the action of a route of `/api/v1` is decided: in the namespace that it is about."""

from entrepot.api.v1.operation import Call, Need, Sent
from entrepot.core.access import Action
from entrepot.core.accounts import ROBOT_PREFIX
from entrepot.core.decision import no_namespace, parse_namespace
from entrepot.core.names import RepositoryName
from entrepot.core.roles import CONTENT, parse_action
from entrepot.services.deletion import list_repository_names
from entrepot.services.protection import known_hold, known_protection
from entrepot.services.trash import NOTHING_SUCH, list_places


async def in_namespace(_call: Call, action: Action, sent: Sent) -> Need:
    """In the namespace that the path names."""
    return _within(action, sent.positional[0])


async def in_body(_call: Call, action: Action, sent: Sent) -> Need:
    """In the namespace that the body names."""
    return _within(action, sent.positional[-1].namespace)


async def in_query(_call: Call, action: Action, sent: Sent) -> Need:
    """In the namespace that the query names; without one in the root, for it is about all."""
    return _within(action, sent.query["namespace"])


async def above(_call: Call, action: Action, sent: Sent) -> Need:
    """In the namespace above the one that the path, or the body, names."""
    named = sent.positional[0]
    name = parse_namespace(named if isinstance(named, str) else named.name)
    return _within(action, name.rpartition("/")[0])


async def seeing_it(_call: Call, action: Action, sent: Sent) -> Need:
    """On a repository that would be called like the namespace that the path names."""
    name = parse_namespace(sent.positional[0])
    return Need(action, name, repository=name, missing=no_namespace(name), secret=True)


async def on_repository(_call: Call, action: Action, sent: Sent) -> Need:
    """On the repository that the path names."""
    name = RepositoryName.parse(sent.positional[0])
    return Need(action, name, repository=name, missing=f"there is no repository {name}")


async def on_tag(_call: Call, action: Action, sent: Sent) -> Need:
    """On the tag that the body names, of the repository that the path names."""
    name = RepositoryName.parse(sent.positional[0])
    missing = f"there is no repository {name}"
    return Need(action, name, repository=name, tag=sent.positional[-1].tag, missing=missing)


async def on_content(_call: Call, action: Action, sent: Sent) -> Need:
    """On the repository that the path names, or on the tag of it that the query or body names."""
    name = RepositoryName.parse(sent.positional[0])
    asked = (
        sent.query if "reference" in sent.query else {"reference": sent.positional[-1].reference}
    )
    reference = asked["reference"]
    tag = reference if reference and ":" not in reference else None
    return Need(action, name, repository=name, tag=tag, missing=f"there is no repository {name}")


async def on_all_in(call: Call, action: Action, sent: Sent) -> Need:
    """On every repository in the namespace that the path names, and on that: one where it is not
    allowed is what counts.
    """
    need = _within(action, sent.positional[0])
    if (await call.services.access.decide(call.identity, action, namespace=need.namespace)).allowed:
        for name in await list_repository_names(call.content(), need.namespace):
            decision = await call.services.access.decide(call.identity, action, repository=name)
            if not decision.allowed:
                return need._replace(repository=name)
    return need


async def of_trash(call: Call, action: Action, sent: Sent) -> Need:
    """On every repository of which something is selected in the trash: one where it is not allowed
    is what counts.
    """
    places = await list_places(call.content().index, sent.positional[-1].parsed())
    name = places[0]
    for name in places:
        decision = await call.services.access.decide(call.identity, action, repository=name)
        if not decision.allowed:
            break
    return Need(action, name, repository=name, missing=NOTHING_SUCH)


async def on_body(_call: Call, action: Action, sent: Sent) -> Need:
    """On the repository that the body names."""
    name = RepositoryName.parse(sent.positional[-1].repository)
    return Need(action, name, repository=name, missing=f"there is no repository {name}")


async def of_protection(call: Call, action: Action, sent: Sent) -> Need:
    """In the namespace of the rule that the path names."""
    number = sent.positional[0]
    rule = await known_protection(call.content().index, number)
    return Need(action, rule.namespace, missing=f"there is no rule {number} that protects tags")


async def of_hold(call: Call, action: Action, sent: Sent) -> Need:
    """On the repository of the hold that the path names."""
    number = sent.positional[0]
    name = (await known_hold(call.content().index, number)).repository
    return Need(action, name, repository=name, missing=f"there is no hold {number}")


async def of_grant(call: Call, action: Action, sent: Sent) -> Need:
    """In the namespace of the grant that the path names."""
    number = sent.positional[0]
    grant = await call.services.grants.find(number)
    place = grant.namespace
    return Need(action, place, missing=f"there is no grant {number}", secret=True)


async def of_robot(_call: Call, action: Action, sent: Sent) -> Need:
    """In the namespace that the name of a robot holds."""
    name: str = sent.positional[0]
    place = parse_namespace(name.removeprefix(ROBOT_PREFIX).rpartition("+")[0])
    return Need(action, place, missing=f"there is no robot {name}")


async def of_owner(call: Call, action: Action, sent: Sent) -> Need:
    """People do this with what is their own; what is others' needs the action.

    With a credential that is limited nobody gets one that isn't.
    """
    me = call.identity
    if sent.positional[0] == me.name and me.kind == "user" and me.scopes is None:
        return Need(Action.CONNECT)
    return Need(action)


async def of_question(call: Call, action: Action, sent: Sent) -> Need:
    """Everybody may ask about themselves; about others, where the question is about."""
    asked = sent.query
    if not asked["anonymous"] and asked["user"] in {"", call.identity.name}:
        return Need(Action.CONNECT)
    name = place = parse_namespace(asked["repository"])
    if parse_action(asked["action"]) not in CONTENT:
        return _within(action, place)
    while place and not await call.services.access.has_namespace(place):
        place = place.rpartition("/")[0]
    return Need(action, place, missing=f"there is no repository {name}", about=name)


def _within(action: Action, text: str) -> Need:
    name = parse_namespace(text)
    return Need(action, name, missing=no_namespace(name))
