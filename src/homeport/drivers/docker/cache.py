"""The layers that builds leave on an engine, and which of them go when they are too many.

An engine keeps what each step of a build made, so that the next build need not do it again. Those are ours which have
our label and no name; what a named image is made of is no cache, since it costs nothing besides. Of the rest those go
first that no build has used for longest, from the top of each chain, until the others fit. What is not ours is never
touched, and what somebody else builds upon or runs, the engine refuses to remove.
"""

import contextlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from homeport.drivers.docker.building import BUILDER, SHORT, builder_filters, is_step
from homeport.drivers.docker.containers import Owner
from homeport.drivers.docker.engine import Engine, EngineError, Json

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """id and parent: hexadecimal. size: bytes, of all below too. used_at: seconds since 1970."""

    id: str
    parent: str
    size: int
    used_at: float
    ours: bool
    named: bool


class LayerCache:
    """Of one engine. `folder` has one empty file for each layer, whose time is when a build last used it."""

    def __init__(self, engine: Engine, owner: Owner, folder: Path, most_bytes: int) -> None:
        self._engine = engine
        self._owner = owner
        self._folder = folder
        self._most_bytes = most_bytes

    def used(self, layers: Iterable[str]) -> None:
        """Builds have just made or found these, by their short ids."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for layer in layers:
            (self._folder / layer).touch()

    async def bound(self) -> None:
        """Remove what is too much, and containers of steps that an engine in trouble left. Not while a build runs."""
        await self._remove_steps()
        used = self._used()
        layers = [self._read(found, used) for found in await self._engine.images()]
        for layer in surplus(layers, self._most_bytes):
            try:
                await self._engine.remove_image(layer)
            except EngineError as error:  # somebody uses it
                log.info("the layer %s stays: %s", layer[:SHORT], error.message)
        there = {layer.id[:SHORT] for layer in layers}
        for gone in used.keys() - there:
            with contextlib.suppress(FileNotFoundError):
                (self._folder / gone).unlink()

    async def _remove_steps(self) -> None:
        for found in await self._engine.containers(builder_filters(self._owner)):
            if is_step(found["Labels"]):
                log.warning("container %s of a build was left behind; removing it", found["Id"][:SHORT])
                await self._engine.remove(found["Id"])

    def _used(self) -> dict[str, float]:
        if not self._folder.is_dir():
            return {}
        return {path.name: path.stat().st_mtime for path in self._folder.iterdir()}

    def _read(self, found: Json, used: Mapping[str, float]) -> Layer:
        ident = str(found["Id"]).removeprefix("sha256:")
        names = [*(found.get("RepoTags") or ()), *(found.get("RepoDigests") or ())]
        return Layer(
            id=ident,
            parent=str(found.get("ParentId") or "").removeprefix("sha256:"),
            size=int(found.get("Size") or 0),
            used_at=used.get(ident[:SHORT], float(found.get("Created") or 0)),
            ours=(found.get("Labels") or {}).get(BUILDER) == self._owner.installation,
            named=any(not name.startswith("<none>") for name in names),
        )


def surplus(layers: Sequence[Layer], most_bytes: int) -> list[str]:
    """The layers to remove, in this order."""
    known = {layer.id: layer for layer in layers}
    needed: set[str] = set()
    for layer in layers:
        at: Layer | None = layer if layer.named else None
        while at is not None and at.id not in needed:
            needed.add(at.id)
            at = known.get(at.parent)
    cache = {layer.id: layer for layer in layers if layer.ours and layer.id not in needed}
    children = Counter(layer.parent for layer in layers)
    total = sum(_own_size(layer, known) for layer in cache.values())
    gone: list[str] = []
    while total > most_bytes:
        free = [layer for layer in cache.values() if not children[layer.id]]
        if not free:
            break
        oldest = min(free, key=lambda layer: (layer.used_at, layer.id))
        total -= _own_size(oldest, known)
        children[oldest.parent] -= 1
        del cache[oldest.id]
        gone.append(oldest.id)
    return gone


def _own_size(layer: Layer, known: Mapping[str, Layer]) -> int:
    below = known.get(layer.parent)
    return max(0, layer.size - (below.size if below else 0))
