"""One life of the server: its real loops and use cases, with a store, a driver and a gateway that take time, that may
fail, and that do nothing any more once it is dead."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from homeport.app.context import Context
from homeport.build.fetch import Fetcher
from homeport.build.program import Platform
from homeport.core.errors import StoreUnavailable
from homeport.core.ids import UnitId
from homeport.core.service import Service, Signals
from homeport.core.units import LogLine, UnitExit, UnitSpec, UnitStatus
from homeport.dataplane.routes import Gateway
from homeport.policy.inventory import Flavor, Region
from homeport.reconcile.builds import Builds
from homeport.reconcile.expiry import Expiries
from homeport.reconcile.fetches import Fetches
from homeport.reconcile.garbage import Garbage
from homeport.reconcile.launch import ReplicaLauncher
from homeport.reconcile.replicas import Performer
from homeport.reconcile.retention import Retention
from homeport.reconcile.rollouts import Rollouts
from homeport.reconcile.routes import Routes
from homeport.runner.dispatch import Runner
from homeport.runner.launch import TaskLauncher
from homeport.store.contract import Store, Transaction
from homeport.testing.loops import BASE_URL
from homeport.testing.simulation.gateway import SimulatedGateway
from homeport.testing.simulation.machine import Machine
from homeport.testing.simulation.node import SimulatedNode
from homeport.testing.simulation.scenario import FaultKind
from homeport.testing.simulation.site import InstantBuilder, site
from homeport.testing.simulation.store import MemoryStore

T = TypeVar("T")

_LIFE: ContextVar["Life | None"] = ContextVar("life", default=None)
FULL = "The store's database cannot grow: the disk is full."


class ServerGone(Exception):
    """The server died before it answered; what it was asked for may or may not be done."""


class Life:
    """A process, as far as it can be killed: its tasks, and how many more calls it makes."""

    def __init__(self, machine: Machine, number: int, died: Callable[[], None]) -> None:
        self.name = f"server {number}"
        self.dead = False
        self.tasks: list[asyncio.Task[Any]] = []
        self.calls_left: int | None = None
        self._machine = machine
        self._died = died

    def die(self, why: str = "") -> None:
        """As SIGKILL: from now on nothing that its tasks ask for happens."""
        if self.dead:
            return
        self.dead = True
        self._machine.note(f"{self.name} is dead {why}")
        asyncio.get_running_loop().call_soon(self._drop)
        self._died()

    async def step(self, delay_s: float) -> None:
        """Before and after each call that leaves the process: the moments at which a death makes a difference."""
        self._check()
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left <= 0:
                self.die("at a call")
                await asyncio.get_running_loop().create_future()  # until it is dropped
        if delay_s:
            await asyncio.sleep(delay_s)
            self._check()

    def _check(self) -> None:
        if self.dead:
            raise asyncio.CancelledError

    def _drop(self) -> None:
        for task in self.tasks:
            task.cancel()


def factory(loop: asyncio.AbstractEventLoop, work: Any, **named: Any) -> asyncio.Task[Any]:
    """Makes tasks that belong to the life in which they are made."""
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **named)
    if (life := _LIFE.get()) is not None:
        life.tasks = [one for one in life.tasks if not one.done()]
        life.tasks.append(task)
    return task


class _StoreOf:
    """The store as one server has it: writes in their order, each with its moment before and after the commit."""

    def __init__(self, life: Life, store: MemoryStore, machine: Machine) -> None:
        self._life = life
        self._store = store
        self._machine = machine
        self._disk = machine.chance(f"disk of {life.name}")
        self._written_at = 0.0

    async def start(self) -> None:
        """It is open."""

    async def stop(self) -> None:
        """It stays open for the next server."""

    @property
    def failure(self) -> None:
        """Nobody looks."""

    async def scrub(self) -> None:
        """Nothing is left behind."""

    async def read(self, work: Callable[[Transaction], T]) -> T:
        await self._life.step(self._delay_s())
        answer = self._store.read_now(work)
        await self._life.step(0.0)
        return answer

    async def write(self, work: Callable[[Transaction], T]) -> T:
        now = asyncio.get_running_loop().time()
        self._written_at = max(self._written_at + 1e-6, now + self._delay_s())
        await self._life.step(self._written_at - now)
        full = self._machine.active(FaultKind.DISK_FULL) and self._disk.random() < 0.6
        lost = self._machine.active(FaultKind.ANSWERS_LOST) and self._disk.random() < 0.4
        answer = self._store.write_now(work, keep=not full)
        await self._life.step(self._delay_s())
        if full or lost:
            raise StoreUnavailable(FULL)
        return answer

    def _delay_s(self) -> float:
        return self._disk.random() * (0.3 if self._machine.active(FaultKind.SLOW_DISK) else 0.003)


class _DriverOf:
    """The node as one server has it."""

    def __init__(self, life: Life, node: SimulatedNode) -> None:
        self.name = node.name
        self._life = life
        self._node = node

    async def _call(self, call: Callable[..., Awaitable[T]], *given: Any) -> T:
        await self._life.step(0.0)
        answer = await call(*given)
        await self._life.step(0.0)
        return answer

    async def start(self, spec: UnitSpec) -> UnitStatus:
        return await self._call(self._node.start, spec)

    async def stop(self, unit: UnitId, grace_s: float) -> None:
        await self._call(self._node.stop, unit, grace_s)

    async def freeze(self, unit: UnitId) -> None:
        await self._call(self._node.freeze, unit)

    async def thaw(self, unit: UnitId) -> None:
        await self._call(self._node.thaw, unit)

    async def signal(self, unit: UnitId, number: int) -> None:
        await self._call(self._node.signal, unit, number)

    async def status(self, unit: UnitId) -> UnitStatus | None:
        return await self._call(self._node.status, unit)

    async def units(self) -> list[UnitStatus]:
        return await self._call(self._node.units)

    async def listening(self, unit: UnitId) -> frozenset[int]:
        return await self._call(self._node.listening, unit)

    async def listening_inside(self, unit: UnitId) -> frozenset[int]:
        return await self._call(self._node.listening_inside, unit)

    async def exits(self, after: int) -> AsyncIterator[UnitExit]:
        async for end in self._node.exits(after):
            await self._life.step(0.0)
            yield end

    async def log(self, unit: UnitId, offset: int, limit: int) -> list[LogLine]:
        return await self._call(self._node.log, unit, offset, limit)

    async def log_before(self, unit: UnitId, before: Any, limit: int) -> list[LogLine]:
        return await self._call(self._node.log_before, unit, before, limit)

    async def forget(self, unit: UnitId) -> None:
        await self._call(self._node.forget, unit)

    async def discard_volume(self, volume: str) -> None:
        await self._call(self._node.discard_volume, volume)

    async def info(self) -> dict[str, Any]:
        return await self._call(self._node.info)

    async def close(self) -> None:
        """Nothing to release."""


class Server:
    """The parts of `homeport.server`, wired as there."""

    def __init__(
        self,
        life: Life,
        store: MemoryStore,
        node: SimulatedNode,
        machine: Machine,
        *,
        slots: int,
        published: Callable[[Gateway], None],
    ) -> None:
        self.life = life
        clock, known, driver = machine.clock, _StoreOf(life, store, machine), _DriverOf(life, node)
        gateway = SimulatedGateway(machine, lambda: not life.dead, published)
        self.context = _context(known, machine, driver)
        data, signals = site().data, self.context.signals
        platform = Platform(
            base_url=BASE_URL, sealing=site().sealing, sdk_hook=Path("/"), secret_of=lambda *_: "secret"
        )
        ports = machine.chance(f"ports of {life.name}")
        performer = Performer(
            known,
            clock,
            driver,
            ReplicaLauncher(known, data.bundles, platform),
            choose_port=lambda taken: ports.choice([port for port in range(20_000, 20_050) if port not in taken]),
        )
        routes = Routes(known, clock, self.context.keys, gateway)
        builder = InstantBuilder(data, driver, clock, site().tools)
        fetches = _no_fetches(self.context, driver)
        tasks = TaskLauncher(known, clock, self.context.keys, data.bundles, platform, {"local": driver})
        self._parts: tuple[Service, ...] = (
            Rollouts(known, clock, driver, performer, routes, gateway, signals, data.bundles),
            Builds(known, clock, builder, fetches, data, signals),
            Runner(known, clock, [driver], tasks, slots=slots, wakeup=signals.runner),
            Expiries(known, clock, signals),
            Garbage(
                *(known, clock, driver, builder, site().empty, signals.garbage),
                staging=self.context.staging,
                retention=Retention(known, clock, self.context.configuration.images, {}),
            ),
        )

    async def start(self) -> None:
        """Start its loops, all of them within its life."""
        await self._within(self._start_parts())

    async def call(self, work: Callable[[Context], Awaitable[T]]) -> T:
        """What a request gets. Raises `ServerGone` where the server dies meanwhile."""
        if self.life.dead:
            raise ServerGone

        async def request() -> T:
            return await work(self.context)

        return await self._within(request())

    async def _start_parts(self) -> None:
        for part in self._parts:
            await part.start()

    async def _within(self, work: Any) -> Any:
        token = _LIFE.set(self.life)
        try:
            task = asyncio.ensure_future(work)
        finally:
            _LIFE.reset(token)
        await asyncio.wait([task])
        if task.cancelled():
            raise ServerGone
        return task.result()


def _context(store: Store, machine: Machine, driver: Any) -> Context:
    flavors = (Flavor("x86", "cpu"),)
    return Context(
        store=store,
        clock=machine.clock,
        keys=site().keys,
        sealing=site().sealing,
        data=site().data,
        regions=(Region(name="local", country="DE", continent="EU", flavors=flavors, driver=driver.name),),
        drivers={driver.name: driver},
        signals=Signals(),
        base_url=BASE_URL,
    )


def _no_fetches(context: Context, driver: Any) -> Fetches:
    """No source is a repository here."""
    fetcher = Fetcher(context.data, driver, context.clock, site().tools.registry, context.configuration)
    return Fetches(context.store, fetcher, context.sealing, context.configuration.sources)
