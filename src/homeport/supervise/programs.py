"""Programs that outlived their node and everything that would have started it again. Ended by `homeport down`.

A node of its own is started for that: it adopts them, ends them with their grace and writes down how, as at any stop.
"""

import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence

from homeport.core.clock import SystemClock
from homeport.core.units import UnitState
from homeport.node.cgroups import installation_name
from homeport.node.journal import read_units
from homeport.node.stage import stage_folder
from homeport.settings import DataDir
from homeport.supervise import probe
from homeport.supervise.processes import ProcessId, spawn
from homeport.supervise.progress import Progress
from homeport.supervise.takeover import NODE, end_component

_START_BOUND_S = 30.0
END_BOUND_S = 90.0  # engines are ended within thirty seconds; what is slower is in great trouble
_TURN_S = 0.05


def node_command(data: DataDir, *, sandboxed: bool) -> Sequence[str]:
    insecure = [] if sandboxed else ["--insecure-no-sandbox"]
    socket = str(data.socket(NODE))
    return [sys.executable, "-m", "homeport.node", "--data", str(data.root), "--socket", socket, *insecure]


def end_containers(data: DataDir, progress: Progress, *, end_bound_s: float = END_BOUND_S) -> None:
    """End what runs on the engines of the operator's configuration, if it names any; the server has stopped. The
    caller holds the lock."""
    try:
        regions = tomllib.loads(data.config.read_text(encoding="utf-8")).get("regions", {})
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:  # it was changed since the server's start
        progress.warn(f"containers may still run, since {data.config} cannot be read: {error}")
        return
    if not isinstance(regions, dict) or not any(
        isinstance(table, dict) and "engine" in table for table in regions.values()
    ):
        return
    progress.step("stopping containers")
    command = [sys.executable, "-m", "homeport.engines", "--data", str(data.root)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=end_bound_s)
    except subprocess.TimeoutExpired:  # what is still to be stopped here does not wait for it
        progress.warn(f"containers may still run: engines took longer than {end_bound_s:g} s")
        return
    if done.returncode != 0:
        said = done.stdout.splitlines() or done.stderr.splitlines()[-1:]
        progress.warn(f"containers may still run, {'; '.join(said)}. Mend that and `homeport down` again ends them")


def end_programs(
    data: DataDir, progress: Progress, record: Callable[[ProcessId | None], None], *, sandboxed: bool
) -> bool:
    """End what the journal of a dead node says is running, and remove what else it left on the machine; returns
    whether there was any. The caller holds the lock. `record` is told of the node before it runs, and of its end."""
    programs = any(unit.state is UnitState.STARTING for unit in read_units(data.node / "journal"))
    if not programs and not stage_folder(installation_name(data.root)).exists():
        return False
    progress.step("stopping what a killed node left")
    data.create()
    starting = spawn(node_command(data, sandboxed=sandboxed), log=data.log(NODE))
    record(starting.handle.identity)
    starting.admit()
    clock = SystemClock()
    deadline = clock.monotonic() + _START_BOUND_S
    while not (probe.accepts(data.socket(NODE)) or starting.handle.ended() or clock.monotonic() > deadline):
        time.sleep(_TURN_S)
    end_component(NODE, starting.handle, progress)
    record(None)
    return True
