"""Images of a private registry, a real one, by every way that a login comes in; and what failed pulls are told as."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homeport.testing.engines import EngineProcess
from homeport.testing.registries import (
    PASSWORD,
    USER,
    Registry,
    auth_of,
    engine_for_registries,
    inspected,
    refusing_registry,
    registry_obstacle,
    remove_image,
    running_registry,
)
from homeport.testing.system import System, eventually

LOCAL = "docker.io/library/homeport-private"
WRONG = "hush-wrong-8c41"
SECRETS = (PASSWORD, auth_of(PASSWORD), WRONG, auth_of(WRONG))


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    with engine_for_registries(LOCAL, 2) as running:
        yield running


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    if cause := registry_obstacle():
        pytest.skip(cause)
    with running_registry() as running:
        yield running


@pytest.fixture(scope="module")
def digest(engine: EngineProcess, registry: Registry) -> str:
    """Of `tool:1`, as the registry knows it; the engine has it by its local name only."""
    return registry.push(engine, f"{LOCAL}:1", "team/tool:1")


@pytest.fixture(scope="module")
def harbour(engine: EngineProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    running = System(tmp_path_factory.mktemp("harbour") / "data")
    running.data.root.mkdir()
    running.data.config.write_text(f'[regions.docks]\ndriver = "docker"\nengine = "{engine.url}"\n')
    running.up()
    yield running
    running.down()
    assert engine.names("containers/json") == []


@pytest.fixture
def image(engine: EngineProcess, registry: Registry, digest: str) -> Iterator[str]:
    """A name in the registry that the engine has nothing of."""
    reference = f"{registry.host}/team/tool:1"
    yield reference
    remove_image(engine, reference)


def deploy(system: System, image: str, name: str = "tool", **runtime: Any) -> dict[str, Any]:
    body = {"metadata": {"name": name}, "spec": {"runtime": {"image": image, "memory": 64, **runtime}}}
    answer = system.api.put(f"/jobs/{name}", json=body)
    if answer.status_code == 404:
        answer = system.api.post("/jobs", json=body)
    assert answer.status_code == 200, answer.text
    return system.settled("jobs", name)


def printed(system: System, name: str = "tool") -> str:
    """By one task."""
    execution = system.execute(name, [{}])
    assert execution["status"] == "succeeded", execution
    lines = system.logs("jobs", name, execution=execution["metadata"]["id"])
    return "\n".join(line["text"] for line in lines)


def told(made: dict[str, Any]) -> str:
    """By its last event."""
    return str(made["events"][-1]["message"])


def test_without_a_login_the_event_says_that_one_is_needed_and_how_to_give_it(harbour: System, image: str) -> None:
    made = deploy(harbour, image)
    assert made["status"] == "FAILED"
    host = image.partition("/")[0]
    login = f"homeport registry login {host} -u USER"
    for part in (f"{host} asks for a login", "none was given", login, "dockerConfig"):
        assert part in told(made), told(made)


def test_a_wrong_password_is_told_with_where_it_came_from(harbour: System, image: str, registry: Registry) -> None:
    made = deploy(harbour, image, dockerConfig=registry.config(WRONG))
    assert made["status"] == "FAILED"
    assert f"{registry.host} refuses the login from runtime.dockerConfig" in told(made)


def test_the_orders_login_pulls_and_is_kept_when_its_mask_comes_back(
    harbour: System, engine: EngineProcess, image: str, registry: Registry
) -> None:
    made = deploy(harbour, image, dockerConfig=registry.config())
    assert made["status"] == "DEPLOYED", made["events"]
    assert printed(harbour) == "this is 1"
    assert made["spec"]["runtime"]["dockerConfig"] == "********"
    remove_image(engine, image)
    assert harbour.api.put("/jobs/tool", json=made).status_code == 200
    assert harbour.settled("jobs", "tool")["status"] == "DEPLOYED"
    assert printed(harbour) == "this is 1"


def test_a_stored_login_pulls_until_it_is_deleted_and_yields_to_the_orders(
    harbour: System, engine: EngineProcess, image: str, registry: Registry
) -> None:
    login = ("registry", "login", registry.host, "-u", USER, "--password-stdin")
    assert harbour.command(*login, stdin=f"{PASSWORD}\n").returncode == 0
    listed = harbour.command("registry", "list")
    assert registry.host in listed.stdout and USER in listed.stdout
    made = deploy(harbour, image)
    assert made["status"] == "DEPLOYED" and printed(harbour) == "this is 1", made["events"]
    remove_image(engine, image)
    assert deploy(harbour, image, dockerConfig=registry.config(WRONG))["status"] == "FAILED"
    assert harbour.command(*login, stdin=f"{WRONG}\n").returncode == 0
    refused = deploy(harbour, image)
    assert refused["status"] == "FAILED" and "refuses the login from the workspace's stored logins" in told(refused)
    assert harbour.command("registry", "logout", registry.host).returncode == 0
    assert "asks for a login" in told(deploy(harbour, image))


def test_an_engines_own_copy_of_a_moving_tag_that_cannot_be_looked_up_is_taken_and_told(
    harbour: System, engine: EngineProcess, registry: Registry
) -> None:
    registry.push(engine, f"{LOCAL}:1", "team/tool:latest")
    image = f"{registry.host}/team/tool"
    try:
        assert "own copy" not in told(deploy(harbour, image, dockerConfig=registry.config()))
        made = deploy(harbour, image)
        assert made["status"] == "DEPLOYED"
        notes = [event["message"] for event in made["events"] if "own copy" in event["message"]]
        assert len(notes) == 1 and "asks for a login" in notes[0]
    finally:
        remove_image(engine, f"{image}:latest")


def test_a_digest_runs_what_it_named_after_its_tag_has_moved_and_the_engine_forgot_it(
    harbour: System, engine: EngineProcess, registry: Registry
) -> None:
    first = registry.push(engine, f"{LOCAL}:1", "team/moving:now")
    registry.push(engine, f"{LOCAL}:2", "team/moving:now")
    tag, pinned = f"{registry.host}/team/moving:now", f"{registry.host}/team/moving@{first}"
    config = registry.config()
    try:
        assert deploy(harbour, tag, dockerConfig=config)["status"] == "DEPLOYED" and printed(harbour) == "this is 2"
        remove_image(engine, tag)
        assert deploy(harbour, pinned, dockerConfig=config)["status"] == "DEPLOYED" and printed(harbour) == "this is 1"
    finally:
        for reference in (tag, pinned):
            remove_image(engine, reference)


def test_a_rollback_is_exact_after_the_tag_moved_and_the_engine_forgot_what_it_was(
    harbour: System, engine: EngineProcess, registry: Registry
) -> None:
    engine.vary_image(f"{LOCAL}:3", f"{LOCAL}:1", config=('CMD ["/bin/echo", "this is 3"]',))
    tag, config = f"{registry.host}/team/rolled:now", registry.config()
    content = f"{registry.host}/team/rolled@{registry.push(engine, f'{LOCAL}:3', 'team/rolled:now')}"
    remove_image(engine, f"{LOCAL}:3")
    assert deploy(harbour, tag, "rolled", dockerConfig=config)["status"] == "DEPLOYED"
    tags = harbour.api.get("/images/job/rolled").json()["spec"]["tags"]
    (first,) = {one["name"] for one in tags} - {"latest"}
    registry.push(engine, f"{LOCAL}:2", "team/rolled:now")  # the tag moves, and is taken off the engine
    assert deploy(harbour, tag, "rolled", dockerConfig=config)["status"] == "DEPLOYED"
    assert printed(harbour, "rolled") == "this is 2"
    remove_image(engine, content)
    assert content not in engine.image_names("team/rolled")
    back = deploy(harbour, f"job/rolled:{first}", "rolled", dockerConfig="********")
    assert back["status"] == "DEPLOYED", back["events"]
    assert printed(harbour, "rolled") == "this is 3"
    harbour.remove("jobs", "rolled")
    for reference in (tag, content):
        remove_image(engine, reference)


def test_logins_in_an_upload_open_the_base_of_its_dockerfile_and_get_into_no_image(
    harbour: System, engine: EngineProcess, image: str, registry: Registry
) -> None:
    files = {"Dockerfile": f'FROM {image}\nCOPY . /src\nCMD ["/bin/ls", "-A", "/src"]\n', "kept": "x"}
    refused = harbour.deploy("jobs", "built", files)
    assert refused["status"] == "FAILED"
    for part in (f"{registry.host} asks for a login", f"homeport registry login {registry.host}"):
        assert part in told(refused), told(refused)
    wrong = harbour.deploy("jobs", "built", {**files, ".docker/config.json": registry.config(WRONG)})
    assert "refuses the login from .docker/config.json in the upload" in told(wrong)
    made = harbour.deploy("jobs", "built", {**files, ".docker/config.json": registry.config()})
    assert made["status"] == "DEPLOYED", made["events"]
    assert printed(harbour, "built").split() == ["Dockerfile", "kept"]
    assert not any(secret in inspected(engine) for secret in SECRETS)
    harbour.remove("jobs", "built")


def test_what_a_registry_lacks_refuses_or_limits_is_told(harbour: System, registry: Registry) -> None:
    missing = deploy(harbour, f"{registry.host}/team/tool:none", dockerConfig=registry.config())
    assert f"{registry.host} has no such image or tag" in told(missing)
    with refusing_registry(429, "You have reached your pull rate limit.") as host:
        limited = told(deploy(harbour, f"{host}/team/tool:1"))
    assert f"{host} limits how often" in limited and "asked without a login" in limited
    away = deploy(harbour, "127.0.0.1:1/team/tool:1")
    assert "127.0.0.1:1 does not answer the engine" in told(away)
    unknown = told(deploy(harbour, "registry.invalid/team/tool:1"))
    assert "knows no registry registry.invalid" in unknown or "registry.invalid does not answer" in unknown  # no DNS


def test_no_login_is_left_in_any_file_answer_log_or_container(
    harbour: System, engine: EngineProcess, image: str, registry: Registry
) -> None:
    assert deploy(harbour, image, dockerConfig=registry.config())["status"] == "DEPLOYED"
    harbour.api.put(f"/homeport/registries/{registry.host}", json={"username": USER, "password": PASSWORD})
    started = harbour.api.post("/jobs/tool/executions", json={"tasks": [{}]}).json()["executionId"]
    harbour.ended("tool", started)
    paths = ("/jobs/tool", "/jobs", "/jobs/tool/revisions", "/homeport/explain/jobs/tool", "/homeport/registries")
    answers = {path: harbour.api.get(path).text for path in paths}
    for words in (("get", "job", "tool", "-o", "json"), ("logs", "job", "tool"), ("registry", "list", "-o", "json")):
        done = harbour.command(*words)
        answers[" ".join(words)] = done.stdout + done.stderr
    found = {**{name: text.encode() for name, text in answers.items()}, **files(harbour.data.root)}
    found["containers and images"] = inspected(engine).encode()
    found["command lines"] = command_lines()
    if engine.own:
        found["the engine's log"] = (engine.folder / "log").read_bytes()
    assert [name for name, text in found.items() if any(secret.encode() in text for secret in SECRETS)] == []
    assert registry.host.encode() in found["containers and images"]  # so a login would have been found there
    assert harbour.api.delete(f"/homeport/registries/{registry.host}").status_code == 200
    harbour.remove("jobs", "tool")
    eventually(lambda: engine.names() == [], "no container is left")


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def command_lines() -> bytes:
    """Of every process of this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # a process that ended meanwhile
            found.append(path.read_bytes())
    return b"\n".join(found)
