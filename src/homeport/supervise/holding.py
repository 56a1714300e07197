"""Holds the pipes of programs open for the node, which says which (`homeport.node.holding`).

A program that ends while the node is away leaves its last words in its pipe, and the kernel forgets them with the last
handle. So `up`, which outlives the node, has one too. A thread of `up`; it reads and writes nothing of the pipes.
"""

import contextlib
import json
import logging
import os
import selectors
import socket
import threading
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_LINE_BYTES = 1024 * 1024  # a hundred paths


class PipeHolder:
    """A service in a thread: start, then stop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: dict[str, int] = {}
        self._named: set[str] | None = None  # since the node began to say all of them
        self._buffers: dict[socket.socket, bytes] = {}
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._listener: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="pipes", daemon=True)

    def start(self) -> None:
        """Listen. Raises OSError."""
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._path.chmod(0o600)
        self._listener.listen()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread.start()

    def stop(self) -> None:
        if self._listener is not None:
            if self._thread.ident is not None:  # it could listen
                self._wake.send(b".")
                self._thread.join()
            self._listener.close()
            self._listener = None
            self._path.unlink(missing_ok=True)  # also after a start that was refused
        self._selector.close()
        self._wake.close()
        self._woken.close()

    def _run(self) -> None:
        assert self._listener is not None
        try:
            while True:
                for key, _ in self._selector.select():
                    if key.fileobj is self._woken:
                        return
                    if key.fileobj is self._listener:
                        self._accept(self._listener)
                    else:
                        self._read(key.fileobj)  # type: ignore[arg-type]
        finally:
            for connection in [*self._buffers]:
                self._close(connection)
            for handle in self._held.values():
                os.close(handle)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            self._buffers[connection] = b""
            self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, connection: socket.socket) -> None:
        """What is held stays held when the node goes away."""
        try:
            data = connection.recv(64 * 1024)
            *lines, rest = (self._buffers[connection] + data).split(b"\n")
            for line in lines:
                self._follow(json.loads(line))
        except (OSError, ValueError, TypeError) as error:
            log.warning("the node cannot be followed: %s", error)
            data, rest = b"", b""
        if not data or len(rest) > _LINE_BYTES:
            self._close(connection)
        else:
            self._buffers[connection] = rest

    def _follow(self, message: dict[str, Any]) -> None:
        if "begin" in message:
            self._named = set()
        for path in message.get("hold", ()):
            self._hold(path)
        for path in message.get("drop", ()):
            self._drop(path)
        if "end" in message and self._named is not None:
            for path in self._held.keys() - self._named:
                self._drop(path)
            self._named = None

    def _hold(self, path: str) -> None:
        if self._named is not None:
            self._named.add(path)
        if path not in self._held:
            with contextlib.suppress(OSError):  # gone already, or no handle free: then the program alone holds it
                self._held[path] = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)

    def _drop(self, path: str) -> None:
        handle = self._held.pop(path, None)
        if handle is not None:
            os.close(handle)

    def _close(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._buffers[connection]
        connection.close()
