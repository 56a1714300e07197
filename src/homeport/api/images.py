"""Routes of images (public contract). Sharing between workspaces is not served: `homeport.api.unserved` says so."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from homeport.api.bodies import UPLOADS, JsonRoute
from homeport.api.dependencies import Caller, Ctx
from homeport.api.views import event_of
from homeport.app.images import ShownImage, clean_up, delete_image, get_image, kind_of, list_images
from homeport.app.pushes import PushIntent, push_image
from homeport.core.clock import timestamp
from homeport.wire.images import (
    Image,
    ImageCreated,
    ImageCreation,
    ImageMetadata,
    ImagesCleaned,
    ImageSpec,
    ImageTagOut,
)

router = APIRouter(prefix="/v0/images", tags=["images"], route_class=JsonRoute)
Type = Annotated[str, Path(alias="resourceType", description="agent, function or job, or its plural; _ for any")]
Name = Annotated[str, Path(alias="imageName")]
SHAPE: dict[int | str, dict[str, Any]] = {200: {"model": Image}}


@router.get("", operation_id="ListImages", responses={200: {"model": list[Image]}})
async def list_images_route(ctx: Ctx, caller: Caller) -> Any:
    return [_image_of(shown).to_json() for shown in await list_images(ctx, caller)]


@router.post("", operation_id="CreateImage", responses={200: {"model": ImageCreated}})
async def create_image_route(
    ctx: Ctx,
    caller: Caller,
    body: ImageCreation,
    response: Response,
    upload: Annotated[bool, Query(description="Answer with an address for the source archive.")] = False,
    skip_build: Annotated[bool, Query(alias="skip-build", description="The image is taken as it is.")] = False,
) -> Any:
    intent = PushIntent(
        kind=kind_of(body.resource_type), name=body.name, image=body.image, docker_config=body.docker_config
    )
    push = await push_image(ctx, caller, intent, upload=upload)
    if push.upload_token is not None:
        response.headers["X-Blaxel-Upload-Url"] = f"{ctx.base_url}{UPLOADS}/{push.upload_token}"
    what = "is built once its archive has come" if upload else f"is taken from {body.image}"
    return ImageCreated(
        message=f"The image {push.resource.name} {what}.",
        name=body.name,
        resource_type=intent.kind.value,
        image=body.image,
        build=not skip_build,
    ).to_json()


@router.delete("", operation_id="CleanupImages", responses={200: {"model": ImagesCleaned}})
async def clean_up_images_route(ctx: Ctx, caller: Caller) -> Any:
    went = await clean_up(ctx, caller)
    told = "1 image that nothing uses was" if len(went) == 1 else f"{len(went)} images that nothing uses were"
    shown = f": {', '.join(went)}" if went else ""
    return ImagesCleaned(deleted=len(went), message=f"{told} deleted{shown}").to_json()


@router.get("/{resourceType}/{imageName}", operation_id="GetImage", responses=SHAPE)
async def get_image_route(ctx: Ctx, caller: Caller, kind: Type, name: Name) -> Any:
    return _image_of(await get_image(ctx, caller, kind, name)).to_json()


@router.delete("/{resourceType}/{imageName}", operation_id="DeleteImage", responses=SHAPE)
async def delete_image_route(ctx: Ctx, caller: Caller, kind: Type, name: Name) -> Any:
    """`NAME:TAG` deletes one tag (so the public command line asks for it)."""
    plain, _, tag = name.partition(":")
    return _image_of(await delete_image(ctx, caller, kind, plain, tag or None)).to_json()


@router.delete("/{resourceType}/{imageName}/tags/{tagName}", operation_id="DeleteImageTag", responses=SHAPE)
async def delete_image_tag_route(
    ctx: Ctx, caller: Caller, kind: Type, name: Name, tag: Annotated[str, Path(alias="tagName")]
) -> Any:
    return _image_of(await delete_image(ctx, caller, kind, name, tag)).to_json()


def _image_of(shown: ShownImage) -> Image:
    image, tags = shown.resource, shown.tags
    kind, _, name = image.name.partition("/")
    deployed = [tag.deployed_at for tag in tags if tag.deployed_at is not None]
    return Image(
        metadata=ImageMetadata(
            name=name,
            resource_type=kind,
            display_name=f"{image.workspace}/{image.name}",
            workspace=image.workspace,
            status=image.status.value if image.status else "BUILT",
            created_at=timestamp(image.created_at),
            updated_at=timestamp(image.updated_at),
            last_deployed_at=timestamp(max(deployed)) if deployed else None,
            events=[event_of(event) for event in shown.events] or None,
        ),
        spec=ImageSpec(
            size=sum({tag.digest: tag.size for tag in tags}.values()),
            tags=[
                ImageTagOut(
                    name=tag.name,
                    size=tag.size,
                    created_at=timestamp(tag.created_at),
                    updated_at=timestamp(tag.updated_at),
                )
                for tag in tags
            ],
        ),
    )
