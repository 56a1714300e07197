"""What Envoy counts of requests, and how it is told to Prometheus (pure).

`bootstrap` has Envoy count it; `relabelled` renames what Envoy shows at its admin address, by patterns and not value by
value: a thousand workloads are thirty thousand lines, and to take each apart would cost ten times as much.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from homeport.core.ids import Kind

DURATION = ".upstream_rq_time"
# Patterns of what Envoy counts: of clusters, one of which is a revision of a workload, and of itself.
OF_CLUSTERS = (
    r"cluster\.[^.]+\.upstream_(rq_(time|active|total|[1-5]xx|retry|timeout|pending_active)"
    r"|cx_(active|connect_fail|rx_bytes_total|tx_bytes_total))"
)
OF_ENVOY = (
    *("http.gateway.downstream_rq_", "http.gateway.downstream_cx_active", "http.gateway.downstream_cx_total"),
    *("http.gateway.downstream_cx_rx_bytes_total", "http.gateway.downstream_cx_tx_bytes_total"),
    *("server.live", "server.uptime", "server.memory_", "control_plane.connected_state"),
)
BUCKETS_MS = (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 100_000, 900_000)


@dataclass(frozen=True, slots=True)
class _Family:
    name: str
    type: str
    help: str


_OF_WORKLOADS = {
    "envoy_cluster_upstream_rq_xx": _Family(
        "homeport_requests_total", "counter", "Requests answered, by status class; retried attempts count once."
    ),
    "envoy_cluster_upstream_rq_time": _Family(
        "homeport_request_duration_seconds", "histogram", "From the whole request to the end of its answer."
    ),
    "envoy_cluster_upstream_rq_active": _Family(
        "homeport_requests_in_flight", "gauge", "Requests under way, those that the edge holds included."
    ),
    "envoy_cluster_upstream_rq_pending_active": _Family(
        "homeport_requests_pending", "gauge", "Requests that wait for a connection to a replica."
    ),
    "envoy_cluster_upstream_rq_retry": _Family(
        "homeport_request_retries_total", "counter", "Attempts that were repeated since no program had seen them."
    ),
    "envoy_cluster_upstream_rq_timeout": _Family(
        "homeport_request_timeouts_total", "counter", "Requests that were ended by a time limit."
    ),
    "envoy_cluster_upstream_cx_connect_fail": _Family(
        "homeport_connect_failures_total", "counter", "Connections to replicas that failed."
    ),
    "envoy_cluster_upstream_cx_tx_bytes_total": _Family(
        "homeport_request_bytes_total", "counter", "Bytes sent to replicas, heads included."
    ),
    "envoy_cluster_upstream_cx_rx_bytes_total": _Family(
        "homeport_response_bytes_total", "counter", "Bytes received from replicas, heads included."
    ),
}
_OF_THE_GATEWAY = {
    "envoy_http_downstream_rq_xx": _Family(
        "homeport_gateway_requests_total", "counter", "All requests, by status class; refused ones and the API's too."
    ),
    "envoy_http_downstream_rq_active": _Family("homeport_gateway_requests_in_flight", "gauge", "All under way."),
    "envoy_http_downstream_cx_active": _Family("homeport_gateway_open_connections", "gauge", "Open from clients."),
    "envoy_http_downstream_cx_total": _Family("homeport_gateway_connections_total", "counter", "Opened by clients."),
    "envoy_http_downstream_cx_rx_bytes_total": _Family(
        "homeport_gateway_received_bytes_total", "counter", "From clients."
    ),
    "envoy_http_downstream_cx_tx_bytes_total": _Family("homeport_gateway_sent_bytes_total", "counter", "To clients."),
    "envoy_server_uptime": _Family("homeport_envoy_uptime_seconds", "gauge", "Since Envoy's last start."),
    "envoy_server_memory_allocated": _Family("homeport_envoy_memory_bytes", "gauge", "Allocated by Envoy."),
    "envoy_control_plane_connected_state": _Family(
        "homeport_envoy_configured", "gauge", "1 while Envoy gets its configuration from the server."
    ),
}
_KINDS = tuple((f'kind="{kind.plural}"', f'kind="{kind.value}"') for kind in Kind)
_BOUNDS = tuple((f'le="{ms}"', f'le="{ms / 1000:g}"') for ms in BUCKETS_MS)  # ascending: no result is found again


def admin_query(workspace: str | None) -> str:
    """The path and query at Envoy's admin address that shows what one workspace, or everybody, may see."""
    chosen = "" if workspace is None else f"&filter={quote(f'^cluster.{re.escape(workspace)}/', safe='')}"
    return f"/stats/prometheus?usedonly{chosen}"


def relabelled(shown: str, *, gateway: bool) -> str:
    """What Envoy shows in Prometheus' form, under our names, in seconds, with a workload's labels. `gateway`: with what
    is of no workload."""
    families = {**_OF_WORKLOADS, **(_OF_THE_GATEWAY if gateway else {})}
    return "".join(part for block in _blocks(shown) for part in _family(block, families))


def _blocks(shown: str) -> Iterator[tuple[str, str]]:
    """The name and the lines of each family."""
    for block in shown.split("# TYPE ")[1:]:
        head, _, lines = block.partition("\n")
        yield head.partition(" ")[0], lines


def _family(block: tuple[str, str], families: dict[str, _Family]) -> Iterator[str]:
    theirs, lines = block
    if (family := families.get(theirs)) is None:
        return
    text = _of_workloads(theirs, family, lines) if theirs in _OF_WORKLOADS else _of_the_gateway(theirs, family, lines)
    if text:
        yield f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.type}\n{text}"


_CLUSTER = 'envoy_cluster_name="([^"/]+)/([^"/]+)/([^"/]+)/([^"/]+)"'  # others are no revision of a workload
_WHOSE = r'{workspace="\1",kind="\2",name="\3",revision="\4"'
_OTHERS = re.compile(r"^envoy_.*\n", re.MULTILINE)
_SUM = re.compile(r"(_sum\{[^}]*\}) (\S+)$", re.MULTILINE)


def _of_workloads(theirs: str, family: _Family, lines: str) -> str:
    if family.type == "histogram":
        text = re.sub(rf"^{theirs}(_\w+)\{{{_CLUSTER}", _histogram_names(family), lines, flags=re.MULTILINE)
    elif theirs.endswith("_xx"):
        text = re.sub(rf'^{theirs}\{{envoy_response_code_class="(.)",{_CLUSTER}', _by_class(family), lines, flags=re.M)
    else:
        text = re.sub(rf"^{theirs}\{{{_CLUSTER}", family.name + _WHOSE, lines, flags=re.MULTILINE)
    text = _OTHERS.sub("", text)
    for plural, kind in _KINDS:
        text = text.replace(plural, kind)
    if family.type == "histogram":
        for ms, seconds in _BOUNDS:
            text = text.replace(ms, seconds)
        text = _SUM.sub(lambda found: f"{found[1]} {float(found[2]) / 1000:.6f}", text)
    return text


def _histogram_names(family: _Family) -> str:
    return rf'{family.name}\1{{workspace="\2",kind="\3",name="\4",revision="\5"'


def _by_class(family: _Family) -> str:
    return rf'{family.name}{{status="\1xx",workspace="\2",kind="\3",name="\4",revision="\5"'


def _of_the_gateway(theirs: str, family: _Family, lines: str) -> str:
    if theirs.endswith("_xx"):
        text = re.sub(
            rf'^{theirs}\{{envoy_response_code_class="(.)".*?\}}', rf'{family.name}{{status="\1xx"}}', lines, flags=re.M
        )
    else:
        text = re.sub(rf"^{theirs}\{{.*?\}}", family.name, lines, flags=re.MULTILINE)
    return _OTHERS.sub("", text)
