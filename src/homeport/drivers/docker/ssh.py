"""Connections to a remote engine through the system's ssh: one `ssh host docker system dial-stdio` for each.

The operator's own ssh configuration, keys, agent and known hosts decide, as for Docker's own client. An unknown host is
refused, never asked about. Used by `homeport.drivers.docker.address`.
"""

import asyncio
import socket
import subprocess
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.client_proto import ResponseHandler

END_S = 5.0  # for an ssh whose input has ended
_OPTIONS = ("-T", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=10")
_REMOTE = ("docker", "system", "dial-stdio")


def command(url: str) -> list[str]:
    """The command whose standard input and output are a connection to the engine behind `url`."""
    parts = urlsplit(url)
    user = ("-l", parts.username) if parts.username else ()
    port = ("-p", str(parts.port)) if parts.port else ()
    return ["ssh", *_OPTIONS, *user, *port, "--", str(parts.hostname), *_REMOTE]


class SshConnector(aiohttp.BaseConnector):
    """A pool of such connections. A process ends when its connection is closed, for its input ends then."""

    def __init__(self, url: str, *, limit: int) -> None:
        super().__init__(limit=limit)
        self._command = command(url)
        self._processes: list[subprocess.Popen[bytes]] = []

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close the connections, and wait for the processes, which end with them."""
        await super().close(abort_ssl=abort_ssl)
        for process in self._processes:
            try:
                await asyncio.to_thread(process.wait, END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                handle = theirs.fileno()
                process = subprocess.Popen(self._command, stdin=handle, stdout=handle, stderr=subprocess.DEVNULL)
        except OSError:
            ours.close()
            raise
        self._processes = [one for one in self._processes if one.poll() is None] + [process]
        loop = asyncio.get_running_loop()
        _, handler = await loop.create_unix_connection(lambda: self._factory(), sock=ours)
        return handler
