"""Traces from the real Envoy, through the real system, into a program and a collector."""

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from homeport.testing.collector import Span, SpanCollector, running_collector
from homeport.testing.system import System, eventually

# Answers with what it was told: the headers of the request, and its variables.
PROGRAM = """
import json, os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet
    def do_GET(self):
        if self.path == "/exit":
            os._exit(1)
        told = {"headers": {name.lower(): value for name, value in self.headers.items()}, "env": dict(os.environ)}
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass

ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"
REQUESTS = 2000
SECRET = "s3cret-of-the-query"


@pytest.fixture(scope="module")
def collector() -> Iterator[SpanCollector]:
    with running_collector() as running:
        yield running


@pytest.fixture(scope="module")
def traced(collector: SpanCollector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    root = tmp_path_factory.mktemp("traced")
    credential = root / "otlp-headers"
    credential.write_text("# of the collector\nAuthorization: Bearer of-the-collector\n")
    credential.chmod(0o600)
    (root / "data").mkdir()
    (root / "data/config.toml").write_text(
        f'[telemetry]\notlp_endpoint = "http://127.0.0.1:{collector.grpc_port}"\notlp_headers_file = "{credential}"\n'
    )
    running = System(root / "data")
    running.up()
    try:
        assert running.deploy("agents", "seen", {"main.py": PROGRAM})["status"] == "DEPLOYED"
        yield running
    finally:
        running.down()


@pytest.fixture(scope="module")
def call(traced: System) -> Iterator[Callable[..., dict[str, Any]]]:
    """What the program was told with a request."""
    key = traced.api.headers["Authorization"]
    with httpx.Client(base_url=f"{traced.url}/default/agents/seen", headers={"Authorization": key}) as client:

        def get(path: str = "", **headers: str) -> dict[str, Any]:
            answer = client.get(path, headers=headers)
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            return found

        yield get


def test_debug_forces_a_trace_into_the_program_whose_span_names_it_and_no_secret(
    call: Callable[..., dict[str, Any]], collector: SpanCollector
) -> None:
    told = call(f"/sub?debug=true&token={SECRET}")
    version, trace, parent, flags = told["headers"]["traceparent"].split("-")
    assert (version, flags) == ("00", "01")
    span = span_of(collector, trace)
    assert (span.id, span.parent, span.service) == (parent, "", "homeport-gateway")
    assert span.name == "GET default/agents/seen"
    revision = told["env"]["HOMEPORT_REVISION"]
    whose = {key: value for key, value in span.attributes.items() if key.startswith("homeport.")}
    assert whose == {
        "homeport.workspace": "default",
        "homeport.kind": "agent",
        "homeport.name": "seen",
        "homeport.revision": revision,
    }
    assert (span.attributes["http.status_code"], span.attributes["http.url"]) == ("200", "/sub")
    assert SECRET not in str(span) and "Bearer" not in str(span)
    assert {*collector.credentials} == {"Bearer of-the-collector"}


def test_a_tenth_is_sampled_and_the_program_is_told_which(
    call: Callable[..., dict[str, Any]], collector: SpanCollector
) -> None:
    told = [call(f"?token={SECRET}")["headers"]["traceparent"].split("-") for _ in range(REQUESTS)]
    sampled = {trace for _, trace, _, flags in told if flags == "01"}
    assert {flags for *_, flags in told} == {"00", "01"}
    spread = math.sqrt(REQUESTS * 0.1 * 0.9)
    assert abs(len(sampled) - REQUESTS * 0.1) < 5 * spread
    eventually(lambda: sampled <= {span.trace for span in collector.spans}, "every sampled request has its span")
    others = {trace for _, trace, _, flags in told if flags == "00"}
    assert not others & {span.trace for span in collector.spans}
    assert SECRET not in str(collector.spans)


def test_the_trace_of_a_caller_goes_on_as_the_caller_decided_unless_debug_asks_for_it(
    call: Callable[..., dict[str, Any]], collector: SpanCollector
) -> None:
    for flags, query, expected in (("01", "", "01"), ("00", "", "00"), ("00", "?debug=true", "01"), ("03", "", "01")):
        told = call(query, traceparent=CALLER + flags)["headers"]["traceparent"]
        assert re.fullmatch(rf"00-0af7651916cd43dd8448eb211c80319c-(?!b7ad6b7169203331)[0-9a-f]{{16}}-{expected}", told)
    assert call("?xdebug=true", traceparent=f"{CALLER}00")["headers"]["traceparent"].endswith("-00")
    assert call("", traceparent="nonsense")["headers"]["traceparent"] == "nonsense"
    assert span_of(collector, CALLER.split("-")[1]).parent == "b7ad6b7169203331"


def test_programs_are_told_of_the_collector_and_never_its_credential(call: Callable[..., dict[str, Any]]) -> None:
    env = call()["env"]
    revision = env["HOMEPORT_REVISION"]
    assert env["OTEL_EXPORTER_OTLP_ENDPOINT"].startswith("http://127.0.0.1:")
    assert (env["OTEL_EXPORTER_OTLP_PROTOCOL"], env["OTEL_SERVICE_NAME"]) == ("grpc", "seen")
    attributes = dict(pair.split("=") for pair in env["OTEL_RESOURCE_ATTRIBUTES"].split(","))
    assert attributes["homeport.workspace"] == attributes["service.namespace"] == "default"
    assert attributes["homeport.revision"] == attributes["service.version"] == revision
    assert (attributes["homeport.kind"], attributes["homeport.name"]) == ("agent", "seen")
    assert "BL_ENABLE_OPENTELEMETRY" not in env and "OTEL_EXPORTER_OTLP_HEADERS" not in env
    assert "of-the-collector" not in json.dumps(env)


def test_a_held_request_brings_its_trace_through_the_edge(
    traced: System, call: Callable[..., dict[str, Any]], collector: SpanCollector
) -> None:
    """The program ends, so that the next request waits in the edge for another replica."""
    key = {"Authorization": traced.api.headers["Authorization"]}
    assert httpx.get(f"{traced.url}/default/agents/seen/exit", headers=key).status_code >= 500
    eventually(lambda: _ended(traced), "the end of the program is known")  # until then a request may meet its remains
    told = call("", traceparent=trace_of("e"))["headers"]
    assert "x-hp-workload" not in told, "the edge takes out what Envoy tells it"
    span = span_of(collector, "e" * 32)
    assert told["traceparent"] == f"00-{span.trace}-{span.id}-01"


def _ended(system: System) -> bool:
    replicas = system.api.get("/homeport/status").json()["replicas"]
    return any(known["name"] == "seen" and known["restarts"] > 0 for known in replicas)


def test_an_address_that_is_a_credential_is_in_no_span(traced: System, collector: SpanCollector) -> None:
    answer = httpx.get(
        f"{traced.url}/v0/homeport/task-data/{SECRET}?debug=true", headers={"traceparent": trace_of("7")}
    )
    assert answer.status_code in (401, 404)
    span = span_of(collector, "7" * 32)
    assert span.attributes["http.url"] == "/v0/homeport/" and SECRET not in str(span)


def trace_of(digit: str) -> str:
    return f"00-{digit * 32}-b7ad6b7169203331-01"


def span_of(collector: SpanCollector, trace: str) -> Span:
    return eventually(
        lambda: next((span for span in collector.spans if span.trace == trace), None), f"trace {trace} has come"
    )
