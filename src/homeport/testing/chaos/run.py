"""One run: the system, the load, the faults, the rest, the checks. Returns a result; prints nothing but progress."""

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from homeport.load.tally import Report
from homeport.settings import DataDir
from homeport.testing.chaos import checks, programs, warm
from homeport.testing.chaos.control import Control, GaveUp
from homeport.testing.chaos.faults import Happened, Saboteur
from homeport.testing.chaos.ground import Ground, ground
from homeport.testing.chaos.schedule import FaultKind, draw
from homeport.testing.chaos.work import JOB, LATE_JOB, Ledger, Worker, workers

_JOIN_S = 60.0


@dataclass(slots=True, kw_only=True)
class Result:
    """What was done and what did not hold. left_out: faults that this machine does not allow, with the reason.
    verified: sums of what the history checker counts.
    kept: where logs and database are, when something did not hold."""

    seed: int
    length_s: float
    left_out: list[str] = field(default_factory=list)
    happened: list[Happened] = field(default_factory=list)
    absences: list[warm.Absence] = field(default_factory=list)
    loads: dict[str, Report] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    answers: dict[tuple[str, str], int] = field(default_factory=dict)
    verified: Counter[str] = field(default_factory=Counter)
    rest_s: float = 0.0
    violations: list[str] = field(default_factory=list)
    kept: Path | None = None


def run(seed: int, length_s: float, say: Callable[[str], None]) -> Result:
    """Faults for `length_s` seconds by the schedule of `seed`, then the checks."""
    result = Result(seed=seed, length_s=length_s)
    with ground() as place:
        kinds = set(FaultKind)
        if place.no_disk:
            kinds.discard(FaultKind.DISK)
            result.left_out.append(f"no full disk: {place.no_disk}")
        place.step_clock(0.0)
        say(f"starting; data in {place.system.data.root}")
        place.system.up()
        control = Control(place.system)
        try:
            _live(place, control, kinds, result, say)
        finally:
            control.close()
            place.system.close()
            result.violations += checks.not_stopped(place.system)
        result.violations += checks.left_running(place.system)
        if result.violations:
            result.kept = _keep(place.system.data, seed)
    return result


def _keep(data: DataDir, seed: int) -> Path:
    kept = Path(tempfile.mkdtemp(prefix=f"homeport-chaos-{seed}-"))
    shutil.copytree(data.logs, kept / "logs")
    shutil.copyfile(data.database, kept / data.database.name)
    return kept


def _live(place: Ground, control: Control, kinds: set[FaultKind], result: Result, say: Callable[[str], None]) -> None:
    before = _prepare(place, control)
    loads = warm.loads(place.system)
    doing = workers(control, result.ledger, result.seed)
    for load in loads.values():
        load.start()
    began_s = time.monotonic()
    door = warm.Doorkeeper(place.system.port, began_s)
    saboteur = Saboteur(place, draw(result.seed, result.length_s, kinds), began_s, say)
    for thread in (door, *doing, saboteur):
        thread.start()
    try:
        saboteur.join()
        say("the faults are over; waiting for rest")
        over_s = time.monotonic()
        control.insist_until_s = over_s + checks.REST_S
        result.violations += checks.not_ready(place.system, control)
        result.violations += _stop(doing)
        result.violations += checks.not_ended(control, result.ledger.executions)
        result.rest_s = time.monotonic() - over_s
    finally:
        saboteur.stop()
        saboteur.join()
        _stop(doing)
        result.loads = {name: load.stop() for name, load in loads.items()}
        door.stop()
    result.happened = saboteur.faults.happened
    result.absences = warm.absences(result.happened, door.shut)
    result.violations += saboteur.faults.violations
    say("at rest; checking")
    result.violations += _checked(place, control, result, before, began_s)
    result.violations += control.violations
    result.answers = dict(control.answers)


def _prepare(place: Ground, control: Control) -> dict[str, Any]:
    """What is there all the while; what each agent answered before the first fault."""
    for name in warm.AGENTS:
        deployed = place.system.deploy("agents", name, programs.agent(0), {"runtime": {"memory": 256}})
        assert deployed["status"] == "DEPLOYED", deployed
    for job, spec in ((JOB, programs.JOB_SPEC), (LATE_JOB, programs.LATE_SPEC)):
        deployed = place.system.deploy("jobs", job, programs.task(), spec)
        assert deployed["status"] == "DEPLOYED", deployed
    return {name: control.get("call", f"/default/agents/{name}/").json() for name in warm.AGENTS}


def _stop(doing: list[Worker]) -> list[str]:
    for worker in doing:
        worker.stop()
    for worker in doing:
        worker.join(checks.REST_S + _JOIN_S)
    return [worker.failure or f"{worker.name} does not end" for worker in doing if worker.failure or worker.is_alive()]


def _checked(place: Ground, control: Control, result: Result, before: dict[str, Any], began_s: float) -> Iterator[str]:
    control.insist_until_s = time.monotonic() + checks.REST_S
    for name, report in result.loads.items():
        for moment_s, failure in warm.unexplained(report, began_s, result.absences):
            yield f"{name}: a request that ended at {moment_s:.2f} s: {failure.cause}: {failure.detail}"
        if report.abandoned or report.unsent:
            yield f"{name}: {report.abandoned} requests abandoned, {report.unsent} never sent"
    executions = result.ledger.executions
    stepped = any(one.fault.kind is FaultKind.CLOCK for one in result.happened)
    try:
        yield from checks.not_in_force(control, result.ledger)
        yield from checks.restarted(control, before)
        yield from checks.wrong_executions(control, executions, result.verified)
        yield from checks.leaked(place.system, stepped)
    except GaveUp as exc:
        yield f"no answer at rest to: {exc}"
