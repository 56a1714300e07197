"""The source of a revision that is elsewhere: a repository, which is fetched, or an image, which is resolved. Reads
what is wanted and opens the secrets for it. Called by the loop of builds."""

from collections.abc import Callable
from dataclasses import replace

from homeport.build.builder import BuildRequest
from homeport.build.bundle import Bundle
from homeport.build.credentials import check_host, open_secret
from homeport.build.dockerfiles import STEP as IMAGE_STEP
from homeport.build.dockerfiles import EngineBuilders
from homeport.build.errors import BuildFailed
from homeport.build.fetch import Fetched, Fetcher, FetchRequest
from homeport.build.git import STEP
from homeport.build.repository import FIELD, Repository, read_repository
from homeport.configuration import Sources
from homeport.core.errors import Internal
from homeport.core.images import read_image
from homeport.reconcile.images import begin_pull
from homeport.reconcile.logins import RevisionLogins
from homeport.sealing.keys import SealingKeys
from homeport.store.contract import Store, Transaction
from homeport.store.records import Revision

Settle = Callable[[Transaction, Revision, bool], Revision]


def _stays(tx: Transaction, revision: Revision, dockerfile: bool) -> Revision:
    return revision


class Fetches:
    """Fetches for revisions. `engines` is None where no region has one. `settle` places a revision once it is known
    whether its source has a Dockerfile."""

    def __init__(
        self,
        store: Store,
        fetcher: Fetcher,
        sealing: SealingKeys,
        sources: Sources,
        engines: EngineBuilders | None = None,
        settle: Settle = _stays,
    ) -> None:
        self._store = store
        self._fetcher = fetcher
        self._sealing = sealing
        self._logins = RevisionLogins(store, sealing)
        self._sources = sources
        self._engines = engines
        self.settle = settle

    async def fetch(self, revision: Revision) -> Fetched:
        """Raises as `Fetcher.fetch`, and `Invalid` where the operator allows the repository no more or its secret is
        gone."""
        repository = read_repository(revision.spec, self._sources)
        if repository is None:
            raise Internal(detail=f"revision {revision.id} is being built and has no source")
        request = FetchRequest(
            revision=revision.id,
            resource_uid=revision.resource_uid,
            name=revision.name,
            repository=repository,
            secret=await self._secret(revision, repository),
        )
        return await self._fetcher.fetch(request)

    async def resolve(self, revision: Revision) -> Bundle:
        """The revision's image as a bundle. Raises as `ImageBuilder.build`."""
        image = read_image(revision.spec)
        if image is None or self._engines is None:
            raise Internal(detail=f"revision {revision.id} has no image, or there is no engine")
        logins = await self._logins.of(revision)
        ours = await begin_pull(self._store, self._engines.images, revision, image)
        bundle = await self._engines.images.build(revision.id, revision.region, image, logins)
        return replace(bundle, brought=image.text) if ours else bundle

    async def build_image(self, revision: Revision, request: BuildRequest) -> Bundle:
        """The image that the revision's Dockerfile says, as a bundle. Raises as `DockerfileBuilder.build`."""
        if self._engines is None:
            raise BuildFailed(IMAGE_STEP, f"failed: the region {revision.region!r} has no engine any more")
        logins = await self._logins.of(revision)
        return await self._engines.dockerfiles.build(request, revision.region, logins)

    async def bound_caches(self) -> None:
        """Let builds leave no more on engines than they may."""
        if self._engines is not None:
            await self._engines.dockerfiles.bound_caches()

    async def _secret(self, revision: Revision, repository: Repository) -> str | None:
        name = repository.secret
        if name is None:
            return None
        place = f"{FIELD}.secret"
        opened = await self._store.read(
            lambda tx: open_secret(tx, self._sealing, revision.workspace, name, place),
        )
        check_host(opened, name, repository.host, place)  # the secret may have been replaced since the deployment
        if opened.value is None:
            raise BuildFailed(STEP, f"needs one text in the secret {name!r}, which has several parts")
        return opened.value
