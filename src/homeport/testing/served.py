"""The control plane of `homeport.testing.control_plane` behind a real socket, for tests of what speaks to it from
another thread or process: the client and the command line.
"""

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import uvicorn

from homeport.identity.principals import Role
from homeport.testing.control_plane import ControlPlane, running_control_plane

T = TypeVar("T")
_BOUND_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """`plane` lives in the loop of another thread; `run` has it do something there. `key` is an administrator's."""

    url: str
    key: str
    plane: ControlPlane
    loop: asyncio.AbstractEventLoop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(_BOUND_S)


@contextmanager
def served_control_plane(root: Path) -> Iterator[Served]:
    """A control plane with its data below `root` that answers at a free port of the loopback interface."""
    listener = socket.create_server(("127.0.0.1", 0))
    found: list[Served | BaseException] = []
    ready = threading.Event()
    servers: list[uvicorn.Server] = []

    async def serve() -> None:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with running_control_plane(root, base_url=url) as plane:
            server = uvicorn.Server(uvicorn.Config(plane.app, log_config=None, lifespan="off"))
            servers.append(server)
            key = await plane.key(Role.ADMIN)
            found.append(Served(url=url, key=key, plane=plane, loop=asyncio.get_running_loop()))
            ready.set()
            await server.serve([listener])

    def work() -> None:
        try:
            asyncio.run(serve())
        except BaseException as exc:
            found.append(exc)
            ready.set()

    thread = threading.Thread(target=work, name="served-control-plane")
    thread.start()
    try:
        assert ready.wait(_BOUND_S), "the control plane did not start"
        served = found[0]
        if isinstance(served, BaseException):
            raise served
        yield served
    finally:
        for server in servers:
            server.should_exit = True
        thread.join(_BOUND_S)
        listener.close()
