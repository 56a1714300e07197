"""The docker driver: units are containers of an engine that speaks the Docker API. Used by the server's loops and by
the runner; keeps the contract in `homeport.drivers.contract`.

What lives, and how it ended, the engine knows: containers outlive the server, and the next one finds them by their
labels. What the engine cannot know is in the ledger. Two things bring news: the engine's events, and a comparison of
everything with what the engine lists, which runs whenever the events begin anew and now and then besides. So the driver
that comes back after a SIGKILL, and one whose engine came back, run the same code as ever.

Limits in time (timeouts, the grace of a stop) are the server's: while it is away nothing is ended, and what is overdue
ends when it is back.
"""

import asyncio
import contextlib
import logging
import shutil
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from homeport.core.clock import SystemClock
from homeport.core.errors import Conflict, DiskFull, DriverUnavailable, Invalid, Unavailable
from homeport.core.ids import UnitId
from homeport.core.service import Background
from homeport.core.units import TIMEOUT_GRACE_S, LogLine, Outcome, UnitExit, UnitSpec, UnitState, UnitStatus
from homeport.drivers.docker import containers, inside
from homeport.drivers.docker.containers import Facts, Owner, Phase
from homeport.drivers.docker.doors import Doors
from homeport.drivers.docker.engine import Engine, EngineError, Json
from homeport.drivers.docker.ledger import Ledger
from homeport.drivers.docker.networks import Networks
from homeport.drivers.docker.unit import Unit, gone, not_started, outcome_of
from homeport.node.ending import Intent

log = logging.getLogger(__name__)

RETRY_S = (0.1, 5.0)  # between attempts to reach an engine that is away: doubling from the first to the second
OPEN_WAIT_S = 2.0  # for the engine's first answer; a remote one may take longer, and holds up nobody
COMPARE_S = 5.0  # between comparisons: events tell of ends at once (Docker), or some seconds later (Podman)
LOOKS_AT_ONCE = 8  # inspections: a thousand containers must not take every connection
NO_COMMAND = (126, 127)  # exit codes of an init, as of a shell, that could not execute its command
KILL_AGAIN_S = 2.0  # after a SIGKILL that did not end it


class DockerDriver:
    """Runs units as `owner`'s containers on `engine`; writes below `folder`. Open it before use."""

    def __init__(self, engine: Engine, owner: Owner, folder: Path, *, gateway_port: int | None = None) -> None:
        """gateway_port: of this machine's loopback, to which programs shall get; None for none."""
        self.name = f"docker.{owner.region}"
        self._doors = Doors(gateway_port) if gateway_port is not None and engine.address.local else None
        self._engine = engine
        self.owner = owner
        self._folder = folder
        self._networks = Networks(engine, owner, self._doors)
        self._units: dict[UnitId, Unit] = {}
        self._turns: WeakValueDictionary[UnitId, asyncio.Lock] = WeakValueDictionary()
        self._looking = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._away: str | None = "The engine has not answered yet."
        self._tried = asyncio.Event()
        self._background = Background()
        self._ledger: Ledger | None = None

    async def open(self) -> None:
        """Take up what is there, as far as the engine answers; what does not is retried from then on."""
        if self._ledger is not None:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._ledger = Ledger(self._folder / "journal")
        for entry in self._ledger.entries:
            name = self.owner.container_name(entry.spec.id)
            unit = self._units[entry.spec.id] = self._unit(entry.spec, entry.accepted, name)
            unit.intent = entry.intent
            if entry.end is not None:
                unit.status = entry.end.status
        self._background.spawn("docker.events", self._follow())
        self._background.spawn("docker.compare", self._compare_now_and_then())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._tried.wait(), OPEN_WAIT_S)

    async def close(self) -> None:
        for unit in self._units.values():
            unit.stop_timers()
        await self._background.stop()
        if self._doors is not None:
            await self._doors.stop()
        await self._engine.close()
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    # What the contract promises

    async def start(self, spec: UnitSpec) -> UnitStatus:
        self._check()
        containers.check(spec)
        async with self._turn(spec.id):
            if present := self._units.get(spec.id):
                if spec.generation == present.spec.generation:
                    if present.status.state is UnitState.STARTING:
                        await self._run(present)
                    return present.status
                if spec.generation < present.spec.generation or present.lives:
                    raise Conflict(f"The unit {spec.id} is at generation {present.spec.generation}.")
                await self._forget(present)
            unit = await self._create(spec)
            await self._run(unit)
            return unit.status

    async def stop(self, unit: UnitId, grace_s: float) -> None:
        self._check()
        if found := self._units.get(unit):
            await self._end(found, Intent(stopped=True), max(grace_s, 0.0))

    async def status(self, unit: UnitId) -> UnitStatus | None:
        self._check()
        found = self._units.get(unit)
        return found.status if found else None

    async def units(self) -> list[UnitStatus]:
        self._check()
        return [unit.status for unit in self._units.values()]

    async def listening(self, unit: UnitId) -> frozenset[int]:
        self._check()
        found = self._units.get(unit)
        pid = self._visible_pid(found) if found else None
        return inside.listening_ports(pid) if pid else frozenset()

    async def exits(self, after: int) -> AsyncGenerator[UnitExit, None]:
        assert self._ledger is not None, "the driver is not open"
        async for end in self._ledger.exits(after):
            yield end

    async def log(self, unit: UnitId, offset: int, limit: int) -> list[LogLine]:
        found = await self._with_output(unit)
        return await found.copy.read(offset, limit) if found else []

    async def log_before(self, unit: UnitId, before: datetime, limit: int) -> list[LogLine]:
        found = await self._with_output(unit)
        return await found.copy.read_before(before, limit) if found else []

    async def forget(self, unit: UnitId) -> None:
        self._check()
        async with self._turn(unit):
            if found := self._units.get(unit):
                await self._forget(found)

    async def info(self) -> dict[str, Any]:
        """How the engine contains units, for `homeport status`."""
        info, version = await self._engine.info(), await self._engine.version()
        options = " ".join(info.get("SecurityOptions") or ())
        engine = next((part["Name"] for part in version.get("Components") or ()), "Engine")
        return {
            "sandbox": f"containers of {engine} {version['Version']}",
            "engine": self._engine.address.url,
            "runtime": info.get("DefaultRuntime"),
            "runs_as": "user" if "rootless" in options else "root",
            "user_namespace": "name=userns" in options or "rootless" in options,
            "memory_limit": f"cgroup v{info.get('CgroupVersion', '1')}",
            "process_limit": f"cgroup v{info.get('CgroupVersion', '1')}",
            "storage": info.get("Driver"),
            "network": "one for each workspace",
        }

    # Lives

    def _check(self) -> None:
        if self._away is not None:
            raise DriverUnavailable(self._away)

    def _turn(self, unit: UnitId) -> asyncio.Lock:
        """Who holds it may create, start, number the end of or remove that unit's container."""
        return self._turns.setdefault(unit, asyncio.Lock())

    def _unit(self, spec: UnitSpec, accepted: datetime, container: str) -> Unit:
        return Unit(spec, accepted, container, self._folder / "units" / spec.id)

    @property
    def _written(self) -> Ledger:
        assert self._ledger is not None, "the driver is not open"
        return self._ledger

    async def _create(self, spec: UnitSpec) -> Unit:
        """A unit whose container exists, and which is written down: in this order, so that one that is written down and
        has no container had one that somebody removed."""
        accepted = SystemClock().now()
        gateway = await self._networks.ensure(spec.network) if spec.network else None
        name = self.owner.container_name(spec.id)
        body = containers.creation(spec, self.owner, accepted, gateway)
        try:
            container = await self._engine.create(name, body)
        except EngineError as error:
            if error.status != 409:
                raise _refused(error, spec) from error
            await self._engine.remove(name)  # never begun: what was begun is written down, or was found when we came
            container = await self._engine.create(name, body)
        unit = self._unit(spec, accepted, container)
        try:
            await self._written.begin(spec, accepted)
        except DiskFull:
            await self._engine.remove(container)
            raise
        self._units[spec.id] = unit
        return unit

    async def _run(self, unit: Unit) -> None:
        """Start the container of a unit; it runs when this returns, or has ended. Where the engine goes away in the
        middle, it is still starting: the comparison goes on with it."""
        try:
            await self._engine.start(unit.container)
            await self._see(unit)
        except EngineError as error:
            self._networks.doubt()
            await self._ended(unit, not_started(unit, error.message), None)
        except DriverUnavailable as error:
            log.warning("unit %s is still starting: %s", unit.spec.id, error.message)

    async def _see(self, unit: Unit) -> None:
        """Take over what the engine says of a unit that lived when last seen."""
        inspected = await self._engine.inspect(unit.container)
        facts = containers.facts(inspected) if inspected else None
        if facts is None:
            await self._ended(unit, gone(unit), None)
        elif facts.phase is Phase.OVER:
            words = await self._last_words(facts) if facts.exit_code in NO_COMMAND else ""
            await self._ended(unit, outcome_of(facts, unit, words), facts.ended_at)
        elif facts.phase is Phase.CREATED:
            await self._run(unit)
        else:
            self._alive(unit, facts)

    async def _last_words(self, facts: Facts) -> str:
        """The last line that it printed: there the init says which command it could not execute."""
        words = [line async for _, line in self._engine.log(facts.id, 0, 1)]
        return words[-1].decode(errors="replace").partition(" ")[2] if words else ""

    def _alive(self, unit: Unit, facts: Facts) -> None:
        unit.container = facts.id
        unit.runs(facts)
        if unit.intent is not None:
            self._spawn("end", unit, self._ask(unit))
        elif unit.spec.timeout_s is not None:
            lived = (SystemClock().now() - (unit.status.started_at or unit.accepted)).total_seconds()
            timed_out = Intent(timed_out=True, reason=f"timed out after {unit.spec.timeout_s:g} s")
            unit.after(
                "timeout",
                unit.spec.timeout_s - max(lived, 0.0),
                lambda: self._spawn("timeout", unit, self._end(unit, timed_out, TIMEOUT_GRACE_S)),
            )

    async def _ended(self, unit: Unit, outcome: Outcome, at: datetime | None) -> None:
        status = unit.ended(outcome, at or SystemClock().now())
        await self._written.end(status)
        unit.status = status

    async def _look(self, unit: Unit) -> None:
        """Something may have happened to it."""
        async with self._looking, self._turn(unit.spec.id):
            if unit.lives and self._units.get(unit.spec.id) is unit:
                await self._see(unit)

    async def _forget(self, unit: Unit) -> None:
        """The container goes first: one that nobody has written down would be taken for a unit again."""
        if unit.lives:
            raise Conflict(f"The unit {unit.spec.id} is still alive.", hint="Stop it first.")
        await self._engine.remove(unit.container)
        await asyncio.to_thread(shutil.rmtree, unit.folder, ignore_errors=True)
        await self._written.forget(unit.spec.id)
        del self._units[unit.spec.id]

    # Ending

    async def _end(self, unit: Unit, intent: Intent, grace_s: float) -> None:
        """Ask every process to end, kill after the grace. The first reason given stands, the shortest grace counts."""
        if not unit.lives:
            return
        if unit.intent is None:
            unit.intent, unit.grace_s = intent, grace_s
            with contextlib.suppress(DiskFull):  # it is ended all the same
                await self._written.intend(unit.spec.id, intent)
        unit.grace_s = min(unit.grace_s, grace_s)
        if unit.status.state is UnitState.RUNNING:
            await self._ask(unit)

    async def _ask(self, unit: Unit) -> None:
        unit.after("kill", unit.grace_s, lambda: self._spawn("kill", unit, self._kill(unit)))
        pid = self._visible_pid(unit)
        with contextlib.suppress(EngineError):  # it has ended; the event comes
            await self._engine.kill(unit.container, "SIGTERM")
        if pid:
            inside.ask_to_end(pid)

    async def _kill(self, unit: Unit) -> None:
        """SIGKILL to the first process, which takes all others along; again until it is over."""
        if not unit.lives:
            return
        unit.after("kill", KILL_AGAIN_S, lambda: self._spawn("kill", unit, self._kill(unit)))
        with contextlib.suppress(EngineError):
            await self._engine.kill(unit.container, "SIGKILL")

    def _visible_pid(self, unit: Unit) -> int | None:
        """The container's first process, if this machine sees it as the engine does."""
        pid = unit.status.pid
        local = self._engine.address.local and pid is not None and inside.belongs(pid, unit.container)
        return pid if local else None

    def _spawn(self, what: str, unit: Unit, work: Awaitable[None]) -> None:
        """Work on a unit in the background; an engine that is away is left to the comparison when it is back."""

        async def guarded() -> None:
            with contextlib.suppress(Unavailable):  # the engine is away, or the disk is full
                await work

        self._background.spawn(f"docker.{what}.{unit.spec.id}", guarded())

    # News

    async def _follow(self) -> None:
        wait_s = RETRY_S[0]
        while True:
            try:
                async with aclosing(self._engine.events(self.owner.filters)) as events:
                    async for event in events:
                        if event:
                            self._told(event)
                        else:
                            await self._compare()
                            self._away, wait_s = None, RETRY_S[0]
                            self._tried.set()
            except (Unavailable, EngineError) as error:
                if self._away is None or not self._tried.is_set():
                    log.warning("engine %s: %s", self._engine.address.url, error)
                self._away = error.message
                self._tried.set()
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, RETRY_S[1])

    def _told(self, event: Json) -> None:
        labels = event.get("Actor", {}).get("Attributes", {})
        unit = self._units.get(UnitId(containers.unit_of(labels) or ""))
        if unit is None or not unit.lives:
            return
        action = event.get("Action") or event.get("status")
        if action == "oom":
            self._spawn("oom", unit, self._end(unit, Intent(out_of_memory=True), 0))
        elif action in ("die", "died", "destroy", "remove"):
            self._spawn("end", unit, self._look(unit))

    async def _compare_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(COMPARE_S)
            if self._away is None:
                with contextlib.suppress(Unavailable, EngineError):
                    await self._compare()

    async def _compare(self) -> None:
        """Everything we know with everything that the engine has of ours."""
        states: dict[str, str] = {}
        for found in await self._engine.containers(self.owner.filters):
            unit_id = UnitId(containers.unit_of(found["Labels"]) or "")
            states[unit_id] = found["State"]
            if unit_id not in self._units:
                await self._adopt(unit_id, found)
        doubtful = [
            unit
            for unit in self._units.values()
            if unit.lives and (unit.status.state is UnitState.STARTING or states.get(unit.spec.id) != "running")
        ]
        await asyncio.gather(*(self._look(unit) for unit in doubtful))
        for unit in self._units.values():
            if unit.status.state is UnitState.RUNNING and unit.intent is not None:
                self._spawn("end", unit, self._ask(unit))
        await self._networks.sweep({unit.spec.network for unit in self._units.values() if unit.spec.network})

    async def _adopt(self, unit_id: UnitId, found: Json) -> None:
        """A container of ours of which nothing is written down. One that never ran belongs to a start that was
        interrupted, whose caller starts it again; any other is a unit's of which the data are lost."""
        async with self._turn(unit_id):
            known = containers.adopted(found["Labels"])
            if unit_id in self._units:
                return
            if known is None or found["State"] == "created":
                log.warning("container %s belongs to no unit; removing it", found["Id"])
                await self._engine.remove(found["Id"])
                return
            spec, accepted = known
            await self._written.begin(spec, accepted)
            self._units[unit_id] = self._unit(spec, accepted, found["Id"])

    # Output

    async def _with_output(self, unit_id: UnitId) -> Unit | None:
        """The unit, what it printed until now having been copied."""
        self._check()
        unit = self._units.get(unit_id)
        if unit is not None and not unit.copied:
            ended = not unit.lives
            await unit.copy.bring(lambda since, tail: self._engine.log(unit.container, since, tail))
            unit.copied = ended
        return unit


def _refused(error: EngineError, spec: UnitSpec) -> Exception:
    """What the engine's refusal to create a container means for who asked."""
    if error.status == 404:
        return Invalid("image", f"must be an image that the engine has ({error.message})", value=spec.image)
    if error.status == 400:
        return Invalid("container", f"must be what the engine accepts ({error.message})")
    return DriverUnavailable(f"The engine could not make a container: {error.message}")
