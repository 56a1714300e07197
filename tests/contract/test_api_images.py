"""Images over the API, with the real loops behind it on a builder that builds nothing: kept, shown, run again by name,
pushed, deleted, collected."""

import io
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from homeport.api.app import public_app
from homeport.app.own_images import without_echo
from homeport.build.errors import BuildFailed
from homeport.core.ids import Kind
from homeport.core.images import tag_of
from homeport.identity.principals import Role
from homeport.reconcile.images import going
from homeport.store.records import ImageTag
from homeport.testing.control_plane import HOME, VERSION, ControlPlane, SetClock
from homeport.testing.factories import NOON
from homeport.testing.loops import Loops, installation
from homeport.workloads.states import WorkloadStatus

DAY_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Yard:
    """An installation with its API."""

    loops: Loops
    api: httpx.AsyncClient

    async def built(self, kind: Kind, name: str, source: str = "one") -> str:
        """Deploy a folder and wait; returns what it is kept as."""
        await self.loops.deploy(kind, name, source)
        await self.loops.has_status(kind, name, WorkloadStatus.DEPLOYED)
        image = (await self.get(f"/{kind.plural}/{name}"))["spec"]["runtime"]["image"]
        assert isinstance(image, str)
        return image

    async def get(self, path: str) -> Any:
        answer = await self.api.get(f"/v0{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def gone(self, kind: Kind, name: str) -> None:
        assert (await self.api.delete(f"/v0/{kind.plural}/{name}")).status_code == 200

        async def look() -> bool:
            return await self.loops.resource(kind, name) is None

        await self.loops.until(look)

    async def has_image_status(self, path: str, status: str) -> Any:
        async def look() -> Any:
            found = await self.get(path)
            return found if found["metadata"]["status"] == status else None

        return await self.loops.until(look)


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    async with installation(tmp_path / "data") as loops:
        app = public_app(loops.context)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=loops.context.base_url) as api:
            plane = ControlPlane(app=app, context=loops.context, clock=SetClock(), http=api, api=api)
            api.headers.update({"Authorization": f"Bearer {await plane.key(Role.ADMIN)}", "Blaxel-Version": VERSION})
            async with loops.running(loops.builds(), loops.rollouts()):
                yield Yard(loops, api)


def archive(text: str = "print()") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("main.py", text)
    return buffer.getvalue()


async def test_each_build_of_a_folder_is_kept_as_an_image_with_a_tag(yard: Yard) -> None:
    first = await yard.built(Kind.JOB, "sums", "one")
    second = await yard.built(Kind.JOB, "sums", "two")
    digests = [revision.bundle_digest or "" for revision in await yard.loops.revisions(Kind.JOB, "sums")]
    assert [second, first] == [f"job/sums:{tag_of(digest)}" for digest in digests]
    (listed,) = await yard.get("/images")
    metadata, spec = listed["metadata"], listed["spec"]
    assert (metadata["name"], metadata["resourceType"], metadata["workspace"]) == ("sums", "job", HOME)
    assert metadata["status"] == "BUILT" and metadata["displayName"] == f"{HOME}/job/sums"
    assert metadata["createdAt"] <= metadata["lastDeployedAt"] <= metadata["updatedAt"]
    assert sorted(tag["name"] for tag in spec["tags"]) == sorted([*map(tag_of, digests), "latest"])
    for kind in ("job", "jobs", "_"):
        shown = await yard.get(f"/images/{kind}/sums")
        assert shown["spec"] == spec
    assert (await yard.get("/workspaces/home?countResources=true"))["resourceCounts"]["images"] == 1


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/images/job/none", 404, "There is no image 'job/none'"),
        ("/images/sandbox/x", 404, "not served by this version"),
        ("/images/ship/x", 400, "resourceType: must be one of agent, agents, function, functions, job, jobs"),
        ("/images/agent/x/share", 404, "not served by this version"),
    ],
)
async def test_what_is_not_there_is_said(yard: Yard, path: str, status: int, said: str) -> None:
    answer = await yard.api.get(f"/v0{path}")
    assert (answer.status_code, said in answer.json()["message"]) == (status, True), answer.text


async def test_what_was_read_is_sent_back_and_runs_without_a_build(yard: Yard) -> None:
    image = await yard.built(Kind.JOB, "sums")
    read = await yard.get("/jobs/sums")
    assert (await yard.api.put("/v0/jobs/sums", json=read)).status_code == 200
    after = await yard.loops.has_status(Kind.JOB, "sums", WorkloadStatus.DEPLOYED)
    newest, oldest = await yard.loops.revisions(Kind.JOB, "sums")
    assert newest.bundle_digest == oldest.bundle_digest and newest.entrypoint == oldest.entrypoint
    assert len(yard.loops.builder.built) == 1 and after.generation == 2
    again = await yard.built(Kind.JOB, "sums", "two")
    assert again != image and (await yard.get("/jobs/sums"))["spec"]["runtime"]["image"] == again


async def test_a_workload_that_names_no_image_any_more_runs_its_own_newest_build(yard: Yard) -> None:
    own = await yard.built(Kind.JOB, "sums", "one")
    other = await yard.built(Kind.JOB, "other", "two")
    named = {"metadata": {"name": "sums"}, "spec": {"runtime": {"image": other}}}
    plain = {"metadata": {"name": "sums"}, "spec": {"runtime": {}}}
    for rounds in (1, 6):  # after the second no revision of its own build is left
        for _ in range(rounds):
            assert (await yard.api.put("/v0/jobs/sums", json=named)).status_code == 200
            await yard.loops.has_status(Kind.JOB, "sums", WorkloadStatus.DEPLOYED)
        assert (await yard.get("/jobs/sums"))["spec"]["runtime"]["image"] == other
        assert (await yard.api.put("/v0/jobs/sums", json=plain)).status_code == 200
        await yard.loops.has_status(Kind.JOB, "sums", WorkloadStatus.DEPLOYED)
        assert (await yard.get("/jobs/sums"))["spec"]["runtime"]["image"] == own
        newest = (await yard.loops.revisions(Kind.JOB, "sums"))[0]
        assert tag_of(newest.bundle_digest or "") == own.rpartition(":")[2]
    assert len(yard.loops.builder.built) == 2


async def test_an_upload_beside_the_image_that_was_read_is_built(yard: Yard) -> None:
    await yard.built(Kind.JOB, "sums")
    read = await yard.get("/jobs/sums")
    answer = await yard.api.put("/v0/jobs/sums", params={"upload": "true"}, json=read)
    assert answer.json()["status"] == "UPLOADING" and "X-Blaxel-Upload-Url" in answer.headers


async def test_several_jobs_run_one_image_and_one_that_is_not_there_is_refused(yard: Yard) -> None:
    image = await yard.built(Kind.JOB, "sums")
    for name, memory in (("small", 256), ("large", 1024)):
        body = {"metadata": {"name": name}, "spec": {"runtime": {"image": image, "memory": memory}}}
        assert (await yard.api.post("/v0/jobs", json=body)).status_code == 200
        await yard.loops.has_status(Kind.JOB, name, WorkloadStatus.DEPLOYED)
    assert len(yard.loops.builder.built) == 1
    explained = await yard.get("/homeport/explain/jobs/large")
    assert explained["outcome"] == "allowed" and explained["plan"]["region"] == "local"
    tag = image.rpartition(":")[2]
    for kind, asked, said in (
        ("jobs", "job/sums:none", f"job/sums has the tags {', '.join(sorted([tag, 'latest']))}"),
        ("jobs", "job/nobody", "there are job/sums"),
        ("agents", image, "is a program that was built as a job"),
        ("agents", "sandbox/x:1", "kind that this version does not serve"),
        ("agents", "agent/x:", "must be KIND/NAME[:TAG]"),
        ("agents", "Homeport.internal/installation/other/agent/x:rev-1", "must be KIND/NAME[:TAG]"),
    ):
        body = {"metadata": {"name": "bad"}, "spec": {"runtime": {"image": asked}}}
        answer = await yard.api.post(f"/v0/{kind}", json=body)
        assert answer.status_code == 400 and said in answer.json()["message"], answer.text
        assert answer.json()["message"].startswith("spec.runtime.image")


async def test_an_image_in_use_is_kept_and_its_users_are_named(yard: Yard) -> None:
    image = await yard.built(Kind.JOB, "sums")
    tag = image.rpartition(":")[2]
    body = {"metadata": {"name": "other"}, "spec": {"runtime": {"image": image}}}
    assert (await yard.api.post("/v0/jobs", json=body)).status_code == 200
    for path in (
        "/images/job/sums",
        f"/images/jobs/sums:{tag}",
        f"/images/_/sums/tags/{tag}",
        "/images/job/sums:latest",
    ):
        answer = await yard.api.delete(f"/v0{path}")
        assert answer.status_code == 400, answer.text
        assert "job sums (revision rev-" in answer.json()["message"] and "job other" in answer.json()["message"]
    assert (await yard.api.delete("/v0/images")).json()["deleted"] == 0
    await yard.gone(Kind.JOB, "sums")
    assert "job other" in (await yard.api.delete("/v0/images/job/sums")).json()["message"]
    await yard.gone(Kind.JOB, "other")
    answer = await yard.api.delete("/v0/images/job/sums")
    assert answer.status_code == 200 and answer.json()["metadata"]["name"] == "sums"
    assert await yard.get("/images") == []


async def test_an_unused_tag_is_deleted_by_either_spelling_and_the_newest_left_is_the_latest(yard: Yard) -> None:
    for source in ("one", "two", "three"):
        image = await yard.built(Kind.JOB, "sums", source)
    await yard.gone(Kind.JOB, "sums")
    tags = {tag["name"] for tag in (await yard.get("/images/job/sums"))["spec"]["tags"]} - {"latest"}
    newest = image.rpartition(":")[2]
    assert (await yard.api.delete(f"/v0/images/job/sums:{newest}")).status_code == 200
    assert (await yard.api.delete(f"/v0/images/job/sums:{newest}")).status_code == 404
    body = {"metadata": {"name": "again"}, "spec": {"runtime": {"image": "job/sums"}}}
    assert (await yard.api.post("/v0/jobs", json=body)).status_code == 200
    (revision,) = await yard.loops.revisions(Kind.JOB, "again")
    assert tag_of(revision.bundle_digest or "") in tags - {newest}
    (unused,) = tags - {newest, tag_of(revision.bundle_digest or "")}
    assert (await yard.api.delete(f"/v0/images/job/sums/tags/{unused}")).status_code == 200


async def test_a_clean_up_deletes_what_nothing_uses(yard: Yard) -> None:
    await yard.built(Kind.JOB, "kept")
    await yard.built(Kind.JOB, "sums", "two")
    await yard.gone(Kind.JOB, "sums")
    answer = (await yard.api.delete("/v0/images")).json()
    assert answer["deleted"] == 1 and answer["message"] == "1 image that nothing uses was deleted: job/sums"
    assert [one["metadata"]["name"] for one in await yard.get("/images")] == ["kept"]


async def test_an_image_is_pushed_built_and_run_later(yard: Yard) -> None:
    body = {"name": "early", "resourceType": "job", "generation": "mk3"}
    answer = await yard.api.post("/v0/images", params={"upload": "true"}, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["build"] is True and answer.json()["resourceType"] == "job"
    assert (await yard.get("/images/job/early"))["metadata"]["status"] == "UPLOADING"
    where = answer.headers["X-Blaxel-Upload-Url"].removeprefix(yard.loops.context.base_url)
    yard.loops.builder.gate.clear()
    assert (await yard.api.put(where, content=archive(), headers={"Authorization": ""})).status_code == 200
    await yard.has_image_status("/images/job/early", "BUILDING")
    yard.loops.builder.gate.set()
    shown = await yard.has_image_status("/images/job/early", "BUILT")
    assert len(shown["spec"]["tags"]) == 2 and "lastDeployedAt" not in shown["metadata"]
    found = await yard.get("/observability/logs?resourceType=jobs&workloadIds=early")
    assert found["early"]["logs"] == []
    await yard.api.post("/v0/images", params={"upload": "true"}, json=body)
    assert (await yard.get("/images/job/early"))["metadata"]["status"] == "UPLOADING"
    run = {"metadata": {"name": "late"}, "spec": {"runtime": {"image": "job/early:latest"}}}
    assert (await yard.api.post("/v0/jobs", json=run)).status_code == 200
    await yard.loops.has_status(Kind.JOB, "late", WorkloadStatus.DEPLOYED)
    assert "lastDeployedAt" in (await yard.get("/images/job/early"))["metadata"]


async def test_a_push_that_fails_says_why_and_one_without_an_archive_does_not_wait_for_ever(yard: Yard) -> None:
    body = {"name": "wreck", "resourceType": "agents"}
    answer = await yard.api.post("/v0/images", params={"upload": "true"}, json=body)
    where = answer.headers["X-Blaxel-Upload-Url"].removeprefix(yard.loops.context.base_url)
    yard.loops.builder.gate.clear()
    assert (await yard.api.put(where, content=archive())).status_code == 200
    revisions = await yard.loops.store.read(lambda tx: tx.revisions.of(_uid(tx)))
    yard.loops.builder.refuses[revisions[0].source_digest or ""] = BuildFailed("Installing", "failed: no such thing")
    yard.loops.builder.gate.set()
    shown = await yard.has_image_status("/images/agent/wreck", "FAILED")
    assert "no such thing" in shown["metadata"]["events"][-1]["message"] and shown["spec"]["tags"] == []
    await yard.api.post("/v0/images", params={"upload": "true"}, json=body)
    yard.loops.clock.move(3 * 3600)
    await yard.loops.garbage().collect()
    shown = await yard.get("/images/agent/wreck")
    assert shown["metadata"]["status"] == "FAILED" and "No archive came" in shown["metadata"]["events"][-1]["message"]


def _uid(tx: Any) -> str:
    found = tx.resources.get(HOME, Kind.IMAGE, "agent/wreck")
    assert found is not None
    return str(found.uid)


@pytest.mark.parametrize(
    ("params", "body", "said"),
    [
        ({}, {"name": "x", "resourceType": "job"}, "image: must name an image of a registry"),
        ({"upload": "true"}, {"name": "x", "resourceType": "job", "image": "x:1"}, "image: must be absent"),
        ({}, {"name": "x", "resourceType": "job", "image": "x:1"}, "container engine"),
        ({"upload": "true"}, {"name": "X", "resourceType": "job"}, "name"),
        ({"upload": "true"}, {"name": "x", "resourceType": "ship"}, "resourceType"),
    ],
)
async def test_a_bad_push_is_refused_and_leaves_nothing(
    yard: Yard, params: dict[str, str], body: dict[str, str], said: str
) -> None:
    answer = await yard.api.post("/v0/images", params=params, json=body)
    assert answer.status_code == 400 and said in answer.json()["message"], answer.text
    assert await yard.get("/images") == []


async def test_what_no_kept_revision_runs_goes_with_its_bundle_after_its_time(yard: Yard) -> None:
    await yard.built(Kind.JOB, "kept")
    await yard.built(Kind.JOB, "sums", "two")
    await yard.gone(Kind.JOB, "sums")
    await yard.loops.garbage().collect()
    assert len(await yard.get("/images")) == 2
    yard.loops.clock.move(15 * DAY_S)
    await yard.loops.garbage().collect()
    assert [one["metadata"]["name"] for one in await yard.get("/images")] == ["kept"]
    (kept,) = await yard.loops.revisions(Kind.JOB, "kept")
    assert [path.name for path in yard.loops.context.data.bundles.iterdir()] == [kept.bundle_digest]


def tag(number: int, age_days: float) -> ImageTag:
    at = NOON - timedelta(days=age_days)
    return ImageTag(
        resource_uid="image",
        name=f"t{number}",
        digest=f"d{number}",
        region="",
        source="",
        entrypoint=(),
        size=1,
        created_at=at,
        updated_at=at,
    )


@pytest.mark.parametrize(
    ("ages", "used", "gone"),
    [
        ((1, 2, 3), (), []),
        ((1, 2, 3, 4), (), ["t3"]),
        ((1, 15, 2), (), ["t1"]),
        ((30, 31, 32, 33), ("d0", "d1", "d2", "d3"), []),
        ((30, 1, 2, 3), ("d0",), []),
    ],
)
def test_of_unused_tags_the_old_and_all_but_the_newest_go(
    ages: tuple[float, ...], used: tuple[str, ...], gone: list[str]
) -> None:
    tags = [tag(number, age) for number, age in enumerate(ages)]
    assert [one.name for one in going(tags, used, NOON, keep_days=14, keep_tags=3)] == gone


@pytest.mark.parametrize(
    ("image", "repository", "upload", "stays"),
    [
        ("agent/a:1", False, False, True),
        ("agent/a:1", False, True, False),
        ("agent/b:1", False, True, True),
        ("agent/a:1", True, False, False),
        ("agent/a:2", True, False, True),
        ("x:1", True, True, True),
    ],
)
def test_an_image_that_only_came_along_with_what_was_read_is_no_source(
    image: str, repository: bool, upload: bool, stays: bool
) -> None:
    spec: dict[str, Any] = {"runtime": {"image": image, "memory": 1}}
    if repository:
        spec["repository"] = {"url": "https://example.org/x.git"}
    left = without_echo(spec, Kind.AGENT, "a", built="agent/a:1", upload=upload)
    assert ("image" in left["runtime"], left["runtime"]["memory"]) == (stays, 1)
