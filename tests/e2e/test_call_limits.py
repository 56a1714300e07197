"""How long a call may take, with small limits, on a real Envoy: the same whether or not the activator is in the way."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from homeport.core.limits import CallLimits
from homeport.testing.gateway import GatewaySystem as System
from homeport.testing.gateway import Program, agent, bearer, reached, revision, token

LIMITS = CallLimits(idle_s=1, total_s=2, websocket_idle_s=1)

pytestmark = pytest.mark.asyncio(loop_scope="module")
ADDRESSES = pytest.mark.parametrize("address", ["/acme/agents/warm", "/acme/agents/cold"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system() -> AsyncIterator[System]:
    running = System(LIMITS)
    try:
        await running.start()
        program = await running.program("one")
        running.activate = lambda: web.json_response({"address": "127.0.0.1", "port": program.port})
        await running.publish(agent("warm", revision("r1", program)), agent("cold", revision("r1")))
        yield running
    finally:
        await running.stop()


@ADDRESSES
async def test_a_call_without_a_byte_ends_in_the_contracts_envelope(system: System, address: str) -> None:
    answer = await system.get(f"{address}/wait")
    assert answer.is_of_gateway(504, "WORKLOAD_UNAVAILABLE")
    assert "No byte came" in answer.text and answer.headers["x-should-retry"] == "false"
    program: Program = system.programs[0]
    await reached(lambda: program.waiting == 0)  # the program is told, and may stop working for it


@ADDRESSES
async def test_each_chunk_begins_the_time_anew_until_the_whole_is_over(system: System, address: str) -> None:
    async def drip(chunks: int) -> bytes:
        url = f"{system.url}{address}/drip?chunks={chunks}&pause=0.6"
        async with system.client.get(url, headers=bearer(token())) as response:
            return await response.read()

    short, long = await asyncio.gather(drip(2), drip(100), return_exceptions=True)
    assert short == b".."  # 1.2 s, with a second allowed without a byte
    assert isinstance(long, aiohttp.ClientError)  # cut off: its beginning was out already


@ADDRESSES
async def test_a_websocket_may_be_quiet_for_a_time_of_its_own_and_has_no_end(system: System, address: str) -> None:
    began = asyncio.get_running_loop().time()
    async with system.client.ws_connect(f"{system.url}{address}/ws", headers=bearer(token())) as channel:
        for number in range(5):  # longer than a call may take in all
            await asyncio.sleep(0.5)
            await channel.send_str(str(number))
            assert (await channel.receive(5)).data == f"one: {number}"
        assert asyncio.get_running_loop().time() - began > LIMITS.total_s
        assert (await channel.receive(5)).type in (
            aiohttp.WSMsgType.CLOSE,
            aiohttp.WSMsgType.CLOSED,
            aiohttp.WSMsgType.ERROR,
        )
