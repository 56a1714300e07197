"""Asynchronous calls on the server's side, over the real API and store, in a time of its own: acceptance, leases,
callbacks' secrets, schedules, upkeep."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import Any

import httpx
import pytest

from homeport.api.internal import internal_app
from homeport.app.upkeep import Upkeep
from homeport.core.ids import Kind, new_id
from homeport.identity.principals import Role
from homeport.invocations.handover import Message, Offer, Portion, Report
from homeport.invocations.states import AttemptEnd
from homeport.testing.control_plane import AWAY, HOME, ControlPlane

UPLOAD = {"upload": "true"}


def trigger(**configuration: Any) -> dict[str, Any]:
    return {"triggers": [{"id": "later", "type": "http-async", "configuration": configuration}]}


async def deploy(plane: ControlPlane, spec: dict[str, Any], name: str = "one") -> httpx.Response:
    body = {"metadata": {"name": name}, "spec": spec}
    answer = await plane.api.put(f"/v0/agents/{name}", params=UPLOAD, json=body)
    if answer.status_code == 404:
        answer = await plane.api.post("/v0/agents", params=UPLOAD, json=body)
    return answer


def secret_in(answer: httpx.Response) -> str | None:
    found: str | None = answer.json()["spec"]["triggers"][0]["configuration"].get("callbackSecret")
    return found


class Edge:
    """One life of the edge, as the server sees it."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._lease = new_id("edge")
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=internal_app(plane.context)), base_url="http://internal"
        )

    async def ask(self, what: str, body: dict[str, Any]) -> httpx.Response:
        return await self._http.post(f"/internal/invocations/{what}", json=body)

    async def accept(self, *agents: str, body: bytes = b"{}") -> list[str]:
        offers = [
            Offer(
                id=new_id("inv"),
                workspace=HOME,
                agent=agent,
                trigger="",
                method="POST",
                path="/",
                request=Message(headers=(("authorization", "of the caller"),), body=body),
            )
            for agent in agents
        ]
        answer = await self.ask("accept", {"offers": [offer.to_json() for offer in offers]})
        assert answer.status_code == 200, answer.text
        return [
            offer.id if one["status"] == 200 else str(one["status"])
            for offer, one in zip(offers, answer.json()["answers"], strict=True)
        ]

    async def claim(self, *holding: str, room: int = 100, callbacks: int = 0) -> Portion:
        body = {
            "lease": self._lease,
            "holding": holding,
            "delivering": [],
            "room": room,
            "callback_room": callbacks,
        }
        answer = await self.ask("claim", body)
        assert answer.status_code == 200, answer.text
        return Portion.from_json(answer.json())

    async def report(self, ident: str, attempt: int, status: int, body: bytes = b"") -> None:
        report = Report(
            id=ident,
            attempt=attempt,
            end=AttemptEnd.ANSWERED,
            status=status,
            answer=Message(headers=(), body=body),
            length=len(body),
        )
        answer = await self.ask("report", {"lease": self._lease, "reports": [report.to_json()]})
        assert answer.status_code == 200, answer.text


async def shown(plane: ControlPlane, ident: str) -> dict[str, Any]:
    answer = await plane.api.get(f"/v0/homeport/invocations/{ident}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_call_is_claimed_once_and_its_end_counts_once(plane: ControlPlane) -> None:
    await deploy(plane, trigger(retry=1))
    edge = Edge(plane)
    (ident,) = await edge.accept("one", body=b"what")
    (work,) = (await edge.claim()).works
    assert (work.id, work.attempt, work.request.body) == (ident, 1, b"what")
    assert (await edge.claim(ident)).works == ()
    await edge.report(ident, 1, 200, b"good")
    await edge.report(ident, 1, 500, b"late")
    found = await shown(plane, ident)
    assert (found["status"], found["response"]["body"], found["attempts"]) == ("succeeded", "good", 1)
    assert (await edge.claim()).works == ()


async def test_what_a_dead_edge_had_in_hand_counts_as_an_attempt(plane: ControlPlane) -> None:
    await deploy(plane, trigger(retry=1))
    edge, heir = Edge(plane), Edge(plane)
    (ident,) = await edge.accept("one")
    await edge.claim()
    assert (await heir.claim()).works == ()  # its back-off
    plane.clock.move(60)
    (work,) = (await heir.claim()).works
    assert work.attempt == 2
    await edge.report(ident, 1, 200)  # of the one that was given up for dead
    assert (await shown(plane, ident))["status"] == "running"
    third = Edge(plane)
    await third.claim()
    found = await shown(plane, ident)
    assert (found["status"], [one["end"] for one in found["attemptList"]]) == ("failed", ["interrupted"] * 2)


async def test_a_claim_whose_answer_was_lost_costs_no_attempt(plane: ControlPlane) -> None:
    await deploy(plane, {})
    edge = Edge(plane)
    (ident,) = await edge.accept("one")
    assert len((await edge.claim()).works) == 1
    (again,) = (await edge.claim()).works  # it holds nothing: it never heard of it
    assert (again.id, again.attempt) == (ident, 1)


async def test_each_agent_has_its_slots_and_none_keeps_another_out(plane: ControlPlane) -> None:
    for name in ("one", "two"):
        await deploy(plane, {}, name)
    edge = Edge(plane)
    await edge.accept(*["one"] * 30, "two")
    works = (await edge.claim()).works
    assert sorted(work.agent for work in works) == ["one"] * 20 + ["two"]
    few = (await edge.claim(*(work.id for work in works), room=5)).works
    assert few == ()


async def test_agents_that_cannot_be_reached_keep_nobody_waiting_and_are_asked_with_one_call(
    plane: ControlPlane,
) -> None:
    for name in ("off", "broken", "well"):
        await deploy(plane, {}, name)
    edge = Edge(plane)
    await edge.accept(*["off"] * 60, *["broken"] * 60, *["well"] * 5)
    await deploy(plane, {"enabled": False}, "off")
    works = (await edge.claim(room=30)).works
    assert {work.agent for work in works} == {"broken", "well"}
    away = [Report(id=work.id, attempt=1, end=AttemptEnd.UNREACHED) for work in works if work.agent == "broken"]
    await edge.ask("report", {"lease": edge._lease, "reports": [report.to_json() for report in away]})
    for work in works:
        if work.agent == "well":
            await edge.report(work.id, 1, 200)
    portion = await edge.claim(room=30)
    assert portion.works == () and portion.next_in_s == 1.0  # nothing to do for now, though much is due
    plane.clock.move(6)
    (probe,) = (await edge.claim(room=30)).works
    assert (probe.agent, probe.attempt) == ("broken", 1)
    await edge.report(probe.id, 1, 200)
    assert [work.agent for work in (await edge.claim(room=30)).works] == ["broken"] * 20


async def test_what_cannot_be_accepted_says_why_and_the_rest_is(plane: ControlPlane) -> None:
    await deploy(plane, {})
    await deploy(plane, {"enabled": False}, "off")
    edge = Edge(plane)
    ident, off, nobody = await edge.accept("one", "off", "nobody")
    assert ident.startswith("inv-") and (off, nobody) == ("404", "404")


async def test_a_full_disk_refuses_before_acceptance(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    await deploy(plane, {})
    monkeypatch.setattr(plane.context.space, "_full", True)
    offer = {"id": "inv-x", "workspace": HOME, "agent": "one", "trigger": "", "method": "POST", "path": "/"}
    request = {"headers": [], "body": ""}
    answer = await Edge(plane).ask("accept", {"offers": [{**offer, "request": request}]})
    assert answer.status_code == 503 and answer.json()["error"] == "DiskFull"
    assert (await plane.api.get("/v0/homeport/invocations")).json() == {"data": []}


async def test_nothing_begins_while_a_stop_is_under_way_and_what_it_cuts_off_costs_nothing(plane: ControlPlane) -> None:
    await deploy(plane, {})
    edge = Edge(plane)
    await edge.accept("one")
    (work,) = (await edge.claim()).works
    plane.context.signals.pause()
    (waiting,) = await edge.accept("one")
    cut = Report(id=work.id, attempt=1, end=AttemptEnd.BROKEN)
    await edge.ask("report", {"lease": edge._lease, "reports": [cut.to_json()]})
    assert (await edge.claim()).works == ()
    found = await shown(plane, work.id)
    assert (found["status"], found["attemptList"][0]["end"]) == ("queued", "stopped")
    assert (await shown(plane, waiting))["status"] == "queued"


async def test_what_was_said_is_sealed_in_the_files(plane: ControlPlane) -> None:
    await deploy(plane, trigger(callbackUrl="https://example.com/hook"))
    edge = Edge(plane)
    (ident,) = await edge.accept("one", body=b"a word of the caller")
    await edge.claim()
    await edge.report(ident, 1, 200, b"a word of the program")
    with closing(sqlite3.connect(plane.context.data.database)) as connection:
        kept = connection.execute("SELECT request, response FROM invocation_bodies").fetchone()
        everything = "\n".join(connection.iterdump())
    assert b"word" not in kept[0] + kept[1] and "of the caller" not in everything
    assert (await shown(plane, ident))["response"]["body"] == "a word of the program"


async def test_another_workspace_sees_and_changes_nothing(plane: ControlPlane) -> None:
    await deploy(plane, {})
    (ident,) = await Edge(plane).accept("one")
    key = await plane.key(Role.ADMIN, workspace=AWAY)
    assert (await plane.send(key, "GET", "/v0/homeport/invocations")).json() == {"data": []}
    for method, path in (("GET", ""), ("POST", "/cancel"), ("POST", "/replay")):
        answer = await plane.send(key, method, f"/v0/homeport/invocations/{ident}{path}")
        assert answer.status_code == 404
    assert (await shown(plane, ident))["status"] == "queued"


async def test_lists_keep_to_their_filters_and_pages(plane: ControlPlane) -> None:
    for name in ("one", "two"):
        await deploy(plane, {}, name)
    idents = await Edge(plane).accept("one", "two", "one")
    address = "/v0/homeport/invocations"

    async def listed(**query: str) -> list[str]:
        return [item["id"] for item in (await plane.api.get(address, params=query)).json()["data"]]

    assert await listed() == idents[::-1]
    assert await listed(agent="one", sort="createdAt:asc") == [idents[0], idents[2]]
    assert await listed(status="succeeded,failed") == []
    first = (await plane.api.get(address, params={"limit": "2"})).json()
    assert await listed(after=first["next"]) == [idents[0]]
    assert await listed(until="2020-01-01T00:00:00Z") == []
    for query in ({"status": "lost"}, {"after": "x"}, {"since": "now"}, {"sort": "name"}):
        answer = await plane.api.get(address, params=query)
        assert answer.status_code == 400 and next(iter(query)) in answer.json()["message"]


async def test_a_call_that_waits_is_cancelled_at_once_and_one_that_ended_stays_as_it_is(plane: ControlPlane) -> None:
    await deploy(plane, {})
    edge = Edge(plane)
    waits, runs = await edge.accept("one", "one")
    await plane.api.post(f"/v0/homeport/invocations/{waits}/cancel")
    assert (await shown(plane, waits))["status"] == "cancelled"
    await edge.claim()
    await plane.api.post(f"/v0/homeport/invocations/{runs}/cancel")
    assert (await edge.claim(runs)).cancelled == (runs,)
    await edge.report(runs, 1, 200)  # it came first
    again = await plane.api.post(f"/v0/homeport/invocations/{runs}/cancel")
    assert again.json()["status"] == "succeeded"
    refused = await plane.api.post(f"/v0/homeport/invocations/{(await edge.accept('one'))[0]}/replay")
    assert refused.status_code == 409


async def test_a_callback_secret_is_shown_once_and_kept_whatever_is_sent_back(plane: ControlPlane) -> None:
    spec = trigger(callbackUrl="https://example.com/hook")
    secret = secret_in(await deploy(plane, spec))
    assert secret is not None and len(secret) >= 32 and "*" not in secret
    read = await plane.api.get("/v0/agents/one")
    assert secret_in(read) == "********"
    assert secret_in(await deploy(plane, read.json()["spec"])) == "********"  # the mask, sent back
    assert secret_in(await deploy(plane, spec)) == "********"  # nothing, sent back
    assert secret_in(await deploy(plane, trigger(callbackUrl="https://example.com/other"))) == "********"
    assert secret not in (await plane.api.get("/v0/agents/one", params={"show_secrets": "true"})).text
    assert secret_in(await deploy(plane, trigger(retry=1))) is None
    assert secret_in(await deploy(plane, spec)) not in (secret, "********", None)


async def test_triggers_get_ids_that_stay_so_that_their_secrets_do(plane: ControlPlane) -> None:
    one = {"type": "http-async", "configuration": {"callbackUrl": "https://example.com/hook"}}
    made = (await deploy(plane, {"triggers": [one, {**one, "id": "mine"}, {**one, "id": "mine"}]})).json()
    assert [item["id"] for item in made["spec"]["triggers"]] == ["http-async-1", "mine", "mine-2"]
    again = (await deploy(plane, {"triggers": [one, {**one, "id": "mine"}]})).json()
    assert {item["configuration"]["callbackSecret"] for item in again["spec"]["triggers"]} == {"********"}


async def test_a_callback_secret_is_rotated_where_there_is_one(plane: ControlPlane) -> None:
    first = secret_in(await deploy(plane, trigger(callbackUrl="https://example.com/hook")))
    await deploy(plane, {}, "two")
    address = "/v0/homeport/agents/{}/callback-secret"
    answer = await plane.api.post(address.format("one"), json={})
    assert answer.json()["trigger"] == "later" and answer.json()["callbackSecret"] not in (first, None)
    assert (await plane.api.post(address.format("two"), json={})).status_code == 404
    assert (await plane.api.post(address.format("one"), json={"trigger": "other"})).status_code == 404
    assert secret_in(await plane.api.get("/v0/agents/one")) == "********"


@pytest.mark.parametrize(
    ("configuration", "field"),
    [
        ({"callbackUrl": "ftp://example.com"}, "callbackUrl"),
        ({"callbackUrl": "https://me:word@example.com"}, "callbackUrl"),
        ({"callbackUrl": "https:///nowhere"}, "callbackUrl"),
        ({"callbackUrl": "http://127.0.0.1/hook"}, "callbackUrl"),
        ({"callbackUrl": "http://[::ffff:10.0.0.1]/hook"}, "callbackUrl"),
        ({"callbackUrl": "http://169.254.169.254/latest"}, "callbackUrl"),
        ({"retry": -1}, "retry"),
        ({"timeout": 901}, "timeout"),
        ({"timeout": "20m"}, "timeout"),
        ({"schedule": "every day"}, "schedule"),
        ({"schedule": "0 0 31 2 *"}, "schedule"),
    ],
)
async def test_what_cannot_be_meant_is_400_with_the_field(
    plane: ControlPlane, configuration: dict[str, Any], field: str
) -> None:
    answer = await deploy(plane, trigger(**configuration))
    assert answer.status_code == 400
    assert f"spec.triggers[0].configuration.{field}" in answer.json()["message"]
    assert (await plane.api.get("/v0/agents/one")).status_code == 404


async def calls_of(plane: ControlPlane) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await plane.api.get("/v0/homeport/invocations")).json()["data"]
    return found


async def test_a_schedule_fires_once_at_its_time_across_restarts(plane: ControlPlane) -> None:
    configuration = {"schedule": "30 * * * *", "tasks": [{"a": 1}, {"b": 2}]}
    spec = {"triggers": [{"id": "hourly", "type": "cron", "configuration": configuration}]}
    await deploy(plane, spec)  # at noon
    for _ in range(2):
        await Upkeep(plane.context).pass_once()
    assert await calls_of(plane) == []
    plane.clock.move(30 * 60)
    await deploy(plane, {**spec, "public": True})  # an update of something else delays and repeats nothing
    for _ in range(3):
        await Upkeep(plane.context).pass_once()
    works = (await Edge(plane).claim()).works
    assert [json.loads(work.request.body) for work in works] == [{"a": 1}, {"b": 2}]
    headers = dict(works[0].request.headers)
    assert (headers["X-Homeport-Trigger"], headers["X-Homeport-Scheduled-At"][11:19]) == ("hourly", "12:30:00")


async def test_of_missed_firings_the_newest_is_made_up_for_and_the_rest_are_told(plane: ControlPlane) -> None:
    await deploy(plane, {"triggers": [{"id": "t", "type": "cron", "configuration": {"schedule": "*/10 * * * *"}}]})
    plane.clock.move(5 * 3600)
    await Upkeep(plane.context).pass_once()
    assert len(await calls_of(plane)) == 1
    events = (await plane.api.get("/v0/agents/one")).json()["events"]
    assert [event["message"] for event in events if event["reason"] == "FiringsMissed"] == [
        "The schedule t missed 29 firings up to 2026-01-02T17:00:00.123456Z"
    ]


async def test_a_disabled_agent_has_no_firings_and_its_calls_wait_for_it_and_not_for_ever(plane: ControlPlane) -> None:
    spec = {"triggers": [{"id": "t", "type": "cron", "configuration": {"schedule": "* * * * *"}}]}
    await deploy(plane, spec)
    (ident,) = await Edge(plane).accept("one")
    await deploy(plane, {**spec, "enabled": False})
    plane.clock.move(3600)
    await Upkeep(plane.context).pass_once()
    assert (await Edge(plane).claim()).works == ()
    assert (await shown(plane, ident))["status"] == "queued"
    plane.clock.move(23 * 3600)
    await Upkeep(plane.context).pass_once()
    assert ((await shown(plane, ident))["status"], len(await calls_of(plane))) == ("failed", 1)


async def test_calls_of_an_agent_that_is_gone_end(plane: ControlPlane) -> None:
    await deploy(plane, {})
    (ident,) = await Edge(plane).accept("one")
    agent = await plane.context.store.read(lambda tx: tx.resources.get(HOME, Kind.AGENT, "one"))
    assert agent is not None
    await plane.context.store.write(lambda tx: tx.resources.delete(agent.uid))
    await Upkeep(plane.context).pass_once()
    found = await shown(plane, ident)
    assert (found["status"], found["message"]) == ("cancelled", "its agent was deleted")


async def test_calls_are_kept_for_their_days_and_to_their_number(plane: ControlPlane) -> None:
    settings = plane.context.configuration.invocations.model_copy(update={"keep_calls": 3})
    configuration = plane.context.configuration.model_copy(update={"invocations": settings})
    context = replace(plane.context, configuration=configuration)
    await deploy(plane, {})
    edge = Edge(plane)
    idents = await edge.accept(*["one"] * 5)
    await edge.claim()
    for ident in idents[:4]:
        await edge.report(ident, 1, 200)
    await Upkeep(context).pass_once()
    assert [call["id"] for call in await calls_of(plane)] == idents[:1:-1]
    plane.clock.move(7 * 86400 + 1)
    await Upkeep(context).pass_once()
    assert [call["id"] for call in await calls_of(plane)] == idents[4:]  # it has not ended
