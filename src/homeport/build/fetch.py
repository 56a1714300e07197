"""Fetches: a repository becomes a source archive, by way of a sandboxed unit. Called by the reconcile loop of builds,
before the build itself.

A fetch works in DATA/builds/<revision>/, where the build follows it. It may be killed at any step: what it left is
removed and it begins again, since only its archive in DATA/sources and the commit that the caller stores count.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from homeport.build import git
from homeport.build.archive import UnpackLimits, keep_archive
from homeport.build.bundle import remove_tree, size_of
from homeport.build.errors import BuildFailed
from homeport.build.pack import Packed, pack_tree
from homeport.build.registry import Registry
from homeport.build.report import failure, last_lines
from homeport.build.repository import Repository
from homeport.build.watch import STOP_GRACE_S, Watch
from homeport.configuration import Configuration
from homeport.core.clock import Clock
from homeport.core.errors import DriverUnavailable
from homeport.core.ids import RevisionId, UnitId
from homeport.core.limits import MIB
from homeport.core.units import Mount, UnitKind, UnitSpec
from homeport.drivers.contract import Driver
from homeport.settings import DataDir

MEMORY_MB = 1024  # git keeps the objects that it unpacks in memory
MAX_PROCESSES = 64
LOG_BYTES = 1024 * 1024
LOOK_S = 1.0  # between two looks at the size of what was fetched

_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRequest:
    """secret: the value of the stored secret that the repository names, in plain."""

    revision: RevisionId
    resource_uid: str
    name: str
    repository: Repository
    secret: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """source_digest: of the archive in DATA/sources. left_out: links that are not in it."""

    source_digest: str
    commit: str
    left_out: tuple[str, ...]


def fetch_unit_of(revision: RevisionId) -> UnitId:
    """The unit whose output is the first part of the log of the revision's build."""
    return UnitId(f"fetch-{revision}")


class Fetcher:
    """Fetches repositories. Several fetches may run at once, one of a revision at a time."""

    def __init__(
        self, data: DataDir, driver: Driver, clock: Clock, registry: Registry, configuration: Configuration
    ) -> None:
        self._data = data
        self._driver = driver
        self._clock = clock
        self._watch = Watch(driver, clock)
        self._registry = registry
        self._sources = configuration.sources
        self._limits = UnpackLimits.of(configuration.limits)

    async def fetch(self, request: FetchRequest) -> Fetched:
        """Fetch, and put the archive into DATA/sources. Raises `BuildFailed` where git fails, `Invalid` for a tree that
        breaks a rule, `DriverUnavailable` where the driver stays away. Cancelling leaves the unit running."""
        unit, work = fetch_unit_of(request.revision), self._data.builds / request.revision
        access = git.login(request.repository, request.secret) if request.secret is not None else None
        if await self._driver.status(unit):
            await self._watch.ended(unit)
            await self._driver.forget(unit)
        await asyncio.to_thread(self._make_room, work)
        try:
            await self._driver.start(self._unit(request, access, work))
            await self._finished(request.repository, unit, work)
            commit = await asyncio.to_thread(_read_commit, work / "repository/commit")
            packed = await asyncio.to_thread(self._keep, work)
        except (asyncio.CancelledError, DriverUnavailable):
            raise  # the unit may live on, and its files with it
        except BaseException:
            await asyncio.to_thread(remove_tree, work)
            raise
        await asyncio.to_thread(remove_tree, work)
        return Fetched(source_digest=packed.digest, commit=commit, left_out=packed.left_out)

    def _make_room(self, work: Path) -> None:
        remove_tree(work)
        work.mkdir(mode=0o711)
        for name in ("repository", "fetch"):
            (work / name).mkdir(mode=0o755)
        (work / "fetch/gitconfig").write_text(git.CONFIG)
        (work / "fetch/askpass").write_text(git.ASKPASS)
        (work / "fetch/askpass").chmod(0o755)
        known = (path.read_text() for path in (_KNOWN_HOSTS, self._data.known_hosts) if path.is_file())
        (work / "fetch/known_hosts").write_text("\n".join(known))

    def _unit(self, request: FetchRequest, access: git.Login | None, work: Path) -> UnitSpec:
        repository, most_bytes = request.repository, self._sources.repository_mb * MIB
        shown = [Mount(source=repository.url.removeprefix("file://"), target=repository.url.removeprefix("file://"))]
        return UnitSpec(
            id=fetch_unit_of(request.revision),
            kind=UnitKind.BUILD,
            argv=("/bin/sh", "-c", git.script(repository, submodules=self._sources.submodules, most_bytes=most_bytes)),
            env=git.environment(repository, access, self._registry.env),
            workdir="/",
            mounts=(
                Mount(source=str(work / "repository"), target=git.PLACE, writable=True),
                Mount(source=str(work / "fetch"), target=git.TOOLS),
                *self._registry.mounts,
                *(shown if repository.scheme == "file" else ()),
            ),
            memory_mb=MEMORY_MB,
            max_processes=MAX_PROCESSES,
            timeout_s=self._sources.repository_timeout_s,
            stop_grace_s=STOP_GRACE_S,
            log_limit_bytes=LOG_BYTES,
            labels={"resource": request.resource_uid, "revision": request.revision, "name": request.name},
        )

    async def _finished(self, repository: Repository, unit: UnitId, work: Path) -> None:
        """Wait for the unit's end. Raises `BuildFailed` unless it ended well."""
        look = self._size_check(repository, unit, work / "repository")
        status = await self._watch.over(unit, self._sources.repository_timeout_s, look)
        if status.outcome is not None and status.outcome.succeeded:
            return
        lines = await last_lines(self._driver, unit)
        steps = ((git.STEP, git.title(repository), git.command(repository)),)
        error = failure(status, steps, lines, MEMORY_MB)
        why = git.meaning(lines)
        if status.outcome and status.outcome.timed_out:
            why = f"it took longer than {self._sources.repository_timeout_s} s ([sources] repository_timeout_s)"
        raise error.because(f"failed for {repository.shown}: {why}") if why else error

    def _size_check(self, repository: Repository, unit: UnitId, place: Path) -> Callable[[], Awaitable[None]]:
        """What ends a fetch that grows beyond the limit; a single file that does so is ended by the unit itself."""
        most_mb = self._sources.repository_mb
        seen = self._clock.monotonic()

        async def look() -> None:
            nonlocal seen
            if self._clock.monotonic() - seen < LOOK_S:
                return
            seen = self._clock.monotonic()
            if await asyncio.to_thread(_size_of_growing, place) > most_mb * MIB:
                await self._watch.ended(unit)
                raise too_large(repository, most_mb)

        return look

    def _keep(self, work: Path) -> Packed:
        """The archive of what was fetched, durable under its digest before any row names it."""
        part = work / "source.zip"
        packed = pack_tree(work / "repository/tree", part, self._limits)
        keep_archive(part, self._data.sources, packed.digest)
        return packed


def too_large(repository: Repository, most_mb: int) -> BuildFailed:
    why = f"failed for {repository.shown}: it is larger than {most_mb} MB ([sources] repository_mb)"
    return BuildFailed(git.STEP, why, command=git.command(repository))


def _size_of_growing(place: Path) -> int:
    """As `size_of`, while files come and go."""
    try:
        return size_of(place)
    except FileNotFoundError:
        return 0


def _read_commit(path: Path) -> str:
    """What the sandbox says that it fetched; it is a stranger's word and is read as one."""
    with path.open("rb") as file:
        text = file.read(65).decode("ascii", "replace")
    if not _COMMIT.fullmatch(text):
        raise BuildFailed(git.STEP, "ended without naming a commit")
    return text
