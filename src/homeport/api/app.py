"""The application: every router, the error shapes, the document."""

from fastapi import APIRouter, FastAPI

from homeport import __version__
from homeport.api import agents, executions, health, homeport, jobs, policies, tokens, unserved, uploads
from homeport.api.errors import install_error_handlers
from homeport.app.context import Context

# One line a kind. `unserved` answers for the kinds that this version does not have, so it comes last.
ROUTERS: tuple[APIRouter, ...] = (
    health.router,
    tokens.router,
    policies.router,
    agents.router,
    jobs.router,
    uploads.router,
    homeport.router,
    unserved.router,
)


def public_app(context: Context) -> FastAPI:
    """The API behind the gateway."""
    app = FastAPI(
        title="Homeport",
        version=__version__,
        openapi_url="/v0/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.context = context
    install_error_handlers(app)
    app.include_router(executions.router, prefix=executions.ADDRESS)
    for router in ROUTERS:
        app.include_router(router)
    app.include_router(executions.router, prefix=executions.GATEWAY_ADDRESS, include_in_schema=False)
    return app
