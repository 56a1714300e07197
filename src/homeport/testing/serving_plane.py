"""A control plane on a loopback port, in a thread of its own, for tests that speak to it in a blocking way."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from sqlalchemy import delete

from homeport.core.ids import WORKLOADS, Kind
from homeport.store.contract import Transaction
from homeport.store.sql import SqlTransaction
from homeport.store.tables import accounts, keys, metadata, workspaces
from homeport.testing.control_plane import HOME, ControlPlane, running_control_plane
from homeport.testing.system import BOUND_S
from homeport.workloads.states import RevisionState

_KEPT = {workspaces.name, accounts.name, keys.name}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingPlane:
    """Where it is, the key and the account of its admin, and what plays the part of the loops behind it."""

    url: str
    key: str
    account: str
    run: Callable[[Callable[[ControlPlane], Awaitable[None]]], None]

    def settle(self) -> None:
        """Serve what waits for an archive and remove what is being deleted, as the loops would by and by."""
        self.run(_settle)

    def empty(self) -> None:
        """Forget everything but the admin, so that the same requests have the same answers again."""

        async def forget(plane: ControlPlane) -> None:
            await plane.context.store.write(self._forget)

        self.run(forget)

    def _forget(self, tx: Transaction) -> None:
        assert isinstance(tx, SqlTransaction)
        for table in reversed(metadata.sorted_tables):
            if table.name not in _KEPT:
                tx._connection.execute(delete(table))
        for table in (keys, accounts):
            tx._connection.execute(delete(table).where(table.c.client_id != self.account))


@contextlib.contextmanager
def serving_plane(root: Path) -> Iterator[ServingPlane]:
    """Serve a control plane with its data below `root` until the block ends."""
    thread = _Thread(root)
    thread.start()
    try:
        yield thread.served()
    finally:
        thread.stop()


class _Thread(threading.Thread):
    def __init__(self, root: Path) -> None:
        super().__init__(name="serving plane")
        self._root = root
        self._loop: asyncio.AbstractEventLoop | None = None
        self._plane: ControlPlane | None = None
        self._account = ""
        self._ready = threading.Event()
        self._server = uvicorn.Server(uvicorn.Config(_nothing, port=0))

    def run(self) -> None:
        asyncio.run(self._serve())

    def stop(self) -> None:
        self._server.should_exit = True
        self.join()

    def served(self) -> ServingPlane:
        assert self._ready.wait(BOUND_S), "the control plane serves"
        assert self._plane is not None
        port = self._server.servers[0].sockets[0].getsockname()[1]
        key = self._plane.api.headers["Authorization"].removeprefix("Bearer ")
        return ServingPlane(url=f"http://127.0.0.1:{port}", key=key, account=self._account, run=self._work)

    def _work(self, work: Callable[[ControlPlane], Awaitable[None]]) -> None:
        async def awaited() -> None:
            assert self._plane is not None
            await work(self._plane)

        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(BOUND_S)

    async def _serve(self) -> None:
        async with running_control_plane(self._root) as plane:
            self._loop, self._plane = asyncio.get_running_loop(), plane
            found = await plane.context.store.read(lambda tx: tx.identities.accounts(HOME))
            self._account = found[0].client_id
            self._server = _Announcing(
                self._ready, uvicorn.Config(plane.app, port=0, lifespan="off", log_config=None, access_log=False)
            )
            await self._server.serve()


class _Announcing(uvicorn.Server):
    """Says when it listens; leaves the signals of the process alone."""

    def __init__(self, listening: threading.Event, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._listening = listening

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self._listening.set()


async def _nothing(*_: Any) -> None:
    """No application yet."""


async def _settle(plane: ControlPlane) -> None:
    def waiting(tx: Transaction) -> list[tuple[Kind, str]]:
        found = tx.revisions.in_states([RevisionState.UPLOADING, RevisionState.BUILDING])
        newest = {one.resource_uid: one for one in found if one.workspace == HOME}
        return [(one.kind, one.name) for uid, one in newest.items() if tx.revisions.of(uid)[0].id == one.id]

    def remove(tx: Transaction) -> None:
        for kind in WORKLOADS:
            for uid in tx.resources.uids(kind):
                resource = tx.resources.by_uid(uid)
                if resource is not None and resource.deleting:
                    tx.resources.delete(uid)

    await plane.context.store.write(remove)
    for kind, name in await plane.context.store.read(waiting):
        await plane.serve(kind, name)
