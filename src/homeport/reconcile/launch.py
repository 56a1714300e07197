"""From a replica to its unit: the bundle, the command, the environment, the limits."""

import asyncio
from dataclasses import replace
from pathlib import Path

from homeport.build.bundle import load_bundle
from homeport.build.program import Limits, Platform, program_unit
from homeport.core.environment import EnvVar
from homeport.core.errors import Internal
from homeport.core.units import UnitKind, UnitSpec
from homeport.core.volumes import with_volumes
from homeport.reconcile.volumes import kept_mounts
from homeport.store.contract import Store
from homeport.store.records import Replica, Revision
from homeport.workloads.environment import ReplicaContext, replica_environment
from homeport.workloads.settings import ServingSettings


class ReplicaLauncher:
    """Makes the units of replicas. Reads the bundle and the workload's account; starts nothing."""

    def __init__(self, store: Store, bundles: Path, platform: Platform) -> None:
        self._store = store
        self._bundles = bundles
        self._platform = platform

    async def unit(self, revision: Revision, replica: Replica) -> UnitSpec:
        """Raises `Internal` when the bundle or the account is gone, or a secret does not open, `Conflict` when a volume
        is not its workload's any more."""
        bundle = await asyncio.to_thread(load_bundle, self._bundles, revision.bundle_digest or "")
        platform = self._platform.facing(bundle, revision.region)
        account = await self._store.read(lambda tx: tx.identities.account_of(revision.resource_uid))
        if account is None:
            raise Internal(detail=f"the account of {revision.kind} {revision.name} is gone")
        settings = ServingSettings.from_spec(platform.spec_of(revision), bundle.manifest.runtime)
        environment = replica_environment(
            ReplicaContext(
                workspace=revision.workspace,
                kind=revision.kind,
                name=revision.name,
                region=revision.region,
                host=platform.host,
                port=replica.port,
                api_url=platform.api_url,
                run_url=platform.run_url,
                client_credentials=platform.credentials(account.client_id, revision.id),
                envs=(*(EnvVar(name=key, value=value) for key, value in bundle.env.items()), *settings.envs),
                extra=platform.defaults_of(revision),
                defaults=platform.defaults,
            )
        )
        labels = {
            "resource": revision.resource_uid,
            "workspace": revision.workspace,
            "kind": revision.kind.value,
            "name": revision.name,
            "revision": revision.id,
            "region": revision.region,
            "replica": replica.id,
        }
        limits = Limits(memory_mb=settings.memory_mb)
        program = program_unit(replica.unit, UnitKind.REPLICA, bundle, environment.values, limits, labels)
        kept = await self._store.read(lambda tx: kept_mounts(tx, revision, settings.volumes))
        return platform.shown(with_volumes(replace(program, port=replica.port), settings.volumes, kept))
