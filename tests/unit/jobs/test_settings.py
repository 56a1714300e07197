"""A job's settings come from its spec, then its manifest, then the defaults; mistakes are named by path."""

from typing import Any

import pytest

from homeport.core.errors import Invalid
from homeport.core.spec import duration_text, parse_duration
from homeport.jobs.settings import JobSettings


def test_an_empty_spec_gives_the_defaults() -> None:
    found = JobSettings.from_spec({})
    assert (found.max_retries, found.timeout_s, found.memory_mb, found.max_concurrent_tasks) == (0, 3600, 2048, 10)
    assert (found.enabled, found.region, found.policies, found.envs) == (True, None, (), ())


def test_the_spec_wins_over_the_manifest_and_zero_is_a_value() -> None:
    spec = {"runtime": {"maxRetries": 0, "timeout": "15m", "memory": 512, "maxConcurrentTasks": None}}
    manifest = {"maxRetries": 5, "timeout": 9, "memory": 1024, "maxConcurrentTasks": 3}
    found = JobSettings.from_spec(spec, manifest)
    assert (found.max_retries, found.timeout_s, found.memory_mb, found.max_concurrent_tasks) == (0, 900, 512, 3)


def test_nulls_count_as_absent() -> None:
    spec = {"enabled": None, "policies": None, "region": None, "runtime": None, "volumes": None, "triggers": None}
    assert JobSettings.from_spec(spec) == JobSettings.from_spec({})


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"runtime": []}, "spec.runtime"),
        ({"runtime": {"maxRetries": -1}}, "spec.runtime.maxRetries"),
        ({"runtime": {"maxRetries": True}}, "spec.runtime.maxRetries"),
        ({"runtime": {"memory": 1}}, "spec.runtime.memory"),
        ({"runtime": {"memory": "2048"}}, "spec.runtime.memory"),
        ({"runtime": {"timeout": 0}}, "spec.runtime.timeout"),
        ({"runtime": {"timeout": "soon"}}, "spec.runtime.timeout"),
        ({"runtime": {"timeout": 10**9}}, "spec.runtime.timeout"),
        ({"runtime": {"maxConcurrentTasks": 0}}, "spec.runtime.maxConcurrentTasks"),
        ({"runtime": {"envs": [{"name": "A=B", "value": ""}]}}, "spec.runtime.envs[0].name"),
        ({"runtime": {"envs": [{"value": "x"}]}}, "spec.runtime.envs[0].name"),
        ({"runtime": {"envs": [{"name": "A", "value": 3}]}}, "spec.runtime.envs[0].value"),
        ({"runtime": {"envs": [{"name": "A", "value": "x\0y"}]}}, "spec.runtime.envs[0].value"),
        ({"policies": ["a", ""]}, "spec.policies[1]"),
        ({"policies": "a"}, "spec.policies"),
        ({"enabled": "yes"}, "spec.enabled"),
        ({"volumes": [{"name": "v"}]}, "spec.volumes[0].mountPath"),
    ],
)
def test_a_mistake_is_named_by_its_path(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        JobSettings.from_spec(spec)
    assert caught.value.field == field


def test_a_mistake_in_the_manifest_is_named_there() -> None:
    with pytest.raises(Invalid, match=r"blaxel\.toml: runtime\.timeout"):
        JobSettings.from_spec({}, {"timeout": "soon"})


def test_values_of_variables_never_appear_in_errors() -> None:
    with pytest.raises(Invalid) as caught:
        JobSettings.from_spec({"runtime": {"envs": [{"name": "A", "value": "hush\0"}]}})
    assert "hush" not in str(caught.value)


def test_the_later_variable_of_a_name_wins() -> None:
    envs = [{"name": "A", "value": "1", "secret": True}, {"name": "A", "value": "2"}, {"name": "B"}]
    found = JobSettings.from_spec({"runtime": {"envs": envs}}).envs
    assert [(one.name, one.value, one.secret) for one in found] == [("A", "2", False), ("B", "", False)]


def test_durations_are_read_and_written() -> None:
    assert [parse_duration(text, "f") for text in (90, "90", "90s", "15m", "24h", "30d", "1w")] == [
        90,
        90,
        90,
        900,
        86400,
        30 * 86400,
        7 * 86400,
    ]
    assert [duration_text(seconds) for seconds in (0, 90, 900, 1800, 3600, 5400)] == [
        "0s",
        "90s",
        "15m",
        "30m",
        "1h",
        "90m",
    ]
    for wrong in ("", "-1s", "1.5h", "h", True, -1, None, "9999999999s"):
        with pytest.raises(Invalid):
            parse_duration(wrong, "f")
