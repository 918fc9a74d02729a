"""What devices say, taken apart by hand after the makers' layouts, and whether it could be true."""

import itertools
import struct
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.simulator.chance import Chance
from gateway.simulator.sensors import (
    DAY_S,
    HOUR_S,
    INSTALLED_S,
    Container,
    Room,
    Stranger,
    WaterMeter,
    days_lived,
    ers,
    heywaste,
    is_open,
    qalcosonic,
)

moments = st.floats(datetime(2024, 1, 1, tzinfo=UTC).timestamp(), datetime(2060, 1, 1, tzinfo=UTC).timestamp())
seeds = st.integers(0, 10_000)


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


# --- Heyliot Heywaste ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "payload"),
    [
        # Hex characters after the maker's help-desk article: message, number of the measure, range status, distance in
        # millimetres; start 3 and five characters are the reading the codec has as default.
        ({"distance_mm": 900}, "10000384"),
        ({"distance_mm": 3000, "message": 3, "measure": 1}, "31000bb8"),
        ({"distance_mm": 100, "message": 2, "measure": 2, "status": 1}, "22100064"),
        ({"distance_mm": 4000, "measure": 3, "status": 7}, "13700fa0"),
    ],
)
def test_a_heywaste_measure_is_a_row_of_hex_characters(fields, payload):
    assert heywaste(**fields).hex() == payload


@settings(deadline=None, max_examples=100)
@given(seeds, moments, st.integers(0, 1 << 20))
def test_a_container_measures_what_lies_between_lid_and_waste(seed, now, f_cnt):
    container = Container(Chance(seed), 1800, 3 * DAY_S)
    measure = container.measure(now, f_cnt)
    text = measure.payload.hex()
    assert (measure.f_port, len(text)) == (2, 8)
    message, number, status, distance_mm = text[0], text[1], text[2], int(text[3:], 16)
    assert message == "1"
    assert number == str(f_cnt % 10)
    assert status in "014"
    if status == "4":
        assert distance_mm == 4000, "out of bounds: beyond what the sensor can measure"
    else:
        noise_mm = 150 if status == "1" else 15
        assert distance_mm == pytest.approx(1800 * (1 - container.fill(now)), abs=noise_mm)
        assert 40 <= distance_mm <= 2000


def test_a_few_measures_are_noisy_and_hardly_any_fails():
    statuses = Counter(Container(Chance(1), 1800, DAY_S).measure(0.0, f_cnt).payload.hex()[2] for f_cnt in range(4000))
    assert set(statuses) == {"0", "1", "4"}
    assert statuses["0"] > 3800
    assert statuses["1"] > 50 > statuses["4"]


def test_clocks_of_the_city_are_ahead_of_utc():
    noon = at("2026-11-24T12:00")
    assert Container(Chance(1), 1800, DAY_S, 7200).fill(noon) == Container(Chance(1), 1800, DAY_S).fill(noon + 7200)
    opening = at("2026-11-24T09:30")
    assert Room(Chance(1), 180).measure(opening, 1).payload[7] < 10
    assert Room(Chance(1), 180, 3600).measure(opening, 1).payload[7] > 100
    meter = WaterMeter(Chance(1), utc_offset_s=6 * HOUR_S)
    since = at("2026-11-24")
    morning = meter.litres(since + 4 * HOUR_S) - meter.litres(since)
    night = meter.litres(since + 23 * HOUR_S) - meter.litres(since + 19 * HOUR_S)
    assert morning > 2 * night, "breakfast is at one in the morning UTC"


def test_a_container_fills_and_is_emptied_and_fills_again():
    container = Container(Chance(3), 1800, 3 * DAY_S)
    fills = [container.fill(at("2026-11-01") + minute * 60) for minute in range(20 * 24 * 60)]
    steps = [later - earlier for earlier, later in itertools.pairwise(fills)]
    emptied = [index for index, step in enumerate(steps) if step < 0]
    assert 5 <= len(emptied) <= 8, "every three days or so"
    for index in emptied:
        assert fills[index] > 0.75
        assert fills[index + 1] < 0.1
    assert all(step < 0.05 for step in steps), "bag by bag"


def test_more_is_thrown_away_by_day_than_at_night():
    container = Container(Chance(4), 1800, 3 * DAY_S)
    fills = [container.fill(at("2026-11-10") + hour * HOUR_S) for hour in range(20 * 24)]
    day = night = 0.0
    for hour in range(len(fills) - 1):
        filled = max(fills[hour + 1] - fills[hour], 0.0)  # it is emptied now and then
        day += filled if 8 <= hour % 24 < 20 else 0.0
        night += filled if not 7 <= hour % 24 < 21 else 0.0
    assert day > 3 * night > 0


# --- Elsys ERS ----------------------------------------------------------------------------------------------------


def test_an_ers_message_has_the_records_of_the_makers_documentation():
    # Elsys's payload format: 01 temperature s16/10, 02 humidity, 04 light u16, 05 motion, 07 battery mV u16.
    assert ers(21.1, 54, 300, 3, 2536).hex() == "0100d3023604012c05030709e8"
    assert ers(-2.0, 88, 0, 0, 3450).hex() == "01ffec02580400000500070d7a"


@settings(deadline=None, max_examples=100)
@given(seeds, moments, st.integers(0, 1 << 20))
def test_a_room_stays_within_what_pictures_bear(seed, now, f_cnt):
    measure = Room(Chance(seed), lit_lux=180).measure(now, f_cnt)
    payload = measure.payload
    assert measure.f_port == 5
    assert [payload[at] for at in (0, 3, 5, 8, 10)] == [0x01, 0x02, 0x04, 0x05, 0x07]
    assert len(payload) == 13
    assert 19.0 <= int.from_bytes(payload[1:3], "big", signed=True) / 10 <= 22.0
    assert 45 <= payload[4] <= 58
    light_lux = int.from_bytes(payload[6:8], "big")
    if is_open(now):
        assert 160 <= light_lux <= 200
    else:
        assert (light_lux <= 2, payload[9]) == (True, 0), "dark, and nobody there"
    assert 3500 <= int.from_bytes(payload[11:13], "big") <= 3700


def test_a_room_drifts_slowly():
    room = Room(Chance(5), lit_lux=50)
    climate = [room.climate(at("2026-11-10") + minute * 60) for minute in range(24 * 60)]
    for (earlier_c, earlier_rh), (later_c, later_rh) in itertools.pairwise(climate):
        assert abs(later_c - earlier_c) < 0.05
        assert abs(later_rh - earlier_rh) < 0.2
    temperatures, humidities = zip(*climate, strict=True)
    assert max(temperatures) - min(temperatures) > 0.5
    assert max(humidities) - min(humidities) > 1.5


@pytest.mark.parametrize(
    ("local", "opened"),
    [
        ("2026-11-24T09:59:59", False),  # a Tuesday
        ("2026-11-24T10:00:00", True),
        ("2026-11-24T17:59:59", True),
        ("2026-11-24T18:00:00", False),
        ("2026-11-23T12:00:00", False),  # Mondays are closed
        ("2026-11-29T12:00:00", True),  # a Sunday
    ],
)
def test_the_museum_opens_at_ten_but_not_on_mondays(local, opened):
    assert is_open(at(local)) is opened


# --- Axioma Qalcosonic W1 -----------------------------------------------------------------------------------------


def test_a_qalcosonic_message_has_the_published_layout():
    # Port 100, extended: time u32, status, volume u32, time of the log u32, its volume u32, increments u16; all little
    # endian, litres. 2026-03-14 06:00:00 UTC, 45.678 m3; log from 02:00 at 45.640, then +10, +0, +22, +6.
    log = [45_640, 45_650, 45_650, 45_672, 45_678]
    payload = qalcosonic(int(at("2026-03-14T06:00")), 45_678, int(at("2026-03-14T02:00")), log)
    assert payload.hex() == "60f9b469006eb2000020c1b46948b200000a00000016000600"


@settings(deadline=None, max_examples=60)
@given(seeds, moments, st.booleans())
def test_a_meters_log_leads_up_to_what_it_shows(seed, now, leaking):
    meter = WaterMeter(Chance(seed), leaking=leaking, utc_offset_s=3600)
    measure = meter.measure(now, 1)
    assert (measure.f_port, len(measure.payload)) == (100, 47)
    time_s, status, litres, log_s, log_litres = struct.unpack_from("<IBIII", measure.payload)
    increments = struct.unpack_from("<15H", measure.payload, 17)
    assert time_s == int(now)
    assert status == (0x30 if leaking else 0x00)
    assert log_s % HOUR_S == 0
    assert log_s + 15 * HOUR_S == now // HOUR_S * HOUR_S, "the last entry is the last full hour"
    last_hour = log_litres + sum(increments)
    assert last_hour <= litres <= last_hour + 500
    assert meter.litres(log_s) == log_litres


def test_a_meter_never_runs_backwards_and_lives_by_the_household():
    meter = WaterMeter(Chance(6))
    litres = [meter.litres(at("2026-11-10") + minute * 60) for minute in range(4 * 24 * 60)]
    assert litres == sorted(litres)
    daily = [litres[day * 1440 + 1439] - litres[day * 1440] for day in range(3)]
    assert all(80 <= day <= 425 for day in daily)
    night = sum(litres[day * 1440 + 5 * 60] - litres[day * 1440 + 60] for day in range(4))
    morning = sum(litres[day * 1440 + 10 * 60] - litres[day * 1440 + 6 * 60] for day in range(4))
    assert morning > 4 * night


def test_a_leak_runs_all_night():
    tight, leaking = WaterMeter(Chance(8)), WaterMeter(Chance(8), leaking=True)
    since, until = at("2026-11-10T01:00"), at("2026-11-10T04:00")
    extra = (leaking.litres(until) - leaking.litres(since)) - (tight.litres(until) - tight.litres(since))
    assert 3 * 6 - 2 <= extra <= 3 * 18 + 2


@pytest.mark.parametrize("year", [1969, 1970, 2000, 2020, 2107, 2300])
def test_a_gateway_without_a_clock_breaks_no_sensor(year):
    # A Raspberry Pi has no clock of its own and may start in 1970.
    now = datetime(year, 6, 1, tzinfo=UTC).timestamp()
    for sensor in (Container(Chance(1), 1800, 3600), Room(Chance(1), 50), WaterMeter(Chance(1), leaking=True)):
        for hour in range(48):
            assert sensor.measure(now + hour * HOUR_S, hour).payload
    if year < 2021:
        assert WaterMeter(Chance(1)).litres(now) == 0


def test_a_meter_that_was_just_installed_starts_at_nothing():
    meter = WaterMeter(Chance(2), leaking=True)
    assert [meter.litres(INSTALLED_S + second) for second in (-1, 0)] == [0, 0]
    assert 90 <= meter.litres(INSTALLED_S + DAY_S) <= 420 + 24 * 18


def test_a_meter_asked_again_after_a_restart_goes_on_where_it_is_by_then():
    before, after = WaterMeter(Chance(9)), WaterMeter(Chance(9))
    now = at("2026-11-10T12:34:56")
    before.measure(now - 30 * DAY_S, 1)
    assert before.measure(now, 2) == after.measure(now, 700)


# --- the rest -----------------------------------------------------------------------------------------------------


def test_a_stranger_is_different_every_time_and_fits_into_any_frame():
    stranger = Stranger(Chance(1))
    measures = [stranger.measure(0.0, f_cnt) for f_cnt in range(20)]
    assert len({measure.payload for measure in measures}) == 20
    assert all(4 <= len(measure.payload) <= 24 and 1 <= measure.f_port <= 223 for measure in measures)


@settings(deadline=None, max_examples=100)
@given(moments, st.floats(0, 10 * DAY_S))
def test_a_rhythm_bends_the_day_but_never_stops_and_never_turns_back(now, span):
    rhythm = (1, 5, *([2] * 22))
    assert days_lived(now + span, rhythm) >= days_lived(now, rhythm)
    assert days_lived(now, rhythm) == pytest.approx(now / DAY_S, abs=1)
    midnight = now // DAY_S * DAY_S
    assert days_lived(midnight, rhythm) == midnight / DAY_S
