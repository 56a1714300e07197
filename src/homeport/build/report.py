"""Turns the end of a build's unit into an error that reads well. Called by the builder."""

import re
from collections import deque
from collections.abc import Sequence

from homeport.build.errors import BuildFailed
from homeport.build.recipe import MARK
from homeport.core.ids import UnitId
from homeport.core.units import Outcome, UnitState, UnitStatus, signal_name
from homeport.drivers.contract import Driver

LAST_LINES = 30  # of the log, kept with the error: an error of uv has about ten
CAUSE_CHARACTERS = 400  # of the log, in the message itself
_PAGE = 1000  # lines of the log read at once

_FRAME = re.compile(r"^[\s│├╰─▶×]+")
_BEGINS = re.compile(r"^\s*(?:error|× |[A-Za-z_.]*(?:Error|Exception)\b)", re.IGNORECASE)


async def last_lines(driver: Driver, unit: UnitId) -> tuple[str, ...]:
    """The last announcement of a step in the unit's log, and the lines after it (at most `LAST_LINES` of them)."""
    step = ""
    tail: deque[str] = deque(maxlen=LAST_LINES)
    offset = 0
    while page := await driver.log(unit, offset, _PAGE):
        offset = page[-1].offset
        for line in page:
            if line.text.startswith(MARK):
                step = line.text
                tail.clear()
            else:
                tail.append(line.text.rstrip())
    return (step, *tail) if step else tuple(tail)


def failure(
    status: UnitStatus, steps: Sequence[tuple[str, str, str]], lines: tuple[str, ...], memory_mb: int
) -> BuildFailed:
    """The error for a unit that ended otherwise than well. steps: name, title and script of each, as planned. lines:
    as `last_lines` returns them."""
    title = lines[0].removeprefix(MARK) if lines and lines[0].startswith(MARK) else ""
    name, command = next(((name, script) for name, planned, script in steps if planned == title), ("Building", ""))
    outcome = status.outcome or Outcome(lost=True)
    return BuildFailed(
        name,
        _why(status, outcome, lines, memory_mb),
        command=command,
        exit_code=outcome.exit_code,
        last_lines=lines,
    )


def _why(status: UnitStatus, outcome: Outcome, lines: tuple[str, ...], memory_mb: int) -> str:
    if outcome.timed_out:
        return "took too long and was stopped"
    if outcome.out_of_memory:
        return f"needed more than the {memory_mb} MB of memory that a build may use"
    if outcome.stopped:
        return "was stopped"
    if status.state is UnitState.LOST or outcome.lost:
        return "ended in a way that nobody saw; deploy again"
    if outcome.signal is not None:
        return f"was killed by {signal_name(outcome.signal)}"
    found = cause(lines)
    return f"failed (exit code {outcome.exit_code})" + (f": {found}" if found else "")


def cause(lines: Sequence[str]) -> str:
    """The sentence in the log that says why: from the last line that begins an error to the end, else the last line."""
    said = [line for line in lines if line.strip() and not line.startswith(MARK)]
    starts = [at for at, line in enumerate(said) if _BEGINS.match(line)]
    chosen = said[starts[-1] :] if starts else said[-1:]
    text = " ".join(part for line in chosen if (part := _FRAME.sub("", line).strip()))
    return text if len(text) <= CAUSE_CHARACTERS else text[: CAUSE_CHARACTERS - 1] + "…"
