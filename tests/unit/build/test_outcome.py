"""The script of a build, what its failures say, and what becomes of its files."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from homeport.build.bundle import Description, find_bundle, load_bundle, place, remove_bundle, remove_tree, seal
from homeport.build.dependencies import Dependencies, Install
from homeport.build.detect import Program
from homeport.build.errors import BuildFailed
from homeport.build.interpreter import Interpreter
from homeport.build.recipe import Plan, environment, script, steps
from homeport.build.report import cause, failure
from homeport.core.errors import Internal
from homeport.core.ids import UnitId
from homeport.core.units import Mount, Outcome, UnitKind, UnitState, UnitStatus

PYTHON = Interpreter(path="/opt/py/bin/python3.11", version="3.11.7", mounts=())
SERVED = Program(language="python", argv=("sh", "-c", "exec uvicorn main:app"), why="", served="main:app")


def plan(program: Program = SERVED, names: frozenset[str] = frozenset()) -> Plan:
    install = Install(title="Installing it's (1 package)", argv=("pip", "install", "-r", "requirements.txt"))
    dependencies = Dependencies(installs=(install,), names=names)
    return Plan(interpreter=PYTHON, dependencies=dependencies, program=program, notes=("Unpacked $(id) 'x'",))


def test_a_script_announces_each_step_and_ends_at_the_first_that_fails() -> None:
    ended = subprocess.run(["/bin/sh", "-c", script(plan())], capture_output=True, text=True, check=False)
    assert ended.returncode == 127  # there is no uv at its place in a sandbox
    lines = ended.stdout.splitlines()
    assert lines[:2] == ["==> Unpacked $(id) 'x'", "==> Making the environment (Python 3.11.7)"]
    assert not any("Installing" in line for line in lines)
    assert ended.stderr == ""  # one stream keeps the order


def test_uvicorn_is_added_only_where_it_is_missing() -> None:
    assert "Adding uvicorn" in [step.name for step in steps(plan())]
    assert "Adding uvicorn" not in [step.name for step in steps(plan(names=frozenset({"uvicorn"})))]


def test_the_started_program_is_looked_for_unless_only_the_shell_knows_it() -> None:
    def last(*argv: str) -> str:
        return steps(plan(Program(language="python", argv=argv, why="")))[-1].script

    assert last("sh", "-c", "exec uvicorn main:app").startswith("command -v -- uvicorn ")
    assert last(".venv/bin/python", "x.py").startswith("command -v -- .venv/bin/python ")
    assert last("sh", "-c", "a && b").startswith("command -v -- sh ")
    assert "command -v" not in last("sh", "-c", 'exec "$TOOL" run')


def test_a_source_may_choose_its_index_but_not_its_sandbox() -> None:
    env = environment(
        {"UV_DEFAULT_INDEX": "a", "UV_CACHE_DIR": "/x"}, {"UV_DEFAULT_INDEX": "b", "PATH": "/y", "T": "1"}
    )
    assert (env["UV_DEFAULT_INDEX"], env["T"]) == ("b", "1")
    assert (env["UV_CACHE_DIR"], env["UV_LINK_MODE"], env["UV_PYTHON_DOWNLOADS"]) == ("/cache", "copy", "never")
    assert env["PATH"].startswith("/app/.venv/bin:")


STEPS = (("Making", "Making the environment", "uv venv"), ("Installing dependencies", "Installing (2)", "uv pip x"))


def failed(outcome: Outcome | None, *lines: str, state: UnitState = UnitState.EXITED) -> BuildFailed:
    status = UnitStatus(id=UnitId("build-x"), kind=UnitKind.BUILD, state=state, outcome=outcome)
    return failure(status, STEPS, lines, 2048)


def test_a_failure_names_its_step_its_command_and_the_reason() -> None:
    error = failed(Outcome(exit_code=1), "==> Installing (2)", "Resolving", "error: no such package", "")
    assert error.message == "Installing dependencies failed (exit code 1): error: no such package"
    assert (error.step, error.command, error.exit_code) == ("Installing dependencies", "uv pip x", 1)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome(signal=9, timed_out=True), "took too long"),
        (Outcome(signal=9, out_of_memory=True), "2048 MB"),
        (Outcome(signal=15, stopped=True), "was stopped"),
        (Outcome(signal=11), "killed by SIGSEGV"),
        (Outcome(lost=True), "nobody saw"),
        (None, "nobody saw"),
    ],
)
def test_every_end_has_words(outcome: Outcome | None, words: str) -> None:
    assert words in failed(outcome, "==> Installing (2)", "x").message


def test_an_error_of_several_lines_becomes_one_sentence() -> None:
    lines = ["==> x", "Resolved", "  × No solution found:", "  ╰─▶ Because a is not there,", "      b cannot be.", ""]
    assert cause(lines) == "No solution found: Because a is not there, b cannot be."
    assert cause(["==> x", "one", "two"]) == "two"
    assert cause(["==> x"]) == ""


def finished(work: Path, digest: str = "d1") -> Path:
    (work / "app/.venv/bin").mkdir(parents=True)
    (work / "app/main.py").write_text("x")
    (work / "app/.venv/bin/python").symlink_to("/usr/bin/python3")
    Description(
        digest=digest,
        language="python",
        entrypoint=("python", "main.py"),
        mounts=(Mount(source="/opt", target="/opt"),),
        manifest_toml='[env]\nA = "1"\n',
        python="3.11.7",
        source_digest="s",
        started_at="2026-01-01T00:00:00.000000Z",
        steps=(("a", "b", "c"),),
    ).write(work)
    return work


def test_a_bundle_reads_back_as_it_was_placed(tmp_path: Path) -> None:
    place(finished(tmp_path / "work"), tmp_path / "d1")
    bundle = load_bundle(tmp_path, "d1")
    assert (bundle.entrypoint, bundle.env) == (("python", "main.py"), {"A": "1"})
    assert bundle.mounts == (Mount(source="/opt", target="/opt"),)
    assert (bundle.app / "main.py").read_text() == "x"
    remove_bundle(tmp_path, "d1")
    remove_bundle(tmp_path, "d1")
    assert [*tmp_path.iterdir()] == []
    assert find_bundle(tmp_path, "d1") is None
    with pytest.raises(Internal):
        load_bundle(tmp_path, "d1")


def test_the_quicker_of_two_builds_of_one_source_stays(tmp_path: Path) -> None:
    place(finished(tmp_path / "one"), tmp_path / "d1")
    second = finished(tmp_path / "two")
    (second / "app/main.py").write_text("other")
    place(second, tmp_path / "d1")
    assert (tmp_path / "d1/app/main.py").read_text() == "x"
    assert not second.exists()


def test_a_damaged_description_is_an_internal_error(tmp_path: Path) -> None:
    for text in ("", "[]", '{"digest": "d1"}'):
        (tmp_path / "d1").mkdir(exist_ok=True)
        (tmp_path / "d1/bundle.json").write_text(text)
        with pytest.raises(Internal):
            find_bundle(tmp_path, "d1")


def test_sealing_normalises_modes_and_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o600)
    app = tmp_path / "app"
    (app / "closed").mkdir(parents=True)
    (app / "closed/tool").write_text("x")
    (app / "closed/tool").chmod(0o4711)
    (app / "closed").chmod(0)
    (app / "link").symlink_to(outside)
    (app / "open").write_text("x")
    (app / "open").chmod(0o666)
    seal(app)
    modes = {name: stat.S_IMODE((app / name).stat().st_mode) for name in ("closed", "closed/tool", "open")}
    assert modes == {"closed": 0o755, "closed/tool": 0o755, "open": 0o644}
    assert stat.S_IMODE(outside.stat().st_mode) == 0o600


def test_a_pipe_in_the_result_fails_the_build(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BuildFailed, match="pipe is not a file"):
        seal(tmp_path)


def test_a_tree_is_removed_however_its_modes_are_set(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").write_text("x")
    (tmp_path / "a/b").chmod(0)
    (tmp_path / "a").chmod(0o500)
    remove_tree(tmp_path / "a")
    remove_tree(tmp_path / "a")
    assert not (tmp_path / "a").exists()
