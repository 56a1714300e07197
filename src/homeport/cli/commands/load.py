"""`homeport load`: load on an agent of one's own, with an account of every request and every byte."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from homeport.cli.commands.running import read_body, verb_of
from homeport.cli.completing import complete_agent
from homeport.cli.options import Data, Format, Output, Workspace, connect
from homeport.cli.output import emit, note, printable
from homeport.core.errors import Denied, Invalid
from homeport.core.ids import Kind

if TYPE_CHECKING:
    from homeport.client import Homeport
    from homeport.load.plan import Expectation, Plan
    from homeport.load.tally import Report

_DURATION_S = 10.0  # when nothing says when to end
_LIVE_S = 0.5  # between two looks for the live line
_SHOWN = 10  # kinds of failures that are told
_SPARE_DESCRIPTORS = 64
_BUSY = 0.9  # of a core: from here on it may be this tool that limits


def load(
    name: Annotated[str, typer.Argument(help="The agent's name.", autocompletion=complete_agent)],
    duration: Annotated[
        str | None, typer.Option(help="How long: 10s, 5m. Default: 10s, or as --requests says.")
    ] = None,
    requests: Annotated[int | None, typer.Option("-n", "--requests", min=1, help="How many requests at most.")] = None,
    concurrency: Annotated[
        int, typer.Option("-c", "--concurrency", min=1, help="How many at once, 1000 at most.")
    ] = 10,
    rate: Annotated[float | None, typer.Option(help="Begin so many a second, whether answered or not.")] = None,
    path: Annotated[str, typer.Option(help="The path below the agent's address.")] = "",
    method: Annotated[str | None, typer.Option(help="Default: POST with a body or without a path, else GET.")] = None,
    body: Annotated[
        str | None, typer.Option("-d", "--body", help="The body of each request; @FILE reads a file.")
    ] = None,
    header: Annotated[list[str] | None, typer.Option("-H", "--header", help="Such as 'Accept: text/plain'.")] = None,
    new_connections: Annotated[bool, typer.Option("--new-connections", help="A new connection for each.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds of silence that end a request as failed.")] = 30.0,
    expect_bytes: Annotated[int | None, typer.Option(min=0, help="Each answer has exactly so many bytes.")] = None,
    expect_sha256: Annotated[str | None, typer.Option(help="Each answer has this SHA-256.")] = None,
    numbered: Annotated[
        bool, typer.Option("--numbered", help="Lines count from 0 or 1, none missing or twice.")
    ] = False,
    expect_lines: Annotated[int | None, typer.Option(min=0, help="Each answer has so many lines.")] = None,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Put load on an agent and account for every request.

    Every request ends as ok (status below 400, whole, as expected), failed (with its cause) or abandoned (in flight
    --timeout after the end). None is ever sent twice. Exit code 0 only if all are ok. Ctrl-C ends the run and prints
    what was counted; a second one does not wait for what is in flight.

    Without --rate, each connection sends its next request when the one before has ended: this finds how fast the agent
    is. With --rate, requests begin at that rate however slow the answers, and their times count from the moment when
    they were due: this finds what callers feel.

    To prove that a stream loses nothing, let the program send numbered lines and use --numbered. Event streams
    (`data: 1`) count as well: the first number of a line is taken.

    \b
    Examples:
      homeport load hello-agent -d '{"inputs": "hi"}' --duration 30s
      homeport load hello-agent -d @body.json --rate 200 -c 50
      homeport load hello-agent --path numbers --numbered --expect-lines 1000
    """
    from homeport.core.spec import parse_duration
    from homeport.load.plan import Plan

    seconds = float(parse_duration(duration, "--duration")) if duration is not None else None
    content = read_body(body)
    with connect(data, workspace) as client:
        plan = Plan(
            url=client.address(Kind.AGENT, name, path),
            method=verb_of(method, path, body),
            headers=client.call_headers(content) | _headers(header or []),
            body=content,
            requests=requests,
            duration_s=_DURATION_S if seconds is None and requests is None else seconds,
            concurrency=concurrency,
            rate=rate,
            new_connections=new_connections,
            timeout_s=timeout,
            expect=_expectation(expect_bytes, expect_sha256, numbered, expect_lines),
        )
        _require_agent(client, name)
    _allow_descriptors(concurrency)
    _end(*_carried_out(plan), output)


def _headers(lines: list[str]) -> dict[str, str]:
    found = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise Invalid("-H", "must be NAME: VALUE", value=name)
        found[name.strip()] = value.strip()
    return found


def _expectation(size: int | None, sha256: str | None, numbered: bool, lines: int | None) -> "Expectation":
    from homeport.load.plan import Expectation

    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise Invalid("--expect-sha256", "must be 64 hexadecimal digits", value=sha256)
    return Expectation(size=size, sha256=sha256.lower() if sha256 else None, numbered=numbered, lines=lines)


def _require_agent(client: "Homeport", name: str) -> None:
    """Raises `NotFound` for an agent that does not exist, before thousands of requests say so."""
    try:
        client.get(Kind.AGENT, name)
    except Denied:
        pass  # a key may be good for calls alone


def _allow_descriptors(concurrency: int) -> None:
    from homeport.core.open_files import hard_limit, raise_open_files

    wanted = concurrency + _SPARE_DESCRIPTORS
    if (most := hard_limit()) < wanted:
        rule = f"needs {wanted} file descriptors, and this shell allows {most}"
        raise Invalid("--concurrency", rule, value=str(concurrency), hint="`ulimit -n` shows and raises the limit.")
    raise_open_files()


def _carried_out(plan: "Plan") -> "tuple[Report, bool]":
    """The run with its live line; and whether Ctrl-C ended it."""
    import asyncio
    import signal

    from homeport.cli.progress import progress
    from homeport.load.run import Run

    how = f"{plan.rate:g} a second" if plan.rate is not None else "each after the one before"
    note(f"{plan.method} {plan.url} over {plan.concurrency} connections, {how}")
    presses = 0

    async def carry_out() -> "Report":
        run = Run(plan)
        loop = asyncio.get_running_loop()

        def interrupt() -> None:
            nonlocal presses
            presses += 1
            if presses > 1:
                run.abandon()
                return
            run.stop()
            if flying := run.report().in_flight:
                shown.say(f"Waiting for {flying} requests in flight; Ctrl-C again abandons them.")

        async def live() -> None:
            while True:
                await asyncio.sleep(_LIVE_S)
                shown.update(_line(run.report()))

        with progress("starting") as shown:
            loop.add_signal_handler(signal.SIGINT, interrupt)
            showing = loop.create_task(live())
            try:
                return await run.run()
            finally:
                showing.cancel()
                loop.remove_signal_handler(signal.SIGINT)

    return asyncio.run(carry_out()), presses > 0


def _end(report: "Report", interrupted: bool, output: Output) -> None:
    """Print what was counted, and leave with the exit code that it means."""
    if output is Output.TEXT:
        _print(report)
    else:
        emit(report.to_json(), output)
    if not report.sound or interrupted:
        raise typer.Exit(130 if interrupted and not report.failed else 1)


def _line(report: "Report") -> str:
    p99 = report.latency_ms.get("p99")
    speed = f"{report.rps:,.0f} a second".replace(",", " ")
    tail = f" · p99 {_ms(p99)}" if p99 is not None else ""
    return f"{report.elapsed_s:.0f} s · {_count(report.ok)} ok · {_count(report.failed)} failed · {speed}{tail}"


def _print(report: "Report") -> None:
    rows = [
        ("requests", f"{_count(report.started)} started = {_count(report.ok)} ok + {_count(report.failed)} failed"
                     f" + {_count(report.abandoned)} abandoned"),
        ("statuses", ", ".join(f"{status}: {_count(count)}" for status, count in sorted(report.statuses.items()))),
        ("failures", ", ".join(f"{cause}: {_count(count)}" for cause, count in report.causes.items())),
        ("unsent", f"{_count(report.unsent)} were due and not sent" if report.unsent else ""),
        ("latency", "  ".join(f"{name} {_ms(value)}" for name, value in report.latency_ms.items())),
        ("throughput", f"{report.rps:,.1f} ok a second in {report.elapsed_s:.2f} s".replace(",", " ")),
        ("received", f"{_count(report.received_bytes)} bytes in {_count(report.pieces)} chunks, "
                     f"{_count(report.connections)} connections"),
        ("longest gap", f"{report.longest_gap_s:.3f} s without an ok answer, from {report.gap_began_s:.2f} s on"),
    ]  # fmt: skip
    for name, text in rows:
        if text:
            print(f"{name:12}{text}")
    _print_failures(report)
    if report.busy > _BUSY:
        note(f"This tool itself used {report.busy:.0%} of a core: faster answers may be its own limit.")
    if report.unsent:
        note("The rate was not kept: raise --concurrency, or the agent is too slow for it.")


def _print_failures(report: "Report") -> None:
    """Each kind of failure once, with its number and its first and last time."""
    kinds: dict[str, list[float]] = {}
    for failure in report.failures:
        kinds.setdefault(f"{failure.cause}: {failure.detail}", []).append(failure.ended_s)
    for kind, moments in [*kinds.items()][:_SHOWN]:
        when = f"at {moments[0]:.2f} s" if len(moments) == 1 else f"from {min(moments):.2f} s to {max(moments):.2f} s"
        print(f"  {_count(len(moments))} x {printable(kind)}, {when}")
    if len(kinds) > _SHOWN:
        print(f"  … and {len(kinds) - _SHOWN} more kinds; `-o json` has every failure.")


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _ms(value: float) -> str:
    return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.2f} ms"
