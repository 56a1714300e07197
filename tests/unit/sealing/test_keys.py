"""Sealing: what was sealed opens where it belongs, and nowhere else."""

import base64
import json
import os
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from homeport.core.errors import Internal, StoreUnavailable
from homeport.sealing.keys import Place, SealingKeys, key_id

KEYS = SealingKeys.generate()
HERE = Place("home", "agent-1", ".runtime.envs[TOKEN]")
TEXTS = st.text(st.characters(), max_size=200)
PLACES = st.builds(Place, TEXTS, TEXTS, TEXTS)


@given(text=TEXTS, place=PLACES)
def test_what_was_sealed_opens_at_its_place(text: str, place: Place) -> None:
    token = KEYS.seal(text, place)
    assert KEYS.open(token, place) == text
    assert len(text) < 4 or text not in token
    assert token.split(".")[:2] == ["hs1", KEYS.first]


@given(text=TEXTS)
def test_the_same_text_is_never_sealed_alike(text: str) -> None:
    assert KEYS.seal(text, HERE) != KEYS.seal(text, HERE)


@given(place=PLACES, other=PLACES)
def test_a_token_that_was_moved_does_not_open(place: Place, other: Place) -> None:
    assume(place != other)
    with pytest.raises(Internal) as caught:
        KEYS.open(KEYS.seal("hush", place), other)
    assert "hush" not in f"{caught.value.message} {caught.value.detail}"


@given(text=st.text(min_size=1, max_size=50), data=st.data())
def test_a_token_that_was_changed_does_not_open(text: str, data: st.DataObject) -> None:
    version, ident, encoded = KEYS.seal(text, HERE).split(".")
    content = bytearray(base64.urlsafe_b64decode(encoded))
    index = data.draw(st.integers(0, len(content) - 1))
    content[index] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Internal):
        KEYS.open(f"{version}.{ident}.{base64.urlsafe_b64encode(bytes(content)).decode()}", HERE)


@given(cut=st.integers(0, 80))
def test_a_token_that_was_cut_does_not_open(cut: int) -> None:
    token = KEYS.seal("hush", HERE)
    assume(cut < len(token))
    with pytest.raises(Internal):
        KEYS.open(token[:cut], HERE)


@given(text=TEXTS)
def test_text_that_is_no_token_does_not_open(text: str) -> None:
    for rubbish in (text, f"hs1.{KEYS.first}.{text}", f"hs1.k0.{text}"):
        with pytest.raises(Internal):
            KEYS.open(rubbish, HERE)


def test_another_key_opens_nothing_and_a_second_one_opens_what_it_sealed() -> None:
    old, new = os.urandom(32), os.urandom(32)
    only_old, only_new = _ring(old), _ring(new)
    both = _ring(new, old)
    token = only_old.seal("hush", HERE)
    with pytest.raises(Internal, match="internal error"):
        only_new.open(token, HERE)
    assert both.open(token, HERE) == "hush"
    anew = both.reseal(token, HERE)
    assert only_new.open(anew, HERE) == "hush"
    with pytest.raises(Internal):
        only_old.open(anew, HERE)


def test_the_file_is_the_owners_alone_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "sealing.json"
    assert SealingKeys.load(path) is None
    KEYS.save(path)
    assert path.stat().st_mode & 0o777 == 0o600 and os.listdir(path.parent) == ["sealing.json"]
    found = SealingKeys.load(path)
    assert found is not None and found.open(KEYS.seal("hush", HERE), HERE) == "hush"


def test_keys_that_stand_there_are_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "sealing.json"
    KEYS.save(path)
    before = path.read_bytes()
    KEYS.save(path)
    with pytest.raises(Internal):
        SealingKeys.generate().save(path)
    assert path.read_bytes() == before


def test_a_damaged_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "sealing.json"
    KEYS.save(path)
    whole = json.loads(path.read_text())
    changed = base64.b64encode(os.urandom(32)).decode()
    damaged = [
        "",
        "{",
        "[]",
        '{"keys": []}',
        '{"keys": [{"id": "k", "key": "AAAA"}]}',
        json.dumps({"keys": [{**whole["keys"][0], "key": changed}]}),
        json.dumps({"keys": [{**whole["keys"][0], "key": 5}]}),
    ]
    for content in damaged:
        path.write_text(content)
        with pytest.raises(StoreUnavailable, match="damaged") as caught:
            SealingKeys.load(path)
        assert "backup" in caught.value.for_caller() and path.read_text() == content


def _ring(*keys: bytes) -> SealingKeys:
    return SealingKeys({key_id(key): key for key in keys})
