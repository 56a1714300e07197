"""A run of load against a server that does exactly what a test says with each connection, over real sockets."""

import asyncio
import errno
import hashlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from homeport.load.plan import Expectation, Plan
from homeport.load.run import Run, why_unconnected
from homeport.load.tally import Cause, Report
from homeport.load.thread import running_load

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BOUND_S = 30.0


@asynccontextmanager
async def serving(talk: Conversation) -> AsyncIterator[str]:
    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a?b=c"
    finally:
        server.close()


async def request(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def answering(*answers: bytes, then: Callable[[asyncio.StreamWriter], Any] = lambda writer: None) -> Conversation:
    """One answer to a request, in turns, on each connection; then what is to be done with the connection."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await request(reader)
            writer.write(answer)
            await writer.drain()
        then(writer)

    return talk


async def always(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await request(reader)
        writer.write(OK)


def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection with an RST, as a process that dies with unread bytes does."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def ran(talk: Conversation, **plan: Any) -> Report:
    async with serving(talk) as url, asyncio.timeout(BOUND_S):
        return await Run(Plan(**{"url": url, "requests": 1, "concurrency": 1, **plan})).run()


def is_accounted_for(report: Report) -> bool:
    return report.in_flight == 0 and report.started == report.ok + report.failed + report.abandoned


async def test_every_request_is_sent_once_and_counted_once() -> None:
    seen = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append(await request(reader))
            writer.write(OK)

    report = await ran(talk, requests=200, concurrency=8, headers={"X-Mine": "1"})
    assert (report.ok, report.failed, report.statuses) == (200, 0, {200: 200})
    assert report.connections == 8
    assert report.received_bytes == 400
    assert len(seen) == 200
    assert seen[0].startswith(b"GET /a?b=c HTTP/1.1\r\n") and b"X-Mine: 1\r\n" in seen[0]
    assert report.sound


async def test_a_new_connection_for_each_request_where_that_is_asked_for() -> None:
    report = await ran(always, requests=20, concurrency=2, new_connections=True)
    assert (report.ok, report.connections) == (20, 20)


@pytest.mark.parametrize(
    ("talk", "cause", "detail"),
    [
        (answering(b""), Cause.RESET, "before an answer"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Le"), Cause.RESET, "before an answer"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", then=reset), Cause.CUT, "2 bytes of the body"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"), Cause.CUT, "2 bytes of the body"),
        (answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"), Cause.CUT, "2 bytes"),
        (answering(b"SSH-2.0-OpenSSH\r\n"), Cause.INVALID, "no HTTP/1.1"),
        (
            answering(b"HTTP/1.1 503 No\r\nX-Blaxel-Error-Code: NONE\r\nContent-Length: 0\r\n\r\n"),
            Cause.STATUS,
            "503 NONE",
        ),
    ],
    ids=["closed", "head-cut", "reset-in-body", "closed-in-body", "chunks-cut", "not-http", "status"],
)
async def test_each_way_to_fail_has_its_cause(talk: Conversation, cause: Cause, detail: str) -> None:
    report = await ran(talk)
    assert dict(report.causes) == {cause: 1}
    assert detail in report.failures[0].detail
    assert is_accounted_for(report) and not report.sound


async def test_nothing_that_listens_is_refused() -> None:
    async with serving(always) as url:
        pass
    report = await Run(Plan(url=url, requests=3, concurrency=3)).run()
    assert dict(report.causes) == {Cause.REFUSED: 3}


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"], ids=["head", "body"])
async def test_silence_is_a_timeout(begin: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(begin)
        await reader.read()

    report = await ran(talk, timeout_s=0.2)
    assert dict(report.causes) == {Cause.TIMEOUT: 1}


async def test_a_slow_stream_that_is_never_silent_for_long_is_no_timeout() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(8):
            writer.write(b"2\r\nok\r\n")
            await asyncio.sleep(0.15)
        writer.write(b"0\r\n\r\n")

    report = await ran(talk, timeout_s=0.8)
    assert (report.ok, report.pieces, report.received_bytes) == (1, 8, 16)


async def test_a_connection_that_was_closed_in_between_is_not_a_failure() -> None:
    closed = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK)
        writer.close()
        closed.set()

    report = await ran(talk, requests=3, rate=5.0)
    assert closed.is_set()
    assert (report.ok, report.connections) == (3, 3)


async def test_a_body_without_a_length_ends_with_its_connection() -> None:
    report = await ran(answering(b"HTTP/1.1 200 OK\r\n\r\nok"))
    assert (report.ok, report.received_bytes) == (1, 2)


async def test_interim_answers_are_passed_over_and_head_has_no_body() -> None:
    report = await ran(answering(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK))
    assert (report.ok, report.statuses) == (1, {200: 1})
    head = await ran(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), requests=2, method="HEAD")
    assert (head.ok, head.received_bytes) == (2, 0)


def lines(*numbers: int) -> bytes:
    body = "".join(f"data: {number}\n\n" for number in numbers).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize(
    ("answer", "expect", "wrong"),
    [
        (OK, Expectation(size=2, sha256=hashlib.sha256(b"ok").hexdigest()), ""),
        (OK, Expectation(size=3), "2 bytes in place of 3"),
        (OK, Expectation(sha256="0" * 64), "SHA-256"),
        (OK, Expectation(numbered=True), "no number"),
        (lines(0, 1, 2), Expectation(numbered=True, lines=3), ""),
        (lines(1, 2, 3), Expectation(numbered=True), ""),
        (lines(1, 2, 4), Expectation(numbered=True), "line 3 is number 4 in place of 3: missing"),
        (lines(1, 2, 2), Expectation(numbered=True), "line 3 is number 2 in place of 3: doubled"),
        (lines(3, 4), Expectation(numbered=True), "line 1 is number 3 in place of 0 or 1: missing"),
        (lines(0, 1), Expectation(numbered=True, lines=3), "2 lines in place of 3"),
    ],
)
async def test_bytes_are_compared_with_what_is_expected(answer: bytes, expect: Expectation, wrong: str) -> None:
    report = await ran(answering(answer), expect=expect)
    assert (report.causes.get(Cause.WRONG, 0), report.ok) == ((1, 0) if wrong else (0, 1))
    assert not wrong or wrong in report.failures[0].detail


async def test_lines_are_told_apart_wherever_their_bytes_are_split() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        for byte in lines(*range(13)):
            writer.write(bytes([byte]))
            await writer.drain()

    report = await ran(talk, expect=Expectation(numbered=True, lines=13))
    assert report.ok == 1, report


async def test_a_rate_is_kept_and_times_count_from_when_a_request_was_due() -> None:
    """A server that stops for a while: the requests that were due meanwhile waited, although they could not be sent."""
    first = True

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal first
        while True:
            await request(reader)
            if first:
                first = False
                await asyncio.sleep(1.0)
            writer.write(OK)

    report = await ran(talk, requests=50, rate=50.0, concurrency=1)
    assert (report.ok, report.unsent) == (50, 0)
    # 50 were due in the second that the first one took: half of all waited for half a second or longer.
    assert report.latency_ms["p50"] > 300
    assert report.latency_ms["max"] >= 950
    assert report.longest_gap_s >= 0.95


async def test_what_a_rate_asked_for_and_was_not_sent_is_told() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        await reader.read()

    report = await ran(talk, requests=None, rate=20.0, duration_s=0.5, timeout_s=0.5)
    assert report.started < 10
    assert report.started + report.unsent == 10
    assert is_accounted_for(report) and not report.sound


async def test_stopping_waits_for_what_is_in_flight_and_abandoning_does_not() -> None:
    release, arrived = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        arrived.set()
        await release.wait()
        writer.write(OK)
        await reader.read()

    async with serving(talk) as url, asyncio.timeout(BOUND_S):
        run = Run(Plan(url=url, concurrency=1))
        ending = asyncio.create_task(run.run())
        await arrived.wait()
        run.stop()
        assert run.report().in_flight == 1
        release.set()
        report = await ending
        assert (report.started, report.ok) == (1, 1)

        release.clear()
        arrived.clear()
        run = Run(Plan(url=url, concurrency=1))
        ending = asyncio.create_task(run.run())
        await arrived.wait()
        run.abandon()
        report = await ending
    assert (report.started, report.ok, report.failed, report.abandoned) == (1, 0, 0, 1)
    assert is_accounted_for(report)


async def test_what_does_not_end_in_the_time_out_is_abandoned_at_the_end() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"2\r\nok\r\n")
            await asyncio.sleep(0.05)

    report = await ran(talk, requests=None, duration_s=0.2, timeout_s=0.5)
    assert (report.started, report.abandoned) == (1, 1)


async def test_load_in_a_thread_flows_while_the_block_runs() -> None:
    async with serving(always) as url:

        def block() -> Report:
            with running_load(Plan(url=url, concurrency=3)) as load:
                while load.so_far().ok < 100:
                    pass
            return load.report

        report = await asyncio.to_thread(block)
    assert report.ok >= 100 and report.sound and is_accounted_for(report)


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.ECONNREFUSED, Cause.REFUSED),
        (errno.ECONNRESET, Cause.RESET),  # it died with the connection in its queue
        (errno.EHOSTUNREACH, Cause.UNREACHABLE),
    ],
)
def test_a_connection_that_does_not_come_about_says_why(number: int, cause: Cause) -> None:
    one = OSError(number, os.strerror(number))
    of_two_addresses = OSError(f"Multiple exceptions: [Errno {number}] first, [Errno {number}] second")
    assert why_unconnected(one)[0] is cause
    assert why_unconnected(of_two_addresses)[0] is cause
