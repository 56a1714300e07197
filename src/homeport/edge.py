"""The edge process: the slow paths of data, apart from the server so that neither delays the other.

A composition root: it reads the settings, serves the activator and the acceptance of asynchronous calls on `edge.sock`,
and makes these calls. Started and watched by
`homeport up` as `python -m homeport.edge --data DIR`; ends cleanly on SIGTERM.
"""

import argparse
import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from aiohttp import web
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from homeport.core import log as logs
from homeport.core.clock import SystemClock
from homeport.core.limits import CallLimits
from homeport.core.measures import EDGE_REGISTRY
from homeport.dataplane import headers
from homeport.dataplane.acceptance import Acceptance
from homeport.dataplane.activator import Activator
from homeport.dataplane.calls import Calls
from homeport.dataplane.internal import Internal
from homeport.invocations.handover import Terms
from homeport.settings import DataDir, default_data

log = logging.getLogger(__name__)

STOP_GRACE_S = 10.0  # requests under way at SIGTERM may go on for so long
BACKLOG = 1024  # connections that a burst may queue
HEADER_BYTES = 64 * 1024  # Envoy lets 60 kB pass


class Edge:
    """The edge's HTTP server on a unix socket."""

    def __init__(self, socket: Callable[[str], Path], calls: CallLimits | None = None) -> None:
        """`socket` is where the part of a name listens; `calls` how long a call may take."""
        clock = SystemClock()
        self._socket = socket("edge")
        self._activator = Activator(socket("internal"), clock, calls)
        self._internal = Internal(socket("internal"), clock)
        self._calls = Calls(self._internal, socket("gateway"), clock, self._told)
        self._acceptance = Acceptance(self._internal, clock, self._calls.wake)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Serve. Takes the place of a socket that a dead process left."""
        if self._runner is not None:
            return
        await self._activator.connect()
        await self._internal.connect()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        # A client that goes away must end the program's work for it as well, hence the cancellation.
        runner = web.AppRunner(
            app,
            handler_cancellation=True,
            access_log=None,
            shutdown_timeout=STOP_GRACE_S,
            auto_decompress=False,
            max_line_size=HEADER_BYTES,
            max_field_size=HEADER_BYTES,
        )
        await runner.setup()
        self._socket.unlink(missing_ok=True)
        await web.UnixSite(runner, str(self._socket), backlog=BACKLOG).start()
        self._runner = runner
        await self._calls.start()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        """What is to be called later is stored, anything else waits for a replica; the server asks for counts."""
        if headers.METRICS in request.headers:
            return web.Response(body=generate_latest(EDGE_REGISTRY), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})
        if headers.INVOKE in request.headers:
            return await self._acceptance.handle(request)
        return await self._activator.handle(request)

    def _told(self, terms: Terms) -> None:
        self._acceptance.terms = terms

    async def stop(self) -> None:
        """Accept no more, let requests end for a while, then cut what is left."""
        await self._calls.stop()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        await self._acceptance.close()
        await self._activator.close()
        await self._internal.close()


async def serve(data: DataDir, calls: CallLimits) -> None:
    """Run until SIGTERM or SIGINT."""
    edge = Edge(data.socket, calls)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await edge.start()
    log.info("serving on %s", data.socket("edge"))
    try:
        await ended.wait()
    finally:
        await edge.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="homeport.edge", description="The edge process of Homeport.")
    parser.add_argument("--data", type=Path, default=None, help="the data directory")
    usual = CallLimits()
    parser.add_argument("--call-idle-s", type=float, default=usual.idle_s, help="a call without a byte")
    parser.add_argument("--call-timeout-s", type=float, default=usual.total_s, help="a call in all")
    parser.add_argument("--websocket-idle-s", type=float, default=usual.websocket_idle_s, help="a quiet WebSocket")
    chosen = parser.parse_args(arguments)
    calls = CallLimits(
        idle_s=chosen.call_idle_s, total_s=chosen.call_timeout_s, websocket_idle_s=chosen.websocket_idle_s
    )
    data = DataDir((chosen.data or default_data()).absolute())
    logs.configure("edge", file=data.log("edge"))
    asyncio.run(serve(data, calls))


if __name__ == "__main__":
    main()
