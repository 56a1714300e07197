"""What is told to Envoy, without Envoy."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import health_check_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.route.v3 import route_pb2, scoped_route_pb2
from hypothesis import given
from hypothesis import strategies as st

from homeport.core import limits
from homeport.core.errors import Internal
from homeport.core.ids import Kind, RevisionId
from homeport.dataplane import headers
from homeport.dataplane.packing import CLUSTERS, ENDPOINTS, FILTERS, ROUTES, SCOPES, TYPES
from homeport.dataplane.routes import Endpoint, Gateway, RevisionRoute, WorkloadRoute
from homeport.dataplane.snapshot import Authority, Snapshot, Snapshots

AUTHORITY = Authority(edge_socket=Path("/run/edge.sock"), issuer="homeport", audience="gateway")
PLATFORM = {"/".join(headers.PLATFORM_SCOPE), "/".join(headers.MODELS_SCOPE)}
CLASSES: dict[str, Any] = {
    CLUSTERS: cluster_pb2.Cluster,
    ENDPOINTS: endpoint_pb2.ClusterLoadAssignment,
    SCOPES: scoped_route_pb2.ScopedRouteConfiguration,
    ROUTES: route_pb2.RouteConfiguration,
}

names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,3}[a-z0-9])?", fullmatch=True)
endpoints = st.builds(Endpoint, address=st.just("127.0.0.1"), port=st.integers(1, 65535), draining=st.booleans())
revisions = st.builds(
    RevisionRoute,
    revision=names.map(RevisionId),
    weight=st.integers(0, 100),
    endpoints=st.lists(endpoints, max_size=3).map(tuple),
)
workloads = st.builds(
    WorkloadRoute,
    workspace=names,
    kind=st.sampled_from([Kind.AGENT, Kind.JOB]),
    name=names,
    revisions=st.lists(revisions, max_size=3, unique_by=lambda revision: revision.revision).map(tuple),
    public=st.booleans(),
)
gateways = st.lists(workloads, max_size=8, unique_by=lambda route: route.key).map(tuple)


def gateway(*routes: WorkloadRoute, **more: Any) -> Gateway:
    return Gateway(routes=routes, jwks={"keys": []}, **more)


def snapshot(*routes: WorkloadRoute, **more: Any) -> Snapshot:
    return Snapshots(AUTHORITY).build(gateway(*routes, **more))


def agent(name: str, *revisions: RevisionRoute, workspace: str = "acme", public: bool = False) -> WorkloadRoute:
    return WorkloadRoute(workspace=workspace, kind=Kind.AGENT, name=name, revisions=revisions, public=public)


def revision(name: str, *endpoints: Endpoint, weight: int = 100) -> RevisionRoute:
    return RevisionRoute(revision=RevisionId(name), weight=weight, endpoints=endpoints)


def unpacked(found: Snapshot, type_url: str, name: str) -> Any:
    message = CLASSES[type_url]()
    assert found.of(type_url)[name].message.resource.Unpack(message)
    return message


@given(gateways)
def test_every_workload_has_one_scope_of_its_own_with_one_route_table(routes: tuple[WorkloadRoute, ...]) -> None:
    found = snapshot(*routes)
    keys = Counter()
    for name in set(found.of(SCOPES)) - PLATFORM:
        scope = unpacked(found, SCOPES, name)
        keys[tuple(fragment.string_key for fragment in scope.key.fragments)] += 1
        assert scope.route_configuration_name in found.of(ROUTES)
    assert keys == Counter((route.workspace, route.kind.plural, route.name, headers.NO_HOST) for route in routes)


@given(gateways)
def test_names_never_collide(routes: tuple[WorkloadRoute, ...]) -> None:
    found = snapshot(*routes)
    revisions = sum(len(route.revisions) for route in routes)
    assert len(found.of(CLUSTERS)) == len(found.of(ENDPOINTS)) == revisions
    assert len(found.of(SCOPES)) == len(found.of(ROUTES)) == len(routes) + len(PLATFORM)


@given(gateways, workloads)
def test_a_change_of_one_workload_changes_its_own_resources_only(
    routes: tuple[WorkloadRoute, ...], changed: WorkloadRoute
) -> None:
    others = tuple(route for route in routes if route.key != changed.key)
    builder = Snapshots(AUTHORITY)
    before, after = builder.build(gateway(*others)), builder.build(gateway(*others, changed))
    for type_url in TYPES:
        for name, packed in before.of(type_url).items():
            assert after.of(type_url)[name] is packed  # not even packed again
        added = set(after.of(type_url)) - set(before.of(type_url))
        assert all(name == changed.key or name.startswith(f"{changed.key}/") for name in added)


@given(gateways)
def test_versions_are_of_the_content_and_outlive_a_restart(routes: tuple[WorkloadRoute, ...]) -> None:
    first, second = snapshot(*routes), snapshot(*reversed(routes))
    for type_url in TYPES:
        versions = {name: packed.version for name, packed in first.of(type_url).items()}
        assert versions == {name: packed.version for name, packed in second.of(type_url).items()}


@given(gateways)
def test_every_routed_cluster_exists(routes: tuple[WorkloadRoute, ...]) -> None:
    found = snapshot(*routes)
    for route in routes:
        table = unpacked(found, ROUTES, route.key)
        for entry in table.virtual_hosts[0].routes:
            weighted = [share.name for share in entry.route.weighted_clusters.clusters]
            for name in [*weighted, *([entry.route.cluster] if entry.route.cluster not in ("", "edge") else [])]:
                assert name in found.of(CLUSTERS) and name in found.of(ENDPOINTS)


def test_a_new_replica_changes_the_endpoints_alone() -> None:
    one, two = Endpoint(address="127.0.0.1", port=1), Endpoint(address="127.0.0.1", port=2)
    before = snapshot(agent("a", revision("r", one)))
    after = snapshot(agent("a", revision("r", one, two)))
    changed = [
        (type_url, name)
        for type_url in TYPES
        for name, packed in after.of(type_url).items()
        if before.of(type_url)[name].version != packed.version
    ]
    assert changed == [(ENDPOINTS, "acme/agents/a/r")]


def test_the_activator_stands_behind_the_replicas() -> None:
    leaving = Endpoint(address="127.0.0.1", port=2, draining=True)
    found = snapshot(agent("a", revision("r", Endpoint(address="127.0.0.1", port=1), leaving)))
    first, second = unpacked(found, ENDPOINTS, "acme/agents/a/r").endpoints
    assert [endpoint.health_status for endpoint in first.lb_endpoints] == [
        health_check_pb2.HEALTHY,
        health_check_pb2.DRAINING,
    ]
    assert (first.priority, second.priority) == (0, 1)
    assert second.lb_endpoints[0].endpoint.address.pipe.path == "/run/edge.sock"


def test_time_limits_are_the_contracts() -> None:
    table = unpacked(snapshot(agent("a", revision("r"))), ROUTES, "acme/agents/a")
    for entry in table.virtual_hosts[0].routes:
        if headers.CALL in [header.name for header in entry.match.headers]:
            assert entry.route.timeout.seconds == entry.route.idle_timeout.seconds == 0  # the edge ends it in time
            continue
        websocket = "upgrade" in [header.name for header in entry.match.headers]
        assert entry.route.timeout.seconds == (0 if websocket else limits.REQUEST_TIMEOUT_S)
        idle_s = limits.WEBSOCKET_IDLE_S if websocket else limits.IDLE_TIMEOUT_S
        assert entry.route.idle_timeout.seconds == idle_s


def test_a_revision_of_weight_zero_is_kept_but_not_routed_to() -> None:
    found = snapshot(agent("a", revision("old", weight=0), revision("new")))
    assert "acme/agents/a/old" in found.of(CLUSTERS)
    routes = unpacked(found, ROUTES, "acme/agents/a").virtual_hosts[0].routes
    assert {entry.route.cluster for entry in routes} == {"acme/agents/a/new", "edge"}


def test_only_a_public_workload_has_no_access_rules() -> None:
    found = snapshot(agent("a", revision("r")), agent("b", revision("r"), public=True))
    closed = unpacked(found, ROUTES, "acme/agents/a").virtual_hosts[0].typed_per_filter_config
    opened = unpacked(found, ROUTES, "acme/agents/b").virtual_hosts[0].typed_per_filter_config
    assert headers.DENY_FILTER not in closed
    assert b"acme" in closed[headers.ACCESS_FILTER].value and b"agents:run" in closed[headers.ACCESS_FILTER].value
    assert opened[headers.ACCESS_FILTER].value == opened[headers.DENY_FILTER].value == b""


def test_our_own_headers_are_hidden_from_programs_and_server() -> None:
    found = snapshot(agent("a", revision("r")), agent("b", revision("r"), public=True))
    for name in found.of(ROUTES):
        hidden = set(unpacked(found, ROUTES, name).virtual_hosts[0].request_headers_to_remove)
        assert {headers.SCOPE, headers.JTI, headers.SUBJECT, headers.WORKSPACE} <= hidden
        assert (headers.BLAXEL_AUTHORIZATION in hidden) == (name != "/".join(headers.PLATFORM_SCOPE))


def test_revoking_changes_the_deny_filter_alone() -> None:
    before, after = snapshot(), snapshot(revoked=frozenset({"jti-1"}))
    changed = [name for name, packed in after.of(FILTERS).items() if before.of(FILTERS)[name].version != packed.version]
    assert changed == [headers.DENY_FILTER]


def test_two_routes_at_one_address_are_refused() -> None:
    with pytest.raises(Internal):
        snapshot(agent("a"), agent("a", revision("r")))
