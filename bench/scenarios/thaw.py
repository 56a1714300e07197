"""Frozen programs: from the call that thaws one until the answer to a request that it was sent while it stood still.
In a sandbox through the node, in a container through its control group, and in one through the engine's own pause.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import engine as engines
from bench.engine import OWNER, PORT
from bench.figures import Figure, Outcome, Refused, turned
from bench.trivial import PROGRAM
from homeport.core.ids import UnitId, new_id
from homeport.core.units import Mount, UnitKind, UnitSpec
from homeport.drivers.contract import Driver
from homeport.drivers.docker.address import EngineAddress
from homeport.drivers.docker.engine import Engine
from homeport.node import host
from homeport.testing.driver_suite import eventually
from homeport.testing.engines import EngineProcess
from homeport.testing.nodes import running_node
from homeport.testing.system import free_port

THAW_MOST_MS = 10.0
SAMPLES = 40  # a round, for each
PROCESS, CONTAINER, PAUSED = "process", "container", "container, by the engine's unpause"
_BOUND_S = 30.0


def run(rounds: int, scale: float) -> Outcome:
    if cause := host.userns_obstacle():
        raise Refused(cause)
    return asyncio.run(_run(rounds, max(5, int(SAMPLES * scale))))


async def _run(rounds: int, samples: int) -> Outcome:
    froze: dict[str, list[float]] = {}
    thawed: dict[str, list[float]] = {}
    with engines.engine() as running:
        async with _targets(running) as targets:
            for number in range(-1, rounds):
                for name in turned(targets, number):
                    found = [await targets[name].sample() for _ in range(samples)]
                    if number >= 0:
                        froze.setdefault(name, []).append(median(one for one, _ in found))
                        thawed.setdefault(name, []).append(median(other for _, other in found))
    figures = [
        Figure(
            name=f"thaw to first byte, p50, {name}",
            unit="ms",
            rounds=values,
            most=THAW_MOST_MS if name != PAUSED else None,
        )
        for name, values in thawed.items()
    ]
    figures += [
        Figure(name=f"freeze, p50, {name}", unit="ms", rounds=values)
        for name, values in froze.items()
        if name != PAUSED
    ]
    return Outcome(figures=figures, notes=[f"{samples} samples of each a round"])


@dataclass(frozen=True, slots=True)
class _Target:
    address: tuple[str, int]
    freeze: Callable[[], Awaitable[None]]
    thaw: Callable[[], Awaitable[None]]

    async def sample(self) -> tuple[float, float]:
        """Milliseconds of the freeze, and from the call of thaw to the first byte of the answer."""
        began = time.perf_counter()
        await self.freeze()
        froze = time.perf_counter() - began
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n")
        await writer.drain()
        began = time.perf_counter()
        await self.thaw()
        async with asyncio.timeout(_BOUND_S):
            await reader.readexactly(1)
        thawed = time.perf_counter() - began
        writer.close()
        return 1000 * froze, 1000 * thawed


@asynccontextmanager
async def _targets(running: EngineProcess) -> AsyncIterator[dict[str, _Target]]:
    with tempfile.TemporaryDirectory(prefix="homeport-bench-") as folder:
        docker, engine = engines.docker_driver(running, Path(folder)), Engine(EngineAddress(url=running.url))
        async with AsyncExitStack() as stack:
            stack.push_async_callback(engine.close)
            await docker.open()
            stack.push_async_callback(docker.close)
            node = await stack.enter_async_context(running_node())
            python = f"{node.interpreter.target}/bin/{Path(os.path.realpath(sys.executable)).name}"
            port, unit = free_port(), UnitId(new_id("unit"))
            spec = UnitSpec(
                id=unit,
                kind=UnitKind.REPLICA,
                argv=(python, "-c", PROGRAM.read_text()),
                env={"PORT": str(port), "PATH": "/usr/bin:/bin"},
                mounts=(Mount(source=node.interpreter.source, target=node.interpreter.target),),
            )
            process = await _serving(node.driver, spec, port)
            container, paused = engines.container_unit(), engines.container_unit()
            addresses = [await _serving(docker, one, PORT) for one in (container, paused)]
            name = OWNER.container_name(paused.id)
            yield {
                PROCESS: _through(node.driver, unit, process),
                CONTAINER: _through(docker, container.id, addresses[0]),
                PAUSED: _Target(addresses[1], lambda: _pause(engine, name), lambda: engine.unpause(name)),
            }


def _through(driver: Driver, unit: UnitId, address: tuple[str, int]) -> _Target:
    return _Target(address, lambda: driver.freeze(unit), lambda: driver.thaw(unit))


async def _pause(engine: Engine, name: str) -> None:
    """Once the engine has noted the unpause before, and until it has noted this pause."""

    async def is_paused(wanted: bool) -> bool:
        inspected = await engine.inspect(name)
        return inspected is not None and inspected["State"]["Paused"] is wanted

    await eventually(lambda: is_paused(False))
    await engine.pause(name)
    await eventually(lambda: is_paused(True))


async def _serving(driver: Driver, spec: UnitSpec, port: int) -> tuple[str, int]:
    """Start it; where it listens, once it does."""
    status = await driver.start(spec)

    async def listens() -> bool:
        return port in await driver.listening(spec.id)

    await eventually(listens)
    return status.address or "127.0.0.1", port
