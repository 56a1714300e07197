"""What a store promises about what came with revisions that share requests, with volumes and with the event feed."""

from dataclasses import replace
from datetime import timedelta

from homeport.core.ids import ExecutionId, Kind, ReplicaId, RevisionId, UnitId
from homeport.jobs.states import ExecutionStatus
from homeport.store.contract import Store, Transaction
from homeport.store.records import EventQuery, VolumePlace
from homeport.testing.factories import (
    NOON,
    make_event,
    make_execution,
    make_replica,
    make_resource,
    make_revision,
    make_workspace,
)
from homeport.workloads.traffic import Split, Traffic


def _attached(tx: Transaction) -> list[VolumePlace]:
    return tx.volumes.attached()


class PlacedSuite:
    """Traffic, volumes, and events of all."""

    async def test_how_requests_are_shared_is_written_by_itself_alone(self, store: Store) -> None:
        agent = make_resource()
        await store.write(lambda tx: tx.resources.insert(agent))
        split = Split(active=RevisionId("rev-1"), canary=RevisionId("rev-2"), percent=10)
        traffic = Traffic(served=split, wanted=Split(active=RevisionId("rev-2")), previous=RevisionId("rev-0"))
        await store.write(lambda tx: tx.resources.direct(agent.uid, traffic))
        assert await store.write(lambda tx: tx.resources.replace(replace(agent, display_name="new"), agent.generation))
        found = await store.read(lambda tx: tx.resources.by_uid(agent.uid))
        assert found is not None and (found.traffic, found.display_name) == (traffic, "new")
        await store.write(lambda tx: tx.resources.direct("nobody", traffic))

    async def test_a_place_goes_with_its_volume_and_an_attachment_with_either_end(self, store: Store) -> None:
        agent = make_resource()
        volumes = [make_resource(name, kind=Kind.VOLUME) for name in ("data", "other")]

        def write(tx: Transaction) -> None:
            for one in (agent, *volumes):
                tx.resources.insert(one)
            for volume in volumes:
                tx.volumes.add(VolumePlace(resource_uid=volume.uid, region="local"))
                tx.volumes.attach(volume.uid, agent.uid)

        await store.write(write)
        assert {one.resource_uid for one in await store.read(_attached)} == {one.uid for one in volumes}
        await store.write(lambda tx: tx.resources.delete(volumes[0].uid))
        assert [one.resource_uid for one in await store.read(_attached)] == [volumes[1].uid]
        await store.write(lambda tx: tx.resources.delete(agent.uid))
        assert await store.read(_attached) == []
        places = await store.read(lambda tx: tx.volumes.of([one.uid for one in volumes]))
        assert places == {volumes[1].uid: VolumePlace(resource_uid=volumes[1].uid, region="local")}

    async def test_an_external_id_finds_the_newest_that_does_not_go_away(self, store: Store) -> None:
        found = [
            make_resource(name, kind=Kind.VOLUME, external_id="mine", created_at=NOON + timedelta(seconds=age))
            for age, name in enumerate(("old", "new", "gone"))
        ]
        found[2] = replace(found[2], deleting=True)

        def write(tx: Transaction) -> None:
            for one in found:
                tx.resources.insert(one)

        await store.write(write)
        await store.write(lambda tx: tx.resources.insert(make_resource("else", workspace="other", external_id="mine")))
        chosen = await store.read(lambda tx: tx.resources.by_external_id("home", Kind.VOLUME, "mine"))
        assert chosen is not None and chosen.name == "new"
        assert await store.read(lambda tx: tx.resources.by_external_id("home", Kind.AGENT, "mine")) is None

    async def test_replicas_are_found_for_each_and_so_are_all_their_ports(self, store: Store) -> None:
        one, two = make_resource("one"), make_resource("two")
        replicas = {}

        def write(tx: Transaction) -> None:
            for port, agent in enumerate((one, two), start=20_000):
                tx.resources.insert(agent)
                revision = make_revision(agent, id=RevisionId(f"rev-{agent.name}"))
                tx.revisions.insert(revision)
                ident = f"rep-{agent.name}"
                replicas[agent.uid] = make_replica(revision, id=ReplicaId(ident), unit=UnitId(f"{ident}-0"), port=port)
                tx.replicas.insert(replicas[agent.uid])

        await store.write(write)
        found = await store.read(lambda tx: tx.replicas.of_each([one.uid, "nobody"]))
        assert found == {one.uid: [replicas[one.uid]], "nobody": []}
        assert await store.read(lambda tx: tx.replicas.ports()) == {20_000, 20_001}

    async def test_events_are_numbered_across_all_and_found_from_either_end(self, store: Store) -> None:
        mine, other = make_resource("mine"), make_resource("other", workspace="away", kind=Kind.JOB)

        def write(tx: Transaction) -> None:
            for one in (mine, other):
                tx.resources.insert(one)
            for second, of in enumerate((mine, other, mine)):
                moment = NOON + timedelta(seconds=second)
                tx.events.add(make_event(of, time=moment, reason=f"Reason{second}", revision=f"rev-{second}"))

        assert await store.read(lambda tx: tx.events.newest()) == 0
        await store.write(write)
        everything = await store.read(lambda tx: tx.events.find(EventQuery(limit=9, after=0)))
        assert [(one.workspace, one.kind, one.name) for one in everything][:2] == [
            ("home", Kind.AGENT, "mine"),
            ("away", Kind.JOB, "other"),
        ]
        numbers = [one.number for one in everything]
        assert numbers == sorted(numbers) and numbers[-1] == await store.read(lambda tx: tx.events.newest())

        async def reasons(**asked: object) -> list[str]:
            query = EventQuery(**{"limit": 9, **asked})  # type: ignore[arg-type]
            return [one.event.reason for one in await store.read(lambda tx: tx.events.find(query))]

        assert await reasons(workspace="home") == ["Reason2", "Reason0"]
        assert await reasons(limit=1, after=numbers[0]) == ["Reason1"]
        assert await reasons(before=numbers[2]) == ["Reason1", "Reason0"]
        assert await reasons(since=NOON + timedelta(seconds=1), until=NOON + timedelta(seconds=2)) == ["Reason1"]
        assert await reasons(kind=Kind.JOB) == await reasons(name="other") == await reasons(revision="rev-1")

    async def test_executions_that_ended_are_found_from_a_moment_on(self, store: Store) -> None:
        ends = {"exec-early": NOON, "exec-late": NOON + timedelta(seconds=5), "exec-open": None}

        def write(tx: Transaction) -> None:
            tx.identities.add_workspace(make_workspace())
            for ident, end in ends.items():
                status = ExecutionStatus.RUNNING if end is None else ExecutionStatus.SUCCEEDED
                tx.executions.insert(make_execution(ident, status=status, completed_at=end))

        await store.write(write)
        found = await store.read(lambda tx: tx.executions.completed_since(NOON + timedelta(seconds=5)))
        assert [one.id for one in found] == [ExecutionId("exec-late")]
