"""What must fit together in the `access` section."""

from collections.abc import Iterator

from entrepot.config.schema import Config
from entrepot.core.decision import AccessError, parse_namespace
from entrepot.core.roles import BUILT_IN, RoleInvalidError, check_role_name


def check_access(config: Config) -> Iterator[tuple[str, str]]:
    """Every key that doesn't fit, and why."""
    if config.access.enabled and config.auth.type in {"none", "silly"}:
        message = f"nobody is known with auth: {config.auth.type}; say in auth who may log in"
        yield "access.enabled", message
    if config.auth.sessions.enabled and not config.has_pages:
        message = (
            "there is nothing behind a login in a browser: it needs access.enabled, and local, "
            "htpasswd, ldap or oidc in auth"
        )
        yield "auth.sessions.enabled", message
    for number, mapping in enumerate(config.access.mappings):
        key = f"access.mappings[{number}]"
        if bool(mapping.user) == bool(mapping.group):
            yield key, "give either user or group"
        try:
            parse_namespace(mapping.namespace)
        except AccessError as error:
            yield f"{key}.namespace", str(error)
        if not mapping.roles:
            yield f"{key}.roles", "no role is given"
        for role in mapping.roles:
            try:
                if role not in BUILT_IN:
                    check_role_name(role)
            except RoleInvalidError as error:
                yield f"{key}.roles", str(error)
