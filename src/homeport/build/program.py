"""A built program as a unit: what every replica and every attempt has in common. Used by the loops that start them."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from homeport.build.bundle import Bundle
from homeport.build.recipe import PATH
from homeport.core.environment import DEFAULTS
from homeport.core.ids import RevisionId, UnitId
from homeport.core.units import GATEWAY_NAME, LOOPBACK, Mount, UnitKind, UnitSpec
from homeport.sealing.keys import SealingKeys
from homeport.sealing.specs import Owner, open_env, open_spec
from homeport.store.records import Execution, Revision
from homeport.workloads.telemetry import ProgramTelemetry

SDK_HOOK = "/homeport/sdk"  # where programs see the hook that points public SDKs at this installation
WORKDIR = "/app"  # where a program's bundle is
STOP_GRACE_S = 10.0  # between SIGTERM and SIGKILL


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What programs are told about the installation they run in. `secret_of(client_id, revision)` derives the secret
    of a workload's account. `sealing` opens what the store keeps sealed: here, for the program that it is meant for.
    `gateways`: by region, the URL at which programs of another machine reach the gateway. `telemetry`: where they may
    send traces."""

    base_url: str
    sealing: SealingKeys
    sdk_hook: Path
    secret_of: Callable[[str, RevisionId], str]
    images: bool = False
    gateways: Mapping[str, str] = field(default_factory=dict)
    telemetry: ProgramTelemetry | None = None

    def facing(self, bundle: Bundle, region: str) -> "Platform":
        """What this bundle's program is told: an image has a network of its own, and is its own machine besides."""
        if bundle.image is None:
            return self
        near = f"http://{GATEWAY_NAME}:{urlsplit(self.base_url).port}"
        return replace(self, base_url=self.gateways.get(region, near), images=True)

    @property
    def host(self) -> str:
        """Where a program must listen: loopback is shared by programs, and of no use in a network of one's own."""
        return "0.0.0.0" if self.images else LOOPBACK

    @property
    def defaults(self) -> dict[str, str]:
        """What every unit has unless its owner says otherwise; an image says for itself where its programs are."""
        return {"PYTHONUNBUFFERED": "1"} if self.images else DEFAULTS

    @property
    def api_url(self) -> str:
        return f"{self.base_url}/v0"

    @property
    def run_url(self) -> str:
        return self.base_url

    def defaults_of(self, revision: Revision) -> dict[str, str]:
        """Variables of the machinery, which the program's owner may replace."""
        found = {} if self.images else {"PATH": PATH, "PYTHONPATH": SDK_HOOK}
        if self.telemetry is not None:
            whose = (revision.workspace, revision.kind, revision.name, revision.id)
            found |= self.telemetry.variables(*whose, contained=self.images)
        return {**found, "HOMEPORT_REVISION": revision.id}

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
        """The unit with the SDK hook in its sight. An image is shown nothing of this machine."""
        if self.images:
            return spec
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
    """The unit that runs `bundle`'s entry point with `environment`. `labels` tell its workspace and its region."""
    image = bundle.image is not None
    return UnitSpec(
        id=unit,
        kind=kind,
        argv=() if image else bundle.entrypoint,
        env=environment,
        workdir="" if image else WORKDIR,
        bundle=None if image else str(bundle.app),
        image=bundle.image,
        network=labels["workspace"] if image else None,
        region=labels["region"],
        mounts=bundle.mounts,
        memory_mb=limits.memory_mb,
        timeout_s=limits.timeout_s,
        cpu_cores=limits.cpu_cores,
        stop_grace_s=STOP_GRACE_S,
        labels=labels,
    )
