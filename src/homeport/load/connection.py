"""One HTTP/1.1 connection that says exactly how each request on it ended.

A request is sent once: there is no retry, which is why no general client serves here (those that keep connections
repeat a request whose connection has ended, and so hide what this is to count). httptools parses.
"""

import asyncio
from dataclasses import replace

import httptools

from homeport.load.body import Body
from homeport.load.plan import Expectation
from homeport.load.tally import Cause, Outcome

_SOURCE = (b"x-blaxel-source", b"x-blaxel-error-code")


class Connection(asyncio.Protocol):
    """Open it with `loop.create_connection`; one request at a time."""

    def __init__(self, expect: Expectation, *, head_only: bool = False) -> None:
        """head_only: answers have no body whatever they announce (HEAD)."""
        self.usable = False
        self.heard_s = 0.0  # when anything moved last, on the loop's clock
        self._expect = expect
        self._head_only = head_only
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Outcome] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._reset(0.0)

    @property
    def waiting(self) -> bool:
        return self._waiter is not None

    def request(self, content: bytes, due_s: float) -> "asyncio.Future[Outcome]":
        """Send a request. What is awaited never raises; cancelling it abandons the request."""
        assert self.usable and self._waiter is None and self._transport is not None
        self._reset(due_s)
        self._waiter = self._loop.create_future()
        self._transport.write(content)
        return self._waiter

    def time_out(self) -> None:
        """Nothing came for too long."""
        where = f"silent after {self._body.size} bytes of the body" if self._head else "silent before an answer"
        self._fail(Cause.TIMEOUT, where)

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.usable = True
        self.heard_s = self._loop.time()

    def data_received(self, data: bytes) -> None:
        self.heard_s = self._loop.time()
        if self._waiter is None:
            self.close()  # an answer that nobody asked for
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            self._fail(Cause.INVALID, f"no HTTP/1.1: {' '.join(str(exc).split())[:100]}")

    def eof_received(self) -> None:
        if self._head and self._until_end:
            self._complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        how = "reset" if isinstance(exc, ConnectionError) else "closed"
        if self._head:
            self._fail(Cause.CUT, f"{how} after {self._body.size} bytes of the body")
        else:
            self._fail(Cause.RESET, f"{how} before an answer")

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"transfer-encoding":
            self._chunked, self._until_end = True, False
        elif name == b"content-length":
            self._until_end = False
        elif name in _SOURCE:
            self._source.append(value.decode("ascii", "replace"))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return
        self._status, self._head = status, True
        if self._head_only:
            self.usable = False  # the parser would take the next answer for this one's body
            self._complete()

    def on_body(self, piece: bytes) -> None:
        self._body.feed(piece)
        if not self._chunked:
            self._pieces += 1

    def on_chunk_complete(self) -> None:
        self._pieces += 1

    def on_message_complete(self) -> None:
        if not self._head:
            return  # an interim answer (1xx)
        if not self._parser.should_keep_alive():
            self.usable = False
        self._pieces -= self._chunked  # the empty chunk at the end
        self._complete()

    def _reset(self, due_s: float) -> None:
        self._due_s = due_s
        self._body = Body(self._expect)
        self._head = self._chunked = False
        self._until_end = True
        self._status = self._pieces = 0
        self._source: list[str] = []
        self.heard_s = self._loop.time()

    def _complete(self) -> None:
        outcome = self._outcome()
        if self._status >= 400:
            detail = " ".join([str(self._status), *(self._source or ["by the program"])])
            outcome = replace(outcome, cause=Cause.STATUS, detail=detail)
        elif wrong := self._body.wrong():
            outcome = replace(outcome, cause=Cause.WRONG, detail=wrong)
        self._end(outcome)

    def _fail(self, cause: Cause, detail: str) -> None:
        self._end(replace(self._outcome(), cause=cause, detail=detail))
        self.close()

    def _outcome(self) -> Outcome:
        return Outcome(
            due_s=self._due_s,
            ended_s=self._loop.time(),
            status=self._status,
            size=self._body.size,
            pieces=self._pieces,
        )

    def _end(self, outcome: Outcome) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(outcome)
