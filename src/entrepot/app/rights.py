"""Who may do what, as the configuration says it."""

from entrepot.config import Config
from entrepot.config.schema_access import AccessMapping
from entrepot.core.decision import Grant, parse_namespace
from entrepot.services.access import AccessRules


def access_rules(config: Config) -> AccessRules:
    """Return the rules that go before what the index says."""
    access = config.access
    return AccessRules(
        enabled=config.access_enabled,
        administrators=frozenset(access.administrators),
        administrator_groups=frozenset(access.administratorgroups),
        mappings=tuple(grant for mapping in access.mappings for grant in _grants(mapping)),
    )


def _grants(mapping: AccessMapping) -> list[Grant]:
    return [
        Grant(
            id=0,
            namespace=parse_namespace(mapping.namespace),
            subject_kind="group" if mapping.group else "user",
            subject=mapping.group or mapping.user,
            role=role,
        )
        for role in mapping.roles
    ]
