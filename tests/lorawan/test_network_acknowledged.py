"""Opening what acknowledges, what comes again, and what comes from a crowd on one address."""

from dataclasses import replace

import pytest
from published_frames import UPLINKS
from radio_bench import Bench, heard_frame

from gateway.lorawan.frame import parse
from gateway.lorawan.network import HALF_CANDIDATES_MAX, Network
from gateway.model import Device, MacVersion, OpenedUplink, Refusal, Refused
from gateway.regions.eu868 import EU868

V1_1 = MacVersion.V1_1_0
ACKNOWLEDGING = [frame for frame in UPLINKS if frame.version.is_1_1 and frame.ack]


def _knowing(*conf_f_cnts, number=1, network=None):
    bench = Bench(V1_1, number=number, network=network, f_cnt_up=10)
    bench.session = replace(bench.session, conf_f_cnts=conf_f_cnts)
    return bench


@pytest.mark.parametrize("published", ACKNOWLEDGING, ids=lambda published: published.source)
def test_a_published_acknowledgement_is_checked_in_full(published):
    """The plan of the published frames has any number of channels and the data rates of EU868."""
    plan = replace(EU868, channels_max=96, data_rates={published.tx_dr: EU868.data_rates[published.tx_dr]})
    session = replace(published.session, f_cnt_up=published.f_cnt - 1, conf_f_cnts=(published.conf_f_cnt,))
    device = Device(session.dev_eui, "published", mac_version=V1_1)
    frame = heard_frame(published.phy, modulation=EU868.data_rates[published.tx_dr])
    opened = Network(plan).open(frame, parse(published.phy), [(device, session)])
    assert isinstance(opened, OpenedUplink)
    assert opened.ack
    wrong = replace(session, conf_f_cnts=(published.conf_f_cnt + 1,))
    assert Network(plan).open(frame, parse(published.phy), [(device, wrong)]).reason is Refusal.BAD_MIC


@pytest.mark.parametrize(("sent", "known"), [(7, (7,)), (6, (7, 6)), (0x1_0007, (0x1_0007,))])
def test_what_acknowledges_a_downlink_that_went_out_is_whole(sent, known):
    bench = _knowing(*known)
    assert bench.accept(bench.seal(11, ack=True, conf_f_cnt=sent)).ack


@pytest.mark.parametrize("known", [(), (8,), (8, 9)])
def test_what_acknowledges_a_downlink_that_never_went_out_is_nobodys(known):
    bench = _knowing(*known)
    refused = bench.hear(bench.seal(11, ack=True, conf_f_cnt=7))
    assert isinstance(refused, Refused)
    assert refused.reason is Refusal.BAD_MIC


def test_half_a_mic_is_no_longer_enough_once_the_downlinks_are_known():
    bench = _knowing(7)
    phy = bench.seal(11, ack=True, conf_f_cnt=7)
    forged = phy[:-4] + bytes([phy[-4] ^ 1]) + phy[-3:]
    assert bench.hear(forged).reason is Refusal.BAD_MIC
    assert isinstance(_unknowing().hear(forged), OpenedUplink)


def _unknowing(network=None, number=1):
    return Bench(V1_1, number=number, network=network, f_cnt_up=10)


def test_half_a_mic_does_not_decide_in_a_crowd():
    network = Network(EU868)
    benches = [_unknowing(network, number) for number in range(1, HALF_CANDIDATES_MAX + 2)]
    phy = benches[0].seal(11, ack=True, conf_f_cnt=7)
    few = [bench.pair for bench in benches[:HALF_CANDIDATES_MAX]]
    assert benches[0].hear(phy, [bench.pair for bench in benches]).reason is Refusal.BAD_MIC
    assert isinstance(benches[0].hear(phy, few), OpenedUplink)


def test_a_full_mic_decides_before_half_of_another_one():
    network = Network(EU868)
    unknowing, knowing = _unknowing(network, 1), _knowing(7, number=2, network=network)
    opened = knowing.hear(knowing.seal(11, ack=True, conf_f_cnt=7), [unknowing.pair, knowing.pair])
    assert isinstance(opened, OpenedUplink)
    assert opened.device == knowing.device


# --- what comes again -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [MacVersion.V1_0_3, V1_1], ids=str)
def test_a_repetition_comes_with_what_it_repeats(version):
    bench = Bench(version, f_cnt_up=10)
    phy = bench.seal(11, confirmed=True, f_opts=b"\x02")
    first = bench.accept(phy)
    refused = bench.hear(phy, at_s=4)
    assert refused.reason is Refusal.REPETITION
    again = refused.repeated
    assert (again.f_cnt, again.confirmed, again.f_opts, again.payload) == (11, True, b"\x02", first.payload)
    assert again.session == bench.session  # nothing to store
    assert not again.counter_reset


@pytest.mark.parametrize("version", [MacVersion.V1_0_3, V1_1], ids=str)
def test_copies_and_replays_come_with_nothing_to_answer(version):
    bench = Bench(version, f_cnt_up=10)
    phy = bench.seal(11)
    bench.accept(phy)
    copy = bench.hear(phy, receiver="cellar")
    assert (copy.reason, copy.repeated) == (Refusal.COPY, None)
    replay = bench.hear(bench.seal(3))
    assert (replay.reason, replay.repeated) == (Refusal.REPLAY, None)


def test_a_device_that_asks_whether_it_is_heard_says_so():
    bench = Bench(f_cnt_up=10)
    assert bench.accept(bench.seal(11, adr=True, adr_ack_req=True)).adr_ack_req
    assert not bench.accept(bench.seal(12, adr=True)).adr_ack_req


# --- a crowd on one address -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crowd", [3, 60])
def test_devices_that_share_an_address_all_work(crowd):
    network = Network(EU868)
    versions = [MacVersion.V1_0_0, MacVersion.V1_0_4, V1_1]
    benches = [
        Bench(versions[n % 3], number=n + 1, network=network, f_cnt_up=(n * 1_103) % 70_000) for n in range(crowd)
    ]
    for turn in (1, 2, 70_000):
        for bench in benches:
            phy = bench.seal(bench.session.f_cnt_up + turn)
            opened = bench.hear(phy, [other.pair for other in benches])
            assert isinstance(opened, OpenedUplink), (bench.device.name, turn)
            assert opened.device == bench.device
            bench.session = opened.session


def test_old_and_new_session_of_a_device_are_both_opened():
    network = Network(EU868)
    old, new = Bench(number=1, network=network, f_cnt_up=500), Bench(number=2, network=network)
    both = [old.pair, new.pair]
    assert old.hear(old.seal(501), both).session.f_cnt_up == 501
    assert new.hear(new.seal(0), both).session.session_id == new.session.session_id
