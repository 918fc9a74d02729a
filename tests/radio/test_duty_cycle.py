"""The ledger: any hour, what is given back, and what a restart knows."""

from dataclasses import replace
from fractions import Fraction

import pytest

from gateway.model import Stamp, TimeQuality, TxResult
from gateway.radio.duty_cycle import (
    ANYBODY,
    WINDOW_US,
    Airtime,
    AirtimeLedger,
    BandUse,
    Booking,
    Denied,
    Remembered,
    Stop,
    elapsed_us,
    tail_us,
    unlawful,
)
from gateway.regions.eu868 import EU868
from gateway.regions.region import SubBand

S = 1_000_000
BANDS = {band.name: band for band in EU868.sub_bands}
NARROW, WIDE, STRONG = BANDS["863.0-865.0 MHz"], BANDS["868.0-868.6 MHz"], BANDS["869.4-869.65 MHz"]
FREE = SubBand("915 MHz", 902_000_000, 928_000_000, 30.0)


def at(seconds, boot="boot", utc_s=1_795_428_000, quality=TimeQuality.NTP, uncertainty_ms=20):
    return Stamp(round((utc_s + seconds) * S), quality, uncertainty_ms, boot, round(seconds * S))


class Books:
    """A ledger, asked in seconds."""

    def __init__(self, remembered=None, now=None, bands=EU868.sub_bands, **more):
        self.ledger = AirtimeLedger(bands, remembered, now, **more)

    def reserve(self, now_s, airtime_s, band=WIDE, ahead_s=0.0, transmitter="roof"):
        now = now_s if isinstance(now_s, Stamp) else at(now_s)
        return self.ledger.reserve(transmitter, band, round(airtime_s * S), round(ahead_s * S), now)

    def used_s(self, now_s, band=WIDE, transmitter="roof"):
        now = now_s if isinstance(now_s, Stamp) else at(now_s)
        used = [use.used_us for use in self.ledger.uses(now) if (use.transmitter, use.band) == (transmitter, band.name)]
        return sum(used) / S


# --- one transmission ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("power_dbm", "airtime_ms", "result"),
    [
        (16.0, 400, None),
        (16.01, 1, TxResult.TX_POWER),
        (float("nan"), 1, TxResult.TX_POWER),
        (float("inf"), 1, TxResult.TX_POWER),
        (-20, 401, TxResult.DUTY_CYCLE),
    ],
)
def test_power_and_dwell_have_a_limit_for_each_transmission(power_dbm, airtime_ms, result):
    band = SubBand("923 MHz", 923_000_000, 925_000_000, 16.0, Fraction(1, 100), max_dwell_us=400_000)
    denied = unlawful(band, power_dbm, airtime_ms * 1000)
    assert (denied and denied.result) == result


def test_what_is_unlawful_says_the_limit():
    band = SubBand("923 MHz", 923_000_000, 925_000_000, 16.15, None, max_dwell_us=400_000)
    assert unlawful(band, 27, 1).detail == "923 MHz: 27 dBm EIRP, at most 16.15"
    assert unlawful(band, 16, 1_318_912).detail == "923 MHz: 1319 ms on the air, at most 400 ms at once"


# --- any hour -----------------------------------------------------------------------------------------------------


def test_the_limit_can_be_used_to_the_last_microsecond():
    books = Books()
    assert isinstance(books.reserve(0, 35.999999), Booking)
    assert isinstance(books.reserve(100, 0.000001), Booking)
    assert books.reserve(200, 0.000001).result is TxResult.DUTY_CYCLE


def test_a_refusal_says_when_there_is_room_again():
    books = Books()
    books.reserve(0, 1.2, NARROW)
    books.reserve(600, 2.4, NARROW)
    # The first second to be free is that of the first booking: it ended at 1.2 s, and counts for 3601 s.
    assert books.reserve(3531, 0.05, NARROW).detail == (
        "863.0-865.0 MHz: 3.6 s of 3.6 s used in the last hour, free again in 72 s"
    )
    assert books.reserve(3000, 1.3, NARROW).detail.endswith("free again in 1204 s")
    assert books.reserve(3000, 3.7, NARROW).detail.endswith("3.7 s at once are more than there ever is")
    assert isinstance(books.reserve(3602.2, 0.05, NARROW), Booking)


def test_a_booking_counts_for_an_hour_from_its_end_and_a_second_for_the_clocks():
    books = Books()
    books.reserve(0, 30)
    assert books.reserve(30 + 3600.999, 7).result is TxResult.DUTY_CYCLE
    assert isinstance(books.reserve(30 + 3601, 7), Booking)
    assert WINDOW_US == 3601 * S


def test_transmitters_and_bands_have_limits_of_their_own():
    books = Books()
    books.reserve(0, 36)
    assert isinstance(books.reserve(0, 36, transmitter="tower"), Booking)
    assert isinstance(books.reserve(0, 3.6, NARROW), Booking)
    assert isinstance(books.reserve(0, 360, STRONG), Booking)
    assert sorted(use.limit_us for use in books.ledger.uses(at(1))) == [3.6 * S, 36 * S, 36 * S, 360 * S]


def test_where_nothing_is_limited_nothing_is_booked():
    books = Books(bands=(FREE,))
    assert books.reserve(0, 5000, FREE) is None
    assert books.ledger.uses(at(0)) == ()


def test_what_comes_later_is_spoken_for_already():
    books = Books()
    assert isinstance(books.reserve(0, 30, ahead_s=400), Booking)
    assert books.reserve(100, 6.1).result is TxResult.DUTY_CYCLE, "the hour that ends at 430 s would hold 36.1 s"
    assert isinstance(books.reserve(100, 6), Booking)


def test_a_place_between_two_is_judged_by_the_hours_on_both_sides():
    books = Books()
    books.reserve(0, 20)
    books.reserve(3400, 10, ahead_s=300)  # from 3700 s on: the first is out of its hour
    # 3500 s lies within an hour of both: 20 + x before, x + 10 after.
    assert books.reserve(3400, 16.1, ahead_s=100).result is TxResult.DUTY_CYCLE
    assert isinstance(books.reserve(3400, 16, ahead_s=100), Booking)
    assert books.used_s(3500) == 46, "of different hours"


# --- settled or given back ----------------------------------------------------------------------------------------


def test_what_was_not_sent_is_given_back_once():
    books = Books()
    first, second = books.reserve(0, 20), books.reserve(100, 16)
    assert books.ledger.give_back(first)
    assert not books.ledger.give_back(first)
    assert books.used_s(200) == 16
    assert isinstance(books.reserve(200, 20), Booking)
    books.ledger.confirm(second)
    assert not books.ledger.give_back(second), "it was on the air"
    assert books.used_s(200) == 36


def test_what_nobody_settles_stays_booked_for_its_hour():
    books = Books()
    booking = books.reserve(0, 36)
    assert books.used_s(3600) == 36
    assert books.used_s(3700) == 0
    assert books.ledger.give_back(booking), "late, and of no consequence"
    assert books.used_s(3700) == 0


def test_use_is_told_in_seconds_and_what_is_left():
    books = Books()
    books.reserve(0, 1.5)
    [use] = books.ledger.uses(at(10))
    assert use == BandUse("roof", "868.0-868.6 MHz", 1_500_000, 36 * S)
    assert use.left_us == 34_500_000


# --- what is on disk ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit_s", "tail_s"), [(3.6, 3), (36, 3.6), (360, 36), (1, 1)])
def test_the_tail_is_a_tenth_or_one_long_frame(limit_s, tail_s):
    assert tail_us(round(limit_s * S)) == tail_s * S


def test_no_more_is_booked_than_a_restart_would_assume():
    books = Books(Remembered(), at(0))
    first = books.reserve(0, 3.6)
    answer = books.reserve(1, 0.01)
    assert answer == Denied(TxResult.DUTY_CYCLE, "868.0-868.6 MHz: 3.6 s are not on disk yet, at most 3.6 s")
    changes = books.ledger.changes()
    assert [airtime.number for airtime in changes.new] == [first.airtime.number]
    assert books.reserve(1, 0.01).result is TxResult.DUTY_CYCLE, "asking for it is not writing it"
    books.ledger.synced(changes)
    assert isinstance(books.reserve(1, 3.6), Booking)


def test_on_a_disk_that_takes_nothing_the_tail_is_the_limit_of_the_hour():
    books = Books(Remembered(), at(0))
    sent = [books.reserve(10 * n, 0.5) for n in range(300)]
    assert sum(isinstance(answer, Booking) for answer in sent) == 7
    assert isinstance(books.reserve(3700, 0.5), Booking)


def test_what_is_given_back_before_it_was_written_is_never_written():
    books = Books(Remembered(), at(0))
    booking = books.reserve(0, 1)
    assert books.ledger.has_new
    books.ledger.give_back(booking)
    assert not books.ledger.changes()
    assert isinstance(books.reserve(0, 3.6), Booking), "and holds up nothing"


def test_what_is_given_back_or_old_is_deleted():
    books = Books(Remembered(), at(0))
    first, second = books.reserve(0, 1), books.reserve(5, 1)
    books.ledger.synced(books.ledger.changes())
    books.ledger.give_back(second)
    assert books.ledger.changes().gone == (second.airtime.number,)
    books.reserve(4000, 1)
    changes = books.ledger.changes()
    assert changes.gone == (first.airtime.number,)
    assert len(changes.new) == 1


def test_changes_that_could_not_be_written_are_joined_with_later_ones():
    books = Books(Remembered(), at(0))
    first, second = books.reserve(0, 1), books.reserve(1, 1)
    before = books.ledger.changes()
    books.ledger.give_back(first)
    third = books.reserve(2, 1)
    joined = before.then(books.ledger.changes())
    assert [airtime.number for airtime in joined.new] == [second.airtime.number, third.airtime.number]
    assert joined.gone == ()


# --- restarts -----------------------------------------------------------------------------------------------------


def remembered(*rows, stop=Stop.ORDERLY):
    return Remembered(tuple(Airtime(n, *row) for n, row in enumerate(rows, start=1)), stop)


def row(start, airtime_s=33.0, transmitter="roof", band=WIDE.name):
    return transmitter, band, round(airtime_s * S), start


def test_within_a_boot_the_clock_since_boot_tells_how_long_ago():
    undated = {"quality": TimeQuality.UNSYNCED, "uncertainty_ms": None}
    books = Books(remembered(row(at(1000, **undated))), at(2000, **undated))
    assert books.used_s(at(2000, **undated)) == 33
    assert books.reserve(at(1000 + 33 + 3600.9, **undated), 3.5).result is TxResult.DUTY_CYCLE
    assert isinstance(books.reserve(at(1000 + 33 + 3601, **undated), 3.5), Booking)


def test_across_boots_the_dates_tell_and_their_doubt_counts_against_us():
    then = at(50_000, boot="before", utc_s=1_795_378_000, uncertainty_ms=1500)  # 12:00:00
    now = at(10, boot="now", utc_s=1_795_428_000 + 590, uncertainty_ms=500)  # ten minutes later
    assert elapsed_us(then, now) == 598 * S
    books = Books(remembered(row(then)), now)
    later = replace(now, monotonic_us=now.monotonic_us + (3601 - 598 + 33) * S)
    assert books.reserve(replace(later, monotonic_us=later.monotonic_us - 1), 3.5).result is TxResult.DUTY_CYCLE
    assert isinstance(books.reserve(later, 3.5), Booking)


@pytest.mark.parametrize("quality", [TimeQuality.UNSYNCED, TimeQuality.RTC])
@pytest.mark.parametrize("whose", ["then", "now"])
def test_what_cannot_be_dated_counts_as_of_now(quality, whose):
    then = at(50_000, boot="before", quality=quality if whose == "then" else TimeQuality.NTP)
    now = at(20, boot="now", utc_s=1_795_500_000, quality=quality if whose == "now" else TimeQuality.NTP)
    assert elapsed_us(then, now) is None
    books = Books(remembered(row(then)), now)
    moved = [replace(now, monotonic_us=now.monotonic_us + round(s * S)) for s in (3633.9, 3634)]
    assert books.reserve(moved[0], 3.5).result is TxResult.DUTY_CYCLE
    assert isinstance(books.reserve(moved[1], 3.5), Booking)


def test_it_is_dated_as_soon_as_the_time_is_known():
    then = at(50_000, boot="before")
    now = at(20, boot="now", quality=TimeQuality.UNSYNCED, uncertainty_ms=None)
    books = Books(remembered(row(then)), now)
    assert books.reserve(now, 3.5).result is TxResult.DUTY_CYCLE
    known = Stamp(then.utc_us + 3635 * S, TimeQuality.NTP, 20, "now", 60 * S)
    assert isinstance(books.reserve(known, 3.5), Booking)
    assert books.used_s(known) == 3.5


def test_a_boot_whose_time_became_known_later_is_dated_by_whoever_knows():
    then = at(50_000, boot="before", quality=TimeQuality.UNSYNCED, uncertainty_ms=None)
    now = at(20, boot="now")

    def date(stamp):
        return stamp if stamp.boot_id == "now" else replace(now, boot_id="before", utc_us=now.utc_us - 4000 * S)

    assert Books(remembered(row(then)), now).used_s(now) == 33
    assert Books(remembered(row(then)), now, date=date).used_s(now) == 0


def test_a_clock_that_was_set_back_frees_nothing():
    then = at(50_000, boot="before")
    now = Stamp(then.utc_us - 86_400 * S, TimeQuality.NTP, 20, "now", 20 * S)
    books = Books(remembered(row(then)), now)
    assert books.reserve(replace(now, monotonic_us=3600 * S), 3.5).result is TxResult.DUTY_CYCLE


def test_what_was_promised_and_still_lies_ahead_is_kept_where_it_is():
    books = Books(remembered(row(at(100))), at(95))
    assert books.reserve(100 + 33 + 3600.9, 3.5).result is TxResult.DUTY_CYCLE
    assert isinstance(books.reserve(100 + 33 + 3601, 3.5), Booking)


def test_after_a_sudden_stop_the_tail_of_every_band_is_used_for_everybody():
    books = Books(remembered(stop=Stop.SUDDEN), at(0))
    books.ledger.synced(changes := books.ledger.changes())
    assert {(airtime.transmitter, airtime.band): airtime.airtime_us / S for airtime in changes.new} == {
        (ANYBODY, band.name): tail_us(round(3600 * S * band.duty_cycle)) / S for band in EU868.sub_bands
    }
    assert books.reserve(1, 32.5).result is TxResult.DUTY_CYCLE
    for transmitter in ("roof", "tower"):
        assert isinstance(books.reserve(1, 3.0, transmitter=transmitter), Booking)
        assert books.used_s(2, transmitter=transmitter) == 6.6


def test_a_stop_after_a_stop_forgets_neither():
    first = Books(remembered(stop=Stop.SUDDEN), at(0)).ledger.changes()
    books = Books(Remembered(first.new, Stop.SUDDEN), at(600))
    books.ledger.synced(books.ledger.changes())
    books.reserve(601, 1)
    assert books.used_s(602) == 3.6 + 3.6 + 1


def test_the_assumed_tail_has_to_be_on_disk_before_anything_is_sent():
    books = Books(remembered(stop=Stop.SUDDEN), at(0))
    assert books.reserve(1, 0.1).result is TxResult.DUTY_CYCLE
    books.ledger.synced(books.ledger.changes())
    assert isinstance(books.reserve(1, 0.1), Booking)


def test_when_nobody_knows_what_was_sent_nothing_is_for_an_hour():
    books = Books(remembered(stop=Stop.UNREADABLE), at(0))
    books.ledger.synced(books.ledger.changes())
    for band in EU868.sub_bands:
        assert books.reserve(3600, 0.01, band).result is TxResult.DUTY_CYCLE
    for band in EU868.sub_bands:
        assert isinstance(books.reserve(3601 + 360, 0.01, band), Booking)


def test_a_band_of_yesterdays_law_counts_in_all_of_todays():
    books = Books(remembered(row(at(0), 3.5, band="868.0-868.7 MHz")), at(10))
    assert books.used_s(10, WIDE) == books.used_s(10, NARROW) == 3.5
    assert books.reserve(10, 0.2, NARROW).result is TxResult.DUTY_CYCLE
    assert isinstance(books.reserve(10, 0.2, NARROW, transmitter="tower"), Booking)


def test_rows_that_no_longer_count_are_deleted_at_the_start():
    books = Books(remembered(row(at(0)), row(at(5000))), at(6000))
    assert books.ledger.changes().gone == (1,)
    assert books.used_s(6000) == 33


def test_numbers_go_on_where_they_were():
    books = Books(remembered(row(at(0)), row(at(5000))), at(6000))
    assert books.reserve(6000, 1).airtime.number == 3


def test_names_that_somebody_invents_are_forgotten_with_their_hour():
    books = Books()
    for number in range(2000):
        books.reserve(number * 10, 0.05, transmitter=f"{number}")
    assert len(books.ledger.uses(at(20_000))) <= 361
    assert len(books.ledger._accounts) <= 1024
