"""The history of an execution: what was logged of it, and whether that is a history that may be.

The store writes an entry in the commit of each change; `examine` replays the entries, holds every rule of
`docs/semantics.md` that a history can show against them, and compares what comes out with what is stored. It shares no
decision with the code that it checks, so that a mistake there is not repeated here. It reads nothing by itself.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from homeport.jobs.entries import Entry, EntryKind, Stored, StoredTask
from homeport.jobs.states import AttemptState, ExecutionStatus, TaskStatus

VIOLATIONS_KEPT = 1000  # a broken history of a million tasks breaks the same rule a million times


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A rule that a history breaks. `seq` is the entry that breaks it, None for a difference from what is stored."""

    rule: str
    message: str
    seq: int | None = None


@dataclass(slots=True, kw_only=True)
class Report:
    """What was found. `complete` is False for an execution that began before the log: then only what is stored was
    looked at. `violations` are the first ones of `violated`. `run_twice` counts tasks that started while an attempt of
    theirs ran, or after they had ended. `interrupted` attempts are those that Homeport stopped."""

    entries: int = 0
    complete: bool = True
    total: int = 0
    terminal: int = 0
    lost: int = 0
    run_twice: int = 0
    most_at_once: int = 0
    starts: int = 0
    retries: int = 0
    interrupted: int = 0
    violated: int = 0
    violations: list[Violation] = field(default_factory=list)


def examine(history: Iterable[Entry], stored: Stored) -> Report:
    """What the history says, without violations where it may be and explains what is stored."""
    replay = Replay(stored.parallelism, stored.max_retries)
    for entry in history:
        replay.feed(entry)
    replay.compare(stored)
    return replay.report


_STATES = list(AttemptState)
_BYTES = {state: bytes([place]) for place, state in enumerate(_STATES)}


class Replay:
    """The state that the entries so far lead to. A task's attempts are one byte each: a million tasks are normal."""

    def __init__(self, parallelism: int, max_retries: int) -> None:
        self.report = Report()
        self._parallelism = parallelism
        self._max_retries = max_retries
        self._status: ExecutionStatus | None = None  # None: nothing was accepted yet
        self._cancelling = False
        self._tasks: list[TaskStatus] = []
        self._attempts: list[bytes] = []
        self._counts: Counter[TaskStatus] = Counter()
        self._timed_out = 0
        self._twice: set[int] = set()

    # Entries

    def feed(self, entry: Entry) -> None:
        """Take in the next entry; what it breaks is in the report."""
        self.report.entries += 1
        if entry.seq != self.report.entries:
            self._violate("gap", f"entry {entry.seq} stands where {self.report.entries} is due", entry)
            self.report.entries = entry.seq
        if not self.report.complete:
            return
        if entry.kind is EntryKind.BEFORE and self._status is None:
            self.report.complete = False
        elif entry.kind is EntryKind.ACCEPTED:
            self._accepted(entry)
        elif self._status is None:
            self._violate("accepted-first", f"{entry.kind} before the execution was accepted", entry)
        elif self._status.terminal:
            self._violate("nothing-after-the-end", f"{entry.kind} after the execution was {self._status}", entry)
            self._repeated(entry)
        else:
            self._apply(entry)

    def _accepted(self, entry: Entry) -> None:
        if self._status is not None:
            self._violate("accepted-first", "accepted a second time", entry)
            return
        self._status = ExecutionStatus.PENDING
        self.report.total = entry.amount or 0
        self._tasks = [TaskStatus.PENDING] * self.report.total
        self._attempts = [b""] * self.report.total
        self._counts[TaskStatus.PENDING] = self.report.total

    def _apply(self, entry: Entry) -> None:
        if entry.kind is EntryKind.STATUS:
            self._moved(entry)
        elif entry.kind is EntryKind.CANCELLED:
            self._cancelled(entry)
        elif entry.kind is EntryKind.STOP_ASKED:
            if not self._cancelling:
                self._violate("stop-without-cancel", "what runs shall stop, but it is not being cancelled", entry)
        elif entry.index is None or not 0 <= entry.index < self.report.total:
            self._violate("unknown-task", f"{entry.kind} of task {entry.index} of {self.report.total}", entry)
        elif entry.kind is EntryKind.CLAIMED:
            self._claimed(entry, entry.index)
        elif entry.kind is EntryKind.STARTED:
            self._started(entry, entry.index)
        elif entry.kind is EntryKind.ENDED:
            self._ended(entry, entry.index)
        else:
            self._violate("accepted-first", f"{entry.kind} in the middle", entry)

    def _claimed(self, entry: Entry, index: int) -> None:
        task, attempts = self._tasks[index], self._attempts[index]
        self.report.starts += 1
        if task is not TaskStatus.PENDING:
            self._repeated(entry)
            rule = "at-most-one-run" if task is TaskStatus.RUNNING else "nothing-after-the-end"
            self._violate(rule, f"task {index} starts while it is {task}", entry)
        if self._cancelling:
            self._violate("nothing-new-after-cancel", f"task {index} starts", entry)
        if entry.number != len(attempts) + 1:
            self._violate("attempts-in-order", f"attempt {entry.number} of task {index} after {len(attempts)}", entry)
        if self._count(attempts) > self._max_retries:
            limit = f"it may start {1 + self._max_retries} times"
            self._violate("starts-within-retries", f"task {index} starts again, though {limit}", entry)
        self._attempts[index] = attempts + _BYTES[AttemptState.STARTING]
        self._set(index, TaskStatus.RUNNING)
        running = self._counts[TaskStatus.RUNNING]
        self.report.most_at_once = max(self.report.most_at_once, running)
        if running > self._parallelism:
            self._violate("parallelism", f"{running} tasks run, {self._parallelism} may", entry)

    def _started(self, entry: Entry, index: int) -> None:
        if not self._is_open(entry, index, AttemptState.STARTING):
            what = f"attempt {entry.number} of task {index} runs"
            self._violate("durable-before-start", f"{what}, though none is about to start", entry)
            return
        self._attempts[index] = self._attempts[index][:-1] + _BYTES[AttemptState.RUNNING]

    def _ended(self, entry: Entry, index: int) -> None:
        if not self._is_open(entry, index, AttemptState.STARTING, AttemptState.RUNNING):
            what = f"attempt {entry.number} of task {index} ends"
            self._violate("one-end-each", f"{what}, though it had ended or never begun", entry)
            return
        ended, task = entry.attempt, entry.task
        if ended is None or ended.open or task is None:
            self._violate("ends-say-how", f"attempt {entry.number} of task {index} ends as {ended}", entry)
            return
        attempts = self._attempts[index] = self._attempts[index][:-1] + _BYTES[ended]
        due = self._after(ended, attempts)
        if task is not due:
            what = f"task {index} is {task} after attempt {entry.number} was {ended}"
            self._violate("retry-rule", f"{what}; it must be {due}", entry)
        self._set(index, task)
        self.report.lost += ended is AttemptState.LOST
        self.report.interrupted += ended is AttemptState.STOPPED
        self.report.retries += task is TaskStatus.PENDING and ended is not AttemptState.STOPPED
        self._timed_out += task is TaskStatus.FAILED and ended is AttemptState.TIMED_OUT

    def _after(self, ended: AttemptState, attempts: bytes) -> TaskStatus:
        """What the task of an attempt that ended so must be."""
        if ended is AttemptState.SUCCEEDED:
            return TaskStatus.SUCCEEDED
        if ended is not AttemptState.STOPPED and self._count(attempts) > self._max_retries:
            return TaskStatus.FAILED
        return TaskStatus.CANCELLED if self._cancelling else TaskStatus.PENDING

    def _cancelled(self, entry: Entry) -> None:
        waiting = self._counts[TaskStatus.PENDING]
        if not self._cancelling:
            self._violate("cancelled-by-cancel-only", "tasks are cancelled, their execution is not", entry)
        if entry.amount != waiting:
            self._violate("cancelled-by-cancel-only", f"{entry.amount} are cancelled, {waiting} waited", entry)
        for index, task in enumerate(self._tasks):
            if task is TaskStatus.PENDING:
                self._set(index, TaskStatus.CANCELLED)

    def _moved(self, entry: Entry) -> None:
        status = entry.status
        if status is ExecutionStatus.CANCELLING:
            self._cancelling = True
        elif status not in self._allowed():
            self._violate("one-terminal-status", f"{status} after {self._status}, with {self._said()}", entry)
        if status is not None:
            self._status = status

    def _allowed(self) -> tuple[ExecutionStatus, ...]:
        """The statuses that the tasks allow now."""
        counts = self._counts
        if counts[TaskStatus.PENDING] + counts[TaskStatus.RUNNING]:
            if self._cancelling:
                return ()
            begun = ExecutionStatus.RUNNING
            return (begun,) if self.report.starts else (ExecutionStatus.QUEUED, ExecutionStatus.PENDING)
        if self._cancelling:
            return (ExecutionStatus.CANCELLED,)
        if not counts[TaskStatus.FAILED]:
            return (ExecutionStatus.SUCCEEDED,)
        late = self._timed_out == counts[TaskStatus.FAILED]
        return (ExecutionStatus.TIMEOUT if late else ExecutionStatus.FAILED,)

    # What is stored

    def compare(self, stored: Stored) -> None:
        """Hold what the entries lead to against what is stored; call it once, after the last entry."""
        if self._status is None and self.report.complete:
            self._violate("log", "nothing was logged of it")
            self.report.complete = False
        found: Counter[TaskStatus] = Counter()
        due = 0
        for task in stored.tasks:
            if task.index != due:
                self._violate("stored", f"task {task.index} stands where {due} is due")
            due = task.index + 1
            found[task.status] += 1
            if self.report.complete:
                self._compare_task(task)
        self.report.terminal = sum(count for status, count in found.items() if status.terminal)
        counts = stored.counts
        self._same("total", due, stored.total, "tasks are there, the count says")
        for status in TaskStatus:
            self._same(str(status), found[status], getattr(counts, status.value), "tasks are, the count says")
        if stored.status.terminal and counts.open:
            self._violate("accepted-is-never-lost", f"it is {stored.status}, and {counts.open} tasks have not ended")
        if not self.report.complete:
            self.report.total, self.report.lost, self.report.retries = stored.total, stored.lost, counts.retried
            return
        self._same("status", str(self._status), stored.status.value)
        self._same("number of tasks", self.report.total, stored.total)
        self._same("lost", self.report.lost, stored.lost)
        self._same("retried", self.report.retries, counts.retried)
        self._same("timed out", self._timed_out, counts.timed_out)

    def _compare_task(self, task: StoredTask) -> None:
        if task.index >= self.report.total:
            self._violate("stored", f"task {task.index} was never accepted")
            return
        self._same(f"status of task {task.index}", str(self._tasks[task.index]), task.status.value)
        attempts = tuple(_STATES[place] for place in self._attempts[task.index])
        if attempts != task.attempts:
            logged, kept = ", ".join(attempts) or "none", ", ".join(task.attempts) or "none"
            self._violate("stored", f"attempts of task {task.index}: {logged} by the log, stored is {kept}")

    def _same(self, what: str, found: object, stored: object, words: str = "by the log, stored is") -> None:
        if found != stored:
            self._violate("stored", f"{what}: {found} {words} {stored}")

    # Parts

    def _count(self, attempts: bytes) -> int:
        """Of attempts, those that count against the retries."""
        return len(attempts) - attempts.count(_BYTES[AttemptState.STOPPED])

    def _is_open(self, entry: Entry, index: int, *states: AttemptState) -> bool:
        attempts = self._attempts[index]
        return entry.number == len(attempts) > 0 and _STATES[attempts[-1]] in states

    def _set(self, index: int, status: TaskStatus) -> None:
        self._counts[self._tasks[index]] -= 1
        self._counts[status] += 1
        self._tasks[index] = status

    def _repeated(self, entry: Entry) -> None:
        if entry.kind is EntryKind.CLAIMED and entry.index is not None:
            self._twice.add(entry.index)
            self.report.run_twice = len(self._twice)

    def _said(self) -> str:
        return ", ".join(f"{self._counts[status]} {status}" for status in TaskStatus if self._counts[status])

    def _violate(self, rule: str, message: str, entry: Entry | None = None) -> None:
        self.report.violated += 1
        if len(self.report.violations) < VIOLATIONS_KEPT:
            seq = None if entry is None else entry.seq
            self.report.violations.append(Violation(rule=rule, message=message, seq=seq))
