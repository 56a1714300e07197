"""Functions, which are MCP servers, as their users have them: with the official client and with the public SDK's, by
both transports, through a real gateway."""

import asyncio
import base64
import json
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from blaxel.core.mcp.client import websocket_client
from mcp import Client, ClientSession
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from websockets.exceptions import InvalidStatus

from homeport.testing.public_cli import CliError, PublicCli
from homeport.testing.sdk import with_sdk
from homeport.testing.system import System, eventually

ROOT = Path(__file__).parents[2]
TEXT = "one\ntwo\nthree"
ACCEPTS = {"Accept": "application/json, text/event-stream"}
LISTING = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
HANDSHAKES = pytest.mark.parametrize("mode", ["legacy", "auto"])

WEBSOCKET = {
    "main.py": textwrap.dedent(
        """
        from blaxel.core.mcp.server import FastMCP

        server = FastMCP("over-websocket")

        @server.tool()
        def shout(text: str) -> str:
            return text.upper()

        server.run(transport="ws")
        """
    ),
    "requirements.txt": "blaxel==0.4.24\nmcp==2.3.0\n",
}
# Answers what it was told of itself, and nothing about MCP: for what is not the protocol's.
PLAIN = """
import json, os
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        names = ("BL_NAME", "BL_TYPE", "PORT", "BL_SERVER_PORT", "HOST", "BL_SERVER_HOST", "WORD")
        body = json.dumps({"path": self.path, **{name: os.environ.get(name, "") for name in names}}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
        print("asked", flush=True)

HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""

# Keeps sessions as MCP servers do, without the rest: an id for whoever has none, 404 for one that it did not make.
SESSIONS = """
import os, uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

mine = set()

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        session = self.headers.get("Mcp-Session-Id")
        known = session in mine
        if session is None:
            session, known = uuid.uuid4().hex, True
            mine.add(session)
        self.send_response(200 if known else 404)
        self.send_header("Mcp-Session-Id", session)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"first")

ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def tools(system: System) -> Iterator[str]:
    """The example, deployed from its folder, with two replicas: each session must find its own."""
    done = system.command("deploy", "-d", str(ROOT / "examples/text-tools"), "--name", "tools")
    assert done.returncode == 0 and "/functions/tools/mcp" in done.stderr, done.stderr
    stored = system.api.get("/functions/tools").json()
    stored["spec"]["runtime"]["minScale"] = 2
    assert system.api.put("/functions/tools", json=stored).status_code == 200
    eventually(lambda: len(ready(system, "tools")) == 2, "two replicas are ready")
    yield "tools"
    system.remove("functions", "tools")


def ready(system: System, name: str) -> list[int]:
    """The ports of its replicas that answer."""
    replicas = system.api.get("/homeport/status").json()["replicas"]
    return [one["port"] for one in replicas if (one["name"], one["state"]) == (name, "ready")]


@pytest.fixture
def cli(system: System) -> Iterator[PublicCli]:
    with PublicCli(f"{system.url}/v0", system.url, "default", key=system.key) as cli:
        yield cli


@asynccontextmanager
async def connected(system: System, name: str, mode: str = "legacy", **headers: str) -> AsyncIterator[Client]:
    key = headers or {"Authorization": f"Bearer {system.key}"}
    async with create_mcp_http_client(headers=key) as http:
        transport = streamable_http_client(f"{system.url}/default/functions/{name}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


@HANDSHAKES
async def test_the_official_client_finds_and_calls_tools(system: System, tools: str, mode: str) -> None:
    async with connected(system, tools, mode) as client:
        assert client.server_info is not None and client.server_info.name == "text-tools"
        found = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert found.keys() == {"count_words", "longest_word", "read_aloud"}
        assert found["count_words"].input_schema["required"] == ["text"]
        counted = await client.call_tool("count_words", {"text": "three small words"})
        assert (counted.is_error, counted.structured_content) == (False, {"result": 3})


@HANDSHAKES
async def test_a_tool_that_fails_is_an_error_of_the_tool(system: System, tools: str, mode: str) -> None:
    async with connected(system, tools, mode) as client:
        failed = await client.call_tool("longest_word", {"text": " "})
        assert failed.is_error and "The text has no words." in str(failed.content)
        unknown = await client.call_tool("never_was", {})
        assert unknown.is_error
        assert (await client.call_tool("longest_word", {"text": "a bcd ef"})).structured_content == {"result": "bcd"}


@HANDSHAKES
async def test_progress_of_a_long_call_comes_while_it_runs(system: System, tools: str, mode: str) -> None:
    seen: list[tuple[float, float | None, str | None]] = []
    ended = False

    async def told(progress: float, total: float | None, message: str | None) -> None:
        assert not ended, "progress came after the answer"
        seen.append((progress, total, message))

    async with connected(system, tools, mode) as client:
        result = await client.call_tool("read_aloud", {"text": TEXT}, progress_callback=told)
        ended = True
    assert result.structured_content == {"result": "3 lines read"}
    assert seen == [(1, 3, "one"), (2, 3, "two"), (3, 3, "three")]


async def test_many_sessions_at_once_keep_to_themselves(system: System, tools: str) -> None:
    async def count(words: int) -> Any:
        async with connected(system, tools) as client:
            return (await client.call_tool("count_words", {"text": "word " * words})).structured_content

    assert await asyncio.gather(*(count(words) for words in range(1, 9))) == [{"result": n} for n in range(1, 9)]


async def test_a_session_stays_with_its_replica(system: System, tools: str) -> None:
    """The program of the other replica would answer 404."""
    homes = set()
    async with httpx.AsyncClient(base_url=system.url, headers=system.gateway.headers) as http:
        for _ in range(8):
            session = await begin(http, tools)
            answers = [await ask(http, tools, session) for _ in range(4)]
            assert [answer.status_code for answer in answers] == [200] * 4
            homes.add(session.partition(";")[0])
    assert {base64.b64decode(home).decode() for home in homes} == {f"127.0.0.1:{port}" for port in ready(system, tools)}


def test_a_session_stays_with_its_revision_while_two_share_the_requests(system: System) -> None:
    spec = {"runtime": {"memory": 128, "minScale": 2}}
    assert system.deploy("functions", "shared", {"main.py": SESSIONS}, spec)["status"] == "DEPLOYED"
    canary = {**spec, "revision": {"traffic": 50}}
    second = {"main.py": SESSIONS.replace("first", "other")}
    assert system.deploy("functions", "shared", second, canary)["status"] == "DEPLOYED"

    def call(session: str | None = None) -> httpx.Response:
        return system.gateway.post("/functions/shared/mcp", headers={"Mcp-Session-Id": session} if session else {})

    eventually(lambda: call().text == "other", "the second revision has its share")
    answered = set()
    for _ in range(24):
        first = call()
        answers = [call(first.headers["mcp-session-id"]) for _ in range(4)]
        assert {(answer.status_code, answer.text) for answer in answers} == {(200, first.text)}
        answered.add(first.text)
    assert answered == {"first", "other"}
    for order, serving in (("promote", "other"), ("undo", "first")):
        done = system.command("rollout", order, "function/shared")
        assert done.returncode == 0, done.stderr
        assert {call().text for _ in range(8)} == {serving}
    system.remove("functions", "shared")


async def test_an_id_that_names_a_strangers_port_leads_nowhere_else(system: System, tools: str) -> None:
    """The address beside the id counts only where it is one of the function's own replicas."""
    assert await asyncio.to_thread(system.deploy, "functions", "plain", {"main.py": PLAIN})
    (port,) = ready(system, "plain")
    stranger = base64.b64encode(f"127.0.0.1:{port}".encode()).decode()
    async with httpx.AsyncClient(base_url=system.url, headers=system.gateway.headers) as http:
        ours = (await begin(http, tools)).partition(";")[2]
        for session in (f"{stranger};{ours}", f"{stranger};UV:eA==", "no-envelope", ";UV:", "%%;UV:%%"):
            answer = await ask(http, tools, session)
            assert answer.status_code in (200, 404) and "BL_NAME" not in answer.text
    await asyncio.to_thread(system.remove, "functions", "plain")


async def begin(http: httpx.AsyncClient, name: str) -> str:
    """The id of a new session."""
    first = await http.post(f"/default/functions/{name}/mcp", json=initialize(), headers=ACCEPTS)
    assert first.status_code == 200, first.text
    session = str(first.headers["mcp-session-id"])
    told = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    sent = {**ACCEPTS, "Mcp-Session-Id": session}
    assert (await http.post(f"/default/functions/{name}/mcp", json=told, headers=sent)).status_code == 202
    return session


async def ask(http: httpx.AsyncClient, name: str, session: str) -> httpx.Response:
    sent = {**ACCEPTS, "Mcp-Session-Id": session}
    return await http.post(f"/default/functions/{name}/mcp", json=LISTING, headers=sent)


def test_a_session_lasts_from_initialize_to_delete(system: System, tools: str) -> None:
    address = f"/functions/{tools}/mcp"
    first = system.gateway.post(address, json=initialize(), headers=ACCEPTS)
    assert first.status_code == 200 and first.headers["content-type"].startswith("text/event-stream")
    session = {**ACCEPTS, "Mcp-Session-Id": first.headers["mcp-session-id"]}
    told = system.gateway.post(address, json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=session)
    assert told.status_code == 202
    assert '"count_words"' in system.gateway.post(address, json=LISTING, headers=session).text
    with system.gateway.stream("GET", address, headers=session) as stream:  # the server's own messages would come here
        assert stream.status_code == 200 and stream.headers["content-type"].startswith("text/event-stream")
    assert system.gateway.delete(address, headers=session).status_code == 200
    assert system.gateway.post(address, json=LISTING, headers=session).status_code == 404


def initialize() -> dict[str, Any]:
    client = {"name": "test", "version": "1"}
    parameters = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
    return {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": parameters}


def test_the_sdk_finds_a_function_and_calls_its_tools(system: System, tools: str) -> None:
    printed = with_sdk(
        system,
        """
        import asyncio
        from blaxel.core.tools import bl_tools

        async def main():
            tools = {tool.name: tool for tool in (await bl_tools(["tools"]).initialize()).get_tools()}
            print(sorted(tools))
            print((await tools["count_words"].coroutine(text="a b c")).structured_content)
            failed = await tools["longest_word"].coroutine(text="")
            print(failed.is_error, "no words" in failed.content[0].text)
            later = await tools["read_aloud"].coroutine(text="a\\nb")
            print(later.structured_content)
        asyncio.run(main())
        """,
    )
    assert printed.splitlines() == [
        "['count_words', 'longest_word', 'read_aloud']",
        "{'result': 3}",
        "True True",
        "{'result': '2 lines read'}",
    ]


def test_the_sdk_in_an_agent_finds_a_function(system: System, tools: str) -> None:
    """With the credential of the agent alone."""
    agent = {
        "main.py": textwrap.dedent(
            f"""
            import json
            from blaxel.core.tools import bl_tools

            async def app(scope, receive, send):
                if scope["type"] != "http":
                    return
                found = (await bl_tools(["{tools}"]).initialize()).get_tools()
                (count,) = (tool for tool in found if tool.name == "count_words")
                result = (await count.coroutine(text="four words from here")).structured_content
                await send({{"type": "http.response.start", "status": 200, "headers": []}})
                await send({{"type": "http.response.body", "body": json.dumps(result).encode()}})
            """
        ),
        "requirements.txt": WEBSOCKET["requirements.txt"],
    }
    assert system.deploy("agents", "asks-tools", agent)["status"] == "DEPLOYED"
    try:
        answer = system.gateway.post("/agents/asks-tools", json={})
        assert (answer.status_code, answer.json()) == (200, {"result": 4})
    finally:
        system.remove("agents", "asks-tools")


async def test_the_sdks_websocket_transport_carries_a_session(system: System) -> None:
    spec = {"runtime": {"transport": "websocket", "memory": 512}}
    assert system.deploy("functions", "over-websocket", WEBSOCKET, spec)["status"] == "DEPLOYED"
    url = f"{system.url}/default/functions/over-websocket"
    async with (
        websocket_client(url, {"Authorization": f"Bearer {system.key}"}) as (read, write),
        ClientSession(read, write) as session,
    ):
        assert (await session.initialize()).server_info.name == "over-websocket"
        assert [tool.name for tool in (await session.list_tools()).tools] == ["shout"]
        assert (await session.call_tool("shout", {"text": "quiet"})).structured_content == {"result": "QUIET"}
    with pytest.raises(InvalidStatus) as refused:
        await websockets.connect(url.replace("http", "ws"))
    assert refused.value.response.status_code == 401
    await asyncio.to_thread(system.remove, "functions", "over-websocket")


def test_only_a_public_function_answers_without_a_key(system: System) -> None:
    address = f"{system.url}/default/functions/plain"
    runtime = {"memory": 128, "envs": [{"name": "WORD", "value": "from the spec"}]}
    by_trigger = [{"id": "open", "type": "http", "configuration": {"authenticationType": "public"}}]
    assert system.deploy("functions", "plain", {"main.py": PLAIN}, {"runtime": runtime})["status"] == "DEPLOYED"
    for opened, status in (({}, 401), ({"public": True}, 200), ({}, 401), ({"triggers": by_trigger}, 200)):
        body = {"metadata": {"name": "plain"}, "spec": {"runtime": runtime, **opened}}
        assert system.api.put("/functions/plain", json=body).status_code == 200
        answer = eventually(
            lambda expected=status: (one := httpx.post(f"{address}/mcp")).status_code == expected and one,
            f"it answers {status}",
        )
    told = answer.json()
    assert (told["path"], told["BL_NAME"], told["BL_TYPE"]) == ("/mcp", "plain", "function")
    assert told["WORD"] == "from the spec"
    assert (told["PORT"], told["HOST"]) == (told["BL_SERVER_PORT"], told["BL_SERVER_HOST"])
    assert httpx.post(address).json()["path"] == "/"
    system.remove("functions", "plain")
    assert httpx.post(address).status_code == 401, "what is gone is like what never was"


def test_it_runs_again_from_its_image(system: System) -> None:
    assert system.deploy("functions", "plain", {"main.py": PLAIN})["status"] == "DEPLOYED"
    image = system.api.get("/functions/plain").json()["spec"]["runtime"]["image"]
    assert image.startswith("function/plain:")
    kept = [one["metadata"] for one in system.api.get("/images").json()]
    assert ("function", "plain") in [(one["resourceType"], one["name"]) for one in kept]
    manifest = {"kind": "Function", "metadata": {"name": "again"}, "spec": {"runtime": {"image": image}}}
    applied = system.command("apply", "-f", "-", stdin=json.dumps(manifest))
    assert applied.returncode == 0, applied.stderr
    assert system.settled("functions", "again")["status"] == "DEPLOYED"
    assert system.gateway.post("/functions/again/x").json()["BL_NAME"] == "again"
    refused = system.api.delete("/images/function/plain")
    assert refused.status_code == 400 and "function again" in refused.text
    for name in ("again", "plain"):
        system.remove("functions", name)


def test_the_command_line_serves_functions_too(system: System, tools: str) -> None:
    asked = system.command("run", "function", tools)
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["result"]["serverInfo"]["name"] == "text-tools"
    listed = json.loads(system.command("get", "functions", "-o", "json").stdout)
    assert tools in [one["metadata"]["name"] for one in listed]
    assert "serves" in system.command("get", "function", tools).stdout
    assert "POST /mcp" in system.command("logs", "function", tools).stdout
    assert "rev-" in system.command("get", "revisions", f"function/{tools}").stdout
    explained = system.command("explain", "function", tools)
    assert explained.returncode == 0 and "local" in explained.stdout
    assert "1 function" in system.command("status").stdout
    missing = system.command("run", "function", "never-was")
    assert missing.returncode == 1


def test_the_public_command_line_deploys_reads_runs_and_deletes_one(system: System, cli: PublicCli) -> None:
    cli.deploy("functions", "from-bl", {"main.py": PLAIN}, {"memory": 128, "transport": "http-stream"})
    assert system.settled("functions", "from-bl")["status"] == "DEPLOYED"
    assert "from-bl" in [one["metadata"]["name"] for one in cli.get("functions")]
    assert cli.get_one("functions", "from-bl")["spec"]["runtime"]["transport"] == "http-stream"
    assert cli.run("functions", "from-bl", "mcp", "{}").json()["path"] == "/mcp"
    eventually(lambda: "asked" in cli.logs("functions", "from-bl"), "its output is in the log")
    assert cli.delete("functions", "from-bl")["status"] == "DELETING"
    eventually(lambda: system.api.get("/functions/from-bl").status_code == 404, "it is gone")
    with pytest.raises(CliError):
        cli.get_one("functions", "from-bl")
