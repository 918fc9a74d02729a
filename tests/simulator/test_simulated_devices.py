"""Devices on the air: frames a network opens, counters, air time, data rates."""

import itertools
from collections import defaultdict
from dataclasses import replace

import pytest

from gateway.lorawan.crypto import KeySchedules
from gateway.lorawan.frame import DataFrame, parse
from gateway.lorawan.network import Network
from gateway.model import Crc, OpenedUplink, RadioFrame, Refusal, Refused
from gateway.regions.eu868 import EU868
from gateway.simulator.air import Air
from gateway.simulator.chance import Chance
from gateway.simulator.devices import DataRate, SimulatedDevice, data_rate_for, settle
from gateway.simulator.plan import CHANNELS
from gateway.simulator.scenario_file import load_scenario

START_UTC_US = 1_795_420_800_000_000


FAST = DataRate(7, 16.0)


def device(resident, data_rate=FAST, first_f_cnt=None, seed=1):
    return SimulatedDevice(
        resident,
        data_rate,
        Chance(seed),
        schedules=KeySchedules(),
        start_utc_us=START_UTC_US,
        first_f_cnt=resident.first_f_cnt if first_f_cnt is None else first_f_cnt,
    )


def heard(transmission, stamp=None):
    """The frame as a gateway without a sky between hears it."""
    return RadioFrame(
        phy=transmission.phy,
        heard=stamp,
        frequency_hz=transmission.frequency_hz,
        modulation=transmission.modulation,
        rssi_dbm=-80.0,
        snr_db=9.0,
        channel=0,
        rf_chain=0,
        counter_us=transmission.end_us,
        crc=Crc.OK,
        receiver="roof",
    )


class Listening:
    """A network that keeps what it is told to keep."""

    def __init__(self, residents):
        self.network = Network(EU868)
        self.sessions = {resident.session.dev_addr: (resident.device, resident.session) for resident in residents}

    def open(self, transmission, stamp):
        frame = heard(transmission, replace(stamp, monotonic_us=transmission.end_us))
        data = parse(frame.phy)
        assert isinstance(data, DataFrame)
        opened = self.network.open(frame, data, [self.sessions[data.dev_addr]])
        if isinstance(opened, OpenedUplink):
            self.sessions[data.dev_addr] = (opened.device, opened.session)
        return opened


@pytest.fixture(scope="module")
def residents():
    return list(load_scenario().residents())


def of_codec(residents, codec):
    return next(resident for resident in residents if resident.device.codec == codec and resident.nb_trans == 1)


# --- what a network makes of them ---------------------------------------------------------------------------------


def test_every_frame_opens_with_the_session_the_scenario_gives(residents, desk_stamp):
    listening = Listening(residents)
    versions = set()
    for resident in residents:
        simulated = device(resident)
        versions.add(resident.session.mac_version)
        for turn in range(3):
            sent_us = simulated.next_us
            uplink = listening.open(simulated.talk(), desk_stamp)
            if isinstance(uplink, Refused):
                assert (resident.nb_trans, uplink.reason) == (2, Refusal.REPETITION)
                continue
            f_cnt = resident.first_f_cnt + turn // resident.nb_trans
            measure = resident.sensor.measure((START_UTC_US + sent_us) / 1e6, f_cnt)
            assert (uplink.f_cnt, uplink.f_port, uplink.payload) == (f_cnt, measure.f_port, measure.payload)
            assert uplink.device.name == resident.device.name
            assert uplink.adr
            assert uplink.gap_before == 0
    assert {version.value for version in versions} == {"1.0.3", "1.1.0"}


@pytest.mark.parametrize("mac_version", ["1.0.3", "1.1.0"])
def test_counters_go_on_beyond_the_sixteen_bits_that_are_sent(residents, desk_stamp, mac_version):
    resident = next(resident for resident in residents if resident.session.mac_version.value == mac_version)
    simulated = device(resident, first_f_cnt=(1 << 16) - 2)
    listening = Listening([resident])
    counters = [listening.open(simulated.talk(), desk_stamp).f_cnt for _ in range(4)]
    assert counters == [65_534, 65_535, 65_536, 65_537]


def test_a_device_heard_before_goes_on_counting(desk, residents):
    resident = residents[0]
    settle(
        [resident],
        desk.air,
        [desk.chip],
        Chance(1),
        start_utc_us=START_UTC_US,
        f_cnt_up={resident.device.dev_eui: 41, residents[1].device.dev_eui: 7},
    )
    frames = desk.hears(60_000_000)
    assert parse(frames[0].phy).f_cnt16 == 42


@pytest.mark.parametrize("mac_version", ["1.0.3", "1.1.0"])
def test_a_repetition_is_the_same_frame_again_after_its_receive_windows(residents, desk_stamp, mac_version):
    original = next(resident for resident in residents if resident.session.mac_version.value == mac_version)
    resident = replace(original, nb_trans=3)
    simulated = device(resident)
    frames = [simulated.talk() for _ in range(6)]
    listening = Listening([resident])
    opened = [listening.open(frame, desk_stamp) for frame in frames]
    assert [one.reason if isinstance(one, Refused) else one.f_cnt - resident.first_f_cnt for one in opened] == [
        0,
        Refusal.REPETITION,
        Refusal.REPETITION,
        1,
        Refusal.REPETITION,
        Refusal.REPETITION,
    ]
    for earlier, later in itertools.pairwise(frames):
        assert later.start_us - earlier.end_us >= 2_000_000, "RX2 opens two seconds after the frame"
    # The MIC of 1.1 covers the channel, that of 1.0 does not.
    same_bytes = len({frame.phy for frame in frames[:3]}) == 1
    same_channel = len({frame.frequency_hz for frame in frames[:3]}) == 1
    assert same_bytes is (same_channel or mac_version == "1.0.3")


# --- the law ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sf", [7, 10, 12])
def test_no_device_is_on_air_more_than_a_hundredth_of_any_hour(residents, sf):
    # ETSI EN 300 220-2, annex B: 1 % of an hour in 865-868 MHz and in 868.0-868.6 MHz. LoRaWAN 1.0 (7.1.7) keeps it by
    # silence after each frame, Toff = TimeOnAir / DutyCycle - TimeOnAir: one frame can hang over the edge of an hour.
    for codec in ("heyliot/heywaste", "elsys/ers", "axioma/qalcosonic_w1"):
        resident = replace(of_codec(residents, codec), interval_us=1_000_000)
        simulated = device(resident, DataRate(sf, 16.0))
        used = defaultdict(list)
        frames = []
        while simulated.next_us < 3 * 3_600_000_000:
            frames.append(simulated.talk())
            used[frames[-1].frequency_hz < 868_000_000].append(frames[-1])
        assert len(frames) > 60
        assert {frame.frequency_hz for frame in frames} == {channel.frequency_hz for channel in CHANNELS}
        for band in used.values():
            for index, first in enumerate(band):
                hour = [frame for frame in band[index:] if frame.start_us < first.start_us + 3_600_000_000]
                assert sum(frame.airtime_us for frame in hour) <= 36_000_000 + first.airtime_us
        for earlier, later in itertools.pairwise(frames):
            assert later.start_us > earlier.end_us


def test_intervals_stray_but_not_far(residents):
    resident = replace(of_codec(residents, "elsys/ers"), interval_us=60_000_000)
    simulated = device(resident)
    starts = [simulated.talk().start_us for _ in range(60)]
    intervals = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert all(51_000_000 <= interval <= 69_000_000 for interval in intervals)
    assert max(intervals) - min(intervals) > 10_000_000


# --- data rates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("snr_db", "sf", "power_dbm"),
    [
        # Semtech's reference algorithm: 10 dB stay above the floor (-7.5 dB at SF7 … -20 dB at SF12); what is left at
        # SF7 goes into power, 2 dB a step from 16 down to 2 dBm.
        (30, 7, 2.0),
        (16.5, 7, 2.0),
        (16.4, 7, 4.0),
        (4.5, 7, 14.0),
        (4.4, 7, 16.0),
        (2.5, 7, 16.0),
        (2.4, 8, 16.0),
        (0.0, 8, 16.0),
        (-0.1, 9, 16.0),
        (-5.0, 10, 16.0),
        (-7.6, 12, 16.0),
        (-30, 12, 16.0),
    ],
)
def test_data_rate_and_power_are_what_data_rate_control_gives(snr_db, sf, power_dbm):
    assert data_rate_for(snr_db) == DataRate(sf, power_dbm)


def test_a_near_device_is_fast_and_loud_and_a_far_one_slow(residents, new_desk):
    near_and_far = []
    for seed in range(12):
        desk = new_desk(seed=seed)
        settle(residents, desk.air, [desk.chip], Chance(seed), start_utc_us=START_UTC_US, f_cnt_up={})
        near_and_far += [
            (frame.modulation.spreading_factor, frame.snr_db) for frame in desk.hears(12_000_000) if frame.crc is Crc.OK
        ]
    for sf in (7, 9, 12):
        snrs = [snr_db for other, snr_db in near_and_far if other == sf]
        assert len(snrs) > 10
    fast = [snr_db for sf, snr_db in near_and_far if sf == 7]
    slow = [snr_db for sf, snr_db in near_and_far if sf == 12]
    assert sum(fast) / len(fast) > sum(slow) / len(slow) + 8


@pytest.mark.parametrize("best", [0, 1])
def test_the_gateway_that_hears_best_decides(residents, best):
    air, overheard = Air(Chance(1)), Overhearing()
    air.attach(overheard)
    chips = [Nearby(-20.0), Nearby(-20.0)]
    chips[best] = Nearby(30.0)
    settle(residents[:1], air, chips, Chance(1), start_utc_us=START_UTC_US, f_cnt_up={})
    air.advance(60_000_000)
    assert {tx.modulation.spreading_factor for tx in overheard.transmissions} == {7}
    assert {tx.power_dbm_eirp for tx in overheard.transmissions} == {2.0}


def test_each_device_has_a_crystal_of_its_own(residents):
    offsets_ppm = []
    for resident in residents:
        simulated = device(resident, seed=str(resident.device.dev_eui))
        frames = [simulated.talk() for _ in range(4)]
        [ppm] = {round(frame.frequency_offset_hz / frame.frequency_hz * 1e6, 1) for frame in frames}
        offsets_ppm.append(ppm)
    assert all(abs(ppm) < 20 for ppm in offsets_ppm), "what makers of crystals for radios promise"
    assert len(set(offsets_ppm)) > len(residents) // 2
    assert max(map(abs, offsets_ppm)) > 4


@pytest.mark.parametrize("seed", range(8))
def test_whatever_the_seed_all_kinds_are_heard_in_five_seconds(new_desk, seed):
    city = replace(load_scenario(), seed=seed)
    codecs = {session.dev_addr: device.codec for device, session in city.devices()}
    desk = new_desk(seed=seed)
    settle(city.residents(), desk.air, [desk.chip], Chance(seed), start_utc_us=START_UTC_US, f_cnt_up={})
    addresses = [parse(frame.phy).dev_addr for frame in desk.hears(5_000_000) if frame.crc is Crc.OK]
    assert {codecs.get(address) for address in addresses} >= set(codecs.values())


# --- the same again -----------------------------------------------------------------------------------------------


def test_the_same_dice_give_the_same_frames_and_others_do_not(residents, new_desk):
    def frames(seed):
        desk = new_desk(seed=seed)
        settle(residents, desk.air, [desk.chip], Chance(seed), start_utc_us=START_UTC_US, f_cnt_up={})
        return desk.hears(60_000_000)

    first = frames(1)
    assert len(first) > 60
    assert first == frames(1)
    assert first != frames(2)


def test_a_device_more_changes_nothing_for_the_others(residents):
    def sent(some):
        air = Air(Chance(1))
        overheard = Overhearing()
        air.attach(overheard)
        settle(some, air, [Nearby(20.0)], Chance(1), start_utc_us=START_UTC_US, f_cnt_up={})
        air.advance(120_000_000)
        return [tx for tx in overheard.transmissions if tx.sender == str(residents[0].device.dev_eui)]

    assert sent(residents[:1]) == sent(residents)
    assert len(sent(residents)) > 2


class Overhearing:
    """A listener that writes everything down."""

    def __init__(self):
        self.transmissions = []

    def preamble_over(self, transmission, beside):
        pass

    def frame_over(self, transmission, beside):
        self.transmissions.append(transmission)


class Nearby:
    """A chip that hears every device alike."""

    def __init__(self, snr_db):
        self.snr_db = snr_db

    def link_snr_db(self, sender, place, power_dbm_eirp):
        return self.snr_db
