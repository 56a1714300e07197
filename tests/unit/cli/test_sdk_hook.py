"""The import hook with the real public SDK, in interpreters of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import homeport

HOOK = Path(homeport.__file__).parent / "sdk_hook"
TELL = (
    "import json; from blaxel.core import client, settings\n"
    "print(json.dumps([settings.base_url, settings.run_url, settings.auth.base_url, client._base_url,"
    " str(client.get_httpx_client().base_url)]))"
)


def python(program: str, *path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("BL_", "PYTHONPATH"))}
    environment |= {"PYTHONPATH": os.pathsep.join(map(str, path)), "DO_NOT_TRACK": "1", **variables}
    words = [sys.executable, "-c", program]
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_sdk_is_redirected() -> None:
    done = python(
        TELL, HOOK, BL_API_URL="http://here:1/v0/", BL_RUN_URL="http://here:1", BL_API_KEY="k", BL_WORKSPACE="w"
    )
    assert done.stderr == ""
    base = "http://here:1/v0"
    assert json.loads(done.stdout) == [base, "http://here:1", base, base, f"{base}/"]


def test_without_the_variables_nothing_changes() -> None:
    done = python(TELL, HOOK, BL_API_KEY="k", BL_WORKSPACE="w")
    assert json.loads(done.stdout)[0] == "https://api.blaxel.ai/v0"
    looked = python("import sys; print([type(finder).__module__ for finder in sys.meta_path])", HOOK)
    assert "sitecustomize" not in looked.stdout


def test_another_sitecustomize_still_runs(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import builtins; builtins.MARK = 'ran'")
    done = python("print(MARK); import sitecustomize; print(sitecustomize.__file__)", HOOK, tmp_path)
    assert done.stdout.splitlines() == ["ran", str(tmp_path / "sitecustomize.py")]


def test_a_broken_one_behind_it_does_not_undo_the_redirection(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("raise RuntimeError('theirs')")
    variables = {"BL_API_URL": "http://here:1/v0", "BL_API_KEY": "k", "BL_WORKSPACE": "w"}
    assert json.loads(python(TELL, HOOK, tmp_path, **variables).stdout)[0] == "http://here:1/v0"


def test_an_sdk_of_another_shape_is_said_and_breaks_nothing(tmp_path: Path) -> None:
    package = tmp_path / "blaxel" / "core" / "common"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").write_text("")
    (package / "settings.py").write_text("settings = 3")
    done = python("import blaxel.core.common.settings; print('on')", HOOK, tmp_path, BL_API_URL="http://here:1/v0")
    assert done.stdout == "on\n"
    assert "cannot redirect this version of the SDK" in done.stderr


def test_the_hook_needs_the_standard_library_only(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(HOOK), "BL_API_URL": "http://here:1/v0"}
    words = [sys.executable, "-c", "import sys; sys.exit('homeport' in sys.modules or 'blaxel' in sys.modules)"]
    assert subprocess.run(words, env=environment, timeout=60, check=False).returncode == 0
