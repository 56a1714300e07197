"""Freezes and thaws containers: through the freezer of their control group where this machine may write it, which takes
less than a millisecond, else through the engine's pause, which takes tens. Used by the docker driver.

The engine does not know of what is frozen past it, so its own `stop` gets no answer before it kills. Whether a
container stands still is asked of the kernel where that can be, so one that somebody paused is known, too.
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace

from homeport.core.clock import SystemClock
from homeport.core.errors import Conflict, DriverUnavailable, Unsupported
from homeport.drivers.docker.containers import Facts, Phase, facts
from homeport.drivers.docker.engine import Engine, EngineError
from homeport.drivers.docker.unit import Unit
from homeport.node.cgroups import ROOT, freezer_of
from homeport.node.freezer import Freezer

NOTED_S = 5.0  # it takes Docker some milliseconds
_POLL_S = 0.005
_NEVER = ("not supported", "unsupported", "rootless")  # how engines say that they cannot pause at all


class Freezing:
    """For the containers of one engine. One `freeze` of a unit at a time."""

    def __init__(self, engine: Engine, visible_pid: Callable[[Unit], int | None]) -> None:
        """visible_pid: a container's first process, if this machine sees it."""
        self._engine = engine
        self._visible_pid = visible_pid

    @property
    def method(self) -> str:
        """For `homeport status`: by what, in general."""
        tops = (ROOT / "freezer" / "cgroup.procs", ROOT / "cgroup.procs")
        direct = self._engine.address.local and any(os.access(top, os.W_OK) for top in tops)
        return "control group" if direct else "engine's pause"

    def look(self, unit: Unit) -> None:
        """Take over whether a unit that was just seen alive stands still."""
        frozen = unit.paused
        if group := self._group(unit):
            try:
                frozen = group.asked
            except OSError:  # it ends at this moment
                frozen = False
        unit.status = replace(unit.status, frozen=frozen)

    async def freeze(self, unit: Unit) -> None:
        """Raises as `homeport.drivers.contract` says."""
        if unit.intent is not None:
            raise Conflict(f"The unit {unit.spec.id} is being ended.")
        unit.status = replace(unit.status, frozen=True)
        try:
            still = await self._freeze_group(unit, group) if (group := self._group(unit)) else await self._pause(unit)
        except BaseException:
            await self.thaw(unit)
            raise
        if unit.intent is not None or not unit.status.frozen:
            await self.thaw(unit)
            raise Conflict(f"The unit {unit.spec.id} was thawed, or has ended, before it was frozen.")
        if not still:
            await self.thaw(unit)
            raise DriverUnavailable(f"The processes of the unit {unit.spec.id} do not stand still.")

    async def thaw(self, unit: Unit) -> None:
        """Also one that is not thought to be frozen: an end must be heard. Raises `DriverUnavailable`; then it still
        is."""
        if unit.paused:  # else the engine would go on thinking so
            await self._unpause(unit)
        if group := self._group(unit):
            try:
                group.ask(False)
            except OSError as error:
                if group.folder.exists():
                    raise _failed(unit, error) from error
        unit.status = replace(unit.status, frozen=False)

    async def _freeze_group(self, unit: Unit, group: Freezer) -> bool:
        try:
            group.ask(True)
            return await group.settle(lambda: unit.status.frozen)
        except OSError as error:
            raise _failed(unit, error) from error

    async def _pause(self, unit: Unit) -> bool:
        try:
            await self._engine.pause(unit.container)
        except EngineError as error:
            if any(words in error.message.lower() for words in _NEVER):
                raise Unsupported(f"The engine freezes no containers: {error.message}") from error
            found = await self._facts(unit)
            if found is None or found.phase is not Phase.ALIVE:
                raise Conflict(f"The unit {unit.spec.id} has ended.") from error
            if not found.paused:
                raise DriverUnavailable(f"The engine did not freeze the container: {error.message}") from error
        unit.paused = True
        await self._noted(unit, paused=True)
        return True

    async def _unpause(self, unit: Unit) -> None:
        try:
            await self._engine.unpause(unit.container)
        except EngineError as error:
            found = await self._facts(unit)
            if found is not None and found.paused:
                raise DriverUnavailable(f"The engine did not thaw the container: {error.message}") from error
        await self._noted(unit, paused=False)
        unit.paused = False

    async def _noted(self, unit: Unit, *, paused: bool) -> None:
        """Some engines note what they did a moment after they answered, and refuse the opposite until then."""
        deadline = SystemClock().monotonic() + NOTED_S
        while (found := await self._facts(unit)) and found.phase is Phase.ALIVE and found.paused is not paused:
            if SystemClock().monotonic() > deadline:
                raise DriverUnavailable("The engine does not say that it has frozen or thawed the container.")
            await asyncio.sleep(_POLL_S)

    async def _facts(self, unit: Unit) -> Facts | None:
        """What a refusal means is seen from how the container is: engines have their own words for it."""
        inspected = await self._engine.inspect(unit.container)
        return facts(inspected) if inspected else None

    def _group(self, unit: Unit) -> Freezer | None:
        """The freezer of the container's control group, if this machine may write it."""
        pid = self._visible_pid(unit)
        return freezer_of(pid, unit.container) if pid else None


def _failed(unit: Unit, error: OSError) -> DriverUnavailable:
    return DriverUnavailable(f"The freezer of the unit {unit.spec.id} cannot be used now.", detail=str(error))
