"""The rollouts are killed at every call that they make while an agent is deleted; others take over. Checked each time:
the agent goes, and nothing of it is left: no unit, no row, no route. And what the garbage loop forgets of its keys."""

from datetime import timedelta
from functools import partial

import pytest

from homeport.app.deployments import delete_workload
from homeport.core.ids import Kind
from homeport.reconcile.routes import SKEW_S
from homeport.testing.factories import make_key
from homeport.testing.loops import ADMIN, HOME, Killer, Loops
from homeport.testing.scripted_driver import listens
from homeport.workloads.states import ReplicaState, WorkloadStatus

KILLS_AT_LEAST = 5  # a deletion takes more calls than this; fewer would mean that the killer does not work
KILLS_AT_MOST = 200


async def _is_gone(loops: Loops) -> bool:
    for replica in await loops.replicas():
        if replica.state is ReplicaState.DRAINING:
            loops.gateway.idle_ports.add(replica.port)
    return await loops.resource(Kind.AGENT, "echo") is None


async def _dead_or_gone(loops: Loops, killer: Killer) -> bool:
    return killer.dead.is_set() or await _is_gone(loops)


@pytest.mark.parametrize("after", [False, True])
async def test_a_deletion_killed_anywhere_is_completed_and_leaves_nothing(loops: Loops, after: bool) -> None:
    loops.driver.decide = listens
    for kill_at in range(1, KILLS_AT_MOST):
        async with loops.running(loops.builds(), loops.rollouts()):
            await loops.deploy(Kind.AGENT, "echo")
            await loops.has_status(Kind.AGENT, "echo", WorkloadStatus.DEPLOYED)
        killer = Killer(kill_at, after=after)
        await delete_workload(loops.context, ADMIN, Kind.AGENT, "echo")
        async with loops.running(loops.rollouts(killer.of(loops.store), killer.of(loops.driver))):
            await loops.until(partial(_dead_or_gone, loops, killer))
        survived = not killer.dead.is_set()
        async with loops.running(loops.rollouts()):
            await loops.until(partial(_is_gone, loops))
            await loops.until(partial(_is_not_routed, loops))
        await _check(loops)
        if survived:
            assert kill_at > KILLS_AT_LEAST
            return
    raise AssertionError("the rollouts do not end a deletion by themselves")


async def _is_not_routed(loops: Loops) -> bool:
    return loops.gateway.ports_of("echo") == {}


async def _check(loops: Loops) -> None:
    await loops.garbage().collect()  # a replica that was stopped in between may have left its unit
    await loops.until(partial(_nothing_lives, loops))
    assert await loops.replicas() == []
    assert await loops.store.read(lambda tx: tx.orphans(loops.clock.now())) == []
    assert [account.name for account in await loops.store.read(lambda tx: tx.identities.accounts(HOME))] == []


async def _nothing_lives(loops: Loops) -> bool:
    return not [*loops.driver.living]


async def test_a_revoked_key_is_forgotten_once_nobody_refuses_it_any_more(loops: Loops) -> None:
    now = loops.clock.now()
    ends = {"just": now - timedelta(hours=1), "long": now - timedelta(seconds=SKEW_S + 60), "never": None}
    for jti, expires_at in ends.items():
        key = make_key(jti, workspace=HOME, expires_at=expires_at, revoked_at=now - timedelta(days=3))
        await loops.store.write(lambda tx, key=key: tx.identities.add_key(key))  # type: ignore[misc]
    await loops.garbage().collect()
    kept = {jti for jti in ends if await loops.store.read(lambda tx, jti=jti: tx.identities.key(jti))}  # type: ignore[misc]
    assert kept == {"just", "never"}
