"""Announces each step of the server and the node to a test, which may kill a process right there.

A step of the server is a group of writes before and after its commit, and a call to the driver that changes something,
before and after; of the node, an append to its journal and the start of a process; of both, the renaming of a file.
Loaded into the components only by `homeport.testing.killing`, through a `sitecustomize` on their PYTHONPATH: the
product knows nothing of it. Where nobody listens any more, the steps pass.
"""

import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any


class Channel:
    """To the test: one line a step, and an answer before the process goes on."""

    def __init__(self, address: str, role: str) -> None:
        self._role = role
        self._turn = threading.Lock()
        self._socket: socket.socket | None = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(address)
        except OSError:
            self._socket = None

    def step(self, name: str) -> None:
        """Returns when the test says so; or never, if it kills this process here."""
        with self._turn:
            if self._socket is None:
                return
            try:
                self._socket.sendall(f"{self._role} {name}\n".encode())
                if self._socket.recv(1):
                    return
            except OSError:
                pass
            self._socket = None


def install(address: str, data: str) -> None:
    """Hook into this process, if it is a component. data: the data directory, whose files count."""
    words = sys.orig_argv
    if "homeport.supervise" in words:
        _restart_at_once()
    elif "homeport.server" in words:
        channel = Channel(address, "server")
        _hook_server(channel)
        _hook_renames(channel, data)
    elif "homeport.node" in words and "--check" not in words:
        channel = Channel(address, "node")
        _hook_node(channel)
        _hook_renames(channel, data)


def _restart_at_once() -> None:
    """Hundreds of deaths are no sign of a broken component here."""
    from homeport.supervise import supervisor

    supervisor._STEADY_S = 0.0


def _hook_server(channel: Channel) -> None:
    from homeport.drivers.process import ProcessDriver
    from homeport.store.writer import Writer

    _before(channel, Writer, "_write_group", "before a commit")
    _before(channel, Writer, "_loop_call", "after a commit")
    for method in ("start", "stop", "forget"):
        _around(channel, ProcessDriver, method, f"the driver's {method}")


def _hook_node(channel: Channel) -> None:
    from homeport.node.journal import Journal
    from homeport.node.launch import Launcher

    _before(channel, Journal, "_flush", "before an append", after="after an append")
    _before(channel, Launcher, "spawn", "before a process starts", after="after a process started")


def _hook_renames(channel: Channel, data: str) -> None:
    for name in ("rename", "replace"):
        original = getattr(os, name)

        def hooked(source: Any, target: Any, *, _original: Callable[..., None] = original, **named: Any) -> None:
            ours = os.fspath(target).startswith(data) if isinstance(os.fspath(target), str) else False
            if ours:
                channel.step("before a rename")
            _original(source, target, **named)
            if ours:
                channel.step("after a rename")

        setattr(os, name, hooked)


def _before(channel: Channel, owner: type, method: str, before: str, after: str = "") -> None:
    original = getattr(owner, method)

    def hooked(self: Any, *args: Any, **named: Any) -> Any:
        channel.step(before)
        answer = original(self, *args, **named)
        if after:
            channel.step(after)
        return answer

    setattr(owner, method, hooked)


def _around(channel: Channel, owner: type, method: str, name: str) -> None:
    original = getattr(owner, method)

    async def hooked(self: Any, *args: Any, **named: Any) -> Any:
        channel.step(f"before {name}")
        answer = await original(self, *args, **named)
        channel.step(f"after {name}")
        return answer

    setattr(owner, method, hooked)
