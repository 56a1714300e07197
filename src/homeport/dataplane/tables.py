"""A workload's addresses → route tables: its own path's, its host name's, and those of custom paths (pure).

Called by `resources` and `snapshot`. Everything about how a request is treated on its way (time limits, retries,
rewriting, what programs may see) is here; which revision it goes to is in `sticking`, who may pass in `credentials`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as route_pb2
from envoy.config.route.v3 import route_pb2 as table_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf import wrappers_pb2

from homeport.core.ids import Kind
from homeport.core.limits import CallLimits
from homeport.core.spec import is_below
from homeport.dataplane import headers
from homeport.dataplane.answers import SHOULD_RETRY_HEADER
from homeport.dataplane.credentials import rules_of
from homeport.dataplane.packing import any_of, seconds
from homeport.dataplane.routes import WorkloadRoute
from homeport.dataplane.sessions import session_rules
from homeport.dataplane.sticking import Choice, choices, send
from homeport.workloads.addresses import CustomPath

RETRIED = "connect-failure,refused-stream,reset-before-request"
RETRIES = 3  # connection refused, then the activator, then once more for a replica that ended meanwhile
HASH_RETRIES = 6  # until a replica that refuses is left alone: a matter of milliseconds
EDGE_CLUSTER = "edge"
# How the public command line and the SDK that it is made with name themselves: they repeat a POST that failed.
REPEATERS = "blaxel/"

# Request headers that stay in Envoy: our own, but for the edge's; from programs also the credential's header that is
# ours alone, so that junk in it goes no further. The server authenticates for itself and needs to see it.
FROM_SERVER = tuple(name for name in headers.OWN if name not in headers.TO_EDGE)
FROM_PROGRAMS = (*FROM_SERVER, headers.BLAXEL_AUTHORIZATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a workload answers. The program sees the path behind `root`; an empty one is a host name's, on which it
    sees the path as it is. `trigger`: calls are asynchronous, by the trigger of this id. `by_parameter`: so are those
    that ask for it. `of_edge`: only what the edge calls for them, for as long as it wants."""

    route: WorkloadRoute
    root: str
    public: bool
    timeout_s: int | None = None
    retries: int | None = None
    trigger: str = ""
    by_parameter: bool = False
    of_edge: bool = False


def own_table(route: WorkloadRoute, limits: CallLimits) -> Any:
    """Of the path that the workload's name makes, with its custom paths below that. What the edge calls comes first:
    it must not come back to the edge."""
    below = [path for path in route.paths if is_below(path.path, f"{route.kind.plural}/{route.name}")]
    own = _own(route, f"/{route.key}")
    return table(route.key, [replace(own, of_edge=True), *(at_path(route, path) for path in below), own], limits)


def host_table(name: str, route: WorkloadRoute, limits: CallLimits) -> Any:
    return table(name, [_own(route, "")], limits)


def _own(route: WorkloadRoute, root: str) -> "Address":
    return Address(
        route=route,
        root=root,
        public=route.public,
        timeout_s=route.timeout_s,
        retries=route.retries,
        by_parameter=route.kind is Kind.AGENT,
    )


def at_path(route: WorkloadRoute, path: CustomPath) -> Address:
    return Address(
        route=route,
        root=f"/{route.workspace}/{path.path}",
        public=path.public,
        timeout_s=path.timeout_s,
        retries=path.retries,
        trigger=path.trigger if path.asynchronous else "",
    )


def table(name: str, addresses: Iterable[Address], limits: CallLimits) -> Any:
    """The route table of `addresses`, tried in their order. Rules that hold for all of them stand in it once."""
    parts = [(address, [*_routes(address, limits)]) for address in addresses]
    whose = {(address.route.workspace, address.route.kind, address.public) for address, _ in parts}
    common: dict[str, Any] = {}
    if len(whose) == 1:
        common = _rules(parts[0][0])
    else:
        for address, routes in parts:
            rules = _rules(address)
            for entry in routes:
                for key, rule in rules.items():
                    entry.typed_per_filter_config[key].CopyFrom(rule)
    for address, routes in parts:
        for entry in routes:
            entry.name = address.route.key  # what spans of traces are called
    found = host(name, [entry for _, routes in parts for entry in routes], common, FROM_PROGRAMS)
    found.retry_policy.CopyFrom(_retries(RETRIES))
    return table_pb2.RouteConfiguration(name=name, virtual_hosts=[found])


def _rules(address: Address) -> dict[str, Any]:
    return {**rules_of(address.route, public=address.public), **session_rules(address.route)}


def host(name: str, routes: list[Any], rules: dict[str, Any], hidden: tuple[str, ...]) -> Any:
    """What all routes of a table share. `hidden`: request headers that stay in Envoy."""
    return route_pb2.VirtualHost(
        name=name,
        domains=["*"],
        routes=routes,
        typed_per_filter_config=rules,
        request_headers_to_remove=hidden,
    )


def _routes(address: Address, limits: CallLimits) -> Iterator[Any]:
    """For each kind of client, for each way to choose: with and without something after the root, so that the program
    sees `/` or the rest. WebSockets have time limits of their own; some clients repeat what failed."""
    if address.of_edge:
        yield from _calls_of_edge(address, limits)
        return
    if address.trigger:
        yield from (_to_edge(address, address.trigger, match, limits) for match in _matches(address.root, ()))
        return
    if address.by_parameter:
        for match in _matches(address.root, (_client(":method", string_pb2.StringMatcher(exact="POST")),)):
            asked = string_pb2.StringMatcher(exact="true")
            match.query_parameters.add(name="async", string_match=asked)
            yield _to_edge(address, headers.INVOKED_BY_PARAMETER, match, limits)
    websocket = _client("upgrade", string_pb2.StringMatcher(exact="websocket", ignore_case=True))
    repeater = _client("user-agent", string_pb2.StringMatcher(prefix=REPEATERS, ignore_case=True))
    ways = choices(address.route)
    for client in (websocket, repeater, None):
        for choice in ways:
            conditions = (client, *choice.conditions) if client else choice.conditions
            for match in _matches(address.root, conditions):
                entry = _route(address, match, choice, limits, client is websocket)
                if client is repeater:
                    entry.response_headers_to_add.append(_no_second_run())
                yield entry


def _matches(root: str, conditions: tuple[Any, ...]) -> list[Any]:
    where = (("path", root), ("prefix", f"{root}/")) if root else (("prefix", "/"),)
    return [route_pb2.RouteMatch(**{field: text}, headers=conditions) for field, text in where]


def _client(header: str, value: Any) -> Any:
    return route_pb2.HeaderMatcher(name=header, string_match=value)


def _route(address: Address, match: Any, choice: Choice, limits: CallLimits, websocket: bool) -> Any:
    if not choice.split:
        return route_pb2.Route(match=match, direct_response=route_pb2.DirectResponseAction(status=503))
    total_s = min(limits.total_s, address.timeout_s or limits.total_s)
    entry = route_pb2.Route(match=match)
    action = entry.route
    action.prefix_rewrite = "/" if address.root else ""
    action.timeout.CopyFrom(seconds(0 if websocket else total_s))
    action.idle_timeout.CopyFrom(seconds(limits.websocket_idle_s if websocket else limits.idle_s))
    if choice.hashes and address.route.stickiness.replica:
        action.retry_policy.CopyFrom(_retries_by_hash(max(HASH_RETRIES, address.retries or 0)))
    elif (address.retries or 0) > RETRIES:
        action.retry_policy.CopyFrom(_retries(address.retries or 0))
    send(action, entry, address.route, choice, address.root or "/")
    return entry


def _calls_of_edge(address: Address, limits: CallLimits) -> Iterator[Any]:
    called = route_pb2.HeaderMatcher(name=headers.CALL, present_match=True)
    for choice in choices(address.route):
        for match in _matches(address.root, (called, *choice.conditions)):
            entry = _route(address, match, choice, limits, False)
            if entry.HasField("route"):
                entry.route.timeout.CopyFrom(seconds(0))
                entry.route.idle_timeout.CopyFrom(seconds(0))
            yield entry


def _to_edge(address: Address, trigger: str, match: Any, limits: CallLimits) -> Any:
    """What matches is stored by the edge and called later. The path becomes what the program shall see."""
    action = route_pb2.RouteAction(
        cluster=EDGE_CLUSTER,
        prefix_rewrite="/" if address.root else "",
        timeout=seconds(limits.total_s),
        idle_timeout=seconds(limits.idle_s),
    )
    whose = base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=headers.INVOKE, value=f"{address.route.key}/{trigger}"),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    return route_pb2.Route(match=match, route=action, request_headers_to_add=[whose])


def _no_second_run() -> Any:
    """A program that failed has run: these clients would send the same POST up to three times. A program that wants to
    be asked again says so with the header itself."""
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=SHOULD_RETRY_HEADER, value="false"),
        append_action=base_pb2.HeaderValueOption.ADD_IF_ABSENT,
    )


def _retries(number: int) -> Any:
    """For a replica that is gone: the next attempt goes to the next priority. Only what no program has seen is
    repeated."""
    previous = previous_priorities_config_pb2.PreviousPrioritiesConfig(update_frequency=1)
    name = "envoy.retry_priorities.previous_priorities"
    return route_pb2.RetryPolicy(
        retry_on=RETRIED,
        num_retries=wrappers_pb2.UInt32Value(value=number),
        retry_back_off=route_pb2.RetryPolicy.RetryBackOff(base_interval=seconds(0.005), max_interval=seconds(0.02)),
        retry_priority=route_pb2.RetryPolicy.RetryPriority(name=name, typed_config=any_of(previous)),
    )


def _retries_by_hash(number: int) -> Any:
    """A choice by hash knows no next priority: the next attempt goes to another replica, and to the activator once none
    is left that has not refused."""
    name = "envoy.retry_host_predicates.previous_hosts"
    previous = previous_hosts_pb2.PreviousHostsPredicate()
    return route_pb2.RetryPolicy(
        retry_on=RETRIED,
        num_retries=wrappers_pb2.UInt32Value(value=number),
        retry_back_off=route_pb2.RetryPolicy.RetryBackOff(base_interval=seconds(0.02), max_interval=seconds(0.1)),
        retry_host_predicate=[route_pb2.RetryPolicy.RetryHostPredicate(name=name, typed_config=any_of(previous))],
        host_selection_retry_max_attempts=5,
    )
