"""The loops are killed at every call that they make while what writes to a volume is replaced, and while a volume is
deleted; others take over. Checked each time: no two programs had the volume at once, and what was asked for is so."""

from functools import partial

import pytest

from homeport.app.context import Intent
from homeport.app.volumes import create_volume, delete_volume
from homeport.core.ids import Kind
from homeport.core.units import UnitSpec
from homeport.reconcile.volumes import Volumes, holder_of
from homeport.store.contract import Transaction
from homeport.store.records import Revision
from homeport.testing.loops import ADMIN, HOME, Killer, Loops
from homeport.testing.scripted_driver import Behaviour, listens
from homeport.workloads.states import ReplicaState, WorkloadStatus

KILLS_AT_LEAST = 15  # a replacement takes more calls than this; fewer would mean that the killer does not work
KILLS_AT_MOST = 400
MOUNT = {"region": "local", "volumes": [{"name": "data", "mountPath": "/data"}]}


class Watched:
    """Decides how units behave, and looks at each start who else lives."""

    def __init__(self, loops: Loops) -> None:
        self._loops = loops

    def __call__(self, spec: UnitSpec) -> Behaviour:
        having = [one for one in self._loops.driver.living if one.volumes and one.id != spec.id]
        assert not having, f"{spec.id} starts while {having[0].id} has the volume"
        return listens(spec)


async def _serves(loops: Loops, revision: Revision) -> bool:
    for replica in await loops.replicas():
        if replica.state is ReplicaState.DRAINING:
            loops.gateway.idle_ports.add(replica.port)
    agent, replicas = await loops.resource(Kind.AGENT, "echo"), await loops.replicas()
    alone = [replica.revision_id for replica in replicas] == [revision.id]
    routed = loops.gateway.ports_of("echo") == {replica.port: False for replica in replicas}
    status = agent.status if agent else None
    return alone and routed and status is WorkloadStatus.DEPLOYED


async def _dead_or_serves(loops: Loops, killer: Killer, revision: Revision) -> bool:
    return killer.dead.is_set() or await _serves(loops, revision)


async def make_volume(loops: Loops) -> str:
    volume, _ = await create_volume(loops.context, ADMIN, Intent(name="data", spec={"region": "local", "size": 10}))
    return volume.uid


async def test_a_replacement_killed_anywhere_is_completed_and_nobody_shares_the_volume(loops: Loops) -> None:
    await make_volume(loops)
    loops.driver.decide = Watched(loops)
    async with loops.running(loops.builds(), loops.rollouts()):
        await loops.deploy(Kind.AGENT, "echo", **MOUNT)
        await loops.has_status(Kind.AGENT, "echo", WorkloadStatus.DEPLOYED)
    for kill_at in range(1, KILLS_AT_MOST):
        killer = Killer(kill_at, after=True)
        async with loops.running(loops.builds()):
            revision = await loops.deploy(Kind.AGENT, "echo", f"source-{kill_at}", **MOUNT)
            async with loops.running(loops.rollouts(killer.of(loops.store), killer.of(loops.driver))):
                await loops.until(partial(_dead_or_serves, loops, killer, revision))
            survived = not killer.dead.is_set()
            async with loops.running(loops.rollouts()):
                await loops.until(partial(_serves, loops, revision))
        holder = await loops.store.read(_holder)
        assert holder == "echo"
        if survived:
            assert kill_at > KILLS_AT_LEAST
            return
    raise AssertionError("the rollouts do not end a replacement by themselves")


@pytest.mark.parametrize("after", [False, True])
async def test_a_deletion_killed_anywhere_is_completed_and_takes_nothing_of_the_next(loops: Loops, after: bool) -> None:
    for kill_at in range(1, 20):
        uid = await make_volume(loops)
        await delete_volume(loops.context, ADMIN, "data")
        killer = Killer(kill_at, after=after)
        wakeup = loops.context.signals.volumes
        mortal = Volumes(killer.of(loops.store), loops.clock, {"local": killer.of(loops.driver)}, wakeup)
        async with loops.running(mortal):
            await loops.until(partial(_dead_or_gone, loops, killer))
        survived = not killer.dead.is_set()
        async with loops.running(Volumes(loops.store, loops.clock, {"local": loops.driver}, wakeup)):
            await loops.until(partial(_is_gone, loops))
        assert set(loops.driver.discarded) == {uid}
        loops.driver.discarded.clear()
        if survived:
            assert kill_at > 2
            return
    raise AssertionError("the loop does not end a deletion by itself")


async def _is_gone(loops: Loops) -> bool:
    return await loops.resource(Kind.VOLUME, "data") is None


async def _dead_or_gone(loops: Loops, killer: Killer) -> bool:
    return killer.dead.is_set() or await _is_gone(loops)


def _holder(tx: Transaction) -> str | None:
    volume = tx.resources.get(HOME, Kind.VOLUME, "data")
    assert volume is not None
    found = holder_of(tx, "data", tx.volumes.of([volume.uid])[volume.uid])
    return found.name if found else None
