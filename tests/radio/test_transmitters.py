"""Who is admitted, in what words the others are refused, and what status shows."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import AtCounter, AtGpsTime, DownlinkRequest, Fsk, Immediately, Lora, Stamp, TimeQuality, TxResult
from gateway.radio.counter import TURN_US
from gateway.radio.schedule import GpsReference, Planned
from gateway.radio.transmitters import Transmitters, bandwidth_hz, timed
from gateway.regions import REGIONS, region_named
from gateway.regions.eu868 import EU868

NOW = Stamp(1_795_428_000_000_000, TimeQuality.NTP, 20, "boot", 3_600_000_000)
COUNT_US = 5 * TURN_US - 400_000
ANSWER = DownlinkRequest(
    ref="ours",
    phy=bytes(20),
    receiver="roof",
    timing=AtCounter((COUNT_US + 1_000_000) % TURN_US),
    frequency_hz=868_100_000,
    modulation=Lora(9, 125_000),
    power_dbm_eirp=14.0,
)


def plan(transmitters, count_us=COUNT_US, now=NOW, gps=None, **changes):
    answer = transmitters.plan(replace(ANSWER, **changes), count_us, now, gps)
    if isinstance(answer, Planned):
        transmitters.schedule(answer.request.receiver).take(answer)
    return answer


@pytest.mark.parametrize(
    ("changes", "result", "detail"),
    [
        ({"frequency_hz": 915_000_000}, TxResult.TX_FREQ, "915 MHz is in none of the bands of EU868"),
        ({"frequency_hz": 868_650_000}, TxResult.TX_FREQ, "868.65 MHz is in none of the bands of EU868"),
        ({"frequency_hz": 868_537_501}, TxResult.TX_FREQ, "868.538 MHz is in none of the bands of EU868"),
        ({"power_dbm_eirp": 27.0}, TxResult.TX_POWER, "868.0-868.6 MHz: 27 dBm EIRP, at most 16.15"),
        ({"power_dbm_eirp": float("nan")}, TxResult.TX_POWER, "868.0-868.6 MHz: nan dBm EIRP, at most 16.15"),
        ({"timing": AtCounter(0)}, TxResult.TOO_EARLY, "starts in"),
        ({"timing": AtCounter((COUNT_US - 5) % TURN_US)}, TxResult.TOO_LATE, "0.0 ms too late"),
        ({"timing": AtGpsTime(5)}, TxResult.GPS_UNLOCKED, "no GPS time"),
        ({"phy": b""}, TxResult.UNKNOWN, "an empty frame"),
        ({"preamble_symbols": -1}, TxResult.UNKNOWN, "a preamble of -1"),
        ({"preamble_symbols": 65_536}, TxResult.UNKNOWN, "at most 65535"),
        ({"phy": bytes(256)}, TxResult.UNKNOWN, "256"),
        ({"modulation": Lora(13, 125_000)}, TxResult.UNKNOWN, "13"),
        ({"modulation": Lora(7, 125_000, "9/5")}, TxResult.UNKNOWN, "9/5"),
        ({"modulation": Fsk(0)}, TxResult.UNKNOWN, "0 bit/s"),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_in_words(changes, result, detail):
    transmitters = Transmitters(EU868)
    count_us = COUNT_US if changes.get("timing") != AtCounter(0) else 4 * TURN_US + 5_000_000 - 600_000_000
    report = plan(transmitters, count_us, **changes)
    assert (report.ref, report.result) == ("ours", result)
    assert detail in report.detail
    assert transmitters.denied == {result.value: 1}
    assert transmitters.airtime(NOW) == (), "nothing is booked for it"
    assert len(transmitters.schedule("roof")) == 0


def test_an_answer_has_its_place_and_its_air_time():
    transmitters = Transmitters(EU868)
    planned = plan(transmitters)
    # SF9, 20 bytes without payload CRC: 8 + 4.25 + 8 + 5·⌈(8·20 - 4·9 + 8 + 20)/36⌉ = 45.25 symbols of 4.096 ms.
    assert (planned.start_us, planned.airtime_us) == (COUNT_US + 1_000_000, 185_344)
    assert timed(planned).timing == ANSWER.timing
    assert transmitters.airtime(NOW) == (
        {"receiver": "roof", "band": "868.0-868.6 MHz", "used_s": 0.185, "limit_s": 36.0, "left_s": 35.815},
    )


def test_a_chip_is_told_the_moment_that_was_chosen_for_an_immediate_one():
    planned = plan(Transmitters(EU868), timing=Immediately())
    assert timed(planned).timing == AtCounter((COUNT_US + 80_000) % TURN_US)


def test_the_gain_of_the_antenna_is_taken_from_what_a_transmitter_is_told_not_from_what_the_law_sees():
    transmitters = Transmitters(EU868, antenna_gain_dbi=3.0)
    planned = plan(transmitters, power_dbm_eirp=16.15)
    assert transmitters.conducted(planned.request).power_dbm_eirp == pytest.approx(13.15)
    assert plan(transmitters, power_dbm_eirp=16.2, timing=Immediately()).result is TxResult.TX_POWER


def test_each_receiver_has_its_own_half_duplex_and_its_own_hour():
    transmitters = Transmitters(EU868)
    assert isinstance(plan(transmitters), Planned)
    assert isinstance(plan(transmitters, receiver="tower"), Planned)
    assert plan(transmitters, frequency_hz=867_100_000).result is TxResult.COLLISION_PACKET
    assert {use["receiver"] for use in transmitters.airtime(NOW)} == {"roof", "tower"}


def test_what_was_not_sent_frees_its_place_and_its_air_time_and_what_was_sent_does_not():
    transmitters = Transmitters(EU868)
    transmitters.not_sent(plan(transmitters))
    assert transmitters.airtime(NOW) == ()
    again = plan(transmitters)
    assert isinstance(again, Planned)
    transmitters.sent(again)
    transmitters.not_sent(again)
    assert transmitters.airtime(NOW)[0]["used_s"] == 0.185


def test_a_collision_books_nothing_and_a_full_hour_takes_no_place():
    transmitters = Transmitters(EU868)
    plan(transmitters)
    plan(transmitters)
    assert transmitters.airtime(NOW)[0]["used_s"] == 0.185
    long = {"modulation": Lora(12, 125_000), "phy": bytes(64), "frequency_hz": 864_000_000, "timing": Immediately()}
    assert isinstance(plan(transmitters, **long), Planned)
    waiting = len(transmitters.schedule("roof"))
    report = plan(transmitters, **long)
    assert report.result is TxResult.DUTY_CYCLE
    assert report.detail.startswith("863.0-865.0 MHz: 2.8 s of 3.6 s used in the last hour, free again in 360")
    assert len(transmitters.schedule("roof")) == waiting


def test_gps_time_is_kept_where_it_is_known():
    gps = GpsReference(COUNT_US - 1_000_000, 1_479_463_218_000_000)
    planned = plan(Transmitters(EU868), timing=AtGpsTime(1_479_463_221_000_000), gps=gps)
    assert planned.start_us == COUNT_US + 2_000_000


def test_in_a_region_without_a_plan_nothing_is_sent():
    assert plan(Transmitters(region_named("ATLANTIS"))).result is TxResult.TX_FREQ


def test_receivers_that_somebody_invents_leave_nothing_behind():
    transmitters = Transmitters(EU868)
    plan(transmitters)
    for number in range(2000):
        transmitters.schedule(f"{number}")
    assert len(transmitters._schedules) <= 512
    assert len(transmitters.schedule("roof")) == 1


WHOLE = st.integers() | st.integers(-2, 300_000)
REQUESTS = st.builds(
    DownlinkRequest,
    ref=st.just("x"),
    phy=st.binary(max_size=300),
    receiver=st.text(max_size=3),
    timing=st.builds(AtCounter, st.integers()) | st.builds(AtGpsTime, st.integers()) | st.just(Immediately()),
    frequency_hz=st.integers(862_000_000, 871_000_000) | st.integers(),
    modulation=st.builds(
        Lora,
        st.integers(-1, 14),
        st.sampled_from([0, 125_000, 250_000, 500_000]) | st.integers(),
        st.sampled_from(["4/5", "4/8", None]) | st.text(max_size=4),
    )
    | st.builds(Fsk, WHOLE, st.none() | WHOLE),
    power_dbm_eirp=st.floats(),
    preamble_symbols=st.none() | WHOLE,
    payload_crc=st.booleans(),
)


@settings(deadline=None, max_examples=300)
@given(
    requests=st.lists(REQUESTS, max_size=8),
    region=st.sampled_from(sorted(REGIONS)),
    count_us=st.integers(0, 1 << 60),
    gps=st.none() | st.builds(GpsReference, st.integers(0, 1 << 60), st.integers(0, 1 << 60)),
)
def test_no_request_raises_and_every_answer_is_one_or_the_other(requests, region, count_us, gps):
    transmitters = Transmitters(REGIONS[region])
    for request in requests:
        answer = transmitters.plan(request, count_us, NOW, gps)
        if isinstance(answer, Planned):
            assert answer.airtime_us > 0
            assert 42_500 < answer.start_us - count_us <= 512_000_000
            transmitters.schedule(request.receiver).take(answer)
        else:
            assert answer.ref == "x"
            assert answer.detail
            assert answer.result not in (TxResult.ACCEPTED, TxResult.SENT)


@pytest.mark.parametrize(
    ("modulation", "width_hz"),
    [(Lora(7, 250_000), 250_000), (Fsk(50_000, 25_000), 100_000), (Fsk(50_000), 100_000), (Fsk(4_800, 5_000), 14_800)],
)
def test_a_signal_is_as_wide_as_it_is(modulation, width_hz):
    assert bandwidth_hz(modulation) == width_hz
