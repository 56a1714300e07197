"""Which files are installed, what they name, and which Python they need."""

from pathlib import Path

import pytest

from homeport.build.dependencies import find_dependencies
from homeport.build.interpreter import check_requires_python, interpreter
from homeport.core.errors import Invalid


def write(app: Path, **files: str) -> Path:
    for name, content in files.items():
        (app / name.replace("_", ".")).write_text(content)
    return app


def test_requirements_are_counted_with_the_files_that_they_include(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("-r requirements.txt\nPyYAML>=6 ; python_version > '3'\n")
    text = (
        "# comment\n--index-url https://example.org\nfastapi[standard]==1 \\\n --hash=sha256:00\n-r more.txt\n./local\n"
    )
    write(tmp_path, requirements_txt=text)
    found = find_dependencies(tmp_path)
    assert found.names == {"fastapi", "pyyaml"}
    assert found.installs[0].argv == ("pip", "install", "-r", "requirements.txt")
    assert found.installs[0].title == "Installing dependencies from requirements.txt (2 packages)"


def test_included_files_outside_the_source_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret\n")
    app = tmp_path / "app"
    app.mkdir()
    assert find_dependencies(write(app, requirements_txt="-r ../secret.txt\n")).names == frozenset()


def test_a_project_without_a_build_system_gives_its_dependencies_only(tmp_path: Path) -> None:
    found = find_dependencies(write(tmp_path, pyproject_toml='[project]\nname="x"\ndependencies=["A_b>1"]\n'))
    assert found.installs[0].argv == ("pip", "install", "-r", "pyproject.toml")
    assert found.names == {"a-b"}


def test_a_project_with_a_build_system_is_installed(tmp_path: Path) -> None:
    text = '[project]\nname="x"\nrequires-python=">=3.9"\n[build-system]\nrequires=[]\n'
    found = find_dependencies(write(tmp_path, pyproject_toml=text, requirements_txt="idna\n"))
    assert found.installs[0].argv == ("pip", "install", "-r", "requirements.txt", "-e", ".")
    assert found.requires_python == ">=3.9"


def test_a_lock_file_goes_before_everything_else(tmp_path: Path) -> None:
    lock = '[[package]]\nname="idna"\n[[package]]\nname="x"\nsource={virtual="."}\n'
    project = '[project]\nname="x"\n'
    found = find_dependencies(write(tmp_path, pyproject_toml=project, uv_lock=lock, requirements_txt="a\n"))
    assert found.installs[0].argv == ("sync", "--frozen", "--no-dev")
    assert found.names == {"idna"}


def test_a_source_without_any_has_none(tmp_path: Path) -> None:
    assert find_dependencies(tmp_path).installs == ()
    assert find_dependencies(write(tmp_path, pyproject_toml="[tool.ruff]\n")).installs == ()


@pytest.mark.parametrize("text", ["[project", "project = 1", '[project]\ndependencies = "a"'])
def test_a_project_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(Invalid, match=r"pyproject\.toml"):
        find_dependencies(write(tmp_path, pyproject_toml=text))


@pytest.mark.parametrize(
    "specifier",
    [
        None,
        "",
        ">=3.11",
        ">=3.9,<4",
        "~=3.11",
        "~=3.11.2",
        "==3.11.*",
        "==3.11.7",
        "!=3.12",
        ">3.10",
        "<=3.11.7",
        "odd",
    ],
)
def test_a_python_that_satisfies_the_project_is_accepted(specifier: str | None) -> None:
    check_requires_python(specifier, "3.11.7")


@pytest.mark.parametrize("specifier", [">=3.12", ">=3.9,<3.11", "~=3.12", "~=3.11.8", "==3.12.*", "!=3.11.*", "==3.11"])
def test_a_python_that_does_not_is_refused_with_both_versions(specifier: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_requires_python(specifier, "3.11.7")
    assert specifier in caught.value.message and "3.11.7" in caught.value.message


def test_the_interpreter_exists_and_is_shown_where_it_is() -> None:
    python = interpreter()
    assert Path(python.path).exists()
    shown = [mount.target for mount in python.mounts]
    assert Path(python.path).is_relative_to(shown[0] if shown else "/usr")
