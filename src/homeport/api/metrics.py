"""Metrics in Prometheus' form."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from homeport.api.dependencies import Caller, Ctx
from homeport.app.metrics import read_metrics

router = APIRouter(prefix="/v0/homeport", tags=["homeport"])


@router.get("/metrics", operation_id="GetMetrics", response_class=Response)
async def metrics_route(ctx: Ctx, caller: Caller) -> Response:
    """Of the caller's workspace; an admin of the first workspace sees the whole installation."""
    return Response(await read_metrics(ctx, caller), media_type=CONTENT_TYPE_PLAIN_0_0_4)
