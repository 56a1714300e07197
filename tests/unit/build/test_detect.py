"""What a source is and how it starts."""

from pathlib import Path

import pytest

from homeport.build.asgi import asgi_application
from homeport.build.detect import detect, split_command
from homeport.build.manifest import Manifest
from homeport.core.errors import Invalid
from homeport.core.ids import Kind

FASTAPI = "from fastapi import FastAPI\napp = FastAPI()\n"


def source(tmp_path: Path, **files: str) -> Path:
    for name, content in files.items():
        path = tmp_path / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (FASTAPI, "app"),
        ("import fastapi\nserver = fastapi.FastAPI(title='x')\n", "server"),
        ("from fastapi import FastAPI as F\napi: F = F()\n", "api"),
        ("from starlette.applications import Starlette\nz = Starlette()\napp = Starlette()\n", "app"),
        ("from fastapi import FastAPI\ndef make() -> FastAPI:\n    return FastAPI()\napp = make()\n", "app"),
        ("from shop import make\nfrom fastapi import FastAPI\napp: 'FastAPI' = make()\n", "app"),
        ("from fastmcp import FastMCP\nmcp = FastMCP('x')\napp = mcp.http_app()\n", "app"),
        ("async def app(scope, receive, send):\n    pass\n", "app"),
        ("from fastapi import FastAPI\ndef make():\n    app = FastAPI()\n", None),
        ("app = FastAPI()\n", None),
        ("from flask import Flask\napp = Flask(__name__)\n", None),
        ("print('hi'\n", None),
        ("x = 1\0", None),
        (FASTAPI + "import uvicorn\nif __name__ == '__main__':\n    uvicorn.run(app)\n", None),
        (FASTAPI + "from uvicorn import run\ndef main():\n    run(app)\n", None),
        (FASTAPI + "if __name__ == '__main__':\n    main()\n", None),
        (FASTAPI + "if __name__ == '__main__':\n    print(app.routes)\n", "app"),
    ],
)
def test_an_asgi_application_is_found_by_reading(text: str, name: str | None) -> None:
    assert asgi_application(text) == name


def test_an_asgi_application_is_served_with_uvicorn(tmp_path: Path) -> None:
    program = detect(source(tmp_path, main_py=FASTAPI), Manifest(), Kind.AGENT)
    assert program.argv == ("sh", "-c", 'exec uvicorn main:app --host "$HOST" --port "$PORT"')
    assert (program.language, program.served) == ("python", "main:app")


def test_a_file_in_a_folder_is_loaded_as_its_imports_need_it(tmp_path: Path) -> None:
    app = source(tmp_path / "a", src__main_py="import tools\n" + FASTAPI)
    assert "uvicorn --app-dir src main:app" in detect(app, Manifest(), Kind.AGENT).argv[2]
    app = source(tmp_path / "b", src__main_py="from .tools import x\n" + FASTAPI)
    assert "uvicorn src.main:app" in detect(app, Manifest(), Kind.AGENT).argv[2]
    app = source(tmp_path / "c", app__main_py="from app.tools import x\n" + FASTAPI)
    assert "uvicorn app.main:app" in detect(app, Manifest(), Kind.AGENT).argv[2]


def test_a_job_is_run_and_never_served(tmp_path: Path) -> None:
    assert detect(source(tmp_path, main_py=FASTAPI), Manifest(), Kind.JOB).argv == ("python", "main.py")


def test_the_first_conventional_file_is_the_program(tmp_path: Path) -> None:
    app = source(tmp_path, src__app_py="", api_py="", main_py="")
    assert detect(app, Manifest(), Kind.AGENT).argv == ("python", "main.py")


def test_the_manifest_goes_before_the_conventions(tmp_path: Path) -> None:
    manifest = Manifest(entrypoint_prod=".venv/bin/python -m shop --name 'a b'")
    program = detect(source(tmp_path, main_py=FASTAPI), manifest, Kind.AGENT)
    assert program.argv == (".venv/bin/python", "-m", "shop", "--name", "a b")
    assert program.served is None


def test_variables_of_a_command_are_filled_in_by_a_shell_and_nothing_else_is() -> None:
    argv = split_command("uvicorn main:app --port=$PORT --host '${HOST}' 'a;b' '$(id)'")
    assert argv == ("sh", "-c", "exec uvicorn main:app --port=\"$PORT\" --host \"${HOST}\" 'a;b' '$(id)'")
    assert split_command("sh -c 'echo $PORT && exec x'") == ("sh", "-c", "echo $PORT && exec x")


@pytest.mark.parametrize("command", ["", "  ", "python 'main.py", "cd src && python main.py", "python x | tee y"])
def test_a_command_that_needs_a_shell_is_refused(command: str) -> None:
    with pytest.raises(Invalid, match=r"entrypoint\.prod"):
        split_command(command)


def test_sources_of_other_languages_are_refused(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module x")
    (tmp_path / "Dockerfile").write_text("FROM scratch")
    with pytest.raises(Invalid, match=r"this version builds Python and Node\.js sources, and go\.mod"):
        detect(tmp_path, Manifest(entrypoint_prod="./main"), Kind.AGENT)


def test_a_source_with_nothing_to_start_is_refused_with_what_to_add(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("")
    with pytest.raises(Invalid) as caught:
        detect(tmp_path, Manifest(), Kind.AGENT)
    assert "app.py, main.py" in caught.value.message
    assert "[entrypoint]" in caught.value.hint
