"""The fields of the older contract of jobs: they act, or they are refused by name."""

from typing import Any

import pytest

from homeport.core.errors import Invalid
from homeport.jobs.settings import JobSettings
from homeport.policy.inventory import Flavor, read_flavors

START = ("/bin/sh", "-c", "exec python main.py")


def settings(spec: dict[str, Any] | None = None, **runtime: Any) -> JobSettings:
    return JobSettings.from_spec({**(spec or {}), "runtime": runtime})


@pytest.mark.parametrize(
    ("runtime", "argv"),
    [
        ({}, START),
        ({"command": [], "args": []}, START),
        ({"command": ["python", "other.py"]}, ("python", "other.py")),
        ({"command": ["python"], "args": ["other.py", ""]}, ("python", "other.py", "")),
        ({"args": ["--fast"]}, (*START, "--fast")),
    ],
)
def test_command_replaces_the_start_command_and_args_follow_it(runtime: dict[str, Any], argv: tuple[str, ...]) -> None:
    assert settings(**runtime).argv(START) == argv


def test_configurations_are_variables_which_envs_replace() -> None:
    spec = {"configurations": {"A": {"value": "1"}, "B": {"value": "2", "secret": True}, "C": {}}}
    found = settings(spec, envs=[{"name": "A", "value": "mine"}]).envs
    assert {one.name: one.value for one in found} == {"A": "mine", "B": "2", "C": ""}
    assert [one.secret for one in found] == [False, True, False, False]
    assert "'2'" not in repr(found)


@pytest.mark.parametrize(("cpu", "cores"), [(None, None), (0, None), (1, 1.0), (0.5, 0.5), (123, 123.0)])
def test_cpu_is_a_number_of_cores(cpu: object, cores: float | None) -> None:
    assert settings(cpu=cpu).cpu_cores == cores


BAD: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"command": "python main.py"}, "spec.runtime.command"),
    ({}, {"command": ["python", 3]}, "spec.runtime.command[1]"),
    ({}, {"command": [""]}, "spec.runtime.command[0]"),
    ({}, {"args": ["nul\0"]}, "spec.runtime.args[0]"),
    ({}, {"args": ["x" * 131072]}, "spec.runtime.args[0]"),
    ({}, {"args": ["x"] * 1001}, "spec.runtime.args"),
    ({}, {"command": ["python"], "args": ["x" * 1000] * 600}, "spec.runtime.args"),
    ({}, {"cpu": -1}, "spec.runtime.cpu"),
    ({}, {"cpu": "2"}, "spec.runtime.cpu"),
    ({}, {"cpu": True}, "spec.runtime.cpu"),
    ({}, {"cpu": 1025}, "spec.runtime.cpu"),
    ({}, {"diskPercent": 96}, "spec.runtime.diskPercent"),
    ({}, {"envs": [{"name": "A", "valueFrom": {"secretKeyRef": {}}}]}, "spec.runtime.envs[0].valueFrom"),
    ({"configurations": []}, {}, "spec.configurations"),
    ({"configurations": {"A": "1"}}, {}, "spec.configurations.A"),
    ({"configurations": {"A": {"value": 1}}}, {}, "spec.configurations.A.value"),
    ({"configurations": {"A=": {}}}, {}, "spec.configurations.A="),
    ({"integrationConnections": ["github"]}, {}, "spec.integrationConnections[0]"),
    ({"volumes": [{"name": "a"}]}, {}, "spec.volumes[0].mountPath"),
    ({"githubRunner": {"repositories": ["a/b"]}}, {}, "spec.githubRunner"),
]


@pytest.mark.parametrize(("spec", "runtime", "field"), BAD)
def test_what_cannot_be_followed_is_refused_by_its_field(
    spec: dict[str, Any], runtime: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        settings(spec, **runtime)
    assert refused.value.field == field


def test_what_asks_for_nothing_is_accepted() -> None:
    settings({"integrationConnections": [""], "volumes": [], "githubRunner": {}, "configurations": {}}, ports=[])


def test_flavors_are_the_hardware_that_is_asked_for() -> None:
    asked = {
        "flavors": [
            {"name": "x86", "type": "cpu"},
            {"name": "x86"},
            {"name": "", "type": "gpu"},
            {"name": "t4", "type": "gpu"},
        ]
    }
    assert read_flavors(asked) == (Flavor("x86", "cpu"), Flavor("t4", "gpu"))
    with pytest.raises(Invalid, match=r"spec.flavors\[0\]"):
        read_flavors({"flavors": ["x86"]})
