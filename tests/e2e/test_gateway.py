"""The gateway on the real Envoy: real sockets, real tokens, small programs in this process behind it."""

import asyncio
import io
import shutil
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import websockets
from aiohttp import web

from homeport.core.clock import SystemClock
from homeport.core.ids import RevisionId
from homeport.dataplane.bootstrap import envoy_command
from homeport.dataplane.resources import FAILED_CONNECTIONS
from homeport.dataplane.routes import Door, Endpoint, RevisionRoute
from homeport.dataplane.snapshot import Authority
from homeport.dataplane.xds import XdsServer
from homeport.load.plan import Plan
from homeport.load.run import Run
from homeport.settings import DataDir
from homeport.testing.gateway import (
    NO_TOKEN,
    OTHER_KEY,
    WAIT_S,
    Answer,
    agent,
    bearer,
    reached,
    revision,
    token,
)
from homeport.testing.gateway import GatewaySystem as System
from homeport.testing.system import free_port


@pytest.fixture
async def system() -> AsyncIterator[System]:
    running = System()
    try:
        await running.start()
        yield running
    finally:
        await running.stop()


async def test_a_program_sees_the_path_behind_its_address(system: System) -> None:
    program = await system.program("one")
    await system.publish(agent("a1", revision("r1", program)))
    seen = {}
    for path in ("", "/", "?q=1", "/sub/x?q=1&r=%20", "/sub//x", "/%C3%A9?a=b%2Fc"):
        answer = await system.get(f"/acme/agents/a1{path}")
        assert answer.status == 200, (path, answer.text)
        seen[path] = answer.json["path"]
    assert seen[""] == seen["/"] == "/"
    assert seen["?q=1"] == "/?q=1"
    assert seen["/sub/x?q=1&r=%20"] == "/sub/x?q=1&r=%20"
    assert seen["/sub//x"] == "/sub/x"
    assert seen["/%C3%A9?a=b%2Fc"] == "/%C3%A9?a=b%2Fc"


async def test_only_tokens_of_the_workspace_with_the_scope_pass(system: System) -> None:
    program = await system.program("one")
    await system.publish(agent("a1", revision("r1", program)))
    path = "/acme/agents/a1"
    for good in (token(), token(scopes=["agents:run"]), token(scopes=["x", "agents:run"]), token(without=("exp",))):
        assert (await system.get(path, bearer(good))).status == 200
        assert (await system.get(path, bearer(good, "Authorization"))).status == 200
    assert (await system.get(path, NO_TOKEN)).is_of_gateway(401, "AUTHENTICATION_REQUIRED")
    now = int(SystemClock().now().timestamp())
    for bad in (
        token(key=OTHER_KEY),
        token(iat=now - 1000, exp=now - 500),
        token(iss="other"),
        "junk",
        "a.b.c",
    ):
        assert (await system.get(path, bearer(bad))).is_of_gateway(401, "AUTHENTICATION_FAILED")
        assert (await system.get(path, bearer(bad, "Authorization"))).is_of_gateway(401, "AUTHENTICATION_FAILED")
    for bad in (
        token(workspace="other"),
        token(without=("workspace",)),
        token(scopes=[]),
        token(scopes=["jobs:run"]),
        token(scopes="all"),
        token(without=("scopes",)),
        token(jti="revoked-1"),
        token(aud="control"),
    ):
        assert (await system.get(path, bearer(bad))).is_of_gateway(403, "FORBIDDEN")


async def test_programs_never_see_our_credentials_and_get_their_own_untouched(system: System) -> None:
    program = await system.program("one")
    await system.publish(agent("a1", revision("r1", program)), agent("open", revision("r1", program), public=True))
    ours = token()

    async def seen(name: str, headers: dict[str, str]) -> dict[str, str]:
        answer = await system.get(f"/acme/agents/{name}", headers)
        assert answer.status == 200, answer.text
        return dict(answer.json["headers"])

    for name in ("a1", "open"):
        for headers in (bearer(ours), bearer(ours, "Authorization")):
            found = await seen(name, headers)
            assert "authorization" not in found and "x-blaxel-authorization" not in found
        for foreign in ("Bearer sk-123", f"Bearer {token(key=OTHER_KEY)}", "Basic dTpw"):
            found = await seen(name, bearer(ours) | {"Authorization": foreign})
            assert found["authorization"] == foreign
            assert "x-blaxel-authorization" not in found
        found = await seen(name, bearer(ours, "Authorization") | {"X-Blaxel-Authorization": "Bearer junk"})
        assert "x-blaxel-authorization" not in found and "authorization" not in found
        found = await seen(name, bearer(ours) | bearer(token(sub="sa-2"), "Authorization"))
        assert ours not in found.values() and "authorization" not in found
        found = await seen(name, bearer(ours) | {"X-Blaxel-Workspace": "acme", "Thread-Id": "t"})
        assert found["x-blaxel-workspace"] == "acme" and found["thread-id"] == "t"
    assert (await seen("open", {"Authorization": "Bearer sk-123"}))["authorization"] == "Bearer sk-123"


async def test_headers_that_the_gateway_fills_cannot_be_sent_by_clients(system: System) -> None:
    program = await system.program("one")
    await system.publish(agent("a1", revision("r1", program)), agent("open", revision("r1", program), public=True))
    spoofed = {f"x-hp-{name}": "spoofed" for name in ("scope", "jti", "sub", "workspace", "workload")}
    spoofed |= {"x-hp-scope": "/acme/agents/open", "x-envoy-original-path": "/x", "x-envoy-retry-on": "5xx"}
    for name, credential in (("a1", bearer(token())), ("open", {})):
        found = (await system.get(f"/acme/agents/{name}", spoofed | credential)).json["headers"]
        own = {key: value for key, value in found.items() if key.startswith(("x-hp-", "x-envoy-"))}
        assert own == {"x-hp-workload": f"acme/agents/{name}/r1", "x-envoy-external-address": "127.0.0.1"}
    # The scope decides about the rules: a header must not choose another one's.
    assert (await system.get("/acme/agents/a1", spoofed)).is_of_gateway(401, "AUTHENTICATION_REQUIRED")
    revoked = bearer(token(jti="revoked-1")) | {"x-hp-jti": "fine"}
    assert (await system.get("/acme/agents/a1", revoked)).is_of_gateway(403, "FORBIDDEN")
    found = (await system.get("/v0/agents", spoofed)).json["headers"]
    assert not [key for key in found if key.startswith("x-hp-")]


async def test_no_path_walks_out_of_its_workspace(system: System) -> None:
    program = await system.program("one")
    other = agent("b1", revision("r1", program), workspace="other")
    await system.publish(agent("a1", revision("r1", program)), other)

    async def raw(path: str) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", system.port)
        head = (
            f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Blaxel-Authorization: Bearer {token()}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode())
        line = await asyncio.wait_for(reader.readline(), WAIT_S)
        writer.close()
        await writer.wait_closed()
        return int(line.split()[1])

    assert await raw("/acme/agents/a1/../a1/x") == 200
    assert await raw("/acme/agents/a1/../../../other/agents/b1") == 403
    assert await raw("/acme/agents/a1/%2e%2e/%2e%2e/%2e%2e/other/agents/b1") == 403
    assert await raw("/acme/agents/a1/..%2f..%2f..%2fother/agents/b1") == 400
    assert await raw("//acme//agents//a1") == 200
    assert await raw("//other/agents/b1") == 403


async def test_the_platforms_paths_reach_the_server_with_the_credential(system: System) -> None:
    for path in ("/v0", "/v0/agents?limit=1", "/oauth/token", "/.well-known/x", "/healthz", "/readyz?x=1"):
        answer = await system.get(path, {"Authorization": "Bearer a", "X-Blaxel-Authorization": "Bearer b"})
        assert answer.json["program"] == "server" and answer.json["path"] == path
        assert answer.json["headers"]["authorization"] == "Bearer a"
        assert answer.json["headers"]["x-blaxel-authorization"] == "Bearer b"


async def test_what_is_not_there_is_told_to_those_alone_who_may_know(system: System) -> None:
    program = await system.program("one")
    there = agent("b1", revision("r1", program), workspace="other")
    await system.publish(there)
    for path in ("/", "/favicon.ico", "/acme", "/acme/agents", "/acme/other/x", "/v1", "/the%20platform/-/-"):
        assert (await system.get(path, NO_TOKEN)).is_of_gateway(404, "ROUTE_NOT_FOUND"), path
    for path in ("/acme/agents/no", "/acme/agents/no/sub?q=1", "/acme/functions/no", "/acme/sandboxes/no"):
        assert (await system.get(path)).is_of_gateway(404, "WORKLOAD_NOT_FOUND"), path
        assert (await system.get(path, NO_TOKEN)).is_of_gateway(401, "AUTHENTICATION_REQUIRED"), path
    # A stranger's answer is the same whether the name exists or not.
    for path in ("/other/agents/b1", "/other/agents/no", "/other/models/no"):
        assert (await system.get(path)).is_of_gateway(403, "FORBIDDEN"), path
        assert (await system.get(path, NO_TOKEN)).is_of_gateway(401, "AUTHENTICATION_REQUIRED"), path
    answer = await system.get("/acme/models/gpt/v1/chat/completions", method="POST")
    assert answer.is_of_gateway(404, "ROUTE_NOT_FOUND") and "not served by this version" in answer.text


async def test_a_programs_own_answer_passes_unchanged(system: System) -> None:
    program = await system.program("one")
    await system.publish(agent("a1", revision("r1", program)))
    answer = await system.get("/acme/agents/a1/teapot")
    assert answer.status == 418 and answer.json == {"mine": True}
    assert answer.headers["Server"] == "kettle"
    added = [name for name in answer.headers if name.lower().startswith(("x-blaxel", "x-envoy", "x-hp"))]
    assert added == []


async def test_clients_are_told_not_to_repeat_by_themselves_what_a_program_may_have_done(system: System) -> None:
    program = await system.program("one")
    await system.publish(agent("a1", revision("r1", program)), agent("none"))

    async def told(path: str, agent: str) -> str | None:
        headers = {**bearer(token()), "User-Agent": agent}
        return (await system.get(f"/acme/agents/{path}", headers, method="POST")).headers.get("x-should-retry")

    for repeats in ("blaxel/cli/golang/0.1.108 (linux/amd64) blaxel/c47b38a", "Blaxel/Go 0.25.0"):
        assert {await told(f"a1{rest}?status={status}", repeats) for rest in ("", "/x") for status in (429, 503)} == {
            "false"
        }
        assert await told("a1?status=503&again=true", repeats) == "true"
    for others in ("curl/8.0", "OpenAI/Python 2.0"):
        assert {await told(f"a1?status={status}", others) for status in (200, 429, 503)} == {None}
    for anybody in ("blaxel/cli/golang/0.1.108", "curl/8.0"):
        assert await told("a1/break", anybody) == "false"
        assert await told("none", anybody) == "true"


async def test_a_program_that_breaks_off_or_is_away_is_told_as_retryable(system: System) -> None:
    program = await system.program("one")
    await system.publish(agent("a1", revision("r1", program)), agent("none"))
    broken = await system.get("/acme/agents/a1/break")
    assert broken.is_of_gateway(502, "WORKLOAD_UNAVAILABLE") and broken.json["error"]["retryable"] is True
    missing = await system.get("/acme/agents/none")
    assert missing.is_of_gateway(503, "WORKLOAD_UNAVAILABLE") and missing.headers["Retry-After"] == "1"
    await system.edge.stop()
    await program.stop()
    assert (await system.get("/acme/agents/a1")).is_of_gateway(503, "WORKLOAD_UNAVAILABLE")


async def test_the_control_plane_away_is_told_in_its_own_shape(system: System) -> None:
    await system.runners[0].cleanup()
    answer = await system.get("/v0/agents")
    assert answer.status == 503 and answer.json["code"] == 503 and isinstance(answer.json["error"], str)


async def test_a_stream_arrives_piece_by_piece(system: System) -> None:
    program = await system.program("one")
    await system.publish(agent("a1", revision("r1", program)))
    async with system.client.get(f"{system.url}/acme/agents/a1/stream", headers=bearer(token())) as response:
        assert await asyncio.wait_for(response.content.readuntil(b"\n\n"), WAIT_S) == b"data: first\n\n"
        assert program.waiting == 1  # the program has not ended
        program.go.set()
        assert await response.content.read() == b"data: last\n\n"


async def test_a_websocket_carries_messages_both_ways(system: System) -> None:
    program = await system.program("one")
    await system.publish(agent("a1", revision("r1", program)))
    async with websockets.connect(
        f"ws://127.0.0.1:{system.port}/acme/agents/a1/ws", additional_headers=bearer(token()), proxy=None
    ) as channel:
        for text in ("hello", "again"):
            await channel.send(text)
            assert await asyncio.wait_for(channel.recv(), WAIT_S) == f"one: {text}"
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(f"ws://127.0.0.1:{system.port}/acme/agents/a1/ws", proxy=None)
    assert refused.value.response.status_code == 401


async def test_a_large_body_passes_whole(system: System) -> None:
    program = await system.program("one")
    await system.publish(agent("a1", revision("r1", program)))
    size = 40 * 1024 * 1024
    answer = await system.get("/acme/agents/a1", method="POST", data=io.BytesIO(bytes(size)))
    assert answer.json["bytes"] == size


async def test_requests_split_by_weight(system: System) -> None:
    one, two = await system.program("one"), await system.program("two")
    await system.publish(agent("a1", revision("r1", one, weight=80), revision("r2", two, weight=20)))
    found = Counter([(await system.get("/acme/agents/a1")).json["program"] for _ in range(400)])
    assert found["one"] + found["two"] == 400
    assert 40 <= found["two"] <= 120  # 80 expected, five standard deviations


async def test_changes_of_routes_under_load_lose_no_request(system: System) -> None:
    programs = [await system.program(name) for name in ("one", "two")]
    await system.publish(agent("a1", revision("r0", programs[0])))
    plan = Plan(url=f"{system.url}/acme/agents/a1", headers=bearer(token()), concurrency=4, rate=500.0)
    run = Run(plan)
    ending = asyncio.create_task(run.run())
    for number in range(1, 40):  # each time another cluster, while the last one goes; every third name comes back
        await system.publish(agent("a1", revision(f"r{number % 3}", programs[number % 2])))
    run.stop()
    report = await ending
    assert report.sound and report.statuses == {200: report.started}, report


async def test_a_revoked_token_is_refused_as_soon_as_it_is_acknowledged(system: System) -> None:
    program = await system.program("one")
    route = agent("a1", revision("r1", program))
    await system.publish(route)
    mine = bearer(token(jti="mine"))
    assert (await system.get("/acme/agents/a1", mine)).status == 200
    async with system.client.get(f"{system.url}/acme/agents/a1/stream", headers=mine) as stream:
        await stream.content.readuntil(b"\n\n")
        await system.publish(route, revoked=frozenset({"mine"}))
        assert (await system.get("/acme/agents/a1", mine)).is_of_gateway(403, "FORBIDDEN")
        await system.publish(route, jwks={"keys": [OTHER_KEY.as_dict(private=False)]}, revoked=frozenset())
        assert (await system.get("/acme/agents/a1", bearer(token(key=OTHER_KEY)))).status == 200
        assert (await system.get("/acme/agents/a1", mine)).is_of_gateway(401, "AUTHENTICATION_FAILED")
        program.go.set()
        assert await stream.content.read() == b"data: last\n\n"  # neither change cut what was under way


async def test_a_draining_replica_keeps_its_requests_and_gets_no_more(system: System) -> None:
    old, new = await system.program("old"), await system.program("new")
    await system.publish(agent("a1", revision("r1", old)))
    async with system.client.get(f"{system.url}/acme/agents/a1/stream", headers=bearer(token())) as stream:
        await stream.content.readuntil(b"\n\n")
        await reached(lambda: system.xds.in_flight("127.0.0.1", old.port) == 1)
        leaving = replace(old.endpoint, draining=True)
        both = RevisionRoute(revision=RevisionId("r1"), weight=100, endpoints=(leaving, new.endpoint))
        await system.publish(agent("a1", both))
        found = Counter([(await system.get("/acme/agents/a1")).json["program"] for _ in range(30)])
        assert found == {"new": 30}
        assert not await system.xds.drained([leaving], 3.0)  # no new request, but one still runs
        assert system.xds.in_flight("127.0.0.1", old.port) == 1
        program_ends = asyncio.create_task(system.xds.drained([leaving], WAIT_S))
        old.go.set()
        assert await program_ends
        assert await stream.content.read() == b"data: last\n\n"
    assert system.xds.in_flight("127.0.0.1", old.port) == 0


async def test_the_activator_holds_a_request_until_a_replica_is_there(system: System) -> None:
    program = await system.program("one")
    await system.publish(agent("a1", revision("r1")))
    there = asyncio.Event()

    async def activate() -> web.Response:
        await there.wait()
        return web.json_response({"address": "127.0.0.1", "port": program.port})

    system.activate = activate
    size = 3 * 1024 * 1024
    mine = bearer(token()) | {"Authorization": "Bearer sk-1"}
    held = asyncio.create_task(system.get("/acme/agents/a1/sub?x=1", mine, method="POST", data=io.BytesIO(bytes(size))))
    await reached(lambda: system.activations)
    assert system.activations == [{"workspace": "acme", "kind": "agent", "name": "a1", "revision": "r1"}]
    assert not held.done()
    there.set()
    seen = (await held).json
    assert (seen["path"], seen["bytes"]) == ("/sub?x=1", size)
    assert seen["headers"]["authorization"] == "Bearer sk-1"
    assert not [name for name in seen["headers"] if name.startswith("x-hp-") or name == "x-blaxel-authorization"]


async def test_streams_and_websockets_pass_the_activator(system: System) -> None:
    program = await system.program("one")
    await system.publish(agent("a1", revision("r1")))
    system.activate = lambda: web.json_response({"address": "127.0.0.1", "port": program.port})
    async with system.client.get(f"{system.url}/acme/agents/a1/stream", headers=bearer(token())) as stream:
        assert await stream.content.readuntil(b"\n\n") == b"data: first\n\n"
        program.go.set()
        assert await stream.content.read() == b"data: last\n\n"
    async with websockets.connect(
        f"ws://127.0.0.1:{system.port}/acme/agents/a1/ws",
        additional_headers=bearer(token()),
        subprotocols=[websockets.Subprotocol("chat")],
        proxy=None,
    ) as channel:
        assert channel.subprotocol == "chat"
        await channel.send("hello")
        assert await asyncio.wait_for(channel.recv(), WAIT_S) == "one: hello"
        await channel.send(b"\x00\x01")
        assert await asyncio.wait_for(channel.recv(), WAIT_S) == b"\x00\x01"


async def test_a_client_that_leaves_the_activator_ends_the_programs_work(system: System) -> None:
    program = await system.program("one")
    await system.publish(agent("a1", revision("r1")))
    system.activate = lambda: web.json_response({"address": "127.0.0.1", "port": program.port})
    leaving = asyncio.create_task(system.get("/acme/agents/a1/wait"))
    await reached(lambda: program.waiting == 1)
    leaving.cancel()
    await reached(lambda: program.cancelled == 1)


async def test_the_activator_says_why_there_is_no_replica(system: System) -> None:
    await system.publish(agent("a1", revision("r1")))
    answer = await system.get("/acme/agents/a1")
    assert answer.is_of_gateway(503, "WORKLOAD_UNAVAILABLE") and answer.json["error"]["message"] == "No room."
    system.activate = lambda: web.json_response({"reason": "It is gone."}, status=404)
    assert (await system.get("/acme/agents/a1")).is_of_gateway(404, "WORKLOAD_NOT_FOUND")
    system.activate = lambda: web.json_response({"address": "127.0.0.1", "port": free_port()})
    assert (await system.get("/acme/agents/a1")).is_of_gateway(503, "WORKLOAD_UNAVAILABLE")


async def test_a_request_to_a_replica_that_died_goes_to_the_activator(system: System) -> None:
    dead, alive = await system.program("dead"), await system.program("alive")
    await system.publish(agent("a1", revision("r1", dead)))
    assert (await system.get("/acme/agents/a1")).json["program"] == "dead"
    await dead.stop()
    system.activate = lambda: web.json_response({"address": "127.0.0.1", "port": alive.port})
    answers = [await system.get("/acme/agents/a1", method="POST", data=b"x" * 1000) for _ in range(5)]
    assert [(answer.json["program"], answer.json["bytes"]) for answer in answers] == [("alive", 1000)] * 5


async def test_envoy_gets_everything_again_after_its_restart(system: System) -> None:
    program = await system.program("one")
    routes = [agent(f"a{number}", revision("r1", program)) for number in range(20)]
    await system.publish(*routes)
    await system.stop_envoy()
    version = system.xds.publish(replace(system.gateway, routes=tuple(routes[:19])))
    await reached(lambda: system.xds.connected == 0)
    assert not await system.xds.acknowledged(version, 0.05)  # nobody is there to do so
    await system.start_envoy()
    assert await system.xds.acknowledged(version, WAIT_S)
    assert (await system.get("/acme/agents/a18")).status == 200
    assert (await system.get("/acme/agents/a19")).status == 404


async def test_traffic_flows_while_the_xds_server_is_away_and_follows_the_next_one(system: System) -> None:
    program = await system.program("one")
    await system.publish(agent("a1", revision("r1", program)), agent("a2", revision("r1", program)))
    await system.xds.stop()
    assert (await system.get("/acme/agents/a1")).status == 200
    authority = Authority(edge_socket=system.socket("edge"), issuer="homeport", audience="gateway")
    system.xds = XdsServer(system.socket("xds"), authority)
    await system.xds.start()
    assert (await system.get("/acme/agents/a1")).status == 200  # nothing is published yet, nothing is taken away
    await system.publish(agent("a1", revision("r1", program)), agent("a3", revision("r1", program)))
    found = [(await system.get(f"/acme/agents/a{number}")).status for number in (1, 2, 3)]
    assert found == [200, 404, 200]


async def test_a_resource_that_envoy_refuses_stops_no_other_workload(system: System, caplog: Any) -> None:
    program = await system.program("one")
    bad = RevisionRoute(revision=RevisionId("r1"), weight=100, endpoints=(Endpoint(address="nowhere", port=1),))
    good = [agent(name, revision("r1", program)) for name in ("a1", "a2")]
    await system.publish(good[0])
    version = system.xds.publish(replace(system.gateway, routes=(agent("bad", bad), good[1])))
    assert not await system.xds.acknowledged(version, WAIT_S)
    assert ["nowhere" in reason for reason in system.xds.rejected.values()] == [True]
    assert "Envoy refused" in caplog.text
    assert (await system.get("/acme/agents/a2")).status == 200
    assert (await system.get("/acme/agents/a1")).status == 200  # nothing is taken away until all is well again
    await system.publish(*good)
    assert system.xds.rejected == {}


async def test_a_port_that_is_taken_is_an_error(system: System) -> None:
    command = envoy_command(system.sockets / "envoy.json", concurrency=1)
    second = await asyncio.create_subprocess_exec(
        *command, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    assert second.stderr is not None
    said = await asyncio.wait_for(second.stderr.read(), WAIT_S)
    assert await second.wait() != 0 and b"Address already in use" in said


async def test_the_edge_process_serves_and_ends_cleanly_on_sigterm() -> None:
    data = DataDir(Path(tempfile.mkdtemp(prefix="hp-", dir="/tmp")))
    data.create()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-m", "homeport.edge", "--data", str(data.root), stderr=asyncio.subprocess.PIPE
    )
    try:
        await reached(data.socket("edge").exists)
        connector = aiohttp.UnixConnector(path=str(data.socket("edge")))
        async with aiohttp.ClientSession(connector=connector) as client:
            async with client.get("http://edge/acme/models/m") as response:
                answer = Answer(response.status, response.headers, await response.text())
                assert answer.is_of_gateway(404, "ROUTE_NOT_FOUND")
        process.terminate()
        assert process.stderr is not None
        said = await asyncio.wait_for(process.stderr.read(), WAIT_S)
        assert await process.wait() == 0, said
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        shutil.rmtree(data.root)


async def test_a_body_coded_in_a_way_that_envoy_does_not_read_is_the_callers_mistake(system: System) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", system.port)
    writer.write(b"POST /v0/agents HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n")
    assert b" 400 " in await asyncio.wait_for(reader.readline(), WAIT_S)
    writer.close()
    await writer.wait_closed()


class Network:
    """The part of a container's network, played by addresses of loopback: where its programs are, and its door."""

    def __init__(self, system: System, number: int) -> None:
        self.system = system
        self.program = f"127.0.{number}.9"
        self.door = Door(address=f"127.0.{number}.1", subnet=f"127.0.{number}.0/24", port=system.port)

    async def get(self, path: str, source: str | None = None, headers: dict[str, str] | None = None) -> int:
        """The status of an answer through the door. Raises `ClientError` where there is none."""
        connector = aiohttp.TCPConnector(local_addr=(source or self.program, 0))
        url = f"http://{self.door.address}:{self.door.port}{path}"
        async with aiohttp.ClientSession(connector=connector) as client:
            sent = bearer(token()) if headers is None else headers
            async with client.get(url, headers=sent, timeout=aiohttp.ClientTimeout(total=WAIT_S)) as answer:
                return answer.status


async def test_a_door_is_the_gateway_for_its_network_alone_whether_the_server_lives_or_not(system: System) -> None:
    program, one, other = await system.program("one"), Network(system, 11), Network(system, 12)
    await system.publish(agent("a1", revision("r1", program)))
    assert await system.xds.open_doors(frozenset({one.door, other.door}), WAIT_S)
    for network in (one, other):
        assert await network.get("/acme/agents/a1") == 200 and await network.get("/readyz") == 200
        assert await network.get("/acme/agents/a1", headers=NO_TOKEN) == 401
        assert await network.get("/acme/agents/a1", headers=bearer(token(workspace="other"))) == 403
        for source in ("127.0.0.1", "127.0.13.1"):
            with pytest.raises(aiohttp.ClientError):
                await network.get("/acme/agents/a1", source=source)
    await system.xds.stop()
    assert await one.get("/acme/agents/a1") == 200


async def test_doors_come_and_go_and_cut_nothing_else(system: System) -> None:
    program, one, other = await system.program("one"), Network(system, 11), Network(system, 12)
    await system.publish(agent("a1", revision("r1", program)))
    assert await system.xds.open_doors(frozenset({one.door}), WAIT_S)
    connector = aiohttp.TCPConnector(local_addr=(one.program, 0), limit=1)
    async with aiohttp.ClientSession(connector=connector, headers=bearer(token())) as client:
        async with client.ws_connect(f"http://{one.door.address}:{system.port}/acme/agents/a1/ws") as through_door:
            async with system.client.ws_connect(f"{system.url}/acme/agents/a1/ws", headers=bearer(token())) as direct:
                for doors in ({one, other}, {one}, {one, other}):
                    assert await system.xds.open_doors(frozenset(network.door for network in doors), WAIT_S)
                    for socket_ in (through_door, direct):
                        await socket_.send_str("still there")
                        assert (await socket_.receive(WAIT_S)).data == "one: still there"
                assert await other.get("/readyz") == 200
    assert await system.xds.open_doors(frozenset({other.door}), WAIT_S)
    with pytest.raises(aiohttp.ClientError):
        await one.get("/readyz")
    assert await system.xds.open_doors(frozenset({one.door, other.door}), WAIT_S)
    assert await one.get("/readyz") == 200


async def test_doors_are_open_again_after_a_restart_of_envoy_or_of_the_server(system: System) -> None:
    program, one = await system.program("one"), Network(system, 11)
    await system.publish(agent("a1", revision("r1", program)))
    assert await system.xds.open_doors(frozenset({one.door}), WAIT_S)
    await system.stop_envoy()
    await system.start_envoy()
    assert await one.get("/acme/agents/a1") == 200
    await system.xds.stop()
    system.xds = XdsServer(
        system.socket("xds"), Authority(edge_socket=system.socket("edge"), issuer="homeport", audience="gateway")
    )
    await system.xds.start()
    assert not await system.xds.open_doors(frozenset({one.door}), WAIT_S)  # remembered for the first routes
    assert await one.get("/acme/agents/a1") == 200
    await system.publish(agent("a1", revision("r1", program)))
    assert await one.get("/acme/agents/a1") == 200


async def test_a_door_waits_for_its_address_and_one_that_is_taken_is_told_and_stops_nothing(system: System) -> None:
    program, one, taken = await system.program("one"), Network(system, 11), Network(system, 12)
    nowhere = Door(address="198.51.100.1", subnet="198.51.100.0/24", port=system.port)  # no interface has it
    with socket.create_server((taken.door.address, system.port)):
        assert await system.xds.open_doors(frozenset({nowhere, one.door}), WAIT_S) and system.xds.rejected == {}
        assert await system.xds.open_doors(frozenset({nowhere, taken.door, one.door}), WAIT_S)
        ((name, reason),) = system.xds.rejected.items()
        assert name == f"Listener door.{taken.door.address}" and "Address already in use" in reason
        await system.publish(agent("a1", revision("r1", program)))
        assert await one.get("/acme/agents/a1") == 200
    assert await system.xds.open_doors(frozenset({one.door}), WAIT_S) and system.xds.rejected == {}


async def test_a_replica_in_a_container_that_cannot_be_reached_is_left_alone_and_one_that_fails_is_not(
    system: System,
) -> None:
    program, alive = await system.program("one"), await system.program("alive")
    await system.publish(agent("a1", replace(revision("r1", program), in_containers=True)))
    for _ in range(10):
        assert (await system.get("/acme/agents/a1?status=503")).json == {"mine": True}
    assert await system.left_alone("acme/agents/a1/r1") == [False, False]
    await program.stop()
    system.activate = lambda: web.json_response({"address": "127.0.0.1", "port": alive.port})
    for _ in range(FAILED_CONNECTIONS + 1):
        assert (await system.get("/acme/agents/a1")).json["program"] == "alive"
    assert await system.left_alone("acme/agents/a1/r1") == [True, False]  # the activator never is
