"""Where archives and task arguments go to and come from: addresses that carry their own credential."""

from fastapi import APIRouter, Request, Response

from homeport.api.bodies import UPLOADS
from homeport.api.dependencies import Ctx
from homeport.app.executions import read_task_arguments
from homeport.app.uploads import receive_archive
from homeport.jobs.environment import TASK_DATA

router = APIRouter(tags=["transfer"])


@router.put(UPLOADS + "/{token}", operation_id="UploadArchive")
async def upload_archive(ctx: Ctx, token: str, request: Request) -> dict[str, str]:
    """Receive the zip archive of a deployment. The address comes from the `X-Blaxel-Upload-Url` header of the
    deployment's answer; public clients expect exactly 200."""
    await receive_archive(ctx, token, request.stream())
    return {"status": "received"}


@router.get(TASK_DATA + "/{token}", operation_id="ReadTaskData")
async def task_data(ctx: Ctx, token: str) -> Response:
    """The arguments of one task attempt, as the public SDKs read them: a list with this task's element only."""
    arguments = await read_task_arguments(ctx, token)
    return Response(f'{{"tasks":[{arguments}]}}', media_type="application/json")
