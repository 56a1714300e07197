"""What a jump of the machine's wall clock does to rollouts: nothing. Found by the simulation."""

import pytest

from homeport.core.ids import Kind
from homeport.core.units import Outcome, UnitSpec
from homeport.store.records import Replica
from homeport.testing.loops import Loops
from homeport.testing.scripted_driver import Behaviour, listens
from homeport.workloads.states import ReplicaState, RevisionState, WorkloadStatus

DAY_S = 24 * 3600.0
DEPLOYED = WorkloadStatus.DEPLOYED


def _slow_ones_do_not_listen(spec: UnitSpec) -> Behaviour:
    return Behaviour() if spec.labels["name"] == "slow" else listens(spec)


async def _one_that_is(loops: Loops, name: str, state: ReplicaState) -> Replica:
    async def look() -> Replica | None:
        agent = await loops.resource(Kind.AGENT, name)
        return next((one for one in await loops.replicas() if agent and _is(one, agent.uid, state)), None)

    return await loops.until(look)


def _is(replica: Replica, agent: str, state: ReplicaState) -> bool:
    return replica.resource_uid == agent and replica.state is state


@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S])
async def test_a_jump_of_the_clock_fails_no_program_that_starts(still: Loops, jump_s: float) -> None:
    still.driver.decide = _slow_ones_do_not_listen
    async with still.running():
        revision = await still.deploy(Kind.AGENT, "slow")
        starting = await _one_that_is(still, "slow", ReplicaState.STARTING)
        await still.until(lambda: still.driver.status(starting.unit))
        still.clock.step(jump_s)
        await still.deploy(Kind.AGENT, "marker")
        await still.has_status(Kind.AGENT, "marker", DEPLOYED)
        still.driver.listen(starting.unit, starting.port)
        await still.has_status(Kind.AGENT, "slow", DEPLOYED)
    served = (await still.revisions(Kind.AGENT, "slow"))[0]
    assert (served.id, served.state) == (revision.id, RevisionState.SERVING)
    assert sum(spec.labels["name"] == "slow" for spec in still.driver.started) == 1


async def test_after_a_jump_back_a_silent_program_is_given_up_in_its_time(still: Loops) -> None:
    still.driver.decide = _slow_ones_do_not_listen
    async with still.running():
        await still.deploy(Kind.AGENT, "slow")
        starting = await _one_that_is(still, "slow", ReplicaState.STARTING)
        await still.until(lambda: still.driver.status(starting.unit))
        still.clock.step(-DAY_S)
        await still.deploy(Kind.AGENT, "marker")
        await still.has_status(Kind.AGENT, "marker", DEPLOYED)
        still.clock.move(121)
        await still.has_status(Kind.AGENT, "slow", WorkloadStatus.FAILED)


@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S])
async def test_a_jump_of_the_clock_neither_ends_nor_prolongs_a_back_off(still: Loops, jump_s: float) -> None:
    still.driver.decide = listens
    async with still.running():
        await still.deploy(Kind.AGENT, "slow")
        ready = await _one_that_is(still, "slow", ReplicaState.READY)
        still.driver.finish(ready.unit, Outcome(exit_code=1))
        await _one_that_is(still, "slow", ReplicaState.BACKOFF)
        await still.deploy(Kind.AGENT, "marker")
        await still.has_status(Kind.AGENT, "marker", DEPLOYED)
        still.clock.step(jump_s)
        await still.deploy(Kind.AGENT, "other")
        await still.has_status(Kind.AGENT, "other", DEPLOYED)
        assert (await _one_that_is(still, "slow", ReplicaState.BACKOFF)).restarts == 1
        still.clock.move(1.01)
        await _one_that_is(still, "slow", ReplicaState.READY)
