"""A run of load: as many workers as the plan has connections, each with at most one request in flight.

Called by `homeport load`, and through `homeport.load.thread` by tests. Memory is bounded by the plan's concurrency:
nothing of an answer is kept. Nothing is ever sent twice.
"""

import asyncio
import errno
import ssl
import time
from collections.abc import Awaitable
from typing import Any
from urllib.parse import urlsplit

from homeport.load.connection import Connection
from homeport.load.plan import Plan
from homeport.load.tally import Cause, Outcome, Report, Tally

_LOOK_S = 0.1  # between two looks for silent connections
_REFUSED_PAUSE_S = 0.05  # after a connection that did not come about, lest an absent target be hammered
_TIMER_S = 0.002  # how late a timer may be by its own nature: not the target's fault


class Run:
    """One run of a plan, begun at its making. All methods belong to the loop in which it was made."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._content = plan.request()
        self._host, self._port, tls = _address(plan.url)
        self._tls = ssl.create_default_context() if tls else None
        self._loop = asyncio.get_running_loop()
        self._connections: dict[int, Connection] = {}
        self._taken = 0
        self._stopping = asyncio.Event()
        self._abandoning = asyncio.Event()
        self._busy_from_s = time.thread_time()
        self._tally = Tally(self._loop.time())
        self._end_s = self._tally.began_s + plan.duration_s if plan.duration_s is not None else None
        self._ended: Report | None = None

    async def run(self) -> Report:
        """Until the plan is done or `stop` is called; then those in flight may end, for as long as the plan's time-out.
        Once."""
        tasks = [self._loop.create_task(self._work(place)) for place in range(self._plan.concurrency)]
        looking = self._loop.create_task(self._look())
        try:
            await self._until_done(asyncio.gather(*tasks))
        finally:
            for task in (looking, *tasks):
                task.cancel()
            await asyncio.gather(looking, *tasks, return_exceptions=True)
            for connection in self._connections.values():
                connection.close()
        self._tally.unsent = max(0, self._due_until_end() - self._tally.started)
        self._ended = self.report()
        return self._ended

    def stop(self) -> None:
        """Begin no more requests."""
        now = self._loop.time()
        self._end_s = now if self._end_s is None else min(self._end_s, now)
        self._stopping.set()

    def abandon(self) -> None:
        """Do not wait for those in flight either."""
        self.stop()
        self._abandoning.set()

    def report(self) -> Report:
        """What has been counted so far."""
        return self._ended or self._tally.report(self._loop.time(), time.thread_time() - self._busy_from_s)

    async def _until_done(self, workers: "asyncio.Future[list[None]]") -> None:
        bound_s = None if self._end_s is None else max(0.0, self._end_s - self._loop.time())
        if not await _first(workers, self._stopping.wait(), bound_s):
            self.stop()
            await _first(workers, self._abandoning.wait(), self._plan.timeout_s)
        if workers.done():
            workers.result()  # raises what a worker raised: a fault of ours, and then no count can be trusted

    async def _work(self, place: int) -> None:
        while (due_s := self._next()) is not None:
            if due_s > self._loop.time():
                if not await self._wait_until(due_s):
                    return
                now = self._loop.time()
                due_s = now if now - due_s < _TIMER_S else due_s
            outcome = await self._send(place, due_s)
            if outcome.cause in (Cause.REFUSED, Cause.UNREACHABLE) and self._plan.rate is None:
                await asyncio.sleep(_REFUSED_PAUSE_S)

    def _next(self) -> float | None:
        """When the next request is due; None when there is none."""
        if self._plan.requests is not None and self._taken >= self._plan.requests:
            return None
        now = self._loop.time()
        due_s = now if self._plan.rate is None else self._tally.began_s + self._taken / self._plan.rate
        if self._end_s is not None and due_s >= self._end_s:
            return None
        self._taken += 1
        return due_s

    async def _wait_until(self, due_s: float) -> bool:
        """Whether the moment came before the run was stopped."""
        while (wait_s := due_s - self._loop.time()) > 0:
            if self._stopping.is_set():
                return False
            try:
                async with asyncio.timeout(wait_s):
                    await self._stopping.wait()
            except TimeoutError:
                pass
        return True

    async def _send(self, place: int, due_s: float) -> Outcome:
        self._tally.started += 1
        try:
            connection = self._connections.get(place)
            if connection is None or not connection.usable:
                found = await self._connect(due_s)
                if isinstance(found, Outcome):
                    self._tally.ended(found)
                    return found
                connection = self._connections[place] = found
            outcome = await connection.request(self._content, due_s)
        except asyncio.CancelledError:
            self._tally.abandoned += 1
            raise
        self._tally.ended(outcome)
        if self._plan.new_connections:
            connection.close()
        return outcome

    async def _connect(self, due_s: float) -> "Connection | Outcome":
        """A new connection, or how the request ended for want of one."""
        expect, head_only = self._plan.expect, self._plan.method == "HEAD"
        try:
            async with asyncio.timeout(self._plan.timeout_s):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(expect, head_only=head_only), self._host, self._port, ssl=self._tls
                )
        except TimeoutError:
            return self._unconnected(due_s, Cause.TIMEOUT, "silent while connecting")
        except OSError as exc:
            if exc.errno in (errno.EMFILE, errno.ENFILE):
                raise  # ours, not the target's
            return self._unconnected(due_s, *why_unconnected(exc))
        self._tally.connections += 1
        return connection

    def _unconnected(self, due_s: float, cause: Cause, detail: str) -> Outcome:
        return Outcome(due_s=due_s, ended_s=self._loop.time(), cause=cause, detail=detail)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            oldest_s = self._loop.time() - self._plan.timeout_s
            for connection in [*self._connections.values()]:
                if connection.waiting and connection.heard_s < oldest_s:
                    connection.time_out()

    def _due_until_end(self) -> int:
        """How many requests the rate that was asked for means, until the end of sending."""
        if self._plan.rate is None:
            return 0
        until_s = self._loop.time() if self._end_s is None else self._end_s
        due = int((until_s - self._tally.began_s) * self._plan.rate)
        return due if self._plan.requests is None else min(due, self._plan.requests)


async def _first(work: "asyncio.Future[Any]", signal: Awaitable[Any], bound_s: float | None) -> bool:
    """Wait until `work` is done, the signal came or the time is over; whether the work is done."""
    other = asyncio.ensure_future(signal)
    try:
        await asyncio.wait({work, other}, timeout=bound_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        other.cancel()
    return work.done()


def _address(url: str) -> tuple[str, int, bool]:
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    return parts.hostname or "", parts.port or (443 if tls else 80), tls


def why_unconnected(error: OSError) -> tuple[Cause, str]:
    """Why no connection came about, and in words. A reset is that of a target which died with the connection in its
    queue, before it took it."""
    for cause, number, words in (
        (Cause.REFUSED, errno.ECONNREFUSED, "nothing listens"),
        (Cause.RESET, errno.ECONNRESET, "ended before it was taken"),
    ):
        # With two addresses, as localhost has, the errors of both are in one text.
        if error.errno == number or f"[Errno {number}]" in str(error):
            return cause, words
    return Cause.UNREACHABLE, str(error.strerror or error)[:200]
