"""`python -m bench [NAME …]`: run the scenarios, print a table for each, write everything as JSON.

The exit code is 0 when every bound is met, 1 when one is missed, 2 when a scenario refused to report.
"""

import argparse
import importlib
import json
import pkgutil
import signal
import subprocess
import sys
from datetime import UTC
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import machine, peers, scenarios
from bench.figures import Figure, Outcome, Refused
from homeport.core.clock import SystemClock

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
ROUNDS_LEAST = 5
MET = {True: "met", False: "MISSED", None: ""}


def main() -> int:
    packages = {
        found.name: package.__name__
        for package in (scenarios, peers)
        for found in pkgutil.iter_modules(package.__path__)
    }
    names = [name for name, package in packages.items() if package == scenarios.__name__]
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Homeport; see docs/benchmarks.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; all of them by default")
    parser.add_argument("--rounds", type=int, default=ROUNDS_LEAST, help="interleaved rounds")
    parser.add_argument("--scale", type=float, default=1.0, help="below 1: fewer requests and objects, to try it out")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes")
    options = parser.parse_args()
    if unknown := set(options.names) - set(packages):
        parser.error(f"there is no scenario {min(unknown)!r}; there are {', '.join(names)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what was started is stopped, too
    console = Console(width=110)
    report: dict[str, Any] = {"commit": _commit(), "machine": machine.describe(), "scenarios": {}}
    started = SystemClock().now()
    chosen = [f"{packages[name]}.{name}" for name in options.names or names]
    codes = [_run(console, module, options.rounds, options.scale, report) for module in chosen]
    options.results.mkdir(exist_ok=True)
    path = options.results / f"{started.astimezone(UTC):%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    console.print(f"Written to {path}")
    return max(codes)


def _run(console: Console, module: str, rounds: int, scale: float, report: dict[str, Any]) -> int:
    """One scenario, into the report and onto the screen; its exit code."""
    scenario, name = importlib.import_module(module), module.rpartition(".")[2]
    before, busy = machine.load(), machine.busy_share()
    noisy = busy > machine.BUSY_MOST
    entry: dict[str, Any] = {
        "rounds": rounds,
        "scale": scale,
        "load_before": before,
        "busy_before": round(busy, 2),
        "noisy": noisy,
    }
    report["scenarios"][name] = entry
    console.print(f"\n[bold]{name}[/]: {' '.join((scenario.__doc__ or '').split())}", highlight=False)
    try:
        outcome: Outcome = scenario.run(rounds, scale)
    except Refused as error:
        entry["refused"] = str(error)
        console.print(f"[bold red]No figures:[/] {error}.")
        return 2
    entry |= {
        "load_after": machine.load(),
        "figures": [one.to_json() for one in outcome.figures],
        "notes": outcome.notes,
    }
    console.print(_table(outcome.figures))
    if noisy:
        outcome.notes.append(f"other work used {busy:.0%} of the machine before the start: expect noise")
    if scale != 1:
        outcome.notes.append(f"at {scale:g} of the full size: for trying it out, not for comparing")
    for note in (*outcome.notes, f"load before {before[0]}, after {entry['load_after'][0]}; {rounds} rounds"):
        console.print(f"  {note}", highlight=False)
    return int(any(one.met is False for one in outcome.figures))


def _table(figures: list[Figure]) -> Table:
    table = Table("figure", "unit")
    for heading in ("median", "min", "max", "bound", ""):
        table.add_column(heading, justify="right")
    for one in figures:
        values = (_shown(value) for value in (one.median, min(one.rounds), max(one.rounds)))
        table.add_row(one.name, one.unit, *values, one.bound, MET[one.met])
    return table


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


if __name__ == "__main__":
    raise SystemExit(main())
