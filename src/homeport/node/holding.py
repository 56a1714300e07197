"""The node's word to `homeport up`: hold these pipes open. So that what a program prints last is not lost when it ends
while the node is away: the kernel forgets what is in a pipe that nobody has open.

Used by the supervisor. It waits for nobody and needs nobody: without a listener, pipes are held by the programs alone.
The listener is `homeport.supervise.holding`. Says one JSON object a line: `{"hold": [path]}`, `{"drop": [path]}`, and
`{"begin": true}` and `{"end": true}` around the list of all, after which others are dropped.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

AGAIN_S = 0.5  # between looks at whether `up` was replaced: how long its successor may hold nothing
_CHUNK = 100  # paths in a line


class Holding:
    """Speaks to the listener at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def hold(self, *pipes: Path) -> None:
        self._say({"hold": [str(pipe) for pipe in pipes]})

    def drop(self, *pipes: Path) -> None:
        self._say({"drop": [str(pipe) for pipe in pipes]})

    async def run(self, living: Callable[[], Iterable[Path]]) -> None:
        """Stay in touch, and tell each new listener of all pipes that are in use."""
        try:
            while True:
                if not self._connected():
                    self._connect([*living()])
                await asyncio.sleep(AGAIN_S)
        finally:
            self._disconnect()

    def _connect(self, pipes: list[Path]) -> None:
        self._disconnect()
        fresh = socket.socket(socket.AF_UNIX)
        fresh.setblocking(False)
        try:
            fresh.connect(str(self._path))
        except OSError:
            fresh.close()
            return
        self._socket = fresh
        self._say({"begin": True})
        for first in range(0, len(pipes), _CHUNK):
            self.hold(*pipes[first : first + _CHUNK])
        self._say({"end": True})

    def _connected(self) -> bool:
        if self._socket is None:
            return False
        try:
            return bool(self._socket.recv(1))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _say(self, message: dict[str, object]) -> None:
        """A listener that hangs is given up: the next look tells it everything anew."""
        if self._socket is None:
            return
        data = json.dumps(message).encode() + b"\n"
        try:
            if self._socket.send(data) < len(data):
                self._disconnect()
        except OSError:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None
