"""A built program as a unit: what every replica and every attempt has in common. Used by the loops that start them."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from homeport.build.bundle import Bundle
from homeport.build.recipe import PATH
from homeport.core.ids import RevisionId, UnitId
from homeport.core.units import Mount, UnitKind, UnitSpec
from homeport.sealing.keys import SealingKeys
from homeport.sealing.specs import Owner, open_env, open_spec
from homeport.store.records import Execution, Revision

SDK_HOOK = "/homeport/sdk"  # where programs see the hook that points public SDKs at this installation
STOP_GRACE_S = 10.0  # between SIGTERM and SIGKILL


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What programs are told about the installation they run in. `secret_of(client_id, revision)` derives the secret
    of a workload's account. `sealing` opens what the store keeps sealed: here, for the program that it is meant for."""

    base_url: str
    sealing: SealingKeys
    sdk_hook: Path
    secret_of: Callable[[str, RevisionId], str]

    @property
    def api_url(self) -> str:
        return f"{self.base_url}/v0"

    @property
    def run_url(self) -> str:
        return self.base_url

    def defaults_of(self, revision: RevisionId) -> dict[str, str]:
        """Variables of the machinery, which the program's owner may replace."""
        return {"PATH": PATH, "PYTHONPATH": SDK_HOOK, "HOMEPORT_REVISION": revision}

    def credentials(self, client_id: str, revision: RevisionId) -> str:
        """`BL_CLIENT_CREDENTIALS` as the public SDKs read it: base64 of `id:secret`."""
        return base64.b64encode(f"{client_id}:{self.secret_of(client_id, revision)}".encode()).decode()

    def spec_of(self, revision: Revision) -> dict[str, Any]:
        """The revision's specification with its secrets in plain."""
        return open_spec(self.sealing, revision.spec, Owner(revision.workspace, revision.resource_uid))

    def overrides_of(self, execution: Execution) -> dict[str, str]:
        """The execution's own variables in plain."""
        return open_env(self.sealing, execution.env_override, Owner(execution.workspace, execution.id))

    def shown(self, spec: UnitSpec) -> UnitSpec:
        """The unit with the SDK hook in its sight."""
        return replace(spec, mounts=(*spec.mounts, Mount(source=str(self.sdk_hook), target=SDK_HOOK)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one unit: MB, seconds or None, cores or None."""

    memory_mb: int
    timeout_s: float | None = None
    cpu_cores: float | None = None


def program_unit(
    unit: UnitId, kind: UnitKind, bundle: Bundle, environment: dict[str, str], limits: Limits, labels: dict[str, str]
) -> UnitSpec:
    """The unit that runs `bundle`'s entry point with `environment`."""
    return UnitSpec(
        id=unit,
        kind=kind,
        argv=bundle.entrypoint,
        env=environment,
        bundle=str(bundle.app),
        mounts=bundle.mounts,
        memory_mb=limits.memory_mb,
        timeout_s=limits.timeout_s,
        cpu_cores=limits.cpu_cores,
        stop_grace_s=STOP_GRACE_S,
        labels=labels,
    )
