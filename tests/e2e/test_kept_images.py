"""Images of folders: built once, kept, run again by name, through the public command line's requests and our own."""

import json
from collections.abc import Iterator

import pytest

from homeport.testing.public_cli import PublicCli
from homeport.testing.system import System

JOB = {
    "main.py": """
import json, os, urllib.request
with urllib.request.urlopen(os.environ["BL_EXECUTION_DATA_URL"]) as answer:
    print("task", json.load(answer)["tasks"][0]["name"], flush=True)
"""
}


@pytest.fixture(scope="module")
def cli(system: System) -> Iterator[PublicCli]:
    with PublicCli(f"{system.url}/v0", system.url, "default", key=system.key) as cli:
        yield cli


def images(system: System) -> dict[str, list[str]]:
    found = json.loads(system.command("get", "images", "-o", "json").stdout)
    return {
        f"{one['metadata']['resourceType']}/{one['metadata']['name']}": [tag["name"] for tag in one["spec"]["tags"]]
        for one in found
    }


def test_a_folder_is_pushed_and_a_manifest_that_names_it_runs_it(system: System, cli: PublicCli) -> None:
    told = cli.push("job", "pushed", JOB, bound_s=60)
    assert told, "the build's log is shown"
    body = {"metadata": {"name": "from-push"}, "spec": {"runtime": {"image": "job/pushed:latest", "memory": 128}}}
    cli.apply("jobs", body)
    assert system.settled("jobs", "from-push")["status"] == "DEPLOYED"
    execution = system.execute("from-push", [{"name": "one"}])
    assert execution["status"] == "succeeded"
    assert len(images(system)["job/pushed"]) == 2
    refused = system.command("delete", "image", "job/pushed")
    assert refused.returncode != 0 and "job from-push (revision rev-" in refused.stderr
    system.remove("jobs", "from-push")
    assert cli.decoded("DELETE", "images/job/pushed:latest")["metadata"]["name"] == "pushed"
    assert system.command("delete", "image", "job/pushed").returncode == 0


def test_what_is_deployed_is_deployed_again_by_each_way_back(system: System, cli: PublicCli) -> None:
    cli.deploy("jobs", "again", JOB, {"memory": 128})
    made = system.settled("jobs", "again")
    image = made["spec"]["runtime"]["image"]
    assert made["status"] == "DEPLOYED" and image.startswith("job/again:")
    shown = system.command("get", "image", "job/again").stdout
    assert image.partition(":")[2] in shown and "BUILT" in shown
    cli.deploy_built("jobs", "again", {"memory": 256})
    assert system.settled("jobs", "again")["spec"]["runtime"]["image"] == image
    manifest = system.command("get", "job", "again", "-o", "yaml").stdout
    done = system.command("apply", "-f", "-", stdin=f"kind: Job\n{manifest}")
    assert done.returncode == 0 and "unchanged" in done.stdout, done.stderr
    system.remove("jobs", "again")
    done = system.command("apply", "-f", "-", stdin=f"kind: Job\n{manifest}")
    assert done.returncode == 0 and "created" in done.stdout, done.stderr
    assert system.settled("jobs", "again")["status"] == "DEPLOYED"
    builds = [event for event in system.api.get("/jobs/again").json()["events"] if event["type"] == "build"]
    assert builds == [], "nothing was built again"
    assert system.execute("again", [{"name": "one"}])["status"] == "succeeded"
    cli.deploy("jobs", "again", JOB | {"changed.txt": "yes"}, {"memory": 128})
    assert system.settled("jobs", "again")["spec"]["runtime"]["image"] != image
    system.remove("jobs", "again")
    assert "job/again" in system.command("delete", "images", "--unused").stdout
    assert "job/again" not in images(system)
