"""All units of this node: starts, adopts, stops, forgets, and numbers their ends. The server and `main` call it.

What it promises is `homeport.drivers.contract`. The journal says what was started and how it ended, the directory of
a unit holds what it is made of; after a restart both together give the same answers as before.
"""

import asyncio
import logging
import os
import re
import subprocess
import sys
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from homeport.core.clock import SystemClock, parse_timestamp, timestamp
from homeport.core.errors import Conflict, DriverUnavailable, Internal, Invalid
from homeport.core.ids import UnitId
from homeport.core.service import Background
from homeport.core.units import LogLine, Outcome, UnitExit, UnitSpec, UnitState, UnitStatus
from homeport.node import cgroups, processes, remove
from homeport.node.ending import Intent
from homeport.node.journal import Journal, Record
from homeport.node.launch import Folder, Launcher
from homeport.node.unit import Unit
from homeport.node.watch import Watchdog

log = logging.getLogger(__name__)

LIVING_UNITS = 2000  # each takes about ten file handles of the node
STOP_GRACE_S = 10.0  # the longest that a stop of the node itself waits for programs to end
EMPTY_WAIT_S = 10.0  # for the files of the last units; what is left then goes at the next start
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Supervisor:
    """The node's state. One per data directory."""

    def __init__(self, folder: Path, launcher: Launcher) -> None:
        """folder: DATA/node."""
        self._units_folder = folder / "units"
        self._trash = folder / "trash"
        for path in (self._units_folder, self._trash):
            path.mkdir(mode=0o711, exist_ok=True)
            path.chmod(0o711)
        self._launcher = launcher
        self._journal = Journal(folder / "journal")
        self._units: dict[UnitId, Unit] = {}
        self._ends: list[UnitExit] = []
        self._next = 1
        self._news = asyncio.Event()
        self._background = Background()
        self._stopping = False
        self._swept = asyncio.Event()
        self._swept.set()

    # What the contract promises

    async def start(self, spec: UnitSpec) -> UnitStatus:
        """See the contract. Also raises `Invalid` for what this machine cannot follow."""
        if self._stopping:
            raise DriverUnavailable("The node is stopping.")
        if not _ID.fullmatch(spec.id):
            raise Invalid("id", "must be 1 to 128 letters, digits, dots, hyphens and underscores", value=spec.id)
        if present := self._units.get(spec.id):
            if spec.generation == present.spec.generation:
                return present.status
            if spec.generation < present.spec.generation or present.lives:
                raise Conflict(f"The unit {spec.id} is at generation {present.spec.generation}.")
            await self.forget(spec.id)
        if sum(unit.lives for unit in self._units.values()) >= LIVING_UNITS:
            raise DriverUnavailable(f"The node runs {LIVING_UNITS} units already.")
        unit = Unit(spec, self._folder(spec.id), SystemClock().now())
        self._units[spec.id] = unit
        try:
            await self._launch(unit)
        except (Invalid, Internal):
            await self._take_back(unit)
            raise
        return unit.status

    def stop(self, unit_id: UnitId, grace_s: float) -> None:
        if unit := self._units.get(unit_id):
            unit.end(Intent(stopped=True), max(grace_s, 0.0))

    def status(self, unit_id: UnitId) -> UnitStatus | None:
        unit = self._units.get(unit_id)
        return unit.status if unit else None

    def units(self) -> list[UnitStatus]:
        return [unit.status for unit in self._units.values()]

    def listening(self, unit_id: UnitId) -> frozenset[int]:
        unit = self._units.get(unit_id)
        return processes.listening_ports(unit.pids()) if unit else frozenset()

    async def exits(self, after: int) -> AsyncIterator[UnitExit]:
        while True:
            news = self._news
            while (position := bisect_right(self._ends, after, key=lambda end: end.seq)) < len(self._ends):
                after = self._ends[position].seq
                yield self._ends[position]
            await news.wait()

    def log(self, unit_id: UnitId, offset: int, limit: int) -> list[LogLine]:
        unit = self._units.get(unit_id)
        return unit.read_log(offset, limit) if unit else []

    def log_before(self, unit_id: UnitId, before: datetime, limit: int) -> list[LogLine]:
        unit = self._units.get(unit_id)
        return unit.read_log_before(before, limit) if unit else []

    async def forget(self, unit_id: UnitId) -> None:
        unit = self._units.get(unit_id)
        if unit is None:
            return
        if unit.lives:
            raise Conflict(f"The unit {unit_id} is still alive.", hint="Stop it first.")
        del self._units[unit_id]
        self._ends = [end for end in self._ends if end.status.id != unit_id]
        await self._journal.append({"forget": unit_id})
        self._throw_away(unit.folder.path)
        self._journal.rewrite_if_long(self._kept)

    # The node's own life

    async def open(self) -> None:
        """Read the journal, adopt what lives, report what ended meanwhile."""
        for record in self._journal.records:
            self._replay(record)
        for unit in [*self._units.values()]:
            if unit.lives:
                self._adopt(unit)
        known = {unit.folder.path.name for unit in self._units.values()}
        for path in self._units_folder.iterdir():
            if path.name not in known:
                self._throw_away(path)
        cgroups.sweep(self._launcher.groups, {unit.spec.id for unit in self._units.values() if unit.lives})
        self._sweep()
        self._background.spawn("watchdog", Watchdog(self._units.values).run())

    async def close(self) -> None:
        """End every unit, within a bounded time, and write down how."""
        self._stopping = True
        living = [unit for unit in self._units.values() if unit.lives]
        for unit in living:
            unit.end(Intent(stopped=True, reason="the node was stopped"), min(unit.spec.stop_grace_s, STOP_GRACE_S))
        waits = [asyncio.wait_for(unit.ended.wait(), STOP_GRACE_S + 5) for unit in living]
        for unit, result in zip(living, await asyncio.gather(*waits, return_exceptions=True), strict=True):
            if isinstance(result, BaseException):
                log.error("the unit %s did not end", unit.spec.id)
        await self._emptied()
        await self._background.stop()
        self._journal.close()

    async def _emptied(self) -> None:
        """Wait for the remover, so that whoever stopped us may remove the rest."""
        try:
            await asyncio.wait_for(self._swept.wait(), EMPTY_WAIT_S)
        except TimeoutError:
            log.warning("private files of ended units are still being removed from %s", self._trash)

    async def _launch(self, unit: Unit) -> None:
        rest = replace(unit.spec, argv=(), env={}, mounts=())  # what this and a later node still need: no secrets
        await self._journal.append({"start": rest.to_json(), "at": timestamp(unit.accepted)})
        unit.folder.path.mkdir(mode=0o711)
        unit.folder.path.chmod(0o711)
        process = self._launcher.launch(unit.spec, unit.folder)
        unit.spec = rest
        unit.open_output()
        await unit.follow(process, self._background, self._ended)

    async def _take_back(self, unit: Unit) -> None:
        """A start that was refused leaves nothing: the caller got an error instead of a unit."""
        del self._units[unit.spec.id]
        unit.abandon()
        await self._journal.append({"forget": unit.spec.id})
        self._throw_away(unit.folder.path)

    async def _ended(self, unit: Unit, outcome: Outcome) -> None:
        """Write the end down, then tell it."""
        state = UnitState.LOST if outcome.lost else UnitState.EXITED
        now = SystemClock().now()
        status = replace(unit.status, state=state, pid=None, ended_at=now, outcome=outcome)
        end = UnitExit(seq=self._next, status=status)
        self._next += 1
        await self._journal.append({"end": {"seq": end.seq, "status": status.to_json()}})
        unit.status = status
        self._ends.append(end)
        unit.ended.set()
        self._news.set()
        self._news = asyncio.Event()
        self._throw_away(*unit.folder.private)  # its output stays until it is forgotten; what it wrote does not

    def _adopt(self, unit: Unit) -> None:
        if unit.folder.identity.exists():
            unit.adopt(self._background, self._ended)
        else:
            unit.abandon()
            never = Outcome(lost=True, reason="the node was killed before it could start the process")
            self._background.spawn(f"end of {unit.spec.id}", self._ended(unit, never))

    def _replay(self, record: Record) -> None:
        if "start" in record:
            spec = UnitSpec.from_json(record["start"])
            self._units[spec.id] = Unit(spec, self._folder(spec.id), parse_timestamp(record["at"]))
        elif "end" in record:
            end = UnitExit(seq=record["end"]["seq"], status=UnitStatus.from_json(record["end"]["status"]))
            self._next = max(self._next, end.seq + 1)
            if unit := self._units.get(end.status.id):
                unit.status = end.status
                unit.ended.set()
                self._ends.append(end)
        elif "forget" in record:
            self._units.pop(record["forget"], None)
            self._ends = [end for end in self._ends if end.status.id != record["forget"]]
        elif "next" in record:
            self._next = max(self._next, record["next"])

    def _kept(self) -> Iterator[Record]:
        yield {"next": self._next}
        for unit in self._units.values():
            spec = replace(unit.spec, argv=(), env={}, mounts=())
            yield {"start": spec.to_json(), "at": timestamp(unit.accepted)}
        for end in self._ends:
            yield {"end": {"seq": end.seq, "status": end.status.to_json()}}

    def _folder(self, unit_id: UnitId) -> Folder:
        return Folder(path=self._units_folder / unit_id)

    # Removing files

    def _throw_away(self, *paths: Path) -> None:
        for path in paths:
            if path.exists():
                path.rename(self._trash / f"{path.name}.{os.urandom(8).hex()}")
        self._sweep()

    def _sweep(self) -> None:
        if self._swept.is_set() and any(self._trash.iterdir()):
            self._swept.clear()
            self._background.spawn("sweep", self._empty_trash())

    async def _empty_trash(self) -> None:
        """One remover at a time; what comes meanwhile is taken along."""
        command = [sys.executable, "-I", "-S", remove.__file__, str(self._trash)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        handle = os.pidfd_open(process.pid)
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(handle, over.set)
        try:
            await over.wait()
        finally:
            loop.remove_reader(handle)
            os.close(handle)
            self._swept.set()
        if process.wait() != 0:
            log.error("private files of forgotten units could not be removed from %s", self._trash)
        else:
            self._sweep()


def facts(launcher: Launcher, version: str) -> dict[str, Any]:
    """How this node contains units, for `homeport status`."""
    return {
        "sandbox": f"bubblewrap {version}" if launcher.bwrap else "none",
        "bwrap_version": version or None,
        "runs_as": "root" if os.geteuid() == 0 else "user",
        "unit_uid": launcher.uid if launcher.uid is not None else os.geteuid(),
        "memory_limit": launcher.groups.memory_method,
        "process_limit": launcher.groups.pids_method,
        "cpu_limit": launcher.groups.cpu_method,
        "cgroup_reason": launcher.groups.reason,
        "overlay": launcher.overlay,
        "private_mounts": launcher.stage.reason or "yes",
        "network": "shared loopback",
    }
