"""What a heard frame is to us: whose, new or known, and what it says."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published_frames import UPLINKS
from radio_bench import ADDR, SECOND_US, Bench, heard_frame

from gateway.lorawan.frame import DataFrame, JoinRequest, MalformedFrame, RejoinRequest, parse
from gateway.lorawan.network import FRAMES_REMEMBERED, MAX_FCNT_GAP, REPEAT_SPAN_US, TURNS, Network
from gateway.model import (
    Crc,
    DevAddr,
    Device,
    Lora,
    MacVersion,
    OpenedUplink,
    Refusal,
    Refused,
)
from gateway.regions.eu868 import EU868

BOTH = pytest.mark.parametrize("version", [MacVersion.V1_0_3, MacVersion.V1_1_0], ids=str)


# --- read -------------------------------------------------------------------------------------------------------------

_DATA = Bench().seal(1)
_JOIN_REQUEST = bytes.fromhex("00040302010403020105040302050403022d106a990e12")


@pytest.mark.parametrize(
    ("phy", "crc", "reason"),
    [
        (_DATA, Crc.BAD, Refusal.CRC_BAD),
        (_DATA, Crc.NONE, Refusal.CRC_NONE),
        (_DATA[:11], Crc.OK, Refusal.MALFORMED),
        (b"", Crc.OK, Refusal.MALFORMED),
        (b"\x60" + _DATA[1:], Crc.OK, Refusal.NOT_UPLINK),
        (b"\x20" + bytes(16), Crc.OK, Refusal.NOT_UPLINK),
        (b"\xe0maker", Crc.OK, Refusal.NOT_UPLINK),
    ],
)
def test_what_is_no_uplink_is_refused_by_its_kind(phy, crc, reason):
    refused = Network(EU868).read(heard_frame(phy, crc=crc))
    assert isinstance(refused, Refused)
    assert refused.reason is reason
    assert refused.detail


def test_a_downlink_of_others_names_the_address_it_is_for():
    assert Network(EU868).read(heard_frame(b"\x60" + _DATA[1:])).dev_addr == ADDR


@pytest.mark.parametrize(
    ("phy", "kind"),
    [(_DATA, DataFrame), (_JOIN_REQUEST, JoinRequest), (b"\xc0\x00" + bytes(17), RejoinRequest)],
)
def test_an_uplink_is_read_and_stays_closed(phy, kind):
    message = Network(EU868).read(heard_frame(phy))
    assert isinstance(message, kind)
    assert message.to_bytes() == phy


# --- whose ------------------------------------------------------------------------------------------------------------


# One was sent on channel 75, and no plan of Europe has that; with ACK the channel is not looked at.
@pytest.mark.parametrize(
    "published", [frame for frame in UPLINKS if frame.tx_ch < 16 or frame.ack], ids=lambda published: published.source
)
def test_a_published_uplink_opens_with_its_keys(published):
    before = published.f_cnt - 1 if published.f_cnt else None
    session = replace(published.session, f_cnt_up=before)
    frame = heard_frame(
        published.phy,
        modulation=EU868.data_rates[published.tx_dr],
        frequency_hz=EU868.channels[published.tx_ch].frequency_hz if published.tx_ch < 3 else 867_100_000,
    )
    opened = Network(EU868).open(frame, parse(published.phy), [(Device(session.dev_eui, "published"), session)])
    assert isinstance(opened, OpenedUplink)
    assert (opened.f_cnt, opened.f_port) == (published.f_cnt, published.f_port)
    assert (opened.confirmed, opened.adr, opened.ack) == (published.confirmed, published.adr, published.ack)
    assert published.payload in (None, opened.payload)
    assert published.f_opts in (None, opened.f_opts)
    assert opened.session == replace(session, f_cnt_up=published.f_cnt, last_mic=published.phy[-4:])


def test_an_address_nobody_has_is_unknown():
    refused = Bench().hear(_DATA, candidates=[])
    assert (refused.reason, refused.dev_addr, refused.dev_eui) == (Refusal.UNKNOWN_DEVICE, ADDR, None)


def test_a_session_of_another_address_is_no_candidate_even_with_the_right_keys():
    bench = Bench()
    stray = (bench.device, replace(bench.session, dev_addr=DevAddr(1)))
    assert bench.hear(_DATA, candidates=[stray]).reason is Refusal.UNKNOWN_DEVICE


@BOTH
@pytest.mark.parametrize("bit", range(0, 8 * len(_DATA), 7))
def test_one_turned_bit_and_nobody_made_it(version, bit):
    bench = Bench(version)
    phy = bytearray(bench.seal(1))
    phy[bit // 8] ^= 1 << bit % 8
    frame = heard_frame(bytes(phy))
    data = bench.network.read(frame)
    refused = bench.network.open(frame, data, [bench.pair]) if isinstance(data, DataFrame) else data
    assert isinstance(refused, Refused)
    assert refused.dev_eui is None
    # From FCnt on it still is a frame for this address.
    assert refused.reason is Refusal.BAD_MIC or bit < 8 * 6


@BOTH
def test_devices_that_share_an_address_are_told_apart_by_their_keys(version):
    network = Network(EU868)
    benches = [Bench(version, number=n, network=network, f_cnt_up=100 * n) for n in range(1, 6)]
    candidates = [bench.pair for bench in benches]
    for bench in benches:
        opened = bench.hear(bench.seal(1_000, payload=bench.device.name.encode()), candidates=candidates)
        assert isinstance(opened, OpenedUplink)
        assert opened.device is bench.device
        assert opened.payload == bench.device.name.encode()
        assert opened.session.dev_eui == bench.device.dev_eui


def test_devices_of_both_versions_can_share_an_address():
    network = Network(EU868)
    old, new = Bench(number=1, network=network), Bench(MacVersion.V1_1_0, number=2, network=network)
    for bench in (old, new):
        assert bench.hear(bench.seal(7), candidates=[old.pair, new.pair]).device is bench.device


def test_keys_that_were_put_out_of_the_cache_open_as_before():
    network = Network(EU868, keys_kept=1)
    benches = [Bench(number=n, network=network) for n in range(1, 4)]
    for f_cnt in range(3):
        for bench in benches:
            assert bench.accept(bench.seal(f_cnt, payload=b"x")).payload == b"x"


# --- the counter ------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("f_cnt", [0, 1, 65_535, 65_536, 70_000, TURNS * 65_536 - 1])
def test_the_first_frame_of_a_session_may_have_any_counter(version, f_cnt):
    opened = Bench(version).accept(Bench(version).seal(f_cnt))
    assert (opened.f_cnt, opened.gap_before, opened.counter_reset) == (f_cnt, 0, False)


@BOTH
@pytest.mark.parametrize(
    ("last", "now"),
    [
        (0, 1),
        (41, 42),
        (41, 45),
        (65_535, 65_536),
        (65_534, 65_537),
        (65_530, 131_071),
        (131_071, 131_072),
        (10, 10 + MAX_FCNT_GAP),
        (10, 11 + MAX_FCNT_GAP),
        (10, 40_000),
        (10, 65_546),
        (3, 5 * 65_536 + 3),
        (65_535, 65_535 + TURNS * 65_536),
        (0xFFFF_FFFE, 0xFFFF_FFFF),
    ],
)
def test_the_upper_half_of_a_counter_is_found_and_the_gap_counted(version, last, now):
    opened = Bench(version, f_cnt_up=last).accept(Bench(version).seal(now))
    assert (opened.f_cnt, opened.gap_before, opened.counter_reset) == (now, now - last - 1, False)
    assert opened.session.f_cnt_up == now


def test_a_counter_runs_through_the_turn_without_a_gap():
    bench = Bench(f_cnt_up=65_532)
    for f_cnt in range(65_533, 65_540):
        assert bench.accept(bench.seal(f_cnt)).gap_before == 0


@BOTH
@pytest.mark.parametrize(
    ("last", "old"), [(0xFFFF_FFFF, 0xFFFF_0005), (0xFFFF_FFF0, 0xFFFE_0005), (0xFFFF_FFF0, 5), (0xFFF8_0000, 5)]
)
def test_there_is_no_counter_behind_the_last_one(version, last, old):
    bench, stranger = Bench(version, f_cnt_up=last), Bench(version, number=2)
    assert bench.hear(stranger.seal(5)).reason is Refusal.BAD_MIC
    assert bench.hear(bench.seal(old)).reason is Refusal.REPLAY


def test_a_counter_further_ahead_than_we_try_is_not_recognized():
    bench = Bench(f_cnt_up=0)
    assert bench.hear(bench.seal((TURNS + 1) * 65_536)).reason is Refusal.BAD_MIC


@BOTH
@pytest.mark.parametrize(
    ("last", "old"),
    [(10, 9), (10, 0), (65_536, 65_535), (70_000, 4_464), (70_000, 69_999), (70_000, 0), (40 * 65_536, 17)],
)
def test_an_old_counter_is_a_replay_and_tells_whose(version, last, old):
    bench = Bench(version, f_cnt_up=last)
    refused = bench.hear(bench.seal(old))
    assert refused.reason is Refusal.REPLAY
    assert (refused.dev_addr, refused.dev_eui) == (ADDR, bench.device.dev_eui)
    assert "skip_f_cnt_check" in refused.detail


@BOTH
def test_another_frame_under_the_last_counter_is_a_replay(version):
    bench = Bench(version)
    bench.accept(bench.seal(5, payload=b"one"))
    assert bench.hear(bench.seal(5, payload=b"two"), at_s=60).reason is Refusal.REPLAY


@BOTH
@pytest.mark.parametrize("checked_by", ["device", "session"])
@pytest.mark.parametrize(("last", "again"), [(500, 0), (500, 499), (70_000, 1), (40 * 65_536 + 9, 3)])
def test_a_device_whose_counter_is_not_checked_may_start_again(version, checked_by, last, again):
    bench = Bench(version, f_cnt_up=last)
    if checked_by == "device":
        bench.device = replace(bench.device, skip_f_cnt_check=True)
    else:
        bench.session = replace(bench.session, skip_f_cnt_check=True)
    opened = bench.accept(bench.seal(again))
    assert (opened.f_cnt, opened.gap_before, opened.counter_reset) == (again, 0, True)
    opened = bench.accept(bench.seal(again + 3))
    assert (opened.gap_before, opened.counter_reset) == (2, False)


def test_an_unchecked_device_may_use_its_last_counter_for_another_frame():
    bench = Bench(skip_f_cnt_check=True)
    bench.accept(bench.seal(0, payload=b"one"))
    opened = bench.accept(bench.seal(0, payload=b"two"), at_s=60)
    assert (opened.payload, opened.counter_reset) == (b"two", True)


# --- copies, repetitions, replays -------------------------------------------------------------------------------------


@BOTH
def test_what_other_receivers_hear_of_one_transmission_is_a_copy(version):
    bench = Bench(version)
    phy = bench.seal(1)
    bench.accept(phy, receiver="roof")
    for n, receiver in enumerate(["tower", "church"]):
        refused = bench.hear(phy, receiver=receiver, at_s=0.2 + n)
        assert (refused.reason, refused.dev_eui) == (Refusal.COPY, bench.device.dev_eui)
    assert bench.hear(phy, receiver="harbour", at_s=2.1).reason is Refusal.REPETITION


@BOTH
@pytest.mark.parametrize("at_s", [0.5, 3])
def test_what_one_receiver_hears_twice_was_sent_twice(version, at_s):
    bench = Bench(version)
    phy = bench.seal(1)
    bench.accept(phy)
    refused = bench.hear(phy, at_s=at_s)
    assert (refused.reason, refused.dev_eui) == (Refusal.REPETITION, bench.device.dev_eui)


def test_a_repetition_has_copies_of_its_own():
    bench = Bench()
    phy = bench.seal(1)
    bench.accept(phy, receiver="roof", at_s=0)
    assert bench.hear(phy, receiver="tower", at_s=0.1).reason is Refusal.COPY
    assert bench.hear(phy, receiver="tower", at_s=4).reason is Refusal.REPETITION
    assert bench.hear(phy, receiver="roof", at_s=4.1).reason is Refusal.COPY


@BOTH
def test_a_copy_that_overtook_nobody_is_no_replay(version):
    bench = Bench(version)
    first, second = bench.seal(1), bench.seal(2)
    bench.accept(first, receiver="roof", at_s=0)
    bench.accept(second, receiver="roof", at_s=1)
    assert bench.hear(first, receiver="tower", at_s=1.5).reason is Refusal.COPY
    assert bench.hear(first, receiver="roof", at_s=30).reason is Refusal.REPETITION
    assert bench.hear(second, receiver="tower", at_s=31).reason is Refusal.REPETITION


def test_a_copy_is_known_though_the_store_has_not_moved_on():
    bench = Bench()
    phy = bench.seal(1)
    assert isinstance(bench.hear(phy, receiver="roof"), OpenedUplink)
    assert bench.hear(phy, receiver="tower", at_s=0.01).reason is Refusal.COPY


@BOTH
def test_a_recording_played_long_after_its_time_is_a_replay(version):
    bench = Bench(version)
    phy = bench.seal(1)
    bench.accept(phy)
    bench.accept(bench.seal(2), at_s=60)
    assert bench.hear(phy, at_s=REPEAT_SPAN_US / SECOND_US + 1).reason is Refusal.REPLAY


@BOTH
def test_the_last_frame_is_a_repetition_also_after_a_restart_and_whenever_it_comes(version):
    bench = Bench(version)
    phy = bench.seal(1)
    bench.accept(phy)
    assert bench.hear(phy, at_s=3_600).reason is Refusal.REPETITION
    bench.network = Network(EU868)
    assert bench.hear(phy, at_s=7_200).reason is Refusal.REPETITION
    assert bench.hear(phy, at_s=7_200.5, receiver="tower").reason is Refusal.COPY


def test_1_1_repeats_on_another_channel_under_another_mic():
    bench = Bench(MacVersion.V1_1_0)
    first, second = bench.seal(1, tx_ch=0), bench.seal(1, tx_ch=1)
    assert first[:-4] == second[:-4]
    assert first[-4:] != second[-4:]
    bench.accept(first)
    refused = bench.hear(second, receiver="tower", frequency_hz=868_300_000, at_s=1)
    assert refused.reason is Refusal.REPETITION
    assert bench.hear(second, receiver="church", frequency_hz=868_300_000, at_s=1.1).reason is Refusal.COPY
    bench.network = Network(EU868)
    assert bench.hear(second, frequency_hz=868_300_000, at_s=9).reason is Refusal.REPETITION


def test_an_unchecked_device_that_always_starts_over_with_the_same_words_is_heard_again_in_time():
    bench = Bench(skip_f_cnt_check=True)
    phy = bench.seal(0)
    bench.accept(phy)
    assert bench.hear(phy, at_s=10).reason is Refusal.REPETITION
    span_s = REPEAT_SPAN_US / SECOND_US
    assert bench.accept(phy, at_s=span_s + 1).counter_reset
    # After a restart its age is unknown: it counts from the first time it is heard.
    bench.network = Network(EU868)
    assert bench.hear(phy, at_s=10_000).reason is Refusal.REPETITION
    assert bench.accept(phy, at_s=10_000 + span_s + 1).counter_reset


def test_a_counter_used_again_is_remembered_from_then_on():
    bench = Bench(network=Network(EU868, frames_kept=2), skip_f_cnt_check=True)
    before, between, after = bench.seal(0, payload=b"one"), bench.seal(1), bench.seal(0, payload=b"two")
    for at_s, phy in enumerate([before, between, after, bench.seal(2)]):
        bench.accept(phy, at_s=at_s)
    assert bench.hear(after, at_s=10).reason is Refusal.REPETITION
    assert bench.hear(between, at_s=10).counter_reset


def test_a_frame_that_could_not_be_stored_is_new_when_it_comes_again():
    bench = Bench()
    phy = bench.seal(1)
    opened = bench.hear(phy)
    assert bench.hear(phy, at_s=5).reason is Refusal.REPETITION
    bench.network.withdraw(opened)
    assert isinstance(bench.hear(phy, at_s=10), OpenedUplink)


def test_what_is_remembered_has_a_bound():
    bench = Bench(network=Network(EU868, frames_kept=4))
    phys = [bench.seal(n) for n in range(6)]
    for n, phy in enumerate(phys):
        bench.accept(phy, at_s=n)
    reasons = [bench.hear(phy, at_s=7, receiver="tower").reason for phy in phys]
    assert reasons == [Refusal.REPLAY] * 2 + [Refusal.REPETITION] * 3 + [Refusal.COPY]
    assert FRAMES_REMEMBERED > 171 * 20  # what a chip can hear in twenty seconds


# --- 1.1 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tx_dr", EU868.data_rates)
def test_1_1_covers_the_data_rate(tx_dr):
    bench = Bench(MacVersion.V1_1_0)
    phy = bench.seal(1, tx_dr=tx_dr)
    wrong = EU868.data_rates[(tx_dr + 1) % len(EU868.data_rates)]
    assert bench.hear(phy, modulation=wrong).reason is Refusal.BAD_MIC
    assert bench.accept(phy, modulation=EU868.data_rates[tx_dr]).f_cnt == 1


@pytest.mark.parametrize(
    ("tx_ch", "frequency_hz"),
    [(0, 868_100_000), (1, 868_300_000), (2, 868_500_000), (3, 867_100_000), (15, 869_525_000), (8, 868_300_000)],
)
def test_1_1_covers_the_channel_which_is_guessed_from_the_frequency(tx_ch, frequency_hz):
    bench = Bench(MacVersion.V1_1_0)
    assert bench.accept(bench.seal(1, tx_ch=tx_ch), frequency_hz=frequency_hz).f_cnt == 1


def test_1_1_does_not_believe_a_default_channel_on_another_frequency():
    bench = Bench(MacVersion.V1_1_0)
    assert bench.hear(bench.seal(1, tx_ch=0), frequency_hz=868_300_000).reason is Refusal.BAD_MIC


def test_1_1_opens_at_a_data_rate_outside_the_plan():
    bench = Bench(MacVersion.V1_1_0)
    assert bench.accept(bench.seal(1, tx_dr=9), modulation=Lora(7, 500_000)).f_cnt == 1


def test_1_1_mac_commands_are_opened_in_the_header_and_on_port_0():
    bench = Bench(MacVersion.V1_1_0)
    assert bench.accept(bench.seal(1, f_opts=b"\x02\x0b\x01")).f_opts == b"\x02\x0b\x01"
    opened = bench.accept(bench.seal(2, f_port=0, payload=b"\x0b\x01"))
    assert (opened.f_port, opened.payload, opened.f_opts) == (0, b"\x0b\x01", b"")


def test_1_1_an_acknowledging_frame_counts_on_half_its_mic():
    bench = Bench(MacVersion.V1_1_0, f_cnt_up=10)
    opened = bench.accept(bench.seal(11, ack=True, conf_f_cnt=777))
    assert (opened.ack, opened.payload) == (True, b"level 83")


def test_1_1_an_acknowledging_frame_with_a_wrong_second_half_is_nobodys():
    bench = Bench(MacVersion.V1_1_0)
    phy = bench.seal(1, ack=True)
    assert bench.hear(phy[:-1] + bytes((phy[-1] ^ 1,))).reason is Refusal.BAD_MIC


def test_1_1_an_acknowledging_frame_that_is_old_is_known_as_such():
    bench = Bench(MacVersion.V1_1_0)
    phy = bench.seal(65_530, ack=True)
    bench.accept(bench.seal(65_500))
    bench.accept(phy, at_s=1)
    bench.accept(bench.seal(65_540), at_s=2)
    assert bench.hear(phy, receiver="tower", at_s=2.5).reason is Refusal.COPY
    assert bench.hear(bench.seal(65_520, ack=True), at_s=3).reason is Refusal.REPLAY


@pytest.mark.parametrize("f_cnt", [10 + MAX_FCNT_GAP + 1, 65_536 + 10, 2 * 65_536 + 11])
def test_1_1_half_a_mic_buys_no_jump_ahead(f_cnt):
    bench = Bench(MacVersion.V1_1_0, f_cnt_up=10)
    assert bench.hear(bench.seal(f_cnt, ack=True)).reason is Refusal.BAD_MIC
    assert bench.hear(bench.seal(f_cnt)).session.f_cnt_up == f_cnt


def test_an_acknowledging_frame_of_1_0_is_checked_in_full():
    bench = Bench()
    phy = bench.seal(1, ack=True)
    for at in range(1, 5):
        assert bench.hear(phy[:-at] + bytes((phy[-at] ^ 1,)) + phy[len(phy) - at + 1 :]).reason is Refusal.BAD_MIC
    # Half a MIC in the place where 1.1 has it.
    assert bench.hear(phy[:-4] + b"??" + phy[-4:-2]).reason is Refusal.BAD_MIC
    assert bench.accept(phy).ack


# --- properties -------------------------------------------------------------------------------------------------------

_VERSIONS = st.sampled_from(MacVersion)
_COUNTERS = st.one_of(
    st.integers(0, 0xFFFF_FFFF),
    st.builds(lambda turn, step: max(turn * 65_536 + step, 0), st.integers(0, 9), st.integers(-3, 3)),
)


@settings(deadline=None)
@given(
    version=_VERSIONS,
    last=_COUNTERS,
    ahead=st.integers(1, TURNS * 65_536),
    f_port=st.integers(0, 255),
    payload=st.binary(max_size=200),
    f_opts=st.binary(max_size=15),
    confirmed=st.booleans(),
    tx_ch=st.sampled_from([0, 3, 9, 15]),
)
def test_whatever_a_device_says_later_is_what_we_hear(
    *, version, last, ahead, f_port, payload, f_opts, confirmed, tx_ch
):
    f_opts = b"" if f_port == 0 else f_opts
    f_cnt = min(last + ahead, 0xFFFF_FFFF)
    bench = Bench(version, f_cnt_up=min(last, f_cnt - 1))
    phy = bench.seal(f_cnt, f_port=f_port, payload=payload, f_opts=f_opts, confirmed=confirmed, tx_ch=tx_ch)
    gap = f_cnt - bench.session.f_cnt_up - 1
    opened = bench.accept(phy)
    assert (opened.f_cnt, opened.gap_before, opened.counter_reset) == (f_cnt, gap, False)
    assert (opened.f_port, opened.payload, opened.f_opts, opened.confirmed) == (f_port, payload, f_opts, confirmed)
    assert bench.hear(phy, at_s=10).reason is Refusal.REPETITION


@settings(deadline=None)
@given(version=_VERSIONS, f_cnts=st.lists(st.integers(0, 8), max_size=12), receivers=st.data())
def test_no_counter_is_accepted_twice_whatever_comes_in_whatever_order(version, f_cnts, receivers):
    bench, accepted = Bench(version), []
    for n, f_cnt in enumerate(f_cnts):
        receiver = receivers.draw(st.sampled_from(["roof", "tower"]))
        heard = bench.hear(bench.seal(f_cnt, payload=bytes((f_cnt,))), at_s=n * 0.7, receiver=receiver)
        if isinstance(heard, OpenedUplink):
            accepted.append(heard.f_cnt)
            bench.session = heard.session
        else:
            known = f_cnt in accepted
            assert (heard.reason in (Refusal.COPY, Refusal.REPETITION)) is known
            assert (heard.reason is Refusal.REPLAY) is not known
    assert accepted == sorted(set(accepted))


@settings(deadline=None, max_examples=300)
@given(
    phy=st.one_of(
        st.binary(min_size=12, max_size=64),
        st.builds(
            lambda mhdr, rest: bytes((mhdr,)) + ADDR.to_bytes(4, "little") + rest,
            st.sampled_from([0x40, 0x80, 0x60, 0xA0]),
            st.binary(min_size=7, max_size=40),
        ),
    ),
    version=_VERSIONS,
    f_cnt_up=st.none() | _COUNTERS,
    modulation=st.sampled_from([*EU868.data_rates.values(), Lora(7, 500_000)]),
    frequency_hz=st.integers(1, 3_000_000_000),
    skip=st.booleans(),
)
def test_a_stranger_is_refused_whatever_it_sends(*, phy, version, f_cnt_up, modulation, frequency_hz, skip):
    bench = Bench(version, f_cnt_up=f_cnt_up, skip_f_cnt_check=skip)
    try:
        data = parse(phy)
    except MalformedFrame:
        return
    if not isinstance(data, DataFrame):
        return
    frame = heard_frame(phy, modulation=modulation, frequency_hz=frequency_hz)
    refused = bench.network.open(frame, data, [bench.pair])
    if isinstance(refused, OpenedUplink):
        # One stranger in 65,536 guesses half a MIC of 1.1, if it acknowledges.
        assert version.is_1_1
        assert data.f_ctrl.ack
    else:
        assert refused.reason in (Refusal.NOT_UPLINK, Refusal.UNKNOWN_DEVICE, Refusal.BAD_MIC, Refusal.REPLAY)
