"""One run: the machine, its node, one server after the other, the users and the faults, from the first order until
everything has come to rest and stays so."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from homeport.app.context import Context
from homeport.core.ids import UnitId, drawn_from
from homeport.core.units import Outcome
from homeport.testing.factories import make_workspace
from homeport.testing.loops import HOME
from homeport.testing.simulation import ending
from homeport.testing.simulation.checks import Checks
from homeport.testing.simulation.loop import NothingLeft, TimeStandsStill, run
from homeport.testing.simulation.machine import Machine
from homeport.testing.simulation.node import KILLED, POWER, STOPPED, SimulatedNode
from homeport.testing.simulation.scenario import CALM_AT_S, Fault, FaultKind, Scenario, draw
from homeport.testing.simulation.server import Life, Server, ServerGone, factory
from homeport.testing.simulation.store import MemoryStore
from homeport.testing.simulation.users import Users

T = TypeVar("T")

REST_S = 1800.0  # after the last fault: the longest run has eight tasks, one at once, four times their time
STILL_S = 65.0  # at rest nothing happens for so long: longer than every loop's interval and every wait of a rollout
LOOK_S = 1.0
DRAIN_S = 2.0


def simulate(seed: int) -> Machine:
    """The run of `seed`: what happened, and what must not have. The same for the same seed and the same product."""
    machine = Machine(seed=seed)
    with _errors_found(machine), drawn_from(machine.chance("ids")):
        try:
            run(_World(machine, draw(seed)).run())
        except (NothingLeft, TimeStandsStill) as error:
            machine.violated(f"the run hangs: {type(error).__doc__}")
    return machine


class _World:
    def __init__(self, machine: Machine, scenario: Scenario) -> None:
        self._machine = machine
        self._scenario = scenario
        self._lives = 0
        self._server: Server | None = None
        self._down = machine.chance("down")
        self._victims = machine.chance("victims")

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        self._store = MemoryStore()
        self._node = SimulatedNode(self._machine)
        self._checks = Checks(machine=self._machine, store=self._store, node=self._node, slots=self._scenario.slots)
        self._node.watcher = self._checks
        self._store.after_commit = self._checks.committed
        await self._store.start()
        self._store.write_now(lambda tx: tx.identities.add_workspace(make_workspace(HOME)))
        await self._start_server()
        self._users = Users(self._machine, self._scenario, self, self._store)
        orders = asyncio.ensure_future(self._users.run())
        await self._faults()
        await orders
        if await self._comes_to_rest():
            await self._stays_still()
            for what in ending.wrong(self._checks, self._users.told):
                self._machine.violated(what)
        self._kill("at the end")

    async def call(self, work: Callable[[Context], Awaitable[T]]) -> T:
        """A request to the server of the moment."""
        if self._server is None:
            raise ServerGone
        return await self._server.call(work)

    def unasked(self, execution: str) -> list[UnitId]:
        return self._checks.unasked(execution)

    # Servers

    async def _start_server(self) -> None:
        self._lives += 1
        life = Life(self._machine, self._lives, self._died)
        self._machine.note(f"{life.name} starts")
        self._server = Server(
            life,
            self._store,
            self._node,
            self._machine,
            slots=self._scenario.slots,
            published=self._checks.published,
        )
        try:
            await self._server.start()
        except ServerGone:
            pass  # killed while it started

    def _died(self) -> None:
        self._server = None
        after_s = self._down.choice((0.1, 0.5, 3.0)) * (0.5 + self._down.random())
        asyncio.get_running_loop().call_later(after_s, lambda: asyncio.ensure_future(self._start_server()))

    def _kill(self, why: str) -> None:
        if self._server is not None:
            self._server.life.die(why)

    # Faults

    async def _faults(self) -> None:
        loop = asyncio.get_running_loop()
        for fault in self._scenario.faults:
            await asyncio.sleep(max(0.0, fault.at_s - loop.time()))
            length = f" for {fault.length_s} s" if fault.length_s else ""
            self._machine.note(f"fault: {fault.kind}{length}{f' ({fault.amount:g})' if fault.amount else ''}")
            self._begin(fault)
        await asyncio.sleep(max(0.0, CALM_AT_S - loop.time()))
        if self._server is not None:
            self._server.life.calls_left = None
        self._machine.until.clear()
        self._back()
        self._machine.note("no more faults")

    def _begin(self, fault: Fault) -> None:
        loop = asyncio.get_running_loop()
        if fault.length_s:
            self._machine.until[fault.kind] = max(
                self._machine.until.get(fault.kind, 0.0), loop.time() + fault.length_s
            )
        match fault.kind:
            case FaultKind.SERVER_DIES:
                self._kill("by a fault")
            case FaultKind.SERVER_DIES_AT:
                if self._server is not None:
                    self._server.life.calls_left = int(fault.amount)
            case FaultKind.DOWN:
                if self._server is not None:
                    self._server.context.signals.pause()
                self._machine.note("the system drains")
                loop.call_later(min(fault.length_s, DRAIN_S), self._stop_all, STOPPED)
            case FaultKind.POWER_LOSS:
                self._stop_all(POWER)
                loop.call_later(fault.length_s, self._back)
            case FaultKind.NODE_AWAY:
                self._node.available = False
                loop.call_later(fault.length_s, self._back)
            case FaultKind.UNIT_LOST | FaultKind.UNIT_KILLED | FaultKind.UNIT_VANISHES:
                self._strike(fault.kind)
            case FaultKind.CLOCK_STEP:
                self._machine.clock.step(fault.amount)
            case _:
                pass  # a condition, which others ask for

    def _stop_all(self, outcome: Outcome) -> None:
        """Server, node and units end; another server follows, and the node answers once it is there."""
        self._kill("with all else")
        self._node.end_all(outcome)
        self._checks.picture = None
        self._node.available = False
        asyncio.get_running_loop().call_later(DRAIN_S, self._back)

    def _strike(self, kind: FaultKind) -> None:
        if not (alive := self._node.alive):
            return
        unit = self._victims.choice(alive).id
        if kind is FaultKind.UNIT_VANISHES:
            self._node.vanish(unit)
        else:
            self._node.finish(unit, POWER if kind is FaultKind.UNIT_LOST else KILLED)

    def _back(self) -> None:
        away = (FaultKind.NODE_AWAY, FaultKind.POWER_LOSS)
        if not self._node.available and not any(self._machine.active(kind) for kind in away):
            self._machine.note("node: answers again")
            self._node.available = True

    # The end

    async def _comes_to_rest(self) -> bool:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + REST_S
        while loop.time() < ends_at:
            if not [*ending.restless(self._checks, self._scenario, self._users.told)]:
                self._machine.note("at rest")
                return True
            await asyncio.sleep(LOOK_S)
        for what in ending.restless(self._checks, self._scenario, self._users.told):
            self._machine.violated(f"{REST_S:g} s after the last fault, {what}")
        return False

    async def _stays_still(self) -> None:
        """A fixed point is one: the loops have nothing more to do."""
        await asyncio.sleep(LOOK_S)
        before = (self._store.commits, self._checks.acts)
        await asyncio.sleep(STILL_S)
        after = (self._store.commits, self._checks.acts)
        if after != before:
            self._machine.violated(f"at rest, commits and acts grew from {before} to {after} within {STILL_S:g} s")


@contextmanager
def _errors_found(machine: Machine) -> Iterator[None]:
    """What the product logs as an error is a violation: its loops guard themselves, and say so there."""

    class Find(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            cause = record.exc_info[1] if record.exc_info else None
            machine.violated(f"log: {record.getMessage()}{f': {cause!r}' if cause else ''}")

    found = Find(level=logging.ERROR)
    logs = [logging.getLogger(name) for name in ("homeport", "asyncio")]
    before = [(log.propagate, log.level) for log in logs]
    for log in logs:
        log.addHandler(found)
        log.propagate = False
        log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for log, (propagate, level) in zip(logs, before, strict=True):
            log.removeHandler(found)
            log.propagate = propagate
            log.setLevel(level)
