"""What this machine can learn of programs in containers on another one, whose /proc it does not see: whether something
listens behind a published port. And of the way back: whether the gateway answers at the address that they are told.
Called by the driver.
"""

import asyncio
from dataclasses import dataclass, field

import aiohttp

from homeport.core.clock import Clock, SystemClock

CONNECT_S = 2.0
# An engine may have a proxy accept for programs that do not listen; it closes as soon as it finds that out, on its own
# machine. A program waits for a request.
SETTLE_S = 0.25
ASK_S = 2.0
BELIEVED_S = 30.0  # how long an answer of the gateway's counts
DOUBTED_S = 2.0  # and how long its silence


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """An engine of another machine, as the operator says: the address there at which programs' ports are published, and
    the URL at which they reach the gateway, if any."""

    programs_at: str
    gateway_url: str | None = None


async def serves(host: str, port: int) -> bool:
    """Whether a program takes connections there: one is made, nothing is sent, and it must be held."""
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(host, port)
    except OSError:  # TimeoutError is one
        return False
    try:
        async with asyncio.timeout(SETTLE_S):
            return await reader.read(1) != b""  # some programs speak first
    except TimeoutError:
        return True
    except OSError:
        return False
    finally:
        writer.close()


@dataclass(slots=True)
class WayBack:
    """Whether the gateway answers at `url`, asked from here: the best that can be known without a program there."""

    url: str
    clock: Clock = field(default_factory=SystemClock)
    _known: tuple[float, str | None] | None = None  # until when, and what

    async def trouble(self) -> str | None:
        """What is wrong, or None."""
        now = self.clock.monotonic()
        if self._known is None or now > self._known[0]:
            trouble = await self._ask()
            self._known = (now + (DOUBTED_S if trouble else BELIEVED_S), trouble)
        return self._known[1]

    async def _ask(self) -> str | None:
        timeout = aiohttp.ClientTimeout(total=ASK_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as client,
                client.get(f"{self.url}/healthz") as answer,
            ):
                return None if answer.status == 200 else f"answers {answer.status} at /healthz"
        except (aiohttp.ClientError, OSError) as error:
            return str(error) or "does not answer in time"
