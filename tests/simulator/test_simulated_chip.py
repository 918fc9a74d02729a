"""A chip on the air: what it hears, what it loses and why, what it sends."""

import itertools
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.model import AtCounter, AtGpsTime, Crc, DownlinkRequest, Fsk, Immediately, Lora, TxResult
from gateway.simulator.air import Position, Transmission
from gateway.simulator.chance import Chance
from gateway.simulator.chip import ChipHealth, SimulatedChip, TxRefused
from gateway.simulator.propagation import SNR_FLOOR_DB, parts_of

TURN = 1 << 32
COMPARATOR_TURN = 1 << 27

# Semtech's sample configuration for EU868 (global_conf.json.sx1250.EU868): radio 1 at 868.5 MHz carries channels
# 0 to 2, radio 0 at 867.5 MHz channels 3 to 7.
EU868_CHANNELS = [
    (868.1, 0, 1),
    (868.3, 1, 1),
    (868.5, 2, 1),
    (867.1, 3, 0),
    (867.3, 4, 0),
    (867.5, 5, 0),
    (867.7, 6, 0),
    (867.9, 7, 0),
]


# --- one frame ----------------------------------------------------------------------------------------------------


def test_a_frame_is_there_once_its_last_symbol_is(desk):
    sent = desk.sends("a", at_us=100_000)
    assert desk.hears(sent.end_us - 1) == []
    [frame] = desk.hears(sent.end_us)
    assert frame.phy == sent.phy
    assert frame.crc is Crc.OK
    assert frame.counter_us == sent.end_us
    assert frame.receiver == "roof"
    assert desk.hears(sent.end_us + 1) == []


@pytest.mark.parametrize(("mhz", "channel", "rf_chain"), EU868_CHANNELS)
def test_each_channel_has_the_number_and_radio_of_the_sample_configuration(desk, mhz, channel, rf_chain):
    desk.sends("a", mhz=mhz)
    [frame] = desk.hears()
    assert (frame.channel, frame.rf_chain, frame.frequency_hz) == (channel, rf_chain, round(mhz * 1e6))


@pytest.mark.parametrize("mhz", [868.8, 869.525, 864.1])
def test_a_frequency_without_channel_is_not_heard_and_not_counted_as_lost(desk, mhz):
    desk.sends("a", mhz=mhz)
    assert desk.hears() == []
    assert desk.lost() == {}


def test_radio_values_have_the_steps_of_the_chip(desk):
    # SX1302: SNR is a signed byte of quarter decibels, RSSI a byte of decibels.
    for number in range(40):
        desk.sends(f"d{number}", at_us=number * 200_000, snr_db=number / 2 - 5)
    frames = desk.hears()
    assert len(frames) == 40
    assert all((frame.snr_db * 4).is_integer() and frame.rssi_dbm.is_integer() for frame in frames)
    for frame, number in zip(frames, range(40), strict=True):
        # The chip saturates near 14 dB; below, its estimate strays by less than half a decibel or so.
        assert frame.snr_db == pytest.approx(min(number / 2 - 5, 14), abs=2)


def test_the_rssi_of_a_frame_below_the_noise_is_that_of_the_noise(desk):
    # kTB and 6 dB of noise figure: -117 dBm in 125 kHz; a frame 15 dB below it adds little.
    desk.sends("a", snr_db=-15, sf=12)
    [frame] = desk.hears()
    assert frame.rssi_dbm == -117
    assert frame.snr_db == pytest.approx(-15, abs=2)


def test_the_frequency_offset_is_that_of_the_sender_nearly(desk):
    desk.sends("high", offset_hz=3_000)
    desk.sends("low", at_us=200_000, offset_hz=-9_000)
    high, low = desk.hears()
    assert high.frequency_offset_hz == pytest.approx(3_000, abs=250)
    assert low.frequency_offset_hz == pytest.approx(-9_000, abs=250)


def test_an_antenna_with_gain_hears_more(new_desk):
    plain, better = new_desk(), new_desk(antenna_gain_dbi=6.0)
    for desk in (plain, better):
        desk.sends("a", snr_db=5)
    [[quiet], [loud]] = plain.hears(), better.hears()
    assert loud.snr_db - quiet.snr_db == 6
    place = Position(300, 400)
    assert better.chip.link_snr_db("a", place, 14) - plain.chip.link_snr_db("a", place, 14) == pytest.approx(6)


# --- weak frames --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sf", range(7, 13))
def test_three_decibels_above_the_floor_all_is_heard_and_ten_below_nothing(new_desk, sf):
    desk = new_desk()
    for number in range(20):
        desk.sends(f"near{number}", at_us=number * 5_000_000, sf=sf, snr_db=SNR_FLOOR_DB[sf] + 3)
        desk.sends(f"far{number}", at_us=number * 5_000_000 + 2_500_000, sf=sf, snr_db=SNR_FLOOR_DB[sf] - 10)
    frames = desk.hears(200_000_000)
    assert [frame.phy[:4] for frame in frames] == [b"near"] * 20
    assert {frame.crc for frame in frames} == {Crc.OK}
    assert desk.lost() == {"too_weak": 20}


def test_marginal_frames_are_whole_damaged_or_lost(desk):
    sent = {}
    for number in range(300):
        snr_db = SNR_FLOOR_DB[7] - 0.5 - 2.5 * number / 300
        transmission = desk.sends(f"{number:03d}", at_us=number * 100_000, snr_db=snr_db)
        sent[transmission.end_us] = transmission.phy
    frames = desk.hears(40_000_000)
    outcomes = Counter(frame.crc for frame in frames)
    assert min(outcomes[Crc.OK], outcomes[Crc.BAD], desk.lost()["too_weak"]) > 30
    for frame in frames:
        original = sent[frame.counter_us]
        assert len(frame.phy) == len(original)
        assert (frame.phy == original) is (frame.crc is Crc.OK)
        assert sum(a != b for a, b in zip(frame.phy, original, strict=True)) <= len(original) // 4
    assert desk.chip.health() == ChipHealth(
        heard=len(frames), damaged=outcomes[Crc.BAD], sent=0, lost={"too_weak": 300 - len(frames)}
    )


# --- collisions ---------------------------------------------------------------------------------------------------


def test_seven_decibels_more_capture_the_receiver(desk):
    strong = desk.sends("strong", snr_db=10)
    desk.sends("weak", at_us=1_000, snr_db=3)
    assert [frame.phy for frame in desk.hears()] == [strong.phy]
    assert desk.lost() == {"collision": 1}


def test_five_decibels_more_do_not(desk):
    desk.sends("strong", snr_db=8)
    desk.sends("weak", at_us=1_000, snr_db=3)
    assert desk.hears() == []
    assert desk.lost() == {"collision": 2}


def test_frames_that_end_in_the_same_microsecond_still_collide(desk):
    desk.sends("one")
    desk.sends("two")
    assert desk.hears() == []
    assert desk.lost() == {"collision": 2}


def test_a_collision_after_the_header_damages_the_payload(desk):
    early = desk.sends("early", size=100)
    header_us = parts_of(Lora(7, 125_000)).header_us
    # Its last frame symbol is past before the early one ends; as loud, so neither captures.
    desk.sends("later", at_us=early.start_us + header_us + 1_000)
    [frame] = desk.hears()
    assert (frame.crc, frame.counter_us) == (Crc.BAD, early.end_us)
    assert frame.phy != early.phy
    assert desk.lost() == {"collision": 1}


def test_an_early_collision_is_remembered_until_a_long_frame_ends(desk):
    long = desk.sends("long", size=250)
    header_us = parts_of(Lora(7, 125_000)).header_us
    hit = desk.sends("hit", at_us=header_us + 1_000)
    bystander = desk.sends("bystander", at_us=hit.end_us - 10, mhz=868.3)
    second = desk.sends("second", at_us=bystander.end_us - 10, mhz=868.5)
    assert second.end_us < long.end_us
    damaged = [frame.counter_us for frame in desk.hears() if frame.crc is Crc.BAD]
    assert damaged == [long.end_us]


def test_what_ends_before_the_last_five_preamble_symbols_costs_nothing(desk):
    # Bor et al., MSWiM 2016: the receiver needs five of the eight preamble symbols.
    first = desk.sends("first", snr_db=12)
    critical_us = parts_of(Lora(7, 125_000)).critical_us
    late = desk.sends("late", at_us=first.end_us - critical_us, snr_db=0)
    assert [frame.phy for frame in desk.hears()] == [first.phy, late.phy]


def test_what_ends_within_them_does(desk):
    first = desk.sends("first", snr_db=12)
    critical_us = parts_of(Lora(7, 125_000)).critical_us
    desk.sends("late", at_us=first.end_us - critical_us - 100, snr_db=0)
    assert [frame.phy for frame in desk.hears()] == [first.phy]


def test_another_channel_is_another_air(desk):
    desk.sends("a", mhz=868.1)
    desk.sends("b", mhz=868.3)
    assert len(desk.hears()) == 2


# Goursaud and Gorce 2015: SF7 survives SF12 that is up to 20 dB louder, SF12 survives SF7 up to 36 dB louder.
@pytest.mark.parametrize(
    ("sf", "other_sf", "louder_db", "survives"),
    [(7, 12, 19, True), (7, 12, 21, False), (12, 7, 35, True), (12, 7, 37, False), (9, 8, 26, True), (9, 8, 28, False)],
)
def test_spreading_factors_are_nearly_orthogonal(desk, sf, other_sf, louder_db, survives):
    wanted = desk.sends("wanted", at_us=10_000, sf=sf, snr_db=0)
    other = desk.sends("other", sf=other_sf, snr_db=louder_db, size=20)
    while other.end_us < wanted.end_us:  # a short one has to come again and again to cover a long one
        other = desk.sends("other", at_us=other.end_us, sf=other_sf, snr_db=louder_db, size=20)
    heard = [frame for frame in desk.hears() if frame.phy == wanted.phy and frame.crc is Crc.OK]
    assert bool(heard) is survives


# --- demodulators -------------------------------------------------------------------------------------------------


def _on_many_channels(desk, count, spreading_factors):
    """Frames that do not disturb each other and are all on the air while the first preamble is still locking."""
    pairs = [(sf, mhz) for sf in spreading_factors for mhz, _, _ in EU868_CHANNELS]
    for number, (sf, mhz) in enumerate(pairs[:count]):
        locked_us = parts_of(Lora(sf, 125_000)).locked_us
        desk.sends(f"d{number:02d}", at_us=2_000_000 - locked_us + number, sf=sf, mhz=mhz, size=100)


def test_sixteen_frames_at_once_are_heard_and_the_seventeenth_is_not(desk):
    # SX1302 datasheet, key features: 8 x SF5-SF12 and 8 x SF5-SF10 demodulators.
    _on_many_channels(desk, 17, (7, 8, 9))
    assert len(desk.hears()) == 16
    assert desk.lost() == {"no_demodulator": 1}


def test_only_eight_of_them_may_be_slow(desk):
    _on_many_channels(desk, 9, (12, 11))
    assert len(desk.hears()) == 8
    assert desk.lost() == {"no_demodulator": 1}


def test_eight_slow_ones_leave_room_for_a_faster_one(desk):
    _on_many_channels(desk, 9, (12, 10))
    assert len(desk.hears()) == 9


def test_eight_faster_ones_leave_room_for_a_slow_one(desk):
    _on_many_channels(desk, 9, (10, 11))
    assert len(desk.hears()) == 9


# --- the counter --------------------------------------------------------------------------------------------------


def test_the_counter_turns_after_32_bits_and_frames_with_it(new_desk):
    desk = new_desk(counter_start_us=TURN - 1_000_000)
    before = desk.sends("a", at_us=100_000)
    after = desk.sends("b", at_us=1_200_000)
    frames = desk.hears()
    assert [frame.counter_us for frame in frames] == [TURN - 1_000_000 + before.end_us, after.end_us - 1_000_000]
    assert desk.chip.counter_us() == 19_000_000


# --- sending ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, TURN - 1_200_000, TURN - 1_000_000, TURN - 500_000])
@pytest.mark.parametrize(
    ("ahead_us", "fires_after_us"),
    [
        (1_000_000, 1_000_000),
        (1_500, 1_500),
        (1_499, 1_499 + COMPARATOR_TURN),
        (-1_000_000, COMPARATOR_TURN - 1_000_000),
        (COMPARATOR_TURN + 1_000_000, 1_000_000),
    ],
)
def test_the_chip_starts_by_the_low_27_bits_whatever_was_meant(new_desk, ask, start, ahead_us, fires_after_us):
    # sx1302_hal 2.1.0 programs count_us * 32 into a comparator of 32 bits: late means 134 s later, far ahead too soon.
    desk = new_desk(counter_start_us=start, now_us=1_100_000)
    answer = desk.chip.send(ask((desk.chip.counter_us() + ahead_us) % TURN))
    assert answer.start_us == desk.now_us + fires_after_us


def test_a_transmission_takes_its_time_on_air(desk, ask):
    # The public calculator after Semtech AN1200.13, without payload CRC as downlinks go out: 33 symbols at SF9 with
    # 12 bytes; 8 + 4.25 + 8 + 5·⌈(8·12 - 4·9 + 8 + 20)/36⌉ = 35.25 symbols of 4.096 ms.
    answer = desk.chip.send(ask(phy=bytes(12), modulation=Lora(9, 125_000)))
    assert answer.airtime_us == 144_384


def test_the_gateway_is_deaf_while_it_sends(desk, ask):
    sent = desk.chip.send(ask(1_000_000))
    assert isinstance(sent, Transmission)
    before = desk.sends("before", at_us=800_000, mhz=867.1)
    desk.sends("into", at_us=sent.start_us - 20_000, mhz=867.3)
    desk.sends("during", at_us=sent.start_us + 5_000, mhz=867.5)
    desk.sends("out of", at_us=sent.end_us - 5_000, mhz=867.7)
    after = desk.sends("after", at_us=sent.end_us + 1, mhz=867.9)
    assert [frame.phy for frame in desk.hears()] == [before.phy, after.phy]
    assert desk.lost() == {"transmitting": 3}
    assert desk.chip.health().sent == 1


def test_a_preamble_may_begin_while_the_gateway_still_sends(desk, ask):
    sent = desk.chip.send(ask(1_000_000))
    critical_us = parts_of(Lora(7, 125_000)).critical_us
    desk.sends("in time", at_us=sent.end_us - critical_us, mhz=867.1)
    desk.sends("too soon", at_us=sent.end_us - critical_us - 1, mhz=867.3)
    assert [frame.channel for frame in desk.hears()] == [3]


def test_a_downlink_is_on_air_when_it_is_over_and_not_before(desk, ask):
    sent = desk.chip.send(ask(1_000_000))
    desk.now_us = sent.end_us - 1
    assert desk.chip.health().sent == 0
    desk.now_us = sent.end_us
    assert desk.chip.health().sent == 1
    desk.hears(sent.end_us + 60_000_000)
    desk.chip.send(ask(desk.chip.counter_us() + 1_000_000))
    assert desk.chip.health().sent == 1, "what was sent long ago still counts, what waits does not"


def test_the_chip_holds_one_transmission_at_a_time(desk, ask):
    first = desk.chip.send(ask(1_000_000))
    busy = TxRefused(TxResult.COLLISION_PACKET, "the transmitter has something to send already")
    assert desk.chip.send(ask(9_000_000)) == busy
    desk.now_us = first.end_us - 1
    assert desk.chip.send(ask(timing=Immediately())) == busy
    desk.now_us = first.end_us
    assert isinstance(desk.chip.send(ask(9_000_000)), Transmission)


def test_at_once_means_as_soon_as_the_chip_can(desk, ask):
    desk.now_us = 70_000
    assert desk.chip.send(ask(timing=Immediately())).start_us == 71_500


@pytest.mark.parametrize(
    ("changes", "result"),
    [
        ({"timing": AtGpsTime(1)}, TxResult.GPS_UNLOCKED),
        ({"frequency_hz": 862_999_999}, TxResult.TX_FREQ),
        ({"frequency_hz": 915_000_000}, TxResult.TX_FREQ),
        ({"power_dbm_eirp": 27.5}, TxResult.TX_POWER),
        ({"power_dbm_eirp": float("nan")}, TxResult.TX_POWER),
        ({"phy": b""}, TxResult.UNKNOWN),
        ({"phy": bytes(256)}, TxResult.UNKNOWN),
        ({"modulation": Lora(13, 125_000)}, TxResult.UNKNOWN),
        ({"modulation": Lora(7, 203_000)}, TxResult.UNKNOWN),
        ({"modulation": Lora(7, 125_000, "9/5")}, TxResult.UNKNOWN),
        ({"modulation": Fsk(0)}, TxResult.UNKNOWN),
        ({"modulation": Fsk(499)}, TxResult.UNKNOWN),
        ({"modulation": Fsk(250_001)}, TxResult.UNKNOWN),
        ({"preamble_symbols": 65_536}, TxResult.UNKNOWN),
        ({"preamble_symbols": -1}, TxResult.UNKNOWN),
    ],
)
def test_what_the_radio_cannot_do_is_refused_by_name(desk, ask, changes, result):
    answer = desk.chip.send(ask(**changes))
    assert isinstance(answer, TxRefused)
    assert answer.result is result
    assert answer.detail


def test_the_edges_of_the_band_and_of_the_amplifier_are_inside(desk, ask):
    # The desk's antenna has no gain: 27 dBm is the top of the boards' power tables.
    edges = [
        {"frequency_hz": 863_000_000},
        {"frequency_hz": 870_000_000},
        {"power_dbm_eirp": 27.0},
        {"modulation": Fsk(500)},
        {"modulation": Fsk(250_000)},
    ]
    for number, changes in enumerate(edges, start=1):
        sent = desk.chip.send(ask(number * 5_000_000, **changes))
        assert isinstance(sent, Transmission)
        desk.hears(sent.end_us)


def test_power_is_what_the_antenna_radiates(new_desk, ask):
    desk = new_desk(antenna_gain_dbi=3.0)
    assert isinstance(desk.chip.send(ask(power_dbm_eirp=30.0)), Transmission)
    assert desk.chip.send(ask(5_000_000, power_dbm_eirp=30.1)).result is TxResult.TX_POWER


requests = st.builds(
    DownlinkRequest,
    ref=st.just("x"),
    phy=st.binary(max_size=300),
    receiver=st.just("roof"),
    timing=st.one_of(
        st.builds(AtCounter, st.integers(-1, TURN)), st.builds(AtGpsTime, st.integers()), st.just(Immediately())
    ),
    frequency_hz=st.integers(862_000_000, 871_000_000) | st.integers(),
    modulation=st.one_of(
        st.builds(
            Lora,
            st.integers(-1, 14),
            st.sampled_from([0, 125_000, 250_000, 500_000]) | st.integers(),
            st.sampled_from(["4/5", "4/8", None]) | st.text(max_size=4),
        ),
        st.builds(Fsk, st.integers()),
    ),
    power_dbm_eirp=st.floats(),
    preamble_symbols=st.none() | st.integers(-1, 70_000),
    payload_crc=st.booleans(),
    invert_polarity=st.booleans(),
)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(requests, max_size=8))
def test_no_request_breaks_the_chip_and_what_it_takes_never_overlaps(new_desk, asked):
    desk = new_desk(now_us=5_000_000)  # a class, and a desk for each example
    answers = [desk.chip.send(request) for request in asked]
    taken = sorted((answer for answer in answers if isinstance(answer, Transmission)), key=lambda tx: tx.start_us)
    assert all(earlier.end_us < later.start_us for earlier, later in itertools.pairwise(taken))
    assert all(tx.start_us > desk.now_us for tx in taken)
    desk.hears(6_000_000_000)


# --- several gateways ---------------------------------------------------------------------------------------------


def test_two_gateways_hear_one_transmission_each_in_its_own_way(desk):
    valley = SimulatedChip(
        desk.air,
        Chance(7),
        name="valley",
        clock=lambda: desk.now_us,
        stamp=lambda: None,
        position=Position(900, 900),
        counter_start_us=123,
    )
    sent = desk.sends("a", snr_db=5)
    [at_roof], [in_valley] = desk.hears(), valley.receive()
    assert at_roof.phy == in_valley.phy == sent.phy
    assert at_roof.frame_id == in_valley.frame_id
    assert in_valley.counter_us == at_roof.counter_us + 123
    assert (in_valley.rssi_dbm, in_valley.snr_db) != (at_roof.rssi_dbm, at_roof.snr_db)


def test_gateways_do_not_hear_each_others_downlinks(desk, ask):
    valley = SimulatedChip(
        desk.air, Chance(7), name="valley", clock=lambda: desk.now_us, stamp=lambda: None, position=Position(90, 0)
    )
    usual = desk.chip.send(ask(1_000_000))
    desk.hears(usual.end_us)
    assert isinstance(desk.chip.send(ask(3_000_000, invert_polarity=False)), Transmission)
    desk.hears()
    [odd] = valley.receive()
    assert odd.counter_us > 3_000_000, "only what is sent as devices send it"


def test_how_often_one_polls_changes_nothing(new_desk):
    def heard(poll_us):
        desk = new_desk(seed=3)
        for number in range(120):
            desk.sends(f"{number:03d}", at_us=number * 60_000 + number % 7 * 9_000, snr_db=number % 17 - 11, size=30)
        frames = []
        for until_us in range(poll_us, 9_000_001, poll_us):
            frames += desk.hears(until_us)
        return frames, desk.chip.health()

    often, seldom = heard(10_000), heard(9_000_000)
    assert often == seldom
    assert len(often[0]) > 20
    assert min(often[1].damaged, often[1].lost["collision"], often[1].lost["too_weak"]) > 5
