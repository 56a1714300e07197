"""Carries the schedule out, and writes down what happened when.

Processes are held by pidfd, never signalled by a number alone. Whatever is stopped goes on and whatever is full is
freed when the faults end, whichever way they end.
"""

import heapq
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from homeport.supervise.processes import Handle, ProcessId
from homeport.supervise.state import UpState, read_state
from homeport.testing.chaos.ground import Ground
from homeport.testing.chaos.schedule import UP, Fault, FaultKind

_TURN_S = 0.02
_REFILL_S = 0.5


@dataclass(slots=True, kw_only=True)
class Happened:
    """One fault as it was. began_s, ended_s: on the run's clock; ended_s None while it lasts. envoy: whether it took
    Envoy away. note: what came of it, where that is not plain."""

    fault: Fault
    began_s: float
    ended_s: float | None = None
    envoy: bool = False
    note: str = ""


@dataclass(slots=True)
class Faults:
    """What has happened so far. `violations` are faults of Homeport's that showed while faults were made."""

    happened: list[Happened] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


class Saboteur(threading.Thread):
    """Does what the schedule says, in one thread. Ends by itself."""

    def __init__(self, ground: Ground, schedule: Sequence[Fault], began_s: float, say: Callable[[str], None]) -> None:
        super().__init__(name="saboteur")
        self.faults = Faults()
        self._ground = ground
        self._schedule = schedule
        self._began_s = began_s
        self._say = say
        self._late_s = 0.0  # what takeovers took: all that follows comes so much later
        self._undo: list[tuple[float, int, Callable[[], None]]] = []
        self._ending = threading.Event()
        self._acts: dict[FaultKind, Callable[[Happened], None]] = {
            FaultKind.KILL: self._kill,
            FaultKind.TAKEOVER: self._take_over,
            FaultKind.PAUSE: self._pause,
            FaultKind.DISK: self._fill,
            FaultKind.CLOCK: self._step,
        }

    def run(self) -> None:
        try:
            for fault in self._schedule:
                self._sleep_until(self._began_s + fault.at_s + self._late_s)
                if self._ending.is_set():
                    return
                self._act(fault)
        finally:
            self._undo_all()
            self._ground.step_clock(0.0)

    def stop(self) -> None:
        """End the faults now."""
        self._ending.set()

    @property
    def now_s(self) -> float:
        return time.monotonic() - self._began_s

    def _act(self, fault: Fault) -> None:
        happened = Happened(fault=fault, began_s=self.now_s)
        self.faults.happened.append(happened)
        self._acts[fault.kind](happened)
        if not fault.length_s:
            happened.ended_s = self.now_s
        self._say(f"{happened.began_s:6.1f} s  {fault}{f'  ({happened.note})' if happened.note else ''}")

    def _kill(self, happened: Happened) -> None:
        happened.envoy = happened.fault.target == "envoy"
        if not self._send(happened.fault.target, signal.SIGKILL):
            happened.note = "was not there"

    def _pause(self, happened: Happened) -> None:
        held = self._hold(happened.fault.target)
        if held is None:
            happened.note, happened.ended_s = "was not there", self.now_s
            return
        held.send(signal.SIGSTOP)

        def go_on() -> None:
            held.send(signal.SIGCONT)
            held.close()
            happened.ended_s = self.now_s

        self._later(happened.fault.length_s, go_on)

    def _fill(self, happened: Happened) -> None:
        happened.note = f"{self._ground.fill_disk() >> 20} MB"

        def free() -> None:
            self._ground.free_disk()
            happened.ended_s = self.now_s

        # What others free meanwhile is taken as well, so that it stays full.
        for part in range(1, int(happened.fault.length_s / _REFILL_S)):
            self._later(part * _REFILL_S, self._refill)
        self._later(happened.fault.length_s, free)

    def _refill(self) -> None:
        self._ground.fill_disk()

    def _step(self, happened: Happened) -> None:
        self._ground.step_clock(happened.fault.step_s)

    def _take_over(self, happened: Happened) -> None:
        """Kill `up`, and start another while nothing else is wrong: nobody would start it on a full disk."""
        self._undo_all()
        before = self._state().components.get("envoy")
        if not self._send(UP, signal.SIGKILL):
            happened.note = "was not there"
        done = self._ground.system.command("up", "--detach")
        if done.returncode != 0:
            self.faults.violations.append(f"at {self.now_s:.1f} s a new `up` did not start: {done.stderr.strip()}")
        happened.envoy = self._state().components.get("envoy") != before
        took_s = self.now_s - happened.began_s
        self._late_s += took_s
        happened.note = f"took {took_s:.1f} s{', with a new Envoy' if happened.envoy else ''}"

    def _state(self) -> UpState:
        return read_state(self._ground.system.data)

    def _hold(self, name: str) -> Handle | None:
        state = self._state()
        found: ProcessId | None = state.supervisor if name == UP else state.components.get(name)
        return None if found is None else Handle.open(found)

    def _send(self, name: str, number: signal.Signals) -> bool:
        held = self._hold(name)
        if held is None:
            return False
        with held:
            held.send(number)
            return held.ended(10.0)

    def _later(self, seconds: float, work: Callable[[], None]) -> None:
        heapq.heappush(self._undo, (time.monotonic() + seconds, id(work), work))

    def _sleep_until(self, moment: float) -> None:
        while (now := time.monotonic()) < moment and not self._ending.is_set():
            while self._undo and self._undo[0][0] <= now:
                heapq.heappop(self._undo)[2]()
            time.sleep(_TURN_S)

    def _undo_all(self) -> None:
        while self._undo:
            heapq.heappop(self._undo)[2]()
