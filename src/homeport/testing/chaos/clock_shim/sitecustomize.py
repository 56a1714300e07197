"""On PYTHONPATH of the processes under test: the wall clock of Homeport's own processes, moved by what a file says.

Imported by Python at its start. It moves `SystemClock.now`, the only place where Homeport reads the wall clock, in
processes of the tests alone: nothing in the product reads the variable. The machine's clock, Envoy's and those of
programs in sandboxes stay as they are; monotonic time never steps.
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from homeport.core import clock

_OFFSET = Path(os.environ["HOMEPORT_TEST_CLOCK"])


def _now(self: clock.SystemClock) -> datetime:
    try:
        offset_s = float(_OFFSET.read_text())
    except (OSError, ValueError):
        offset_s = 0.0
    return datetime.now(UTC) + timedelta(seconds=offset_s)  # noqa: TID251 this stands in for the one module that may


clock.SystemClock.now = _now  # type: ignore[method-assign]
