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
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from homeport.core.errors import Conflict, DriverUnavailable
from homeport.core.ids import UnitId
from homeport.core.machine import machine, this_machine
from homeport.core.units import (
    LogLine,
    UnitExit,
    UnitSpec,
    UnitState,
    UnitStatus,
    check_signal,
    endpoint_of,
    require_alone,
    require_running,
)
from homeport.drivers.docker import containers, inside, kept, outside, usage
from homeport.drivers.docker.containers import Owner
from homeport.drivers.docker.engine import Engine, EngineError
from homeport.drivers.docker.ledger import Ledger
from homeport.drivers.docker.lives import Lives
from homeport.drivers.docker.networks import Doors, Networks
from homeport.drivers.docker.outside import Remote, WayBack
from homeport.drivers.docker.refusals import ImageGone
from homeport.drivers.docker.unit import Unit
from homeport.drivers.docker.usage import Usage
from homeport.drivers.docker.watch import Watch
from homeport.node.ending import Intent

P = ParamSpec("P")
T = TypeVar("T")
OPEN_WAIT_S = 2.0  # for the engine's first answer; a remote one may take longer, and holds up nobody


@dataclass(frozen=True, slots=True)
class _Open:
    """What an open driver consists of."""

    ledger: Ledger
    lives: Lives
    watch: Watch
    usage: Usage


def _plain(method: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """What the engine refuses, and nobody below knows better, may work later."""

    @functools.wraps(method)
    async def call(*words: P.args, **named: P.kwargs) -> T:
        try:
            return await method(*words, **named)
        except EngineError as error:
            raise DriverUnavailable(f"The engine refuses: {error.message}") from error

    return call


class DockerDriver:
    """Runs units as `owner`'s containers on `engine`; writes below `folder`. Open it before use."""

    def __init__(
        self, engine: Engine, owner: Owner, folder: Path, *, doors: Doors | None = None, remote: Remote | None = None
    ) -> None:
        """doors: have the gateway listen in the networks of containers; None for none. remote: for an engine of another
        machine."""
        self.name = f"docker.{owner.region}"
        self.owner = owner
        self._engine = engine
        self._folder = folder
        self.restore: Callable[[UnitSpec], Awaitable[None]] | None = None
        """Brings back the image of a unit that the engine has no more; raises where it cannot, or not yet."""
        self._networks = Networks(engine, owner, folder / "networks.json", doors)
        self._doors = doors
        self._remote = remote
        self._way_back = WayBack(remote.gateway_url) if remote and remote.gateway_url else None
        self._parts: _Open | None = None

    async def open(self) -> None:
        """Take up what is there, as far as the engine answers; what does not is retried from then on."""
        if self._parts is not None:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self._networks.open()
        ledger = Ledger(self._folder / "journal")
        lives = Lives(
            self._engine,
            self.owner,
            self._folder / "units",
            self._networks,
            ledger,
            self._remote.programs_at if self._remote else None,
        )
        watch = Watch(self._engine, self.owner, lives, self._networks)
        self._parts = _Open(ledger, lives, watch, Usage(self._engine, lives))
        self._parts.usage.start()
        watch.start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(watch.tried.wait(), OPEN_WAIT_S)

    async def close(self) -> None:
        if self._parts is not None:
            await self._parts.watch.stop()
            await self._parts.usage.stop()
            await self._parts.lives.stop()
            self._parts.ledger.close()
            self._parts = None
        await self._engine.close()

    # What the contract promises

    @_plain
    async def start(self, spec: UnitSpec) -> UnitStatus:
        lives = self._lives()
        containers.check(spec)
        async with lives.turn(spec.id):
            if present := lives.units.get(spec.id):
                if spec.generation == present.spec.generation:
                    if present.status.state is UnitState.STARTING:
                        await lives.run(present)
                    return present.status
                if spec.generation < present.spec.generation or present.lives:
                    raise Conflict(f"The unit {spec.id} is at generation {present.spec.generation}.")
                await lives.forget(present)
            require_alone(spec, (one.spec for one in lives.units.values() if one.lives))
            unit = await self._created(lives, spec)
            await lives.run(unit)
            return unit.status

    async def _created(self, lives: Lives, spec: UnitSpec) -> Unit:
        try:
            return await lives.create(spec)
        except ImageGone:
            if self.restore is None:
                raise
            await self.restore(spec)
            return await lives.create(spec)

    @_plain
    async def stop(self, unit: UnitId, grace_s: float) -> None:
        lives = self._lives()
        if found := lives.units.get(unit):
            await lives.end(found, Intent(stopped=True), max(grace_s, 0.0))

    @_plain
    async def freeze(self, unit: UnitId) -> None:
        async with self._lives().turn(unit):
            found = self._running(unit)
            await self._lives().freezing.freeze(found)

    @_plain
    async def thaw(self, unit: UnitId) -> None:
        await self._lives().freezing.thaw(self._running(unit))

    @_plain
    async def signal(self, unit: UnitId, number: int) -> None:
        check_signal(number)
        await self._lives().signal(self._running(unit), number)

    def _running(self, unit: UnitId) -> Unit:
        found = self._lives().units.get(unit)
        require_running(unit, found.status if found else None)
        assert found is not None
        return found

    async def status(self, unit: UnitId) -> UnitStatus | None:
        lives = self._lives()
        found = lives.units.get(unit)
        return found.status if found else None

    async def units(self) -> list[UnitStatus]:
        lives = self._lives()
        return [unit.status for unit in lives.units.values()]

    async def listening(self, unit: UnitId) -> frozenset[int]:
        lives = self._lives()
        found = lives.units.get(unit)
        if found is None or not found.lives:
            return frozenset()
        if self._remote is None:
            pid = lives.visible_pid(found)
            return inside.listening_ports(pid) if pid else frozenset()
        port = found.spec.port
        if port is None or found.status.address is None:
            return frozenset()
        return frozenset({port} if await outside.serves(*endpoint_of(found.status.address, port)) else ())

    async def listening_inside(self, unit: UnitId) -> frozenset[int]:
        lives = self._lives()
        found = lives.units.get(unit)
        pid = lives.visible_pid(found) if found else None
        return inside.listening_ports(pid, inside.is_loopback) if pid else frozenset()

    async def exits(self, after: int) -> AsyncGenerator[UnitExit, None]:
        assert self._parts is not None, "the driver is not open"
        async for end in self._parts.ledger.exits(after):
            yield end

    @_plain
    async def log(self, unit: UnitId, offset: int, limit: int) -> list[LogLine]:
        found = await self._with_output(unit)
        return await found.copy.read(offset, limit) if found else []

    @_plain
    async def log_before(self, unit: UnitId, before: datetime, limit: int) -> list[LogLine]:
        found = await self._with_output(unit)
        return await found.copy.read_before(before, limit) if found else []

    @_plain
    async def forget(self, unit: UnitId) -> None:
        lives = self._lives()
        async with lives.turn(unit):
            if found := lives.units.get(unit):
                await lives.forget(found)

    @_plain
    async def discard_volume(self, volume: str) -> None:
        """The containers of units that have ended go before it, since they hold it; their output is copied."""
        having = [one for one in self._lives().units.values() if one.spec.has_volume(volume)]
        if living := [one.spec.id for one in having if one.lives]:
            raise Conflict(f"The volume {volume} is still in use by {living[0]}.")
        for unit in having:
            await self._with_output(unit.spec.id)
            await self._engine.remove(unit.container)
        await kept.discard(self._engine, self.owner, volume)

    @_plain
    async def info(self) -> dict[str, Any]:
        """How the engine contains units, for `homeport status`."""
        self._lives()
        info, version = await self._engine.info(), await self._engine.version()
        options = " ".join(info.get("SecurityOptions") or ())
        parts = " ".join(part["Name"] for part in version.get("Components") or ())
        engine = "Podman" if "Podman" in parts else "Docker"
        return {
            "sandbox": f"containers of {engine} {version['Version']}",
            "engine": self._engine.address.url,
            "runtime": info.get("DefaultRuntime"),
            "runs_as": "user" if "rootless" in options else "root",
            "user_namespace": "name=userns" in options or "rootless" in options,
            "memory_limit": f"cgroup v{info.get('CgroupVersion', '1')}",
            "process_limit": f"cgroup v{info.get('CgroupVersion', '1')}",
            "freezer": self._lives().freezing.method,
            "storage": info.get("Driver"),
            "disk_limit": self._disk_limit(info),
            "network": "one for each workspace",
            "engine_id": info.get("ID"),
            "machine": this_machine() if self._engine.address.local else _machine_of(info),
            "programs_at": self._remote.programs_at if self._remote else None,
            "gateway": await self._way_to_the_gateway(),
        }

    def _disk_limit(self, info: dict[str, Any]) -> str:
        """How the limit of what units write is kept, see `usage`."""
        folders = [str(info.get("DockerRootDir"))]
        seen = self._engine.address.local and "overlay" in str(info.get("Driver")) and inside.readable(folders)
        return "counted" if seen else f"asked of the engine every {usage.ASK_S:g} s"

    async def _way_to_the_gateway(self) -> str | None:
        """What keeps programs from the gateway, or None."""
        if self._remote is None:
            return self._doors.trouble() if self._doors else None
        if self._way_back is None:
            return "no gateway_url says where it is"
        trouble = await self._way_back.trouble()
        return f"{self._way_back.url}, asked from this machine: {trouble}" if trouble else None

    def _lives(self) -> Lives:
        """Raises `DriverUnavailable` while the engine is away: what is known of its units may be wrong by now."""
        if self._parts is None:
            raise DriverUnavailable
        if (away := self._parts.watch.away) is not None:
            raise away
        return self._parts.lives

    async def _with_output(self, unit_id: UnitId) -> Unit | None:
        """The unit, what it printed until now having been copied."""
        unit = self._lives().units.get(unit_id)
        if unit is not None and not unit.copied:
            ended = not unit.lives
            await unit.copy.bring(lambda since, tail: self._engine.log(unit.container, since, tail))
            unit.copied = ended
        return unit


def _machine_of(info: dict[str, Any]) -> str | None:
    """As `this_machine`; None where the engine does not tell."""
    host, kernel, memory = (info.get(key) for key in ("Name", "KernelVersion", "MemTotal"))
    return machine(str(host), str(kernel), int(memory)) if host and kernel and memory else None
