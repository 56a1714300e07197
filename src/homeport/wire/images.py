"""Images on the wire (public contract)."""

from homeport.wire.body import Body, Reply
from homeport.wire.deployments import CoreEvent, Status
from homeport.wire.metadata import Name


class ImageCreation(Body):
    """What shall be built or taken as an image. `image`: of a registry, which is taken as it is; `docker_config`: the
    logins for it, as JSON (the public command line sends both)."""

    name: Name
    resource_type: str
    generation: str | None = None
    image: str | None = None
    docker_config: str | None = None


class ImageCreated(Reply):
    """`build`: whether there is something to watch (the public command line reads it)."""

    message: str
    name: str
    resource_type: str
    image: str | None = None
    build: bool | None = None


class ImageTagOut(Reply):
    name: str
    size: int
    created_at: str
    updated_at: str


class ImageSpec(Reply):
    """`size` in bytes, each content counted once."""

    size: int
    tags: list[ImageTagOut]


class ImageMetadata(Reply):
    """`source_workspace`: of an image that is shared in; none is here."""

    name: str
    resource_type: str
    display_name: str
    workspace: str
    status: Status
    created_at: str
    updated_at: str
    last_deployed_at: str | None = None
    source_workspace: str | None = None
    events: list[CoreEvent] | None = None


class Image(Reply):
    metadata: ImageMetadata
    spec: ImageSpec


class ImagesCleaned(Reply):
    """`deleted`: how many images."""

    deleted: int
    message: str
