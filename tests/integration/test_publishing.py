"""What the gateway is told of one workload is what it would be told of all: after any sequence of changes, whoever
publishes meanwhile, the picture put together from parts is the one that is read whole."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from homeport.app.context import Intent
from homeport.app.deployments import update_workload
from homeport.core.errors import StoreUnavailable
from homeport.core.ids import Kind, ReplicaId, RevisionId, UnitId, new_id
from homeport.dataplane.routes import Gateway, WorkloadRoute
from homeport.reconcile.routes import Routes
from homeport.store.contract import Transaction
from homeport.store.records import Resource
from homeport.testing.factories import make_key, make_replica, make_resource, make_revision
from homeport.testing.loops import ADMIN, HOME, Loops
from homeport.testing.scripted_driver import listens
from homeport.workloads.states import ReplicaState, RevisionState, WorkloadStatus
from homeport.workloads.traffic import Split, Traffic

NAMES = ("a", "b", "c")
RUNS = 20
CHANGES = 25


def _add(tx: Transaction, one: Resource) -> Resource:
    """A workload of which the one revision serves."""
    revision = make_revision(one, id=RevisionId(f"rev-{one.uid}"), state=RevisionState.SERVING)
    split = Split(active=revision.id)
    tx.resources.insert(replace(one, traffic=Traffic(served=split, wanted=split)))
    tx.revisions.insert(revision)
    return one


def routes(loops: Loops) -> Routes:
    return Routes(loops.store, loops.clock, loops.context.keys, loops.gateway)


def told(loops: Loops) -> tuple[set[WorkloadRoute], int, frozenset[str]]:
    gateway: Gateway = loops.gateway.gateways[-1]
    return set(gateway.routes), len(gateway.routes), gateway.revoked


async def whole(loops: Loops) -> tuple[set[WorkloadRoute], int, frozenset[str]]:
    await routes(loops).publish()
    return told(loops)


class Changes:
    """Made-up changes, each in one commit; `touched` are the uids that the last ones concerned."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance

    def one(self, tx: Transaction) -> str | None:
        """The uid of the workload that was changed; None where it was a key."""
        kind = self._chance.choice((Kind.AGENT, Kind.AGENT, Kind.FUNCTION, Kind.JOB))
        name = self._chance.choice(NAMES)
        known = tx.resources.get(HOME, kind, name)
        if known is None:
            return _add(tx, make_resource(name, kind=kind, uid=new_id("uid"), spec=self._spec())).uid
        steps: tuple[Callable[[Transaction, Any], None], ...] = (
            self._respecify,
            self._share,
            self._remove,
            self._mark_deleting,
            self._add_revision,
            self._move_revision,
            self._add_replica,
            self._move_replica,
            self._move_replica,
        )
        self._chance.choice(steps)(tx, known)
        return known.uid

    def _spec(self) -> dict[str, Any]:
        return {"public": self._chance.random() < 0.5, "enabled": self._chance.random() < 0.8}

    def _respecify(self, tx: Transaction, known: Any) -> None:
        tx.resources.replace(replace(known, spec=self._spec()), known.generation)

    def _share(self, tx: Transaction, known: Any) -> None:
        of = [one.id for one in tx.revisions.of(known.uid)]
        active, canary = self._chance.choice([*of, None]), self._chance.choice([*of, None])
        split = Split(active=active, canary=None if canary == active else canary, percent=self._chance.randint(0, 100))
        tx.resources.replace(replace(known, traffic=Traffic(served=split, wanted=split)), known.generation)
        for revision in tx.revisions.of(known.uid):
            if revision.id in split.revisions:
                tx.revisions.replace_if_state(replace(revision, state=RevisionState.SERVING), revision.state)

    def _mark_deleting(self, tx: Transaction, known: Any) -> None:
        tx.resources.replace(replace(known, deleting=True), known.generation)

    def _remove(self, tx: Transaction, known: Any) -> None:
        tx.resources.delete(known.uid)

    def _add_revision(self, tx: Transaction, known: Any) -> None:
        state = self._chance.choice([*RevisionState])
        tx.revisions.insert(make_revision(known, id=RevisionId(new_id("rev")), state=state))

    def _move_revision(self, tx: Transaction, known: Any) -> None:
        kept = known.traffic.served.revisions  # what has a share, serves
        for revision in [one for one in tx.revisions.of(known.uid) if one.id not in kept][:1]:
            moved = replace(revision, state=self._chance.choice([*RevisionState]))
            tx.revisions.replace_if_state(moved, revision.state)

    def _add_replica(self, tx: Transaction, known: Any) -> None:
        for revision in tx.revisions.of(known.uid)[:2]:
            ident = new_id("rep")
            port = self._chance.randrange(20_000, 30_000)
            tx.replicas.insert(make_replica(revision, id=ReplicaId(ident), unit=UnitId(f"{ident}-0"), port=port))

    def _move_replica(self, tx: Transaction, known: Any) -> None:
        for replica in tx.replicas.of(known.uid)[:1]:
            if self._chance.random() < 0.3:
                tx.replicas.delete(replica.id)
            else:
                tx.replicas.replace(replace(replica, state=self._chance.choice([*ReplicaState])))


@pytest.mark.parametrize("seed", range(RUNS))
async def test_parts_that_are_published_make_the_picture_that_is_read_whole(loops: Loops, seed: int) -> None:
    chance = Random(seed)
    changes, published = Changes(chance), routes(loops)
    if seed % 2:
        await published.publish()
    for _ in range(CHANGES):
        if chance.random() < 0.1:
            key = make_key(new_id("key"), revoked_at=loops.clock.now())
            await loops.store.write(lambda tx, key=key: tx.identities.add_key(key))  # type: ignore[misc]
            await published.publish_keys()
            continue
        together = [await loops.store.write(changes.one) for _ in range(chance.randint(1, 3))]
        await asyncio.gather(*(published.publish_one(uid) for uid in together if uid))
        if chance.random() < 0.1:
            await published.publish()
    part = told(loops)
    assert part == await whole(loops)
    assert part[1] == len(part[0]), "an address is there twice"


async def test_what_could_not_be_read_is_published_with_the_next(loops: Loops, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = make_resource("first", uid="uid-1"), make_resource("second", uid="uid-2")
    published = routes(loops)
    await published.publish()

    def add(tx: Transaction) -> None:
        for one in (first, second):
            _add(tx, one)

    await loops.store.write(add)
    with monkeypatch.context() as broken:

        async def fail(work: Any) -> Any:
            raise StoreUnavailable("The store is away.")

        broken.setattr(loops.store, "read", fail)
        with pytest.raises(StoreUnavailable):
            await published.publish_one(first.uid)
    await published.publish_one(second.uid)
    assert {route.name for route in loops.gateway.gateways[-1].routes} == {"first", "second"}


async def test_the_name_of_one_that_is_gone_belongs_to_the_next_whoever_is_told_of_first(loops: Loops) -> None:
    old, new = make_resource("same", uid="uid-old"), make_resource("same", uid="uid-new", spec={"public": True})
    published = routes(loops)

    await loops.store.write(lambda tx: _add(tx, old))
    await published.publish()
    await loops.store.write(lambda tx: tx.resources.delete(old.uid))
    await loops.store.write(lambda tx: _add(tx, new))
    for uid in (new.uid, old.uid, new.uid):
        await published.publish_one(uid)
        assert [route.public for route in loops.gateway.gateways[-1].routes] == [True]


@pytest.mark.parametrize("since_the_start", [True, False], ids=["since the start", "later"])
@pytest.mark.parametrize("named", [True, False], ids=["named", "found"])
async def test_what_is_ordered_reaches_the_gateway_though_the_region_is_silent(
    loops: Loops, since_the_start: bool, named: bool
) -> None:
    """An agent that is closed, or disabled, is so at once, whatever its engine does."""
    loops.driver.decide = listens
    async with loops.running():
        await loops.deploy(Kind.AGENT, "echo")
        await loops.has_status(Kind.AGENT, "echo", WorkloadStatus.DEPLOYED)
    silent = {"local"} if since_the_start else set[str]()
    rollouts = loops.rollouts(silent=silent)
    before = len(loops.gateway.gateways)
    async with loops.running(rollouts):

        async def told_of() -> bool:
            return len(loops.gateway.gateways) > before and loops.gateway.ports_of("echo") != {}

        await loops.until(told_of)
        silent.add("local")
        intent = Intent(name="echo", spec={"enabled": False})
        await update_workload(loops.context, ADMIN, Kind.AGENT, intent, upload=False)
        if not named:
            loops.context.signals.rollouts.wake()

        async def closed() -> bool:
            return loops.gateway.ports_of("echo") == {}

        await loops.until(closed)
        assert [one.state for one in await loops.replicas()] == [ReplicaState.READY], "nothing is known of it"
