"""The control plane in this process: the real application on a real store, with keys that are really signed, spoken to
over HTTP without a socket. For tests of the API; nothing builds, places or runs behind it.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from homeport.api.app import public_app
from homeport.app.authentication import ALL_SCOPES
from homeport.app.context import Context
from homeport.app.sealing import seal_at_rest
from homeport.build.bundle import Description
from homeport.configuration import read_configuration
from homeport.core.ids import Kind, new_id
from homeport.core.service import Signals
from homeport.identity.keys import GATEWAY_AUDIENCE, Claims, KeyRing
from homeport.identity.principals import Role
from homeport.regions import regions_of
from homeport.sealing.keys import SealingKeys
from homeport.settings import DataDir
from homeport.store.contract import Transaction
from homeport.store.records import Revision
from homeport.store.sqlite import SqliteStore
from homeport.testing.factories import NOON, make_account, make_key, make_workspace
from homeport.testing.scripted_driver import ScriptedDriver
from homeport.workloads.states import RevisionState, WorkloadStatus
from homeport.workloads.traffic import Split

VERSION = "2026-04-28"
HOME = "home"
AWAY = "away"
BUNDLE = "b" * 64
PLACE = '[regions.local]\ncountry = "DE"\ncontinent = "EU"\nflavors = ["x86/cpu"]\n'


class SetClock:
    """Stands still until a test moves it."""

    def __init__(self, moment: datetime = NOON) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def move(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """`app` serves `context`; `http` sends no credential, `api` the key of an admin of the workspace `home`, and the
    version of the contract that has pages."""

    app: FastAPI
    context: Context
    clock: SetClock
    http: httpx.AsyncClient
    api: httpx.AsyncClient

    async def key(self, role: Role, scopes: Sequence[str] = ALL_SCOPES, workspace: str = HOME) -> str:
        """A key of a new account with this role."""
        now = self.clock.now()
        account = make_account(new_id("sa"), workspace=workspace, role=role, name=f"the {role}")
        jti = new_id("key")
        claims = Claims(
            sub=account.client_id, jti=jti, workspace=workspace, scopes=tuple(scopes), issued_at=now, expires_at=None
        )

        def write(tx: Transaction) -> None:
            tx.identities.add_account(account)
            tx.identities.add_key(make_key(jti, client_id=account.client_id, workspace=workspace))

        await self.context.store.write(write)
        return self.context.keys.sign(claims, GATEWAY_AUDIENCE)

    async def send(self, key: str | None, method: str, path: str, **sent: Any) -> httpx.Response:
        """A request with this key, in the version that has pages unless `headers` say otherwise."""
        headers = {"Blaxel-Version": VERSION, **({"Authorization": f"Bearer {key}"} if key else {})}
        return await self.http.request(method, path, **{**sent, "headers": {**headers, **sent.get("headers", {})}})

    async def serve(self, kind: Kind, name: str) -> Revision:
        """Let the newest revision serve, as the loops would once an archive is built."""

        def write(tx: Transaction) -> Revision:
            resource = tx.resources.get(HOME, kind, name)
            assert resource is not None
            newest = tx.revisions.of(resource.uid)[0]
            serving = replace(newest, state=RevisionState.SERVING, source_digest=BUNDLE, bundle_digest=BUNDLE)
            assert tx.revisions.replace_if_state(serving, newest.state)
            deployed = replace(resource, status=WorkloadStatus.DEPLOYED, observed_generation=resource.generation)
            assert tx.resources.replace(deployed, resource.generation)
            split = Split(active=serving.id)
            tx.resources.direct(resource.uid, replace(resource.traffic, wanted=split).switched())
            return serving

        _write_bundle(self.context.data)
        return await self.context.store.write(write)

    async def make_job(self, name: str, spec: dict[str, Any] | None = None) -> None:
        """A job that can be executed."""
        body = {"metadata": {"name": name}, "spec": spec or {}}
        answer = await self.api.post("/v0/jobs", params={"upload": "true"}, json=body)
        assert answer.status_code == 200, answer.text
        await self.serve(Kind.JOB, name)


@asynccontextmanager
async def running_control_plane(
    root: Path, config_toml: str = PLACE, base_url: str = "http://127.0.0.1:8080"
) -> AsyncIterator[ControlPlane]:
    """A control plane with its data below `root`, and the workspaces `home` and `away`. `config_toml` is what the
    operator has said, `base_url` where its answers say that it is."""
    data, clock = DataDir(root), SetClock()
    data.create()
    driver = ScriptedDriver(clock=clock)
    data.config.write_text(config_toml)
    configuration = read_configuration(data.config)
    context = Context(
        store=SqliteStore(data.database),
        clock=clock,
        keys=KeyRing.load_or_create(data.signing_key),
        sealing=SealingKeys.load(data.sealing_key) or SealingKeys.generate(),
        data=data,
        regions=regions_of(configuration, driver.name),
        drivers={driver.name: driver},
        signals=Signals(),
        base_url=base_url,
        first_workspace=HOME,
        configuration=configuration,
    )
    await context.store.start()
    try:
        await seal_at_rest(context)
        await context.store.write(_add_workspaces)
        app = public_app(context)
        # What the application raises is what it answers with: nothing may escape into the server.
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with (
            httpx.AsyncClient(transport=transport, base_url=context.base_url) as http,
            httpx.AsyncClient(transport=transport, base_url=context.base_url) as api,
        ):
            plane = ControlPlane(app=app, context=context, clock=clock, http=http, api=api)
            key = await plane.key(Role.ADMIN)
            api.headers.update({"Authorization": f"Bearer {key}", "Blaxel-Version": VERSION})
            yield plane
    finally:
        await context.store.stop()


def _add_workspaces(tx: Transaction) -> None:
    for name in (HOME, AWAY):
        if tx.identities.workspace(name) is None:  # else a second start on the same data
            tx.identities.add_workspace(make_workspace(name))


def _write_bundle(data: DataDir) -> None:
    directory = data.bundles / BUNDLE
    directory.mkdir(exist_ok=True)
    Description(
        digest=BUNDLE,
        language="python",
        entrypoint=("python", "main.py"),
        mounts=(),
        manifest_toml="",
        python="3.11",
        source_digest=BUNDLE,
        started_at="",
        steps=(),
    ).write(directory)
