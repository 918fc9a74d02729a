"""What HTTP servers answer, read with care."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire.http_answer import LONGEST_RETRY_AFTER_S, Answer, one_line, retry_after_s, words_of

NOON = "Mon, 23 Nov 2026 12:00:00 GMT"
NOON_S = 1_795_435_200.0  # `date -u -d "2026-11-23 12:00:00" +%s`


@pytest.mark.parametrize(
    ("value", "date", "now_s", "wish"),
    [
        (None, NOON, 0, None),
        ("", NOON, 0, None),
        ("120", None, 0, 120),  # RFC 9110, section 10.2.3
        (" 0 ", None, 0, 0),
        ("-5", None, 0, None),
        ("1.5", None, 0, None),
        ("٣", None, 0, None),  # a digit, but not one of HTTP's
        ("86400", None, 0, LONGEST_RETRY_AFTER_S),
        ("9" * 5000, None, 0, LONGEST_RETRY_AFTER_S),
        ("Mon, 23 Nov 2026 12:00:30 GMT", None, NOON_S, 30),
        ("Mon, 23 Nov 2026 12:00:30 GMT", NOON, 0, 30),  # the gateway believes it is 1970
        ("Monday, 23-Nov-26 12:00:30 GMT", NOON, 0, 30),  # the two obsolete forms of RFC 9110, section 5.6.7
        ("Mon Nov 23 12:00:30 2026", NOON, 0, 30),
        ("Mon, 23 Nov 2026 11:00:00 GMT", NOON, 0, 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", NOON, 0, LONGEST_RETRY_AFTER_S),
        ("Mon, 99 Nov 2026 12:00:30 GMT", NOON, 0, None),
        ("soon", "whenever", 0, None),
    ],
)
def test_a_wish_to_be_left_alone_is_read_in_each_of_its_forms(value, date, now_s, wish):
    assert retry_after_s(value, date, now_s) == wish


@settings(deadline=None)
@given(st.text(), st.none() | st.text() | st.just(NOON))
def test_any_wish_is_none_or_within_bounds(value, date):
    wish = retry_after_s(value, date, NOON_S)
    assert wish is None or 0 <= wish <= LONGEST_RETRY_AFTER_S


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"", "", ""),
        (b"no room\r\nleft\x1b[31m", "text/plain", "no room left�[31m"),
        # what Orion 3.10 said to an apostrophe
        (b'{"error":"BadRequest","description":"Invalid characters in entity id"}', "",
         "BadRequest, Invalid characters in entity id"),
        # RFC 9457, section 3, shortened
        (b'{"title":"You do not have enough credit.","detail":"Your current balance is 30, but that costs 50."}',
         "application/problem+json", "You do not have enough credit., Your current balance is 30, but that costs 50."),
        (b'{"error":{"message":"Invalid login","code":401,"title":"Unauthorized"}}', "", "Unauthorized, Invalid login"),
        (b'{"error":"x","message":"x"}', "", "x"),
        (b"[1,2]", "application/json", "[1,2]"),
        (b'{"error":', "application/json", '{"error":'),
        (b"<!DOCTYPE html><html><head><title>502\n Bad Gateway</title>", "", 'a page of HTML ("502 Bad Gateway")'),
        (b"<p>hm", "text/html; charset=utf-8", "a page of HTML"),
    ],
)  # fmt: skip
def test_what_a_body_says_to_a_person(body, kind, words):
    assert words_of(Answer(400, {"content-type": kind}, body)) == words


@settings(deadline=None)
@given(st.integers(100, 999), st.binary(max_size=600), st.sampled_from(["", "text/html", "application/json", "\xff"]))
def test_any_answer_is_one_printable_line_for_a_person(status, body, kind):
    line = str(Answer(status, {"content-type": kind}, body))
    assert line.startswith(str(status))
    assert line.isprintable()
    assert len(line) <= 250


@settings(deadline=None)
@given(st.text())
def test_any_text_becomes_one_printable_line(text):
    assert one_line(text).isprintable()


def test_an_answer_that_was_cut_is_no_json():
    assert Answer(200, body=b"[]").json() == []
    with pytest.raises(ValueError, match="more than 2 bytes"):
        Answer(200, body=b"[]", cut=True).json()
