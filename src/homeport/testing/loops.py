"""The server's loops in this process: real store, real use cases, real services, on a driver without processes and a
gateway without Envoy. For tests of what the loops do together, and of what they do when they are killed.

`Loops` is one installation. Its services may be stopped and made anew on the same store, as a server that was killed
is; the driver lives on meanwhile, as the node does.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from homeport.app.context import Context, Intent
from homeport.app.deployments import create_workload, update_workload
from homeport.app.executions import ExecutionIntent, create_execution
from homeport.app.sealing import seal_at_rest
from homeport.build.builder import Builder, BuildRequest
from homeport.build.bundle import Bundle, Description, load_bundle
from homeport.build.fetch import Fetcher
from homeport.build.program import Platform
from homeport.build.registry import registry
from homeport.build.toolchain import Toolchain
from homeport.core.clock import Clock, SystemClock
from homeport.core.errors import HomeportError
from homeport.core.ids import ExecutionId, Kind, RevisionId
from homeport.core.service import Service, Signals
from homeport.dataplane.routes import Endpoint, Gateway
from homeport.dataplane.snapshot import Authority
from homeport.dataplane.xds import XdsServer
from homeport.drivers.contract import Driver
from homeport.identity.keys import GATEWAY_AUDIENCE, ISSUER, KeyRing
from homeport.identity.principals import Principal, Role
from homeport.policy.inventory import Flavor, Region
from homeport.reconcile.builds import Builds
from homeport.reconcile.expiry import Expiries
from homeport.reconcile.fetches import Fetches
from homeport.reconcile.garbage import Garbage
from homeport.reconcile.launch import ReplicaLauncher
from homeport.reconcile.replicas import Performer
from homeport.reconcile.retention import Retention
from homeport.reconcile.rollouts import Rollouts
from homeport.reconcile.routes import Routes
from homeport.runner.dispatch import Runner
from homeport.runner.launch import TaskLauncher
from homeport.sealing.keys import SealingKeys
from homeport.settings import DataDir
from homeport.store.contract import Store, Transaction
from homeport.store.records import Attempt, Execution, Replica, Resource, Revision, Task
from homeport.store.sqlite import SqliteStore
from homeport.testing.factories import make_workspace
from homeport.testing.scripted_driver import ScriptedDriver
from homeport.workloads.states import RevisionState, WorkloadStatus
from homeport.workloads.traffic import Split, Traffic

T = TypeVar("T")

WAIT_S = 20.0  # a busy machine; what is waited for takes milliseconds on an idle one
LOOK_S = 0.01
HOME = "home"
BASE_URL = "http://127.0.0.1:8080"
ADMIN = Principal(sub="sa-admin", workspace=HOME, role=Role.ADMIN, scopes=("all",), name="the admin")


class FastClock:
    """Time that passes `speed` times as quickly as the machine's, and further with `move`: a wait of a minute is
    a short one. With `step` only the wall clock jumps."""

    def __init__(self, speed: float = 1.0) -> None:
        self._real = SystemClock()
        self._speed = speed
        self._began = self._real.now()
        self._moved = timedelta()
        self._stepped = timedelta()

    def now(self) -> datetime:
        return self._began + (self._real.now() - self._began) * self._speed + self._moved + self._stepped

    def monotonic(self) -> float:
        return (self.now() - self._stepped - self._began).total_seconds()

    def move(self, seconds: float) -> None:
        self._moved += timedelta(seconds=seconds)

    def step(self, seconds: float) -> None:
        self._stepped += timedelta(seconds=seconds)

    def for_files(self) -> "_FilesClock":
        return _FilesClock(self)


class _FilesClock:
    """The same, moved and stepped alike, at the machine's own speed: by its clock files are dated, and a quicker one
    would find old what is being made."""

    def __init__(self, clock: FastClock) -> None:
        self._of = clock
        self._real = SystemClock()

    def now(self) -> datetime:
        return self._real.now() + self._of._moved + self._of._stepped

    def monotonic(self) -> float:
        return self._real.monotonic() + self._of._moved.total_seconds()


class ScriptedGateway(XdsServer):
    """Makes real snapshots of what is published, and answers for Envoy: it acknowledges when `takes` is true, and a
    replica has no request left once its port is in `idle_ports`."""

    def __init__(self, socket: Path, authority: Authority) -> None:
        super().__init__(socket, authority)
        self.takes = True
        self.idle_ports: set[int] = set()
        self.gateways: list[Gateway] = []

    async def start(self) -> None:
        """Nothing connects."""

    def publish(self, gateway: Gateway) -> int:
        self.gateways.append(gateway)
        return super().publish(gateway)

    async def acknowledged(self, version: int, timeout_s: float) -> bool:
        return await _until(lambda: self.takes, timeout_s)

    async def drained(self, endpoints: Iterable[Endpoint], timeout_s: float) -> bool:
        ports = {endpoint.port for endpoint in endpoints}
        return await _until(lambda: ports <= self.idle_ports, timeout_s)

    def ports_of(self, name: str) -> dict[int, bool]:
        """The ports to which this agent's requests go now, with whether each only finishes what it has."""
        newest = self.gateways[-1] if self.gateways else None
        return {
            endpoint.port: endpoint.draining
            for route in (newest.routes if newest else ())
            if route.name == name
            for share in route.revisions
            for endpoint in share.endpoints
        }


class ReadyBuilder(Builder):
    """Builds nothing: the bundle of a source is there at once, or `refuses` says why not. Sweeps like the real one."""

    def __init__(self, data: DataDir, driver: Driver, clock: Clock, tools: Toolchain | None = None) -> None:
        super().__init__(data, driver, clock, tools)
        self.refuses: dict[str, BaseException] = {}
        self.built: list[RevisionId] = []
        self.manifest_toml = ""
        self.gate = asyncio.Event()
        self.gate.set()

    async def build(self, request: BuildRequest) -> Bundle:
        """Waits for `gate` first. Raises `refuses[digest of the source]`, if there is one."""
        self.built.append(request.revision)
        await self.gate.wait()
        if (error := self.refuses.get(request.source_digest)) is not None:
            raise error
        write_bundle(self._data, self.digest(request), request.source_digest, self.manifest_toml)
        return load_bundle(self._data.bundles, self.digest(request))


@dataclass(slots=True, kw_only=True)
class Loops:
    """One installation. `driver`, `gateway` and `builder` are what tests script; `services` run between `start` and
    `stop`. `ack_timeout_s` is short, since a gateway that does not answer is part of some tests."""

    context: Context
    clock: FastClock
    driver: ScriptedDriver
    gateway: ScriptedGateway
    builder: ReadyBuilder
    slots: int = 4
    ack_timeout_s: float = 0.5

    @property
    def store(self) -> Store:
        return self.context.store

    # Services

    def runner(self, store: Store | None = None, driver: Driver | None = None) -> Runner:
        """A runner, on others than this installation's store or driver if they are given."""
        known, chosen = store or self.store, driver or self.driver
        launcher = TaskLauncher(
            known, self.clock, self.context.keys, self.context.data.bundles, self.platform(), {"local": chosen}
        )
        return Runner(known, self.clock, [chosen], launcher, slots=self.slots, wakeup=self.context.signals.runner)

    def rollouts(
        self, store: Store | None = None, driver: Driver | None = None, silent: Collection[str] = ()
    ) -> Rollouts:
        """On others than this installation's store or driver if they are given. `silent` are the regions that are
        so at the moment."""
        known, chosen = store or self.store, driver or self.driver
        performer = Performer(
            known, self.clock, chosen, ReplicaLauncher(known, self.context.data.bundles, self.platform())
        )
        routes = Routes(known, self.clock, self.context.keys, self.gateway)
        parts = (performer, routes, self.gateway, self.context.signals, self.context.data.bundles)
        return Rollouts(
            known, self.clock, chosen, *parts, silent=lambda: frozenset(silent), ack_timeout_s=self.ack_timeout_s
        )

    def builds(self) -> Builds:
        context = self.context
        fetcher = Fetcher(context.data, self.driver, self.clock, registry({}), context.configuration)
        fetches = Fetches(self.store, fetcher, context.sealing, context.configuration.sources)
        return Builds(self.store, self.clock, self.builder, fetches, context.data, context.signals)

    def expiries(self) -> Expiries:
        return Expiries(self.store, self.clock, self.context.signals)

    def garbage(self) -> Garbage:
        context, wakeup = self.context, self.context.signals.garbage
        parts = (self.store, self.clock.for_files(), self.driver, self.builder, context.data, wakeup)
        retention = Retention(self.store, self.clock, context.configuration.images, {})
        return Garbage(*parts, staging=context.staging, retention=retention)

    @asynccontextmanager
    async def running(self, *services: Service) -> AsyncIterator[None]:
        """These services; every one of the installation's when none is named."""
        parts = services or (self.rollouts(), self.builds(), self.runner(), self.expiries(), self.garbage())
        for part in parts:
            await part.start()
        try:
            yield
        finally:
            for part in reversed(parts):
                await part.stop()

    # What users do

    async def deploy(self, kind: Kind, name: str, source: str = "one", **spec: Any) -> Revision:
        """Create the workload, or update it, with the archive `source` received at once."""
        intent = Intent(name=name, spec=spec)
        known = await self.store.read(lambda tx: tx.resources.get(HOME, kind, name))
        use_case = create_workload if known is None else update_workload
        deployment = await use_case(self.context, ADMIN, kind, intent, upload=True)
        return await self.receive(deployment.resource, source)

    async def receive(self, resource: Resource, source: str = "one") -> Revision:
        """As if the archive of this generation's revision had come: its content is nothing here, its digest is."""

        def write(tx: Transaction) -> Revision:
            revision = next(one for one in tx.revisions.of(resource.uid) if one.generation == resource.generation)
            building = replace(revision, state=RevisionState.BUILDING, source_digest=source)
            assert tx.revisions.replace_if_state(building, RevisionState.UPLOADING)
            return building

        revision = await self.store.write(write)
        self.context.signals.builds.wake()
        return revision

    async def ready_job(self, name: str = "sums", **runtime: Any) -> None:
        """A job that can be executed, without the loops that make it so."""
        deployment = await create_workload(
            self.context, ADMIN, Kind.JOB, Intent(name=name, spec={"runtime": runtime}), upload=True
        )
        revision = await self.receive(deployment.resource)
        write_bundle(self.context.data, f"bundle-{name}", "one")
        serving = replace(revision, state=RevisionState.SERVING, bundle_digest=f"bundle-{name}")
        split = Split(active=revision.id)

        def write(tx: Transaction) -> None:
            tx.revisions.replace_if_state(serving, RevisionState.BUILDING)
            tx.resources.direct(revision.resource_uid, Traffic(served=split, wanted=split))

        await self.store.write(write)

    async def execute(self, job: str = "sums", tasks: int = 1, **intent: Any) -> ExecutionId:
        elements = [{"n": number} for number in range(tasks)]
        execution = await create_execution(self.context, ADMIN, job, ExecutionIntent(tasks=elements, **intent))
        return execution.id

    # What is to be seen

    async def execution(self, execution_id: ExecutionId) -> Execution:
        found = await self.store.read(lambda tx: tx.executions.get(execution_id))
        assert found is not None
        return found

    async def tasks(self, execution_id: ExecutionId) -> list[Task]:
        return await self.store.read(lambda tx: tx.executions.tasks(execution_id, 0, 10_000))

    async def attempts(self, execution_id: ExecutionId, index: int = 0) -> list[Attempt]:
        return await self.store.read(lambda tx: tx.executions.attempts(execution_id, index))

    async def ended(self, execution_id: ExecutionId) -> Execution:
        """The execution once its status is terminal."""

        async def look() -> Execution | None:
            found = await self.execution(execution_id)
            return found if found.status.terminal else None

        return await self.until(look)

    async def resource(self, kind: Kind, name: str) -> Resource | None:
        return await self.store.read(lambda tx: tx.resources.get(HOME, kind, name))

    async def revisions(self, kind: Kind, name: str) -> list[Revision]:
        """Newest first; empty when the workload is gone."""

        def read(tx: Transaction) -> list[Revision]:
            known = tx.resources.get(HOME, kind, name)
            return tx.revisions.of(known.uid) if known else []

        return await self.store.read(read)

    async def replicas(self) -> list[Replica]:
        return await self.store.read(lambda tx: tx.replicas.every())

    async def has_status(self, kind: Kind, name: str, status: WorkloadStatus) -> Resource:
        """The workload once its newest generation has this status."""

        async def look() -> Resource | None:
            known = await self.resource(kind, name)
            seen = known is not None and known.status is status and known.observed_generation == known.generation
            return known if seen else None

        return await self.until(look)

    async def until(self, look: Callable[[], Awaitable[T | None]]) -> T:
        """What `look` gives, as soon as it is neither None nor False; waits with a bound, and wakes the loops, whose
        own timers stand still for a clock that jumps."""
        async with asyncio.timeout(WAIT_S):
            while True:
                if (found := await look()) is not None and found is not False:
                    return found
                signals = self.context.signals
                for wakeup in (signals.runner, signals.rollouts, signals.expiries):
                    wakeup.wake()
                await asyncio.sleep(LOOK_S)

    def platform(self) -> Platform:
        return Platform(
            base_url=BASE_URL,
            sealing=self.context.sealing,
            sdk_hook=Path(__file__).parent,
            secret_of=lambda *_: "secret",
        )


@asynccontextmanager
async def installation(root: Path, *, speed: float = 1.0, slots: int = 4) -> AsyncIterator[Loops]:
    """An installation with its data below `root` and the workspace `home`; none of its services runs yet."""
    data, clock, driver = DataDir(root), FastClock(speed), ScriptedDriver()
    data.create()
    region = Region(name="local", country="DE", continent="EU", flavors=(Flavor("x86", "cpu"),), driver=driver.name)
    store = SqliteStore(data.database)
    context = Context(
        store=store,
        clock=clock,
        keys=KeyRing.load_or_create(data.signing_key),
        sealing=SealingKeys.load(data.sealing_key) or SealingKeys.generate(),
        data=data,
        regions=(region,),
        drivers={driver.name: driver},
        signals=Signals(),
        base_url=BASE_URL,
    )
    authority = Authority(edge_socket=data.socket("edge"), issuer=ISSUER, audience=GATEWAY_AUDIENCE)
    await store.start()
    try:
        await seal_at_rest(context)
        await store.write(lambda tx: tx.identities.add_workspace(make_workspace(HOME)))
        gateway = ScriptedGateway(data.socket("xds"), authority)
        builder = ReadyBuilder(data, driver, clock)
        yield Loops(context=context, clock=clock, driver=driver, gateway=gateway, builder=builder, slots=slots)
    finally:
        await store.stop()


def write_bundle(data: DataDir, digest: str, source: str, manifest_toml: str = "") -> None:
    """A bundle that says how to run it and holds nothing else."""
    directory = data.bundles / digest
    (directory / "app").mkdir(parents=True, exist_ok=True)
    Description(
        digest=digest,
        language="python",
        entrypoint=("python", "main.py"),
        mounts=(),
        manifest_toml=manifest_toml,
        python="3.11",
        source_digest=source,
        started_at="",
        steps=(),
    ).write(directory)


class Killer:
    """Kills a service at its n-th call of the store or the driver, before the call (`after` False) or when it is done
    but its answer has not come. From then on nothing that the service asks for happens, as after SIGKILL.

    Wrap the store and the driver with `of`; wait for `dead`; then stop the service. `calls` counts all of them, so
    that a test knows when there is nothing left to be killed at.
    """

    def __init__(self, at: int, *, after: bool = False) -> None:
        self._at = at
        self._after = after
        self.calls = 0
        self.dead = asyncio.Event()

    def of(self, part: Any) -> Any:
        return _Mortal(part, self)

    async def call(self, method: Callable[..., Awaitable[Any]], *args: Any, **named: Any) -> Any:
        await self._die_if(self.dead.is_set())
        self.calls += 1
        turn = self.calls == self._at
        await self._die_if(turn and not self._after)
        try:
            answer = await method(*args, **named)
        except HomeportError:
            await self._die_if(turn or self.dead.is_set())
            raise
        await self._die_if(turn or self.dead.is_set())
        return answer

    async def _die_if(self, now: bool) -> None:
        if now:
            self.dead.set()
            await asyncio.get_running_loop().create_future()  # until the service is stopped


class _Mortal:
    """A part whose asynchronous methods end with the service that calls them."""

    def __init__(self, part: Any, killer: Killer) -> None:
        self._part = part
        self._killer = killer

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def mortal(*args: Any, **named: Any) -> Any:
            return await self._killer.call(found, *args, **named)

        return mortal


async def _until(true: Callable[[], bool], timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            while not true():  # noqa: ASYNC110 - a test sets it without telling
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        return true()
    return True
