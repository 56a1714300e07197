"""A build on an engine, by its classic builder: one request, one stream of what happens. Used by the builder of
Dockerfiles.

`version=1` because the newer builder (BuildKit) takes no context without a session, a protocol of its own for which the
engine calls the client back. The classic one is in every Docker engine from 19.03 on, and Podman serves the same call.
"""

import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from homeport.core.images import BUILT_HERE
from homeport.core.logins import Logins
from homeport.drivers.docker.containers import LABEL, Owner, unit_of
from homeport.drivers.docker.engine import Engine, EngineError, Json
from homeport.drivers.docker.logins import build_header

BUILDER = f"{LABEL}builder"  # the installation whose build made a layer
REVISION = f"{LABEL}revision"  # whose image it is; on no layer below that

_STEP = re.compile(r"(?P<stage>\[\d+/\d+\] )?step (?P<at>\d+)(?:/(?P<of>\d+))? ?: ?(?P<what>.*)", re.IGNORECASE)
_LAYER = re.compile(r"\s*-{2,3}> (Using cache ?)?([0-9a-f]{11,})?[0-9a-f]*\s*")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NOISE = re.compile(
    r"\s*-{2,3}> ?(Running in [0-9a-f]*)?\s*|Removing intermediate container [0-9a-f]+|Successfully (built|tagged) .*"
    r"|COMMIT( .*)?|[0-9a-f]{64}"
)
SHORT = 11  # characters of a layer's id that every engine tells at least
_LINE_CHARACTERS = 16 * 1024  # a longer one is cut into several


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOrder:
    """context: a tar. dockerfile: its name in there. tag: what the image is to be called. args: build arguments.
    logins: for its base images."""

    context: Path
    dockerfile: str
    tag: str
    memory_mb: int
    args: Mapping[str, str] = field(repr=False)
    logins: Logins


def is_ours(owner: Owner, reference: str) -> bool:
    """Whether an engine has an image under this name because the installation built it."""
    return reference.startswith(f"{BUILT_HERE}/{owner.installation}/")


def image_name(owner: Owner, workspace: str, kind: str, name: str, revision: str) -> str:
    """What the engine calls the image of a revision."""
    return f"{BUILT_HERE}/{owner.installation}/{workspace}/{kind}/{name}:{revision}"


def layer_labels(owner: Owner, workspace: str) -> dict[str, str]:
    """On every layer."""
    return {BUILDER: owner.installation, f"{LABEL}workspace": workspace}


def image_labels(kind: str, name: str, revision: str) -> dict[str, str]:
    """On the finished image, besides."""
    return {f"{LABEL}kind": kind, f"{LABEL}name": name, REVISION: revision}


def builder_filters(owner: Owner) -> list[str]:
    """What has the label of our builds, as the engine's filters write it."""
    return [f"{BUILDER}={owner.installation}"]


def is_step(labels: Mapping[str, str]) -> bool:
    """Whether a container of our builder's runs a step: it has the labels of a layer and none of what stands above."""
    return unit_of(labels) is None and REVISION not in labels


async def build_image(engine: Engine, order: BuildOrder, telling: "Telling") -> AsyncGenerator[list[str], None]:
    """Lines for the log as they come; how it went is in `telling` at the end. Closing it ends the build."""
    memory = str(order.memory_mb * 1024 * 1024)
    params = {
        "version": "1",
        "t": order.tag,
        "dockerfile": order.dockerfile,
        "buildargs": json.dumps(dict(order.args)),
        "rm": "1",
        "forcerm": "1",  # no container stays, however it ends
        "memory": memory,
        "memswap": memory,
    }
    try:
        async with aclosing(engine.build(params, build_header(order.logins), order.context)) as told:
            async for said in told:
                if lines := telling.read(said):
                    yield lines
    except EngineError as error:
        telling.failure = error.message
    if rest := telling.rest():
        yield rest


class Telling:
    """What an engine says, as people read it. `failure`: why the build failed, in the engine's words; `code`: the exit
    code of the command that did. `step`: the instruction that ran last. `layers`: short ids of all that were made or
    found. `ours` of its steps are labels of ours, which people did not write and do not see."""

    def __init__(self, ours: int, mark: str) -> None:
        self._ours = ours
        self._mark = mark
        self._part = ""
        self._number = 0
        self._hidden = False
        self.step = ""
        self.failure: str | None = None
        self.code: int | None = None
        self.layers: set[str] = set()

    def read(self, said: Json) -> list[str]:
        """The lines that are complete by now."""
        if "error" in said or "errorDetail" in said:
            detail = said.get("errorDetail") or {}
            self.failure = str(detail.get("message") or said.get("error")).strip()
            self.code = detail.get("code") or None
            return []
        if "stream" in said:
            *lines, self._part = (self._part + str(said["stream"])).split("\n")
            while len(self._part) > _LINE_CHARACTERS:
                lines.append(self._part[:_LINE_CHARACTERS])
                self._part = self._part[_LINE_CHARACTERS:]
            return [shown for line in lines if (shown := self._shown(line)) is not None]
        if "status" in said and not said.get("progressDetail"):
            return [": ".join(str(said[key]) for key in ("id", "status") if said.get(key))]
        return []

    def rest(self) -> list[str]:
        """What came after the last end of a line."""
        line, self._part = self._part, ""
        return [shown] if line and (shown := self._shown(line)) is not None else []

    def _shown(self, line: str) -> str | None:
        text = _COLOUR.sub("", line).rstrip()
        if found := _STEP.fullmatch(text):
            return self._begun(found)
        if layer := _LAYER.fullmatch(text):
            if layer[2]:
                self.layers.add(layer[2][:SHORT])
            return "(from the cache)" if layer[1] and not self._hidden else None
        if self._hidden or not text or _NOISE.fullmatch(text):
            return None
        return text

    def _begun(self, found: re.Match[str]) -> str | None:
        self._hidden = found["what"].startswith(f"LABEL {LABEL}")
        if self._hidden:
            return None
        self._number += 1
        self.step = found["what"].strip()
        of = f"/{int(found['of']) - self._ours}" if found["of"] and not found["stage"] else ""
        return f"{self._mark}Step {self._number}{of}: {self.step}"
