"""A job's settings: read from its spec, else from the `[runtime]` of its bundle's manifest, else the default.

Called when an execution is created, which copies them. Bounds are generous: they stop mistakes, they set no quotas.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from homeport.core.environment import EnvVar, read_envs
from homeport.core.errors import Invalid
from homeport.core.limits import MAX_RETRIES_DEFAULT, TASK_MEMORY_MB, TASK_TIMEOUT_S
from homeport.core.spec import (
    Bounds,
    parse_duration,
    read_bool,
    read_int,
    read_list,
    read_names,
    read_object,
    read_text,
)

MEMORY_MB = Bounds(low=64, high=1024 * 1024)  # an interpreter hardly starts below; no machine has more
TIMEOUT_S = Bounds(low=1, high=30 * 24 * 3600)
MAX_RETRIES = Bounds(low=0, high=100)
CONCURRENT_TASKS = Bounds(low=1, high=10_000)
CONCURRENT_TASKS_DEFAULT = 10  # the contract's example; jobs share the machine


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """How a job's tasks run. `region` is its pin, `policies` the names attached to it."""

    max_retries: int
    timeout_s: int
    memory_mb: int
    max_concurrent_tasks: int
    envs: tuple[EnvVar, ...]
    enabled: bool
    region: str | None
    policies: tuple[str, ...]

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], manifest_runtime: Mapping[str, Any] | None = None) -> "JobSettings":
        """`manifest_runtime` is the table `[runtime]` of `blaxel.toml`, under the contract's keys. Raises `Invalid`
        with the path of what is wrong: in the spec, or in that file."""
        runtime = _Runtime(read_object(spec, "runtime", "spec.runtime"), manifest_runtime or {})
        _refuse_unserved(spec, runtime.spec)
        return cls(
            max_retries=runtime.number("maxRetries", MAX_RETRIES, MAX_RETRIES_DEFAULT),
            timeout_s=runtime.timeout_s(),
            memory_mb=runtime.number("memory", MEMORY_MB, TASK_MEMORY_MB),
            max_concurrent_tasks=runtime.number("maxConcurrentTasks", CONCURRENT_TASKS, CONCURRENT_TASKS_DEFAULT),
            envs=read_envs(runtime.spec, "envs", "spec.runtime.envs"),
            enabled=read_bool(spec, "enabled", "spec.enabled", True),
            region=read_text(spec, "region", "spec.region"),
            policies=read_names(spec, "policies", "spec.policies"),
        )


@dataclass(frozen=True, slots=True)
class _Runtime:
    """The two places in which a setting may stand."""

    spec: Mapping[str, Any]
    manifest: Mapping[str, Any]

    def number(self, key: str, bounds: Bounds, default: int) -> int:
        found = read_int(self.spec, key, f"spec.runtime.{key}", bounds)
        if found is None:
            found = read_int(self.manifest, key, f"blaxel.toml: runtime.{key}", bounds)
        return default if found is None else found

    def timeout_s(self) -> int:
        """Manifests may say `15m`; so may a spec, since the public CLI copies that table as it is."""
        for source, path in ((self.spec, "spec.runtime.timeout"), (self.manifest, "blaxel.toml: runtime.timeout")):
            if source.get("timeout") is not None:
                stated = {"timeout": parse_duration(source["timeout"], path)}
                return read_int(stated, "timeout", path, TIMEOUT_S) or TASK_TIMEOUT_S
        return TASK_TIMEOUT_S


def _refuse_unserved(spec: Mapping[str, Any], runtime: Mapping[str, Any]) -> None:
    """What cannot be given is refused: a job that silently lacks its volume loses what it writes there."""
    if read_list(spec, "volumes", "spec.volumes", 100):
        raise Invalid("spec.volumes", "volumes are not served by this version")
    if read_object(spec, "githubRunner", "spec.githubRunner").get("repositories"):
        raise Invalid("spec.githubRunner", "self-hosted runners are not served by this version")
    read_list(runtime, "ports", "spec.runtime.ports", 100)
