"""Secret variables: hidden on the way out, kept on the way back."""

from typing import Any

import pytest

from homeport.app.secrets import MASK, keep_masked, masked
from homeport.core.errors import Invalid

SECRET = {"name": "TOKEN", "value": "hush", "secret": True}
PLAIN = {"name": "A", "value": "b"}


def spec_of(*envs: dict[str, Any]) -> dict[str, Any]:
    return {"runtime": {"envs": list(envs), "memory": 256}, "policies": ["p"]}


def test_secret_values_are_hidden_and_nothing_else_is_touched() -> None:
    stored = spec_of(SECRET, PLAIN, {"name": "NONE", "secret": True})
    shown = masked(stored)
    assert shown == spec_of({**SECRET, "value": MASK}, PLAIN, {"name": "NONE", "secret": True})
    assert stored["runtime"]["envs"][0]["value"] == "hush"


@pytest.mark.parametrize("spec", [{}, {"runtime": None}, {"runtime": {}}, {"runtime": {"envs": None}}])
def test_a_spec_without_variables_stays_as_it_is(spec: dict[str, Any]) -> None:
    assert masked(spec) == spec and keep_masked(spec, spec_of(SECRET)) == spec


def test_what_was_read_and_sent_back_keeps_its_secrets() -> None:
    stored = spec_of(SECRET, PLAIN)
    assert keep_masked(masked(stored), stored) == stored
    assert keep_masked(spec_of({"name": "TOKEN", "value": MASK}), stored) == spec_of(SECRET)


def test_a_new_value_replaces_the_old_one_and_a_plain_variable_may_hold_stars() -> None:
    stored = spec_of(SECRET)
    for env in ({**SECRET, "value": "new"}, {**SECRET, "value": "new", "secret": False}, {"name": "B", "value": MASK}):
        assert keep_masked(spec_of(env), stored) == spec_of(env)


@pytest.mark.parametrize(
    "env",
    [
        {"name": "TOKEN", "value": MASK, "secret": False},  # would show the value to whoever may read the spec
        {"name": "OTHER", "value": MASK, "secret": True},  # would replace a secret by stars
    ],
)
def test_a_mask_that_stands_for_nothing_is_refused_and_the_value_not_shown(env: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as caught:
        keep_masked(spec_of(PLAIN, env), spec_of(SECRET))
    assert caught.value.field == "spec.runtime.envs[1].value"
    assert "hush" not in caught.value.for_caller()
