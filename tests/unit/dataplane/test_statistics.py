"""What Envoy shows, under our names: as its real output looks, read by Prometheus' own parser."""

from prometheus_client.parser import text_string_to_metric_families

from homeport.dataplane.statistics import BUCKETS_MS, admin_query, relabelled

SHOWN = """\
# TYPE envoy_cluster_upstream_rq_xx counter
envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="acme/agents/a1/rev-1"} 50
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="acme/functions/f1/rev-2"} 2
envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="server"} 21

# TYPE envoy_cluster_upstream_rq_total counter
envoy_cluster_upstream_rq_total{envoy_cluster_name="acme/agents/a1/rev-1"} 50

# TYPE envoy_http_downstream_rq_xx counter
envoy_http_downstream_rq_xx{envoy_response_code_class="4",envoy_http_conn_manager_prefix="gateway"} 3

# TYPE envoy_cluster_upstream_rq_active gauge
envoy_cluster_upstream_rq_active{envoy_cluster_name="acme/agents/a1/rev-1"} 4

# TYPE envoy_server_uptime gauge
envoy_server_uptime{} 5

# TYPE envoy_cluster_upstream_rq_time histogram
"""
LINES = "".join(
    f'envoy_cluster_upstream_rq_time_bucket{{envoy_cluster_name="acme/agents/a1/rev-1",le="{bound}"}} 50\n'
    for bound in (*BUCKETS_MS, "+Inf")
)
SUMS = """\
envoy_cluster_upstream_rq_time_sum{envoy_cluster_name="acme/agents/a1/rev-1"} 65.261099547476064230977499391884
envoy_cluster_upstream_rq_time_count{envoy_cluster_name="acme/agents/a1/rev-1"} 50
"""


def read(*, gateway: bool) -> dict[tuple[str, tuple[str, ...]], float]:
    families = text_string_to_metric_families(relabelled(SHOWN + LINES + SUMS, gateway=gateway))
    samples = (sample for family in families for sample in family.samples)
    return {(one.name, tuple(sorted(one.labels.values()))): one.value for one in samples}


def test_a_cluster_is_told_as_the_revision_of_a_workload_that_it_is() -> None:
    found = read(gateway=False)
    assert found["homeport_requests_total", ("2xx", "a1", "acme", "agent", "rev-1")] == 50
    assert found["homeport_requests_total", ("5xx", "acme", "f1", "function", "rev-2")] == 2
    assert found["homeport_requests_in_flight", ("a1", "acme", "agent", "rev-1")] == 4


def test_what_is_of_no_workload_is_told_to_the_administrator_only() -> None:
    assert {name for name, _ in read(gateway=True)} - {name for name, _ in read(gateway=False)} == {
        "homeport_gateway_requests_total",
        "homeport_envoy_uptime_seconds",
    }
    assert read(gateway=True)["homeport_gateway_requests_total", ("4xx",)] == 3
    assert "envoy_" not in relabelled(SHOWN, gateway=True).replace("homeport_envoy_", "")


def test_times_are_told_in_seconds() -> None:
    found = read(gateway=False)
    bounds = {
        float(label) if label[0] != "+" else label
        for name, labels in found
        if name == "homeport_request_duration_seconds_bucket"
        for label in labels
        if label[0].isdigit() or label == "+Inf"
    }
    assert bounds == {*(ms / 1000 for ms in BUCKETS_MS), "+Inf"}
    whose = ("a1", "acme", "agent", "rev-1")
    assert abs(found["homeport_request_duration_seconds_sum", whose] - 0.065261) < 1e-6
    assert found["homeport_request_duration_seconds_count", whose] == 50


def test_one_workspace_asks_for_its_own_only() -> None:
    assert admin_query(None) == "/stats/prometheus?usedonly"
    assert admin_query("a-b").endswith("&filter=%5Ecluster.a%5C-b%2F")
