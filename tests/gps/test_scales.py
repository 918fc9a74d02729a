"""GPS time, UTC and the leap seconds between them, against published tables."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.gps.scales import (
    EARLIEST_US,
    LATEST_US,
    TURN_US,
    gps_of_utc,
    leap_seconds,
    refusal,
    table_leap_s,
    unix_us,
    utc_of_gps,
)

LEAP_FILE = Path("/usr/share/zoneinfo/leapseconds")


def us(text):
    return unix_us(datetime.fromisoformat(text).replace(tzinfo=UTC))


# IS-GPS-200: the zero is 1980-01-06. The others: `date -u -d MOMENT +%s`, less 315,964,800 s, plus the leap seconds by
# Bulletin C, which are 17 before and 18 from 2017-01-01 on.
@pytest.mark.parametrize(
    ("utc", "gps_us"),
    [
        ("1980-01-06T00:00:00", 0),
        ("2026-11-23T10:00:00.123456", 1_479_463_218_123_456),
        ("2017-01-01T00:00:00", 1_167_264_018_000_000),
        ("2016-12-31T23:59:59", 1_167_264_016_000_000),
    ],
)
def test_published_moments(utc, gps_us):
    assert gps_of_utc(us(utc)) == gps_us
    assert utc_of_gps(gps_us) == us(utc)


@pytest.mark.skipif(
    not LEAP_FILE.exists(), reason="needs the leap seconds of the time zone database: apt install tzdata"
)
def test_the_table_is_that_of_the_time_zone_database():
    lines = [line.split() for line in LEAP_FILE.read_text().splitlines() if line.startswith("Leap")]
    days = [datetime.strptime(f"{year} {month} {day} +0000", "%Y %b %d %z") for _, year, month, day, *_ in lines]
    since = [day for day in days if day >= datetime(1980, 1, 6, tzinfo=UTC)]
    assert len(since) == leap_seconds(us("2026-11-23"))
    for number, day in enumerate(since, 1):
        after_us = unix_us(day) + 86_400_000_000
        assert (leap_seconds(after_us - 1), leap_seconds(after_us)) == (number - 1, number)


@given(st.integers(EARLIEST_US - TURN_US, LATEST_US))
def test_there_and_back_is_the_same_moment(utc_us):
    assert utc_of_gps(gps_of_utc(utc_us)) == utc_us
    assert table_leap_s(gps_of_utc(utc_us)) == leap_seconds(utc_us)


def test_a_receiver_that_knows_better_than_the_table_is_believed():
    assert gps_of_utc(us("2027-01-01"), 19) - gps_of_utc(us("2027-01-01")) == 1_000_000
    assert utc_of_gps(gps_of_utc(us("2027-01-01"), 19), 19) == us("2027-01-01")


def test_a_week_number_that_turned_over_is_told_with_the_date_it_means():
    assert "it means 2026-11-23" in refusal(us("2026-11-23T10:00:00") - TURN_US)
    assert refusal(us("2026-11-23T10:00:00") - TURN_US).startswith("it says 2007-04-09")
    assert "too far ahead" in refusal(us("2099-01-01"))
    assert "not yet made" in refusal(us("1980-01-06"))
    assert refusal(us("2026-11-23")) == ""
