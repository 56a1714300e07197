"""The documents are true where a machine can tell: commands run, links lead somewhere, names exist.

Every command in a block marked `sh` is run against a real Homeport, or stands in NOT_RUN_HERE with what covers it.
"""

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from homeport.testing.system import System

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "homeport"
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "examples/README.md", *ROOT.glob("docs/**/*.md")])
BLOCK_BOUND_S = 180  # the job's twenty tasks import an SDK each, on slow machines too
DEMO_BOUND_S = 300  # its own promise is two minutes; a cold package cache is slower

# Commands that cannot run here → what covers them: a target of the Makefile, or a test.
NOT_RUN_HERE = {
    "make demo": "test_the_demo_shows_everything_and_ends_well",
    "make test": "test",
    "make setup": "setup",
    "source .venv/bin/activate": "setup",
    "homeport up": "test_a_second_start_finds_everything_and_ctrl_c_leaves_nothing",
    "homeport up --data /srv/homeport --port 8080 --detach": "test_detached_it_is_ready_at_once",
    "homeport down --data /srv/homeport": "test_down_stops_a_running_up",
    "homeport deploy -d examples/node-agent": "test_the_example_answers",
    'homeport run agent node-agent -d \'{"inputs": "hi"}\'': "test_the_example_answers",
    "homeport deploy -d examples/dockerfile-agent": (
        "test_the_scene_of_the_demo_answers_and_leaves_nothing_on_the_engine"
    ),
    'homeport run agent dockerfile-agent -d \'{"inputs": "hi"}\'': (
        "test_the_scene_of_the_demo_answers_and_leaves_nothing_on_the_engine"
    ),
    "sudo homeport service install --data /srv/homeport --port 8080": (
        "test_installing_twice_changes_nothing_and_other_options_wait_for_the_next_start"
    ),
    "homeport service status": "test_without_systemd_the_next_step_is_told",
    "sudo homeport service uninstall": (
        "test_installing_twice_changes_nothing_and_other_options_wait_for_the_next_start"
    ),
    "homeport dev examples/hello-agent": (
        "test_a_folder_is_served_as_it_changes_and_nothing_is_left_though_no_homeport_ran"
    ),
    "homeport keys retire ID --force": "test_rotations_and_revocations_drop_no_request_no_stream_and_no_body",
    "homeport keys rotate --revoke-all --yes": "test_a_key_that_leaked_is_void_at_once_and_a_restart_renews_programs",
    "bl login default": "test_an_agent_is_deployed_read_run_and_deleted",
    "bl deploy --type agent": "test_an_agent_is_deployed_read_run_and_deleted",
    "bl get agents -o json": "test_an_agent_is_deployed_read_run_and_deleted",
    'bl run agent hello-agent -d \'{"inputs": "hello"}\'': "test_an_agent_is_deployed_read_run_and_deleted",
    "bl logs agent hello-agent": "test_an_agent_is_deployed_read_run_and_deleted",
    "bl delete agent hello-agent": "test_an_agent_is_deployed_read_run_and_deleted",
}
# Commands whose failure is what the document shows → their exit code.
EXIT_CODES = {
    "homeport deploy -d examples/hello-agent --policy eu-only": 3,
    "homeport policies dry-run -f examples/policies/eu-only.yaml --attach": 3,
}


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


def blocks_of(document: Path) -> list[list[str]]:
    """The commands of each `sh` block, without comments."""
    found = re.findall(r"^```sh\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)
    return [[line for raw in block.splitlines() if (line := _without_comment(raw))] for block in found]


def _without_comment(line: str) -> str:
    return re.sub(r"(^|\s+)#\s.*$", "", line).strip()


BLOCKS = [
    pytest.param(commands, id=f"{name_of(document)}-{number}")
    for document in sorted(DOCUMENTS, key=lambda path: path.parts)
    for number, commands in enumerate(blocks_of(document))
]
COMMANDS = {command for block in BLOCKS for command in block.values[0]}
_done: set[str] = set()


@pytest.fixture(scope="module")
def shell(system: System) -> Iterator[dict[str, str]]:
    """The environment of somebody who has activated `.venv` and started the system; what the documents make is
    removed afterwards."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("BL_", "HOMEPORT_", "PYTHONPATH"))}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    env["HOMEPORT_DATA"] = str(system.data.root)
    yield env
    for kind, name in (
        ("agents", "hello-agent"),
        ("functions", "text-tools"),
        ("jobs", "word-count"),
        ("policies", "eu-only"),
    ):
        if system.api.get(f"/{kind}/{name}").status_code == 200:
            system.remove(kind, name)


@pytest.mark.parametrize("commands", BLOCKS)
def test_the_commands_of_a_document_do_what_it_says(commands: list[str], shell: dict[str, str]) -> None:
    """One shell for a block, blocks in order, the README first. A command that an earlier one ran is not run again,
    but for settings of the shell."""
    script = []
    for command in commands:
        if command in NOT_RUN_HERE or (command in _done and not command.startswith("eval ")):
            continue
        _done.add(command)
        expected, shown = EXIT_CODES.get(command, 0), shlex.quote(command)
        check = f'code=$?; [ "$code" = {expected} ] || {{ echo "exit code $code, not {expected}:" {shown}; exit 1; }}'
        script += [command, check]
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", "\n".join(script)],
        cwd=ROOT,
        env=shell,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BLOCK_BOUND_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_demo_shows_everything_and_ends_well() -> None:
    done = subprocess.run(
        [sys.executable, "examples/demo.py"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEMO_BOUND_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "none is left" in done.stdout


def test_what_is_not_run_here_is_quoted_somewhere_and_covered() -> None:
    assert NOT_RUN_HERE.keys() - COMMANDS == set(), "no document quotes these any more"
    assert EXIT_CODES.keys() - COMMANDS == set(), "no document quotes these any more"
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(NOT_RUN_HERE.values()) <= targets | names_of_tests()


def test_commands_stand_in_blocks_that_are_read() -> None:
    """A fence of another language, or an indented block, would hide commands from the test above."""
    prompt = re.compile(r"^(\$ |    )?(homeport|make) ")
    hidden = {
        f"{name_of(document)}: {line}"
        for document in DOCUMENTS
        for line in document.read_text().splitlines()
        if prompt.match(line) and _without_comment(line) not in COMMANDS
    }
    assert hidden == set()


def test_the_architecture_shows_every_package_and_the_layers_that_are_checked() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert {name for name in packages if f"| `{name}/` |" not in text} == set()
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert "\n".join(contracts[0]["layers"]).replace("homeport.", "") in text


def test_the_architecture_shows_the_data_directory_with_its_modes(system: System) -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    rows = {
        path.rstrip("/"): mode for path, mode in re.findall(r"^\| `DATA/([^`]+)`[^|]*\| (\d{3})\b", text, re.MULTILINE)
    }
    root = system.data.root
    unnamed = {path.name for path in root.iterdir()} - {path.partition("/")[0] for path in rows}
    assert {name for name in unnamed if not name.startswith("homeport.db-")} == set()
    actual = {path: f"{(root / path).stat().st_mode & 0o777:o}" for path in rows if (root / path).exists()}
    assert actual == {path: rows[path] for path in actual} and len(actual) > 12


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_to_something(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    missing = [link for link in local if not _leads_somewhere(document, link)]
    assert missing == []


def _leads_somewhere(document: Path, link: str) -> bool:
    path, _, heading = link.partition("#")
    target = document.parent / path if path else document
    return target.exists() and (not heading or heading in _headings(target))


def _headings(document: Path) -> set[str]:
    """The anchors of a document, as the usual viewers make them."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_files_functions_and_tests_that_are_named_exist(document: Path) -> None:
    quoted = set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.M | re.S)))
    wrong = {text for text in quoted if not _exists(text)}
    assert wrong == set()


def _exists(text: str) -> bool:
    """True for whatever is not the name of a file, a function in a file, a module, or a test."""
    if re.fullmatch(r"test_\w+", text):
        return text in names_of_tests()
    if re.fullmatch(r"homeport(\.\w+)+", text):
        return _is_module(text.split(".")[1:])
    path, _, name = text.partition(":")
    top, slash, _ = path.partition("/")
    in_repository = top in ("src", "tests", "docs", "examples", "requirements")
    in_package = bool(top) and (SOURCE / top).is_dir()
    if re.search(r"[\s{}*<>]", path) or not (in_repository or in_package) or not slash:
        return True
    found = next((base / path for base in (ROOT, SOURCE) if (base / path).exists()), None)
    return found is not None and (not name or name in _defined(found))


def _is_module(parts: list[str]) -> bool:
    """Whether `homeport.a.b` is a module, or `homeport.a.b.c` something that is defined in one."""
    path = SOURCE.joinpath(*parts)
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    module = SOURCE.joinpath(*parts[:-1]).with_suffix(".py")
    return module.is_file() and parts[-1] in _defined(module)


def _defined(path: Path) -> set[str]:
    body = ast.parse(path.read_text()).body
    return {node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}


def names_of_tests() -> set[str]:
    """Every test of the repository and of the suites that it ships."""
    files = [*ROOT.glob("tests/**/test_*.py"), *SOURCE.glob("testing/*.py")]
    return {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())}
