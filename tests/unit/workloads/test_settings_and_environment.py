"""An agent's settings and variables: read with bounds, composed with reserved names kept."""

from dataclasses import replace
from typing import Any

import pytest

from homeport.core.environment import EnvVar
from homeport.core.errors import Invalid
from homeport.core.ids import Kind
from homeport.workloads.environment import ReplicaContext, replica_environment
from homeport.workloads.settings import ServingSettings

CONTEXT = ReplicaContext(
    kind=Kind.AGENT,
    workspace="default",
    name="hello",
    region="local",
    host="127.0.0.1",
    port=41000,
    api_url="http://127.0.0.1:8080/v0",
    run_url="http://127.0.0.1:8080",
    client_credentials="secret-key",
)


def test_an_empty_spec_gives_the_defaults() -> None:
    found = ServingSettings.from_spec({})
    assert (found.memory_mb, found.min_scale, found.max_scale) == (2048, 0, 10)
    assert (found.public, found.enabled, found.region, found.policies) == (False, True, None, ())


def test_the_spec_wins_over_the_manifest() -> None:
    found = ServingSettings.from_spec({"runtime": {"minScale": 0, "memory": 512}}, {"minScale": 3, "maxScale": 4})
    assert (found.min_scale, found.max_scale, found.memory_mb) == (0, 4, 512)


def test_a_minimum_above_the_default_maximum_raises_it() -> None:
    assert ServingSettings.from_spec({"runtime": {"minScale": 12}}).max_scale == 12


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"runtime": {"minScale": 3, "maxScale": 2}}, "spec.runtime.minScale"),
        ({"runtime": {"minScale": -1}}, "spec.runtime.minScale"),
        ({"runtime": {"maxScale": 0}}, "spec.runtime.maxScale"),
        ({"runtime": {"memory": 2**40}}, "spec.runtime.memory"),
        ({"public": 1}, "spec.public"),
        ({"region": 5}, "spec.region"),
        ({"volumes": [{"name": "data"}]}, "spec.volumes[0].mountPath"),
    ],
)
def test_a_mistake_is_named_by_its_path(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        ServingSettings.from_spec(spec)
    assert caught.value.field == field


def test_a_replica_gets_the_variables_of_the_contract() -> None:
    values = replica_environment(CONTEXT).values
    expected = {
        "HOST": "127.0.0.1",
        "PORT": "41000",
        "BL_SERVER_HOST": "127.0.0.1",
        "BL_SERVER_PORT": "41000",
        "BL_NAME": "hello",
        "BL_TYPE": "agent",
        "BL_WORKSPACE": "default",
        "BL_REGION": "local",
        "BL_API_URL": "http://127.0.0.1:8080/v0",
        "BL_RUN_URL": "http://127.0.0.1:8080",
        "BL_CLIENT_CREDENTIALS": "secret-key",
        "BL_DISABLE_H2": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
    }
    assert {key: values[key] for key in expected} == expected
    assert {"PATH", "HOME", "LANG", "BL_ENV", "BL_CLOUD"} <= set(values)


def test_reserved_variables_are_ignored_and_named() -> None:
    own = [EnvVar(name=name, value="mine") for name in ("PORT", "HOST", "BL_API_KEY", "HOME", "GREETING")]
    found = replica_environment(replace(CONTEXT, envs=own, extra={"PATH": "/app/.venv/bin:/usr/bin"}))
    assert found.ignored == ("BL_API_KEY", "HOST", "PORT")
    assert (found.values["PORT"], found.values["HOME"], found.values["GREETING"]) == ("41000", "mine", "mine")
    assert "BL_API_KEY" not in found.values
    assert found.values["PATH"] == "/app/.venv/bin:/usr/bin"
