"""What each role may do, and how a refusal says so."""

import pytest

from homeport.core.errors import Denied
from homeport.identity.principals import Principal
from homeport.identity.roles import SCOPES, Role, allows, require, scopes_of


def principal(role: Role, *scopes: str) -> Principal:
    return Principal(sub="sa-1", workspace="default", role=role, scopes=scopes or ("all",), name="ci")


def test_an_admin_has_every_scope() -> None:
    assert all(allows(principal(Role.ADMIN), scope) for scope in SCOPES)


@pytest.mark.parametrize("scope", ["agents:create", "jobs:update", "policies:get", "policies:list", "workspaces:get"])
def test_a_member_works_with_workloads_and_reads_the_rest(scope: str) -> None:
    assert allows(principal(Role.MEMBER), scope)


@pytest.mark.parametrize(
    "scope",
    ["policies:create", "policies:update", "policies:delete", "apiKey:write", "apiKey:list", "workspaces:update"],
)
def test_a_member_changes_no_policies_keys_or_workspace(scope: str) -> None:
    assert not allows(principal(Role.MEMBER), scope)


def test_a_workload_calls_and_starts_executions_and_changes_nothing() -> None:
    expected = {"agents:run", "functions:run", "models:run", "jobs:run", "jobs:get", "jobs:list"}
    assert scopes_of(Role.WORKLOAD) == expected


def test_a_narrowed_key_has_only_what_it_names_and_never_more_than_the_role() -> None:
    narrowed = principal(Role.MEMBER, "agents:get", "policies:create")
    assert allows(narrowed, "agents:get")
    assert not allows(narrowed, "agents:create")
    assert not allows(narrowed, "policies:create")


def test_no_scopes_at_all_allow_nothing() -> None:
    nobody = Principal(sub="s", workspace="w", role=Role.ADMIN, scopes=())
    assert not any(allows(nobody, scope) for scope in SCOPES)


def test_a_scope_that_does_not_exist_is_nobodys() -> None:
    assert not allows(principal(Role.ADMIN), "agents:teleport")


def test_a_refusal_names_the_scope_and_the_role() -> None:
    with pytest.raises(Denied, match='"policies:create" is needed, and the role member of ci in default'):
        require(principal(Role.MEMBER), "policies:create")


def test_a_refusal_of_a_narrowed_key_says_to_what_it_is_narrowed() -> None:
    with pytest.raises(Denied, match="narrowed to: agents:get"):
        require(principal(Role.MEMBER, "agents:get"), "agents:create")


def test_an_alternative_scope_is_enough() -> None:
    require(principal(Role.WORKLOAD), "jobs:create", "jobs:run")
    require(principal(Role.MEMBER, "jobs:create"), "jobs:create", "jobs:run")
