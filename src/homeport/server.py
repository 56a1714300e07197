"""The server process: the API, the decisions, the loops, the configuration of the gateway. Started by `homeport up`.

One of the composition roots: the only files that know every concrete class. It owns no process and no port; it may be
killed at any moment, and what it was doing is taken up by its next start.
"""

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import stat
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from homeport import sdk_hook
from homeport.api.app import public_app
from homeport.api.internal import internal_app
from homeport.app.authentication import client_secret
from homeport.app.context import Context
from homeport.app.first_run import ensure_first_run, refuse_lost_parts
from homeport.app.governance import settle
from homeport.app.sealing import seal_at_rest
from homeport.app.upkeep import Upkeep
from homeport.build.builder import Builder
from homeport.build.fetch import Fetcher
from homeport.build.program import Platform
from homeport.build.toolchain import toolchain
from homeport.configuration import LOCAL, Configuration, read_configuration
from homeport.core import log as logs
from homeport.core.clock import SystemClock
from homeport.core.errors import DiskFull, HomeportError, StoreUnavailable
from homeport.core.service import REFUSED, Service, Signals
from homeport.core.space import Space
from homeport.dataplane.snapshot import Authority
from homeport.dataplane.xds import XdsServer
from homeport.drivers.contract import Driver
from homeport.drivers.fleet import Fleet
from homeport.drivers.process import ProcessDriver
from homeport.engines import Engines, GatewayAt
from homeport.identity.keys import GATEWAY_AUDIENCE, ISSUER, KeyRing
from homeport.reconcile.builds import Builds
from homeport.reconcile.expiry import Expiries
from homeport.reconcile.fetches import Fetches
from homeport.reconcile.garbage import Garbage
from homeport.reconcile.launch import ReplicaLauncher
from homeport.reconcile.logins import RevisionLogins
from homeport.reconcile.replicas import Performer
from homeport.reconcile.restore import Restorer
from homeport.reconcile.retention import Retention
from homeport.reconcile.rollouts import Rollouts
from homeport.reconcile.routes import Routes
from homeport.reconcile.signing import Retirement
from homeport.reconcile.volumes import Volumes
from homeport.regions import regions_of
from homeport.runner.dispatch import Runner
from homeport.runner.launch import TaskLauncher
from homeport.sealing.keys import SealingKeys
from homeport.settings import DataDir
from homeport.store.sqlite import SqliteStore
from homeport.telemetry import collector_of, program_telemetry_of

log = logging.getLogger(__name__)

TASKS_PER_CORE = 4  # attempts at once: tasks mostly wait for models and networks
TASKS_AT_LEAST = 8
# A request meets several threads: the loop, readers and the writer of the store. Each waits this long for the
# interpreter when another computes; at Python's 5 ms, three such waits are more than the work.
SWITCH_INTERVAL_S = 0.0005
GATEWAY_ANSWER_S = 10.0  # it takes milliseconds; an Envoy that is being started again, about two seconds
SHUTDOWN_S = 5  # for requests to the API that are under way at a stop


class Server:
    """Every part of the process, wired. Parts start in order and stop in reverse."""

    def __init__(self, data: DataDir, host: str, port: int) -> None:
        refuse_lost_parts(data)
        clock, signals = SystemClock(), Signals()
        if data.pause_mark.exists():
            signals.pause()
        local = ProcessDriver(data.socket("node"))
        store = SqliteStore(data.database)
        keys = KeyRing.load_or_create(data.signing_key)
        configuration = read_configuration(data.config)
        xds = XdsServer(data.socket("xds"), _authority(data, configuration), clock, served=signals.runner.wake)
        routes = Routes(store, clock, keys, xds)
        engines = Engines(
            configuration,
            data,
            GatewayAt(host=host, port=port, open_doors=xds.open_doors, refused=lambda: xds.rejected),
        )
        by_region: dict[str, Driver] = {LOCAL: local, **engines.drivers}
        sealing = SealingKeys.load(data.sealing_key) or SealingKeys.generate()
        space = Space(data.root, data.reserve)
        self.data = data
        self.context = Context(
            store=store,
            clock=clock,
            keys=keys,
            sealing=sealing,
            data=data,
            regions=regions_of(configuration, local.name),
            drivers={driver.name: driver for driver in by_region.values()},
            signals=signals,
            base_url=base_url(host, port),
            configuration=configuration,
            space=space,
            tell_gateway=partial(_tell, routes, xds),
        )
        platform = _platform(self.context)
        tools = toolchain()
        builder = Builder(data, local, clock, tools, configuration.limits, space)
        fetcher = Fetcher(data, local, clock, tools.registry, configuration)
        builders, placing = engines.builders(local, clock, configuration), partial(settle, self.context)
        fetches = Fetches(store, fetcher, sealing, configuration.sources, builders, placing)
        self._restorer = _restorer(self.context, engines)
        driver = Fleet(by_region)
        performer = Performer(store, clock, driver, ReplicaLauncher(store, data.bundles, platform))
        tasks = TaskLauncher(store, clock, keys, data.bundles, platform, by_region)
        slots = max(TASKS_AT_LEAST, TASKS_PER_CORE * (os.cpu_count() or 1))

        def room() -> int:
            """A task begins by asking the gateway for its arguments: none starts while there is no gateway."""
            return slots if xds.serves and not space.full else 0

        retention = Retention(store, clock, configuration.images, engines.images)
        self._driver = driver
        self._engines = engines
        self._parts: Sequence[Service] = (
            xds,
            Rollouts(store, clock, driver, performer, routes, xds, signals, data.bundles, silent=lambda: driver.silent),
            Builds(store, clock, builder, fetches, data, signals),
            Runner(store, clock, [*by_region.values()], tasks, slots=room, wakeup=signals.runner),
            Expiries(store, clock, signals),
            Retirement(self.context.signing),
            Upkeep(self.context),
            Volumes(store, clock, by_region, signals.volumes),
            Garbage(
                store, clock, driver, builder, data, signals.garbage, staging=self.context.staging, retention=retention
            ),
        )

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        await self.context.space.start()  # first: what it holds in reserve may be what the store needs to open
        await self.context.store.start()
        try:
            await seal_at_rest(self.context)
            await ensure_first_run(self.context)
            await self._engines.open()
            async with contextlib.AsyncExitStack() as stack:
                for part in self._parts:
                    await part.start()
                    stack.push_async_callback(part.stop)
                await self._serve()
        finally:
            await self._restorer.stop()
            await self._driver.close()
            await self.context.store.stop()
            await self.context.space.stop()

    async def _serve(self) -> None:
        servers = [
            _http(public_app(self.context), self.data.socket("server")),
            _http(internal_app(self.context), self.data.socket("internal")),
        ]
        _settle_interpreter()
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        running = [asyncio.ensure_future(server.serve()) for server in servers]
        waiting = asyncio.ensure_future(stopping.wait())
        await asyncio.wait([*running, waiting], return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping")
        for server in servers:
            server.should_exit = True
        waiting.cancel()
        await asyncio.gather(*running)


async def _tell(routes: Routes, xds: XdsServer) -> bool:
    """Have the gateway know the present signing keys."""
    return await xds.acknowledged(await routes.publish(), GATEWAY_ANSWER_S)


def _authority(data: DataDir, configuration: Configuration) -> Authority:
    return Authority(
        edge_socket=data.socket("edge"),
        issuer=ISSUER,
        audience=GATEWAY_AUDIENCE,
        collector=collector_of(configuration),
        limits=configuration.limits.calls,
        domain=configuration.gateway.domain,
    )


def _platform(context: Context) -> Platform:
    tables = context.configuration.regions.items()
    return Platform(
        base_url=context.base_url,
        sealing=context.sealing,
        sdk_hook=Path(sdk_hook.__file__).parent,
        secret_of=lambda client_id, revision: client_secret(context, client_id, revision),
        gateways={name: table.gateway_url for name, table in tables if table.gateway_url},
        telemetry=program_telemetry_of(context.configuration),
    )


def _restorer(context: Context, engines: Engines) -> Restorer:
    """What gets removed images again for the drivers of the engines."""
    logins = RevisionLogins(context.store, context.sealing)
    bound_s = context.configuration.limits.build_timeout_s
    restorer = Restorer(context.store, context.clock, engines.images, logins, bound_s)
    for driver in engines.drivers.values():
        driver.restore = restorer.restore
    return restorer


def _settle_interpreter() -> None:
    """What was made until now stays: the collector need not walk it again, which stops every request for a moment."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()


def base_url(host: str, port: int) -> str:
    """Where clients and workloads reach the gateway. One that listens everywhere is reached on loopback from here."""
    reachable = "127.0.0.1" if host in ("0.0.0.0", "::", "localhost") else host
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


class _HttpServer(uvicorn.Server):
    """Signals end the process in one place, so the two servers in it must not take them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _http(app: FastAPI, socket: Path) -> uvicorn.Server:
    """An HTTP server on a unix socket. A socket file that a killed server left is removed: the lock of `up` says that
    there is only one of us."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(socket.stat().st_mode):
            socket.unlink()
    config = uvicorn.Config(
        app,
        uds=str(socket),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=SHUTDOWN_S,
        server_header=False,
        http="httptools",
    )
    return _HttpServer(config)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server; the exit code is 1 when it could not start, and `REFUSED` when it cannot before somebody acts,
    with the reason on standard error."""
    parser = argparse.ArgumentParser(prog="python -m homeport.server", description="Homeport's server process.")
    parser.add_argument("--data", type=Path, required=True, help="the data directory")
    parser.add_argument("--host", default="127.0.0.1", help="where the gateway listens")
    parser.add_argument("--port", type=int, required=True, help="the gateway's port")
    options = parser.parse_args(arguments)
    data = DataDir(options.data)
    logs.configure("server", file=data.log("server"))
    os.umask(0o022)
    try:
        asyncio.run(Server(data, options.host, options.port).run())
    except HomeportError as error:
        log.error("%s %s", error.for_caller(), error.detail)
        return REFUSED if isinstance(error, StoreUnavailable | DiskFull) else 1
    except OSError as error:
        if error.filename is None:
            raise
        log.error("%s: %s. Check its owner and mode, and the disk.", error.filename, error.strerror)
        return REFUSED
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
