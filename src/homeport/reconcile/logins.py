"""The registry logins that a revision may use, whenever its images are pulled: at its build, or years later for a
replica."""

from homeport.build.registries import open_logins, open_uploaded
from homeport.core.logins import Logins, read_docker_config
from homeport.sealing.keys import SealingKeys
from homeport.sealing.specs import Owner, open_spec
from homeport.store.contract import Store
from homeport.store.records import Revision


class RevisionLogins:
    """Opens them for each pull; keeps none."""

    def __init__(self, store: Store, sealing: SealingKeys) -> None:
        self._store = store
        self._sealing = sealing

    async def of(self, revision: Revision) -> Logins:
        """For a registry counts `runtime.dockerConfig`, else `.docker/config.json` of the upload, else the workspace's
        own, which are those of now."""
        spec = open_spec(self._sealing, revision.spec, Owner(revision.workspace, revision.resource_uid))
        stored = await self._store.read(lambda tx: open_logins(tx, self._sealing, revision.workspace))
        return read_docker_config(spec).over(open_uploaded(self._sealing, revision)).over(stored)
