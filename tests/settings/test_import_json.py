"""JSON with comments: what packet forwarders and Basics Station write, and what nobody should have to guess at."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.settings.importing.commented_json import MAX_DEPTH, NotJson, leaves


def test_values_come_with_the_line_of_their_key():
    text = '{ /* one\n two */ "a": 1,\n "b": {"c": [true,\n null, -2.5e3]}, // end\n "d":\n "x"}'
    assert leaves(text) == [
        (("a",), 2, 1),
        (("b", "c", 0), 3, True),
        (("b", "c", 1), 4, None),
        (("b", "c", 2), 4, -2500.0),
        (("d",), 5, "x"),
    ]


def test_what_is_empty_is_a_value_too():
    assert leaves('{"a": {}, "b": [], "c": [{}]}') == [(("a",), 1, {}), (("b",), 1, []), (("c", 0), 1, {})]


def test_a_key_that_stands_twice_comes_twice():
    assert leaves('{"a": 1,\n"a": 2}') == [(("a",), 1, 1), (("a",), 2, 2)]


def test_comments_in_text_are_text_and_a_last_comma_is_harmless():
    assert leaves('{"a": "/* no */ // no", "b": [1,], }') == [(("a",), 1, "/* no */ // no"), (("b", 0), 1, 1)]


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("", 1, "the file ends, where a value is wanted"),
        ('{"a": 1,\n"b"', 2, 'the file ends, where ":" behind the key "b" is wanted'),
        ('{\n"a": 1', 2, 'the file ends, where "," or "}" is wanted'),
        ('{\n"a": /* never', 2, "has a comment that begins here and never ends"),
        ('{\n\n"a": "x\n"}', 3, "has text without its closing quote"),
        ('{"a": CHANGE-ME}', 1, 'has "CHANGE-ME", where a value is wanted'),
        ("{a: 1}", 1, 'has "a", where a key in quotes is wanted'),
        ('{"a": 1}\n{"b": 2}', 2, 'has "{", where the end is wanted'),
        ('{"a": "\\x41"}', 1, "has text with a backslash that means nothing"),
        ('{"a": 0x10}', 1, 'has "0x10", where a value is wanted'),
        ('{"a": 1 "b": 2}', 1, 'has "\\"", where "," or "}" is wanted'),
        ("[" * 100, 1, f"nests more than {MAX_DEPTH} deep"),
    ],
)
def test_a_mistake_has_its_line_and_what_is_wanted(text, line, why):
    with pytest.raises(NotJson) as caught:
        leaves(text)
    assert (caught.value.line, str(caught.value)) == (line, f"is not JSON: {why}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def leaves_of(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], object]]:
    """The leaves of a value that Python's own reader gave."""
    match value:
        case dict() if value:
            return [leaf for key, inner in value.items() for leaf in leaves_of(inner, (*path, key))]
        case list() if value:
            return [leaf for index, inner in enumerate(value) for leaf in leaves_of(inner, (*path, index))]
        case _:
            return [(path, value)]


@settings(deadline=None, max_examples=300)
@given(JSON, st.sampled_from([None, 1, "\t"]), st.sampled_from(["", " ", "/* { */", "// }\n", "\r\n"]))
def test_what_is_json_reads_as_with_pythons_own_reader(value, indent, blank):
    """Oracle: the json module of the standard library."""
    text = json.dumps(value, indent=indent)
    assert [(path, leaf) for path, _, leaf in leaves(f"{blank}{text}{blank}")] == leaves_of(json.loads(text))


@settings(deadline=None, max_examples=500)
@given(st.text(alphabet='{}[]":,/*\\ \n0123456789.eE+-truefalsn"a') | st.text())
def test_any_text_reads_or_says_where_it_is_wrong(text):
    try:
        lines = [line for _, line, _ in leaves(text)]
    except NotJson as error:
        lines = [error.line]
    assert all(1 <= line <= text.count("\n") + 1 for line in lines)
