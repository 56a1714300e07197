"""Where a workload answers, which is Homeport's own to tell: its path, its host name, its custom paths."""

from typing import Any

from fastapi import APIRouter

from homeport.api.dependencies import Caller, Ctx
from homeport.api.homeport import workload_kind
from homeport.app.addresses import addresses_of
from homeport.wire.addresses import AddressList, WorkloadAddress

router = APIRouter(prefix="/v0/homeport/addresses", tags=["homeport"])


@router.get("/{kind}/{name}", operation_id="ListAddresses", responses={200: {"model": AddressList}})
async def addresses_route(ctx: Ctx, caller: Caller, kind: str, name: str) -> Any:
    """Every address, and who may call it; `note` says why there is no host name, if there is none."""
    found = await addresses_of(ctx, caller, workload_kind(kind), name)
    shown = [
        WorkloadAddress(url=one.url, public=one.public, asynchronous=one.asynchronous, trigger=one.trigger or None)
        for one in found.addresses
    ]
    return AddressList(data=shown, note=found.note or None).to_json()
