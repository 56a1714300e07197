"""The images of one engine: found, pulled, and looked into. Used by the builder of images; runs nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from homeport.core.errors import DriverUnavailable
from homeport.core.images import ImageReference, parse_reference
from homeport.core.logins import Login, Logins
from homeport.drivers.docker.engine import Engine, EngineError, Json, image_id
from homeport.drivers.docker.logins import pull_header
from homeport.drivers.docker.refusals import ImageRefused, refusal_of

_NAMES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i686": "386",
}  # as the engine names its machine → as images name theirs


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image as an engine has it. `id` names its content for ever; `digest` the same at its registry, or nothing.
    platform: such as `linux/amd64`. What runs is `entrypoint`, then `command`. note: why it is not as new as it might
    be, or nothing. size: bytes. brought: the name that it was pulled by, where the engine did not have it before."""

    id: str
    digest: str
    platform: str
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    note: str = ""
    size: int = 0
    brought: str | None = None


class Images:
    """Those of `engine`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def resolve(self, reference: ImageReference, login: Login | None) -> Image:
        """The image that `reference` means now, on the engine. It is pulled where the engine does not have it, and
        where the reference moves; where that fails, the one that the engine has is taken, with a note.

        Raises `ImageRefused` with the reason, `DriverUnavailable`.
        """
        present = await self._find(reference.text)
        if present is None or reference.moves:
            before = await self._engine.image_ids()
            refusal = await self._pull(reference, login)
            pulled = await self._find(reference.text)
            if pulled is None:
                raise refusal or ImageRefused(f"The image {reference.text} was pulled, and is gone again.")
            present = replace(pulled, note=refusal.message) if refusal else pulled
            if present.id not in before:
                present = replace(present, brought=reference.text)
        try:
            await self._check(present, f"The image {reference.text}")
        except ImageRefused:
            if present.brought is not None:
                await self.give_up(present.id.removeprefix("sha256:"), present.brought)
            raise
        return present

    async def built(self, name: str) -> Image:
        """The image of that name, which a build on the engine has just made. Raises as `resolve`."""
        image = await self._find(name)
        if image is None:
            raise ImageRefused("The image is not on the engine any more.", hint="Deploy again.")
        await self._check(image, "The image")
        return image

    async def _check(self, image: Image, shown: str) -> None:
        system, machine = await self._engine.machine()
        wanted = f"{system}/{_NAMES.get(machine, machine)}"
        if image.platform != wanted:
            hint = f"Name one that was made for it, or build it so: docker build --platform {wanted}."
            raise ImageRefused(f"{shown} is for {image.platform}; the engine runs {wanted}.", hint=hint)
        if not (image.entrypoint or image.command):
            raise ImageRefused(f"{shown} says not what to run.", hint="Give it an ENTRYPOINT or a CMD.")

    async def pull_content(self, source: str, logins: Logins) -> str:
        """Pull what is named by its content, `registry/name@sha256:…`; returns the id that it has. Raises
        `ImageRefused`, `DriverUnavailable`."""
        reference = parse_reference(source)
        if reference is None:
            raise ImageRefused(f"The engine's name {source} for the image is none that can be pulled.")
        refusal = await self._pull(reference, logins.of(reference.registry))
        found = await self._find(source)
        if found is None:
            raise refusal or ImageRefused(f"The image {source} was pulled, and is gone again.")
        return found.id

    async def named(self, name: str) -> str | None:
        """The id of the image that the engine has under that name."""
        found = await self._find(name)
        return found.id if found else None

    async def give_up_name(self, name: str) -> bool:
        """Take the name off, and the image away where it has no other. False where a container needs it. Raises
        `DriverUnavailable`."""
        try:
            await self._engine.remove_image(name)
        except EngineError as error:
            if error.status == 409:
                return False
            raise DriverUnavailable(f"The engine does not remove the image {name}: {error.message}") from error
        return True

    async def give_up(self, digest: str, reference: str) -> bool:
        """Take the image that we brought as `reference` away; it stays with whoever gave it another name. False where a
        container needs it. Raises `DriverUnavailable`."""
        ident = f"sha256:{digest}"
        found = await self._engine.image(ident)
        if found is None:
            return True
        names = {*(found.get("RepoTags") or ())}
        ours = {name for name in names if reference and _same(name, reference)}
        try:
            for name in ours:
                await self._engine.remove_image(name)
            if not names:
                await self._engine.remove_image(ident)
        except EngineError as error:
            if error.status == 409:
                return False
            raise DriverUnavailable(f"The engine does not remove the image {ident}: {error.message}") from error
        return True

    async def _find(self, name: str) -> Image | None:
        try:
            found = await self._engine.image(name)
        except EngineError as error:
            raise ImageRefused(f"The engine refuses the image {name}: {error.message}") from error
        return None if found is None or _is_by_id(found, name) else _image(found, name)

    async def _pull(self, reference: ImageReference, login: Login | None) -> ImageRefused | None:
        """Pull it; returns why that failed, or None."""
        tag = reference.digest or reference.tag or "latest"
        try:
            async for step in self._engine.pull(reference.name, tag, pull_header(login, reference.registry)):
                if "error" in step:
                    if await self._engine.is_stopping():  # and gives up its pulls
                        raise DriverUnavailable("The engine is stopping.")
                    return refusal_of(reference, login, str(step["error"]))
        except EngineError as error:
            return refusal_of(reference, login, error.message)
        return None


def _is_by_id(found: Json, name: str) -> bool:
    """Whether the engine took a name that it does not know for the begin of an id, which may be anybody's."""
    named = any(_same(one, name) for one in found.get("RepoTags") or ())
    return not named and image_id(str(found["Id"])).startswith(image_id(name))


def _digest(known: Sequence[str], name: str) -> str:
    """Of the names by content that an engine knows for an image, the one at the registry of `name`, else any."""
    repository = _short(name.partition("@")[0]).rpartition(":")[0]
    mine = (one for one in known if _short(one.partition("@")[0]).rpartition(":")[0] == repository)
    return next(mine, next(iter(known), ""))


def _image(found: Json, name: str) -> Image:
    config = found.get("Config") or {}
    return Image(
        id=image_id(str(found["Id"])),
        digest=_digest(found.get("RepoDigests") or (), name),
        platform=f"{found.get('Os') or 'linux'}/{found.get('Architecture') or 'nothing'}",
        entrypoint=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        size=int(found.get("Size") or 0),
    )


def _same(one: str, other: str) -> bool:
    """Whether two names mean the same image: engines leave out what the public hub is understood by, or add it."""
    return _short(one) == _short(other)


def _short(name: str) -> str:
    short = name.removeprefix("docker.io/").removeprefix("library/")
    return short if ":" in short.rpartition("/")[2] else f"{short}:latest"
