"""When a build may take the packages of an earlier one."""

from pathlib import Path

import pytest

from homeport.build.dependencies import find_dependencies
from homeport.build.detect import Program
from homeport.build.environments import environment_of
from homeport.build.interpreter import interpreter
from homeport.build.recipe import Plan, script
from homeport.core.packing import DEV_MARK


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / DEV_MARK).touch()
    (tmp_path / "requirements.txt").write_text(
        "# ours\nidna==3.10  # a comment\nuvicorn[standard]>=0.30; python_version>'3'\n"
    )
    return tmp_path


def _plan(app: Path, **more: bool) -> Plan:
    program = Program(language="python", argv=("python", "main.py"), why="")
    return Plan(interpreter=interpreter(), dependencies=find_dependencies(app), program=program, **more)


def _environment(app: Path, workspace: str = "home") -> str:
    return environment_of(app, _plan(app), workspace)


def test_it_is_told_by_what_names_packages_and_by_nothing_else(app: Path) -> None:
    first = _environment(app)
    (app / "main.py").write_text("print(1)\n")
    assert first and _environment(app) == first
    assert _environment(app, "away") != first, "workspaces share none"
    (app / "requirements.txt").write_text("idna==3.9\n")
    assert _environment(app) not in ("", first)


@pytest.mark.parametrize(
    "line", ["-r more.txt", "-e .", "./local", "local @ file:///app/local", "wheels/one.whl", "-c pins"]
)
def test_what_may_be_part_of_the_source_is_installed_each_time(app: Path, line: str) -> None:
    (app / "requirements.txt").write_text(f"idna==3.10\n{line}\n")
    assert _environment(app) == ""


def test_a_project_that_is_installed_itself_is_installed_each_time(app: Path) -> None:
    (app / "requirements.txt").unlink()
    (app / "pyproject.toml").write_text('[project]\nname = "one"\nversion = "1"\ndependencies = ["idna"]\n')
    assert _environment(app) != ""
    (app / "pyproject.toml").write_text('[build-system]\nrequires = []\n[project]\nname = "one"\nversion = "1"\n')
    assert _environment(app) == ""


def test_a_deployment_resolves_anew(app: Path) -> None:
    (app / DEV_MARK).unlink()
    assert _environment(app) == ""


def test_packages_that_cannot_be_taken_are_installed(app: Path) -> None:
    text = script(_plan(app, kept=True))
    assert "cp -a /build/kept/.venv /app/.venv" in text
    assert "|| { rm -rf /app/.venv && /build/bin/uv venv" in text and "-r requirements.txt" in text
