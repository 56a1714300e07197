"""What the edge and `homeport up` ask of the server, on a socket of its own that no client and no workload can
reach."""

import json
from dataclasses import asdict

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from homeport.api.dependencies import Ctx
from homeport.api.errors import install_error_handlers
from homeport.app.activation import activate_replica
from homeport.app.call_claims import claim_calls
from homeport.app.call_ends import note_deliveries, report_calls
from homeport.app.calls import accept_calls
from homeport.app.context import Context
from homeport.app.status import read_work
from homeport.core.errors import HomeportError
from homeport.invocations.handover import Claim, Delivery, Offer, Report, plain


class ActivateRequest(BaseModel):
    """A request is waiting for a replica of this workload. `kind` as in `Kind`."""

    workspace: str
    kind: str
    name: str
    revision: str = ""


def internal_app(context: Context) -> FastAPI:
    app = FastAPI(openapi_url=None)
    app.state.context = context
    install_error_handlers(app)

    @app.post("/internal/activate")
    async def activate(ctx: Ctx, body: ActivateRequest, response: Response) -> dict[str, object]:
        """The address of a ready replica, waiting for one if need be; 503 with the reason when none comes in time."""
        try:
            address, port = await activate_replica(ctx, body.workspace, body.kind, body.name, body.revision)
        except HomeportError as error:
            response.status_code = error.status
            return {"reason": error.message}
        return {"address": address, "port": port}

    @app.post("/internal/invocations/accept")
    async def accept(ctx: Ctx, request: Request) -> dict[str, object]:
        """Asynchronous calls to store; answered once they are durable."""
        offers = [Offer.from_json(item) for item in (await request.json())["offers"]]
        return {"answers": [plain(verdict) for verdict in await accept_calls(ctx, offers)]}

    @app.post("/internal/invocations/claim")
    async def claim(ctx: Ctx, request: Request) -> Response:
        """What the edge shall do now."""
        portion = await claim_calls(ctx, Claim(**(await request.json())))
        return Response(json.dumps(portion.to_json()), media_type="application/json")

    @app.post("/internal/invocations/report")
    async def report(ctx: Ctx, request: Request) -> dict[str, object]:
        """How attempts ended."""
        body = await request.json()
        await report_calls(ctx, body["lease"], [Report.from_json(item) for item in body["reports"]])
        return {}

    @app.post("/internal/invocations/delivered")
    async def delivered(ctx: Ctx, request: Request) -> dict[str, object]:
        """How attempts at callbacks ended."""
        body = await request.json()
        await note_deliveries(ctx, body["lease"], [Delivery(**item) for item in body["deliveries"]])
        return {}

    @app.post("/internal/pause")
    async def pause(ctx: Ctx) -> dict[str, object]:
        """Start nothing new: the system is about to stop. What is accepted from now on waits for the next start."""
        ctx.signals.pause()
        return {}

    @app.get("/internal/work")
    async def work(ctx: Ctx) -> dict[str, int]:
        """What is under way, of all workspaces."""
        return asdict(await read_work(ctx))

    return app
