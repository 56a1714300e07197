"""What an order says reaches the program that is started for it: the real loops on a real store."""

from dataclasses import replace
from typing import Any

import pytest

from homeport.app.context import Intent
from homeport.app.deployments import update_workload
from homeport.app.policies import create_policy, update_policy
from homeport.core.errors import Denied, Invalid
from homeport.core.ids import Kind
from homeport.core.units import UnitKind, UnitSpec
from homeport.policy.inventory import Flavor
from homeport.testing.loops import ADMIN, Loops
from homeport.testing.scripted_driver import listens
from homeport.workloads.states import WorkloadStatus

SETTINGS: dict[str, Any] = {"A": {"value": "configured"}, "B": {"value": "hidden", "secret": True}}


@pytest.fixture(autouse=True)
def programs_listen(loops: Loops) -> None:
    loops.driver.decide = listens


async def started(loops: Loops, kind: UnitKind) -> UnitSpec:
    async def look() -> UnitSpec | None:
        return next((spec for spec in loops.driver.started if spec.kind is kind), None)

    return await loops.until(look)


async def test_an_agents_memory_and_configurations_reach_its_program(loops: Loops) -> None:
    async with loops.running():
        envs = [{"name": "A", "value": "mine"}]
        await loops.deploy(Kind.AGENT, "one", configurations=SETTINGS, runtime={"memory": 300, "envs": envs})
        unit = await started(loops, UnitKind.REPLICA)
    assert (unit.memory_mb, unit.env["A"], unit.env["B"]) == (300, "mine", "hidden")


async def test_a_jobs_command_args_configurations_and_cpu_reach_its_tasks(loops: Loops) -> None:
    runtime = {"command": ["python", "other.py"], "args": ["--fast"], "cpu": 0.5}
    async with loops.running():
        await loops.deploy(Kind.JOB, "one", configurations=SETTINGS, runtime=runtime)
        await loops.has_status(Kind.JOB, "one", WorkloadStatus.DEPLOYED)
        await loops.execute("one")
        unit = await started(loops, UnitKind.TASK)
    assert (unit.argv, unit.cpu_cores) == (("python", "other.py", "--fast"), 0.5)
    assert (unit.env["A"], unit.env["B"]) == ("configured", "hidden")


@pytest.mark.parametrize("kind", [Kind.AGENT, Kind.JOB])
async def test_the_hardware_asked_for_decides_at_every_deployment(loops: Loops, kind: Kind) -> None:
    offered = replace(loops.context.regions[0], flavors=(Flavor("x86", "cpu"), Flavor("t4", "gpu")))
    loops.context = replace(loops.context, regions=(offered,))
    gpu = {"flavors": [{"name": "T4", "type": "gpu"}]}
    assert (await loops.deploy(kind, "plain")).flavor == "x86/cpu"
    assert (await loops.deploy(kind, "one", **gpu)).flavor == "t4/gpu"
    await create_policy(loops.context, ADMIN, Intent(name="cpu-only", spec=flavor_policy("x86")))
    for spec, error in (({**gpu, "policies": ["cpu-only"]}, Denied), ({"flavors": [{"name": "tpu"}]}, Invalid)):
        with pytest.raises(error):
            await update_workload(loops.context, ADMIN, kind, Intent(name="one", spec=spec), upload=True)


async def test_the_hardware_asked_for_decides_at_every_execution(loops: Loops) -> None:
    asked = {"flavors": [{"name": "x86", "type": "cpu"}], "policies": ["hardware"]}
    await create_policy(loops.context, ADMIN, Intent(name="hardware", spec=flavor_policy("x86")))
    async with loops.running():
        await loops.deploy(Kind.JOB, "one", **asked)
        await loops.has_status(Kind.JOB, "one", WorkloadStatus.DEPLOYED)
        await loops.execute("one")
        await update_policy(loops.context, ADMIN, Intent(name="hardware", spec=flavor_policy("t4")))
        with pytest.raises(Denied, match="hardware"):
            await loops.execute("one")


def flavor_policy(name: str) -> dict[str, Any]:
    return {"type": "flavor", "flavors": [{"name": name}]}
