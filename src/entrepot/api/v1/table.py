"""The routes of `/api/v1`, which are part of THE table (`entrepot.api.routes`)."""

from typing import Final

from entrepot.api.route import Route
from entrepot.api.v1 import (
    access,
    audit,
    collection,
    deletions,
    explaining,
    namespaces,
    protecting,
    quotas,
    registry,
    retention,
    robots,
    undo,
    usage,
    users,
    work,
)
from entrepot.api.v1.needs import (
    above,
    in_body,
    in_namespace,
    in_query,
    of_grant,
    of_hold,
    of_owner,
    of_protection,
    of_question,
    of_robot,
    of_trash,
    on_all_in,
    on_body,
    on_content,
    on_repository,
    on_tag,
    seeing_it,
)
from entrepot.api.v1.openapi import Description
from entrepot.api.v1.operation import Function, Operation, Where, in_root
from entrepot.core.access import Action

V1: Final = "/api/v1"


def _route(
    method: str,
    path: str,
    action: Action,
    function: Function,
    need: Where = in_root,
    status: int = 200,
) -> Route:
    return Route(method, V1 + path, action, Operation(function, need=need, status=status), "api")


_OPERATIONS: Final = (
    _route("GET", "/whoami", Action.CONNECT, registry.show_caller),
    _route("GET", "/repositories", Action.LIST, registry.list_repositories),
    _route(
        "GET", "/repositories/{repository}/tags", Action.PULL, registry.list_tags, on_repository
    ),
    _route(
        "GET", "/repositories/{repository}/history", Action.PULL, undo.list_history, on_repository
    ),
    _route("POST", "/repositories/{repository}/rollback", Action.TAG, undo.roll_back, on_tag),
    _route("GET", "/trash", Action.CONNECT, undo.list_trash),
    _route("POST", "/trash/restore", Action.TAG, undo.restore_trash, of_trash),
    _route("POST", "/trash/empty", Action.DELETE, undo.empty_trash, of_trash),
    _route(
        "GET",
        "/deletions/repositories/{repository}",
        Action.DELETE,
        deletions.preview_deletion,
        on_content,
    ),
    _route(
        "POST",
        "/deletions/repositories/{repository}",
        Action.DELETE,
        deletions.delete_content,
        on_content,
    ),
    _route(
        "GET",
        "/deletions/namespaces/{namespace}",
        Action.DELETE,
        deletions.preview_namespace_deletion,
        on_all_in,
    ),
    _route(
        "POST",
        "/deletions/namespaces/{namespace}",
        Action.DELETE,
        deletions.delete_namespace_content,
        on_all_in,
    ),
    _route("GET", "/protections", Action.CONNECT, protecting.list_protections),
    _route("POST", "/protections", Action.TAG, protecting.protect_tags, in_body, 201),
    _route(
        "DELETE",
        "/protections/{protection}",
        Action.TAG,
        protecting.unprotect_tags,
        of_protection,
    ),
    _route("GET", "/holds", Action.CONNECT, protecting.list_holds),
    _route("POST", "/holds", Action.SETTINGS, protecting.place_hold, on_body, 201),
    _route("DELETE", "/holds/{hold}", Action.SETTINGS, protecting.release_hold, of_hold),
    _route("GET", "/namespaces", Action.CONNECT, namespaces.list_namespaces),
    _route("POST", "/namespaces", Action.SETTINGS, namespaces.create_namespace, above, 201),
    _route("GET", "/namespaces/{namespace}", Action.LIST, namespaces.show_namespace, seeing_it),
    _route(
        "PATCH",
        "/namespaces/{namespace}",
        Action.SETTINGS,
        namespaces.change_namespace,
        in_namespace,
    ),
    _route(
        "DELETE", "/namespaces/{namespace}", Action.SETTINGS, namespaces.delete_namespace, above
    ),
    _route("GET", "/quotas", Action.CONNECT, quotas.list_quotas),
    _route("GET", "/quotas/{namespace}", Action.LIST, quotas.show_quotas, seeing_it),
    _route(
        "PUT",
        "/quotas/{namespace}",
        Action.SETTINGS,
        quotas.set_quota,
        above,
    ),
    _route(
        "DELETE",
        "/quotas/{namespace}",
        Action.SETTINGS,
        quotas.remove_quota,
        above,
    ),
    _route("GET", "/retention/policies", Action.CONNECT, retention.list_policies),
    _route(
        "GET",
        "/retention/policies/{namespace}",
        Action.RETENTION,
        retention.show_policy,
        in_namespace,
    ),
    _route(
        "PUT",
        "/retention/policies/{namespace}",
        Action.RETENTION,
        retention.set_policy,
        in_namespace,
    ),
    _route(
        "DELETE",
        "/retention/policies/{namespace}",
        Action.RETENTION,
        retention.remove_policy,
        in_namespace,
    ),
    _route(
        "GET",
        "/retention/previews/{namespace}",
        Action.RETENTION,
        retention.preview_retention,
        in_namespace,
    ),
    _route(
        "POST",
        "/retention/runs/{namespace}",
        Action.RETENTION,
        retention.request_retention,
        in_namespace,
        201,
    ),
    _route(
        "GET",
        "/retention/runs/{namespace}",
        Action.RETENTION,
        retention.show_retention,
        in_namespace,
    ),
    _route("GET", "/grants", Action.MEMBERS, access.list_grants, in_query),
    _route("POST", "/grants", Action.MEMBERS, access.create_grants, in_body, 201),
    _route("GET", "/grants/{grant}", Action.MEMBERS, access.show_grant, of_grant),
    _route("DELETE", "/grants/{grant}", Action.MEMBERS, access.revoke_grant, of_grant),
    _route("GET", "/roles", Action.CONNECT, access.list_roles),
    _route("POST", "/roles", Action.ADMINISTER, access.create_role, status=201),
    _route("DELETE", "/roles/{role}", Action.ADMINISTER, access.delete_role),
    _route("GET", "/access/can", Action.MEMBERS, access.decide_access, of_question),
    _route("GET", "/users", Action.ADMINISTER, users.list_users),
    _route("POST", "/users", Action.ADMINISTER, users.create_user, status=201),
    _route("GET", "/users/{user}", Action.ADMINISTER, users.show_user),
    _route("PATCH", "/users/{user}", Action.ADMINISTER, users.change_user),
    _route("DELETE", "/users/{user}", Action.ADMINISTER, users.delete_user),
    _route("PUT", "/users/{user}/password", Action.ADMINISTER, users.set_password),
    _route("DELETE", "/users/{user}/sessions", Action.ADMINISTER, users.log_out, of_owner),
    _route("GET", "/users/{user}/tokens", Action.ADMINISTER, users.list_tokens, of_owner),
    _route("POST", "/users/{user}/tokens", Action.ADMINISTER, users.create_token, of_owner, 201),
    _route(
        "POST",
        "/users/{user}/tokens/{token}/rotate",
        Action.ADMINISTER,
        users.rotate_token,
        of_owner,
        201,
    ),
    _route(
        "DELETE", "/users/{user}/tokens/{token}", Action.ADMINISTER, users.revoke_token, of_owner
    ),
    _route("GET", "/robots", Action.ROBOTS, robots.list_robots, in_query),
    _route("POST", "/robots", Action.ROBOTS, robots.create_robot, in_body, 201),
    _route("POST", "/robots/{robot}/rotate", Action.ROBOTS, robots.rotate_robot, of_robot, 201),
    _route("GET", "/robots/{robot}", Action.ROBOTS, robots.show_robot, of_robot),
    _route("DELETE", "/robots/{robot}", Action.ROBOTS, robots.revoke_robot, of_robot),
    _route("GET", "/audit/events", Action.AUDIT, audit.search_events),
    _route("GET", "/audit/export", Action.AUDIT, audit.export_events),
    _route("GET", "/audit/verify", Action.AUDIT, audit.verify_events),
    _route(
        "GET",
        "/repositories/{repository}/explanation",
        Action.RETENTION,
        explaining.explain,
        on_repository,
    ),
    _route(
        "GET", "/usage/namespaces/{namespace}", Action.LIST, usage.show_namespace_usage, seeing_it
    ),
    _route(
        "GET",
        "/usage/repositories/{namespace}",
        Action.LIST,
        usage.list_repository_usage,
        seeing_it,
    ),
    _route(
        "GET",
        "/usage/repository/{repository}",
        Action.PULL,
        usage.show_repository_usage,
        on_repository,
    ),
    _route(
        "GET",
        "/usage/tags/{repository}",
        Action.PULL,
        usage.list_tag_usage,
        on_repository,
    ),
    _route("GET", "/collection", Action.OBSERVE, collection.show_collection),
    _route("GET", "/collection/runs", Action.OBSERVE, collection.list_collections),
    _route(
        "POST", "/collection/runs", Action.ADMINISTER, collection.request_collection, status=201
    ),
    _route("GET", "/schedules", Action.OBSERVE, work.list_schedules),
    _route("GET", "/schedules/{schedule}", Action.OBSERVE, work.show_schedule),
    _route("PUT", "/schedules/{schedule}", Action.ADMINISTER, work.set_schedule),
    _route("PATCH", "/schedules/{schedule}", Action.ADMINISTER, work.change_schedule),
    _route("DELETE", "/schedules/{schedule}", Action.ADMINISTER, work.remove_schedule),
    _route("GET", "/runs", Action.OBSERVE, work.list_runs),
    _route("POST", "/runs", Action.ADMINISTER, work.request_run, status=201),
    _route("GET", "/runs/{run}", Action.OBSERVE, work.show_run),
    _route("GET", "/locks", Action.ADMINISTER, users.list_locks),
    _route("DELETE", "/locks", Action.ADMINISTER, users.lift_locks),
    _route("DELETE", "/locks/{subject}", Action.ADMINISTER, users.lift_lock),
)

TABLE: Final = (
    Route("GET", f"{V1}/openapi.json", Action.PROBE, Description(_OPERATIONS), "api"),
    *_OPERATIONS,
)
