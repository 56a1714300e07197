"""Load that flows beside what a test does: in a thread, while the block runs.

with running_load(Plan(url=agent.url, headers=key)) as load:
    update(agent)
assert load.report.sound, load.report
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from homeport.load.plan import Plan
from homeport.load.run import Run
from homeport.load.tally import Report

_MARGIN_S = 30.0  # for the thread to begin and to end, on a machine that is busy


class Load:
    """The run. `report` is there after the block, `so_far` while it runs."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._begun = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._run: Run | None = None
        self._report: Report | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._live, name="load", daemon=True)

    @property
    def report(self) -> Report:
        """What was counted, from begin to end."""
        assert self._report is not None, "the load still runs"
        return self._report

    def so_far(self) -> Report:
        """What has been counted until now."""
        run, loop = self._run, self._loop
        if self._report is not None or run is None or loop is None:
            return self.report

        async def look() -> Report:
            return run.report()

        return asyncio.run_coroutine_threadsafe(look(), loop).result(_MARGIN_S)

    def start(self) -> None:
        self._thread.start()
        assert self._begun.wait(_MARGIN_S), "the load did not begin"

    def stop(self) -> Report:
        """Begin no more requests, wait for those in flight, and count. Idempotent. Raises what the run raised."""
        run, loop = self._run, self._loop
        if self._thread.is_alive() and run is not None and loop is not None:
            try:
                loop.call_soon_threadsafe(run.stop)
            except RuntimeError:
                pass  # its plan was done by itself, and the loop is closed
            self._thread.join(self._plan.timeout_s + _MARGIN_S)
        if self._failure is not None:
            raise self._failure
        return self.report

    def _live(self) -> None:
        try:
            self._report = asyncio.run(self._whole())
        except BaseException as exc:
            self._failure = exc
        finally:
            self._begun.set()

    async def _whole(self) -> Report:
        self._loop, self._run = asyncio.get_running_loop(), Run(self._plan)
        self._begun.set()
        return await self._run.run()


@contextmanager
def running_load(plan: Plan) -> Iterator[Load]:
    """Load by `plan` until the block ends or the plan is done."""
    load = Load(plan)
    load.start()
    try:
        yield load
    finally:
        load.stop()
