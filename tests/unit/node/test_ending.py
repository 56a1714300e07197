"""From traces to an outcome: every kind of end is told apart as well as the kernel allows."""

from pathlib import Path

import pytest

from homeport.core.units import Outcome
from homeport.node.ending import Intent, Traces, outcome, read_report


@pytest.mark.parametrize(
    ("traces", "code", "number"),
    [
        (Traces(report={"exit-code": 0}), 0, None),
        (Traces(report={"exit-code": 3}), 3, None),
        (Traces(report={"exit-code": 137}), None, 9),
        (Traces(report={"exit-code": 137}, exact=137), 137, None),
        (Traces(report={"exit-code": 139}, exact=-11), None, 11),
        (Traces(report={"exit-code": 255}), 255, None),
        (Traces(report={"exit-code": 128 + 17}), 145, None),  # SIGCHLD kills nobody
        (Traces(report={"signal": 6}), None, 6),
        (Traces(report={}, monitor_code=1, last_words="bwrap: no"), 127, None),
        (Traces(report={}, monitor_code=-9), None, 9),
        (Traces(report={}, intent=Intent(stopped=True)), None, 9),
    ],
)
def test_an_end_has_a_code_or_a_signal(traces: Traces, code: int | None, number: int | None) -> None:
    found = outcome(traces)
    assert (found.exit_code, found.signal, found.lost) == (code, number, False)
    assert found.reason


def test_an_end_that_nobody_saw_is_lost() -> None:
    found = outcome(Traces(report={"child-pid": 7}))
    assert found.lost and found.exit_code is None and found.signal is None


def test_a_kernel_kill_for_memory_is_named_unless_the_program_succeeded_all_the_same() -> None:
    killed = outcome(Traces(report={"exit-code": 137}, oom_kills=1, memory_mb=64, peak_bytes=64 * 1024 * 1024))
    assert killed.out_of_memory and killed.peak_memory_mb == 64 and "64 MB" in killed.reason
    assert not outcome(Traces(report={"exit-code": 0}, oom_kills=1)).out_of_memory


def test_why_it_was_ended_is_kept() -> None:
    found = outcome(Traces(report={"exit-code": 143}, intent=Intent(timed_out=True, reason="timed out after 5 s")))
    assert found == Outcome(signal=15, timed_out=True, reason="timed out after 5 s; signal 15 (SIGTERM)")


def test_a_broken_report_gives_what_is_whole_in_it(tmp_path: Path) -> None:
    path = tmp_path / "status"
    assert read_report(path) == {}
    path.write_text('{ "child-pid": 5 }\n{ "exit-co')
    assert read_report(path) == {"child-pid": 5}


def test_an_intent_survives_in_its_file(tmp_path: Path) -> None:
    path = tmp_path / "intent"
    assert Intent.load(path) is None
    Intent(stopped=True, reason="x").save(path)
    assert Intent.load(path) == Intent(stopped=True, reason="x")
    path.write_text("{")
    assert Intent.load(path) is None
