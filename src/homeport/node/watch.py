"""The watchdog: the limits that no control group enforces, and the group kill after the kernel's out-of-memory kill.

Run by the supervisor. Every 200 ms it adds up what units hold where the node has no control groups: memory (resident;
when that is above the limit, once more with shared pages divided, before it kills) and tasks. Where it has them, the
kernel keeps the limit and the watchdog only ends the rest of a unit of which the kernel killed a part.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

from homeport.node import processes
from homeport.node.ending import Intent
from homeport.node.output import Shelf
from homeport.node.unit import Unit

log = logging.getLogger(__name__)

PERIOD_S = 0.2  # short against the time in which a program fills a machine, long against the 5 ms of one pass


class Watchdog:
    """Looks at every living unit that `units` returns, and at the sum of the logs, until it is cancelled."""

    def __init__(self, units: Callable[[], Iterable[Unit]], shelf: Shelf) -> None:
        self._units = units
        self._shelf = shelf

    async def run(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                self._look()
            except Exception:  # such as no free handle: without a watchdog nothing would keep the limits
                log.exception("the watchdog could not look at everything")

    def _look(self) -> None:
        self._shelf.trim([unit.log for unit in self._units() if unit.log is not None])
        living = [unit for unit in self._units() if unit.lives and unit.status.pid]
        unguarded = [unit for unit in living if not (unit.groups.memory and unit.groups.pids)]
        tree = processes.children_by_parent() if unguarded else {}
        for unit in unguarded:
            _check(unit, unit.pids(tree))
        for unit in living:
            if unit.groups.memory and unit.groups.oom_kills():
                unit.end(Intent(out_of_memory=True), 0)


def _check(unit: Unit, pids: list[int]) -> None:
    spec = unit.spec
    if unit.groups.memory is None:
        held = processes.resident_bytes(pids) + unit.scratch_bytes()
        limit = spec.memory_mb * 1024 * 1024
        if held > limit:
            held = processes.proportional_bytes(pids) + unit.scratch_bytes()
        unit.peak_bytes = max(unit.peak_bytes or 0, held)
        if held > limit:
            unit.end(Intent(out_of_memory=True), 0)
    if unit.groups.pids is None and processes.thread_count(pids) > spec.max_processes:
        unit.end(Intent(reason=f"more than {spec.max_processes} processes"), 0)
