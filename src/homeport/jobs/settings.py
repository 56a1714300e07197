"""A job's settings: read from its spec, else from the `[runtime]` of its bundle's manifest, else the default.

Called when an execution is created, which copies them. Bounds are generous: they stop mistakes, they set no quotas.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from homeport.core.environment import EnvVar, read_configurations, read_envs
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
    read_texts,
)
from homeport.core.unserved import refuse_unserved
from homeport.core.volumes import Attachment, read_attachments
from homeport.jobs.expiry import read_expiry

MEMORY_MB = Bounds(low=64, high=1024 * 1024)  # an interpreter hardly starts below; no machine has more
TIMEOUT_S = Bounds(low=1, high=30 * 24 * 3600)
MAX_RETRIES = Bounds(low=0, high=100)
CONCURRENT_TASKS = Bounds(low=1, high=10_000)
CPU_CORES = (0.01, 1024.0)  # the kernel's shortest quota; no machine has more
ARGV_BYTES = 512 * 1024  # the kernel takes 2 MiB of words and variables together
DISK_PERCENT = Bounds(low=10, high=95)  # the contract's
CONCURRENT_TASKS_DEFAULT = 10  # the contract's example; jobs share the machine


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """How a job's tasks run. `region` is its pin, `policies` the names attached to it. `command` replaces the bundle's
    start command, `args` follow it. `cpu_cores` None is no limit."""

    max_retries: int
    timeout_s: int
    memory_mb: int
    max_concurrent_tasks: int
    envs: tuple[EnvVar, ...]
    enabled: bool
    region: str | None
    policies: tuple[str, ...]
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    cpu_cores: float | None = None
    volumes: tuple[Attachment, ...] = ()

    def argv(self, entrypoint: Sequence[str]) -> tuple[str, ...]:
        """What a task runs; `entrypoint` is the bundle's start command."""
        return (*(self.command or entrypoint), *self.args)

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], manifest_runtime: Mapping[str, Any] | None = None) -> "JobSettings":
        """`manifest_runtime` is the table `[runtime]` of `blaxel.toml`, under the contract's keys. Raises `Invalid`
        with the path of what is wrong: in the spec, or in that file."""
        runtime = _Runtime(read_object(spec, "runtime", "spec.runtime"), manifest_runtime or {})
        refuse_unserved(spec)
        _check_unused(runtime.spec)
        read_expiry(spec)
        _check_words(runtime.spec)
        return cls(
            max_retries=runtime.number("maxRetries", MAX_RETRIES, MAX_RETRIES_DEFAULT),
            timeout_s=runtime.timeout_s(),
            memory_mb=runtime.number("memory", MEMORY_MB, TASK_MEMORY_MB),
            max_concurrent_tasks=runtime.number("maxConcurrentTasks", CONCURRENT_TASKS, CONCURRENT_TASKS_DEFAULT),
            envs=(*read_configurations(spec), *read_envs(runtime.spec, "envs", "spec.runtime.envs")),
            enabled=read_bool(spec, "enabled", "spec.enabled", True),
            region=read_text(spec, "region", "spec.region"),
            policies=read_names(spec, "policies", "spec.policies"),
            command=_command(runtime.spec),
            args=read_texts(runtime.spec, "args", "spec.runtime.args"),
            cpu_cores=_cpu_cores(runtime.spec),
            volumes=_volumes(spec),
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


def _volumes(spec: Mapping[str, Any]) -> tuple[Attachment, ...]:
    """Each attempt has its own: what outlives tasks would have as many writers as run at once."""
    found = read_attachments(spec)
    for index, attachment in enumerate(found):
        if attachment.persistent:
            rule = "must be ephemeral for a job, whose tasks run side by side"
            raise Invalid(f"spec.volumes[{index}].type", rule, value="persistent")
    return found


def _command(runtime: Mapping[str, Any]) -> tuple[str, ...]:
    command = read_texts(runtime, "command", "spec.runtime.command")
    if command and not command[0]:
        raise Invalid("spec.runtime.command[0]", "must name a program")
    return command


def _check_words(runtime: Mapping[str, Any]) -> None:
    words = (*_command(runtime), *read_texts(runtime, "args", "spec.runtime.args"))
    if sum(len(word.encode(errors="surrogatepass")) + 1 for word in words) > ARGV_BYTES:
        raise Invalid("spec.runtime.args", f"must have at most {ARGV_BYTES} bytes together with the command")


def _cpu_cores(runtime: Mapping[str, Any]) -> float | None:
    value = runtime.get("cpu")
    if not value and value is not False:
        return None  # nothing is asked for
    low, high = CPU_CORES
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise Invalid("spec.runtime.cpu", f"must be a number of cores from {low:g} to {high:g}", value=value)
    return float(value)


def _check_unused(runtime: Mapping[str, Any]) -> None:
    """What is kept without effect has bounds, too."""
    read_list(runtime, "ports", "spec.runtime.ports", 100)
    read_int(runtime, "diskPercent", "spec.runtime.diskPercent", DISK_PERCENT)
