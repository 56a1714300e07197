"""One workload → its cluster and endpoints for each revision, its route table, its scope (pure).

Called by `snapshot`, once for each change of a workload. Everything about how requests reach programs (time limits,
retries, rewriting, what programs may see) is here; who may pass is in `credentials`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2, outlier_detection_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, config_source_pb2, health_check_pb2, protocol_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.route.v3 import route_components_pb2 as route_pb2
from envoy.config.route.v3 import route_pb2 as table_pb2
from envoy.config.route.v3 import scoped_route_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from envoy.type.matcher.v3 import string_pb2
from envoy.type.v3 import percent_pb2
from google.protobuf import wrappers_pb2

from homeport.core import limits
from homeport.core.ids import Kind
from homeport.dataplane import headers
from homeport.dataplane.answers import SHOULD_RETRY_HEADER
from homeport.dataplane.credentials import rules_of, rules_of_models, rules_of_platform
from homeport.dataplane.packing import CLUSTERS, ENDPOINTS, ROUTES, SCOPES, Packed, any_of, pack, seconds
from homeport.dataplane.routes import Endpoint, RevisionRoute, WorkloadRoute
from homeport.dataplane.tracing import METADATA, workload_metadata
from homeport.jobs.environment import TASK_DATA

CONNECT_TIMEOUT_S = (
    5  # loopback answers at once; a full listen queue drops the first packet, the second comes after 1 s
)
# Below the 5 s after which uvicorn and Node close an idle connection, so that we close first and no request is lost.
UPSTREAM_IDLE_S = 4
RETRIES = 3  # connection refused, then the activator, then once more for a replica that ended meanwhile
SERVER_WAIT_S = 0.2  # at most between two attempts to reach a server that is away
SERVER_WAIT_TIMES = 300  # half a minute or more: it is back within seconds
IN_FLIGHT = 100_000  # for each cluster; Envoy's default of 1024 would refuse a burst that programs can take
# One replica that is not draining takes the whole load; at the default of 140 a third of it would go to the activator
# whenever a second one drains. In percent.
OVERPROVISIONING = 100_000
# How the public command line and the SDK that it is made with name themselves: they repeat a POST that failed.
REPEATERS = "blaxel/"
FAILED_CONNECTIONS = 2  # in a row, to a replica in a container that is then left alone
LEFT_ALONE_S = 5  # and longer each time
LEFT_ALONE_MOST_S = 30
SERVER_CLUSTER = "server"
EDGE_CLUSTER = "edge"

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

# Request headers that stay in Envoy: our own, but for the edge's; from programs also the credential's header
# that is ours alone, so that junk in it goes no further. The server authenticates for itself and needs to see it.
_FROM_SERVER = tuple(name for name in headers.OWN if name not in (headers.WORKLOAD, headers.INVOKE))
_FROM_PROGRAMS = (*_FROM_SERVER, headers.BLAXEL_AUTHORIZATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadResources:
    """Everything that Envoy knows of one workload, in pairs of type and resource."""

    resources: tuple[tuple[str, Packed], ...]


def workload_resources(route: WorkloadRoute, edge_socket: str) -> WorkloadResources:
    """Everything about `route`. Nothing in it depends on another workload."""
    found: list[tuple[str, Packed]] = []
    for revision in route.revisions:
        name = route.revision_key(revision.revision)
        found.append((CLUSTERS, pack(name, _cluster(name, revision.in_containers))))
        found.append((ENDPOINTS, pack(name, _endpoints(name, revision.endpoints, edge_socket))))
    found.append((ROUTES, pack(route.key, _table(route))))
    found.append((SCOPES, pack(route.key, _scope(route.key, (route.workspace, route.kind.plural, route.name)))))
    return WorkloadResources(resources=tuple(found))


def platform_resources() -> WorkloadResources:
    """The addresses that are no workload: the server's own paths, and model paths, which go to the edge."""
    tables = (
        (headers.PLATFORM_SCOPE, SERVER_CLUSTER, rules_of_platform(), _FROM_SERVER),
        (headers.MODELS_SCOPE, EDGE_CLUSTER, rules_of_models(), _FROM_PROGRAMS),
    )
    found: list[tuple[str, Packed]] = []
    for key, cluster, rules, hidden in tables:
        name = "/".join(key)
        action = route_pb2.RouteAction(
            cluster=cluster, timeout=seconds(0), idle_timeout=seconds(limits.REQUEST_TIMEOUT_S)
        )
        everything = route_pb2.Route(match=route_pb2.RouteMatch(prefix="/"), route=action)
        routes = [everything] if cluster != SERVER_CLUSTER else [_task_data(action), everything]
        host = _host(name, routes, rules, hidden)
        found.append((ROUTES, pack(name, table_pb2.RouteConfiguration(name=name, virtual_hosts=[host]))))
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


def _cluster(name: str, in_containers: bool) -> Any:
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
        lb_policy=cluster_pb2.Cluster.LEAST_REQUEST,
        circuit_breakers=circuit_breaker_pb2.CircuitBreakers(thresholds=[threshold]),
        # Without panic mode a draining replica never gets a request, not even when all of them drain.
        common_lb_config=cluster_pb2.Cluster.CommonLbConfig(healthy_panic_threshold=percent_pb2.Percent(value=0)),
        typed_extension_protocol_options={_OPTIONS: any_of(options)},
        outlier_detection=_unreachable() if in_containers else None,
        metadata=_whose(name),
    )


def _whose(name: str) -> Any:
    """For the spans of traces."""
    found = base_pb2.Metadata()
    found.filter_metadata[METADATA].update(workload_metadata(name))
    return found


def _unreachable() -> Any:
    """Where connections come to nothing in seconds, not at once, only the first requests wait for that: the next ones
    go to the activator, which knows more. What programs answer has no part in it."""
    never, always = wrappers_pb2.UInt32Value(value=0), wrappers_pb2.UInt32Value(value=100)
    return outlier_detection_pb2.OutlierDetection(
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=wrappers_pb2.UInt32Value(value=FAILED_CONNECTIONS),
        enforcing_consecutive_local_origin_failure=always,
        enforcing_local_origin_success_rate=never,
        enforcing_consecutive_5xx=never,
        enforcing_consecutive_gateway_failure=never,
        enforcing_success_rate=never,
        interval=seconds(1),
        base_ejection_time=seconds(LEFT_ALONE_S),
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


def _scope(name: str, key: tuple[str, str, str]) -> Any:
    fragment = scoped_route_pb2.ScopedRouteConfiguration.Key.Fragment
    return scoped_route_pb2.ScopedRouteConfiguration(
        name=name,
        route_configuration_name=name,
        key=scoped_route_pb2.ScopedRouteConfiguration.Key(fragments=[fragment(string_key=part) for part in key]),
    )


def _table(route: WorkloadRoute) -> Any:
    host = _host(route.key, _routes(route), rules_of(route), _FROM_PROGRAMS)
    host.retry_policy.CopyFrom(_retries())
    return table_pb2.RouteConfiguration(name=route.key, virtual_hosts=[host])


def _host(name: str, routes: list[Any], rules: dict[str, Any], hidden: tuple[str, ...]) -> Any:
    """What all routes of a table share. `hidden`: request headers that stay in Envoy."""
    for route in routes:
        route.name = name  # what spans of traces are called
    return route_pb2.VirtualHost(
        name=name,
        domains=["*"],
        routes=routes,
        typed_per_filter_config=rules,
        request_headers_to_remove=hidden,
    )


def _retries() -> Any:
    """For a replica that is gone: the next attempt goes to the next priority. Only what no program has seen is
    repeated."""
    previous = previous_priorities_config_pb2.PreviousPrioritiesConfig(update_frequency=1)
    name = "envoy.retry_priorities.previous_priorities"
    return route_pb2.RetryPolicy(
        retry_on="connect-failure,refused-stream,reset-before-request",
        num_retries=wrappers_pb2.UInt32Value(value=RETRIES),
        retry_back_off=route_pb2.RetryPolicy.RetryBackOff(base_interval=seconds(0.005), max_interval=seconds(0.02)),
        retry_priority=route_pb2.RetryPolicy.RetryPriority(name=name, typed_config=any_of(previous)),
    )


def _routes(route: WorkloadRoute) -> list[Any]:
    """Routes in pairs: with and without something after the name (so that the program sees `/` or the rest). For what
    the edge calls and is to call, for WebSockets, which have time limits of their own, for clients that repeat what
    failed, and for all else."""
    root = f"/{route.key}"
    websocket = _client("upgrade", string_pb2.StringMatcher(exact="websocket", ignore_case=True))
    repeater = _client("user-agent", string_pb2.StringMatcher(prefix=REPEATERS, ignore_case=True))
    found = [*_asynchronous(route, root)] if route.kind is Kind.AGENT else []
    for client in (websocket, repeater, None):
        for field, text in (("path", root), ("prefix", f"{root}/")):
            match = route_pb2.RouteMatch(**{field: text}, headers=[client] if client else [])
            found.append(_route(route, match, client is websocket))
            if client is repeater:
                found[-1].response_headers_to_add.append(_no_second_run())
    return found


def _asynchronous(route: WorkloadRoute, root: str) -> Iterator[Any]:
    """What the edge calls goes to the program like any call, for as long as the edge wants; a POST with `?async=true`
    goes to the edge."""
    called = route_pb2.HeaderMatcher(name=headers.CALL, present_match=True)
    post = _client(":method", string_pb2.StringMatcher(exact="POST"))
    asked = route_pb2.QueryParameterMatcher(name="async", string_match=string_pb2.StringMatcher(exact="true"))
    for field, text in (("path", root), ("prefix", f"{root}/")):
        attempt = _route(route, route_pb2.RouteMatch(**{field: text}, headers=[called]), False)
        if attempt.HasField("route"):
            attempt.route.timeout.CopyFrom(seconds(0))
            attempt.route.idle_timeout.CopyFrom(seconds(0))
        yield attempt
    for field, text in (("path", root), ("prefix", f"{root}/")):
        match = route_pb2.RouteMatch(**{field: text}, headers=[post], query_parameters=[asked])
        yield to_edge(match, f"{route.key}/{headers.INVOKED_BY_PARAMETER}")


def to_edge(match: Any, invoked: str) -> Any:
    """What matches is stored by the edge and called later. The path becomes what the program shall see."""
    action = route_pb2.RouteAction(
        cluster=EDGE_CLUSTER,
        prefix_rewrite="/",
        timeout=seconds(limits.REQUEST_TIMEOUT_S),
        idle_timeout=seconds(limits.IDLE_TIMEOUT_S),
    )
    header = base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=headers.INVOKE, value=invoked),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    return route_pb2.Route(match=match, route=action, request_headers_to_add=[header])


def _client(header: str, value: Any) -> Any:
    return route_pb2.HeaderMatcher(name=header, string_match=value)


def _no_second_run() -> Any:
    """A program that failed has run: these clients would send the same POST up to three times. A program that wants to
    be asked again says so with the header itself."""
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=SHOULD_RETRY_HEADER, value="false"),
        append_action=base_pb2.HeaderValueOption.ADD_IF_ABSENT,
    )


def _route(route: WorkloadRoute, match: Any, websocket: bool) -> Any:
    weighted = [revision for revision in route.revisions if revision.weight > 0]
    if not weighted:
        return route_pb2.Route(match=match, direct_response=route_pb2.DirectResponseAction(status=503))
    action = route_pb2.RouteAction(
        prefix_rewrite="/",
        timeout=seconds(0 if websocket else limits.REQUEST_TIMEOUT_S),
        idle_timeout=seconds(limits.WEBSOCKET_IDLE_S if websocket else limits.IDLE_TIMEOUT_S),
    )
    if len(weighted) == 1:
        name = route.revision_key(weighted[0].revision)
        action.cluster = name
        return route_pb2.Route(match=match, route=action, request_headers_to_add=[_workload_header(name)])
    for revision in weighted:
        action.weighted_clusters.clusters.append(_share(route, revision))
    return route_pb2.Route(match=match, route=action)


def _share(route: WorkloadRoute, revision: RevisionRoute) -> Any:
    name = route.revision_key(revision.revision)
    return route_pb2.WeightedCluster.ClusterWeight(
        name=name,
        weight=wrappers_pb2.UInt32Value(value=revision.weight),
        request_headers_to_add=[_workload_header(name)],
    )


def _workload_header(name: str) -> Any:
    """Tells the activator for whom a request is. Envoy cannot say it to one priority only, so replicas see it too:
    it is their own name."""
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=headers.WORKLOAD, value=name),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
