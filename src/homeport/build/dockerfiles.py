"""Builds of sources with a Dockerfile: an archive becomes an image on the engine of its region, and a bundle that names
it. Called by the loop of builds.

The engine does the work and ends it when the connection ends. A server that was killed begins such a build again, and
finds in the engine's cache what was finished. The image is labelled with its revision; its bundle has no files.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from homeport.build.archive import UnpackLimits, unpack
from homeport.build.builder import LOG_BYTES, MEMORY_MB, BuildRequest, unit_of
from homeport.build.bundle import Bundle, remove_tree
from homeport.build.context import RUN, pack_context, read_small
from homeport.build.dockerfile import NAME, Labelled, labelled
from homeport.build.errors import BuildFailed
from homeport.build.images import ImageBuilder, describe_image, place_image
from homeport.build.logs import BuildLog
from homeport.build.manifest import FILE_NAME, Manifest, read_manifest
from homeport.build.prepare import take_arguments
from homeport.build.recipe import MARK
from homeport.build.report import last_lines
from homeport.build.watch import Watch
from homeport.configuration import Limits
from homeport.core.clock import Clock, timestamp
from homeport.core.errors import Invalid, Unavailable
from homeport.core.logins import Logins
from homeport.core.space import full_disk_said
from homeport.core.units import UnitKind, UnitSpec
from homeport.drivers.contract import Driver
from homeport.drivers.docker.building import BuildOrder, Telling, build_image, image_labels, image_name, layer_labels
from homeport.drivers.docker.cache import LayerCache
from homeport.drivers.docker.containers import Owner
from homeport.drivers.docker.engine import Engine, EngineError
from homeport.drivers.docker.images import Image, Images
from homeport.drivers.docker.refusals import ImageRefused, base_refusal
from homeport.settings import DataDir

STEP = "Building the image"
SECRET_CHARACTERS = 6  # what is shorter is no secret, and is in every other word
_HIDDEN = "[hidden]"
_GIVE_UP_S = 5.0
_LOG_MARGIN_S = 60.0  # the unit of the log outlives the build
_CLASSIC = "The engine's classic builder runs Dockerfiles here; it has no RUN --mount and no here-documents."


@dataclass(frozen=True, slots=True, kw_only=True)
class Yard:
    """The engine of a region, to build on."""

    engine: Engine
    owner: Owner
    images: Images
    cache: LayerCache


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineBuilders:
    """What makes bundles of the images of engines: by their names, and by Dockerfiles."""

    images: ImageBuilder
    dockerfiles: "DockerfileBuilder"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What was unpacked. arguments: of the build. secrets: the values among them that no log shows."""

    app: Path
    dockerfile: Labelled
    manifest: Manifest
    manifest_toml: str
    notes: tuple[str, ...]
    arguments: dict[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


class DockerfileBuilder:
    """`yards` by region. `driver` prints the logs. Works in DATA/builds/<revision>/."""

    def __init__(self, data: DataDir, driver: Driver, yards: Mapping[str, Yard], clock: Clock, limits: Limits) -> None:
        self._data = data
        self._driver = driver
        self._yards = yards
        self._clock = clock
        self._watch = Watch(driver, clock)
        self._timeout_s = limits.build_timeout_s
        self._unpacked = UnpackLimits.of(limits)
        self._running = 0  # on any engine: several regions may stand for one
        self._turn = asyncio.Lock()

    async def build(self, request: BuildRequest, region: str, logins: Logins) -> Bundle:
        """Build the source in `region`, with `logins` for its base images. Cancelling ends the build.

        Raises `Invalid` for a source that breaks a rule, `BuildFailed` for a step that failed, `DriverUnavailable`
        while the engine is away, `DiskFull`.
        """
        yard = self._yards.get(region)
        if yard is None:
            raise BuildFailed(STEP, f"failed: the region {region!r} has no engine any more")
        work = self._data.builds / request.revision
        try:
            with full_disk_said(self._data.root):
                await self._forget_former(request)
                source = await asyncio.to_thread(self._unpack, request, yard, work)
                async with self._log(request, work) as log:
                    await log.say(*(f"{MARK}{note}" for note in source.notes))
                    return await self._built(request, yard, logins, source, log)
        finally:
            await asyncio.to_thread(remove_tree, work)

    async def _forget_former(self, request: BuildRequest) -> None:
        """What a server that was killed in the middle left of the log."""
        unit = unit_of(request.revision)
        if await self._driver.status(unit):
            await self._watch.ended(unit)
            await self._driver.forget(unit)

    def _unpack(self, request: BuildRequest, yard: Yard, work: Path) -> _Source:
        remove_tree(work)
        work.mkdir(mode=0o711)
        app = work / "app"
        unpacked = unpack(request.source, app, self._unpacked)
        secrets = take_arguments(app)
        manifest = read_manifest(app)
        text = read_small(app, NAME)
        if text is None:
            raise Invalid("source", f"must hold a {NAME} to be built with an engine")
        mine = image_labels(request.kind.value, request.name, request.revision)
        dockerfile = labelled(text, layer_labels(yard.owner, request.workspace), mine)
        files = pack_context(app, work / "context.tar", dockerfile.text)
        notes = [f"Unpacked {unpacked.files} files; {files} are the context of the {NAME}"]
        if manifest.entrypoint_prod is not None:
            notes.append(f"Not used by this build: [entrypoint] of {FILE_NAME}; the {NAME} says what runs")
        if manifest.unknown:
            notes.append(f"Ignored in {FILE_NAME}: {', '.join(manifest.unknown)}")
        plain = {*manifest.build_args.values()}  # the contract's clients write them into the same file
        return _Source(
            app=app,
            dockerfile=dockerfile,
            manifest=manifest,
            manifest_toml=(app / FILE_NAME).read_text(encoding="utf-8") if (app / FILE_NAME).is_file() else "",
            notes=tuple(notes),
            arguments={**manifest.build_args, **secrets},
            secrets=_secrets(secrets.values(), plain),
        )

    @contextlib.asynccontextmanager
    async def _log(self, request: BuildRequest, work: Path) -> AsyncIterator[BuildLog]:
        unit = UnitSpec(
            id=unit_of(request.revision),
            kind=UnitKind.BUILD,
            argv=(),
            env={},
            timeout_s=self._timeout_s + _LOG_MARGIN_S,
            log_limit_bytes=LOG_BYTES,
            labels={"resource": request.resource_uid, "revision": request.revision, "name": request.name},
        )
        log = await BuildLog.opened(self._driver, self._clock, work / "log", unit)
        try:
            yield log
        finally:
            log.close()

    async def _built(self, request: BuildRequest, yard: Yard, logins: Logins, source: _Source, log: BuildLog) -> Bundle:
        began = self._clock.monotonic()
        tag = image_name(yard.owner, request.workspace, request.kind.value, request.name, request.revision)
        order = BuildOrder(
            context=self._data.builds / request.revision / "context.tar",
            dockerfile=RUN,
            tag=tag,
            memory_mb=MEMORY_MB,
            args=source.arguments,
            logins=logins,
        )
        try:
            image = await self._made(request, yard, order, source, log)
            took_s = round(self._clock.monotonic() - began, 1)
            await log.say(f"{MARK}Done in {took_s:g} s: {image.id}")
            described = describe_image(
                image,
                step=(STEP, f"{NAME} became {image.id}"),
                made_at=timestamp(self._clock.now()),
                build_s=took_s,
                source_digest=request.source_digest,
                manifest_toml=source.manifest_toml,
            )
            bundle = await asyncio.to_thread(
                place_image, self._data.builds, self._data.bundles, request.revision, described
            )
        except BaseException:  # if it has come to an image, nobody will know of that one
            with contextlib.suppress(Unavailable, EngineError, TimeoutError):
                async with asyncio.timeout(_GIVE_UP_S):  # whoever cancels waits
                    await yard.engine.remove_image(tag)
            raise
        return replace(bundle, size=image.size, brought=tag)

    async def _made(
        self, request: BuildRequest, yard: Yard, order: BuildOrder, source: _Source, log: BuildLog
    ) -> Image:
        telling = Telling(source.dockerfile.steps, MARK)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._run(yard, order, telling, source, log)
                if telling.failure is None:
                    return await yard.images.built(order.tag)
        except TimeoutError:
            telling.failure = f"it took longer than {self._timeout_s} s and was stopped"
        except ImageRefused as error:
            telling.failure = error.for_caller()
        if refusal := base_refusal(telling.step, order.logins, telling.failure or ""):
            telling.failure = refusal.for_caller()
        raise await self._failure(request, telling, source, log)

    async def _run(self, yard: Yard, order: BuildOrder, telling: Telling, source: _Source, log: BuildLog) -> None:
        async with self._turn:
            self._running += 1
        try:
            async with contextlib.aclosing(build_image(yard.engine, order, telling)) as told:
                async for lines in told:
                    await log.say(*(_masked(line, source.secrets) for line in lines))
        finally:
            self._running -= 1
            yard.cache.used(telling.layers)

    async def bound_caches(self) -> None:
        """Let go of layers that are too many, unless a build runs; of an engine that is away, the next time."""
        async with self._turn:
            for yard in () if self._running else self._yards.values():
                with contextlib.suppress(Unavailable):
                    await yard.cache.bound()

    async def _failure(self, request: BuildRequest, telling: Telling, source: _Source, log: BuildLog) -> BuildFailed:
        said = _masked(source.dockerfile.as_written(telling.failure or "it ended without a word"), source.secrets)
        await log.say(f"failed: {said}")
        log.close()
        unit = unit_of(request.revision)
        await self._watch.over(unit, _LOG_MARGIN_S)  # until all is printed
        lines = await last_lines(self._driver, unit)
        hint = f". {_CLASSIC}" if "BuildKit" in said or "unknown instruction" in said else ""
        return BuildFailed(
            STEP,
            f"failed: {said}{hint}",
            command=_masked(telling.step, source.secrets),
            exit_code=telling.code,
            last_lines=lines[:-1],
        )


def _secrets(values: Iterable[str], plain: Collection[str]) -> tuple[str, ...]:
    """The longest first, since one may hold another."""
    found = {one for one in values if len(one) >= SECRET_CHARACTERS and one not in plain}
    return tuple(sorted(found, key=len, reverse=True))


def _masked(line: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        line = line.replace(secret, _HIDDEN)
    return line
