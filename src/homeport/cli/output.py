"""Printing: results to standard output, everything else to standard error, so that results can be piped.

Colours and cut columns are for terminals only; NO_COLOR and a terminal that cannot do it are respected.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO

from homeport.cli.options import Output
from homeport.core.clock import SystemClock, parse_timestamp

_NARROWEST = 8  # a column that is cut keeps so many characters
_GREEN, _RED, _YELLOW = 32, 31, 33
_GOOD = frozenset({"DEPLOYED", "SUCCEEDED", "SERVING", "HEALTHY", "READY", "ALLOWED", "ALLOWS", "OK"})
_BAD = frozenset({"FAILED", "TIMEOUT", "REFUSED", "REFUSES", "DEACTIVATED", "LOST", "BAD"})
_MOVING = frozenset({"UPLOADING", "BUILDING", "DEPLOYING", "DELETING", "RUNNING", "QUEUED", "PENDING", "CANCELLING"})


def emit(value: Any, output: Output) -> None:
    """Print `value` as JSON or YAML."""
    if output is Output.YAML:
        import yaml

        print(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), end="")
    else:
        print(json.dumps(value, indent=2, ensure_ascii=False))


def emit_line(value: Any, output: Output) -> None:
    """Print `value`, one of many that come one by one, as a line of JSON or YAML."""
    # JSON is YAML; one document a line can be read while more come.
    beginning = "--- " if output is Output.YAML else ""
    print(f"{beginning}{json.dumps(value, ensure_ascii=False)}", flush=True)


def tell(text: str, value: Any, output: Output) -> None:
    """Print what was done: `text` for people, `value` for programs."""
    if output is Output.TEXT:
        print(text)
    else:
        emit(value, output)


def tell_all(
    found: Sequence[Any],
    output: Output,
    *,
    none: str,
    columns: Sequence[str],
    row: Callable[[Any], Sequence[object]],
) -> None:
    """Print what was found: a table for people, or `none`, which says that there is nothing; all of it for programs."""
    if output is not Output.TEXT:
        emit(found, output)
    elif not found:
        note(none)
    else:
        table(columns, [row(item) for item in found])


def note_secrets(secrets: Mapping[str, str]) -> None:
    """Tell secrets of callbacks, by the trigger's id, which only the answer to an order has."""
    for trigger, secret in secrets.items():
        note(f"The secret that signs callbacks of the trigger {trigger}; nothing shows it again: {secret}")


def note(text: str) -> None:
    """Tell the person at the terminal something that is no result."""
    print(printable(text), file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Something that was asked for and will not happen, or that is about to surprise."""
    print(f"{paint('Warning:', _YELLOW, sys.stderr)} {printable(text)}", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """`text` with control characters made visible: what others wrote must not steer the terminal."""
    return "".join(char if char in "\n\t" or char.isprintable() else ascii(char)[1:-1] for char in text)


def coloured(stream: TextIO) -> bool:
    """Whether colours mean something there."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: int, stream: TextIO) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if coloured(stream) else text


def state(word: object, padded: str | None = None) -> str:
    """A state in its colour; `padded` is the text to show in place of the word."""
    text = str(word) if padded is None else padded
    upper = str(word).upper()
    for words, colour in ((_GOOD, _GREEN), (_BAD, _RED), (_MOVING, _YELLOW)):
        if upper in words:
            return paint(text, colour, sys.stdout)
    return text


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows in columns as wide as their longest cell."""
    for line in table_lines(columns, rows):
        print(line)


def table_lines(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a table. On a terminal that is too narrow the widest columns are cut, never the first."""
    cells = [[*columns], *([" ".join(printable(str(cell)).split()) for cell in row] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    if sys.stdout.isatty():
        widths = _fitted(widths, shutil.get_terminal_size().columns)
    return [_line(line, widths) for line in cells]


def _line(line: Sequence[str], widths: Sequence[int]) -> str:
    shown = [cell if len(cell) <= width else f"{cell[: width - 1]}…" for cell, width in zip(line, widths, strict=True)]
    last = len(shown) - 1
    padded = (
        state(cell, text if place == last else text.ljust(width))
        for place, (cell, text, width) in enumerate(zip(line, shown, widths, strict=True))
    )
    return "  ".join(padded).rstrip()


def _fitted(widths: list[int], room: int) -> list[int]:
    """`widths` with the widest made narrower until they fit, or until none may become narrower."""
    fitted = [*widths]
    gaps = 2 * (len(fitted) - 1)
    while (excess := sum(fitted) + gaps - room) > 0:
        place = max(range(1, len(fitted)), key=lambda index: fitted[index], default=0)
        if not place or fitted[place] <= _NARROWEST:
            break
        rest = max((width for index, width in enumerate(fitted) if index not in (0, place)), default=_NARROWEST)
        fitted[place] = max(_NARROWEST, min(rest, fitted[place] - 1), fitted[place] - excess)
    return fitted


def age(moment: object, now: datetime | None = None) -> str:
    """How long ago an RFC 3339 time was: `12s`, `5m`, `3h`, `2d`; a dash where there is none."""
    if not isinstance(moment, str) or not moment:
        return "-"
    try:
        seconds = ((now or SystemClock().now()) - parse_timestamp(moment)).total_seconds()
    except ValueError:
        return "-"
    return duration(seconds)


def duration(seconds: float) -> str:
    """Seconds in the largest unit that fits: `12s`, `5m`, `3h`, `2d`."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"
