"""Volumes as specifications write them: what a volume is, and where workloads want them. Called by the domain packages
that read specifications, which are the contract's objects as callers sent them.

Whether a volume exists, where it is and who has it, the use cases say; how it is mounted, the drivers.
"""

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from homeport.core.errors import Invalid
from homeport.core.limits import VOLUME_MB_MOST
from homeport.core.spec import Bounds, is_below, read_bool, read_int, read_list, read_text
from homeport.core.units import UnitSpec, VolumeMount

SIZE_MB = Bounds(low=1, high=VOLUME_MB_MOST)  # a petabyte; what is allowed here the configuration says
SIZE_MB_DEFAULT = 1024  # the contract's example, and the SDKs' default
ATTACHED_MOST = 16  # volumes of one workload
SHARED_LABEL = "homeport.dev/shared"  # "true": several replicas may write to it at the same time
WHOLE = "/"  # an ephemeral volume there is the size of everything that a program may write
_PATH_LENGTH = 512
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
# Whose content is the system's, the program's own, or its scratch space: nothing may hide it.
_RESERVED = (
    "/app", "/bin", "/boot", "/dev", "/etc", "/homeport", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run",
    "/sbin", "/sys", "/tmp", "/usr",
)  # fmt: skip
_RESERVED_ITSELF = ("/home", "/home/agent", "/opt", "/root", "/srv", "/var")  # what is below is free
_TYPES = ("persistent", "ephemeral")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One element of `spec.volumes`. `path` is normalised. `size_mb` is None for a persistent one, whose size is its
    volume's; an ephemeral one begins empty and goes with the replica or the attempt."""

    name: str
    path: str
    read_only: bool = False
    size_mb: int | None = None

    @property
    def persistent(self) -> bool:
        return self.size_mb is None


def read_attachments(spec: Mapping[str, Any]) -> tuple[Attachment, ...]:
    """`spec.volumes`. Raises `Invalid` naming the element and the rule."""
    found: list[Attachment] = []
    for index, item in enumerate(read_list(spec, "volumes", "spec.volumes", ATTACHED_MOST)):
        field = f"spec.volumes[{index}]"
        if not isinstance(item, Mapping):
            raise Invalid(field, "must be an object with name and mountPath")
        found.append(_attachment(item, field))
        _refuse_overlap(found, field)
    if any(one.persistent for one in found) and not read_text(spec, "region", "spec.region"):
        raise Invalid("spec.region", "must be given with volumes: the region in which they are")
    return tuple(found)


def stored_persistent(spec: Mapping[str, Any]) -> tuple[Attachment, ...]:
    """The persistent ones of a specification that was accepted; none of one that would not be any more."""
    try:
        return tuple(one for one in read_attachments(spec) if one.persistent)
    except Invalid:  # of an older version: its program cannot start, and says so
        return ()


def with_volumes(unit: UnitSpec, attachments: Iterable[Attachment], kept: Mapping[str, VolumeMount]) -> UnitSpec:
    """The unit with its volumes; `kept`: the persistent ones, by their names."""
    mounts: list[VolumeMount] = []
    for one in attachments:
        if one.path == WHOLE:
            unit = replace(unit, disk_mb=one.size_mb or unit.disk_mb)
        elif one.size_mb is None:
            mounts.append(replace(kept[one.name], path=one.path))
        else:
            mounts.append(VolumeMount(path=one.path, name=one.name, size_mb=one.size_mb))
    return replace(unit, volumes=tuple(mounts))


def is_shared(labels: Mapping[str, str]) -> bool:
    return labels.get(SHARED_LABEL, "").strip().lower() == "true"


def read_size(spec: Mapping[str, Any]) -> int:
    """The size of a volume in MB (2**20 bytes)."""
    return read_int(spec, "size", "spec.size", SIZE_MB) or SIZE_MB_DEFAULT


def _attachment(item: Mapping[str, Any], field: str) -> Attachment:
    name = read_text(item, "name", f"{field}.name")
    if name is None:
        raise Invalid(f"{field}.name", "must name a volume of this workspace, or an ephemeral one")
    kind = read_text(item, "type", f"{field}.type") or _TYPES[0]
    if kind not in _TYPES:
        raise Invalid(f"{field}.type", f"must be one of {', '.join(_TYPES)}", value=kind)
    size = read_int(item, "sizeMb", f"{field}.sizeMb", SIZE_MB) if kind == "ephemeral" else None
    if kind == "ephemeral" and size is None:
        raise Invalid(f"{field}.sizeMb", "must be given for an ephemeral volume: its size in MB")
    read_only = read_bool(item, "readOnly", f"{field}.readOnly", False)
    if size is not None and read_only:
        raise Invalid(f"{field}.readOnly", "must not be true for an ephemeral volume, which begins empty")
    path = _path(item, f"{field}.mountPath", ephemeral=size is not None)
    return Attachment(name=name, path=path, read_only=read_only, size_mb=size)


def _path(item: Mapping[str, Any], field: str, *, ephemeral: bool) -> str:
    path = read_text(item, "mountPath", field)
    if path is None or not path.startswith("/") or ".." in path.split("/") or _CONTROLS.search(path):
        raise Invalid(field, "must be an absolute path without .. and control characters", value=path)
    if len(path) > _PATH_LENGTH:
        raise Invalid(field, f"must have at most {_PATH_LENGTH} characters")
    path = posixpath.normpath("/" + path.lstrip("/"))
    if path == WHOLE and ephemeral:
        return path
    taken = next((one for one in _RESERVED if is_below(path, one)), None)
    if path == WHOLE or taken or path in _RESERVED_ITSELF:
        inside, itself = ", ".join(_RESERVED), ", ".join(_RESERVED_ITSELF)
        rule = f"must be a place of its own, such as /data: nothing in {inside}, and none of {WHOLE}, {itself}"
        raise Invalid(field, rule, value=path)
    return path


def _refuse_overlap(found: list[Attachment], field: str) -> None:
    *before, last = found
    for other in before:
        if other.name == last.name:
            raise Invalid(f"{field}.name", "must name another volume than those before", value=last.name)
        if WHOLE in (other.path, last.path) and other.path != last.path:
            continue  # that one is a size and no place
        if is_below(last.path, other.path) or is_below(other.path, last.path):
            rule = f"must not be inside of another volume's, nor the other way round: {other.path}"
            raise Invalid(f"{field}.mountPath", rule, value=last.path)
