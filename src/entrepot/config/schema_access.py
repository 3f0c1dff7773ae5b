"""The `access` section: who may do what, as far as the configuration says."""

from typing import Annotated

from msgspec import Struct

from entrepot.config.about import about


class AccessMapping(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Roles in a namespace for a user, or for a group of whatever source knows groups."""

    user: Annotated[str, about("The user. Either this or `group` is given.")] = ""
    group: Annotated[str, about("The group.")] = ""
    namespace: Annotated[
        str, about("The namespace, such as `team-a/backend`; empty or `/` is all of them.")
    ] = ""
    roles: Annotated[
        tuple[str, ...],
        about("The roles: `reader`, `developer`, `operator`, `admin`, or custom ones.", needs=True),
    ] = ()


class Access(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may do what. Grants in the index come on top: `entrepot access grant`."""

    enabled: Annotated[
        bool | None,
        about(
            "Let people do what they have a role for, and nothing else. If it isn't given, that is "
            "so unless everybody may do everything: with `auth: none` or `silly`, with a token "
            "server beside the registry, and with an htpasswd file alone that has neither "
            "`administrators` nor `groups`."
        ),
    ] = None
    administrators: Annotated[
        tuple[str, ...], about("Users who may do everything, everywhere.")
    ] = ()
    administratorgroups: Annotated[
        tuple[str, ...], about("Groups whose members may do everything, everywhere.")
    ] = ()
    mappings: Annotated[
        tuple[AccessMapping, ...], about("Roles that users and groups have in namespaces.")
    ] = ()
