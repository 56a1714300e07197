"""The source of a revision that is elsewhere: a repository, which is fetched, or an image, which is resolved. Reads
what is wanted and opens the secrets for it. Called by the loop of builds."""

from homeport.build.bundle import Bundle
from homeport.build.credentials import check_host, open_secret
from homeport.build.errors import BuildFailed
from homeport.build.fetch import Fetched, Fetcher, FetchRequest
from homeport.build.git import STEP
from homeport.build.images import ImageBuilder
from homeport.build.repository import FIELD, Repository, read_repository
from homeport.configuration import Sources
from homeport.core.errors import Internal
from homeport.core.images import read_image
from homeport.reconcile.logins import RevisionLogins
from homeport.sealing.keys import SealingKeys
from homeport.store.contract import Store
from homeport.store.records import Revision


class Fetches:
    """Fetches for revisions. `images` is None where no region has an engine."""

    def __init__(
        self,
        store: Store,
        fetcher: Fetcher,
        sealing: SealingKeys,
        sources: Sources,
        images: ImageBuilder | None = None,
    ) -> None:
        self._store = store
        self._fetcher = fetcher
        self._sealing = sealing
        self._logins = RevisionLogins(store, sealing)
        self._sources = sources
        self._images = images

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
        if image is None or self._images is None:
            raise Internal(detail=f"revision {revision.id} has no image, or there is no engine")
        logins = await self._logins.of(revision)
        return await self._images.build(revision.id, revision.region, image, logins)

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
