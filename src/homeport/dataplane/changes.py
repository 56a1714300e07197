"""Waiting for a state that several parties watch: unlike `core.service.Wakeup`, any number may wait."""

import asyncio
from collections.abc import Callable


class Changes:
    """A state's owner calls `notify` after each change; whoever waits looks at the state again."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def notify(self) -> None:
        self._next, changed = asyncio.Event(), self._next
        changed.set()

    async def until(self, reached: Callable[[], bool], timeout_s: float | None) -> bool:
        """True once `reached()` is true, False after `timeout_s` seconds (None: no limit)."""
        try:
            async with asyncio.timeout(timeout_s):
                while not reached():
                    await self._next.wait()
        except TimeoutError:
            return reached()
        return True
