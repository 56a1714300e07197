"""Custom paths, host names, and who may call them, on a real Envoy."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
import websockets
from aiohttp import web

from homeport.dataplane.routes import Endpoint, RevisionRoute, WorkloadRoute
from homeport.testing.gateway import NO_TOKEN, Program, agent, bearer, revision, token
from homeport.testing.gateway import GatewaySystem as System
from homeport.workloads.addresses import CustomPath, Stickiness

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system() -> AsyncIterator[System]:
    running = System()
    try:
        await running.start()
        yield running
    finally:
        await running.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def programs(system: System) -> list[Program]:
    return [await system.program(name) for name in ("one", "two")]


def path(text: str, *, public: bool = False, **more: Any) -> CustomPath:
    return CustomPath(path=text, trigger=text.replace("/", "-"), public=public, **more)


def serving(name: str, program: Program, *paths: CustomPath, **more: Any) -> WorkloadRoute:
    longest_first = tuple(sorted(paths, key=lambda one: -len(one.path)))
    route = agent(name, revision("r1", program), public=more.pop("public", False))
    return replace(route, paths=longest_first, host=f"agt-{name}-acme", **more)


def at(system: System, name: str, port: bool = True) -> dict[str, str]:
    """The header of a host name in place of the gateway's own."""
    return {"Host": f"{name}.localhost:{system.port}" if port else f"{name}.localhost"}


async def seen(system: System, address: str, headers: dict[str, str] | None = None) -> tuple[str, str]:
    answer = await system.get(address, headers)
    assert answer.status == 200, (address, answer.text)
    return answer.json["program"], answer.json["path"]


async def test_a_custom_path_and_what_is_below_it_is_the_agents(system: System, programs: list[Program]) -> None:
    one, two = programs
    await system.publish(
        serving("a", one, path("webhook"), path("hooks/a"), path("hooks/a/deep"), path("agents/a/sync")),
        serving("b", two, path("hooks/b"), path("hooks/ab")),
    )
    for address, program, shown in (
        ("/acme/webhook", "one", "/"),
        ("/acme/webhook/", "one", "/"),
        ("/acme/webhook?q=1", "one", "/?q=1"),
        ("/acme/webhook/agents/x/y?q=1", "one", "/agents/x/y?q=1"),
        ("/acme/hooks/a/x", "one", "/x"),
        ("/acme/hooks/a/deep/x", "one", "/x"),
        ("/acme/hooks/b/x/y/z", "two", "/x/y/z"),
        ("/acme/hooks/ab", "two", "/"),
        ("/acme/agents/a/sync/x", "one", "/x"),
        ("/acme/agents/a/other", "one", "/other"),
        ("/acme//hooks//b", "two", "/"),
    ):
        assert await seen(system, address) == (program, shown), address
    for address in ("/acme/hooks", "/acme/hooks/c", "/acme/webhooks", "/acme/hook", "/other/webhook"):
        assert (await system.get(address, NO_TOKEN)).is_of_gateway(404, "ROUTE_NOT_FOUND"), address
    await system.publish(serving("b", two, path("hooks/b")))
    assert (await system.get("/acme/hooks/a/x")).status == 404
    assert await seen(system, "/acme/hooks/b") == ("two", "/")


async def test_a_path_asks_for_a_key_or_not_as_it_says(system: System, programs: list[Program]) -> None:
    one, two = programs
    await system.publish(
        serving("a", one, path("x/open", public=True), path("x/shut"), path("agents/a/open", public=True)),
        serving("b", two, path("x/closed"), path("y", public=True), public=True),
    )
    for address in ("/acme/x/open", "/acme/agents/a/open/x", "/acme/y", "/acme/agents/b"):
        assert (await system.get(address, NO_TOKEN)).status == 200, address
        assert (await system.get(address, bearer("junk"))).status == 200, address
    for address in ("/acme/x/shut", "/acme/x/closed", "/acme/agents/a", "/acme/agents/a/x"):
        assert (await system.get(address, NO_TOKEN)).is_of_gateway(401, "AUTHENTICATION_REQUIRED"), address
        assert (await system.get(address)).status == 200, address
        for bad in (token(workspace="other"), token(scopes=["jobs:run"]), token(jti="revoked-1")):
            assert (await system.get(address, bearer(bad))).is_of_gateway(403, "FORBIDDEN"), address


async def test_public_opens_its_own_addresses_and_no_others(system: System, programs: list[Program]) -> None:
    one, two = programs
    await system.publish(serving("a", one, path("p", public=True), public=True), serving("b", two, path("q")))
    for address, host in (("/acme/agents/a", {}), ("/acme/p", {}), ("/x", at(system, "agt-a-acme"))):
        assert (await seen(system, address, host))[0] == "one"
    for address, host in (("/acme/agents/b", {}), ("/acme/q", {}), ("/x", at(system, "agt-b-acme"))):
        assert (await system.get(address, host)).is_of_gateway(401, "AUTHENTICATION_REQUIRED"), address


async def test_headers_that_the_gateway_fills_cannot_be_sent_to_any_address(
    system: System, programs: list[Program]
) -> None:
    names = ("scope", "host", "jti", "sub", "workspace", "workload", "invoke", "call")
    spoofed = {f"x-hp-{name}": "spoofed" for name in names} | {"X-Homeport-Invocation-Id": "spoofed"}
    spoofed |= {"x-hp-scope": "/acme/agents/b", "x-hp-host": "agt-b-acme.localhost"}
    one, two = programs
    await system.publish(serving("a", one, path("p", public=True), public=True), serving("b", two))
    for address, host in (("/acme/agents/a", {}), ("/acme/p", {}), ("/x", at(system, "agt-a-acme"))):
        found = (await system.get(address, spoofed | host)).json
        own = {key: value for key, value in found["headers"].items() if key.startswith(("x-hp-", "x-homeport-"))}
        assert (found["program"], own) == ("one", {"x-hp-workload": "acme/agents/a/r1"}), address


async def test_at_its_host_name_every_path_is_the_programs(system: System, programs: list[Program]) -> None:
    one, two = programs
    await system.publish(serving("a", one), serving("b", two))
    mine, other = at(system, "agt-a-acme") | bearer(token()), at(system, "agt-b-acme") | bearer(token())
    for address in ("/", "/v0", "/v0/agents?limit=1", "/oauth/token", "/healthz", "/.well-known/x", "/acme/agents/b/x"):
        assert await seen(system, address, mine) == ("one", address)
        assert await seen(system, address, other) == ("two", address)
    # The port is whatever the client was told; the name alone counts, and only in this domain.
    assert await seen(system, "/x", at(system, "agt-a-acme", port=False) | bearer(token())) == ("one", "/x")
    for host in (
        "agt-a-acme.example.com",
        "x.agt-a-acme.localhost",
        "agt-a-acme",
        "localhost",
        f"127.0.0.1:{system.port}",
    ):
        assert (await system.get("/v0/agents", {"Host": host})).json["program"] == "server", host
    answer = await system.get("/", mine)
    assert answer.json["headers"]["host"] == f"agt-a-acme.localhost:{system.port}"  # for its links and redirects


async def test_a_host_name_tells_strangers_nothing(system: System, programs: list[Program]) -> None:
    there = replace(serving("b1", programs[0]), workspace="other", host="agt-b1-other")
    await system.publish(there)
    for name in ("agt-b1-other", "agt-no-other", "agt-no-acme", "mcp-no-other"):
        for address in ("/", "/acme/x", "/other/x", "/v0"):
            answer = await system.get(address, at(system, name))
            assert answer.is_of_gateway(401, "AUTHENTICATION_REQUIRED"), (name, address)
            answer = await system.get(address, at(system, name) | bearer(token()))
            wanted = (404, "WORKLOAD_NOT_FOUND") if name.endswith("-acme") else (403, "FORBIDDEN")
            assert answer.is_of_gateway(*wanted), (name, address)


async def test_the_server_away_is_told_on_a_host_name_as_the_workloads_business(system: System) -> None:
    nobody = replace(agent("a", RevisionRoute(revision=revision("r1").revision, weight=100)), host="agt-a-acme")
    await system.publish(nobody)
    answer = await system.get("/v0/agents", at(system, "agt-a-acme") | bearer(token()))
    assert answer.is_of_gateway(503, "WORKLOAD_UNAVAILABLE")  # from the activator, which found no replica
    await system.publish(replace(agent("a"), host="agt-a-acme"))
    answer = await system.get("/v0/agents", at(system, "agt-a-acme") | bearer(token()))
    assert answer.is_of_gateway(503, "WORKLOAD_UNAVAILABLE")  # from Envoy


async def test_websockets_and_streams_pass_custom_paths_and_host_names(system: System, programs: list[Program]) -> None:
    one = programs[0]
    await system.publish(serving("a", one, path("hook")))
    for place in ("/acme/hook/ws", "/ws"):
        name = "agt-a-acme.localhost" if place == "/ws" else "127.0.0.1"
        address = f"ws://{name}:{system.port}{place}"
        async with websockets.connect(
            address, additional_headers=bearer(token()), proxy=None, host="127.0.0.1"
        ) as channel:
            await channel.send("hello")
            assert await asyncio.wait_for(channel.recv(), 10) == "one: hello"


async def test_changes_of_addresses_cut_nothing_that_is_under_way(system: System, programs: list[Program]) -> None:
    one = programs[0]
    one.go.clear()
    plain = serving("a", one, path("hook"))
    await system.publish(plain)
    streams = [
        ("/acme/agents/a/stream", bearer(token())),
        ("/acme/hook/stream", bearer(token())),
        ("/stream", at(system, "agt-a-acme") | bearer(token())),
    ]
    under_way = []
    for address, headers in streams:
        response = await system.client.get(f"{system.url}{address}", headers=headers)
        assert await response.content.readuntil(b"\n\n") == b"data: first\n\n"
        under_way.append(response)
    for changed in (
        replace(plain, paths=(path("hook", public=True), path("more"))),
        replace(plain, public=True, stickiness=Stickiness(ttl_s=60)),
        replace(plain, stickiness=Stickiness(replica=True), timeout_s=5),
        replace(plain, paths=(), host=""),
        replace(plain, host="agt-other-acme"),
    ):
        await system.publish(changed)
    one.go.set()
    for response in under_way:
        assert await response.content.read() == b"data: last\n\n"
    one.go.clear()


class Dying:
    """A program that reads a request, whole, and dies instead of an answer."""

    def __init__(self) -> None:
        self.requests = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"the body")
        self.requests += 1
        writer.transport.abort()


@pytest.mark.parametrize("sticking", [Stickiness(), Stickiness(replica=True)])
async def test_a_request_that_a_program_has_read_is_never_repeated(
    system: System, programs: list[Program], sticking: Stickiness
) -> None:
    program = Dying()
    server = await asyncio.start_server(program.handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    at_port = RevisionRoute(
        revision=revision("r1").revision, weight=100, endpoints=(Endpoint(address="127.0.0.1", port=port),)
    )
    dying = replace(agent("a", at_port), paths=(path("hook", retries=9),), stickiness=sticking)
    await system.publish(dying)
    for number in range(1, 4):
        answer = await system.get("/acme/hook", method="POST", data=b"the body")
        assert answer.is_of_gateway(502, "WORKLOAD_UNAVAILABLE")
        assert program.requests == number
    server.close()
    await server.wait_closed()
    # What never reached it is tried again, until the activator has a replica for it.
    system.activate = lambda: web.json_response({"address": "127.0.0.1", "port": programs[1].port})
    answer = await system.get("/acme/hook", method="POST", data=b"the body")
    assert (answer.status, answer.json["program"], answer.json["bytes"]) == (200, "two", 8)


async def test_the_timeout_of_a_trigger_bounds_its_calls_alone(system: System, programs: list[Program]) -> None:
    one = programs[0]
    one.go.clear()
    await system.publish(serving("a", one, path("hook", timeout_s=1)))
    waiting = asyncio.create_task(system.get("/acme/agents/a/wait"))
    answer = await system.get("/acme/hook/wait")
    assert answer.is_of_gateway(504, "WORKLOAD_UNAVAILABLE") and "longer in all" in answer.text
    assert not waiting.done()
    one.go.set()
    assert (await waiting).status == 200
    one.go.clear()
