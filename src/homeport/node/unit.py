"""One unit that lives, or lived: its process handles, output, timers and end. Owned by the supervisor.

Ends a unit for one of four reasons (asked to, timeout, memory, too many processes): SIGTERM to every process, SIGKILL
to the sandbox's init after the grace, which takes the whole pid namespace along. When the monitor has gone, what is
left is killed, the pipes are drained to their end, the control groups removed; only then is the end reported.
"""

import asyncio
import contextlib
import json
import logging
import os
import select
import signal
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from homeport.core.clock import SystemClock
from homeport.core.errors import Conflict, DriverUnavailable, Unsupported
from homeport.core.service import Background
from homeport.core.units import TIMEOUT_GRACE_S, LogLine, Outcome, UnitSpec, UnitState, UnitStatus, VolumeMount
from homeport.node import ending, processes
from homeport.node.cgroups import UnitGroups
from homeport.node.ending import Intent
from homeport.node.launch import STREAMS, Folder
from homeport.node.logfiles import read_log, read_log_before
from homeport.node.output import Log
from homeport.node.pipes import Pipe, Pump
from homeport.node.quota import Written

log = logging.getLogger(__name__)

START_WAIT_S = 20.0  # bubblewrap needs 4 ms; more is a machine in great trouble
KILL_WAIT_S = 30.0  # for a killed process to leave the kernel: it may hang in a slow disk
REPORT_WAIT_S = 3.0  # from the command's end to the monitor's, which is a millisecond unless the unit stopped its init
AGAIN_S = 0.5  # between attempts to find out how a unit ended, where the machine lacks handles or memory
_UNSTARTED_S = 1.0  # after so much killing in vain there is no sandbox yet: then the process that makes it goes
_KILL_PERIOD_S = 0.1
_POLL_S = 0.002


class Unit:
    """`status` is always current. `on_end` is awaited once, with the outcome."""

    def __init__(self, spec: UnitSpec, folder: Folder, accepted: datetime, began: float) -> None:
        """accepted: for people. began: the same moment on the clock that never steps, for the timeout."""
        self.spec = spec
        self.folder = folder
        self.accepted = accepted
        self.began = began
        self.status = UnitStatus(id=spec.id, kind=spec.kind, state=UnitState.STARTING, labels=spec.labels)
        self.groups = UnitGroups(version=0)
        self.intent: Intent | None = None
        self.peak_bytes: int | None = None
        self.ended = asyncio.Event()
        self.end_seq = 0  # the number of its end, once it has ended
        self._process: subprocess.Popen[bytes] | None = None
        self._monitor: int | None = None
        self._monitor_pid: int | None = None
        self._init: int | None = None
        self._command: int | None = None
        self._sandboxed = True
        self.log: Log | None = None  # while it is written
        self._pump: Pump | None = None
        self._pipes: list[Pipe] = []
        self._positions: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._kills = 0
        self._last_words = ""
        self._early: tuple[Intent, float] | None = None  # asked to end before there was a process

    @property
    def lives(self) -> bool:
        return self.status.state.alive

    def pids(self, tree: dict[int, list[int]] | None = None) -> list[int]:
        """The unit's own processes: all below the sandbox's init, while that is there and its pid means nobody else."""
        there = self.status.pid is not None and self.lives and not _is_over(self._init)
        return processes.descendants(self.status.pid, tree) if there and self.status.pid else []

    def writes(self, tree: dict[int, list[int]]) -> list[Written]:
        pids, folders = self.pids(tree), [str(path) for path in self.folder.written]
        own = Written(folders=folders, pids=pids, places=["/app/", "/home/agent/"], most_mb=self.spec.disk_mb)
        return [
            own,
            *(self._in(mount, path, pids) for mount, path in self.folder.contents(self.spec) if mount.writable),
        ]

    def _in(self, mount: VolumeMount, path: Path, pids: list[int]) -> Written:
        places = [f"{mount.path}/"]
        return Written(folders=[str(path)], pids=pids, places=places, most_mb=mount.size_mb, volume=mount.name)

    def scratch_bytes(self) -> int:
        """What the unit keeps in its file systems in memory, which belong to none of its processes."""
        total = 0
        if self._sandboxed and self.status.pid is not None:
            for place in ("tmp", "dev/shm"):
                with contextlib.suppress(OSError):
                    found = os.statvfs(f"/proc/{self.status.pid}/root/{place}")
                    total += (found.f_blocks - found.f_bfree) * found.f_frsize
        return total

    # Coming to life

    def open_output(self, pump: Pump) -> None:
        """Start to read the pipes; safe for a unit that a former node started. Raises OSError."""
        self._load_groups()
        self.log = Log(self.folder.log, self.spec.log_limit_bytes)
        self._pump = pump
        self._positions = dict(zip(STREAMS, self.log.marks, strict=True))
        for stream in STREAMS:
            with contextlib.suppress(FileNotFoundError):
                pipe = Pipe(self.folder.pipe(stream), stream, self._positions[stream])
                self._pipes.append(pipe)
                pump.add(pipe.handle, partial(self._read, pipe))

    async def follow(self, process: subprocess.Popen[bytes], background: Background, on_end: "OnEnd") -> None:
        """Take on a process just started; returns when its command runs or it has ended already. Raises OSError."""
        self._process, self._monitor_pid = process, process.pid
        self._watch(processes.open_pidfd(process.pid), background, on_end)
        deadline = SystemClock().monotonic() + START_WAIT_S

        while not self._find_command() and not _is_over(self._monitor) and SystemClock().monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
        if self._early is not None:
            self.end(*self._early)

    def adopt(
        self, pump: Pump, background: Background, on_end: "OnEnd", tree: dict[int, list[int]] | None = None
    ) -> None:
        """Take on what a former node started, if it is still there; else report how it ended. tree: as for `end`.
        Raises OSError."""
        self.intent = Intent.load(self.folder.intent)
        self.open_output(pump)
        self._watch(self._former_monitor(), background, on_end)
        self._find_command()
        if self.groups.freezer is not None:
            with contextlib.suppress(OSError):  # it has ended
                self.status = replace(self.status, frozen=self.groups.freezer.asked)
        if self.intent is not None:
            self.end(self.intent, self._grace_of(self.intent), tree)

    def _watch(self, monitor: int | None, background: Background, on_end: "OnEnd") -> None:
        self._monitor = monitor
        self.status = replace(self.status, state=UnitState.RUNNING, started_at=self.accepted)
        finish = lambda: background.spawn(f"end of {self.spec.id}", self._finish(on_end))  # noqa: E731
        if monitor is None:
            finish()
            return
        loop = asyncio.get_running_loop()
        loop.add_reader(monitor, lambda: (loop.remove_reader(monitor), finish()))
        if self.spec.timeout_s is not None:
            left = max(self.began + self.spec.timeout_s - SystemClock().monotonic(), 0.0)
            timed_out = Intent.timeout(self.spec.timeout_s)
            self._timers["timeout"] = loop.call_later(left, self.end, timed_out, self._grace_of(timed_out))

    def _grace_of(self, intent: Intent) -> float:
        if intent.kill_at is not None:  # by a former node
            return max(intent.kill_at - SystemClock().monotonic(), 0.0)
        return min(self.spec.stop_grace_s, TIMEOUT_GRACE_S) if intent.timed_out else self.spec.stop_grace_s

    def _former_monitor(self) -> int | None:
        """A handle on the monitor, if the process of that pid is the one that was started."""
        try:
            pid, ticks, boot = self.folder.identity.read_text().split()
        except (OSError, ValueError):
            return None
        if boot != processes.boot_id():
            return None
        self._monitor_pid = int(pid)
        handle = processes.open_pidfd(int(pid))
        if handle is not None and processes.start_ticks(pid) != int(ticks):
            os.close(handle)
            return None
        return handle

    def _find_command(self) -> bool:
        """Learn the init's and the command's pids from the sandbox's report. False while there is no command."""
        report = ending.read_report(self.folder.status)
        pid = report.get("child-pid")
        if pid is None or self._monitor_pid is None:  # pids of an earlier boot mean nothing
            return False
        if self._init is None:
            self._sandboxed = "pid-namespace" in report
            self._init = processes.open_pidfd(pid)
            if self._init is not None and not self._is_init(pid, report):
                os.close(self._init)
                self._init = None  # another process by now
            if self._init is not None:
                self.status = replace(self.status, pid=pid)
        below = processes.children_of(pid) if self._init is not None else []
        oldest = min(below, key=lambda child: (processes.start_ticks(child) or 0, child), default=None)
        if oldest is not None and self._command is None:
            self._command = processes.open_pidfd(oldest)
            if self._command is not None:
                asyncio.get_running_loop().add_reader(self._command, self._command_ended)
        return oldest is not None

    def _is_init(self, pid: int, report: dict[str, Any]) -> bool:
        """Whether the process that has `pid` now is the one of the report. Its namespace says so, or its parent where
        it may not be looked at; without a sandbox it is the monitor itself."""
        if not self._sandboxed:
            return pid == self._monitor_pid and self._monitor is not None
        namespace = processes.pid_namespace(pid)
        if namespace is None:
            return self._monitor is not None and processes.parent(pid) == self._monitor_pid
        return bool(namespace == report["pid-namespace"])

    # Standing still

    async def freeze(self) -> None:
        """Let none of its processes run; returns when they stand still. Raises `Conflict` while it is being ended, and
        `Unsupported` or `DriverUnavailable` where it goes on running."""
        if self.intent is not None:
            raise Conflict(f"The unit {self.spec.id} is being ended.")
        freezer = self.groups.freezer
        if freezer is None:
            raise Unsupported("The node may not write a freezer of control groups, so programs cannot be frozen.")
        try:
            freezer.ask(True)
            self.status = replace(self.status, frozen=True)
            if await freezer.settle(lambda: self.status.frozen):
                return
        except OSError as error:
            self._wake()
            raise self._freezer_failed(error) from error
        if not self.status.frozen:
            raise Conflict(f"The unit {self.spec.id} was thawed, or has ended, before it was frozen.")
        self.thaw()
        raise DriverUnavailable(f"The processes of the unit {self.spec.id} do not stand still.")

    def thaw(self) -> None:
        """Let its processes run again. Raises `DriverUnavailable`."""
        if not self.status.frozen or self.groups.freezer is None:
            return
        try:
            self.groups.freezer.ask(False)
        except OSError as error:
            raise self._freezer_failed(error) from error
        self.status = replace(self.status, frozen=False)

    def _freezer_failed(self, error: OSError) -> DriverUnavailable:
        return DriverUnavailable(f"The freezer of the unit {self.spec.id} cannot be used now.", detail=str(error))

    def signal(self, number: int) -> None:
        """Send a signal to its command. Raises `Conflict` where that would not hear it."""
        self._find_command()
        if self.status.frozen:
            raise Conflict(f"The unit {self.spec.id} is frozen.", hint="Thaw it first.")
        if self._command is None:
            raise Conflict(f"The unit {self.spec.id} has no process of its own yet.")
        processes.signal_handle(self._command, number)

    # Ending

    def _command_ended(self) -> None:
        """The monitor should end at once. A unit can stop its own init, but it shall not live for ever by that."""
        loop = asyncio.get_running_loop()
        if self._command is not None:
            loop.remove_reader(self._command)
        self._timers.setdefault("report", loop.call_later(REPORT_WAIT_S, self.kill))
        self._wake()  # killed while frozen: what reports it and what it left behind stand still

    def _wake(self) -> None:
        """Thaw a unit that shall hear of its end. Where that fails, the next kill tries again."""
        with contextlib.suppress(DriverUnavailable):
            self.thaw()

    def end(self, intent: Intent, grace_s: float, tree: dict[int, list[int]] | None = None) -> None:
        """Ask every process to end, kill after the grace. The first reason given stands, the shortest grace counts.
        tree: the machine's processes, for whoever ends many units."""
        if self.status.state is UnitState.STARTING:
            self._early = self._early or (intent, grace_s)
        if not self.lives or self._monitor is None:
            return
        loop = asyncio.get_running_loop()
        due = self._timers.get("kill")
        sooner = due is None or due.when() > loop.time() + grace_s
        if sooner:
            if due is not None:
                due.cancel()
            self._timers["kill"] = loop.call_later(grace_s, self.kill)
        if sooner or self.intent is None:
            self.intent = replace(self.intent or intent, kill_at=SystemClock().monotonic() + grace_s)
            self.intent.save(self.folder.intent)
        self._find_command()
        pids = self.pids(tree)
        processes.send(pids, signal.SIGTERM)
        processes.send(pids, signal.SIGCONT)  # else one that is stopped would never hear of it
        self._wake()

    def kill(self) -> None:
        """SIGKILL everything, again and again until it is over (the sandbox may have no init yet)."""
        if not self.lives or self._monitor is None:
            return
        self._timers["kill"] = asyncio.get_running_loop().call_later(_KILL_PERIOD_S, self.kill)
        self._kills += 1
        self._wake()
        self._find_command()
        if self._sandboxed and self._init is not None:
            processes.signal_handle(self._init, signal.SIGKILL)
        else:
            processes.send(self.pids(), signal.SIGKILL)
        if self._init is None and self._kills * _KILL_PERIOD_S > _UNSTARTED_S and self._monitor_pid is not None:
            processes.send([*processes.descendants(self._monitor_pid), self._monitor_pid], signal.SIGKILL)

    async def _finish(self, on_end: "OnEnd") -> None:
        while True:
            try:
                outcome = await self._take_stock()
                break
            except OSError as error:
                log.error("how %s ended cannot be found out yet: %s", self.spec.id, error)
                await asyncio.sleep(AGAIN_S)
        await self._remove_groups()
        for handle in (self._monitor, self._init, self._command):
            if handle is not None:
                os.close(handle)
        self._monitor = self._init = self._command = None
        self.status = replace(self.status, pid=None, frozen=False)
        await on_end(self, outcome)

    async def _take_stock(self) -> Outcome:
        """End what is left and put together how it ended. Raises OSError where that cannot be read now; then it can be
        asked again."""
        self._find_command()
        for timer in self._timers.values():
            timer.cancel()
        if self._command is not None:
            asyncio.get_running_loop().remove_reader(self._command)
        monitor_code = self._reap()
        if self._init is not None and self._sandboxed:
            processes.signal_handle(self._init, signal.SIGKILL)  # what the command left behind
            await _until_over(self._init)
            _reap_init(self._init)
        await self._drain()
        return ending.outcome(
            ending.Traces(
                report=ending.read_report(self.folder.status),
                intent=self.intent,
                exact=None if self._command is None else ending.exact_status(self._command),
                monitor_code=monitor_code,
                last_words=self._last_words,
                oom_kills=self.groups.oom_kills(),
                peak_bytes=self.groups.peak_bytes() or self.peak_bytes,
                memory_mb=self.spec.memory_mb,
                disk_mb=self.spec.largest_file_mb,
            )
        )

    def _reap(self) -> int | None:
        return self._process.poll() if self._process is not None else None

    async def _remove_groups(self) -> None:
        deadline = SystemClock().monotonic() + KILL_WAIT_S
        while not self.groups.remove():
            if SystemClock().monotonic() > deadline:
                log.error("the control groups of %s stay: a process does not go", self.spec.id)
                return
            await asyncio.sleep(0.01)

    # Output

    def read_log(self, offset: int, limit: int) -> list[LogLine]:
        """At most `limit` lines from `offset` on; also when the unit has ended."""
        return read_log(self.folder.log, offset, limit)

    def read_log_before(self, before: datetime, limit: int) -> list[LogLine]:
        """At most `limit` lines, the newest stamped before `before`; also when the unit has ended."""
        return read_log_before(self.folder.log, before, limit)

    async def abandon(self) -> None:
        """Let go of a unit that got no process, or one that could not be followed: such a process is ended."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)  # so that it makes no more children while they are looked for
            for pid in [*processes.descendants(self._process.pid), self._process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
        self._load_groups()
        await self._remove_groups()
        await self._drain()

    def _load_groups(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.groups = UnitGroups.from_json(json.loads(self.folder.groups.read_text()))

    def _read(self, pipe: Pipe) -> bool:
        try:
            lines, more = pipe.read()
        except OSError as error:  # such as a disk in trouble: the program waits meanwhile
            log.error("output of %s cannot be read: %s", self.spec.id, error)
            return False
        self._keep(pipe, lines)
        return more

    async def _drain(self) -> None:
        """Nobody of the unit writes any more: read to the end, and not beyond it, should a stranger write."""
        while self._pipes:
            pipe = self._pipes[0]
            if self._pump is not None:
                self._pump.remove(pipe.handle)
            end = pipe.total + pipe.waiting_bytes()
            while pipe.total < end and self._read(pipe):  # noqa: ASYNC110
                await asyncio.sleep(0)  # others come in between
            self._pipes.remove(pipe)
            self._keep(pipe, pipe.close())
        if self.log is not None:
            self.log.close()
            self.log = None

    def _keep(self, pipe: Pipe, lines: list[str]) -> None:
        if not lines or self.log is None:
            return
        self._positions[pipe.stream] = pipe.position
        stdout, stderr = (self._positions[stream] for stream in STREAMS)
        if self.log.write(pipe.stream, lines, (stdout, stderr)) and pipe in self._pipes:
            pipe.settle()
        if pipe.stream == "stderr":
            self._last_words = lines[-1]


OnEnd = Callable[[Unit, Outcome], Awaitable[None]]


def _is_over(handle: int | None) -> bool:
    """Whether the process behind a pidfd has ended."""
    if handle is None:
        return True
    poll = select.poll()  # not `select`, which knows no handle above 1023
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(0))


def _reap_init(handle: int) -> None:
    """Having lost its parent, the init comes to the node, which is a subreaper; unless a former node had it."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, handle, os.WEXITED | os.WNOHANG)


async def _until_over(handle: int) -> None:
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(handle, over.set)
    try:
        await asyncio.wait_for(over.wait(), KILL_WAIT_S)
    except TimeoutError:
        log.error("a killed process does not go; its output may be incomplete")
    finally:
        loop.remove_reader(handle)
