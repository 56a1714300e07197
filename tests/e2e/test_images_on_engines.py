"""What becomes of images on an engine: kept by name, pulled again by their content where somebody removed them, and
removed by us only where we brought them. On a real engine, with a real registry."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from homeport.engines import installation_name
from homeport.testing.engines import EngineProcess
from homeport.testing.registries import (
    PASSWORD,
    USER,
    Registry,
    engine_for_registries,
    remove_image,
    running_registry,
)
from homeport.testing.system import System, archive, eventually

LOCAL = "docker.io/library/homeport-kept"
RULE = "[images]\nunused_days = 0\nunused_tags = 0\n"  # what nothing uses goes at once


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    with engine_for_registries(LOCAL, 3) as running:
        yield running


@pytest.fixture(scope="module")
def registry(engine: EngineProcess) -> Iterator[Registry]:
    with running_registry() as running:
        yield running


@pytest.fixture(scope="module")
def harbour(engine: EngineProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    running = System(tmp_path_factory.mktemp("harbour") / "data")
    running.data.root.mkdir()
    running.data.config.write_text(f'[regions.docks]\ndriver = "docker"\nengine = "{engine.url}"\n{RULE}')
    running.up()
    yield running
    running.down()
    assert engine.names("containers/json") == []


def deploy(system: System, name: str, image: str, registry: Registry | None = None) -> dict[str, Any]:
    runtime = {"image": image, "memory": 64, **({"dockerConfig": registry.config()} if registry else {})}
    body = {"metadata": {"name": name}, "spec": {"runtime": runtime}}
    answer = system.api.put(f"/jobs/{name}", json=body)
    if answer.status_code == 404:
        answer = system.api.post("/jobs", json=body)
    assert answer.status_code == 200, answer.text
    made = system.settled("jobs", name)
    assert made["status"] == "DEPLOYED", made["events"]
    return made


def forget(engine: EngineProcess, *parts: str) -> None:
    """Remove what has one of these in its names, by whatever name."""

    def gone() -> bool:
        names = [name for part in parts for name in engine.image_names(part)]
        for name in names:
            remove_image(engine, name)
        return not names

    eventually(gone, "the engine has it no more")


def built(system: System, name: str) -> dict[str, Any] | None:
    """The image once its push has ended, one way or the other."""
    found: dict[str, Any] = system.api.get(f"/images/job/{name}").json()
    return found if found["metadata"]["status"] in ("BUILT", "FAILED") else None


def printed(system: System, name: str) -> str:
    """By one task."""
    execution = system.execute(name, [{}])
    assert execution["status"] == "succeeded", execution
    lines = system.logs("jobs", name, execution=execution["metadata"]["id"])
    return "\n".join(line["text"] for line in lines)


def test_an_image_that_somebody_removed_is_pulled_again_by_its_content_though_its_tag_has_moved(
    harbour: System, engine: EngineProcess, registry: Registry
) -> None:
    reference = f"{registry.host}/kept/tool:1"
    registry.push(engine, f"{LOCAL}:2", "kept/tool:1")
    remove_image(engine, f"{LOCAL}:2")
    deploy(harbour, "tool", reference, registry)
    registry.push(engine, f"{LOCAL}:3", "kept/tool:1")  # the tag moves; the engine's name goes with it
    (image,) = (one for one in harbour.api.get("/images").json() if one["metadata"]["name"] == "tool")
    assert image["spec"]["size"] > 0 and "lastDeployedAt" in image["metadata"]
    forget(engine, "kept/tool")
    assert printed(harbour, "tool") == "this is 2"
    events = harbour.api.get("/jobs/tool").json()["events"]
    assert any(f"pulled again from {registry.host}/kept/tool@sha256:" in event["message"] for event in events)
    (tag,) = {tag["name"] for tag in image["spec"]["tags"]} - {"latest"}
    body = {"metadata": {"name": "second"}, "spec": {"runtime": {"image": f"job/tool:{tag}", "memory": 64}}}
    assert harbour.api.post("/jobs", json=body).status_code == 200
    assert harbour.settled("jobs", "second")["status"] == "DEPLOYED" and printed(harbour, "second") == "this is 2"
    harbour.remove("jobs", "second")
    harbour.remove("jobs", "tool")
    eventually(lambda: not engine.image_names("kept/tool"), "what we brought is removed")
    assert harbour.api.get("/images").json() == []


def test_an_image_that_comes_from_nowhere_is_missed_in_words_and_one_of_somebodys_stays(
    harbour: System, engine: EngineProcess
) -> None:
    engine.vary_image(f"{LOCAL}:mine", f"{LOCAL}:1", config=('CMD ["/bin/echo", "mine"]',))
    deploy(harbour, "local", f"{LOCAL}:mine")
    assert printed(harbour, "local") == "mine"
    remove_image(engine, f"{LOCAL}:mine")
    execution = harbour.execute("local", [{}])
    assert execution["status"] == "failed"
    said = execution["tasks"][0]["conditions"][-1]["message"]
    assert "is not on the engine any more" in said and f"bring {LOCAL}:mine back to the engine" in said
    harbour.remove("jobs", "local")
    deploy(harbour, "local", f"{LOCAL}:1")
    harbour.remove("jobs", "local")
    eventually(lambda: harbour.api.get("/images").json() == [], "the image is kept by nobody")
    assert engine.image_names("homeport-kept"), "it was there before us"


def test_an_image_that_cannot_be_pulled_again_says_why_and_what_to_do(
    harbour: System, engine: EngineProcess, registry: Registry
) -> None:
    reference = f"{registry.host}/kept/lost:1"
    engine.vary_image(f"{LOCAL}:lost", f"{LOCAL}:1", config=('CMD ["/bin/echo", "lost"]',))
    digest = registry.push(engine, f"{LOCAL}:lost", "kept/lost:1")
    remove_image(engine, f"{LOCAL}:lost")
    deploy(harbour, "lost", reference, registry)
    gone = httpx.delete(f"http://{registry.host}/v2/kept/lost/manifests/{digest}", auth=(USER, PASSWORD))
    assert gone.is_success, gone.text
    forget(engine, "kept/lost", "kept:lost")
    execution = harbour.execute("lost", [{}])
    assert execution["status"] == "failed", (execution, harbour.api.get("/jobs/lost").json()["events"])
    said = execution["tasks"][0]["conditions"][-1]["message"]
    assert f"cannot be pulled again from {registry.host}/kept/lost@{digest}" in said
    assert said.count("sha256:") >= 2 and f"bring {reference} back to the engine, or deploy again" in said
    harbour.remove("jobs", "lost")


def test_a_folder_with_a_dockerfile_is_pushed_run_by_name_and_leaves_nothing_on_the_engine(
    harbour: System, engine: EngineProcess
) -> None:
    files = {"Dockerfile": f'FROM {LOCAL}:1\nCMD ["/bin/echo", "from a Dockerfile"]\n'}
    answer = harbour.api.post("/images", params={"upload": "true"}, json={"name": "made", "resourceType": "job"})
    sent = httpx.put(answer.headers["X-Blaxel-Upload-Url"], content=archive(files), timeout=60)
    assert sent.status_code == 200, sent.text
    deployable = eventually(lambda: built(harbour, "made"), "it is built")
    assert deployable["metadata"]["status"] == "BUILT", deployable["metadata"]["events"]
    found = harbour.api.get("/observability/logs", params={"resourceType": "jobs", "workloadIds": "made"}).json()
    assert any("CMD" in line["message"] for line in found["made"]["logs"])
    deploy(harbour, "other", "job/made")
    assert printed(harbour, "other") == "from a Dockerfile"
    owned = f"homeport.internal/{installation_name(harbour.data.root)}/"
    assert len(engine.image_names(owned)) == 1
    harbour.remove("jobs", "other")
    eventually(lambda: not engine.image_names(owned), "the image is removed")


def test_an_image_of_a_registry_is_pushed_without_a_workload(
    harbour: System, engine: EngineProcess, registry: Registry
) -> None:
    registry.push(engine, f"{LOCAL}:1", "kept/pushed:1")
    order = {"image": f"{registry.host}/kept/pushed:1", "dockerConfig": registry.config()}
    body = {"name": "pushed", "resourceType": "job", **order}
    answer = harbour.api.post("/images", json=body)
    assert answer.status_code == 200 and answer.json()["build"] is True, answer.text
    pushed = eventually(lambda: built(harbour, "pushed"), "it has ended")
    assert pushed["metadata"]["status"] == "BUILT", pushed["metadata"]["events"]
    assert harbour.api.delete("/images").json()["deleted"] == 1
