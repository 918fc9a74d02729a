"""When and where a device listens: to the symbol, to the hertz, and past everything else."""

import math

import pytest
from scripted_network import HOUR_US, MINUTE_US, Reply, Setting, Terms, a_profile, a_session, conf, dev_eui

from gateway.lorawan import mac_commands as mac
from gateway.model import AtCounter, DownlinkRequest, Lora, MacVersion
from gateway.regions import REGIONS
from gateway.regions.eu868 import EU868
from gateway.simulator.air import Position
from gateway.simulator.chance import Chance
from gateway.simulator.end_device.complaints import Fault
from gateway.simulator.end_device.mac import EndDevice
from gateway.simulator.end_device.profile import Habits
from gateway.simulator.end_device.windows import RX1, RX2, RXC, Where, Window, class_a, class_c, symbol_us

HERE = Where(868_100_000, 5, Lora(7, 125_000))
THERE = Where(869_525_000, 0, Lora(12, 125_000))
ONCE = Habits(interval_us=HOUR_US, first_us=1_000_000)


# --- the arithmetic -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sf", range(7, 13))
@pytest.mark.parametrize("error_us", [0, 500, 2_000, 20_000])
def test_a_window_finds_a_preamble_that_is_late_or_early_by_its_tolerance_and_two_symbols(sf, error_us):
    where = Where(868_100_000, 12 - sf, Lora(sf, 125_000))
    [window] = class_a(5_000_000, 6_000_000, where, None, error_us)
    one_us = symbol_us(where.lora)
    for sign in (-1, 1):
        assert window.finds(5_000_000 + sign * error_us)
        # 2 symbols of 8 may be missing, or the rounding of a window to whole symbols.
        assert window.finds(5_000_000 + sign * (error_us + one_us))
        assert not window.finds(5_000_000 + sign * (error_us + 3.6 * one_us))


def test_a_window_is_the_one_that_lora_mac_node_computes():
    # LoRaMac-node 4.7.0, RegionCommonComputeRxWindowParameters with MinRxSymbols 6 and without wake-up time:
    # SF7 with 10 ms: 24 symbols, offset 4 - 12 = -8 of them; SF12 with 10 ms: 6 symbols, offset 4 - 3 = 1.
    for lora, symbols, offset in ((Lora(7, 125_000), 24, -8), (Lora(12, 125_000), 6, 1)):
        [window] = class_a(0, 0, Where(868_100_000, 0, lora), None, 10_000)
        assert window.open_us == round(offset * symbol_us(lora))
        assert window.close_us - window.open_us == math.ceil(symbols * symbol_us(lora))


def test_class_c_listens_all_the_time_and_its_windows_keep_their_names():
    windows = class_c(0, class_a(1_000_000, 2_000_000, HERE, THERE, 0), THERE)
    by_name = [(window.name, window.where) for window in windows]
    assert by_name == [(RX1, HERE), (RX2, THERE), (RXC, THERE), (RXC, THERE)]
    before, after = windows[2:]
    assert (before.open_us, before.close_us) == (0, windows[0].open_us)
    assert (after.open_us, after.close_us) == (windows[0].close_us, None)
    assert after.lasts
    assert after.finds(10**12)
    found = next(window for window in windows if window.where == THERE and window.finds(2_000_000))
    assert found.name == RX2


# --- a device on the air ------------------------------------------------------------------------------------------


def answered(reply, *, hours=1.0, habits=ONCE, terms=None, **profile):
    """An ABP device whose every uplink is answered so."""
    profile = {"session": a_session(), "data_rate": 5, **profile}
    setting = Setting(a_profile(habits=habits, **profile), answer=lambda uplink: reply, terms=terms or Terms())
    return setting.run(round(hours * HOUR_US))


@pytest.mark.parametrize(("window", "tolerance_us"), [(1, 2_000 + 1_024), (2, 2 * 32_768)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_an_answer_is_heard_within_the_tolerance_of_its_window_and_missed_beyond(window, tolerance_us, sign):
    # RX1 is SF7 (symbols of 1.024 ms), RX2 SF12 (32.768 ms).
    inside = answered(Reply(window=window, late_us=sign * (tolerance_us - 1_000)))
    assert [received.window for received in inside.device.diary.received] == [f"RX{window}"]
    assert inside.complaints() == []
    outside = answered(Reply(window=window, late_us=sign * (tolerance_us + 2_000)))
    assert outside.device.diary.received == []
    [complaint] = outside.complaints()
    assert complaint.fault is Fault.OUTSIDE_WINDOWS
    assert "RX1" in complaint.text


def downlink_at(setting, uplink, phy, *, delay_us=1_000_000, hz=None, lora=None, power_dbm=16.0):
    request = DownlinkRequest(
        ref="odd",
        phy=phy,
        receiver="roof-1",
        timing=AtCounter(uplink.radio.counter_us + delay_us),
        frequency_hz=hz or uplink.radio.frequency_hz,
        modulation=lora or uplink.radio.modulation,
        power_dbm_eirp=power_dbm,
    )
    setting.network.put(setting.chip, request)


@pytest.mark.parametrize(
    ("odd", "complains"),
    [
        ({}, False),
        ({"hz": 867_100_000}, True),
        ({"lora": Lora(8, 125_000)}, True),
        ({"lora": Lora(7, 250_000)}, True),
        ({"delay_us": 5_000_000}, True),
        ({"power_dbm": -90.0}, False),
    ],
)
def test_a_device_hears_its_own_frequency_data_rate_and_time_alone(odd, complains):
    def answer(uplink):
        member = setting.network.members[dev_eui(1)]
        downlink_at(setting, uplink, setting.network.sealed(member, Reply()), **odd)

    setting = Setting(a_profile(session=a_session(), data_rate=5, habits=ONCE), answer=answer)
    setting.run(HOUR_US)
    assert len(setting.device.diary.received) == (1 if not odd else 0)
    assert [complaint.fault for complaint in setting.complaints()] == [Fault.OUTSIDE_WINDOWS] * complains


def test_a_downlink_with_the_chirps_of_an_uplink_is_not_heard():
    def answer(uplink):
        phy = setting.network.sealed(setting.network.members[dev_eui(1)], Reply())
        counter = AtCounter(uplink.radio.counter_us + 1_000_000)
        hz, lora = uplink.radio.frequency_hz, uplink.radio.modulation
        setting.network.put(
            setting.chip, DownlinkRequest("1", phy, "roof-1", counter, hz, lora, 16.0, invert_polarity=False)
        )

    setting = Setting(a_profile(session=a_session(), data_rate=5, habits=ONCE), answer=answer)
    setting.run(HOUR_US)
    assert setting.device.diary.received == []


def test_rx2_stays_shut_once_rx1_brought_something_and_opens_after_a_frame_for_others():
    other = a_session(2)

    def answer(uplink):
        mine, foreign = setting.network.members[dev_eui(1)], setting.network.members[dev_eui(2)]
        first = foreign if uplink.f_cnt else mine
        downlink_at(setting, uplink, setting.network.sealed(first, Reply()))
        if uplink.f_cnt:
            setting.network.reply(uplink, Reply(window=2))

    profiles = [a_profile(session=a_session(), data_rate=5, habits=Habits(interval_us=10 * MINUTE_US, first_us=0))]
    profiles.append(a_profile(2, session=other, habits=Habits(interval_us=HOUR_US, first_us=50 * HOUR_US)))
    setting = Setting(*profiles, answer=answer)
    setting.run(HOUR_US)
    windows = [received.window for received in setting.devices[0].diary.received]
    assert windows[0] == RX1
    assert set(windows[1:]) == {RX2}
    assert len(windows) == len(setting.network.uplinks)
    assert not setting.devices[0].diary.complaints


@pytest.mark.parametrize("delay_s", [1, 5, 15])
@pytest.mark.parametrize("ppm", [-100, -20, 20, 100])
def test_a_clock_that_drifts_finds_its_windows_all_the_same(delay_s, ppm):
    # 100 ppm over 15 s are 1.5 ms: within the 2 ms that the device allows itself.
    setting = Setting(
        a_profile(habits=Habits(interval_us=10 * MINUTE_US, first_us=1_000_000)),
        answer=lambda uplink: Reply(),
        terms=Terms(rx_delay_s=delay_s),
        clock_ppm=ppm,
    ).run(6 * HOUR_US)
    assert len(setting.device.diary.received) == len(setting.network.uplinks) > 30
    ends_us = [uplink.radio.heard.monotonic_us for uplink in setting.network.uplinks]
    own_us = [sent.first_us for sent in setting.device.diary.sent]
    stretched = (own_us[30] - own_us[1]) / (ends_us[30] - ends_us[1]) - 1
    assert stretched * 1e6 == pytest.approx(ppm, abs=10)
    assert setting.complaints() == []


def test_a_clock_that_is_far_too_fast_misses_a_late_window():
    setting = Setting(
        a_profile(rx_error_us=0), answer=lambda uplink: Reply(), terms=Terms(rx_delay_s=15), clock_ppm=500.0
    ).run(HOUR_US)
    assert {complaint.fault for complaint in setting.complaints()} == {Fault.OUTSIDE_WINDOWS}


def test_a_device_too_far_away_hears_nothing_and_has_nothing_to_complain_about():
    setting = Setting(
        a_profile(session=a_session(), data_rate=0), answer=lambda uplink: Reply(), near=Position(25_000, 0)
    ).run(4 * HOUR_US)
    assert 0 < len(setting.device.diary.received) < len(setting.network.uplinks) / 2
    assert setting.complaints() == []


@pytest.mark.parametrize("name", list(REGIONS))
def test_both_windows_of_every_plan_lie_where_the_plan_has_them(name):
    region = REGIONS[name]
    session = a_session()
    device = EndDevice(a_profile(session=session, region=region, habits=ONCE), Chance(3))
    emission = device.act(device.next_us)
    end_us = emission.start_us + emission.airtime_us
    expected = region.rx1(emission.frequency_hz, device.parameters.data_rate, 0, dwell=region.uplink_dwell)
    assert [window.name for window in device.windows] == [RX1, RX2]
    for window, wanted, delay_us in zip(device.windows, (expected, region.rx2), (1_000_000, 2_000_000), strict=True):
        assert (window.where.frequency_hz, window.where.data_rate) == (wanted.frequency_hz, wanted.data_rate)
        assert window.finds(end_us + delay_us)


# --- class C ------------------------------------------------------------------------------------------------------


def class_c_setting(answer=conf, version=MacVersion.V1_0_3, **profile):
    profile = {"interval_us": 10 * MINUTE_US, "first_us": 1_000_000, **profile}
    return Setting(a_profile(version=version, device_class="C", habits=Habits(**profile)), answer=answer)


@pytest.mark.parametrize("version", MacVersion)
def test_class_c_hears_at_any_time_in_the_parameters_of_rx2(version):
    setting = class_c_setting(version=version)
    setting.run(11 * MINUTE_US)
    for minute in range(12, 30):
        setting.network.push(setting.chip, setting.device, Reply(f_port=9, payload=bytes([minute])))
        setting.run(minute * MINUTE_US)
    heard = [received for received in setting.device.diary.received if received.f_port == 9]
    assert [received.payload[0] for received in heard] == list(range(12, 30))
    assert {received.window for received in heard} == {RXC}
    assert setting.complaints() == []


def test_class_c_follows_rx2_when_it_is_moved():
    def answer(uplink):
        if uplink.f_cnt == 0:
            request = mac.RXParamSetupReq(rx1_dr_offset=0, rx2_data_rate=3, frequency_hz=869_525_000)
            return Reply(commands=(request,))
        return Reply()

    setting = class_c_setting(answer)
    setting.run(MINUTE_US)
    setting.network.members[dev_eui(1)].rx2 = (869_525_000, 3)
    for _ in range(5):
        setting.network.push(setting.chip, setting.device, Reply(f_port=9, payload=b"x"))
        setting.run(setting.town.now_us + 20_000_000)
    assert len(setting.device.diary.downlinks) == 5
    setting.network.members[dev_eui(1)].rx2 = (EU868.rx2.frequency_hz, EU868.rx2.data_rate)
    setting.network.push(setting.chip, setting.device, Reply(f_port=9, payload=b"x"))
    setting.run(setting.town.now_us + 20_000_000)
    assert len(setting.device.diary.downlinks) == 5
    assert [complaint.fault for complaint in setting.complaints()] == [Fault.OUTSIDE_WINDOWS]


@pytest.mark.parametrize("version", MacVersion)
def test_mac_commands_have_no_place_outside_the_windows_of_class_a(version):
    # TS001-1.0.4, 17: a device that hears one there drops the frame; before 1.0.4 nothing was said.
    setting = class_c_setting(version=version)
    setting.run(11 * MINUTE_US)
    setting.network.push(setting.chip, setting.device, Reply(commands=(mac.DevStatusReq(),)))
    setting.run(12 * MINUTE_US)
    assert {complaint.fault for complaint in setting.complaints()} == {Fault.COMMANDS_IN_RXC}
    heard = [received for received in setting.device.diary.received if received.commands == (mac.DevStatusReq(),)]
    assert len(heard) == (version < MacVersion.V1_0_4)


def test_a_device_of_class_a_does_not_hear_what_comes_at_once():
    setting = Setting(a_profile(habits=Habits(interval_us=10 * MINUTE_US, first_us=1_000_000)))
    setting.run(5 * MINUTE_US)
    setting.network.push(setting.chip, setting.device, Reply(f_port=9, payload=b"x"))
    setting.run(6 * MINUTE_US)
    assert setting.device.diary.received == []
    [complaint] = setting.complaints()
    assert complaint.fault is Fault.OUTSIDE_WINDOWS
    assert "869525000 Hz" in complaint.text


def test_class_c_waits_with_its_uplink_until_a_downlink_is_over():
    setting = class_c_setting(interval_us=MINUTE_US, version=MacVersion.V1_0_3)
    setting.run(MINUTE_US)
    received = sent = 0
    for _ in range(300):  # SF12 and 51 bytes: 2.8 s of every 5
        setting.network.push(setting.chip, setting.device, Reply(f_port=9, payload=bytes(40)))
        setting.run(setting.town.now_us + 5_000_000)
        received, sent = len(setting.device.diary.received), len(setting.device.diary.sent)
    assert received > 250
    assert sent > 15
    assert setting.complaints() == []


def test_a_window_that_lasts_cannot_be_decided():
    with pytest.raises(AssertionError):
        _ = Window(RXC, 0, None, THERE).decided_us
