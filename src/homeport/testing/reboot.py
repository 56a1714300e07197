"""A machine that loses its power and boots again, as far as one installation can tell."""

import json
import os
import signal

from homeport.node.processes import descendants
from homeport.settings import DataDir
from homeport.supervise.processes import Handle, identify
from homeport.supervise.state import read_state

_EARLIER_BOOT = "00000000-0000-0000-0000-000000000000"


def cut_the_power(data: DataDir) -> None:
    """End every process at the same moment: all are halted first, so that none sees another one's end."""
    state = read_state(data)
    assert state.supervisor is not None
    roots = [state.supervisor.pid, *(held.pid for held in state.components.values())]
    roots += [int(path.read_text().split()[0]) for path in (data.node / "units").glob("*/identity")]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        found = {pid for root in roots for pid in (root, *descendants(root))}
        for pid in found:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
    for held in (state.supervisor, *state.components.values()):
        if (handle := Handle.open(held)) is not None:
            with handle:
                assert handle.ended(30.0)


def boot(data: DataDir, stranger: int) -> None:
    """Have everything that was written down about processes be of an earlier boot, and their pids be a stranger's."""
    state = json.loads(data.state.read_text())
    known = identify(stranger)
    assert known is not None
    for held in (state["supervisor"], *state["components"].values()):
        held |= {**known.to_json(), "boot": _EARLIER_BOOT}
    data.state.write_text(json.dumps(state))
    for path in (data.node / "units").glob("*/identity"):
        path.write_text(f"{stranger} {known.started} {_EARLIER_BOOT}")
