"""Printing: results to standard output, everything else to standard error, so that results can be piped."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from homeport.cli.options import Output
from homeport.core.clock import SystemClock, parse_timestamp


def emit(value: Any, output: Output) -> None:
    """Print `value` as JSON or YAML."""
    if output is Output.YAML:
        import yaml

        print(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), end="")
    else:
        print(json.dumps(value, indent=2, ensure_ascii=False))


def note(text: str) -> None:
    """Tell the person at the terminal something that is no result."""
    print(text, file=sys.stderr, flush=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows in columns as wide as their longest cell."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[index]) for line in [[*columns], *cells]) for index in range(len(columns))]
    for line in [[*columns], *cells]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def age(moment: object, now: datetime | None = None) -> str:
    """How long ago an RFC 3339 time was: `12s`, `5m`, `3h`, `2d`; a dash where there is none."""
    if not isinstance(moment, str) or not moment:
        return "-"
    try:
        seconds = ((now or SystemClock().now()) - parse_timestamp(moment)).total_seconds()
    except ValueError:
        return "-"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"
