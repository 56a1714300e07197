"""What one seed makes of a run: who orders what and when, what programs do, and which faults come. Drawn before the
run begins, so that a change in the product leaves the same orders and the same faults."""

from dataclasses import dataclass
from enum import StrEnum
from random import Random

CALM_AT_S = 20.0  # the last fault has begun before; it ends some seconds later at the latest
LAST_ORDER_S = 14.0


class FaultKind(StrEnum):
    """What may go wrong."""

    SERVER_DIES = "the server dies"
    SERVER_DIES_AT = "the server dies at one of its next calls"
    DISK_FULL = "commits fail"
    ANSWERS_LOST = "commits succeed and are told as failed"
    SLOW_DISK = "the store is slow"
    NODE_AWAY = "the node does not answer"
    POWER_LOSS = "the machine loses its power"
    DOWN = "the system is stopped and started again"
    UNIT_LOST = "a unit is lost"
    UNIT_VANISHES = "a unit is gone without a trace"
    UNIT_KILLED = "a unit is killed"
    CLOCK_STEP = "the wall clock jumps"
    SLOW_STARTS = "starts are slow"
    STARTS_FAIL = "starts fail"
    ENVOY_AWAY = "the gateway does not answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`length_s`: how long it lasts, or until the server is back. `amount`: seconds of a jump, or the number of the
    call at which the server dies."""

    at_s: float
    kind: FaultKind
    length_s: float
    amount: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """`ttl_s`: it goes by itself so long after its deployment."""

    name: str
    most_at_once: int
    max_retries: int
    timeout_s: int
    policed: bool
    delete_at_s: float | None
    ttl_s: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionPlan:
    """`grace_s`: the cancellation stops what runs, too, and kills it so much later."""

    at_s: float
    job: str
    id: str
    tasks: int
    cancel_at_s: float | None
    grace_s: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStep:
    """One order about an agent: a deployment of `source`, or its end. `source` says what its program does."""

    at_s: float
    verb: str  # deploy, disable, delete
    source: str
    scale: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentPlan:
    name: str
    policed: bool
    steps: tuple[AgentStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`policy_at_s` are the moments at which the policy turns, from allowing this machine to refusing it and back."""

    seed: int
    slots: int
    jobs: tuple[JobPlan, ...]
    executions: tuple[ExecutionPlan, ...]
    agents: tuple[AgentPlan, ...]
    policy_at_s: tuple[float, ...]
    faults: tuple[Fault, ...]


GOOD = ("good", "better")
SOURCES = (*GOOD, "ends", "silent", "elsewhere", "unbuildable")
"""What an agent's program does: listens (the first two), ends again and again, never listens, listens on another port,
or cannot be built."""

_INSTANT = (FaultKind.UNIT_LOST, FaultKind.UNIT_VANISHES, FaultKind.UNIT_KILLED, FaultKind.CLOCK_STEP)


def draw(seed: int) -> Scenario:
    chance = Random(f"{seed} scenario")
    faults = _faults(chance)
    # What goes at a moment of the wall clock may come when that clock pleases: only then can it be waited for.
    steady = all(fault.kind is not FaultKind.CLOCK_STEP for fault in faults)
    jobs = tuple(_job(chance, number, steady) for number in range(chance.choice((0, 1, 1, 2))))
    runs = range(chance.randint(1, 4) if jobs else 0)
    many_agents = chance.choice((0, 0, 1, 1, 2)) if jobs else chance.choice((1, 1, 2))
    return Scenario(
        seed=seed,
        slots=chance.choice((1, 2, 4, 8)),
        jobs=jobs,
        executions=tuple(_execution(chance, chance.choice(jobs).name, number) for number in runs),
        agents=tuple(_agent(chance, number) for number in range(many_agents)),
        policy_at_s=tuple(sorted(_when(chance) for _ in range(chance.choice((0, 0, 0, 1, 2))))),
        faults=faults,
    )


def _when(chance: Random) -> float:
    return round(chance.uniform(0.0, LAST_ORDER_S), 3)


def _job(chance: Random, number: int, steady: bool) -> JobPlan:
    return JobPlan(
        name=f"job{number}",
        most_at_once=chance.choice((1, 1, 2, 3, 8)),
        max_retries=chance.choice((0, 1, 1, 2, 3)),
        timeout_s=chance.choice((2, 5, 20)),
        policed=chance.random() < 0.3,
        delete_at_s=_when(chance) + 5.0 if chance.random() < 0.15 else None,
        ttl_s=chance.choice((5, 15)) if chance.random() < 0.1 and steady else None,
    )


def _execution(chance: Random, job: str, number: int) -> ExecutionPlan:
    at_s = _when(chance)
    cancelled = chance.random() < 0.4
    return ExecutionPlan(
        at_s=at_s,
        job=job,
        id=f"run{number}",
        tasks=chance.randint(1, 8),
        cancel_at_s=round(at_s + chance.expovariate(chance.choice((0.3, 2.0))), 3) if cancelled else None,
        grace_s=chance.choice((0, 1, 5)) if cancelled and chance.random() < 0.5 else None,
    )


def _agent(chance: Random, number: int) -> AgentPlan:
    steps = [AgentStep(at_s=chance.choice((0.0, _when(chance))), verb="deploy", source="good", scale=0)]
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        verb = chance.choice(("deploy", "deploy", "deploy", "deploy", "disable", "delete"))
        source = chance.choice(GOOD) if chance.random() < 0.75 else chance.choice(SOURCES)
        steps.append(AgentStep(at_s=_when(chance), verb=verb, source=source, scale=chance.choice((0, 1, 2))))
    steps.sort(key=lambda step: step.at_s)
    return AgentPlan(name=f"agent{number}", policed=chance.random() < 0.3, steps=tuple(steps))


def _faults(chance: Random) -> tuple[Fault, ...]:
    """Few kinds in one run, so that each also meets a system in which all else is well."""
    kinds = chance.sample([*FaultKind], chance.choice((0, 1, 2, 4, 8)))
    many = chance.randint(2, 12) if kinds else 0
    faults = [_fault(chance, chance.choice(kinds)) for _ in range(many)]
    return tuple(sorted(faults, key=lambda fault: fault.at_s))


def _fault(chance: Random, kind: FaultKind) -> Fault:
    amount = 0.0
    if kind is FaultKind.CLOCK_STEP:
        amount = chance.choice((-1, 1)) * chance.choice((0.5, 30.0, 300.0, 3600.0, 5 * 3600.0))
    elif kind is FaultKind.SERVER_DIES_AT:
        amount = chance.randint(1, 60)
    length_s = (
        0.0 if kind in _INSTANT else round(chance.choice((0.1, 0.5, 1.0, 3.0, 10.0)) * chance.uniform(0.5, 1.5), 3)
    )
    at_s = round(chance.uniform(0.0, CALM_AT_S - 15.0 if length_s > 5 else CALM_AT_S - 5.0), 3)
    return Fault(at_s=at_s, kind=kind, length_s=length_s, amount=amount)
