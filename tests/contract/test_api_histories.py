"""The history of an execution over the API: read, verified, and cancelled at once."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any, cast

import pytest

from homeport.core.ids import ExecutionId
from homeport.identity.principals import Role
from homeport.runner import verification
from homeport.store.contract import Store, Transaction, attempt_unit
from homeport.store.records import Execution, Task
from homeport.testing.control_plane import AWAY, ControlPlane
from homeport.testing.factories import make_finish

ADDRESS = "/v0/jobs/sums/executions"
OWN = "/v0/homeport/executions/mine"


async def started(plane: ControlPlane, tasks: int = 3) -> None:
    """An execution `mine` of which the first task ended well and the second is about to start."""
    await plane.make_job("sums")
    await plane.api.post(ADDRESS, json={"executionId": "mine", "tasks": [{}] * tasks})
    now, mine = plane.clock.now(), ExecutionId("mine")

    def work(tx: Transaction) -> list[Task]:
        claimed = tx.executions.claim(mine, 2, now, "lease", now)
        tx.executions.start_attempt(attempt_unit(mine, 0, 1), "lease", now)
        tx.executions.finish_task_if_running(make_finish(attempt_unit(mine, 0, 1), "lease"), now)
        return claimed

    assert len(await plane.context.store.write(work)) == 2


async def test_a_member_verifies_an_execution_that_runs(plane: ControlPlane) -> None:
    await started(plane)
    answer = await plane.send(await plane.key(Role.MEMBER), "GET", f"{OWN}/verification")
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "execution": "mine",
            "job": "sums",
            "status": "pending",
            "valid": True,
            "complete": True,
            "tasks": 3,
            "terminal": 1,
            "lost": 0,
            "runTwice": 0,
            "mostAtOnce": 2,
            "parallelism": 10,
            "starts": 2,
            "retries": 0,
            "interrupted": 0,
            "entries": 5,
            "violated": 0,
            "violations": [],
        },
    )


async def test_a_long_history_is_verified_in_short_reads_while_it_goes_on(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each read of a part, one more task is claimed and ends: the last read finds both sides in agreement."""
    await started(plane, tasks=8)
    monkeypatch.setattr(verification, "ENTRIES_A_READ", 3)
    store, mine, seen = plane.context.store, ExecutionId("mine"), []

    def one_more(tx: Transaction) -> None:
        now = plane.clock.now()
        for task in tx.executions.claim(mine, 1, now, "lease", now):
            tx.executions.finish_task_if_running(make_finish(attempt_unit(mine, task.index, 1), "lease"), now)

    def find(tx: Transaction) -> Execution:
        seen.append(len([*tx.executions.entries(mine, 0, 1000)]))
        execution = tx.executions.get(mine)
        assert execution is not None
        return execution

    class Busy:
        async def read(self, work: Callable[[Transaction], Any]) -> Any:
            await store.write(one_more)
            return await store.read(work)

    execution, report = await verification.examine_in_parts(cast(Store, Busy()), find)
    assert (report.violations, report.total, report.starts) == ([], 8, 8)
    assert (execution.succeeded, execution.running, report.terminal) == (7, 1, 7)
    assert len(seen) > 6 and seen[1] < seen[4], "it was read in parts, and grew meanwhile"


async def test_what_does_not_follow_from_the_history_is_told(plane: ControlPlane) -> None:
    await started(plane)
    with closing(sqlite3.connect(plane.context.data.database)) as raw, raw:
        raw.execute('UPDATE tasks SET status = 3 WHERE "index" = 0')
    found = (await plane.api.get(f"{OWN}/verification")).json()
    assert (found["valid"], found["violated"]) == (False, 3)
    assert found["violations"][0] == {
        "rule": "stored",
        "message": "status of task 0: succeeded by the log, stored is failed",
    }


async def test_an_execution_older_than_the_log_says_so(plane: ControlPlane) -> None:
    await started(plane)
    with closing(sqlite3.connect(plane.context.data.database)) as raw, raw:
        raw.execute("DELETE FROM history")
        raw.execute("INSERT INTO history (execution, seq, at, kind) SELECT number, 1, updated_at, 0 FROM executions")
    found = (await plane.api.get(f"{OWN}/verification")).json()
    assert (found["valid"], found["complete"], found["terminal"], found["tasks"]) == (True, False, 1, 3)


async def test_a_history_is_read_in_pages(plane: ControlPlane) -> None:
    await started(plane)
    entries: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = (await plane.api.get(f"{OWN}/history", params={"after": after, "limit": 2})).json()
        entries += page["data"]
        after = page.get("next")
    assert [(entry["seq"], entry["kind"]) for entry in entries] == [
        (1, "accepted"),
        (2, "claimed"),
        (3, "claimed"),
        (4, "started"),
        (5, "ended"),
    ]
    ended = {key: value for key, value in entries[-1].items() if key not in ("seq", "time", "kind")}
    assert ended == {"task": 0, "attempt": 1, "ended": "succeeded", "taskStatus": "succeeded", "exitCode": 0}
    assert len((await plane.api.get(f"{OWN}/history", params={"limit": 10**20})).json()["data"]) == 5
    for wrong in ({"after": -1}, {"limit": 0}, {"after": "x"}, {"after": 10**20}):
        assert (await plane.api.get(f"{OWN}/history", params=wrong)).status_code == 400, wrong


async def test_the_history_of_another_workspace_is_not_found(plane: ControlPlane) -> None:
    await started(plane)
    stranger = await plane.key(Role.ADMIN, workspace=AWAY)
    for path in (f"{OWN}/history", f"{OWN}/verification", f"{OWN}er/verification"):
        assert (await plane.send(stranger, "GET", path)).status_code == 404, path


async def test_cancel_now_is_stored_and_a_grace_goes_with_it_only(plane: ControlPlane) -> None:
    await started(plane)
    for query, words in (
        ({"grace": 5}, "grace: goes with now=true"),
        ({"now": "true", "grace": -1}, "grace"),
        ({"now": "true", "grace": 601}, "grace"),
        ({"now": "perhaps"}, "now"),
    ):
        refused = await plane.api.delete(f"{ADDRESS}/mine", params=query)
        assert (refused.status_code, words in refused.json()["message"]) == (400, True), refused.text
    for query, stored in (({"now": "false"}, None), ({"now": "true"}, 10), ({"now": "true", "grace": 3}, 3)):
        answer = await plane.api.delete(f"{ADDRESS}/mine", params=query)
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelling")
        execution = await plane.context.store.read(lambda tx: tx.executions.get(ExecutionId("mine")))
        assert execution is not None and execution.stop_grace_s == stored
