"""`python -m homeport.testing.simulation`: runs seeds, and prints of each that fails what it broke, what happened
before, and the command that runs it again."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from random import SystemRandom

from homeport.testing.simulation.machine import Machine
from homeport.testing.simulation.world import simulate

COMMAND = "python -m homeport.testing.simulation"
SHOWN_LINES = 60  # of what happened; all of it with --verbose
FRESH_SEEDS = 10**9


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 when a seed failed."""
    options = _parser().parse_args(arguments)
    first = SystemRandom().randrange(FRESH_SEEDS) if options.seed is None else options.seed
    print(f"seeds {first} to {first + options.runs - 1}")
    began, failed = time.monotonic(), 0
    for machine in _runs(range(first, first + options.runs), options.processes):
        if machine.found:
            failed += 1
        if machine.found or options.verbose:
            print(report(machine, whole=options.verbose), flush=True)
    minutes = max(time.monotonic() - began, 1e-9) / 60
    print(f"{options.runs} runs, {failed} failed; {options.runs / minutes:.0f} a minute")
    return 1 if failed else 0


def report(machine: Machine, *, whole: bool = False) -> str:
    """One run for people."""
    lines = [f"seed {machine.seed}: {'; '.join(machine.found) or 'nothing found'}"]
    lines += machine.trace if whole else machine.trace[-SHOWN_LINES:]
    if machine.found:
        lines += [f"again: {COMMAND} --seed {machine.seed} --verbose", ""]
    return "\n".join(lines)


def _runs(seeds: range, processes: int) -> Iterator[Machine]:
    """In the order of the seeds, each as soon as it is there."""
    if processes == 1 or len(seeds) == 1:
        yield from map(simulate, seeds)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(simulate, seeds, chunksize=16)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=COMMAND, description="Run the server's loops on virtual time under faults.")
    parser.add_argument("--seed", type=int, help="the first seed; a fresh one, which is printed, by default")
    parser.add_argument("--runs", type=_positive, default=1, help="so many seeds, one after the other (1)")
    parser.add_argument("--processes", type=_positive, default=1, help="so many at once (1)")
    parser.add_argument("--verbose", action="store_true", help="print all that happened in each run")
    return parser


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
