"""The rollouts are killed at every call that they make of the store and of the driver, when it is done;
others take over. Checked each time: the update serves, the old revision served until then, and nothing is left over."""

from functools import partial

from homeport.app.rollouts import Order, Verb, order_rollout
from homeport.core.ids import Kind
from homeport.store.records import Revision
from homeport.testing.loops import ADMIN, Killer, Loops
from homeport.testing.scripted_driver import listens
from homeport.workloads.states import ReplicaState, RevisionState, WorkloadStatus
from homeport.workloads.traffic import Split

KILLS_AT_LEAST = 20  # an update takes more calls than this; fewer would mean that the killer does not work
KILLS_AT_MOST = 400


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


async def test_rollouts_killed_anywhere_end_as_was_ordered_last(loops: Loops) -> None:
    """The same for a canary, its promotion, the way back, and its end: killed later each time."""
    loops.driver.decide = listens
    async with loops.running(loops.builds(), loops.rollouts()):
        first = (await _deployed(loops, "one")).id
        second = (await _deployed(loops, "two", traffic=0)).id
    shared = Split(active=first, canary=second, percent=20)
    orders = (
        (Order(verb=Verb.PROMOTE, percent=20), shared),
        (Order(verb=Verb.PROMOTE), Split(active=second)),
        (Order(verb=Verb.UNDO), Split(active=first)),
        (Order(verb=Verb.PROMOTE, revision=second, percent=20), shared),
        (Order(verb=Verb.ABORT), Split(active=first)),
    )
    for kill_at in range(1, KILLS_AT_MOST, 2):  # every second call: there are five orders
        loops.gateway.gateways[:-1] = []
        survived = 0
        for order, split in orders:
            killer = Killer(kill_at, after=True)
            await order_rollout(loops.context, ADMIN, Kind.AGENT, "echo", order)
            async with loops.running(loops.rollouts(killer.of(loops.store), killer.of(loops.driver))):
                await loops.until(partial(_dead_or_shares, loops, killer, split))
            survived += not killer.dead.is_set()
            async with loops.running(loops.rollouts()):
                await loops.until(partial(_shares, loops, split))
        await _check(loops)
        if survived == len(orders):
            assert kill_at > KILLS_AT_LEAST // 2
            assert len(loops.builder.built) == 2, "something was built to go forward or back"
            return
    raise AssertionError("the rollouts do not end an order by themselves")


async def _deployed(loops: Loops, source: str, **revision: int) -> Revision:
    made = await loops.deploy(Kind.AGENT, "echo", source, revision=revision)
    await loops.has_status(Kind.AGENT, "echo", WorkloadStatus.DEPLOYED)
    return made


async def _dead_or_shares(loops: Loops, killer: Killer, split: Split) -> bool:
    return killer.dead.is_set() or await _shares(loops, split)


async def _shares(loops: Loops, split: Split) -> bool:
    """Whether this holds, at the gateway too, and all that has no part has gone."""
    replicas = await loops.replicas()
    loops.gateway.idle_ports |= {one.port for one in replicas if one.state is ReplicaState.DRAINING}
    agent = await loops.resource(Kind.AGENT, "echo")
    assert agent is not None
    routes = loops.gateway.gateways[-1].routes if loops.gateway.gateways else ()
    told = {share.revision: share.weight for route in routes for share in route.revisions}
    ready = sorted(one.revision_id for one in replicas if one.state is ReplicaState.READY)
    whole = ready == sorted(split.revisions) and len(replicas) == len(ready)
    settled = agent.traffic.served == agent.traffic.wanted == split and agent.status is WorkloadStatus.DEPLOYED
    return settled and whole and told == {one: split.share_of(one) for one in split.revisions}
