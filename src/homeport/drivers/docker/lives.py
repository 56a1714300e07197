"""The units of one engine while they live: made, started, seen to end, asked to end, forgotten. Owned by the docker
driver; `homeport.drivers.docker.watch` says when to look.

What changes a unit's container, and what numbers its end, is done by one at a time.
"""

import asyncio
import contextlib
import logging
import shutil
import signal
from collections.abc import Awaitable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from weakref import WeakValueDictionary

from homeport.core.clock import SystemClock
from homeport.core.errors import Conflict, DiskFull, DriverUnavailable, Invalid, Unavailable
from homeport.core.ids import UnitId
from homeport.core.service import Background
from homeport.core.units import TIMEOUT_GRACE_S, Outcome, UnitSpec, UnitState
from homeport.drivers.docker import containers, inside, kept
from homeport.drivers.docker.containers import Facts, Owner, Phase
from homeport.drivers.docker.engine import Engine, EngineError, Json
from homeport.drivers.docker.freezing import Freezing
from homeport.drivers.docker.ledger import Ledger
from homeport.drivers.docker.networks import Networks
from homeport.drivers.docker.refusals import ImageGone
from homeport.drivers.docker.unit import Unit, gone, not_started, outcome_of
from homeport.node.ending import Intent

log = logging.getLogger(__name__)

LOOKS_AT_ONCE = 8  # inspections: a thousand containers must not take every connection
NO_COMMAND = (126, 127)  # exit codes of an init, as of a shell, that could not execute its command
ENGINE_ENDED = "its engine was stopped or started anew"
_ENDING = (signal.SIGTERM, signal.SIGKILL)
KILL_AGAIN_S = 2.0  # after a SIGKILL that did not end it


class Lives:
    """`units` are all that are not forgotten, in order of start; those that lived when last written down are STARTING
    until they are looked at."""

    def __init__(
        self, engine: Engine, owner: Owner, folder: Path, networks: Networks, ledger: Ledger, publish_at: str | None
    ) -> None:
        """folder: where each unit has one of its own, for its output. publish_at: see `containers.creation`."""
        self._engine = engine
        self._owner = owner
        self._folder = folder
        self._networks = networks
        self._ledger = ledger
        self._publish_at = publish_at
        self._turns: WeakValueDictionary[UnitId, asyncio.Lock] = WeakValueDictionary()
        self.freezing = Freezing(engine, self.visible_pid)
        self._looking = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._background = Background()
        self._volumes: dict[str, tuple[str, ...]] = {}  # by image: its content is for ever, so few of them
        self.units: dict[UnitId, Unit] = {}
        for entry in ledger.entries:
            name = owner.container_name(entry.spec.id)
            unit = self.units[entry.spec.id] = self._unit(entry.spec, entry.accepted, name)
            unit.intent = entry.intent
            if entry.end is not None:
                unit.status = entry.end.status

    async def stop(self) -> None:
        """Let go of the units, which live on."""
        for unit in self.units.values():
            unit.stop_timers()
        await self._background.stop()

    def turn(self, unit: UnitId) -> asyncio.Lock:
        """Who holds it may create, start, number the end of or remove that unit's container."""
        return self._turns.setdefault(unit, asyncio.Lock())

    # From the start to the end

    async def create(self, spec: UnitSpec) -> Unit:
        """A unit whose container exists, and which is written down: in this order, so that one that is written down and
        has no container had one that somebody removed."""
        async with contextlib.AsyncExitStack() as stack:
            gateway = await stack.enter_async_context(self._networks.holding(spec.network)) if spec.network else None
            return await self._create(spec, gateway)

    async def _create(self, spec: UnitSpec, gateway: str | None) -> Unit:
        accepted = SystemClock().now()
        name = self._owner.container_name(spec.id)
        mounts = kept.mounts_of(spec, self._owner)
        mounts += containers.declared(self._owner, await self._volumes_of(spec), mounts)
        body = containers.creation(
            spec, self._owner, accepted, gateway=gateway, publish_at=self._publish_at, mounts=mounts
        )
        try:
            container = await self._engine.create(name, body)
        except EngineError as error:
            if error.status != 409:
                raise _refused(error, spec) from error
            await self._engine.remove(name)  # never begun: what was begun is written down, or was found when we came
            try:
                container = await self._engine.create(name, body)
            except EngineError as again:
                raise _refused(again, spec) from again
        unit = self._unit(spec, accepted, container)
        try:
            await self._ledger.begin(spec, accepted)
        except DiskFull:
            await self._engine.remove(container)
            raise
        self.units[spec.id] = unit
        return unit

    async def _volumes_of(self, spec: UnitSpec) -> tuple[str, ...]:
        """The paths for which the image wants volumes. They are made with our labels, so that none is ever nobody's."""
        image = spec.image or ""
        if image not in self._volumes:
            try:
                found = await self._engine.image(image)
            except EngineError as error:
                raise _refused(error, spec) from error
            if found is None:
                raise ImageGone("image", "must be an image that the engine has", value=image)
            self._volumes[image] = tuple((found.get("Config") or {}).get("Volumes") or ())
        return self._volumes[image]

    async def sweep_volumes(self) -> None:
        """Remove ours whose containers somebody removed without them, or the engine before it was killed."""
        for found in await self._engine.unused_volumes(self._owner.filters):
            with contextlib.suppress(EngineError):  # a container that is being made has it
                await self._engine.remove_volume(found["Name"])

    async def run(self, unit: Unit) -> None:
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

    async def _see(self, unit: Unit, *, back: bool = False) -> None:
        """Take over what the engine says of a unit that lived when last seen. back: the engine was away since."""
        inspected = await self._engine.inspect(unit.container)
        facts = containers.facts(inspected) if inspected else None
        if facts is None:
            await self._ended(unit, gone(unit), None)
        elif facts.phase is Phase.OVER:
            words = await self._last_words(facts) if facts.exit_code in NO_COMMAND else ""
            outcome = outcome_of(facts, unit, words)
            if await self._went_with_engine(unit, outcome, back=back):
                outcome = replace(outcome, reason=f"{outcome.reason}: {ENGINE_ENDED}")
            await self._ended(unit, outcome, facts.ended_at)
        elif facts.phase is Phase.CREATED:
            await self.run(unit)
        else:
            self._alive(unit, facts)

    async def _went_with_engine(self, unit: Unit, outcome: Outcome, *, back: bool) -> bool:
        """Whether the engine's own end ended it. One that stops ends its containers first; one that was killed ends
        them when it is back."""
        if unit.intent is not None or outcome.out_of_memory:
            return False
        return back or (outcome.signal in _ENDING and await self._engine.is_stopping())

    async def _last_words(self, facts: Facts) -> str:
        """The last line that it printed: there the init says which command it could not execute."""
        words = [line async for _, line in self._engine.log(facts.id, 0, 1)]
        return words[-1].decode(errors="replace").partition(" ")[2] if words else ""

    def _alive(self, unit: Unit, facts: Facts) -> None:
        unit.container = facts.id
        unit.runs(facts)
        self.freezing.look(unit)
        unit.written = {}
        if self._engine.address.local and inside.readable(facts.written.values()):
            unit.written = {place: Path(folder) for place, folder in facts.written.items()}
        if unit.intent is not None:
            self.spawn("end", unit, self.ask(unit))
        elif unit.spec.timeout_s is not None:
            lived = (SystemClock().now() - (unit.status.started_at or unit.accepted)).total_seconds()
            timed_out = Intent.timeout(unit.spec.timeout_s)
            unit.after(
                "timeout",
                unit.spec.timeout_s - max(lived, 0.0),
                lambda: self.spawn("timeout", unit, self.end(unit, timed_out, TIMEOUT_GRACE_S)),
            )

    async def _ended(self, unit: Unit, outcome: Outcome, at: datetime | None) -> None:
        status = unit.ended(outcome, at or SystemClock().now())
        await self._ledger.end(status)
        unit.status = status

    async def look(self, unit: Unit, *, back: bool = False) -> None:
        """Something may have happened to it. back: the engine was away."""
        async with self.turn(unit.spec.id), self._looking:
            if unit.lives and self.units.get(unit.spec.id) is unit:
                await self._see(unit, back=back)

    async def forget(self, unit: Unit) -> None:
        """The container goes first: one that nobody has written down would be taken for a unit again."""
        if unit.lives:
            raise Conflict(f"The unit {unit.spec.id} is still alive.", hint="Stop it first.")
        await self._engine.remove(unit.container)
        await asyncio.to_thread(shutil.rmtree, unit.folder, ignore_errors=True)
        await self._ledger.forget(unit.spec.id)
        del self.units[unit.spec.id]

    async def adopt(self, unit_id: UnitId, found: Json) -> None:
        """A container of ours of which nothing is written down. One that never ran belongs to a start that was
        interrupted, whose caller starts it again; any other is a unit's of which the data are lost."""
        async with self.turn(unit_id):
            known = containers.adopted(found["Labels"])
            if unit_id in self.units:
                return
            if known is None or found["State"] == "created":
                log.warning("container %s belongs to no unit; removing it", found["Id"])
                await self._engine.remove(found["Id"])
                return
            spec, accepted = known
            await self._ledger.begin(spec, accepted)
            self.units[unit_id] = self._unit(spec, accepted, found["Id"])

    # Ending

    async def end(self, unit: Unit, intent: Intent, grace_s: float) -> None:
        """Ask every process to end, kill after the grace. The first reason given stands, the shortest grace counts."""
        if not unit.lives:
            return
        if unit.intent is None:
            unit.intent, unit.grace_s = intent, grace_s
            with contextlib.suppress(DiskFull):  # it is ended all the same
                await self._ledger.intend(unit.spec.id, intent)
        unit.grace_s = min(unit.grace_s, grace_s)
        if unit.status.state is UnitState.RUNNING:
            await self.ask(unit)

    async def ask(self, unit: Unit) -> None:
        unit.after("kill", unit.grace_s, lambda: self.spawn("kill", unit, self._kill(unit)))
        await self.freezing.thaw(unit)
        pid = self.visible_pid(unit)
        with contextlib.suppress(EngineError):  # it has ended; the event comes
            await self._engine.kill(unit.container, "SIGTERM")
        if pid:
            inside.ask_to_end(pid)

    async def _kill(self, unit: Unit) -> None:
        """SIGKILL to the first process, which takes all others along; again until it is over."""
        if not unit.lives:
            return
        unit.after("kill", KILL_AGAIN_S, lambda: self.spawn("kill", unit, self._kill(unit)))
        await self.freezing.thaw(unit)
        with contextlib.suppress(EngineError):
            await self._engine.kill(unit.container, "SIGKILL")

    async def signal(self, unit: Unit, number: int) -> None:
        """To the command: past the engine where this machine sees it, else through the init, which passes it on."""
        if unit.status.frozen:
            raise Conflict(f"The unit {unit.spec.id} is frozen.", hint="Thaw it first.")
        pid = self.visible_pid(unit)
        if pid and inside.signal_command(pid, number):
            return
        try:
            await self._engine.kill(unit.container, str(number))
        except EngineError as error:
            raise Conflict(f"The engine does not signal the container: {error.message}") from error

    def visible_pid(self, unit: Unit) -> int | None:
        """The container's first process, if this machine sees it as the engine does."""
        pid = unit.status.pid
        local = self._engine.address.local and pid is not None and inside.belongs(pid, unit.container)
        return pid if local else None

    def spawn(self, what: str, unit: Unit, work: Awaitable[None]) -> None:
        """Work on a unit in the background; an engine that is away is left to the comparison when it is back."""

        async def guarded() -> None:
            with contextlib.suppress(Unavailable):  # the engine is away, or the disk is full
                await work

        self._background.spawn(f"docker.{what}.{unit.spec.id}", guarded())

    def _unit(self, spec: UnitSpec, accepted: datetime, container: str) -> Unit:
        return Unit(spec, accepted, container, self._folder / spec.id)


def _refused(error: EngineError, spec: UnitSpec) -> Exception:
    """What the engine's refusal to create a container means for who asked."""
    if error.status == 404:
        return ImageGone("image", f"must be an image that the engine has ({error.message})", value=spec.image)
    if error.status == 400:
        return Invalid("container", f"must be what the engine accepts ({error.message})")
    return DriverUnavailable(f"The engine could not make a container: {error.message}")
