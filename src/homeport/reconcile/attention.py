"""Which workloads are worked on: each by one task at a time, and of those that nobody waits for so many at once, no
more. Used by the rollouts; knows nothing of what the work is."""

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
        # In the order in which they came, with whether they are urgent; no more than there are workloads.
        self._waiting: dict[str, bool] = {}

    async def stop(self) -> None:
        self._waiting.clear()
        await self._background.stop()

    def has(self, uid: str) -> bool:
        return uid in self._working

    @property
    def count(self) -> int:
        """Of those that are worked on now."""
        return len(self._working)

    def attend(self, uid: str, *, urgent: bool = False) -> None:
        """Work at it now. What is being worked on, and what finds no room, has its turn after that: a change that came
        in the middle may not have been seen. urgent: somebody waits for it, so it needs no room."""
        self._waiting[uid] = urgent or self._waiting.get(uid, False)
        self._begin()

    def _begin(self) -> None:
        for uid, urgent in [one for one in self._waiting.items() if one[0] not in self._working]:
            if not urgent and len(self._working) >= self._most:
                continue
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
