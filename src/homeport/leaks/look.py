"""Looking until it is certain: what one look finds counts only if it is there in every look of a few seconds.

Processes come and go between the reading of one part and the next; a leak stays. Called by the program behind
`homeport gc` and, in tests, after what should have left nothing.
"""

import time

from homeport.core.clock import SystemClock
from homeport.leaks.checks import check
from homeport.leaks.finding import Finding
from homeport.leaks.observation import observe
from homeport.settings import DataDir

WAIT_S = 5.0  # a killed component is back within a second or two; what is under way moves on
ROUNDS = 4  # what appears later has its own wait; where things come and go all the time, this ends it
_TURN_S = 0.25


def look(data: DataDir, wait_s: float = WAIT_S) -> list[Finding]:
    """What was nobody's for `wait_s` without a break, and behind it what is pending. Returns at once when nothing is
    found, and after a few times `wait_s` at the latest, or two looks on a machine where one takes longer. Raises
    `Unavailable` where the directory cannot be read."""
    clock = SystemClock()
    ends_at = clock.monotonic() + ROUNDS * wait_s
    since: dict[tuple[str, str], float] = {}
    first_look = True
    while True:
        found = check(observe(data))
        now = clock.monotonic()
        since = {finding.key: since.get(finding.key, now) for finding in found if not finding.pending}
        certain = {key for key, first in since.items() if now - first >= wait_s}
        if len(certain) == len(since) or (now >= ends_at and not first_look):
            sure = [finding for finding in found if finding.pending or finding.key in certain]
            return sorted(sure, key=lambda finding: (finding.pending, finding.kind, finding.name))
        first_look = False
        time.sleep(_TURN_S)


def leaks(data: DataDir, wait_s: float = WAIT_S) -> list[Finding]:
    """Only what nobody owns."""
    return [finding for finding in look(data, wait_s) if not finding.pending]
