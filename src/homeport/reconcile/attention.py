"""Which workloads are worked on: each by one task at a time, so many at once and no more. Used by the rollouts; knows
nothing of what the work is."""

import asyncio
from collections.abc import Awaitable, Callable

from homeport.core.service import Background


class Attention:
    """`work` is called with a uid and brings that workload to where nothing is to be done at it for now."""

    def __init__(self, work: Callable[[str], Awaitable[None]], most: int) -> None:
        self._work = work
        self._most = most
        self._background = Background()
        self._working: set[str] = set()
        self._waiting: dict[str, None] = {}  # in the order in which they came; no more than there are workloads

    async def stop(self) -> None:
        self._waiting.clear()
        await self._background.stop()

    def has(self, uid: str) -> bool:
        return uid in self._working

    @property
    def count(self) -> int:
        """Of those that are worked on now."""
        return len(self._working)

    def attend(self, uid: str) -> None:
        """Work at it now. What is being worked on, and what finds no room, has its turn after that: a change that came
        in the middle may not have been seen."""
        self._waiting[uid] = None
        self._begin()

    def _begin(self) -> None:
        for uid in [one for one in self._waiting if one not in self._working]:
            if len(self._working) >= self._most:
                return
            del self._waiting[uid]
            self._working.add(uid)
            self._background.spawn(f"rollout.{uid}", self._do(uid))

    async def _do(self, uid: str) -> None:
        try:
            await self._work(uid)
        except asyncio.CancelledError:  # all of them: the system stops, and nothing has its turn any more
            self._waiting.clear()
            raise
        finally:
            self._working.discard(uid)
            self._begin()
