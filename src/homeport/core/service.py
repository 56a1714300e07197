"""Services and their background tasks: started and stopped once each, never bare `asyncio.create_task`."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Protocol

log = logging.getLogger(__name__)

# The exit code of a component that cannot start before somebody acts, with the reason at the end of its log. (EX_CONFIG
# of sysexits.h.)
REFUSED = 78


class Service(Protocol):
    """A part with a life: starting or stopping it twice does nothing the second time."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Background:
    """Named tasks that are logged when they fail and cancelled together. One owner holds one of these."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[Any], None] = {}  # in order of their start, in which they are cancelled, too

    def spawn(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background task %s failed", task.get_name(), exc_info=error)

    @property
    def active(self) -> bool:
        """Whether any task runs: a service whose tasks run has been started."""
        return bool(self._tasks)

    async def stop(self) -> None:
        """Cancel every task and wait until all have ended."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


SUBJECTS_MOST = 1000  # remembered between two passes; more than that and the next pass looks at everything


class Wakeup:
    """A signal that a loop sleeps on: many calls of `wake` before a pass make one pass. paused: the loop shall start
    nothing new, since the system is about to stop."""

    def __init__(self) -> None:
        self.paused = False
        self._event = asyncio.Event()
        self._subjects: set[str] | None = set()

    def wake(self, subject: str | None = None) -> None:
        """subject: what alone has changed, by its uid; None: anything may have."""
        if subject is None or self._subjects is None or len(self._subjects) >= SUBJECTS_MOST:
            self._subjects = None
        else:
            self._subjects.add(subject)
        self._event.set()

    async def wait(self, timeout_s: float) -> frozenset[str] | None:
        """Return when woken or after `timeout_s`, whichever is first: the subjects that were named since the last
        wait, none after the timeout; None where anything may have changed."""
        try:
            # Not `wait_for`: before Python 3.12 it forgets a cancellation that comes in the same turn as the wake-up,
            # and whoever stops the loop waits for ever.
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            pass
        self._event.clear()
        subjects, self._subjects = self._subjects, set()
        return None if subjects is None else frozenset(subjects)


class Signals:
    """The wake-ups of the loops in the server. Whoever changes what a loop reads wakes it; forgetting to costs one
    timer period, never correctness."""

    def __init__(self) -> None:
        self.builds = Wakeup()
        self.rollouts = Wakeup()
        self.runner = Wakeup()
        self.garbage = Wakeup()
        self.expiries = Wakeup()
        self.schedules = Wakeup()
        self.volumes = Wakeup()

    @property
    def paused(self) -> bool:
        return self.runner.paused

    def pause(self) -> None:
        """From now on nothing new starts: no task, no replica, no build. What runs goes on to its end."""
        for loop in (self.builds, self.rollouts, self.runner):
            loop.paused = True
