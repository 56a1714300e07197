"""The settings of an agent or a function: read from its spec, else from the `[runtime]` of its bundle's manifest, else
the default.

Called when a revision is made and when its replicas start. Whether it is public is read from the spec alone: a
file inside an archive must not open an endpoint that its deployment did not open.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from homeport.core.environment import EnvVar, read_configurations, read_envs
from homeport.core.errors import Invalid
from homeport.core.spec import Bounds, read_bool, read_int, read_list, read_names, read_object, read_text
from homeport.core.unserved import refuse_unserved
from homeport.core.volumes import Attachment, read_attachments

MEMORY_MB = Bounds(low=64, high=1024 * 1024)  # an interpreter hardly starts below; no machine has more
MEMORY_MB_DEFAULT = 2048  # the contract's example
SCALE = Bounds(low=0, high=1000)
MAX_SCALE = Bounds(low=1, high=1000)
MAX_SCALE_DEFAULT = 10  # the contract's example


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingSettings:
    """How it runs. `min_scale` replicas are kept warm, `max_scale` bounds them. `region` is its pin, `policies`
    the names attached to it, `public` serves without a key, `volumes` what it mounts."""

    memory_mb: int
    min_scale: int
    max_scale: int
    envs: tuple[EnvVar, ...]
    public: bool
    enabled: bool
    region: str | None
    policies: tuple[str, ...]
    volumes: tuple[Attachment, ...] = ()

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], manifest_runtime: Mapping[str, Any] | None = None) -> "ServingSettings":
        """`manifest_runtime` is the table `[runtime]` of `blaxel.toml`, under the contract's keys. Raises `Invalid`
        with the path of what is wrong: in the spec, or in that file."""
        runtime = read_object(spec, "runtime", "spec.runtime")
        fallback = manifest_runtime or {}
        low, high = _scale(runtime, fallback)
        refuse_unserved(spec)
        for key in ("command", "args"):
            if read_list(runtime, key, f"spec.runtime.{key}", 1000):
                rule = "is for jobs; the start command of others is `prod` of [entrypoint] in its blaxel.toml"
                raise Invalid(f"spec.runtime.{key}", rule)
        return cls(
            memory_mb=_number(runtime, fallback, "memory", MEMORY_MB) or MEMORY_MB_DEFAULT,
            min_scale=low,
            max_scale=high,
            envs=(*read_configurations(spec), *read_envs(runtime, "envs", "spec.runtime.envs")),
            public=read_bool(spec, "public", "spec.public", False),
            enabled=read_bool(spec, "enabled", "spec.enabled", True),
            region=read_text(spec, "region", "spec.region"),
            policies=read_names(spec, "policies", "spec.policies"),
            volumes=read_attachments(spec),
        )


def _scale(runtime: Mapping[str, Any], fallback: Mapping[str, Any]) -> tuple[int, int]:
    low = _number(runtime, fallback, "minScale", SCALE) or 0
    high = _number(runtime, fallback, "maxScale", MAX_SCALE)
    if high is None:
        return low, max(low, MAX_SCALE_DEFAULT)
    if low > high:
        raise Invalid("spec.runtime.minScale", f"must not exceed maxScale ({high})", value=low)
    return low, high


def _number(runtime: Mapping[str, Any], fallback: Mapping[str, Any], key: str, bounds: Bounds) -> int | None:
    found = read_int(runtime, key, f"spec.runtime.{key}", bounds)
    return found if found is not None else read_int(fallback, key, f"blaxel.toml: runtime.{key}", bounds)
