"""From an attempt to its unit: the bundle, the command, the environment, the limits."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from homeport.build.bundle import Bundle, load_bundle
from homeport.build.program import Limits, Platform, program_unit
from homeport.core.clock import Clock
from homeport.core.environment import EnvVar
from homeport.core.errors import Internal
from homeport.core.ids import UnitId, new_id
from homeport.core.units import UnitKind, UnitSpec
from homeport.core.volumes import with_volumes
from homeport.drivers.contract import Driver
from homeport.identity.keys import TASK_AUDIENCE, Claims, KeyRing
from homeport.jobs.environment import TASK_DATA, TaskContext, task_environment
from homeport.jobs.settings import JobSettings
from homeport.store.contract import Store, Transaction, attempt_unit
from homeport.store.records import Execution, Revision, ServiceAccount, Task


class CancelledFirst(Exception):
    """The execution was cancelled before the attempt could start."""


class TaskLauncher:
    """Makes the units of attempts. Reads the bundle and the job's account; starts nothing."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        keys: KeyRing,
        bundles: Path,
        platform: Platform,
        drivers_by_region: Mapping[str, Driver],
    ) -> None:
        self._store = store
        self._clock = clock
        self._keys = keys
        self._bundles = bundles
        self._platform = platform
        self._drivers = drivers_by_region

    async def attempt(self, task: Task, number: int) -> tuple[Driver, UnitSpec]:
        """The driver and the unit of attempt `number`. Raises `Internal` when revision, bundle or account is gone,
        or a secret does not open, `CancelledFirst` when it shall not start any more."""

        def read(tx: Transaction) -> tuple[Execution | None, Revision | None, ServiceAccount | None]:
            execution = tx.executions.get(task.execution_id)
            revision = tx.revisions.get(execution.revision_id) if execution else None
            return execution, revision, tx.identities.account_of(execution.job_uid) if execution else None

        execution, revision, account = await self._store.read(read)
        if execution is None or revision is None or account is None:
            raise Internal(detail=f"execution {task.execution_id} has lost its job's revision or account")
        if execution.cancel_requested_at is not None:
            raise CancelledFirst
        bundle = await asyncio.to_thread(load_bundle, self._bundles, revision.bundle_digest or "")
        platform = self._platform.facing(bundle, revision.region)
        unit = attempt_unit(execution.id, task.index, number)
        settings = JobSettings.from_spec(platform.spec_of(revision), bundle.manifest.runtime)
        environment = task_environment(
            TaskContext(
                workspace=execution.workspace,
                job=execution.job,
                execution_id=execution.id,
                index=task.index,
                count=execution.total,
                attempt=number,
                region=revision.region,
                data_url=self._data_url(platform, execution, unit),
                api_url=platform.api_url,
                run_url=platform.run_url,
                client_credentials=platform.credentials(account.client_id, revision.id),
                envs=(*_variables(bundle.env), *settings.envs),
                env_override=_variables(platform.overrides_of(execution)),
                extra=platform.defaults_of(revision),
                defaults=platform.defaults,
            )
        )
        labels = {
            "resource": execution.job_uid,
            "workspace": execution.workspace,
            "kind": "job",
            "name": execution.job,
            "revision": revision.id,
            "region": revision.region,
            "execution": execution.id,
            "task": str(task.index),
            "attempt": str(number),
        }
        limits = Limits(memory_mb=execution.memory_mb, timeout_s=execution.timeout_s, cpu_cores=settings.cpu_cores)
        program = program_unit(unit, UnitKind.TASK, bundle, environment.values, limits, labels)
        program = with_volumes(replace(program, argv=_argv(settings, bundle)), settings.volumes, {})
        return self._drivers[revision.region], platform.shown(program)

    def _data_url(self, platform: Platform, execution: Execution, unit: UnitId) -> str:
        """Where this attempt, and nothing else, reads this task's arguments. The address is the credential, because
        the public SDKs send none there. It is void once the attempt has ended, and by no clock: one that steps would
        take its arguments from a task that runs."""
        claims = Claims(
            sub=unit,
            jti=new_id("td", 16),
            workspace=execution.workspace,
            scopes=(),
            issued_at=self._clock.now(),
            expires_at=None,
        )
        return f"{platform.base_url}{TASK_DATA}/{self._keys.sign(claims, TASK_AUDIENCE)}"


def _argv(settings: JobSettings, bundle: Bundle) -> tuple[str, ...]:
    """What the task runs. For an image, nothing is its own command; what the job says replaces it: `command` its entry
    point, `args` the words after that, as elsewhere."""
    if bundle.image is None:
        return settings.argv(bundle.entrypoint)
    if not settings.command and not settings.args:
        return ()
    return settings.argv(bundle.image_entrypoint)


def _variables(env: Mapping[str, str]) -> tuple[EnvVar, ...]:
    return tuple(EnvVar(name=name, value=value) for name, value in env.items())
