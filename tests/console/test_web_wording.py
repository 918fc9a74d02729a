"""Words for the page: whatever a codec returns becomes a short line, and figures keep their value."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.console import wording
from gateway.console.wording import MINUS, NONE, THIN
from gateway.model import Refusal

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (83.3333, 1, "83.3"),
        (83.0, 1, "83"),
        (1204.387, 3, f"1{THIN}204.387"),
        (-0.4, 1, f"{MINUS}0.4"),
        (-0.04, 1, "0"),
        (0.0001, 3, "0.0001"),
        (-2e-7, 3, f"{MINUS}2e{MINUS}07"),
        (1_000_000, 0, f"1{THIN}000{THIN}000"),
        (3e20, 0, "3e+20"),
        (math.nan, 1, NONE),
        (math.inf, 1, NONE),
    ],
)
def test_numbers_read_as_on_a_meter(value, decimals, text):
    assert wording.number(value, decimals) == text


@given(st.floats(-1e12, 1e12), st.integers(0, 3))
@settings(deadline=None)
def test_a_number_on_the_page_is_the_number_within_its_last_digit(value, decimals):
    text = wording.number(value, decimals).replace(THIN, "").replace(MINUS, "-")
    assert abs(float(text) - value) <= 0.5 * 10.0**-decimals * (1 + 1e-9) + abs(value) * 1e-12


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (7_860, "2 h 11 min"),
        (86_400, "1 d"),
        (273_840, "3 d 4 h"),
        (40 * 86_400 + 7_200, "40 d"),
    ],
)
def test_durations_show_the_two_units_that_matter(seconds, text):
    assert wording.duration(seconds).replace(THIN, " ") == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (999, "999 B"), (1024, "1 KiB"), (1_500_000, "1.4 MiB"), (4 << 30, "4 GiB")]
)
def test_sizes_have_the_units_of_the_settings_file(value, text):
    assert wording.size(value).replace(THIN, " ") == text


@pytest.mark.parametrize("reason", Refusal)
def test_every_reason_to_refuse_a_frame_has_words(reason):
    short, meaning = wording.REASONS[reason]
    assert short
    assert meaning.endswith(".")


def test_a_reason_nobody_described_is_still_readable():
    assert wording.reason("missing_rxpk_size") == ("Missing rxpk size", "")


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        ({"quantity": "fill_level", "value": 83.3, "unit": "%"}, ("Fill level", "83.3", "%", 83.3, False)),
        ({"quantity": "fill_level", "value": 104, "unit": "%"}, ("Fill level", "104", "%", 100.0, False)),
        ({"quantity": "temperature", "value": -5.12, "unit": "°C"}, ("Temperature", f"{MINUS}5.1", "°C", None, False)),
        ({"quantity": "volume", "value": 1204.3871, "unit": "m3"}, ("Volume", f"1{THIN}204.387", "m³", None, False)),
        ({"quantity": "co2", "value": 1204, "unit": "ppm"}, ("CO₂", f"1{THIN}204", "ppm", None, False)),
        ({"quantity": "leak", "value": True, "unit": ""}, ("Leak", "yes", "", None, True)),
        ({"quantity": "leak", "value": False, "unit": ""}, ("Leak", "no", "", None, False)),
        ({"quantity": "door_open", "value": True, "unit": ""}, ("Door open", "yes", "", None, False)),
        ({"quantity": "position", "value": "tilt", "unit": ""}, ("Position", "tilt", "", None, False)),
        ({"quantity": "humidity", "value": None, "unit": "%"}, ("Humidity", NONE, "", None, False)),
    ],
)
def test_a_measurement_has_name_figure_unit_bar_and_alarm(entry, shown):
    assert wording.measurements([entry]) == [wording.Shown(*shown)]


def test_alarms_come_first_and_a_meters_history_is_one_line():
    found = [
        {"quantity": "volume", "value": 88.2, "unit": "m3"},
        {"quantity": "burst", "value": True, "unit": ""},
        *({"quantity": "volume", "value": 80 + i, "unit": "m3", "time": "2026-11-23T00:00:00Z"} for i in range(24)),
    ]
    assert [(one.label, one.text) for one in wording.measurements(found)] == [
        ("Burst pipe", "yes"),
        ("Volume", "88.2"),
        ("Earlier values", "24"),
    ]


# Floors: Semtech SX1276 data sheet, revision 7, table 13 (SF7 -7.5 dB to SF12 -20 dB).
@pytest.mark.parametrize(
    ("factor", "snr_db", "word"),
    [
        (7, 9.0, "strong"),
        (7, 5.2, "good"),
        (7, -2.0, "fair"),
        (7, -7.5, "weak"),
        (7, -7.6, "at its limit"),
        (12, -5.0, "strong"),
    ],
)
def test_a_signal_is_judged_against_what_its_spreading_factor_needs(factor, snr_db, word):
    assert wording.signal({"spreading_factor": factor, "snr_db": snr_db, "rssi_dbm": -110}).word == word


def test_fsk_has_no_snr_and_is_judged_by_its_strength():
    assert wording.signal({"modulation": "FSK", "rssi_dbm": -70}).bars == 4
    assert wording.signal({"modulation": "FSK", "rssi_dbm": -115}).bars == 0


def test_an_unknown_signal_says_so():
    assert wording.signal({}) == wording.Signal(0, "unknown", "")


@given(
    st.lists(
        st.fixed_dictionaries({}, optional={"quantity": JSON, "value": JSON, "unit": JSON, "time": JSON}), max_size=4
    )
)
@settings(deadline=None)
def test_whatever_a_codec_measured_becomes_short_lines(found):
    for shown in wording.measurements(found):
        for text in (shown.label, shown.text, shown.unit):
            assert len(text) <= wording.LONGEST_TEXT + 1
            assert not any(c in text for c in "\n\r\x00\x1b\u2028")
        assert shown.level is None or 0 <= shown.level <= 100


@given(st.text())
@settings(deadline=None)
def test_plain_text_stays_on_one_line_and_can_be_sent(text):
    short = wording.plain(text)
    assert short.encode("utf-8").decode("utf-8") == short
    assert short.splitlines() in ([short], [])
    assert len(short) <= wording.LONGEST_TEXT


def test_ordinary_text_is_left_alone():
    assert wording.plain("Musée Fabre, 3ᵉ étage — «nord»") == "Musée Fabre, 3ᵉ étage — «nord»"
