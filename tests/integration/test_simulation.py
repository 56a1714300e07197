"""The server's loops and decisions under seeded faults on virtual time: nothing is found in the product, and what is
broken on purpose is."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from random import SystemRandom
from typing import Any

import pytest
from sqlalchemy import bindparam, select

from homeport.app import governance
from homeport.core.units import Outcome
from homeport.jobs import execution
from homeport.jobs.retry import AttemptRule, Next, after_attempt
from homeport.jobs.states import TaskStatus
from homeport.policy.decision import decide
from homeport.reconcile import replicas
from homeport.runner import dispatch, outcomes
from homeport.store import tasks
from homeport.store.executions import SqlExecutions
from homeport.store.tables import executions
from homeport.testing.simulation import server
from homeport.testing.simulation.__main__ import report
from homeport.testing.simulation.world import simulate
from homeport.workloads import rollout

FIXED = range(120)
FRESH = 20
SEEDS_A_MUTATION = 80  # at the most: a mistake that so many runs do not meet is not looked for


def _check(seed: int) -> None:
    machine = simulate(seed)
    assert not machine.found, report(machine)


@pytest.mark.parametrize("first", FIXED[::40])
def test_nothing_is_lost_whatever_a_seed_brings(first: int) -> None:
    for seed in range(first, first + 40):
        _check(seed)


def test_nothing_is_lost_whatever_a_fresh_seed_brings() -> None:
    first = SystemRandom().randrange(10**9)
    print(f"seeds {first} to {first + FRESH - 1}")
    for seed in range(first, first + FRESH):
        _check(seed)


def test_a_seed_repeats_itself_in_another_process() -> None:
    command = [sys.executable, "-m", "homeport.testing.simulation", "--seed", "3", "--verbose"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    machine = simulate(3)
    assert "server 1 starts" in printed
    assert report(machine, whole=True) in printed


Mutation = Callable[[pytest.MonkeyPatch], None]


def _one_more_than_allowed(patch: pytest.MonkeyPatch) -> None:
    def capacity(parallelism: int, running: int, machine_free: int) -> int:
        return max(0, min(parallelism + 1 - running, machine_free))

    patch.setattr(execution, "capacity", capacity)
    room = select(executions.c.parallelism - executions.c.running + 1)
    patch.setattr(tasks, "_ROOM", room.where(executions.c.id == bindparam("execution_id")))


def _more_than_the_machine_has_room_for(patch: pytest.MonkeyPatch) -> None:
    shares = dispatch.shares
    patch.setattr(dispatch, "shares", lambda waiting, free: shares(waiting, free + 1))


def _decides(change: Callable[[Outcome, Next], Next]) -> Mutation:
    """The retry rule with what it decides changed."""

    def mutate(patch: pytest.MonkeyPatch) -> None:
        def decided(outcome: Outcome, *given: Any) -> Next:
            return change(outcome, after_attempt(outcome, *given))

        patch.setattr(outcomes, "after_attempt", decided)

    return mutate


def _lost_attempts_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    def decided(outcome: Outcome, attempts: int, *given: Any) -> Next:
        return after_attempt(outcome, 1 if outcome.lost else attempts, *given)

    patch.setattr(outcomes, "after_attempt", decided)


def _again_after_success(outcome: Outcome, due: Next) -> Next:
    return replace(due, task_status=TaskStatus.PENDING) if outcome.succeeded else due


def _interrupted_starts_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Any) -> None:
        pass

    patch.setattr(dispatch.Runner, "_resume", nothing)


def _cancelled_tasks_are_tried_again(patch: pytest.MonkeyPatch) -> None:
    def decided(
        outcome: Outcome, attempts: int, rule: AttemptRule, now: datetime, jitter: float, cancelling: bool
    ) -> Next:
        return after_attempt(outcome, attempts, rule, now, jitter, False)

    patch.setattr(outcomes, "after_attempt", decided)


def _cancel_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SqlExecutions, "cancel_pending_tasks", lambda *_: 0)
    unfinished = SqlExecutions.unfinished
    patch.setattr(
        SqlExecutions,
        "unfinished",
        lambda self: [replace(one, cancel_requested_at=None) for one in unfinished(self)],
    )


def _cancel_now_stops_nothing(patch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Any, executions: Any) -> None:
        pass

    patch.setattr(dispatch.Runner, "_stop_what_shall", nothing)


def _terminal_states_change(patch: pytest.MonkeyPatch) -> None:
    def settle(tx: Any, execution_id: Any, now: datetime) -> None:
        found = tx.executions.get(execution_id)
        if found and not found.running:
            tx._connection.exec_driver_sql(
                "UPDATE executions SET status = CASE status WHEN 'failed' THEN 'succeeded' ELSE 'failed' END "
                "WHERE pending = 0 AND running = 0"
            )

    patch.setattr(dispatch, "settle", settle)
    patch.setattr(outcomes, "settle", settle)


def _answers_before_it_commits(patch: pytest.MonkeyPatch) -> None:
    """What was not committed is told as done."""
    write = server._StoreOf.write

    async def hasty(self: Any, work: Any) -> Any:
        answers: list[Any] = []

        def noting(tx: Any) -> Any:
            answers.append(work(tx))
            return answers[-1]

        try:
            return await write(self, noting)
        except server.StoreUnavailable:
            return answers[-1]

    patch.setattr(server._StoreOf, "write", hasty)


def _serves_before_it_is_ready(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rollout, "_is_ready", lambda replica: replica.alive)


def _restarts_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rollout, "restart_wait_s", lambda restarts: 0.0)


def _ports_are_given_twice(patch: pytest.MonkeyPatch) -> None:
    async def one(self: Any) -> int:
        return 20_000

    patch.setattr(replicas.Performer, "_free_port", one)


def _accounts_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(replicas, "end_account", lambda *_: None)


def _stops_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    """The garbage loop ends the unit a minute later, as it would after a death."""

    async def row_alone(self: Any, workload: Any, action: Any) -> None:
        await self._store.write(lambda tx: tx.replicas.delete(action.replica_id))

    patch.setattr(replicas.Performer, "_stop_replica", row_alone)


def _policies_are_not_asked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(governance, "decide", lambda kind, rules, regions: decide(kind, [], regions))


def _what_was_accepted_is_swept(patch: pytest.MonkeyPatch) -> None:
    def discard(self: Any, *_: Any) -> int:
        return int(self._connection.exec_driver_sql("DELETE FROM executions WHERE status = 'pending'").rowcount)

    patch.setattr(SqlExecutions, "discard_staged", discard)


MUTATIONS: dict[str, Mutation] = {
    "one more than allowed runs": _one_more_than_allowed,
    "one more runs than there is room for": _more_than_the_machine_has_room_for,
    "lost attempts are not counted": _lost_attempts_are_not_counted,
    "a task that has succeeded runs again": _decides(_again_after_success),
    "interrupted starts are forgotten": _interrupted_starts_are_forgotten,
    "cancelled tasks are tried again": _cancelled_tasks_are_tried_again,
    "cancel is ignored": _cancel_is_ignored,
    "cancel at once stops nothing": _cancel_now_stops_nothing,
    "terminal states change": _terminal_states_change,
    "the store answers before it commits": _answers_before_it_commits,
    "a revision serves before it is ready": _serves_before_it_is_ready,
    "replicas restart at once": _restarts_at_once,
    "ports are given twice": _ports_are_given_twice,
    "accounts outlive their workloads": _accounts_stay,
    "a replica's stop is forgotten": _stops_are_forgotten,
    "policies are not asked": _policies_are_not_asked,
    "what was accepted is swept": _what_was_accepted_is_swept,
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_rule_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTATIONS[name](monkeypatch)
    assert any(simulate(seed).found for seed in range(SEEDS_A_MUTATION)), f"not found: {name}"
