"""Readings as lines of files."""

from __future__ import annotations

import csv
import io
import json

import pytest
from contract_example import EXAMPLE, HEARD, record
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import Decoded, Measurement
from gateway.wire.file_forms import Csv, JsonLines, period_of
from gateway.wire.privacy import Privacy
from gateway.wire.pseudonym import Pseudonyms

CSV = Csv(Privacy())


def rows(form: Csv, *records) -> list[dict[str, str]]:
    """As a reader of RFC 4180 sees them."""
    text = b"".join([form.header, *(line for one in records for line in form.lines(one))]).decode()
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def measured(*measurements: Measurement, **changes):
    return record(decoded=Decoded("v/d@1", {"a": 1}, measurements), **changes)


def test_the_published_example_is_one_json_line():
    (line,) = JsonLines(Privacy()).lines(record())
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == json.loads(EXAMPLE)


def test_the_published_example_is_one_row():
    [row] = rows(CSV, record())
    assert (row["quantity"], row["value"], row["unit"], row["measured"]) == ("fill_level", "83.3", "%", "")
    assert (row["dev_eui"], row["time"], row["confirmed"]) == ("70b3d57ed0000001", "2026-11-23T08:15:02.123Z", "false")
    assert (row["rssi_dbm"], row["spreading_factor"], row["problem"]) == ("-97", "7", "")
    assert json.loads(row["tags"]) == {"kind": "glass"}


def test_each_measurement_has_a_row_of_its_own_and_a_reading_without_one_has_one():
    old = Measurement("volume", 1.5, "m3", HEARD.utc_us - 3_600_000_000)
    found = rows(CSV, measured(old, Measurement("leak", True, "")), measured())
    assert [(row["quantity"], row["value"], row["measured"]) for row in found] == [
        ("volume", "1.5", "2026-11-23T07:15:02.123Z"),
        ("leak", "true", ""),
        ("", "", ""),
    ]
    assert len({row["record_id"] for row in found}) == 1
    assert {row["time"] for row in found} == {"2026-11-23T08:15:02.123Z"}


def test_the_columns_are_those_of_the_chosen_fields_whatever_a_reading_has():
    form = Csv(Privacy(("time", "measurements")))
    assert form.header == b"id,record_id,gateway_eui,time,dev_eui,quantity,value,unit,measured\r\n"
    hidden = Csv(Privacy(pseudonyms=Pseudonyms(b"a key for this test"))).header.decode().strip().split(",")
    assert not {"dev_addr", "payload", "tags", "data", "f_cnt", "rssi_dbm"}.intersection(hidden)
    assert {"dev_eui", "name", "time", "quantity", "value"} <= {*hidden}


@pytest.mark.parametrize(
    "name",
    ["=1+1", "+33 4", "-2", "@SUM(A1)", " =cmd|' /C calc'!A0", "\t=1", "\uff1d1", '=HYPERLINK("http://x","y")'],
)
def test_text_that_a_spreadsheet_would_run_is_defused(name):
    [row] = rows(CSV, record(name=name))
    assert row["name"].startswith("'")
    assert row["name"][1:] == name.replace("\t", " ")


def test_numbers_stay_numbers():
    [row] = rows(CSV, measured(Measurement("temperature", -7.5, "°C")))
    assert (row["value"], row["rssi_dbm"]) == ("-7.5", "-97")


@settings(deadline=None)
@given(
    st.text(), st.text(), st.lists(st.text() | st.floats() | st.integers() | st.booleans(), max_size=4),
    st.dictionaries(st.text(max_size=5), st.text(), max_size=3),
)  # fmt: skip
def test_whatever_people_and_codecs_write_each_line_is_whole_and_says_whose_it_is(name, problem, values, tags):
    one = record(
        name=name,
        tags=tags,
        decoded=Decoded(
            "v/d@1", {name: problem}, tuple(Measurement("x", value, name) for value in values), (), problem
        ),
    )
    for form in (CSV, JsonLines(Privacy())):
        lines = form.lines(one)
        assert len(lines) == (max(1, len(values)) if form is CSV else 1)
        for line in lines:
            assert line.endswith(b"\n")
            assert b"\n" not in line[:-1]
            assert form.key(line.rstrip(b"\r\n")) == f"{one.record_id} 2026-11-23T08:15:02.123Z"
    assert len(rows(CSV, one)) == max(1, len(values))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_a_line_of_somebody_else_is_no_reading(line):
    assert CSV.key(line) is None
    assert JsonLines(Privacy()).key(line) is None


@pytest.mark.parametrize(
    ("utc_us", "rotate_s", "period"),
    [
        (HEARD.utc_us, 86_400, "2026-11-23"),
        (HEARD.utc_us, 7 * 86_400, "2026-11-19"),
        (HEARD.utc_us, 3_600, "2026-11-23T08"),
        (HEARD.utc_us, 900, "2026-11-23T0815"),
        (HEARD.utc_us, 1, "2026-11-23T081502"),
        (0, 86_400, "1970-01-01"),
        (-1, 86_400, "undated"),
        (1 << 62, 86_400, "undated"),
        (-(1 << 62), 86_400, "undated"),
    ],
)
def test_a_period_is_named_by_its_beginning(utc_us, rotate_s, period):
    assert period_of(utc_us, rotate_s) == period
