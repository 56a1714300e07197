"""From the name of an image to a bundle: the image as the region's engine has it, by its content. Called by the loop of
builds.

Such a bundle has no files of its own; its digest is the image's. So a revision runs exactly what it ran before, however
its image's tag has moved since.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from homeport.build.bundle import Bundle, Description, find_bundle, load_bundle, place, remove_tree
from homeport.build.errors import BuildFailed
from homeport.core.clock import Clock, timestamp
from homeport.core.ids import RevisionId
from homeport.core.images import ImageReference
from homeport.core.logins import Logins
from homeport.drivers.docker.images import Image, Images
from homeport.drivers.docker.refusals import ImageRefused

STEP = "Resolving the image"


class ImageBuilder:
    """`engines` by region. Writes below `builds` and `bundles`."""

    def __init__(
        self, builds: Path, bundles: Path, engines: Mapping[str, Images], clock: Clock, timeout_s: float
    ) -> None:
        self._builds = builds
        self._bundles = bundles
        self._engines = engines
        self._clock = clock
        self._timeout_s = timeout_s

    async def lacks(self, region: str, reference: ImageReference) -> bool:
        """Whether the engine of the region has no image of that name. Raises `DriverUnavailable`."""
        engine = self._engines.get(region)
        return engine is not None and await engine.named(reference.text) is None

    async def build(self, revision: RevisionId, region: str, reference: ImageReference, logins: Logins) -> Bundle:
        """Raises `BuildFailed` with the engine's reason, `DriverUnavailable` while the engine is away."""
        engine = self._engines.get(region)
        if engine is None:
            raise BuildFailed(STEP, f"failed: the region {region!r} has no engine any more")
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                image = await engine.resolve(reference, logins.of(reference.registry))
        except TimeoutError as error:
            why = f"took longer than {self._timeout_s:g} s; {reference.registry} may be slow or not answer"
            raise BuildFailed(STEP, why) from error
        except ImageRefused as error:
            raise BuildFailed(STEP, f"failed: {error.for_caller()}") from error
        described = describe_image(
            image,
            step=(STEP, f"{reference.text} is {image.digest or image.id}"),
            made_at=timestamp(self._clock.now()),
            build_s=self._clock.monotonic() - began,
        )
        bundle = await asyncio.to_thread(place_image, self._builds, self._bundles, revision, described)
        note = f"The engine's own copy is taken. {image.note}" if image.note else ""
        return replace(bundle, note=note, size=image.size, image_source=image.digest, brought=image.brought)


def describe_image(
    image: Image,
    *,
    step: tuple[str, str],
    made_at: str,
    build_s: float,
    source_digest: str = "",
    manifest_toml: str = "",
) -> Description:
    """What the bundle of an image says. step: the name of what brought it here, and what that came to."""
    return Description(
        digest=image.id.removeprefix("sha256:"),
        language="image",
        entrypoint=(*image.entrypoint, *image.command),
        mounts=(),
        manifest_toml=manifest_toml,
        python="",
        source_digest=source_digest,
        started_at=made_at,
        steps=((*step, ""),),
        created_at=made_at,
        build_s=build_s,
        image=image.id,
        image_entrypoint=image.entrypoint,
        size=image.size,
    )


def place_image(builds: Path, bundles: Path, revision: RevisionId, described: Description) -> Bundle:
    """The bundle of an image, which has no files. May be killed anywhere and repeated."""
    if bundle := find_bundle(bundles, described.digest):
        return bundle
    work = builds / revision
    remove_tree(work)
    (work / "app").mkdir(parents=True)
    described.write(work)
    place(work, bundles / described.digest)
    return load_bundle(bundles, described.digest)
