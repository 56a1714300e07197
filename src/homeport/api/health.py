"""Is it alive, is it ready."""

from fastapi import APIRouter, Response

from homeport.api.dependencies import Ctx
from homeport.app.condition import read_condition
from homeport.app.placed import ask_drivers, engines_of
from homeport.core.errors import HomeportError

router = APIRouter(tags=["health"], include_in_schema=False)


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """This process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(ctx: Ctx, response: Response) -> dict[str, object]:
    """The store and the node answer, so requests will be carried out; 503 and what is missing otherwise. With a full
    disk agents answer, and reads and deletes work: that is 200, `limited`, and the reason; so is an engine that is
    away."""
    found = await read_condition(ctx)
    missing = ["Homeport is about to stop"] if ctx.signals.paused else []
    missing += found.missing
    limits = [*found.limits]
    for name, facts in (await ask_drivers(ctx)).items():
        if isinstance(facts, HomeportError):
            told = limits if name in engines_of(ctx) else missing
            told.append(f"driver {name}: {facts.message}")
    response.status_code = 503 if missing else 200
    status = "waiting" if missing else "limited" if limits else "ready"
    return {"status": status, "missing": missing, **({"limits": limits} if limits else {})}
