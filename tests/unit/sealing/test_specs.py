"""The secrets of a specification: hidden on the way out, kept on the way back, sealed in between."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.core.errors import Internal, Invalid
from homeport.sealing.keys import PLAIN_BYTES, SealingKeys
from homeport.sealing.specs import (
    MASK,
    Owner,
    masked,
    open_env,
    open_spec,
    reveal_spec,
    seal_env,
    seal_plain_spec,
    seal_spec,
)

KEYS = SealingKeys.generate()
ONE, OTHER = Owner("home", "agent-1"), Owner("home", "agent-2")
SECRET = {"name": "TOKEN", "value": "hush", "secret": True}
PLAIN = {"name": "A", "value": "b"}


def spec_of(*envs: dict[str, Any]) -> dict[str, Any]:
    return {"runtime": {"envs": list(envs), "memory": 256}, "policies": ["p"]}


def sealed(spec: dict[str, Any], stored: dict[str, Any] | None = None) -> dict[str, Any]:
    return seal_spec(KEYS, spec, stored or {}, ONE)


def opened(spec: dict[str, Any]) -> dict[str, Any]:
    return open_spec(KEYS, spec, ONE)


EVERYWHERE = {
    "configurations": {"DSN": {"secret": True, "value": "hush-dsn"}, "MODE": {"secret": False, "value": "fast"}},
    "runtime": {"envs": [SECRET, PLAIN], "dockerConfig": '{"auths": "hush-docker"}'},
    "triggers": [{"id": "t", "configuration": {"callbackSecret": "hush-callback", "path": "/a"}}],
    "network": {"proxy": {"routing": [{"headers": {"A": "{{SECRET:k}}"}, "secrets": {"k": "hush-proxy"}}]}},
    "unknown": {"deep": [{"what": {"secret": True, "value": {"password": "hush-object"}}}]},
}


def test_secrets_are_sealed_masked_and_opened_wherever_they_stand() -> None:
    stored = sealed(EVERYWHERE)
    assert "hush" not in json.dumps(stored) and "hush" not in json.dumps(masked(stored))
    assert opened(stored) == EVERYWHERE
    shown = masked(stored)
    assert shown["configurations"] == {
        "DSN": {"secret": True, "value": MASK},
        "MODE": {"secret": False, "value": "fast"},
    }
    assert shown["runtime"]["dockerConfig"] == MASK
    assert shown["triggers"][0]["configuration"] == {"callbackSecret": MASK, "path": "/a"}
    assert shown["network"]["proxy"]["routing"][0] == {"headers": {"A": "{{SECRET:k}}"}, "secrets": {"k": MASK}}


def test_an_admin_who_asks_sees_all_but_what_the_contract_never_returns() -> None:
    shown = reveal_spec(KEYS, sealed(EVERYWHERE), ONE)
    assert shown["network"]["proxy"]["routing"][0]["secrets"] == {"k": MASK}
    assert shown["triggers"][0]["configuration"]["callbackSecret"] == MASK
    assert {**shown, "network": EVERYWHERE["network"], "triggers": EVERYWHERE["triggers"]} == EVERYWHERE


def test_what_was_read_and_sent_back_keeps_its_secrets_wherever_they_stand() -> None:
    stored = sealed(EVERYWHERE)
    assert sealed(masked(stored), stored) == stored


def test_only_secret_values_change() -> None:
    given_ = spec_of(SECRET, PLAIN, {"name": "NONE", "secret": True}, {"name": "EMPTY", "secret": True, "value": ""})
    stored = sealed(given_)
    assert stored["runtime"]["envs"][1:] == given_["runtime"]["envs"][1:]
    assert {**stored["runtime"]["envs"][0], "value": 0} == {**SECRET, "value": 0}
    assert given_["runtime"]["envs"][0]["value"] == "hush"
    assert masked(stored)["runtime"]["envs"] == [{**SECRET, "value": MASK}, *given_["runtime"]["envs"][1:]]


@pytest.mark.parametrize("spec", [{}, {"runtime": None}, {"runtime": {}}, {"runtime": {"envs": None}}])
def test_a_spec_without_secrets_stays_as_it_is(spec: dict[str, Any]) -> None:
    assert masked(spec) == spec == sealed(spec, sealed(spec_of(SECRET))) == opened(spec)


def test_a_programs_arguments_are_its_own_whatever_they_are_called() -> None:
    spec = {"triggers": [{"configuration": {"tasks": [{"secret": True, "value": "x", "secrets": {"a": "b"}}]}}]}
    assert sealed(spec) == spec == masked(spec)


def test_a_mask_keeps_the_value_also_when_the_order_changed_and_the_flag_is_missing() -> None:
    stored = sealed(spec_of(SECRET, PLAIN, {"name": "B", "value": "hush-b", "secret": True}))
    back = spec_of({"name": "B", "value": MASK, "secret": True}, {"name": "TOKEN", "value": MASK})
    kept = sealed(back, stored)
    assert opened(kept) == spec_of({"name": "B", "value": "hush-b", "secret": True}, SECRET)


def test_a_new_value_replaces_the_old_one_and_a_plain_variable_may_hold_stars() -> None:
    stored = sealed(spec_of(SECRET))
    for env in ({**SECRET, "value": "new"}, {**SECRET, "value": "new", "secret": False}, {"name": "B", "value": MASK}):
        assert opened(sealed(spec_of(env), stored)) == spec_of(env)


@pytest.mark.parametrize(
    "env",
    [
        {"name": "TOKEN", "value": MASK, "secret": False},  # would show the value to whoever may read the spec
        {"name": "OTHER", "value": MASK, "secret": True},  # would replace a secret by stars
    ],
)
def test_a_mask_that_stands_for_nothing_is_refused_and_the_value_not_shown(env: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as caught:
        sealed(spec_of(PLAIN, env), sealed(spec_of(SECRET)))
    assert caught.value.field == "spec.runtime.envs[1].value"
    assert "hush" not in caught.value.for_caller()


def test_a_secret_that_is_too_long_is_refused_without_being_shown() -> None:
    value = "é" * (PLAIN_BYTES // 2)
    assert opened(sealed(spec_of({**SECRET, "value": value}))) == spec_of({**SECRET, "value": value})
    with pytest.raises(Invalid, match="at most 94208 bytes") as caught:
        sealed(spec_of({**SECRET, "value": value + "x"}))
    assert "é" not in caught.value.for_caller()


@given(st.text(min_size=1).filter(lambda text: text != MASK))
def test_any_text_comes_back_as_it_was(text: str) -> None:
    assert opened(sealed(spec_of({**SECRET, "value": text}))) == spec_of({**SECRET, "value": text})


def test_a_value_that_looks_sealed_is_a_value_like_any_other() -> None:
    stored = sealed(spec_of(SECRET))
    token = stored["runtime"]["envs"][0]["value"]
    for name in ("TOKEN", "OTHER"):
        env = {"name": name, "value": token, "secret": True}
        assert opened(sealed(spec_of(env), stored)) == spec_of(env)
    plain = spec_of({"name": "OTHER", "value": token})
    assert sealed(plain, stored) == plain == masked(plain) == opened(plain)


def test_a_token_that_was_moved_to_another_field_or_workload_does_not_open() -> None:
    stored = sealed(spec_of(SECRET))
    token = stored["runtime"]["envs"][0]["value"]
    with pytest.raises(Internal):
        opened(spec_of({"name": "OTHER", "value": token, "secret": True}))
    with pytest.raises(Internal):
        opened({"configurations": {"TOKEN": {"value": token, "secret": True}}})
    with pytest.raises(Internal):
        open_spec(KEYS, stored, OTHER)


def test_what_an_earlier_version_kept_in_plain_is_sealed_as_it_is() -> None:
    old = spec_of({**SECRET, "value": MASK}, {"name": "N", "secret": True, "value": "x" * (PLAIN_BYTES + 1)}, PLAIN)
    assert opened(seal_plain_spec(KEYS, old, ONE)) == old


_KEYS = st.sampled_from(["name", "value", "secret", "secrets", "dockerConfig", "envs", "configurations", "tasks", "x"])
_TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(_KEYS, _TREES, max_size=5))
def test_whatever_a_specification_holds_comes_back(spec: dict[str, Any]) -> None:
    stored = seal_plain_spec(KEYS, spec, ONE)
    back = opened(stored)
    assert seal_plain_spec(KEYS, back, ONE).keys() == spec.keys() and opened(seal_plain_spec(KEYS, back, ONE)) == back
    assert masked(stored) == masked(masked(stored)) == masked(spec)


@given(st.dictionaries(st.text(), st.text(), max_size=5))
def test_every_variable_of_an_execution_is_sealed(env: dict[str, str]) -> None:
    tokens = seal_env(KEYS, env, ONE)
    assert open_env(KEYS, tokens, ONE) == env
    assert all(len(value) < 4 or value not in json.dumps(tokens) for value in env.values())
    if env:
        with pytest.raises(Internal):
            open_env(KEYS, tokens, OTHER)
