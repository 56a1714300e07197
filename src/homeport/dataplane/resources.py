"""One workload → its cluster and endpoints for each revision, its route tables, its scopes (pure).

Called by `snapshot`, once for each change of a workload. What the tables say is in `tables`. Custom paths outside of
the workload's own are the one thing that several may share: `paths_resources` makes the table of those that begin
alike.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2, outlier_detection_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, config_source_pb2, health_check_pb2, protocol_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.route.v3 import route_components_pb2 as route_pb2
from envoy.config.route.v3 import route_pb2 as table_pb2
from envoy.config.route.v3 import scoped_route_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from envoy.type.v3 import percent_pb2
from google.protobuf import wrappers_pb2

from homeport.core import limits
from homeport.core.ids import RevisionId
from homeport.core.limits import CallLimits
from homeport.core.spec import is_below
from homeport.dataplane import headers
from homeport.dataplane.credentials import rules_of_models, rules_of_platform
from homeport.dataplane.packing import CLUSTERS, ENDPOINTS, ROUTES, SCOPES, Packed, any_of, pack, seconds
from homeport.dataplane.routes import Endpoint, WorkloadRoute
from homeport.dataplane.sticking import by_hash
from homeport.dataplane.tables import (
    EDGE_CLUSTER,
    FROM_PROGRAMS,
    FROM_SERVER,
    at_path,
    host,
    host_table,
    own_table,
    table,
)
from homeport.dataplane.tracing import METADATA, workload_metadata
from homeport.jobs.environment import TASK_DATA
from homeport.workloads.addresses import DOMAIN

CONNECT_TIMEOUT_S = (
    5  # loopback answers at once; a full listen queue drops the first packet, the second comes after 1 s
)
# Below the 5 s after which uvicorn and Node close an idle connection, so that we close first and no request is lost.
UPSTREAM_IDLE_S = 4
SERVER_WAIT_S = 0.2  # at most between two attempts to reach a server that is away
SERVER_WAIT_TIMES = 300  # half a minute or more: it is back within seconds
IN_FLIGHT = 100_000  # for each cluster; Envoy's default of 1024 would refuse a burst that programs can take
# One replica that is not draining takes the whole load; at the default of 140 a third of it would go to the activator
# whenever a second one drains. In percent.
OVERPROVISIONING = 100_000
# Slots of the table from hashes to replicas, a prime: 64 kB. With fewer, more conversations move than have to when a
# replica comes or goes.
HASHES = 8191
FAILED_BY_HASH = 3  # one that breaks off now and then must keep its conversations
FAILED_CONNECTIONS = 2  # in a row, to a replica in a container that is then left alone
LEFT_ALONE_S = 5  # and longer each time
LEFT_ALONE_MOST_S = 30
SERVER_CLUSTER = "server"

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

PathsKey = tuple[str, str]
"""Custom paths that begin alike: the workspace, and the first part below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadResources:
    """Everything that Envoy knows of one workload, in pairs of type and resource."""

    resources: tuple[tuple[str, Packed], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What holds for every workload of this installation. Requests that no replica can take go to `edge_socket`; host
    names of workloads end in `domain`."""

    edge_socket: str
    limits: CallLimits = field(default_factory=CallLimits)
    domain: str = DOMAIN


def workload_resources(route: WorkloadRoute, serving: Serving) -> WorkloadResources:
    """Everything about `route` but its custom paths elsewhere. Nothing in it depends on another workload."""
    found: list[tuple[str, Packed]] = []
    for revision in route.revisions:
        name = route.revision_key(revision.revision)
        whose = _whose(route, revision.revision)
        # One by hash stands beside the other: a cluster that is changed forgets which requests are under way.
        for cluster in (name, by_hash(name)) if route.stickiness.replica else (name,):
            found.append((CLUSTERS, pack(cluster, _cluster(cluster, name, revision.in_containers, whose))))
            found.append((ENDPOINTS, pack(cluster, _endpoints(cluster, revision.endpoints, serving.edge_socket))))
    found.append((ROUTES, pack(route.key, own_table(route, serving.limits))))
    found.append((SCOPES, pack(route.key, _scope(route.key, (route.workspace, route.kind.plural, route.name)))))
    if route.host:
        name = f"{route.key}/host name"
        found.append((ROUTES, pack(name, host_table(name, route, serving.limits))))
        found.append((SCOPES, pack(name, _scope(name, headers.HOSTS_SCOPE, f"{route.host}.{serving.domain}"))))
    return WorkloadResources(resources=tuple(found))


def paths_keys(route: WorkloadRoute) -> set[PathsKey]:
    """Of the custom paths of `route` outside of its own."""
    firsts = {path.path.partition("/")[0] for path in route.paths}
    return {(route.workspace, first) for first in firsts - {route.kind.plural}}


def paths_resources(key: PathsKey, routes: Iterable[WorkloadRoute], serving: Serving) -> WorkloadResources:
    """The table of the custom paths with this beginning, whosever they are, the longest first. Names are unique: of two
    workloads that both claim a path the first by name has it."""
    workspace, first = key
    claims = {}
    for route in sorted(routes, key=lambda route: route.key, reverse=True):
        claims.update({path.path: at_path(route, path) for path in route.paths if is_below(path.path, first)})
    addresses = [claims[path] for path in sorted(claims, key=lambda path: (-len(path), path))]
    name = f"{headers.PATHS_SCOPE}/{workspace}/{first}"
    packed = pack(name, table(name, addresses, serving.limits))
    scope = pack(name, _scope(name, (headers.PATHS_SCOPE, workspace, first)))
    return WorkloadResources(resources=((ROUTES, packed), (SCOPES, scope)))


def gateway_names(routes: Sequence[WorkloadRoute]) -> frozenset[str]:
    """Of all that Envoy is told of these workloads."""
    serving = Serving(edge_socket="")
    parts = [workload_resources(route, serving) for route in routes]
    parts += [paths_resources(key, (), serving) for route in routes for key in paths_keys(route)]
    return frozenset(packed.name for part in parts for _, packed in part.resources)


def platform_resources() -> WorkloadResources:
    """The addresses that are no workload: the server's own paths, and model paths, which go to the edge."""
    tables = (
        (headers.PLATFORM_SCOPE, SERVER_CLUSTER, rules_of_platform(), FROM_SERVER),
        (headers.MODELS_SCOPE, EDGE_CLUSTER, rules_of_models(), FROM_PROGRAMS),
    )
    found: list[tuple[str, Packed]] = []
    for key, cluster, rules, hidden in tables:
        name = "/".join(key)
        action = route_pb2.RouteAction(
            cluster=cluster, timeout=seconds(0), idle_timeout=seconds(limits.REQUEST_TIMEOUT_S)
        )
        everything = route_pb2.Route(match=route_pb2.RouteMatch(prefix="/"), route=action)
        routes = [everything] if cluster != SERVER_CLUSTER else [_task_data(action), everything]
        for entry in routes:
            entry.name = name  # what spans of traces are called
        shared = host(name, routes, rules, hidden)
        found.append((ROUTES, pack(name, table_pb2.RouteConfiguration(name=name, virtual_hosts=[shared]))))
        found.append((SCOPES, pack(name, _scope(name, key))))
    return WorkloadResources(resources=tuple(found))


def _task_data(action: Any) -> Any:
    """A task that asks for its arguments while the server is being started again waits for it: to fail would cost it
    a retry. A read, so that it may be repeated whatever became of it."""
    patient = route_pb2.RouteAction()
    patient.CopyFrom(action)
    patient.retry_policy.CopyFrom(
        route_pb2.RetryPolicy(
            retry_on="connect-failure,reset",
            num_retries=wrappers_pb2.UInt32Value(value=SERVER_WAIT_TIMES),
            retry_back_off=route_pb2.RetryPolicy.RetryBackOff(
                base_interval=seconds(SERVER_WAIT_S), max_interval=seconds(SERVER_WAIT_S)
            ),
        )
    )
    return route_pb2.Route(match=route_pb2.RouteMatch(prefix=f"{TASK_DATA}/"), route=patient)


def _cluster(name: str, revision: str, in_containers: bool, whose: Any) -> Any:
    """Of the replicas of `revision` (its key). `whose`: their metadata."""
    options = http_protocol_options_pb2.HttpProtocolOptions(
        common_http_protocol_options=protocol_pb2.HttpProtocolOptions(idle_timeout=seconds(UPSTREAM_IDLE_S))
    )
    options.explicit_http_config.http_protocol_options.SetInParent()  # HTTP/1.1: what every program speaks
    number = wrappers_pb2.UInt32Value(value=IN_FLIGHT)
    threshold = circuit_breaker_pb2.CircuitBreakers.Thresholds(
        max_connections=number, max_pending_requests=number, max_requests=number, max_retries=number
    )
    ads = config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(), resource_api_version=config_source_pb2.V3
    )
    return cluster_pb2.Cluster(
        name=name,
        type=cluster_pb2.Cluster.EDS,
        eds_cluster_config=cluster_pb2.Cluster.EdsClusterConfig(eds_config=ads),
        connect_timeout=seconds(CONNECT_TIMEOUT_S),
        lb_policy=cluster_pb2.Cluster.LEAST_REQUEST if name == revision else cluster_pb2.Cluster.MAGLEV,
        maglev_lb_config=None if name == revision else _table_of_hashes(),
        circuit_breakers=circuit_breaker_pb2.CircuitBreakers(thresholds=[threshold]),
        # Without panic mode a draining replica never gets a request, not even when all of them drain.
        common_lb_config=cluster_pb2.Cluster.CommonLbConfig(healthy_panic_threshold=percent_pb2.Percent(value=0)),
        typed_extension_protocol_options={_OPTIONS: any_of(options)},
        outlier_detection=_left_alone(by_hash=name != revision) if in_containers or name != revision else None,
        alt_stat_name="" if name == revision else revision,  # both count as one
        metadata=whose,
    )


def _whose(route: WorkloadRoute, revision: RevisionId) -> Any:
    """For the spans of traces."""
    found = base_pb2.Metadata()
    found.filter_metadata[METADATA].update(workload_metadata(route, revision))
    return found


def _table_of_hashes() -> Any:
    return cluster_pb2.Cluster.MaglevLbConfig(table_size=wrappers_pb2.UInt64Value(value=HASHES))


def _left_alone(*, by_hash: bool) -> Any:
    """Where connections come to nothing in seconds, not at once, only the first requests wait for that: the next ones
    go to the activator, which knows more. What programs answer has no part in it. A choice by hash, which would come to
    the same replica again and again, leaves it alone for a moment."""
    never, always = wrappers_pb2.UInt32Value(value=0), wrappers_pb2.UInt32Value(value=100)
    return outlier_detection_pb2.OutlierDetection(
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=wrappers_pb2.UInt32Value(
            value=FAILED_BY_HASH if by_hash else FAILED_CONNECTIONS
        ),
        enforcing_consecutive_local_origin_failure=always,
        enforcing_local_origin_success_rate=never,
        enforcing_consecutive_5xx=never,
        enforcing_consecutive_gateway_failure=never,
        enforcing_success_rate=never,
        interval=seconds(1),
        base_ejection_time=seconds(1 if by_hash else LEFT_ALONE_S),
        max_ejection_time=seconds(LEFT_ALONE_MOST_S),
        max_ejection_percent=always,
    )


def _endpoints(name: str, endpoints: tuple[Endpoint, ...], edge_socket: str) -> Any:
    """Replicas first; the activator gets requests only while no replica takes any."""
    activator = endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(address=address_pb2.Address(pipe=address_pb2.Pipe(path=edge_socket)))
    )
    replicas = [_replica(endpoint) for endpoint in endpoints]
    policy = endpoint_pb2.ClusterLoadAssignment.Policy(
        overprovisioning_factor=wrappers_pb2.UInt32Value(value=OVERPROVISIONING)
    )
    return endpoint_pb2.ClusterLoadAssignment(
        cluster_name=name,
        endpoints=[
            endpoint_components_pb2.LocalityLbEndpoints(priority=0, lb_endpoints=replicas),
            endpoint_components_pb2.LocalityLbEndpoints(priority=1, lb_endpoints=[activator]),
        ],
        policy=policy,
    )


def _replica(endpoint: Endpoint) -> Any:
    address = address_pb2.SocketAddress(address=endpoint.address, port_value=endpoint.port)
    return endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(address=address_pb2.Address(socket_address=address)),
        health_status=health_check_pb2.DRAINING if endpoint.draining else health_check_pb2.HEALTHY,
    )


def _scope(name: str, key: tuple[str, str, str], host_name: str = headers.NO_HOST) -> Any:
    fragment = scoped_route_pb2.ScopedRouteConfiguration.Key.Fragment
    return scoped_route_pb2.ScopedRouteConfiguration(
        name=name,
        route_configuration_name=name,
        key=scoped_route_pb2.ScopedRouteConfiguration.Key(
            fragments=[fragment(string_key=part) for part in (*key, host_name)]
        ),
    )
