"""What a server finds on its machine's disk: keys, and the bundles that builds would have made. Made once for a process
and never changed by a run."""

import atexit
import functools
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from homeport.build.builder import BuildRequest
from homeport.build.bundle import Bundle, load_bundle
from homeport.build.errors import BuildFailed
from homeport.build.toolchain import Toolchain, toolchain
from homeport.core.ids import RevisionId
from homeport.identity.keys import KeyRing
from homeport.sealing.keys import SealingKeys
from homeport.settings import DataDir
from homeport.testing.loops import ReadyBuilder, write_bundle
from homeport.testing.simulation.scenario import SOURCES

JOB_SOURCE = "tasks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """`data` holds the bundles, each under the name of its source. `empty` is what the garbage loop looks through:
    files are nothing that is simulated."""

    data: DataDir
    empty: DataDir
    keys: KeyRing
    sealing: SealingKeys
    tools: Toolchain


@functools.cache
def site() -> Site:
    root = Path(tempfile.mkdtemp(prefix="homeport-simulation-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    data, empty = DataDir(root / "data"), DataDir(root / "empty")
    data.create()
    empty.create()
    for source in (*SOURCES, JOB_SOURCE):
        write_bundle(data, source, source)
    keys = KeyRing.load_or_create(data.signing_key)
    return Site(data=data, empty=empty, keys=keys, sealing=SealingKeys.generate(), tools=toolchain())


class InstantBuilder(ReadyBuilder):
    """The bundle of a source is there under its own name; one source cannot be built."""

    def digest(self, request: BuildRequest) -> str:
        return request.source_digest

    async def build(self, request: BuildRequest) -> Bundle:
        if request.source_digest == "unbuildable":
            raise BuildFailed("Installing dependencies", "failed")
        return load_bundle(self._data.bundles, request.source_digest)

    async def abandon(self, revision: RevisionId) -> None:
        """There is nothing of it."""

    async def sweep(self, known: frozenset[RevisionId]) -> tuple[str, ...]:
        return ()
