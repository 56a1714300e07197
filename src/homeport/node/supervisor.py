"""All units of this node: starts, adopts, stops, forgets, and numbers their ends. The server and `main` call it.

What it promises is `homeport.drivers.contract`. The journal says what was started and how it ended, the directory of
a unit holds what it is made of; after a restart both together give the same answers as before.
"""

import asyncio
import logging
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from homeport.core.clock import SystemClock, parse_timestamp, timestamp
from homeport.core.errors import Conflict, DriverUnavailable, HomeportError, Internal
from homeport.core.ids import UnitId
from homeport.core.service import Background
from homeport.core.units import (
    LogLine,
    Outcome,
    UnitExit,
    UnitKind,
    UnitSpec,
    UnitState,
    UnitStatus,
    check_id,
    check_signal,
    require_alone,
    require_running,
)
from homeport.node import cgroups, disk, processes, volumes
from homeport.node.ending import Intent
from homeport.node.facts import logs_most, most_units
from homeport.node.holding import Holding
from homeport.node.host import TRIAL
from homeport.node.journal import Journal, Record
from homeport.node.launch import Folder, Launcher
from homeport.node.output import Shelf
from homeport.node.pipes import Pump
from homeport.node.quota import Quota
from homeport.node.trash import Trash
from homeport.node.unit import Unit
from homeport.node.watch import Watchdog

log = logging.getLogger(__name__)

STOP_GRACE_S = 10.0  # the longest that a stop of the node itself waits for programs to end
END_AGAIN_S = 1.0  # between attempts to write down an end
SKIPPED = 1000  # numbers, after a damaged journal: more ends than it can have lost, since each is synchronised


class Supervisor:
    """The node's state. One per data directory."""

    def __init__(self, folder: Path, launcher: Launcher, holding: Holding) -> None:
        """folder: DATA/node. holding: who keeps pipes open while there is no node. Raises OSError when the folder or
        the journal cannot be written."""
        self._units_folder = folder / "units"
        trash = folder / "trash"
        for path in (self._units_folder, trash):
            path.mkdir(mode=0o711, exist_ok=True)
            path.chmod(0o711)
        self._launcher = launcher
        self._holding = holding
        self._journal = Journal(folder / "journal")
        self._units: dict[UnitId, Unit] = {}
        self._strays: dict[UnitId, Unit] = {}
        self._ends: list[UnitExit] = []
        self._next = 1
        self._news = asyncio.Event()
        self._background = Background()
        self._trash = Trash(trash, self._background)
        volumes.make_root(launcher.volumes)
        self._volume_trash = Trash(launcher.volumes / volumes.TRASH, self._background)
        self._pump = Pump()
        self._shelf = Shelf(logs_most(folder))
        self._stopping = False

    # What the contract promises

    async def start(self, spec: UnitSpec) -> UnitStatus:
        """See the contract. Also raises `Invalid` for what this machine cannot follow."""
        check_id(spec.id)
        if present := self._units.get(spec.id):
            if spec.generation == present.spec.generation:
                return present.status
            if spec.generation < present.spec.generation or present.lives:
                raise Conflict(f"The unit {spec.id} is at generation {present.spec.generation}.")
            await self.forget(spec.id)
        self._check_room(spec.id)
        self._check_volumes(spec)
        unit = Unit(spec, self._folder(spec.id), SystemClock().now(), SystemClock().monotonic())
        self._units[spec.id] = unit
        try:
            await self._launch(unit)
        except HomeportError:
            await self._take_back(unit)
            raise
        return unit.status

    def _check_room(self, unit_id: UnitId) -> None:
        """Raise `DriverUnavailable` where a start would fail, or its end could not be written down."""
        if self._stopping:
            raise DriverUnavailable("The node is stopping.")
        if unit_id in self._strays:
            raise DriverUnavailable(f"An earlier process of the unit {unit_id} is still being ended.")
        if sum(unit.lives for unit in self._units.values()) >= (most := most_units()):
            raise DriverUnavailable(f"The node runs {most} units already, the most that it can.")
        if not self._journal.has_reserve:
            raise DriverUnavailable("The node cannot start programs: the disk is full.")

    def _check_volumes(self, spec: UnitSpec) -> None:
        """Raise `DriverUnavailable` while another process may write to what this one must have alone. What a unit had
        of which nothing is written down nobody knows."""
        require_alone(spec, (unit.spec for unit in self._units.values() if unit.lives))
        if self._strays and any(mount.volume for mount in spec.volumes):
            raise DriverUnavailable(f"A volume of the unit {spec.id} is still in use by one that is being ended.")

    def discard_volume(self, volume: str) -> None:
        """See the contract."""
        path = volumes.folder_of(self._launcher.volumes, volume)
        for unit in self._units.values():
            if unit.lives and unit.spec.has_volume(volume):
                raise Conflict(f"The volume {volume} is still in use by {unit.spec.id}.")
        try:
            self._volume_trash.throw_away_now(path)
        except OSError as error:
            raise _unavailable("remove a volume", error) from error

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

    async def freeze(self, unit_id: UnitId) -> None:
        await self._running(unit_id).freeze()

    def thaw(self, unit_id: UnitId) -> None:
        self._running(unit_id).thaw()

    def signal(self, unit_id: UnitId, number: int) -> None:
        check_signal(number)
        self._running(unit_id).signal(number)

    def _running(self, unit_id: UnitId) -> Unit:
        unit = self._units.get(unit_id)
        require_running(unit_id, unit.status if unit else None)
        assert unit is not None
        return unit

    async def exits(self, after: int) -> AsyncIterator[UnitExit]:
        if after >= self._next:
            log.error(
                "a reader has seen end %d, and the journal knows of none from %d on; all are told", after, self._next
            )
            after = 0
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
        try:
            await self._journal.append({"forget": unit_id})
        except OSError as error:
            raise _unavailable("forget a unit", error) from error
        self._units.pop(unit_id, None)
        self._drop_end(unit)
        self._shelf.remove(unit.folder.log)
        self._trash.throw_away(unit.folder.path)
        self._journal.rewrite_if_long(self._kept)

    # The node's own life

    async def open(self) -> None:
        """Read the journal, adopt what lives, report what ended meanwhile."""
        for record in self._journal.records:
            self._replay(record)
        if self._journal.damaged:
            self._next += SKIPPED
            self._journal.owe({"next": self._next})
        living = [unit for unit in self._units.values() if unit.lives]
        tree = processes.children_by_parent() if living else {}
        for unit in living:
            self._adopt(unit, tree)
        known = {unit.folder.path.name for unit in self._units.values()}
        for path in self._units_folder.iterdir():
            if path.name not in known:
                self._end_stray(UnitId(path.name))
        for end in self._ends:
            self._shelf.add(self._folder(end.status.id).log)
        alive = {unit.spec.id for unit in living if unit.lives}
        cgroups.sweep(self._launcher.groups, alive | self._strays.keys())
        self._trash.throw_away(*self._units_folder.parent.glob(f"{TRIAL}*"))  # of a node killed at its start
        self._volume_trash.sweep()
        self._background.spawn("watchdog", Watchdog(self._units.values, self._shelf).run())
        self._background.spawn("holding", self._holding.run(self._pipes))
        self._background.spawn("quota", Quota(self._units.values, lambda: self._units_folder).run())

    async def close(self) -> None:
        """End every unit, within a bounded time, and write down how."""
        self._stopping = True
        living = [unit for unit in self._units.values() if unit.lives]
        tree = processes.children_by_parent()
        stopped = Intent(stopped=True, reason="the node was stopped")
        for unit in living:
            unit.end(stopped, min(unit.spec.stop_grace_s, STOP_GRACE_S), tree)
        waits = [asyncio.wait_for(unit.ended.wait(), STOP_GRACE_S + 5) for unit in living]
        for unit, result in zip(living, await asyncio.gather(*waits, return_exceptions=True), strict=True):
            if isinstance(result, BaseException):
                log.error("the unit %s did not end", unit.spec.id)
        await self._trash.emptied()
        await self._background.stop()
        self._journal.close()

    async def _launch(self, unit: Unit) -> None:
        """Raises `Invalid` and `Internal` for what would fail again, `DriverUnavailable` for what may not."""
        spec = unit.spec
        try:
            await self._journal.append(_start_record(unit))
            unit.folder.path.mkdir(mode=0o711)
            unit.folder.path.chmod(0o711)
            limits = self._launcher.prepare(spec, unit.folder)
            unit.spec = spec.without_secrets()
            self._holding.hold(*unit.folder.pipes)
            unit.open_output(self._pump)
            process = self._launcher.spawn(spec, unit.folder, limits)
            await unit.follow(process, self._background, self._ended)
        except OSError as error:
            raise _unavailable("start a program", error) from error

    async def _take_back(self, unit: Unit) -> None:
        """A start that was refused leaves nothing: the caller got an error instead of a unit."""
        await unit.abandon()
        forget = {"forget": unit.spec.id}
        try:
            await self._journal.append(forget)
        except OSError:
            self._journal.owe(forget)
        del self._units[unit.spec.id]
        self._holding.drop(*unit.folder.pipes)
        self._trash.throw_away(unit.folder.path)

    async def _ended(self, unit: Unit, outcome: Outcome) -> None:
        """Write the end down, then tell it."""
        self._trash.throw_away(*unit.folder.private)  # its output stays until it is forgotten; what it wrote does not
        state = UnitState.LOST if outcome.lost else UnitState.EXITED
        now = max(SystemClock().now(), unit.accepted)  # the clock may have been set back
        end = await self._write_down(replace(unit.status, state=state, pid=None, ended_at=now, outcome=outcome))
        unit.status = end.status
        self._holding.drop(*unit.folder.pipes)
        self._keep_end(unit, end)
        unit.ended.set()
        self._shelf.add(unit.folder.log)
        self._news.set()
        self._news = asyncio.Event()

    async def _write_down(self, status: UnitStatus) -> UnitExit:
        """Number and journal an end. While the disk takes nothing it is tried again: an end is never told before it
        is durable, and never given up. A number of an attempt that failed is not used again: a later end may be told
        by then."""
        failed = False
        while True:
            end = UnitExit(seq=self._next, status=status)
            self._next += 1
            try:
                await self._journal.append({"end": {"seq": end.seq, "status": status.to_json()}})
            except OSError as error:
                if not failed:
                    log.error("the end of %s waits, it cannot be written down: %s", status.id, error.strerror)
                failed = True
                await asyncio.sleep(END_AGAIN_S)
            else:
                return end

    def _end_stray(self, unit_id: UnitId) -> None:
        """Files that the journal does not know: of a unit that was just being forgotten, or of one whose start a
        damaged journal has lost. Nobody would ever end its processes."""
        spec = UnitSpec(id=unit_id, kind=UnitKind.TASK, argv=(), env={})
        stray = Unit(spec, self._folder(unit_id), SystemClock().now(), SystemClock().monotonic())
        self._strays[unit_id] = stray
        stray.adopt(self._pump, self._background, self._stray_ended)
        stray.kill()

    async def _stray_ended(self, stray: Unit, outcome: Outcome) -> None:
        log.warning("removed the files of %s, which is not in the journal", stray.spec.id)
        self._trash.throw_away(stray.folder.path)
        del self._strays[stray.spec.id]

    def _adopt(self, unit: Unit, tree: dict[int, list[int]]) -> None:
        if unit.folder.identity.exists():
            unit.adopt(self._pump, self._background, self._ended, tree)
        else:
            self._background.spawn(f"end of {unit.spec.id}", self._never_began(unit))

    async def _never_began(self, unit: Unit) -> None:
        await unit.abandon()
        never = Outcome(lost=True, reason="the node was killed before it could start the process")
        await self._ended(unit, never)

    def _replay(self, record: Record) -> None:
        if "start" in record:
            spec = UnitSpec.from_json(record["start"])
            began = record["up"] if record.get("boot") == processes.boot_id() else SystemClock().monotonic()
            self._units[spec.id] = Unit(spec, self._folder(spec.id), parse_timestamp(record["at"]), began)
        elif "end" in record:
            end = UnitExit(seq=record["end"]["seq"], status=UnitStatus.from_json(record["end"]["status"]))
            self._next = max(self._next, end.seq + 1)
            if unit := self._units.get(end.status.id):
                unit.status = end.status
                unit.ended.set()
                self._keep_end(unit, end)
        elif "forget" in record:
            if unit := self._units.pop(record["forget"], None):
                self._drop_end(unit)
        elif "next" in record:
            self._next = max(self._next, record["next"])

    def _keep_end(self, unit: Unit, end: UnitExit) -> None:
        unit.end_seq = end.seq
        self._ends.append(end)

    def _drop_end(self, unit: Unit) -> None:
        """Thousands are forgotten in one go: found by its number."""
        if unit.end_seq:
            del self._ends[bisect_left(self._ends, unit.end_seq, key=lambda end: end.seq)]

    def _kept(self) -> Iterator[Record]:
        yield {"next": self._next}
        for unit in self._units.values():
            yield _start_record(unit)
        for end in self._ends:
            yield {"end": {"seq": end.seq, "status": end.status.to_json()}}

    def _pipes(self) -> list[Path]:
        return [pipe for unit in self._units.values() if unit.lives for pipe in unit.folder.pipes]

    def _folder(self, unit_id: UnitId) -> Folder:
        return Folder(path=self._units_folder / unit_id)


def _start_record(unit: Unit) -> Record:
    """With the moment on the clock that never steps, which means something until the machine boots again."""
    spec = unit.spec.without_secrets()
    return {"start": spec.to_json(), "at": timestamp(unit.accepted), "up": unit.began, "boot": processes.boot_id()}


def _unavailable(what: str, error: OSError) -> HomeportError:
    """What a caller is told: whether to try again."""
    if disk.is_passing(error):
        return DriverUnavailable(f"The node cannot {what} now: {error.strerror}.", detail=str(error))
    return Internal(f"The node could not {what}.", detail=str(error))
