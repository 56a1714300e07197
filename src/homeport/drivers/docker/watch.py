"""When to look at the units of an engine: at its events, whenever those begin anew, and now and then besides. Owned by
the docker driver.
"""

import asyncio
import logging
from contextlib import aclosing

from homeport.core.clock import SystemClock
from homeport.core.errors import DriverMissing, DriverUnavailable, Unavailable
from homeport.core.ids import UnitId
from homeport.core.service import Background
from homeport.core.units import UnitState
from homeport.drivers.docker.containers import Owner
from homeport.drivers.docker.engine import Engine, EngineError, Json
from homeport.drivers.docker.lives import Lives
from homeport.drivers.docker.networks import Networks
from homeport.node.ending import Intent

log = logging.getLogger(__name__)

RETRY_S = (0.1, 5.0)  # between attempts to reach an engine that is away: doubling from the first to the second
COMPARE_S = 5.0  # between comparisons: events tell of ends at once (Docker), or some seconds later (Podman)
PULSE_S = 2.0  # between questions whether it still answers: one that hangs closes no connection
MISSED_S = 30.0  # a restart takes seconds; whoever is away for longer has to be seen to


class Watch:
    """`tried`: set once it is known whether the engine answers."""

    def __init__(self, engine: Engine, owner: Owner, lives: Lives, networks: Networks) -> None:
        self._engine = engine
        self._owner = owner
        self._lives = lives
        self._networks = networks
        self._background = Background()
        self._away: Unavailable | EngineError | None = DriverUnavailable("The engine has not answered yet.")
        self._heard: float | None = None
        self.tried = asyncio.Event()

    @property
    def away(self) -> DriverUnavailable | None:
        """Why the engine does not answer, None while it does; `DriverMissing` where that has lasted, or will last."""
        if self._away is None or isinstance(self._away, DriverMissing):
            return self._away
        recently = self._heard is not None and SystemClock().monotonic() - self._heard < MISSED_S
        told = DriverUnavailable if recently or not self.tried.is_set() else DriverMissing
        return told(str(self._away))

    def start(self) -> None:
        self._background.spawn("docker.events", self._follow())
        self._background.spawn("docker.compare", self._compare_now_and_then())
        self._background.spawn("docker.pulse", self._feel_pulse())

    async def stop(self) -> None:
        await self._background.stop()

    async def _follow(self) -> None:
        wait_s = RETRY_S[0]
        while True:
            try:
                async with aclosing(self._engine.events(self._owner.filters)) as events:
                    async for event in events:
                        if event:
                            self._told(event)
                        else:
                            await self._compare(back=self._heard is not None)
                            await self._lives.sweep_volumes()
                            self._away, wait_s = None, RETRY_S[0]
                            self.tried.set()
            except (Unavailable, EngineError) as error:
                self._miss(error)
            except Exception:  # else nobody would look at this engine until the server's next start
                log.exception("engine %s says what is not understood", self._engine.address.url)
                self._miss(
                    DriverUnavailable(f"The engine at {self._engine.address.url} does not answer as an engine does.")
                )
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, RETRY_S[1])

    def _miss(self, error: Unavailable | EngineError) -> None:
        if self._away is None:
            self._heard = SystemClock().monotonic()
        if self._away is None or not self.tried.is_set():
            log.warning("engine %s: %s", self._engine.address.url, error)
        self._away = error
        self.tried.set()

    async def _feel_pulse(self) -> None:
        """An engine that hangs is away: all that waits for its answers is told so, and the events begin anew."""
        while True:
            await asyncio.sleep(PULSE_S)
            if self._away is None:
                try:
                    await self._engine.version()
                except (Unavailable, EngineError) as error:
                    self._miss(error)
                    await self._engine.close()

    def _told(self, event: Json) -> None:
        labels = event.get("Actor", {}).get("Attributes", {})
        unit = self._lives.units.get(UnitId(self._owner.unit_in(labels.get("name", ""), labels) or ""))
        if unit is None or not unit.lives:
            return
        action = event.get("Action") or event.get("status")
        if action == "oom":
            self._lives.spawn("oom", unit, self._lives.end(unit, Intent(out_of_memory=True), 0))
        elif action in ("die", "died", "destroy", "remove", "pause", "unpause"):
            self._lives.spawn("end", unit, self._lives.look(unit))

    async def _compare_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(COMPARE_S)
            if self._away is None:
                try:
                    await self._compare()
                except (Unavailable, EngineError) as error:
                    log.info("engine %s is compared later: %s", self._engine.address.url, error)
                except Exception:  # else nobody would compare until the server's next start
                    log.exception("engine %s says what is not understood", self._engine.address.url)

    async def _compare(self, *, back: bool = False) -> None:
        """Everything we know with everything that the engine has of ours. back: it was away."""
        states: dict[str, str] = {}
        for found in await self._engine.containers(self._owner.filters):
            named = self._owner.unit_in(next(iter(found.get("Names") or ()), ""), found["Labels"])
            if named is None:
                continue
            unit_id = UnitId(named)
            states[unit_id] = found["State"]
            if unit_id not in self._lives.units:
                await self._lives.adopt(unit_id, found)
        doubtful = [
            unit
            for unit in self._lives.units.values()
            if unit.lives and (unit.status.state is UnitState.STARTING or states.get(unit.spec.id) != "running")
        ]
        await asyncio.gather(*(self._lives.look(unit, back=back) for unit in doubtful))
        for unit in self._lives.units.values():
            if unit.status.state is UnitState.RUNNING and unit.intent is not None:
                self._lives.spawn("end", unit, self._lives.ask(unit))
        await self._networks.sweep(
            lambda: {unit.spec.network for unit in self._lives.units.values() if unit.spec.network}
        )
