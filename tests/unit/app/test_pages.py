"""Cursors and the query parameters of lists, without a store."""

import base64
import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.app.pages import PageRequest, fingerprint_of, make_cursor, open_cursor, page_limit, resource_cursor
from homeport.core.errors import Invalid
from homeport.core.ids import Kind
from homeport.testing.factories import NOON

QUERY = fingerprint_of("agents", "home")


ASCII = st.characters(min_codepoint=0x20, max_codepoint=0x7E)  # names, ids and numbers have no others


@given(first=st.text(ASCII, max_size=49), second=st.text(ASCII, max_size=30))
def test_a_cursor_gives_back_the_position_that_it_was_made_of(first: str, second: str) -> None:
    cursor = make_cursor((first, second), QUERY, NOON)
    assert open_cursor(cursor, QUERY, NOON + timedelta(hours=1)) == (first, second)


@given(text=st.text(max_size=300) | st.binary(max_size=200).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_any_other_text_is_no_cursor(text: str) -> None:
    if not text:
        assert open_cursor(text, QUERY, NOON) is None
        return
    with pytest.raises(Invalid) as caught:
        open_cursor(text, QUERY, NOON)
    assert caught.value.field == "cursor"


def test_the_longest_cursor_of_ours_is_one_that_we_read() -> None:
    cursor = make_cursor(("a" * 49, "policy-" + "x" * 40), QUERY, NOON)
    assert len(cursor) < 250 and open_cursor(cursor, QUERY, NOON) is not None


def test_the_end_of_a_list_has_no_cursor_and_none_opens_its_beginning() -> None:
    assert make_cursor(None, QUERY, NOON) == ""
    assert open_cursor("", QUERY, NOON) is None and open_cursor(None, QUERY, NOON) is None


@pytest.mark.parametrize(("age", "good"), [(-60, True), (0, True), (86_400, True), (86_401, False)])
def test_a_cursor_lasts_a_day_and_a_clock_that_was_set_back_does_not_end_it(age: int, good: bool) -> None:
    cursor = make_cursor(("a", "b"), QUERY, NOON)
    try:
        assert open_cursor(cursor, QUERY, NOON + timedelta(seconds=age)) == ("a", "b") and good
    except Invalid as error:
        assert not good and "24 hours" in error.message


def test_a_position_that_was_changed_by_hand_is_refused() -> None:
    cursor = make_cursor(("100", "uid"), QUERY, NOON)
    parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    changed = base64.urlsafe_b64encode(json.dumps(["200", *parts[1:]]).encode()).decode().rstrip("=")
    with pytest.raises(Invalid, match="damaged"):
        open_cursor(changed, QUERY, NOON)


def test_a_page_may_change_its_size_but_not_its_query() -> None:
    cursor = resource_cursor(PageRequest(q="ab").query("home", Kind.AGENT, NOON), ("a", "b"), NOON)
    same = PageRequest(q=" AB ", limit=7, cursor=cursor, sort="createdAt:desc")
    assert same.query("home", Kind.AGENT, NOON).after == ("a", "b")
    for workspace, kind, request in (
        ("away", Kind.AGENT, PageRequest(q="ab", cursor=cursor)),
        ("home", Kind.JOB, PageRequest(q="ab", cursor=cursor)),
        ("home", Kind.AGENT, PageRequest(q="abc", cursor=cursor)),
        ("home", Kind.AGENT, PageRequest(q="ab", cursor=cursor, sort="createdAt:asc")),
        ("home", Kind.AGENT, PageRequest(q="ab", cursor=cursor, status="failed")),
    ):
        with pytest.raises(Invalid):
            request.query(workspace, kind, NOON)


@pytest.mark.parametrize(("asked", "given"), [(None, 50), (1, 1), (200, 200), (201, 200), (10**9, 200)])
def test_a_limit_is_clamped(asked: int | None, given: int) -> None:
    assert page_limit(asked, 50, 200) == given


@pytest.mark.parametrize("asked", [0, -1])
def test_a_limit_below_one_is_refused(asked: int) -> None:
    with pytest.raises(Invalid, match="limit"):
        page_limit(asked, 50, 200)


@pytest.mark.parametrize(("q", "searched"), [(None, None), ("", None), (" a ", None), (" AB ", "ab"), ("É!", "é!")])
def test_a_search_is_trimmed_lower_case_and_at_least_two_characters(q: str | None, searched: str | None) -> None:
    assert PageRequest(q=q).query("home", Kind.AGENT, NOON).q == searched
