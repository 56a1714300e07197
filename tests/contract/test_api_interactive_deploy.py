"""`bl deploy` in a terminal: what its polls must be shown, and that nobody else is shown it."""

from dataclasses import replace

import pytest

from homeport.api.patience import BUILD_SHOWN_S
from homeport.core.ids import WORKLOADS, Kind
from homeport.store.contract import Transaction
from homeport.testing.control_plane import HOME, ControlPlane
from homeport.testing.system import archive
from homeport.workloads.states import WorkloadStatus

TERMINAL = {"User-Agent": "blaxel/cli/golang/0.1.108 (linux/amd64) blaxel/c47b38a"}
FIRST_LOOK_S, INTERVAL_S = 1.0, 3.0  # of the public command line, after its upload


async def deploy(plane: ControlPlane, kind: Kind, method: str = "POST") -> None:
    body = {"metadata": {"name": "one"}, "spec": {}}
    path = f"/v0/{kind.plural}" + ("/one" if method == "PUT" else "")
    accepted = await plane.api.request(method, path, params={"upload": "true"}, json=body, headers=TERMINAL)
    assert (accepted.status_code, accepted.json()["status"]) == (200, "UPLOADING")
    source = archive({"main.py": ""})
    sent = await plane.http.put(accepted.headers["X-Blaxel-Upload-Url"], content=source)
    assert sent.status_code == 200, sent.text


async def settle(plane: ControlPlane, kind: Kind, status: WorkloadStatus) -> None:
    def write(tx: Transaction) -> None:
        resource = tx.resources.get(HOME, kind, "one")
        assert resource is not None
        assert tx.resources.replace(replace(resource, status=status), resource.generation)

    await plane.context.store.write(write)


async def status(plane: ControlPlane, kind: Kind, headers: dict[str, str] | None = None) -> str:
    answer = await plane.api.get(f"/v0/{kind.plural}/one", headers=headers)
    return str(answer.json()["status"])


@pytest.mark.parametrize("kind", WORKLOADS)
@pytest.mark.parametrize("outcome", [WorkloadStatus.DEPLOYED, WorkloadStatus.FAILED])
async def test_a_build_that_is_over_at_once_is_seen_by_a_poll_that_counts(
    plane: ControlPlane, kind: Kind, outcome: WorkloadStatus
) -> None:
    for method in ("POST", "PUT"):
        await deploy(plane, kind, method)
        await settle(plane, kind, outcome)
        plane.clock.move(FIRST_LOOK_S)
        seen = [await status(plane, kind, TERMINAL)]
        for _ in range(3):
            plane.clock.move(INTERVAL_S)
            seen.append(await status(plane, kind, TERMINAL))
        assert seen == ["BUILDING", "BUILDING", outcome, outcome]


async def test_everybody_else_is_told_the_truth_at_once(plane: ControlPlane) -> None:
    await deploy(plane, Kind.AGENT)
    await settle(plane, Kind.AGENT, WorkloadStatus.DEPLOYED)
    assert await status(plane, Kind.AGENT) == "DEPLOYED"
    assert await status(plane, Kind.AGENT, {"User-Agent": "blaxel/sdk/python/0.4.24 (linux/amd64)"}) == "DEPLOYED"
    listed = await plane.api.get("/v0/agents", headers=TERMINAL)
    assert [item["status"] for item in listed.json()["data"]] == ["DEPLOYED"]


async def test_an_update_without_an_archive_shows_the_truth(plane: ControlPlane) -> None:
    await deploy(plane, Kind.AGENT)
    await plane.serve(Kind.AGENT, "one")
    plane.clock.move(1)
    body = {"metadata": {"name": "one"}, "spec": {}}
    assert (await plane.api.put("/v0/agents/one", json=body)).status_code == 200
    await settle(plane, Kind.AGENT, WorkloadStatus.DEPLOYED)
    assert await status(plane, Kind.AGENT, TERMINAL) == "DEPLOYED"


async def test_a_deletion_is_shown_at_once(plane: ControlPlane) -> None:
    await deploy(plane, Kind.AGENT)
    assert (await plane.api.delete("/v0/agents/one")).json()["status"] == "DELETING"
    assert await status(plane, Kind.AGENT, TERMINAL) == "DELETING"


def test_the_wait_covers_the_first_look_that_counts_and_ends_before_the_next_but_one() -> None:
    assert FIRST_LOOK_S + INTERVAL_S < BUILD_SHOWN_S <= FIRST_LOOK_S + 2 * INTERVAL_S
