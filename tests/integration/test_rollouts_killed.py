"""The rollouts are killed at every call that they make of the store and of the driver, when it is done;
others take over. Checked each time: the update serves, the old revision served until then, and nothing is left over."""

from functools import partial

from homeport.core.ids import Kind
from homeport.core.units import UnitSpec
from homeport.store.records import Revision
from homeport.testing.loops import Killer, Loops
from homeport.testing.scripted_driver import Behaviour
from homeport.workloads.states import ReplicaState, RevisionState, WorkloadStatus

KILLS_AT_LEAST = 20  # an update takes more calls than this; fewer would mean that the killer does not work
KILLS_AT_MOST = 400


def listens(spec: UnitSpec) -> Behaviour:
    return Behaviour(ports=frozenset({int(spec.env["PORT"])}))


async def _serves(loops: Loops, revision: Revision) -> bool:
    """Whether this revision serves, alone, and all that it replaced has gone."""
    for replica in await loops.replicas():
        if replica.state is ReplicaState.DRAINING:
            loops.gateway.idle_ports.add(replica.port)
    agent = await loops.resource(Kind.AGENT, "echo")
    serving = [one.id for one in await loops.revisions(Kind.AGENT, "echo") if one.state is RevisionState.SERVING]
    replicas = await loops.replicas()
    alone = {replica.revision_id for replica in replicas} == {revision.id}
    routed = loops.gateway.ports_of("echo") == {replica.port: False for replica in replicas}
    status = agent.status if agent else None
    return alone and routed and serving == [revision.id] and status is WorkloadStatus.DEPLOYED


async def test_rollouts_killed_anywhere_are_completed_by_the_next(loops: Loops) -> None:
    loops.driver.decide = listens
    async with loops.running(loops.builds(), loops.rollouts()):
        await loops.deploy(Kind.AGENT, "echo")
        await loops.has_status(Kind.AGENT, "echo", WorkloadStatus.DEPLOYED)
    loops.gateway.gateways[:-1] = []  # before the first deployment nothing served
    for kill_at in range(1, KILLS_AT_MOST):
        source = f"source-{kill_at}"
        killer = Killer(kill_at, after=True)
        async with loops.running(loops.builds()):
            revision = await loops.deploy(Kind.AGENT, "echo", source)
            async with loops.running(loops.rollouts(killer.of(loops.store), killer.of(loops.driver))):
                await loops.until(partial(_dead_or_serves, loops, killer, revision))
            survived = not killer.dead.is_set()
            async with loops.running(loops.rollouts()):
                await loops.until(partial(_serves, loops, revision))
        await _check(loops)
        if survived:
            assert kill_at > KILLS_AT_LEAST
            return
    raise AssertionError("the rollouts do not end an update by themselves")


async def _dead_or_serves(loops: Loops, killer: Killer, revision: Revision) -> bool:
    return killer.dead.is_set() or await _serves(loops, revision)


async def _check(loops: Loops) -> None:
    await loops.garbage().collect()  # a replica that was stopped in between may have left its unit
    replicas = await loops.replicas()
    assert sorted(replica.ordinal for replica in replicas) == [0]
    assert {spec.id for spec in loops.driver.living} == {replica.unit for replica in replicas}
    assert {replica.restarts for replica in replicas} == {0}, "a start that we broke off was held against the program"
    for gateway in loops.gateway.gateways:
        endpoints = [at for route in gateway.routes for share in route.revisions for at in share.endpoints]
        assert any(not at.draining for at in endpoints), "for a moment nothing served"
    loops.gateway.gateways[:-1] = []
