"""Builds: a source archive becomes a bundle, by way of a sandboxed unit. Called by the reconcile loop of builds.

A build works in DATA/builds/<revision>/ and ends with one rename to DATA/bundles/<digest>/, so it may be killed at any
step. A server that comes back finds the draft next to the unit, which lives in the node, and goes on waiting for it;
anything else that it finds there is removed and made again. The builder changes no records and keeps the unit of a
build: the log of a build is the output of `unit_of(revision)`, until the revision's owner forgets it.
"""

import asyncio
import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from homeport.build.archive import UnpackLimits
from homeport.build.bundle import (
    Bundle,
    Description,
    find_bundle,
    load_bundle,
    place,
    read_description,
    remove_tree,
    seal,
    size_of,
)
from homeport.build.environments import environment_of, find_environment
from homeport.build.fetch import fetch_unit_of
from homeport.build.node import node_identity
from homeport.build.npm_registry import npm_registry
from homeport.build.prepare import Prepared, prepare
from homeport.build.recipe import APP, CACHE, KEPT, RECIPE, UV, environment, script, steps
from homeport.build.report import failure, last_lines
from homeport.build.toolchain import Toolchain, toolchain
from homeport.build.watch import STOP_GRACE_S, Watch
from homeport.configuration import Limits
from homeport.core.clock import Clock, parse_timestamp, timestamp
from homeport.core.errors import DriverUnavailable
from homeport.core.ids import Kind, RevisionId, UnitId
from homeport.core.space import Space, full_disk_said
from homeport.core.units import Mount, UnitKind, UnitSpec, UnitState
from homeport.drivers.contract import Driver
from homeport.settings import DataDir

MEMORY_MB = 2048  # what a compiler of one large extension needs
MAX_PROCESSES = 512
LOG_BYTES = 8 * 1024 * 1024  # the most talkative build systems stay below
CACHE_BYTES = 4 * 1024 * 1024 * 1024  # of one workspace's downloads; a cache beyond it is emptied by `sweep`


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """source: the uploaded zip. source_digest: its SHA-256 in hexadecimal, as whoever stored it computed it.
    resource_uid: the workload's, by which its logs are found."""

    revision: RevisionId
    resource_uid: str
    workspace: str
    kind: Kind
    name: str
    source: Path
    source_digest: str


def unit_of(revision: RevisionId) -> UnitId:
    """The unit whose output is the log of the revision's build."""
    return UnitId(f"build-{revision}")


class Builder:
    """Builds sources. Several builds may run at once, one of a revision at a time."""

    def __init__(
        self,
        data: DataDir,
        driver: Driver,
        clock: Clock,
        tools: Toolchain | None = None,
        limits: Limits | None = None,
        space: Space | None = None,
    ) -> None:
        self.space = space or Space.unwatched()
        self._data = data
        self._driver = driver
        self._clock = clock
        self._watch = Watch(driver, clock)
        self._tools = tools or toolchain()
        limits = limits or Limits()
        self._timeout_s = limits.build_timeout_s
        self._unpacked = UnpackLimits.of(limits)
        self._active: dict[RevisionId, str] = {}

    def digest(self, request: BuildRequest) -> str:
        """The digest of the bundle that `request` leads to. Workspaces share none: a package cache that the code of
        one of them spoilt must not reach another."""
        parts = [RECIPE, request.source_digest, request.workspace, request.kind.value, self._tools.python.identity]
        parts.append(node_identity())
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    async def build(self, request: BuildRequest) -> Bundle:
        """Build `request`, go on with its build that an earlier server began, or return the bundle that is there.

        Raises `Invalid` for a source that breaks a rule, `BuildFailed` for a step that failed, `DriverUnavailable`
        where the driver stays away, `DiskFull`. Cancelling leaves the unit running; the next call goes on with it.
        """
        digest = self.digest(request)
        if bundle := await asyncio.to_thread(find_bundle, self._data.bundles, digest):
            return bundle
        self._active[request.revision] = request.workspace
        try:
            with full_disk_said(self._data.root):
                draft = await self._resumed(request, digest) or await self._begun(request, digest)
                await self._finished(request.revision, draft)
                await asyncio.to_thread(self._publish, request.revision, draft)
        except (asyncio.CancelledError, DriverUnavailable):
            raise  # the unit may live on, and its files with it
        except BaseException:
            await asyncio.to_thread(remove_tree, self._work(request.revision))
            raise
        finally:
            del self._active[request.revision]
        return await asyncio.to_thread(load_bundle, self._data.bundles, digest)

    async def abandon(self, revision: RevisionId) -> None:
        """End the revision's build, if it runs, and remove what it left but its log. For revisions that go away."""
        await self._watch.ended(fetch_unit_of(revision))
        await self._watch.ended(unit_of(revision))
        await asyncio.to_thread(remove_tree, self._work(revision))

    async def sweep(self, known: frozenset[RevisionId]) -> tuple[str, ...]:
        """Remove what builds left behind, but for the revisions in `known` and those that build now, and empty the
        caches that have grown too large. Returns one line about each removal."""
        done: list[str] = []
        for path in sorted(await asyncio.to_thread(lambda: [*self._data.builds.iterdir()])):
            revision = RevisionId(path.name)
            if revision not in known and revision not in self._active:
                await self.abandon(revision)
                done.append(f"removed the leftovers of the build of {revision}")
        busy = frozenset(self._active.values())
        return (*done, *await asyncio.to_thread(self._sweep_caches, busy))

    def _sweep_caches(self, busy: frozenset[str]) -> list[str]:
        emptied = []
        for cache in sorted(self._data.cache.iterdir()):
            if cache.name not in busy and size_of(cache) > CACHE_BYTES:
                remove_tree(cache)
                emptied.append(f"emptied the package cache of {cache.name}")
        return emptied

    def _work(self, revision: RevisionId) -> Path:
        return self._data.builds / revision

    async def _resumed(self, request: BuildRequest, digest: str) -> Description | None:
        """The draft of a build of this very source whose unit is known and was not interrupted; else None, with all
        of it gone."""
        unit = unit_of(request.revision)
        draft = await asyncio.to_thread(read_description, self._work(request.revision))
        status = await self._driver.status(unit)
        interrupted = status and (status.state is UnitState.LOST or (status.outcome and status.outcome.stopped))
        if draft and draft.digest == digest and status and not interrupted:
            return draft
        if status:
            await self._watch.ended(unit)
            await self._driver.forget(unit)
        await asyncio.to_thread(remove_tree, self._work(request.revision))
        return None

    async def _begun(self, request: BuildRequest, digest: str) -> Description:
        work = self._work(request.revision)
        prepared = await asyncio.to_thread(self._make_room, request, work)
        packages = await asyncio.to_thread(environment_of, work / "app", prepared.plan, request.workspace)
        kept = await asyncio.to_thread(find_environment, self._data.bundles, packages)
        plan = replace(prepared.plan, kept=kept is not None)
        draft = Description(
            digest=digest,
            language=plan.program.language,
            entrypoint=plan.program.argv,
            mounts=(*self._tools.python.mounts, *(plan.node[0].mounts if plan.node else ())),
            manifest_toml=prepared.manifest_toml,
            python=self._tools.python.version,
            source_digest=request.source_digest,
            started_at=timestamp(self._clock.now()),
            steps=tuple((step.name, step.title, step.script) for step in steps(plan)),
            environment=packages,
        )
        await asyncio.to_thread(draft.write, work)
        await self._driver.start(self._unit(request, replace(prepared, plan=plan), work, kept))
        return draft

    def _make_room(self, request: BuildRequest, work: Path) -> Prepared:
        work.mkdir(mode=0o711)
        prepared = prepare(request.source, work / "app", request.kind, self._tools, self._unpacked)
        cache = self._cache(request, prepared)
        cache.mkdir(parents=True, exist_ok=True)
        cache.parent.chmod(0o711)  # the user of sandboxes passes through it to what it is shown
        return prepared

    def _cache(self, request: BuildRequest, prepared: Prepared) -> Path:
        return self._data.cache / request.workspace / ("npm" if prepared.plan.node else "uv")

    def _unit(self, request: BuildRequest, prepared: Prepared, work: Path, kept: Path | None) -> UnitSpec:
        node = prepared.plan.node
        registry = npm_registry(self._tools.registry) if node else self._tools.registry
        own = (
            Mount(source=str(work / "app"), target=APP, writable=True),
            Mount(source=str(self._cache(request, prepared)), target=CACHE, writable=True),
            Mount(source=str(self._tools.uv), target=UV),
            *([Mount(source=str(kept), target=KEPT)] if kept else []),
        )
        return UnitSpec(
            id=unit_of(request.revision),
            kind=UnitKind.BUILD,
            argv=("/bin/sh", "-c", script(prepared.plan)),
            env=environment(registry.env, prepared.build_args),
            workdir=APP,
            mounts=(*own, *self._tools.python.mounts, *(node[0].mounts if node else ()), *registry.mounts),
            memory_mb=MEMORY_MB,
            max_processes=MAX_PROCESSES,
            timeout_s=self._timeout_s,
            stop_grace_s=STOP_GRACE_S,
            log_limit_bytes=LOG_BYTES,
            labels={"resource": request.resource_uid, "revision": request.revision, "name": request.name},
        )

    async def _finished(self, revision: RevisionId, draft: Description) -> None:
        """Wait for the unit's end. Raises `BuildFailed` unless it ended well."""
        unit = unit_of(revision)
        status = await self._watch.over(unit, self._timeout_s)
        if status.outcome is None or not status.outcome.succeeded:
            raise failure(status, draft.steps, await last_lines(self._driver, unit), MEMORY_MB)

    def _publish(self, revision: RevisionId, draft: Description) -> None:
        """Seal the bundle and move it to its place. May be killed anywhere and repeated."""
        work = self._work(revision)
        seal(work / "app")
        now = self._clock.now()
        built_s = _seconds(draft.started_at, now)
        replace(draft, created_at=timestamp(now), build_s=built_s, size=size_of(work / "app")).write(work)
        place(work, self._data.bundles / draft.digest)


def _seconds(began: str, now: datetime) -> float:
    return round((now - parse_timestamp(began)).total_seconds(), 1)
