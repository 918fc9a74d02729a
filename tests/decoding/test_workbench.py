from __future__ import annotations

import json

import pytest
from decoding_samples import GOOD
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.decoding import workbench
from gateway.decoding.answer import read_answer, read_encoded
from gateway.decoding.catalogue import Catalogue
from gateway.decoding.examples import difference, read_examples
from gateway.errors import SettingsError, UsageError

TOML = '[variables.depth]\ndefault = "3000"\ndescription = "how deep"\n'
EXAMPLE = {"name": "one", "input": {"fPort": 5, "hex": "01 02"}, "output": {}, "source": "by hand"}


@pytest.fixture
def folder(tmp_path, codecs):
    codecs({"good": GOOD}, TOML)
    return tmp_path / "codecs" / "test" / "good"


def catalogue(folder):
    return Catalogue.load([folder.parent.parent])


def examples(folder, *items):
    (folder / "examples.json").write_text(json.dumps(items))
    return catalogue(folder)


def test_the_list_has_what_the_contract_promises(folder):
    (listed,) = workbench.list_codecs(examples(folder, EXAMPLE))
    assert listed == {
        "name": "test/good",
        "vendor": "test",
        "model": "good",
        "kind": "test",
        "version": 1,
        "languages": ["python"],
        "firmware": [],
        "examples": 1,
    }


def test_a_codec_shows_its_variables_with_their_defaults(folder):
    shown = workbench.show(catalogue(folder), "test/good")
    assert shown["variables"] == [{"name": "depth", "default": "3000", "description": "how deep"}]
    assert (shown["id"], shown["codec"], shown["examples"]) == ("test/good@1", "good.py", [])
    json.dumps(shown)


def test_decode_gives_the_contract_s_shape(folder):
    assert workbench.decode(catalogue(folder), "test/good", b"\x01\x02", 5) == {
        "data": {"sum": 3, "port": 5, "depth": "3000"},
        "warnings": [],
        "errors": [],
        "measurements": [{"quantity": "pulse_total", "value": 3, "unit": "count"}],
    }


def test_a_value_of_its_own_time_is_written_in_rfc_3339(folder):
    (folder / "good.py").write_text(
        "def decode(p, q, v):\n"
        "    values = [(1773468000, 1), (1773468000.25, 2), (0, 3), (0xffffffff, 4), (-1, 5), (1e300, 6)]\n"
        "    return {'data': {}, 'measurements': ["
        "{'quantity': 'volume', 'value': n, 'time': t} for t, n in values]}\n"
    )
    decoded = workbench.decode(catalogue(folder), "test/good", b"", 5)
    assert {item["value"]: item["time"] for item in decoded["measurements"]} == {
        1: "2026-03-14T06:00:00Z",
        2: "2026-03-14T06:00:00.250000Z",
        3: "1970-01-01T00:00:00Z",
        4: "2106-02-07T06:28:15Z",
    }
    assert len(decoded["warnings"]) == 2


def test_a_file_is_decoded_with_the_description_beside_it_or_without(folder, tmp_path):
    beside = workbench.decode(Catalogue({}), str(folder / "good.py"), b"\x01", 1, {})
    assert beside["data"]["depth"] == "3000"
    alone = tmp_path / "alone.py"
    alone.write_text(GOOD)
    assert workbench.decode(Catalogue({}), str(alone), b"\x01", 1, {"own": "1"})["data"] == {
        "sum": 1,
        "port": 1,
        "own": "1",
    }
    (tmp_path / "alone.js").write_text("function decodeUplink(input) { return {data: {n: input.bytes.length}}; }")
    assert workbench.decode(Catalogue({}), str(tmp_path / "alone.js"), b"123", 1)["data"] == {"n": 3}


def test_receive_time_and_device_reach_the_codec(folder):
    (folder / "good.py").write_text(
        "def decode(p, q, v, recv_time, dev_eui):\n    return {'data': {'t': recv_time, 'e': dev_eui}}\n"
    )
    now = catalogue(folder)
    for text in ("2026-03-14T06:00:00Z", "2026-03-14T07:00:00+01:00", "2026-03-14T06:00:00"):
        data = workbench.decode(now, "test/good", b"", 5, {}, text, "70:B3:D5:7E:D0:00:00:01")["data"]
        assert data == {"t": 1773468000.0, "e": "70b3d57ed0000001"}
    assert workbench.decode(now, "test/good", b"", 5)["data"] == {"t": None, "e": None}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("no/such", b"", 5), "there is no codec no/such"),
        (("missing.py", b"", 5), "missing.py: No such file or directory"),
        (("test/good", b"", 0), "port 0 carries no application payload"),
        (("test/good", b"", 5, {}, "yesterday"), "yesterday is no time"),
        (("test/good", b"", 5, {}, None, "12"), "an EUI has 16 hex digits, '12' has 2"),
    ],
)
def test_what_cannot_be_asked_is_a_usage_error(folder, arguments, problem):
    with pytest.raises(UsageError) as raised:
        workbench.decode(catalogue(folder), *arguments)
    assert raised.value.problem == problem


def test_a_broken_entry_asked_for_by_name_shows_its_mistakes(folder):
    (folder / "device.toml").write_text("\nmodel = 5\n")
    with pytest.raises(SettingsError) as raised:
        workbench.show(catalogue(folder), "test/good")
    assert f"{folder}/device.toml:2 model is a text in quotes, not 5" in raised.value.lines()


def test_encode_gives_the_contract_s_shape(folder):
    (folder / "good.py").write_text(
        "def encode(command, f_port):\n"
        "    if not command:\n        return {'errors': ['empty']}\n"
        "    return {'bytes': [1, 255], 'warnings': ['w']}\n"
    )
    made = workbench.encode(catalogue(folder), "test/good", {"a": 1}, 9)
    assert made == {"bytes": [1, 255], "hex": "01ff", "f_port": 9, "warnings": ["w"], "errors": []}
    made = workbench.encode(catalogue(folder), "test/good", {})
    assert made == {"bytes": None, "hex": None, "f_port": None, "warnings": [], "errors": ["empty"]}


FULL = {
    **EXAMPLE,
    "output": {"data": {"port": 5, "sum": 3.0000000001, "depth": "3000"}, "warnings": None},
    "measurements": [{"quantity": "pulse_total", "value": 3, "unit": "count"}],
}


def test_examples_are_run_and_told_apart(folder):
    now = examples(
        folder,
        FULL,
        {**FULL, "name": "bytes", "input": {"fPort": 5, "bytes": [1, 2]}},
        {**FULL, "name": "variables", "input": {"fPort": 5, "hex": "0102", "variables": {"depth": "1"}}},
        {**FULL, "name": "port", "input": {"fPort": 6, "hex": "0102"}},
        {**EXAMPLE, "name": "measurements", "measurements": []},
        {**EXAMPLE, "name": "errors", "output": {"errors": ["no"]}},
        {**EXAMPLE, "name": "time", "input": {"hex": "", "recvTime": "noon"}},
    )
    result = workbench.test(now, ["test/good"])
    assert (result["passed"], result["failed"]) == (2, 5)
    assert {found["example"]: found["problem"] for found in result["results"]} == {
        "one": None,
        "bytes": None,
        "variables": 'data.depth is "1", "3000" was expected',
        "port": "data.port is 6, 5 was expected",
        "measurements": 'measurements is [{"quantity": "pulse_total", "value": 3, "unit": "count"}], [] was expected',
        "errors": 'errors is [], ["no"] was expected',
        "time": "noon is no time",
    }
    assert all(found["codec"] == "test/good" for found in result["results"])
    with pytest.raises(UsageError):
        workbench.test(now, ["test/other"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[", "1 - is no JSON: "),
        ("{}", "1 - is a list of examples: [{…}, …]"),
        ('[\n {"name": 5}\n]', "2 input is missing"),
        ("[\n\n 7]", "3 - is an object, not 7"),
        (json.dumps([{**EXAMPLE, "sauce": ""}]), "1 sauce is not known"),
        (json.dumps([{**EXAMPLE, "source": ""}]), "1 source is a text"),
        (json.dumps([{**EXAMPLE, "input": {"hex": "0"}}]), "1 input.hex is no payload: "),
        (json.dumps([{**EXAMPLE, "input": {"bytes": [256]}}]), "1 input.bytes is a list of numbers from 0 to 255"),
        (json.dumps([{**EXAMPLE, "input": {"bytes": [1], "hex": "01"}}]), "1 input has either hex or bytes"),
        (json.dumps([{**EXAMPLE, "input": {"hex": "", "fPort": 0}}]), "1 input.fPort is a number from 1 to 255, not 0"),
        (json.dumps([{**EXAMPLE, "input": {"hex": "", "port": 1}}]), "1 input.port is not known"),
        (
            json.dumps([{**EXAMPLE, "input": {"hex": "", "variables": {"a": 1}}}]),
            "1 input.variables is an object of texts",
        ),
        (json.dumps([{**EXAMPLE, "output": []}]), "1 output is an object"),
        (json.dumps([{**EXAMPLE, "measurements": {}}]), "1 measurements is a list"),
        ("[" * 100_000, "1 - "),
        ("[" + "9" * 5000 + "]", "1 - "),
        (json.dumps([{**EXAMPLE, "input": {"bytes": 10**9}}]), "1 input.bytes is a list of numbers from 0 to 255"),
    ],
)
def test_a_mistake_in_the_examples_is_a_failed_result_with_its_place(folder, text, problem):
    (folder / "examples.json").write_text(text)
    result = workbench.test(catalogue(folder), [])
    (found,) = result["results"]
    assert not found["ok"]
    assert found["problem"].startswith(f"{folder}/examples.json:{problem}")


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        ({"a": 1, "b": [1, 2]}, {"b": [1, 2], "a": 1}, True),
        (1, 1.0, True),
        (0.1 + 0.2, 0.3, True),
        (1, True, False),
        (0, False, False),
        (1, 1.00001, False),
        (None, 0, False),
        ([1], [1, 2], False),
        ([1, 2], [1], False),
        ({"a": 1}, {}, False),
        ({}, {"a": 1}, False),
        ({"a": {"b": [{"c": 1}]}}, {"a": {"b": [{"c": 2}]}}, False),
        ("a", "a", True),
    ],
)
def test_json_values_mean_the_same_or_not(expected, found, same):
    assert (difference(expected, found) is None) == same


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(
                ["data", "warnings", "errors", "measurements", "quantity", "value", "unit", "time", "bytes"]
            )
            | st.text(max_size=3),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=12,
)


@given(JSON)
@settings(deadline=None, max_examples=300)
def test_any_json_is_an_answer(raw):
    decoded = read_answer("a/b@1", raw, brackets=1000).decoded()
    assert decoded.data is not None or decoded.problem or decoded.measurements
    assert difference(raw, raw) is None
    read_encoded(raw, 5)


@given(st.text(max_size=60) | JSON.map(json.dumps))
@settings(deadline=None)
def test_any_text_is_examples_or_problems(text):
    found, problems = read_examples(text, "examples.json")
    assert found or problems or text.strip("\ufeff \t\r\n").replace(" ", "").startswith("[")
