"""`python -m homeport.testing.chaos --minutes 10 --seed 7`: run, and print what happened.

`make chaos` calls it. Exit code 1 if anything did not hold.
Faults act on an installation of its own in a temporary directory, never on another.
"""

import argparse
import random
import sys

from homeport.testing.chaos.report import lines
from homeport.testing.chaos.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m homeport.testing.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long faults are made; rest and checks follow")
    parser.add_argument("--seed", type=int, default=0, help="of the schedule; 0: a new one, which is printed")
    arguments = parser.parse_args()
    if not 0.1 <= arguments.minutes <= 24 * 60:
        parser.error(f"argument --minutes: must be from 0.1 to 1440 (got {arguments.minutes})")
    seed = arguments.seed or random.SystemRandom().randint(1, 999_999)
    print(f"seed {seed}: `make chaos SEED={seed} MINUTES={arguments.minutes:g}` repeats the schedule", flush=True)
    result = run(seed, arguments.minutes * 60, lambda text: print(text, flush=True))
    for line in lines(result):
        print(line)
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
