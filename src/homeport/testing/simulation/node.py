"""The node that is simulated: the scripted driver with journeys that take time, and with what may go wrong on them.

It outlives servers, as the node does; what it started and what ended is its own record, against which the store's is
checked.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Protocol

from homeport.core.errors import DriverUnavailable, Internal
from homeport.core.ids import UnitId
from homeport.core.units import Outcome, UnitExit, UnitKind, UnitSpec, UnitStatus
from homeport.testing.scripted_driver import Behaviour, ScriptedDriver
from homeport.testing.simulation.machine import Machine
from homeport.testing.simulation.scenario import FaultKind

KILLED = Outcome(signal=9, reason="signal 9 (SIGKILL)")
POWER = Outcome(lost=True, reason="the machine was restarted")
STOPPED = Outcome(signal=15, stopped=True, reason="the node was stopped")


class Watcher(Protocol):
    """Whoever checks what the node is told to do, at the moment when it does it."""

    def started(self, spec: UnitSpec) -> None: ...

    def ended(self, spec: UnitSpec, outcome: Outcome | None) -> None:
        """None for one that is gone without a trace."""
        ...

    def stopping(self, spec: UnitSpec) -> None: ...

    def refused(self, spec: UnitSpec) -> None:
        """It could not be started."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a unit does. `listens_after_s` None: never. `elsewhere`: on another port than its own."""

    behaviour: Behaviour
    listens_after_s: float | None = None
    elsewhere: bool = False


class SimulatedNode(ScriptedDriver):
    """Its watcher is to be set before anything starts."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(self._begun, clock=machine.clock)
        self.watcher: Watcher | None = None
        self._machine = machine
        self._journeys = machine.chance("journeys")
        self._programs: dict[UnitId, Program] = {}

    @property
    def alive(self) -> list[UnitSpec]:
        """What runs or is about to, in order of start."""
        return [unit.spec for unit in self._units.values() if unit.status.state.alive]

    def lives(self, unit: UnitId) -> bool:
        found = self._units.get(unit)
        return found is not None and found.status.state.alive

    def listens(self, port: int) -> bool:
        """Whether a living unit listens there."""
        return any(port in unit.ports and self.lives(unit.spec.id) for unit in self._units.values())

    # What happens to units

    def end_all(self, outcome: Outcome) -> None:
        for spec in self.alive:
            self.finish(spec.id, outcome)

    def vanish(self, unit: UnitId) -> None:
        """The unit is gone and the node knows nothing of it any more."""
        found = self._units.pop(unit)
        for timer in found.timers:
            timer.cancel()
        found.began.set()
        self._machine.note(f"node: {unit} is gone without a trace")
        self._watched().ended(found.spec, None)

    def finish(self, unit: UnitId, outcome: Outcome) -> None:
        lived = self.lives(unit)
        super().finish(unit, outcome)
        if lived:
            self._machine.note(f"node: {unit} ended: {_said(outcome)}")
            self._watched().ended(self._units[unit].spec, outcome)

    # The contract, with journeys

    async def start(self, spec: UnitSpec) -> UnitStatus:
        await self._travel()
        chance = self._journeys.random()
        if self._machine.active(FaultKind.STARTS_FAIL) and spec.id not in self._units:
            if chance < 0.3:
                self._machine.note(f"node: {spec.id} cannot start")
                self._watched().refused(spec)
                raise Internal(detail="the sandbox cannot be made")
            if chance < 0.6:
                raise DriverUnavailable("The node has no room for another unit.")
        status = await super().start(spec)
        await self._travel()
        if self._machine.active(FaultKind.STARTS_FAIL) and chance > 0.8:
            raise DriverUnavailable("The node's answer was lost.")
        return status

    async def stop(self, unit: UnitId, grace_s: float) -> None:
        await self._travel()
        if self.lives(unit):
            self._machine.note(f"node: {unit} is asked to end")
            self._watched().stopping(self._units[unit].spec)
        await super().stop(unit, grace_s)
        await self._travel()

    async def status(self, unit: UnitId) -> UnitStatus | None:
        await self._travel()
        return await super().status(unit)

    async def units(self) -> list[UnitStatus]:
        await self._travel()
        return await super().units()

    async def listening(self, unit: UnitId) -> frozenset[int]:
        await self._travel()
        return await super().listening(unit)

    async def exits(self, after: int) -> AsyncIterator[UnitExit]:
        """Late ones, and some of them twice."""
        async for end in super().exits(after):
            await asyncio.sleep(self._journeys.choice((0.0, 0.001, 0.001, 0.05, 1.0)))
            yield end
            if self._journeys.random() < 0.05:
                yield end

    async def forget(self, unit: UnitId) -> None:
        await self._travel()
        await super().forget(unit)

    async def _travel(self) -> None:
        self._check()
        await asyncio.sleep(self._journeys.random() * 0.004)
        self._check()

    def _begun(self, spec: UnitSpec) -> Behaviour:
        self._machine.note(f"node: {spec.id} starts")
        self._watched().started(spec)
        program = program_of(spec, self._machine.chance(f"program {spec.id}"))
        self._programs[spec.id] = program
        slow = self._machine.active(FaultKind.SLOW_STARTS)
        start_s = self._journeys.choice((0.5, 3.0, 8.0)) if slow else self._journeys.choice((0.0, 0.005, 0.03))
        if program.listens_after_s is not None:
            asyncio.get_running_loop().call_later(start_s + program.listens_after_s, self._listen, spec)
        return replace(program.behaviour, start_s=start_s)

    def _listen(self, spec: UnitSpec) -> None:
        if self.lives(spec.id):
            port = int(spec.env["PORT"])
            self.listen(spec.id, port + 20_000 if self._programs[spec.id].elsewhere else port)

    def _watched(self) -> Watcher:
        assert self.watcher is not None
        return self.watcher


def program_of(spec: UnitSpec, chance: Random) -> Program:
    """What the program of this unit does. A replica's is said by the source that its bundle was made of."""
    if spec.kind is UnitKind.TASK:
        return Program(behaviour=_task(chance))
    source = Path(spec.bundle or "").parent.name
    if source == "ends":
        return Program(behaviour=Behaviour(outcome=Outcome(exit_code=1), after_s=chance.random()))
    if source == "silent":
        return Program(behaviour=Behaviour())
    listens_after_s = chance.choice((0.05, 0.2, 1.0, 4.0))
    obeys = chance.random() < 0.9
    return Program(behaviour=Behaviour(obeys=obeys), listens_after_s=listens_after_s, elsewhere=source == "elsewhere")


def _task(chance: Random) -> Behaviour:
    after_s = chance.choice((0.0, 0.05, 0.5, 1.0, 3.0)) * chance.random()
    obeys = chance.random() < 0.8
    fate = chance.random()
    if fate < 0.6:
        return Behaviour(outcome=Outcome(exit_code=0), after_s=after_s, obeys=obeys)
    if fate < 0.8:
        return Behaviour(outcome=Outcome(exit_code=3), after_s=after_s, obeys=obeys)
    if fate < 0.85:
        return Behaviour(outcome=replace(KILLED, out_of_memory=True), after_s=after_s, obeys=obeys)
    if fate < 0.9:
        return Behaviour(outcome=Outcome(lost=True, reason="its sandbox is gone"), after_s=after_s, obeys=obeys)
    return Behaviour(obeys=obeys)  # until its time is over


def _said(outcome: Outcome) -> str:
    flags = [name for name in ("timed_out", "stopped", "out_of_memory", "lost") if getattr(outcome, name)]
    how = f"exit code {outcome.exit_code}" if outcome.exit_code is not None else f"signal {outcome.signal}"
    return ", ".join([*([] if outcome.lost else [how]), *flags])
