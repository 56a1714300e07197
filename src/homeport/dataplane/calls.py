"""Makes asynchronous calls (edge process): asks the server what is due, calls the programs through the gateway, reports
how it ended. Delivers callbacks likewise.

It decides nothing and keeps nothing that the server does not have: killed at any moment, the next life finds out from
the server. Calls go to Envoy on a socket that only the edge knows, so revisions, replicas and cold starts are as in any
call.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import aiohttp
from yarl import URL

from homeport.core.clock import Clock
from homeport.core.ids import new_id
from homeport.core.limits import MIB
from homeport.core.service import Background, Wakeup
from homeport.dataplane import headers
from homeport.dataplane.answers import CODE_HEADER, SHOULD_RETRY_HEADER, SOURCE_HEADER
from homeport.dataplane.callbacks import Courier
from homeport.dataplane.internal import Batches, Internal, Refusal
from homeport.dataplane.passing import end_to_end
from homeport.invocations.handover import (
    Delivery,
    Errand,
    Message,
    Portion,
    Report,
    Terms,
    Work,
    plain,
)
from homeport.invocations.states import AttemptEnd

log = logging.getLogger(__name__)

PAUSE_S = 0.01  # between two turns at least: what ended or was accepted meanwhile makes one of it
AWAY_S = 0.5  # between two looks while the server is away
PATIENCE_S = 60.0  # for a server that shall hear how a call ended; then again
STOP_S = 3.0  # for what is under way to be reported as stopped
BATCH, BATCH_BYTES = 200, 8 * MIB
CONNECT_TIMEOUT_S = 5
ANSWER_HEADERS = 100  # of a program's answer, kept


class Calls:
    """The service."""

    def __init__(self, internal: Internal, gateway: Path, clock: Clock, told: Callable[[Terms], None]) -> None:
        """`told` hears the operator's settings."""
        self._internal = internal
        self._gateway = gateway
        self._clock = clock
        self._told = told
        self._lease = new_id("edge", 16)
        self._terms: Terms | None = None
        self._background = Background()
        self._wakeup = Wakeup()
        self._held: dict[str, asyncio.Task[None]] = {}
        self._delivering: dict[str, asyncio.Task[None]] = {}
        self._cancelled: set[str] = set()
        self._stopping = False
        self._session: aiohttp.ClientSession | None = None
        self._courier = Courier()
        self._reports: Batches[Report, None] = Batches(
            self._send_reports, most=BATCH, most_bytes=BATCH_BYTES, size=_report_size
        )
        self._deliveries: Batches[Delivery, None] = Batches(
            self._send_deliveries, most=BATCH, most_bytes=BATCH_BYTES, size=lambda _: 0
        )

    def wake(self) -> None:
        """Something was accepted."""
        self._wakeup.wake()

    async def start(self) -> None:
        if self._session is not None:
            return
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path=str(self._gateway), limit=0),
            timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT_S),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._background.spawn("claims", self._loop())

    async def stop(self) -> None:
        """Cut off what is under way and tell the server that it was stopped, for a while."""
        self._stopping = True
        await self._background.stop()
        under_way = [*self._held.values(), *self._delivering.values()]
        for task in under_way:
            task.cancel()
        if under_way:
            await asyncio.wait(under_way, timeout=STOP_S)
        await self._reports.stop()
        await self._deliveries.stop()
        await self._courier.close()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _loop(self) -> None:
        while True:
            try:
                wait_s = await self._turn()
            except (aiohttp.ClientError, TimeoutError, Refusal) as error:
                log.debug("the server does not say what is due: %s", error)
                wait_s = AWAY_S
            except Exception:
                log.exception("a turn of asynchronous calls failed; the next one starts over")
                wait_s = AWAY_S
            await asyncio.sleep(PAUSE_S)
            await self._wakeup.wait(max(0.0, wait_s - PAUSE_S))

    async def _turn(self) -> float:
        """Ask for what is due and begin it; the seconds until the next turn."""
        terms = self._terms
        body = {
            "lease": self._lease,
            "holding": [*self._held],
            "delivering": [*self._delivering],
            "room": max(0, terms.parallel - len(self._held)) if terms else 0,
            "callback_room": max(0, terms.parallel_callbacks - len(self._delivering)) if terms else 0,
        }
        portion = Portion.from_json(await self._internal.ask("claim", body))
        if portion.terms != terms:
            self._terms = portion.terms
            self._courier.allow(portion.terms.allow)
            self._told(portion.terms)
            self._wakeup.wake()
        for work in portion.works:
            self._held[work.id] = asyncio.create_task(self._make(work, portion.terms), name=f"call {work.id}")
        for errand in portion.errands:
            self._delivering[errand.id] = asyncio.create_task(self._deliver(errand), name=f"callback {errand.id}")
        for ident in portion.cancelled:
            if (task := self._held.get(ident)) is not None and ident not in self._cancelled:
                self._cancelled.add(ident)
                task.cancel()
        return portion.next_in_s

    async def _make(self, work: Work, terms: Terms) -> None:
        """One attempt, until the server knows how it ended."""
        try:
            report = await self._attempt(work, terms)
        except asyncio.CancelledError:
            end = AttemptEnd.CANCELLED if work.id in self._cancelled else AttemptEnd.STOPPED
            report = Report(id=work.id, attempt=work.attempt, end=end)
        except Exception as error:
            log.exception("the call %s failed in the edge", work.id)
            report = Report(id=work.id, attempt=work.attempt, end=AttemptEnd.BROKEN, reason=repr(error))
        try:
            await self._reports.put(report)
        finally:
            self._held.pop(work.id, None)
            self._cancelled.discard(work.id)
            self._wakeup.wake()

    async def _attempt(self, work: Work, terms: Terms) -> Report:
        assert self._session is not None
        url = URL(f"http://homeport/{work.workspace}/agents/{work.agent}{work.path}", encoded=True)
        sent = [*work.request.headers, (headers.INVOCATION_ID, work.id), (headers.ATTEMPT, str(work.attempt))]
        try:
            async with (
                asyncio.timeout(work.timeout_s),
                self._session.request(
                    work.method,
                    url,
                    headers=[*sent, (headers.CALL, work.id)],
                    data=work.request.body or None,
                    allow_redirects=False,
                    skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                ) as response,
            ):
                return await _read(work, response, terms.response_bytes)
        except aiohttp.ClientConnectorError:
            reason = "the gateway is being started"
            return Report(id=work.id, attempt=work.attempt, end=AttemptEnd.UNREACHED, reason=reason)
        except TimeoutError:
            return Report(id=work.id, attempt=work.attempt, end=AttemptEnd.TIMED_OUT)
        except aiohttp.ClientError:
            return Report(id=work.id, attempt=work.attempt, end=AttemptEnd.BROKEN)

    async def _deliver(self, errand: Errand) -> None:
        try:
            await self._deliveries.put(await self._courier.deliver(errand, int(self._clock.now().timestamp())))
        finally:
            self._delivering.pop(errand.id, None)
            self._wakeup.wake()

    async def _send_reports(self, reports: Sequence[Report]) -> Sequence[None]:
        await self._tell("report", {"lease": self._lease, "reports": [report.to_json() for report in reports]})
        return [None] * len(reports)

    async def _send_deliveries(self, deliveries: Sequence[Delivery]) -> Sequence[None]:
        await self._tell("delivered", {"lease": self._lease, "deliveries": [plain(one) for one in deliveries]})
        return [None] * len(deliveries)

    async def _tell(self, what: str, body: dict[str, object]) -> None:
        """Until the server has heard it: what ended must not run again. A stop does not wait for ever."""
        while True:
            try:
                await self._internal.ask(what, body, STOP_S if self._stopping else PATIENCE_S)
                return
            except (aiohttp.ClientError, TimeoutError, Refusal) as error:
                if self._stopping:
                    raise
                log.warning("the server does not take what ended: %s", error)
                await asyncio.sleep(AWAY_S)


async def _read(work: Work, response: aiohttp.ClientResponse, most: int) -> Report:
    """The whole answer, of which the beginning is kept."""
    kept, length = bytearray(), 0
    async for chunk in response.content.iter_any():
        length += len(chunk)
        kept += chunk[: most - len(kept)]
    if response.headers.get(SOURCE_HEADER) == "platform":
        return _platform_said(work, response)
    shown = tuple(end_to_end(response.headers).items())[:ANSWER_HEADERS]
    return Report(
        id=work.id,
        attempt=work.attempt,
        end=AttemptEnd.ANSWERED,
        status=response.status,
        answer=Message(headers=shown, body=bytes(kept)),
        length=length,
    )


def _platform_said(work: Work, response: aiohttp.ClientResponse) -> Report:
    """The gateway answered for the program. What it says may be repeated never reached it."""
    if response.status == 504:
        end = AttemptEnd.TIMED_OUT
    elif response.status == 404 or response.headers.get(SHOULD_RETRY_HEADER) == "true":
        end = AttemptEnd.UNREACHED
    else:
        end = AttemptEnd.BROKEN
    return Report(
        id=work.id, attempt=work.attempt, end=end, reason=response.headers.get(CODE_HEADER, str(response.status))
    )


def _report_size(report: Report) -> int:
    return 0 if report.answer is None else len(report.answer.body)
