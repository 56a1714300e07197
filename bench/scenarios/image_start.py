"""A container from nothing to its first answer: `docker run` by hand beside Homeport, on one engine with one image.
Once as the driver starts a replica, once as a user deploys an agent.
"""

import asyncio
import itertools
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench import engine as engines
from bench.engine import IMAGE, PORT, ByHand, first_answer_s, in_turns
from bench.figures import Figure, Outcome, Refused
from homeport.drivers.docker.driver import DockerDriver
from homeport.testing.driver_suite import end_of
from homeport.testing.engines import EngineProcess
from homeport.testing.system import System

MORE_MOST_MS = 60.0  # than `docker run` by hand
STARTS = 5  # of each in a round
HAND, REPLICA, DEPLOYMENT = "docker run by hand", "the driver's start of a replica", "POST of an agent"


def run(rounds: int, scale: float) -> Outcome:
    found: dict[str, list[float]] = {}
    other: dict[str, list[float]] = {}
    with engines.engine() as running, engines.installation_with(running) as system, _opened(running) as (loop, driver):
        with closing(ByHand(running)) as hand:
            ours = _Ours(system, driver, loop.run)
            measures = {HAND: hand.first_byte_s, REPLICA: ours.replica_s, DEPLOYMENT: ours.deployment_s}
            for number in range(-1, rounds * max(1, round(STARTS * scale))):
                in_turns(number, measures, found)
            notes = _other_runtime(hand, running, max(2, rounds), other)
    return Outcome(figures=_figures(found, other), notes=notes)


@contextmanager
def _opened(running: EngineProcess) -> Iterator[tuple[asyncio.Runner, DockerDriver]]:
    """A driver of the benchmark's own, and the loop in which it lives."""
    with tempfile.TemporaryDirectory(prefix="homeport-bench-") as folder, asyncio.Runner() as loop:
        driver = engines.docker_driver(running, Path(folder))
        loop.run(driver.open())
        try:
            yield loop, driver
        finally:
            loop.run(driver.close())


def _figures(found: dict[str, list[float]], other: dict[str, list[float]]) -> list[Figure]:
    took = {name: [1000 * value for value in values] for name, values in found.items()}
    figures = [Figure(name=name, unit="ms", rounds=values) for name, values in took.items()]
    for name in (REPLICA, DEPLOYMENT):
        more = [ours - by_hand for ours, by_hand in zip(took[name], took[HAND], strict=True)]
        figures.append(Figure(name=f"{name}, more than by hand", unit="ms", rounds=more, most=MORE_MOST_MS))
    return figures + [
        Figure(name=f"docker run by hand, {name}", unit="ms", rounds=[1000 * value for value in values])
        for name, values in other.items()
    ]


@dataclass(slots=True)
class _Ours:
    """Homeport's two ways; each removes what it made, outside of what is measured."""

    system: System
    driver: DockerDriver
    await_: Callable[[Coroutine[Any, Any, float]], float]

    def replica_s(self) -> float:
        return self.await_(self._replica_s())

    async def _replica_s(self) -> float:
        spec = engines.container_unit()
        began = time.perf_counter()
        status = await self.driver.start(spec)
        took = await asyncio.to_thread(first_answer_s, f"http://{status.address}:{PORT}/", began)
        await self.driver.stop(spec.id, 0)
        await end_of(self.driver, spec.id)
        await self.driver.forget(spec.id)
        return took

    def deployment_s(self) -> float:
        name = f"made-{next(_NUMBERS)}"
        body = {"metadata": {"name": name}, "spec": {"runtime": {"image": IMAGE, "memory": 256}}}
        began = time.perf_counter()
        answer = self.system.api.post("/agents", json=body)
        if answer.status_code != 200:
            raise Refused(f"the agent was not accepted: {answer.text}")
        headers = {"Authorization": f"Bearer {self.system.key}"}
        took = first_answer_s(f"{self.system.url}/default/agents/{name}", began, headers)
        self.system.remove("agents", name)
        return took


def _other_runtime(hand: ByHand, running: EngineProcess, starts: int, into: dict[str, list[float]]) -> list[str]:
    """runc and crun in turns, where the engine can run crun; else why not."""
    if not running.crun:
        return ["crun: not measured, since the engine is not known to have it"]
    measures = {name: partial(hand.first_byte_s, "--runtime", name) for name in ("runc", "crun")}
    try:
        for number in range(-1, starts):
            in_turns(number, measures, into)
    except Refused as error:
        into.clear()
        return [f"crun: not measured, since it runs no container here: {str(error).splitlines()[0]}"]
    return []


_NUMBERS = itertools.count()
