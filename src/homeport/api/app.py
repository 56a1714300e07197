"""The application: every router, the error shapes, the document."""

from functools import cache

from fastapi import APIRouter, Depends, FastAPI

from homeport import __version__
from homeport.api import (
    accounts,
    addresses,
    agents,
    discovery,
    events,
    executions,
    functions,
    governance,
    health,
    histories,
    homeport,
    images,
    invocations,
    jobs,
    metrics,
    observability,
    places,
    policies,
    registries,
    rollouts,
    secrets,
    signing,
    tokens,
    unserved,
    uploads,
    volumes,
    workspaces,
)
from homeport.api.bodies import BodyLimit
from homeport.api.dependencies import version_of
from homeport.api.document import document_of
from homeport.api.errors import install_error_handlers
from homeport.app.context import Context
from homeport.core.limits import MIB

# One line a kind. `unserved` answers for the kinds that this version does not have, so it comes last.
VERSIONED: tuple[APIRouter, ...] = (
    policies.router,
    agents.router,
    functions.router,
    jobs.router,
    images.router,
    volumes.router,
    workspaces.router,
    accounts.router,
    places.router,
    governance.router,
    homeport.router,
    events.router,
    metrics.router,
    histories.router,
    invocations.router,
    rollouts.router,
    addresses.router,
    secrets.router,
    signing.router,
    registries.router,
    observability.router,
    unserved.router,
)
# What has no version: addresses that carry their own credential, and what programs ask that know no contract.
PLAIN: tuple[APIRouter, ...] = (health.router, tokens.router, discovery.router, uploads.router)


def public_app(context: Context) -> FastAPI:
    """The API behind the gateway."""
    app = routed_app(context.base_url)
    app.state.context = context
    limits = context.configuration.limits
    app.add_middleware(BodyLimit, body_bytes=limits.body_mb * MIB, upload_bytes=limits.upload_mb * MIB)
    return app


def routed_app(base_url: str) -> FastAPI:
    """Every route and the document, with nothing behind them yet."""
    app = FastAPI(
        title="Homeport",
        version=__version__,
        openapi_url="/v0/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        strict_content_type=False,
    )
    app.openapi = cache(lambda: document_of(app, base_url))  # type: ignore[method-assign]
    install_error_handlers(app)
    version = [Depends(version_of)]  # an unknown version is refused everywhere, not only where it matters
    app.include_router(executions.router, prefix=executions.ADDRESS, dependencies=version)
    for router in PLAIN:
        app.include_router(router)
    for router in VERSIONED:
        app.include_router(router, dependencies=version)
    gateway = executions.GATEWAY_ADDRESS
    app.include_router(executions.router, prefix=gateway, dependencies=version, include_in_schema=False)
    return app
