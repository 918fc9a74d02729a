"""Lines of keys: against hand-counted files, and against documents that are written key by key."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from gateway.errors import SettingsError, UsageError
from gateway.settings.toml_file import MAX_BYTES, dotted, key_lines, nearest, parse_toml, read_toml, shown

# The forms of TOML 1.0.0 (toml.io/en/v1.0.0), each key with the line it stands on.
FORMS = '''\
# comment = 1
title = "# no comment"       # comment with "quotes" and [brackets]
"quoted.key" = 'C:\\path # not a comment'
a.b . "c d" = 1979-05-27 07:32:00
multi = """
[not.a.table]
key = "no key"
\\""" still inside ""quotes"""
literal = \'\'\'
x = 1\'\'\'

[ owner . "caf\\u00e9" ]
numbers = [
  1,        # [
  [2, "]", { deep = "}", list = [
      3 ] } ],

  4,
]
inline = { x = 1, y.z = """"a""""", "w" = [] }

[[fruit]]
name = 1
  [fruit.physical]
  color = 2
  [[fruit.variety]]
  name = 3
  [[fruit.variety]]
  name = 4
[[fruit]]
[[fruit.variety]]
name = 5
'''
LINES = {
    ("title",): 2,
    ("quoted.key",): 3,
    ("a",): 4,
    ("a", "b", "c d"): 4,
    ("multi",): 5,
    ("literal",): 9,
    ("owner", "café"): 12,
    ("owner", "café", "numbers"): 13,
    ("owner", "café", "numbers", 0): 14,
    ("owner", "café", "numbers", 1): 15,
    ("owner", "café", "numbers", 1, 2, "list"): 15,
    ("owner", "café", "numbers", 1, 2, "list", 0): 16,
    ("owner", "café", "numbers", 2): 18,
    ("owner", "café", "inline"): 20,
    ("owner", "café", "inline", "y", "z"): 20,
    ("fruit",): 22,
    ("fruit", 0): 22,
    ("fruit", 0, "name"): 23,
    ("fruit", 0, "physical", "color"): 25,
    ("fruit", 0, "variety", 0, "name"): 27,
    ("fruit", 0, "variety", 1, "name"): 29,
    ("fruit", 1): 30,
    ("fruit", 1, "variety", 0, "name"): 32,
}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(("path", "line"), LINES.items())
def test_every_form_of_key_has_its_line(path, line, newline):
    file = parse_toml(FORMS.replace("\n", newline).encode(), "f")
    assert file.lines[path] == line


def _paths(value: object, path: tuple[Any, ...] = ()):
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in parts:
        yield (*path, key)
        yield from _paths(inner, (*path, key))


def test_keys_have_lines_and_lines_have_keys():
    assert set(key_lines(FORMS)) == set(_paths(tomllib.loads(FORMS)))


# --- documents written key by key, so that the line of each is known

KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=6) | st.sampled_from("abc")
SCALARS = (
    st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=8)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)


class Writer:
    """Writes TOML in varying layouts and notes the line of every key as it goes."""

    def __init__(self, draw: Any) -> None:
        self.draw, self.text, self.lines = draw, "", {}

    def note(self, path: tuple[Any, ...]) -> None:
        self.lines.setdefault(path, self.text.count("\n") + 1)

    def space(self, *, newlines: bool = False) -> None:
        self.text += self.draw(st.sampled_from(["", " ", "\t", *(["\n", ' # "[{\n', "\n\n"] if newlines else [])]))

    def key(self, key: str) -> None:
        if "'" not in key and self.draw(st.booleans()):
            self.text += f"'{key}'"
        else:
            self.text += json.dumps(key, ensure_ascii=self.draw(st.booleans()) and key.isascii())

    def value(self, value: object, path: tuple[Any, ...]) -> None:
        match value:
            case dict():
                self.text += "{"
                for number, (key, inner) in enumerate(value.items()):
                    self.text += "," if number else ""
                    self.space()
                    self.pair(key, inner, path)
                    self.space()
                self.text += "}"
            case list():
                self.text += "["
                for index, inner in enumerate(value):
                    self.space(newlines=True)
                    self.note((*path, index))
                    self.value(inner, (*path, index))
                    self.space(newlines=True)
                    self.text += ","
                self.space(newlines=True)
                self.text += "]"
            case str() if "'" not in value and self.draw(st.booleans()):
                self.text += self.draw(st.sampled_from(["'{}'", "'''{}'''", "'''\n{}'''"])).format(value)
            case str():
                quoted = json.dumps(value, ensure_ascii=False)
                self.text += self.draw(st.sampled_from([quoted, f'""{quoted}""', f'"""\n{quoted[1:]}""']))
            case _:
                self.text += json.dumps(value)

    def pair(self, key: str, value: object, path: tuple[Any, ...]) -> None:
        self.note((*path, key))
        self.key(key)
        self.space()
        self.text += "="
        self.space()
        self.value(value, (*path, key))

    def line(self, key: str, value: object, path: tuple[Any, ...]) -> None:
        self.space(newlines=True)
        self.pair(key, value, path)
        self.text += self.draw(st.sampled_from(["\n", " # [x] = {\n"]))


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_lines_are_those_on_which_the_keys_were_written(data):
    writer = Writer(data.draw)
    for key, value in data.draw(st.dictionaries(KEYS.map("0".__add__), VALUES, max_size=3)).items():
        writer.line(key, value, ())
    for name, pairs in data.draw(st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=3), max_size=3)).items():
        path = ("1" + name,)
        writer.space(newlines=True)
        writer.note(path)
        writer.text += "["
        writer.key(path[0])
        writer.text += "]\n"
        for key, value in pairs.items():
            writer.line(key, value, path)
    assert set(_paths(tomllib.loads(writer.text))) == set(writer.lines)
    assert key_lines(writer.text) == writer.lines


# --- what is no TOML


@pytest.mark.parametrize(
    ("content", "line", "word"),
    [
        (b"a = 1\nb = EU868\n", 2, "text stands in quotes"),
        (b"a = 1\n\n[b\n", 3, "not TOML"),
        (b'a = 1\n\nb = "open', 3, "not TOML"),
        (b"a = 1\na = 2\n", 2, "not TOML"),
        (b"a = 1\r\nb = [1,\r\n", 2, "not TOML"),
        (b"a = 1\nb = 'caf\xe9'\n", 2, "UTF-8"),
        (b"\x00", 1, "not TOML"),
        (b"a = 1979-13-01\n", 1, "not TOML"),
        (b"a = " + b"[" * 20_000, 1, "nested"),
        (b"b = 1\n" + b"a." * 200_000 + b"a = 1", 2, "nested"),  # tomllib would take gigabytes
        (b'[a."b".' + b"'c' . " * 100_000 + b"a]", 1, "nested"),
        (b"a = " + b"9" * 5_000, 1, "cannot be read"),
        (b"#" * (MAX_BYTES + 1), 1, "MiB"),
    ],
)
def test_what_is_no_toml_is_one_problem_with_its_line(content, line, word):
    with pytest.raises(SettingsError) as raised:
        parse_toml(content, "f.toml")
    (problem,) = raised.value.problems
    assert (problem.line, word in problem.text) == (line, True), problem


def test_a_byte_order_mark_is_no_part_of_the_file():
    assert parse_toml(b"\xef\xbb\xbfa = 1\n", "f").table == {"a": 1}


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60) | st.text("[]{}\"'=.,#\n\\ab1 ", max_size=60).map(str.encode))
def test_arbitrary_bytes_are_toml_with_lines_or_problems(content):
    try:
        file = parse_toml(content, "f")
    except SettingsError as error:
        (problem,) = error.problems
        event("problem")
        lines = {("problem",): problem.line}
    else:
        event("table")
        lines = dict(file.lines)
        assert set(lines) == set(_paths(file.table))
    assert all(1 <= line <= content.count(b"\n") + 1 for line in lines.values())


@pytest.mark.parametrize("what", ["missing", "folder", "nul"])
def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path, what):
    path = {"missing": tmp_path / "none.toml", "folder": tmp_path, "nul": tmp_path / "a\0b"}[what]
    with pytest.raises(UsageError, match="cannot be read") as raised:
        read_toml(path)
    assert raised.value.hint


# --- how things are shown


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("sink", "city", "url"), "sink.city.url"),
        (("codecs", "path", 1), "codecs.path[1]"),
        (("sink", "my sink"), 'sink."my sink"'),
        (("a\nb",), '"a\\nb"'),
        (("",), '""'),
        ((), "file"),
    ],
)
def test_a_key_is_one_line(path, text):
    assert dotted(path) == text


def test_a_value_is_one_short_line_whatever_it_is():
    assert shown("a\nb\x1b[31m") == '"a\\nb\\u001b[31m"'
    assert len(shown("x" * 1000)) == 60
    assert shown(1 << 20_000) == "this value"
    assert shown(tomllib.loads("d = 1979-05-27")["d"]) == '"1979-05-27"'


def test_the_nearest_key_ignores_case_and_gives_up_on_strangers():
    assert nearest("URL", ["url", "format"]) == "url"
    assert nearest("comit_interval", ["commit_interval", "max_age"]) == "commit_interval"
    assert nearest("zzz", ["url", "format"]) is None
