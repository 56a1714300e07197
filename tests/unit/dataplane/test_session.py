"""The order in which Envoy is told of changes. The other side is played by the test, message by message."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from google.rpc import status_pb2

from homeport.core.ids import Kind, RevisionId
from homeport.core.service import Background
from homeport.dataplane import headers
from homeport.dataplane.changes import Changes
from homeport.dataplane.packing import CLUSTERS, ENDPOINTS, FILTERS, LISTENERS, ROUTES, SCOPES
from homeport.dataplane.routes import Door, Gateway, RevisionRoute, WorkloadRoute
from homeport.dataplane.session import EnvoySession, Published
from homeport.dataplane.snapshot import Authority, Snapshots


class Conversation:
    """An Envoy that answers only when told to."""

    def __init__(self, *revisions: str) -> None:
        self.snapshots = Snapshots(Authority(edge_socket=Path("/e"), issuer="i", audience="a"))
        self.changes = Changes()
        self.published = Published(version=1, snapshot=self.build(*revisions))
        self.connect()

    def connect(self) -> None:
        self.session = EnvoySession(lambda: self.published, self.changes)

    def build(self, *revisions: str) -> Any:
        routes = tuple(
            WorkloadRoute(
                workspace="w",
                kind=Kind.AGENT,
                name="a",
                revisions=(RevisionRoute(revision=RevisionId(name), weight=100),),
            )
            for name in revisions
        )
        doors = [Door(address="172.30.0.1", subnet="172.30.0.0/16", port=8080)]
        return self.snapshots.build(Gateway(routes=routes, jwks={"keys": []}), doors)

    def publish(self, *revisions: str) -> None:
        self.published = replace(self.published, version=self.published.version + 1, snapshot=self.build(*revisions))
        self.changes.notify()

    async def say(self, type_url: str, *names: str, nonce: str = "", **more: Any) -> None:
        await self.session.receive(
            discovery_pb2.DeltaDiscoveryRequest(
                type_url=type_url, resource_names_subscribe=names, response_nonce=nonce, **more
            )
        )

    async def hear(self, type_url: str) -> Any:
        response = await asyncio.wait_for(self.session.queue.get(), 5)
        assert response.type_url == type_url
        return response

    async def accept(self, response: Any) -> None:
        await self.say(response.type_url, nonce=response.nonce)

    async def silent(self) -> bool:
        for _ in range(20):  # every task that could speak has had its turn
            await asyncio.sleep(0)
        return self.session.queue.empty()

    async def settle(self, revision: str) -> None:
        """The first exchange of an Envoy that starts."""
        await self.say(CLUSTERS)
        await self.accept(await self.hear(CLUSTERS))
        await self.say(ENDPOINTS, f"w/agents/a/{revision}")
        await self.accept(await self.hear(ENDPOINTS))
        await self.say(SCOPES)
        await self.accept(await self.hear(SCOPES))
        await self.say(ROUTES, "w/agents/a", *("/".join(key) for key in (headers.PLATFORM_SCOPE, headers.MODELS_SCOPE)))
        await self.accept(await self.hear(ROUTES))
        await self.say(FILTERS, headers.JWT_FILTER, headers.DENY_FILTER)
        await self.accept(await self.hear(FILTERS))
        await self.say(LISTENERS)
        await self.accept(await self.hear(LISTENERS))


@pytest.fixture
async def background() -> AsyncIterator[Background]:
    running = Background()
    yield running
    await running.stop()


def names(response: Any) -> list[str]:
    return sorted(resource.name for resource in response.resources)


async def test_a_new_revision_is_there_before_it_is_routed_to_and_the_old_goes_last(background: Background) -> None:
    talk = Conversation("r1")
    background.spawn("follow", talk.session.follow())
    await talk.settle("r1")
    assert await talk.silent() and talk.session.applied == 1
    talk.publish("r2")
    clusters = await talk.hear(CLUSTERS)
    assert (names(clusters), list(clusters.removed_resources)) == (["w/agents/a/r2"], [])
    await talk.accept(clusters)
    assert await talk.silent()  # a cluster without endpoints is no use yet
    await talk.say(ENDPOINTS, "w/agents/a/r2")
    endpoints = await talk.hear(ENDPOINTS)
    assert await talk.silent()
    await talk.accept(endpoints)
    routes = await talk.hear(ROUTES)
    assert names(routes) == ["w/agents/a"]
    assert await talk.silent() and talk.session.applied == 1
    await talk.accept(routes)
    removal = await talk.hear(CLUSTERS)
    assert (names(removal), list(removal.removed_resources)) == ([], ["w/agents/a/r1"])
    await talk.accept(removal)
    assert await talk.silent() and talk.session.applied == 2


async def test_an_envoy_that_comes_back_is_sent_what_differs_in_the_same_order(background: Background) -> None:
    talk = Conversation("r1")
    held = {
        type_url: {name: packed.version for name, packed in talk.published.snapshot.of(type_url).items()}
        for type_url in (CLUSTERS, ENDPOINTS, SCOPES, ROUTES, FILTERS, LISTENERS)
    }
    talk.publish("r2")
    talk.connect()  # to a new server, as far as the session can tell
    background.spawn("follow", talk.session.follow())
    for type_url, versions in held.items():
        named = () if type_url in (CLUSTERS, SCOPES, LISTENERS) else tuple(versions)
        await talk.say(type_url, *named, initial_resource_versions=versions)
    clusters = await talk.hear(CLUSTERS)
    assert (names(clusters), list(clusters.removed_resources)) == (["w/agents/a/r2"], [])
    await talk.accept(clusters)
    await talk.say(ENDPOINTS, "w/agents/a/r2")
    await talk.accept(await talk.hear(ENDPOINTS))
    routes = await talk.hear(ROUTES)
    assert names(routes) == ["w/agents/a"]
    await talk.accept(routes)
    removal = await talk.hear(CLUSTERS)
    assert list(removal.removed_resources) == ["w/agents/a/r1"]
    await talk.accept(removal)
    assert await talk.silent() and talk.session.applied == 2


async def test_an_envoy_that_holds_everything_is_sent_nothing_again(background: Background) -> None:
    talk = Conversation("r1")
    background.spawn("follow", talk.session.follow())
    for type_url in (CLUSTERS, ENDPOINTS, SCOPES, ROUTES, FILTERS, LISTENERS):
        versions = {name: packed.version for name, packed in talk.published.snapshot.of(type_url).items()}
        named = () if type_url in (CLUSTERS, SCOPES, LISTENERS) else tuple(versions)
        await talk.say(type_url, *named, initial_resource_versions=versions)
    assert await talk.silent() and talk.session.applied == 1


async def test_a_name_that_is_asked_for_again_is_sent_again() -> None:
    talk = Conversation("r1")
    await talk.say(ENDPOINTS, "w/agents/a/r1")
    await talk.accept(await talk.hear(ENDPOINTS))
    await talk.say(ENDPOINTS, "w/agents/a/r1", "w/agents/a/none")
    response = await talk.hear(ENDPOINTS)
    assert (names(response), list(response.removed_resources)) == (["w/agents/a/r1"], ["w/agents/a/none"])


async def test_what_envoy_refuses_is_never_called_applied_and_nothing_is_removed(background: Background) -> None:
    talk = Conversation("r1")
    background.spawn("follow", talk.session.follow())
    await talk.settle("r1")
    talk.publish("r2")
    clusters = await talk.hear(CLUSTERS)
    await talk.say(CLUSTERS, nonce=clusters.nonce, error_detail=status_pb2.Status(code=3, message="no such thing"))
    await talk.accept(await talk.hear(ROUTES))
    assert await talk.silent()
    assert (talk.session.applied, talk.session.refused) == (1, 2)
    assert talk.session.rejected() == {"Cluster w/agents/a/r2": "no such thing"}
