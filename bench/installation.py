"""A Homeport of its own for a scenario: `homeport up` in a new directory, filled before it starts, removed after."""

import asyncio
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from homeport.core.ids import Kind
from homeport.settings import DataDir
from homeport.store.contract import Transaction
from homeport.store.records import Resource
from homeport.store.sqlite import SqliteStore
from homeport.supervise.state import read_state
from homeport.testing.factories import NOON, make_account, make_resource, make_revision
from homeport.testing.system import System
from homeport.workloads.states import RevisionState, WorkloadStatus
from homeport.workloads.traffic import Split, Traffic

WORKSPACE = "default"
VERSION = {"Blaxel-Version": "2026-04-28"}
COMPONENTS = ("server", "edge", "node")
_ROWS_A_COMMIT = 1000
_POLICY = {"type": "location", "locations": [{"name": "eu", "type": "continent"}]}


@contextmanager
def installation(fill: Iterable[Resource] = (), config: str = "") -> Iterator[System]:
    """A running Homeport whose store holds `fill` from the start. config: the lines of its config.toml."""
    with tempfile.TemporaryDirectory(prefix="homeport-bench-") as directory:
        root = Path(directory)
        root.chmod(0o711)  # the user of sandboxes passes through it
        system = System(root / "data")
        system.data.create()
        asyncio.run(_fill(system.data, [*fill]))
        if config:
            system.data.config.write_text(config)
        system.up()
        try:
            yield system
        finally:
            system.down()


def pids(system: System) -> dict[str, int]:
    """The process of each component, and of `up` itself as `supervisor`."""
    state = read_state(system.data)
    assert state.supervisor is not None
    return {name: held.pid for name, held in state.components.items()} | {"supervisor": state.supervisor.pid}


def objects(kind: Kind, count: int) -> list[Resource]:
    """`count` objects at rest, a second apart, without a program: policies, jobs whose newest revision serves, agents
    of which the build failed. (An agent that serves has a process; ten thousand of those are another measurement.)"""
    status = {Kind.POLICY: None, Kind.JOB: WorkloadStatus.DEPLOYED, Kind.AGENT: WorkloadStatus.FAILED}[kind]
    return [
        make_resource(
            f"{kind}-{number:05}",
            kind=kind,
            workspace=WORKSPACE,
            status=status,
            spec=_POLICY if kind is Kind.POLICY else {"policies": [], "runtime": {"memory": 512}},
            labels={"number": str(number)},
            created_at=NOON + timedelta(seconds=number),
            updated_at=NOON + timedelta(seconds=number),
        )
        for number in range(count)
    ]


async def _fill(data: DataDir, resources: list[Resource]) -> None:
    store = SqliteStore(data.database)
    await store.start()
    try:
        for first in range(0, len(resources), _ROWS_A_COMMIT):
            await store.write(_insert(resources[first : first + _ROWS_A_COMMIT]))
    finally:
        await store.stop()


def _insert(resources: list[Resource]) -> Callable[[Transaction], None]:
    def write(tx: Transaction) -> None:
        for resource in resources:
            state = RevisionState.SERVING if resource.kind is Kind.JOB else RevisionState.FAILED
            revision = make_revision(resource, state=state)
            if resource.kind is Kind.JOB:
                split = Split(active=revision.id)
                resource = replace(resource, traffic=Traffic(served=split, wanted=split))
            tx.resources.insert(resource)
            if resource.kind is Kind.POLICY:
                continue
            tx.revisions.insert(revision)
            account = f"wl-{resource.name}"
            tx.identities.add_account(make_account(account, workspace=WORKSPACE, name=account, owner_uid=resource.uid))

    return write
