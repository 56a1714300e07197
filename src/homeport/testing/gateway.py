"""The gateway on the real Envoy, for tests: real sockets, real tokens, small programs in this process behind it."""

import asyncio
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import OKPKey
from yarl import URL

from homeport.core.clock import SystemClock
from homeport.core.ids import Kind, RevisionId
from homeport.core.limits import CallLimits
from homeport.dataplane.admin import envoy_counts
from homeport.dataplane.bootstrap import EnvoySockets, bootstrap, envoy_command
from homeport.dataplane.routes import Endpoint, Gateway, RevisionRoute, WorkloadRoute
from homeport.dataplane.snapshot import Authority
from homeport.dataplane.xds import XdsServer
from homeport.edge import Edge
from homeport.testing.system import free_port

WAIT_S = 20
KEY = OKPKey.generate_key("Ed25519", parameters={"kid": "one", "use": "sig", "alg": "EdDSA"})
OTHER_KEY = OKPKey.generate_key("Ed25519", parameters={"kid": "one", "use": "sig", "alg": "EdDSA"})
JWKS = {"keys": [KEY.as_dict(private=False)]}
NO_TOKEN: dict[str, str] = {}


def token(*, key: OKPKey = KEY, without: tuple[str, ...] = (), **changed: Any) -> str:
    now = int(SystemClock().now().timestamp())
    claims = {"iss": "homeport", "aud": "gateway", "sub": "sa-1", "jti": "jti-1", "iat": now, "exp": now + 600}
    claims |= {"workspace": "acme", "scopes": ["all"], **changed}
    for name in without:
        del claims[name]
    with warnings.catch_warnings():
        # Envoy 1.40 knows Ed25519 by its older name only (RFC 9864 brings the new one).
        warnings.simplefilter("ignore", SecurityWarning)
        return jwt.encode({"alg": "EdDSA", "kid": "one"}, claims, key, algorithms=["EdDSA"])


def bearer(text: str, header: str = "X-Blaxel-Authorization") -> dict[str, str]:
    return {header: f"Bearer {text}"}


async def reached(state: Callable[[], Any], timeout_s: float = WAIT_S) -> None:
    """Wait for a state, bounded; asked again at each turn of the loop or every 10 ms."""
    async with asyncio.timeout(timeout_s):
        while not state():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@dataclass
class Program:
    """A program behind the gateway: says what it saw, streams, echoes, and holds requests until told."""

    name: str
    port: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0
    cancelled: int = 0
    runner: web.AppRunner | None = None

    async def start(self) -> "Program":
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", self.handle)
        self.runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        self.port = self.port or free_port()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()
        return self

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(address="127.0.0.1", port=self.port)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path.endswith("/ws"):
            return await self.echo(request)
        if path.endswith("/stream"):
            return await self.stream(request)
        if path.endswith("/drip"):
            return await self.drip(request)
        if path.endswith("/wait"):
            await self.hold()
        if path.endswith("/break"):
            assert request.transport is not None
            request.transport.abort()
        if path.endswith("/teapot"):
            return web.json_response({"mine": True}, status=418, headers={"Server": "kettle"})
        if status := request.query.get("status"):
            wish = {"x-should-retry": again} if (again := request.query.get("again")) else {}
            return web.json_response({"mine": True}, status=int(status), headers=wish)
        size = 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
        headers = {name.lower(): value for name, value in request.headers.items()}
        return web.json_response({"program": self.name, "path": request.raw_path, "headers": headers, "bytes": size})

    async def hold(self) -> None:
        self.waiting += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: first\n\n")
        await self.hold()
        await response.write(b"data: last\n\n")
        return response

    async def drip(self, request: web.Request) -> web.StreamResponse:
        """`chunks` of an answer, each after `pause` seconds."""
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(int(request.query["chunks"])):
            await asyncio.sleep(float(request.query["pause"]))
            await response.write(b".")
        return response

    async def echo(self, request: web.Request) -> web.StreamResponse:
        channel = web.WebSocketResponse(protocols=["chat"])
        await channel.prepare(request)
        async for message in channel:
            if message.type is web.WSMsgType.TEXT:
                await channel.send_str(f"{self.name}: {message.data}")
            else:
                await channel.send_bytes(message.data)
        return channel


class GatewaySystem:
    """Envoy, the xDS server, the edge, and stand-ins for the server's two sockets."""

    def __init__(self, limits: CallLimits | None = None) -> None:
        self.limits = limits or CallLimits()
        self.sockets = Path(tempfile.mkdtemp(prefix="hp-", dir="/tmp"))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.gateway = Gateway(routes=(), jwks=JWKS, revoked=frozenset({"revoked-1"}))
        self.activations: list[dict[str, Any]] = []
        self.activate: Callable[[], Any] = lambda: web.json_response({"reason": "No room."}, status=503)
        self.envoy: asyncio.subprocess.Process | None = None
        self.runners: list[web.AppRunner] = []
        self.programs: list[Program] = []

    def socket(self, name: str) -> Path:
        return self.sockets / f"{name}.sock"

    async def start(self) -> None:
        self.authority = Authority(
            edge_socket=self.socket("edge"), issuer="homeport", audience="gateway", limits=self.limits
        )
        self.xds = XdsServer(self.socket("xds"), self.authority)
        await self.xds.start()
        self.edge = Edge(self.socket, self.limits)
        await self.edge.start()
        await self.serve("server", self.as_server)
        await self.serve("internal", self.as_internal)
        self.client = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WAIT_S))
        self.xds.publish(self.gateway)
        await self.start_envoy()

    async def start_envoy(self) -> None:
        sockets = EnvoySockets(
            xds=self.socket("xds"), server=self.socket("server"), edge=self.socket("edge"), admin=self.socket("admin")
        )
        config = self.sockets / "envoy.json"
        config.write_text(json.dumps(bootstrap(sockets=sockets, host="127.0.0.1", port=self.port)))
        with (self.sockets / "envoy.log").open("ab") as log:
            command = envoy_command(config, concurrency=1)
            self.envoy = await asyncio.create_subprocess_exec(*command, stderr=log, stdout=log)
        async with asyncio.timeout(WAIT_S):
            while not await self.answers():
                assert self.envoy.returncode is None, self.log()
                await asyncio.sleep(0.02)

    async def answers(self) -> bool:
        try:
            async with self.client.get(f"{self.url}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def stop_envoy(self) -> None:
        if self.envoy is not None and self.envoy.returncode is None:
            self.envoy.kill()
            await self.envoy.wait()

    async def stop(self) -> None:
        await self.client.close()
        await self.stop_envoy()
        await self.edge.stop()
        await self.xds.stop()
        for program in self.programs:
            await program.stop()
        for runner in self.runners:
            await runner.cleanup()
        shutil.rmtree(self.sockets)

    def log(self) -> str:
        return (self.sockets / "envoy.log").read_text()

    async def serve(self, name: str, handler: Any) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.UnixSite(runner, str(self.socket(name))).start()
        self.runners.append(runner)

    async def as_server(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        return web.json_response({"program": "server", "path": request.raw_path, "headers": headers})

    async def as_internal(self, request: web.Request) -> web.Response:
        assert request.path == "/internal/activate"
        self.activations.append(await request.json())
        answer = self.activate()
        return await answer if asyncio.iscoroutine(answer) else answer

    async def program(self, name: str) -> Program:
        program = await Program(name).start()
        self.programs.append(program)
        return program

    async def left_alone(self, cluster: str) -> list[bool]:
        """Of each endpoint, whether Envoy lets it be because connections failed."""
        shown = await envoy_counts(self.socket("admin"), "/clusters?format=json")
        assert shown is not None, self.log()
        found = json.loads(shown)["cluster_statuses"]
        (hosts,) = (one["host_statuses"] for one in found if one["name"] == cluster)
        states = [host["health_status"] for host in sorted(hosts, key=lambda host: host.get("priority", 0))]
        return [state.get("failed_outlier_check", False) for state in states]

    async def publish(self, *routes: WorkloadRoute, **changed: Any) -> int:
        self.gateway = replace(self.gateway, routes=routes, **changed)
        version = self.xds.publish(self.gateway)
        assert await self.xds.acknowledged(version, WAIT_S), (self.xds.rejected, self.log())
        return version

    async def get(self, path: str, headers: dict[str, str] | None = None, **more: Any) -> "Answer":
        sent = bearer(token()) if headers is None else headers
        method = more.pop("method", "GET")
        async with self.client.request(method, URL(self.url + path, encoded=True), headers=sent, **more) as response:
            text = await response.text()
            return Answer(response.status, response.headers, text)


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    def is_of_gateway(self, status: int, code: str) -> bool:
        """Whether this is the contract's envelope with its headers."""
        error = self.json["error"]
        assert set(error) == {
            *("code", "message", "status", "timestamp", "retryable"),
            *("action", "do_not", "docs_url", "origin"),
        }
        assert error["origin"] == self.headers["X-Blaxel-Source"] == "platform"
        assert self.headers["Content-Type"].startswith("application/json")
        found = (self.status, error["status"], error["code"], self.headers["X-Blaxel-Error-Code"])
        assert found == (status, status, code, code), self.text
        return True


def agent(name: str, *revisions: RevisionRoute, workspace: str = "acme", public: bool = False) -> WorkloadRoute:
    return WorkloadRoute(workspace=workspace, kind=Kind.AGENT, name=name, revisions=revisions, public=public)


def revision(name: str, *programs: Program, weight: int = 100) -> RevisionRoute:
    endpoints = tuple(program.endpoint for program in programs)
    return RevisionRoute(revision=RevisionId(name), weight=weight, endpoints=endpoints)
