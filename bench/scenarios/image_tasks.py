"""What a task costs beyond its work: executions of a program that ends at once, as an image (a container for each task)
beside a folder (a sandbox for each), one task at a time and eight at a time; and `docker run` of it by hand.
"""

import time
from contextlib import ExitStack, closing

from bench import engine as engines
from bench.engine import ByHand, deploy_image
from bench.figures import Figure, Outcome, Refused, turned
from homeport.testing.system import System

TASKS = 16  # a round, for each
AT_ONCE = (1, 8)
PROGRAM = "pass\n"


def run(rounds: int, scale: float) -> Outcome:
    took: dict[tuple[str, int], list[float]] = {}
    by_hand: list[float] = []
    with ExitStack() as stack:
        running = stack.enter_context(engines.engine())
        system = stack.enter_context(engines.installation_with(running))
        hand = stack.enter_context(closing(ByHand(running)))
        _deploy(system)
        count = max(2, int(TASKS * scale))
        cases = [(kind, most) for most in AT_ONCE for kind in ("process", "container")]
        for number in range(-1, rounds):
            for kind, most in turned(cases, number):
                value = _a_task_ms(system, f"{kind}-{most}", count)
                if number >= 0:
                    took.setdefault((kind, most), []).append(value)
            began = time.perf_counter()
            for _ in range(count):
                hand.run_to_its_end("-c", PROGRAM)
            if number >= 0:
                by_hand.append((time.perf_counter() - began) * 1000 / count)
    figures = [
        Figure(name=f"a task, {kind}, {most} at a time", unit="ms", rounds=took[kind, most]) for kind, most in cases
    ]
    figures.append(Figure(name="docker run by hand, 1 at a time", unit="ms", rounds=by_hand))
    for most in AT_ONCE:
        more = [ours - other for ours, other in zip(took["container", most], took["process", most], strict=True)]
        figures.append(Figure(name=f"more in a container, {most} at a time", unit="ms", rounds=more))
    return Outcome(figures=figures, notes=[f"{count} tasks an execution, from the request until its end is shown"])


def _deploy(system: System) -> None:
    for most in AT_ONCE:
        limits = {"memory": 128, "maxConcurrentTasks": most}
        system.deploy("jobs", f"process-{most}", {"main.py": PROGRAM}, {"runtime": limits})
        deploy_image(system, "jobs", f"container-{most}", {**limits, "args": ["-c", PROGRAM]})


def _a_task_ms(system: System, job: str, count: int) -> float:
    began = time.perf_counter()
    ended = system.execute(job, [{}] * count)
    if ended["status"] != "succeeded":
        raise Refused(f"an execution of {job} ended as {ended['status']}")
    return (time.perf_counter() - began) * 1000 / count
