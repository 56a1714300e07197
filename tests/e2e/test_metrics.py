"""Metrics of a real system under load that counts itself, read by Prometheus' own parser."""

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from homeport.load.plan import Plan
from homeport.load.run import Run
from homeport.load.tally import Report
from homeport.supervise.state import read_state
from homeport.testing.system import System, eventually
from homeport.workloads.addresses import AFFINITY_LABEL, REPLICA

PROGRAM = """
import os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet
    def do_GET(self):
        if self.path == "/exit":
            os._exit(1)
        if self.path == "/hold":
            open("/tmp/held", "w").close()
            while os.path.exists("/tmp/held"):
                time.sleep(0.02)
        if self.path == "/release":
            os.unlink("/tmp/held")
        self.send_response(int(self.path[1:]) if self.path[1:].isdigit() else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *words):
        pass

ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
TASK = """
import json, os, urllib.request
with urllib.request.urlopen(os.environ["BL_EXECUTION_DATA_URL"]) as answer:
    task = json.load(answer)["tasks"][0]
raise SystemExit(task["code"])
"""
COUNTS = {200: 400, 404: 30, 500: 20}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    running = System(tmp_path_factory.mktemp("metrics") / "data")
    running.up()
    try:
        scrape(running)  # counters that are read from the store begin with the first question
        assert running.deploy("agents", "seen", {"main.py": PROGRAM})["status"] == "DEPLOYED"
        yield running
    finally:
        running.down()


def scrape(system: System, key: str = "") -> Samples:
    sent = {"Authorization": f"Bearer {key}"} if key else {}
    answer = system.api.get("/homeport/metrics", headers=sent)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = [*text_string_to_metric_families(answer.text)]
    names = [family.name for family in families]
    assert len(names) == len(set(names)), "each family once"
    found: Samples = {}
    for sample in (sample for family in families for sample in family.samples):
        key_of = (sample.name, frozenset(sample.labels.items()))
        assert key_of not in found, key_of
        found[key_of] = sample.value
    return found


def value(samples: Samples, metric: str, /, **labels: str) -> float:
    """The sum of the samples that have these labels."""
    return sum(
        number
        for (found, having), number in samples.items()
        if found == metric and labels.items() <= dict(having).items()
    )


def load(system: System, path: str, requests: int) -> dict[int, int]:
    url = f"{system.url}/default/agents/seen/{path}"
    key = {"Authorization": system.api.headers["Authorization"]}
    plan = Plan(url=url, headers=key, requests=requests, concurrency=4)

    async def run() -> Report:
        return await Run(plan).run()

    report = asyncio.run(run())
    assert report.started == requests == sum(report.statuses.values())
    return dict(report.statuses)


def test_requests_are_counted_by_status_as_the_load_counts_them(seen: System) -> None:
    before = scrape(seen)
    for status, count in COUNTS.items():
        assert load(seen, str(status), count) == {status: count}
    total = sum(COUNTS.values())

    def told() -> Samples | None:
        found = scrape(seen)
        timed = value(found, "homeport_request_duration_seconds_count", name="seen")
        return found if timed - value(before, "homeport_request_duration_seconds_count", name="seen") == total else None

    after = eventually(told, "the times of all requests are told")
    whose = {"workspace": "default", "kind": "agent", "name": "seen"}
    for status, count in COUNTS.items():
        now, then = (
            value(one, "homeport_requests_total", status=f"{status // 100}xx", **whose) for one in (after, before)
        )
        assert now - then == count
    assert value(after, "homeport_request_duration_seconds_bucket", le="+Inf", **whose) == total
    assert 0 < value(after, "homeport_request_duration_seconds_sum", **whose) < total
    assert value(after, "homeport_response_bytes_total", **whose) > 2 * total
    ((_, labels),) = [one for one in after if one[0] == "homeport_requests_in_flight"]
    assert dict(labels).keys() == {"workspace", "kind", "name", "revision"}
    assert value(scrape(seen), "homeport_requests_total", **whose) == total, "another scraper is told the same"


def test_what_is_under_way_is_seen_while_it_is(seen: System) -> None:
    key = {"Authorization": seen.api.headers["Authorization"]}
    url = f"{seen.url}/default/agents/seen"

    async def hold() -> None:
        async with httpx.AsyncClient(headers=key, timeout=60) as client:
            held = asyncio.create_task(client.get(f"{url}/hold"))
            in_flight = lambda: value(scrape(seen), "homeport_requests_in_flight", name="seen") == 1  # noqa: E731
            await asyncio.to_thread(eventually, in_flight, "the request in flight is told")
            await client.get(f"{url}/release")
            assert (await held).status_code == 200

    asyncio.run(hold())
    eventually(lambda: value(scrape(seen), "homeport_requests_in_flight", name="seen") == 0, "none is in flight")


def test_replicas_builds_and_a_held_request_are_told(seen: System) -> None:
    found = scrape(seen)
    assert value(found, "homeport_replicas", name="seen", state="ready") == 1
    assert value(found, "homeport_events_total", kind="agent", reason="Built") == 1
    assert value(found, "homeport_build_duration_seconds_count", workspace="default", result="built") == 1
    key = {"Authorization": seen.api.headers["Authorization"]}
    assert httpx.get(f"{seen.url}/default/agents/seen/exit", headers=key).status_code >= 500
    assert httpx.get(f"{seen.url}/default/agents/seen/200", headers=key, timeout=60).status_code == 200
    forwarded = lambda: value(scrape(seen), "homeport_activator_requests_total", outcome="forwarded") >= 1  # noqa: E731
    eventually(forwarded, "the edge tells of the request that it held")
    assert value(scrape(seen), "homeport_activator_wait_seconds_count", workspace="default") >= 1
    eventually(lambda: value(scrape(seen), "homeport_events_total", reason="ReplicaEnded") == 1, "the end is told")


def test_executions_are_counted_once_when_they_have_ended(seen: System) -> None:
    assert seen.deploy("jobs", "counted", {"main.py": TASK})["status"] == "DEPLOYED"
    seen.execute("counted", [{"code": 0}, {"code": 0}])
    seen.execute("counted", [{"code": 0}, {"code": 3}])
    found = eventually(
        lambda: told if value(told := scrape(seen), "homeport_executions_ended_total") == 2 else None,
        "both executions are counted",
    )
    assert value(found, "homeport_executions_ended_total", status="succeeded") == 1
    assert value(found, "homeport_tasks_ended_total", status="succeeded") == 3
    assert value(found, "homeport_tasks_ended_total", status="failed") == 1
    assert value(found, "homeport_execution_duration_seconds_count", workspace="default") == 2
    assert value(scrape(seen), "homeport_executions_ended_total") == 2


def test_the_administrator_sees_the_installation_and_a_member_its_workspace(seen: System) -> None:
    everything = scrape(seen)
    for component in ("server", "envoy", "edge", "driver process"):
        assert value(everything, "homeport_component_up", component=component) == 1
    for name in ("homeport_disk_free_bytes", "homeport_store_bytes", "homeport_store_commits_total"):
        assert value(everything, name) > 0
    refused = value(everything, "homeport_gateway_requests_total", status="4xx")
    assert httpx.get(f"{seen.url}/default/agents/seen/200").status_code == 401
    eventually(lambda: value(scrape(seen), "homeport_gateway_requests_total", status="4xx") > refused, "it is counted")
    account = seen.api.post("/service_accounts", json={"name": "scraper", "role": "member"})
    assert account.status_code == 200, account.text
    made = seen.api.post(f"/service_accounts/{account.json()['client_id']}/api_keys", json={"name": "prometheus"})
    member = scrape(seen, made.json()["apiKey"])
    assert value(member, "homeport_requests_total", name="seen") > 0
    assert {dict(labels).get("workspace") for _, labels in member} == {"default"}


def test_requests_that_stay_with_a_replica_count_like_others(seen: System) -> None:
    stored = seen.api.get("/agents/seen").json()
    labelled = {"metadata": {"name": "seen", "labels": {AFFINITY_LABEL: REPLICA}}, "spec": stored["spec"]}
    assert seen.api.put("/agents/seen", json=labelled).status_code == 200
    assert seen.settled("agents", "seen")["status"] == "DEPLOYED"
    before = scrape(seen)
    assert load(seen, "200", 20) == {200: 20}
    for name in ("homeport_requests_total", "homeport_request_duration_seconds_count"):
        counted = lambda name=name: value(scrape(seen), name, name="seen") - value(before, name, name="seen") == 20  # noqa: E731
        eventually(counted, f"{name} counts them")


def test_a_component_that_dies_sets_its_own_counters_back_and_no_others(seen: System) -> None:
    load(seen, "200", 10)
    before = scrape(seen)
    kill(seen, "server")
    eventually(lambda: seen.api.get("/homeport/metrics").status_code == 200, "the server is back")
    after = scrape(seen)
    assert value(after, "homeport_requests_total", name="seen") >= value(before, "homeport_requests_total", name="seen")
    assert value(after, "homeport_store_commits_total") < value(before, "homeport_store_commits_total")
    kill(seen, "envoy")
    eventually(lambda: reachable(seen), "Envoy is back")
    load(seen, "200", 3)
    anew = lambda: value(scrape(seen), "homeport_requests_total", name="seen", status="2xx") == 3  # noqa: E731
    eventually(anew, "Envoy counts anew")


def reachable(system: System) -> bool:
    try:
        return system.api.get("/homeport/metrics").status_code == 200
    except httpx.HTTPError:
        return False


def kill(system: System, component: str) -> None:
    process: Any = read_state(system.data).components[component]
    os.kill(process.pid, signal.SIGKILL)
    eventually(
        lambda: read_state(system.data).components.get(component) not in (None, process), f"{component} restarts"
    )
