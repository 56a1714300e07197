"""Jobs from the folder to the last task: real sandboxes, the real gateway, the public contract."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from homeport.testing.system import System, eventually

EXAMPLE = Path(__file__).parents[2] / "examples" / "word-count-job"

# A task does what its arguments say, and prints what it was given.
PROGRAM = """
import json, os, sys, time, urllib.request

with urllib.request.urlopen(os.environ["BL_EXECUTION_DATA_URL"]) as answer:
    tasks = json.load(answer)["tasks"]
task = tasks[int(os.environ[os.environ["BL_TASK_KEY"]])]
names = ("TASK_INDEX", "TASK_COUNT", "TASK_ATTEMPT", "CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_COUNT",
         "CLOUD_RUN_TASK_ATTEMPT", "BL_EXECUTION_ID", "BL_EXECUTION_DATA_URL", "MINE")
print(json.dumps({"tasks": tasks, "began": time.time(), **{name: os.environ.get(name) for name in names}}), flush=True)
time.sleep(task.get("sleep", 0))
if task.get("hog"):
    hog = bytearray(task["hog"] * 1024 * 1024)
    hog[::4096] = b"x" * len(hog[::4096])
    time.sleep(30)
if int(os.environ["TASK_ATTEMPT"]) < task.get("failures", 0):
    sys.exit(task.get("code", 3))
print(json.dumps({"ended": time.time()}), flush=True)
"""


@pytest.fixture(scope="module")
def job(system: System) -> str:
    runtime = {"maxConcurrentTasks": 3, "maxRetries": 2, "timeout": 60, "memory": 256}
    spec = {"runtime": {**runtime, "envs": [{"name": "MINE", "value": "job"}]}}
    assert system.deploy("jobs", "worker", {"main.py": PROGRAM}, spec)["status"] == "DEPLOYED"
    return "worker"


def printed(system: System, job: str, execution: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    lines = system.logs("jobs", job, execution=execution["metadata"]["id"], **query)
    return [json.loads(line["text"]) for line in lines if line["text"].startswith("{")]


def test_every_task_gets_its_own_element_and_its_place(system: System, job: str) -> None:
    tasks = [{"number": number, "nothing": None} for number in range(7)]
    execution = system.execute(job, tasks)
    assert execution["status"] == "succeeded"
    assert execution["stats"].pop("lost") == 0
    assert execution["stats"] == {"total": 7, "success": 7, "failure": 0, "running": 0, "cancelled": 0, "retried": 0}
    seen = sorted((one for one in printed(system, job, execution) if "tasks" in one), key=lambda one: one["TASK_INDEX"])
    assert [one["tasks"] for one in seen] == [[task] for task in tasks]
    assert [one["TASK_INDEX"] for one in seen] == [one["CLOUD_RUN_TASK_INDEX"] for one in seen] == list("0123456")
    assert {(one["TASK_COUNT"], one["TASK_ATTEMPT"], one["MINE"]) for one in seen} == {("7", "0", "job")}
    assert {one["BL_EXECUTION_ID"] for one in seen} == {execution["metadata"]["id"]}


def test_a_data_address_dies_with_its_attempt(system: System, job: str) -> None:
    execution = system.execute(job, [{"secret": 1}])
    address = printed(system, job, execution)[0]["BL_EXECUTION_DATA_URL"]
    assert httpx.get(address).status_code == 404
    assert httpx.get(address[:-2]).status_code == 401


def test_no_more_tasks_run_at_once_than_the_job_says(system: System, job: str) -> None:
    execution = system.execute(job, [{"sleep": 0.4}] * 9)
    lines = printed(system, job, execution)
    moments = sorted(
        [(one["began"], 1) for one in lines if "began" in one] + [(one["ended"], -1) for one in lines if "ended" in one]
    )
    running = peak = 0
    for _, change in moments:
        running += change
        peak = max(peak, running)
    assert peak == 3


def test_a_failed_task_is_tried_again_and_its_attempts_are_counted(system: System, job: str) -> None:
    execution = system.execute(job, [{"failures": 1}, {}])
    assert (execution["status"], execution["stats"]["retried"], execution["stats"]["success"]) == ("succeeded", 1, 2)
    assert [task["attempts"] for task in execution["tasks"]] == [2, 1]
    lines = system.logs("jobs", job, execution=execution["metadata"]["id"], task=0)
    assert {line["attempt"] for line in lines} == {"1", "2"}


def test_a_task_without_retries_left_fails_with_its_reason(system: System, job: str) -> None:
    execution = system.execute(job, [{"failures": 9, "code": 5}, {}])
    assert (execution["status"], execution["stats"]["failure"], execution["stats"]["success"]) == ("failed", 1, 1)
    task = execution["tasks"][0]
    assert (task["status"], task["attempts"], task["conditions"][0]["message"]) == ("failed", 3, "exit code 5")


def test_a_timeout_ends_a_task_and_is_named(system: System) -> None:
    spec = {"runtime": {"timeout": 1, "memory": 256}}
    system.deploy("jobs", "slow", {"main.py": PROGRAM}, spec)
    execution = system.execute("slow", [{"sleep": 60}])
    assert execution["status"] == "timeout"
    assert execution["tasks"][0]["conditions"][0]["message"].startswith("timed out after 1 s")
    system.remove("jobs", "slow")


def test_a_task_that_takes_too_much_memory_is_ended_and_named(system: System, job: str) -> None:
    execution = system.execute(job, [{"hog": 400}], memory=128)
    assert execution["status"] == "failed"
    assert execution["tasks"][0]["conditions"][0]["message"].startswith("out of memory (limit 128 MB)")
    assert execution["spec"]["memoryOverride"] == 128


def test_an_execution_overrides_variables_and_shows_them_masked(system: System, job: str) -> None:
    execution = system.execute(job, [{}], env={"MINE": "execution"})
    assert printed(system, job, execution)[0]["MINE"] == "execution"
    assert execution["spec"]["envOverride"] == {"MINE": "***"}


def test_cancelling_starts_nothing_new_and_lets_running_tasks_finish(system: System, job: str) -> None:
    started = system.api.post(f"/jobs/{job}/executions", json={"tasks": [{"sleep": 1.5}] * 12}).json()["executionId"]
    address = f"/jobs/{job}/executions/{started}"
    eventually(lambda: system.api.get(address).json()["stats"]["running"] == 3, "three tasks run")
    assert system.api.delete(address).json()["status"] == "cancelling"
    execution = system.ended(job, started)
    assert execution["status"] == "cancelled"
    assert execution["stats"]["success"] >= 3
    assert execution["stats"]["success"] + execution["stats"]["cancelled"] == 12


def test_the_same_id_with_the_same_content_is_the_same_execution(system: System, job: str) -> None:
    body = {"executionId": "mine-1", "tasks": [{"a": 1}]}
    first = system.api.post(f"/jobs/{job}/executions", json=body)
    again = system.api.post(f"/jobs/{job}/executions", json=body)
    other = system.api.post(f"/jobs/{job}/executions", json={**body, "tasks": [{"a": 2}]})
    assert (first.status_code, again.status_code, other.status_code) == (200, 200, 409)
    assert first.json()["executionId"] == again.json()["executionId"] == "mine-1"
    assert system.ended(job, "mine-1")["stats"]["total"] == 1


def test_bad_requests_name_the_field_and_the_rule(system: System, job: str) -> None:
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"tasks": [1]}, "tasks[0]"),
        ({"tasks": "all"}, "tasks"),
        ({"tasks": [{}], "memory": 100_000}, "memory"),
        ({"tasks": [{}], "memory": "much"}, "memory"),
        ({"tasks": [{}], "env": {"A": 1}}, "env.A"),
        ({"tasks": [{}], "executionId": "../x"}, "executionId"),
    )
    for body, field in cases:
        answer = system.api.post(f"/jobs/{job}/executions", json=body)
        assert answer.status_code == 400, body
        assert answer.json()["message"].startswith(f"{field}:"), answer.json()
    assert system.api.post("/jobs/none/executions", json={"tasks": [{}]}).status_code == 404


def test_the_example_runs_its_twenty_tasks_with_one_retry(system: System) -> None:
    done = system.command("deploy", "-d", str(EXAMPLE))
    assert done.returncode == 0, done.stdout + done.stderr
    ran = system.command("run", "job", "word-count", "--file", str(EXAMPLE / "tasks.json"))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    execution = system.api.get("/jobs/word-count/executions").json()["data"][0]
    assert (execution["stats"]["success"], execution["stats"]["retried"]) == (20, 1)


def test_deleting_a_job_cancels_what_runs_and_keeps_the_history(system: System) -> None:
    system.deploy("jobs", "short", {"main.py": PROGRAM}, {"runtime": {"maxConcurrentTasks": 1, "memory": 256}})
    tasks = {"tasks": [{"sleep": 1}] * 5}
    started = system.api.post("/jobs/short/executions", json=tasks).json()["executionId"]
    system.remove("jobs", "short")
    assert system.api.get(f"/jobs/short/executions/{started}").json()["status"] == "cancelled"


def test_a_jobs_url_takes_executions_and_knows_its_workspace(system: System, job: str) -> None:
    url = system.api.get(f"/jobs/{job}").json()["metadata"]["url"]
    assert url == f"{system.url}/default/jobs/{job}"
    started = system.gateway.post(f"{url}/executions", json={"tasks": [{}]})
    assert started.status_code == 200, started.text
    assert system.ended(job, started.json()["executionId"])["status"] == "succeeded"
    elsewhere = system.gateway.post(f"{system.url}/other/jobs/{job}/executions", json={"tasks": [{}]})
    assert elsewhere.status_code == 403
