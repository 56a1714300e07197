"""How programs in containers reach the gateway: it listens on this machine's loopback, which is not theirs. On the
address that the engine gave this machine in each network, a door passes their connections on to it. Owned by the
driver.

Bytes are passed on as they come; who may do what, the gateway says. Nobody outside this machine is routed to such an
address.
"""

import asyncio
import errno
import logging

from homeport.core.service import Background

log = logging.getLogger(__name__)

PIECE_BYTES = 64 * 1024
CONNECTIONS = 1000  # through all doors; each takes two file handles of the server


class Doors:
    """Doors to `port` on loopback."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: dict[str, asyncio.Server] = {}
        self._background = Background()
        self._room = asyncio.Semaphore(CONNECTIONS)

    async def open(self, address: str) -> None:
        """Have a door at `address`; nothing where there is one, or where the gateway listens there itself."""
        if address in self._open:
            return
        try:
            self._open[address] = await asyncio.start_server(self._enter, address, self._port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:  # a gateway that listens everywhere
                log.warning("programs at %s cannot reach the gateway: %s", address, error)

    def close(self, address: str) -> None:
        """Nobody comes from there any more."""
        if server := self._open.pop(address, None):
            server.close()

    async def stop(self) -> None:
        for address in [*self._open]:
            self.close(address)
        await self._background.stop()

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._background.spawn("docker.door", self._pass(reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._room:
                inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
                finally:
                    inner_writer.close()
        except OSError:
            pass  # one of the two ends went away, which the other sees
        finally:
            writer.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(PIECE_BYTES):
        sink.write(data)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()
