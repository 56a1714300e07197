"""The history checker: a history that the rules make is flawless, and each kind of flaw in one is found."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from homeport.core.units import Outcome
from homeport.jobs.entries import Entry, EntryKind, Stored, StoredTask
from homeport.jobs.execution import Counts, status_of
from homeport.jobs.history import VIOLATIONS_KEPT, Violation, examine
from homeport.jobs.retry import AttemptRule, after_attempt
from homeport.jobs.states import AttemptState, ExecutionStatus, TaskStatus

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
OUTCOMES = (
    Outcome(exit_code=0),
    Outcome(exit_code=3),
    Outcome(signal=9, timed_out=True),
    Outcome(lost=True),
    Outcome(signal=15, stopped=True),
)
SEEDS = st.integers(0, 2**32)


@dataclass(slots=True)
class Made:
    """An execution that goes its way by the product's own rules, and the history of it."""

    random: Random
    total: int
    parallelism: int
    max_retries: int
    history: list[Entry] = field(default_factory=list)
    tasks: list[TaskStatus] = field(default_factory=list)
    attempts: list[list[AttemptState]] = field(default_factory=list)
    status: ExecutionStatus = ExecutionStatus.PENDING
    cancelling: bool = False
    timed_out: int = 0
    retried: int = 0

    def add(self, kind: EntryKind, **said: Any) -> None:
        seq = len(self.history) + 1
        self.history.append(Entry(seq=seq, at=NOON + timedelta(seconds=seq), kind=kind, **said))

    def accept(self) -> None:
        self.tasks = [TaskStatus.PENDING] * self.total
        self.attempts = [[] for _ in range(self.total)]
        self.add(EntryKind.ACCEPTED, amount=self.total)

    def counts(self) -> Counts:
        known = {status.value: self.tasks.count(status) for status in TaskStatus}
        return Counts(**known, timed_out=self.timed_out, retried=self.retried)

    def settle(self) -> None:
        status = status_of(self.status, self.counts(), cancel_requested=self.cancelling)
        if status is not self.status:
            self.status = status
            self.add(EntryKind.STATUS, status=status)

    def step(self, may_cancel: bool) -> None:
        waiting = [index for index, task in enumerate(self.tasks) if task is TaskStatus.PENDING]
        running = [index for index, task in enumerate(self.tasks) if task is TaskStatus.RUNNING]
        choice = self.random.random()
        if may_cancel and not self.cancelling and choice < 0.05:
            self.cancel(len(waiting))
        elif waiting and len(running) < self.parallelism and choice < 0.5:
            self.claim(self.random.choice(waiting))
        elif running:
            index = self.random.choice(running)
            if self.attempts[index][-1] is AttemptState.STARTING and choice < 0.8:
                self.attempts[index][-1] = AttemptState.RUNNING
                self.add(EntryKind.STARTED, index=index, number=len(self.attempts[index]))
            else:
                self.end(index)

    def claim(self, index: int) -> None:
        self.tasks[index] = TaskStatus.RUNNING
        self.attempts[index].append(AttemptState.STARTING)
        self.add(EntryKind.CLAIMED, index=index, number=len(self.attempts[index]))
        self.settle()

    def end(self, index: int) -> None:
        rule = AttemptRule(max_retries=self.max_retries, timeout_s=1, memory_mb=1)
        counted = len(self.attempts[index]) - self.attempts[index].count(AttemptState.STOPPED)
        verdict = after_attempt(self.random.choice(OUTCOMES), counted, rule, NOON, 0.5, self.cancelling)
        self.attempts[index][-1] = verdict.attempt_state
        self.tasks[index] = verdict.task_status
        self.timed_out += (verdict.task_status, verdict.attempt_state) == (TaskStatus.FAILED, AttemptState.TIMED_OUT)
        again = verdict.task_status is TaskStatus.PENDING
        self.retried += again and verdict.attempt_state is not AttemptState.STOPPED
        said = {"attempt": verdict.attempt_state, "task": verdict.task_status, "due": verdict.not_before}
        self.add(EntryKind.ENDED, index=index, number=len(self.attempts[index]), **said)
        self.settle()

    def cancel(self, waiting: int) -> None:
        self.cancelling, self.status = True, ExecutionStatus.CANCELLING
        self.add(EntryKind.STATUS, status=self.status)
        if waiting:
            self.tasks = [TaskStatus.CANCELLED if task is TaskStatus.PENDING else task for task in self.tasks]
            self.add(EntryKind.CANCELLED, amount=waiting)
        if self.random.random() < 0.5:
            self.add(EntryKind.STOP_ASKED, amount=5)
        self.settle()

    def stored(self) -> Stored:
        tasks = [
            StoredTask(index=index, status=task, attempts=tuple(self.attempts[index]))
            for index, task in enumerate(self.tasks)
        ]
        return Stored(
            status=self.status,
            parallelism=self.parallelism,
            max_retries=self.max_retries,
            total=self.total,
            counts=self.counts(),
            lost=sum(attempts.count(AttemptState.LOST) for attempts in self.attempts),
            tasks=tasks,
        )


def made(seed: int, *, whole: bool = False, may_cancel: bool = True) -> Made:
    """An execution drawn from `seed`, at its end if it shall be `whole`, else anywhere."""
    random = Random(seed)
    one = Made(random, total=random.randint(1, 8), parallelism=random.randint(1, 4), max_retries=random.randint(0, 2))
    one.accept()
    steps = 10_000 if whole else random.randint(0, 60)
    for _ in range(steps):
        if one.status.terminal:
            break
        one.step(may_cancel)
    assert one.status.terminal or not whole
    return one


@given(SEEDS)
def test_a_history_that_the_rules_make_is_flawless_at_any_moment(seed: int) -> None:
    one = made(seed)
    report = examine(one.history, one.stored())
    assert report.violations == []
    starts = sum(len(attempts) for attempts in one.attempts)
    assert (report.starts, report.retries, report.entries) == (starts, one.retried, len(one.history))
    assert report.terminal == sum(task.terminal for task in one.tasks)
    assert report.most_at_once <= one.parallelism
    assert report.run_twice == 0


def check(history: Iterable[Entry], stored: Stored) -> list[Violation]:
    return examine(history, stored).violations


def places(history: list[Entry], true: Callable[[Entry], bool]) -> list[int]:
    return [place for place, entry in enumerate(history) if true(entry)]


def is_kind(*kinds: EntryKind) -> Callable[[Entry], bool]:
    return lambda entry: entry.kind in kinds


def is_end(entry: Entry) -> bool:
    return entry.status is not None and entry.status.terminal


OF_TASKS = (EntryKind.CLAIMED, EntryKind.STARTED, EntryKind.ENDED)
# What is done to a history, to which of its entries, and the rule that it breaks (one of them).
Flaw = tuple[Callable[[Entry], bool], Callable[[Entry], list[Entry]], set[str]]
FLAWS: dict[str, Flaw] = {
    "the acceptance is gone": (is_kind(EntryKind.ACCEPTED), lambda _: [], {"accepted-first"}),
    "accepted twice": (is_kind(EntryKind.ACCEPTED), lambda one: [one, one], {"accepted-first"}),
    "fewer were accepted": (
        is_kind(EntryKind.ACCEPTED),
        lambda one: [replace(one, amount=(one.amount or 0) - 1)],
        {"stored", "unknown-task"},
    ),
    "a start was not durable": (is_kind(EntryKind.CLAIMED), lambda _: [], {"durable-before-start", "one-end-each"}),
    "a task starts twice at once": (is_kind(EntryKind.CLAIMED), lambda one: [one, one], {"at-most-one-run"}),
    "a number is left out": (
        is_kind(EntryKind.CLAIMED),
        lambda one: [replace(one, number=(one.number or 0) + 1)],
        {"attempts-in-order"},
    ),
    "a process is there twice": (is_kind(EntryKind.STARTED), lambda one: [one, one], {"durable-before-start"}),
    "a process of another attempt": (
        is_kind(EntryKind.STARTED),
        lambda one: [replace(one, number=(one.number or 0) + 1)],
        {"durable-before-start"},
    ),
    "an end is gone": (is_kind(EntryKind.ENDED), lambda _: [], {"at-most-one-run", "one-terminal-status"}),
    "an end is repeated": (is_kind(EntryKind.ENDED), lambda one: [one, one], {"one-end-each", "nothing-after-the-end"}),
    "an end says nothing": (is_kind(EntryKind.ENDED), lambda one: [replace(one, attempt=None)], {"ends-say-how"}),
    "an end is none": (
        is_kind(EntryKind.ENDED),
        lambda one: [replace(one, attempt=AttemptState.RUNNING)],
        {"ends-say-how"},
    ),
    "a success is tried again": (
        lambda one: one.task is TaskStatus.SUCCEEDED,
        lambda one: [replace(one, task=TaskStatus.PENDING)],
        {"retry-rule"},
    ),
    "a failure is given up too soon": (
        lambda one: one.task is TaskStatus.PENDING,
        lambda one: [replace(one, task=TaskStatus.FAILED)],
        {"retry-rule"},
    ),
    "a failure is tried too often": (
        lambda one: one.task is TaskStatus.FAILED,
        lambda one: [replace(one, task=TaskStatus.PENDING)],
        {"retry-rule"},
    ),
    "a task of another execution": (
        is_kind(*OF_TASKS),
        lambda one: [replace(one, index=(one.index or 0) + 100)],
        {"unknown-task"},
    ),
    "a task starts after the end": (
        is_end,
        lambda one: [one, Entry(seq=0, at=one.at, kind=EntryKind.CLAIMED, index=0, number=9)],
        {"nothing-after-the-end"},
    ),
    "it ends twice": (is_end, lambda one: [one, one], {"nothing-after-the-end"}),
    "it ends otherwise": (
        is_end,
        lambda one: [replace(one, status=_other(one.status))],
        {"one-terminal-status"},
    ),
    "its end is gone": (is_end, lambda _: [], {"stored"}),
    "it is cancelled though nobody asked": (
        lambda one: one.status is ExecutionStatus.CANCELLING,
        lambda _: [],
        {"cancelled-by-cancel-only", "one-terminal-status"},
    ),
    "too few are cancelled": (
        is_kind(EntryKind.CANCELLED),
        lambda one: [replace(one, amount=(one.amount or 0) + 1)],
        {"cancelled-by-cancel-only"},
    ),
    "a stop without a cancel": (
        is_kind(EntryKind.ACCEPTED),
        lambda one: [one, Entry(seq=0, at=one.at, kind=EntryKind.STOP_ASKED, amount=5)],
        {"stop-without-cancel"},
    ),
    "it ends with tasks that wait": (
        is_kind(EntryKind.ACCEPTED),
        lambda one: [one, Entry(seq=0, at=one.at, kind=EntryKind.STATUS, status=ExecutionStatus.SUCCEEDED)],
        {"one-terminal-status"},
    ),
}


def _other(status: ExecutionStatus | None) -> ExecutionStatus:
    return ExecutionStatus.FAILED if status is not ExecutionStatus.FAILED else ExecutionStatus.SUCCEEDED


def renumbered(history: list[Entry]) -> list[Entry]:
    return [replace(entry, seq=seq) for seq, entry in enumerate(history, 1)]


def seeds() -> Iterator[int]:
    yield from range(1000)


@pytest.mark.parametrize("name", FLAWS)
def test_every_flaw_of_a_history_is_found(name: str) -> None:
    """Wherever it is, in many histories; the entries are numbered anew, so that no gap gives it away."""
    true, change, rules = FLAWS[name]
    tried = 0
    for seed in seeds():
        one = made(seed, whole=True)
        for place in places(one.history, true):
            flawed = [*one.history[:place], *change(one.history[place]), *one.history[place + 1 :]]
            found = {violation.rule for violation in check(renumbered(flawed), one.stored())}
            assert found & rules, (seed, place, found)
            tried += 1
        if tried >= 300:
            return
    assert tried >= 20, f"too few histories where it can happen: {tried}"


@given(SEEDS, st.data())
def test_an_entry_that_is_missing_or_repeated_is_a_gap(seed: int, data: st.DataObject) -> None:
    one = made(seed)
    assume(len(one.history) > 1)
    place = data.draw(st.integers(0, len(one.history) - 2))  # one that is missing at the end shows in what is stored
    without = [*one.history[:place], *one.history[place + 1 :]]
    twice = [*one.history[: place + 1], *one.history[place:]]
    for flawed in (without, twice):
        assert any(violation.rule == "gap" for violation in check(flawed, one.stored()))


@given(SEEDS)
def test_a_history_that_is_cut_short_does_not_explain_what_is_stored(seed: int) -> None:
    one = made(seed, whole=True)
    for length in range(len(one.history)):
        assert check(one.history[:length], one.stored()), length


@given(SEEDS, st.data())
def test_whatever_is_stored_otherwise_is_found(seed: int, data: st.DataObject) -> None:
    one = made(seed)
    stored = one.stored()
    tasks = [*stored.tasks]
    place = data.draw(st.integers(0, len(tasks) - 1))
    task = tasks[place]

    def with_task(*others: StoredTask) -> Stored:
        return replace(stored, tasks=[*tasks[:place], *others, *tasks[place + 1 :]])

    status = next(status for status in TaskStatus if status is not task.status)
    flawed = [
        replace(stored, status=next(status for status in ExecutionStatus if status is not stored.status)),
        replace(stored, total=stored.total + 1),
        replace(stored, lost=stored.lost + 1),
        replace(stored, counts=replace(stored.counts, retried=stored.counts.retried + 1)),
        replace(stored, counts=replace(stored.counts, timed_out=stored.counts.timed_out + 1)),
        replace(stored, counts=replace(stored.counts, cancelled=stored.counts.cancelled + 1)),
        with_task(),
        with_task(task, task),
        with_task(replace(task, status=status)),
        with_task(replace(task, attempts=(*task.attempts, AttemptState.LOST))),
    ]
    for number, one_flaw in enumerate(flawed):
        assert check(one.history, one_flaw), number


@given(SEEDS)
def test_a_limit_that_was_lower_would_have_been_exceeded(seed: int) -> None:
    one = made(seed, whole=True)
    report = examine(one.history, one.stored())
    assume(report.most_at_once > 1)
    lower = replace(one.stored(), parallelism=report.most_at_once - 1)
    assert any(violation.rule == "parallelism" for violation in check(one.history, lower))
    counted = max(len(states) - states.count(AttemptState.STOPPED) for states in one.attempts)
    if counted > 1:
        fewer = replace(one.stored(), max_retries=counted - 2)
        assert any(violation.rule == "starts-within-retries" for violation in check(one.history, fewer))


def test_a_task_that_starts_after_a_cancel_is_found() -> None:
    one = made(1, whole=True, may_cancel=False)
    place = places(one.history, is_kind(EntryKind.CLAIMED))[-1]
    asked = Entry(seq=0, at=NOON, kind=EntryKind.STATUS, status=ExecutionStatus.CANCELLING)
    flawed = renumbered([*one.history[:place], asked, *one.history[place:]])
    assert "nothing-new-after-cancel" in {violation.rule for violation in check(flawed, one.stored())}


def test_a_task_that_ran_twice_is_counted_once() -> None:
    one = made(3, whole=True, may_cancel=False)
    claims = places(one.history, is_kind(EntryKind.CLAIMED))
    again = one.history[claims[0]]
    flawed = renumbered([*one.history[: claims[0] + 1], again, again, *one.history[claims[0] + 1 :]])
    assert examine(flawed, one.stored()).run_twice == 1


def test_an_execution_without_a_log_is_no_complete_one_and_is_told() -> None:
    one = made(4, whole=True)
    assert [violation.rule for violation in check([], one.stored())] == ["log"]
    before = [Entry(seq=1, at=NOON, kind=EntryKind.BEFORE)]
    report = examine([*before, *renumbered([*before, *one.history[1:]])[1:]], one.stored())
    assert (report.violations, report.complete, report.terminal) == ([], False, one.total)
    wrong = replace(one.stored(), counts=replace(one.stored().counts, failed=99))
    assert [violation.rule for violation in check(before, wrong)] == ["stored"]


def test_a_thoroughly_broken_history_is_told_within_bounds() -> None:
    end = Entry(seq=1, at=NOON, kind=EntryKind.ENDED, index=0, number=1)
    report = examine([end] * 5000, made(5).stored())
    assert len(report.violations) == VIOLATIONS_KEPT < report.violated
