"""Traces of requests, as OpenTelemetry has them: what Envoy's connection manager does about them, and how it reaches
the collector (pure).

Called by `bootstrap` and `doors`. Without a collector nothing of this is in Envoy's configuration, and no header is
made. A trace that a caller began is continued, with the caller's decision; of the others a share is sampled, and every
one that asks for it by `?debug=true`. The query of an address is in no span: it may hold secrets.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from homeport.core.ids import RevisionId
from homeport.dataplane.expressions import Tree, called, method, selected, text, truth
from homeport.dataplane.routes import WorkloadRoute
from homeport.dataplane.scopes import TYPE

CLUSTER = "collector"
GATEWAY_SERVICE = "homeport-gateway"  # the service's name in the spans of the gateway
METADATA = "homeport"  # of a cluster: whose it is
TRACES_PATH = "/v1/traces"  # below the endpoint, where it is spoken to by HTTP (OTLP)
SPANS_WAITING = 2048  # of each worker, for a collector that is away; more are dropped
EXPORT_TIMEOUT_S = 2
EXPORT_EVERY_S = 1  # Envoy's default of 5 s is long for somebody who asks with debug=true
EXPORT_SPANS = 256  # and as soon as so many wait; at Envoy's default of 5 there would be an export every few requests

# Of Envoy's runtime.
SETTINGS = {
    "tracing.opentelemetry.flush_interval_ms": EXPORT_EVERY_S * 1000,
    "tracing.opentelemetry.min_flush_spans": EXPORT_SPANS,
}
OWN_PATHS = "/v0/homeport/"
_WORDS = ("workspace", "kind", "name", "revision")


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """Where spans go. `endpoint`: `http://host:port` or `https://…`, for `http` with a path. `ca`: the file of the
    authorities that an https endpoint is checked by. `headers` go with every export."""

    endpoint: str
    protocol: Literal["grpc", "http"] = "grpc"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    sampled_percent: float = 10.0
    ca: str = ""

    @property
    def host(self) -> str:
        return urlsplit(self.endpoint).hostname or ""

    @property
    def port(self) -> int:
        parts = urlsplit(self.endpoint)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def encrypted(self) -> bool:
        return self.endpoint.startswith("https:")


def tracing(collector: Collector) -> dict[str, Any]:
    """The connection manager's `tracing`: one span for each request, its context sent on to the program."""
    kind = "envoy.config.trace.v3.OpenTelemetryConfig"
    exporter = _grpc(collector) if collector.protocol == "grpc" else _http(collector)
    config = {
        "@type": TYPE + kind,
        "service_name": GATEWAY_SERVICE,
        "max_cache_size": SPANS_WAITING,
        "sampler": _sampler(collector.sampled_percent),
        **exporter,
    }
    return {
        # The sampler decides, and nothing else.
        **{f"{one}_sampling": {"value": 100} for one in ("client", "random", "overall")},
        "operation": "%REQ(:METHOD)% %ROUTE_NAME%",
        "custom_tags": _tags(),
        "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": config},
    }


def _sampler(percent: float) -> dict[str, Any]:
    kind = "envoy.extensions.tracers.opentelemetry.samplers.v3.CELSamplerConfig"
    config = {"@type": TYPE + kind, "expression": {"cel_expr_parsed": {"expr": _sampled(percent)}}}
    return {"name": "envoy.tracers.opentelemetry.samplers.cel", "typed_config": config}


def _sampled(percent: float) -> Tree:
    """Asked for by `debug=true`; else recorded by the caller whose trace this is; else, where nobody began one, by lot:
    the first four digits of the request's id, a random UUID. To compare them costs less than another draw."""
    path = selected("request", "path")  # with its query, which by itself is not known here
    asks = (method(path, "contains", text("debug=true")), method(path, "matches", text("[?&]debug=true(&|$)")))
    forced = called("_&&_", *asks)  # the pattern is tried only where it can fit: patterns are slow
    sent = selected("request", "headers")
    # An odd last digit has the flag "sampled" (W3C).
    recorded = method(called("_[_]", sent, text("traceparent")), "matches", text("[13579bdf]$"))
    limit = text(f"{round(percent / 100 * 0x10000):04x}")
    drawn = truth(True) if percent >= 100 else called("_<_", selected("request", "id"), limit)
    return called("_||_", forced, called("_?_:_", called("@in", text("traceparent"), sent), recorded, drawn))


def collector_cluster(collector: Collector) -> dict[str, Any]:
    """How Envoy reaches the collector. One that is away costs spans, and no request waits for it."""
    protocol = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    speaks = "http2_protocol_options" if collector.protocol == "grpc" else "http_protocol_options"
    address = {"socket_address": {"address": collector.host, "port_value": collector.port}}
    found: dict[str, Any] = {
        "name": CLUSTER,
        "type": "STRICT_DNS",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "typed_extension_protocol_options": {
            protocol: {"@type": TYPE + protocol, "explicit_http_config": {speaks: {}}},
        },
    }
    if collector.encrypted:
        found["transport_socket"] = _tls(collector)
    return found


def workload_metadata(route: WorkloadRoute, revision: RevisionId) -> dict[str, str]:
    """What the spans of requests to the revision are marked with."""
    return dict(zip(_WORDS, (route.workspace, route.kind.value, route.name, revision), strict=True))


def _tags() -> list[dict[str, Any]]:
    """By the cluster, so that they say which revision answered; and the path instead of the address in Envoy's own tag:
    without the query, and without what follows where some of our own addresses carry a credential."""
    path = f"%CEL(request.url_path.startsWith('{OWN_PATHS}') ? '{OWN_PATHS}' : request.url_path)%"
    workload = [
        {
            "tag": f"homeport.{word}",
            "metadata": {"kind": {"cluster": {}}, "metadata_key": {"key": METADATA, "path": [{"key": word}]}},
        }
        for word in _WORDS
    ]
    return [*workload, {"tag": "http.url", "value": path}]


def _grpc(collector: Collector) -> dict[str, Any]:
    metadata = [{"key": name.lower(), "value": value} for name, value in collector.headers.items()]
    service = {
        "envoy_grpc": {"cluster_name": CLUSTER, "authority": urlsplit(collector.endpoint).netloc},
        "timeout": f"{EXPORT_TIMEOUT_S}s",
        "initial_metadata": metadata,
    }
    return {"grpc_service": service}


def _http(collector: Collector) -> dict[str, Any]:
    uri = {
        "uri": collector.endpoint.rstrip("/") + TRACES_PATH,
        "cluster": CLUSTER,
        "timeout": f"{EXPORT_TIMEOUT_S}s",
    }
    added = [{"header": {"key": name, "value": value}} for name, value in collector.headers.items()]
    return {"http_service": {"http_uri": uri, "request_headers_to_add": added}}


def _tls(collector: Collector) -> dict[str, Any]:
    kind = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    name = {"san_type": "DNS", "matcher": {"exact": collector.host}}
    common: dict[str, Any] = {
        "validation_context": {"trusted_ca": {"filename": collector.ca}, "match_typed_subject_alt_names": [name]}
    }
    if collector.protocol == "grpc":
        common["alpn_protocols"] = ["h2"]
    context = {"@type": TYPE + kind, "sni": collector.host, "common_tls_context": common}
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}
