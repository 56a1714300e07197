"""An event loop whose time is virtual: when nothing is ready it jumps to the next timer. Nothing waits, nothing comes
from outside, so a run takes what its work takes, and the same work happens in the same order."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")

TURNS_AT_ONE_MOMENT = 100_000  # of the loop while time stands still: more is work that never ends


class NothingLeft(Exception):
    """Something is waited for that will never come: no timer is set and nothing is ready."""


class TimeStandsStill(Exception):
    """The loop turns without end at one moment."""


class _Nothing(selectors.BaseSelector):
    """Selects nothing, and lets the time pass instead of waiting."""

    def __init__(self) -> None:
        self.now = 0.0
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise NothingLeft
        self._turns = self._turns + 1 if timeout <= 0 else 0
        if self._turns > TURNS_AT_ONE_MOMENT:
            raise TimeStandsStill
        self.now += max(timeout, 0.0)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, fileobj if isinstance(fileobj, int) else fileobj.fileno(), events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self.register(fileobj, 0)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        raise KeyError(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {}


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time` begins at 0 and is the sum of the jumps. What is given to a thread is done in the next turn instead."""

    def __init__(self) -> None:
        self._nothing = _Nothing()
        super().__init__(self._nothing)

    def time(self) -> float:
        return self._nothing.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        self.call_soon(_do, future, func, args)
        return future


def _do(future: asyncio.Future[T], func: Callable[..., T], args: tuple[Any, ...]) -> None:
    if future.done():
        return
    try:
        future.set_result(func(*args))
    except Exception as error:
        future.set_exception(error)


def run(main: Coroutine[Any, Any, T]) -> T:
    """What `main` gives, in virtual time. What it left running is dropped."""
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()
