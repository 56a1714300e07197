"""The short form of `make chaos`: every kind of fault within half a minute, under load, and what must hold after it.

The seed is the same each time, so that what CI runs is what it ran before; `make chaos` draws another one.
"""

from homeport.testing.chaos.report import lines
from homeport.testing.chaos.run import run

SEED = 1
FAULTS_S = 28.0


def test_nothing_accepted_is_lost_under_random_faults() -> None:
    result = run(SEED, FAULTS_S, print)
    print(*lines(result), sep="\n")
    assert result.violations == []
    assert len(result.happened) >= 8
    assert sum(report.ok for report in result.loads.values()) > 500
    assert result.ledger.counts["executions"] >= 3 and result.ledger.counts["agents deployed"] >= 2
