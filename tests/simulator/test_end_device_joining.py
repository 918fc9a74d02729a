"""The device's half of a join: against what others publish, and against a network made by hand."""

import itertools
from collections import Counter
from dataclasses import replace

import pytest
from scripted_network import (
    HOUR_US,
    JOIN_EUI,
    MINUTE_US,
    Reply,
    Setting,
    Terms,
    a_profile,
    a_session,
    aes_backwards,
    cmac,
    conf,
    dev_eui,
    key_of,
    root_keys,
)

from gateway.lorawan import mac_commands as mac
from gateway.lorawan.frame import parse
from gateway.model import AesKey, DevAddr, DevEui, JoinEui, Lora, MacVersion, RootKeys
from gateway.radio.airtime import airtime_us
from gateway.regions import REGIONS
from gateway.regions.eu868 import EU868
from gateway.simulator.chance import Chance
from gateway.simulator.end_device.complaints import Fault
from gateway.simulator.end_device.joining import (
    JOIN_REQUEST,
    Identity,
    Question,
    join_request,
    read_accept,
    rejoin_request,
)
from gateway.simulator.end_device.mac import EndDevice
from gateway.simulator.end_device.profile import Absence, Habits
from gateway.simulator.town import Town

V1_0_3, V1_0_4, V1_1 = MacVersion.V1_0_3, MacVersion.V1_0_4, MacVersion.V1_1_0
ONES = AesKey(b"\x01" * 16)
ONE_TO_EIGHT = bytes.fromhex("0102030405060708")


def identity(version=V1_0_3, app_key=ONES, nwk_key=ONES, join_eui=ONE_TO_EIGHT, eui=ONE_TO_EIGHT):
    return Identity.of(DevEui(eui), JoinEui(join_eui), RootKeys(app_key, nwk_key if version.is_1_1 else None), version)


# --- what others publish ------------------------------------------------------------------------------------------


def test_a_join_request_is_the_published_one():
    # The Things Network's lorawan-stack 3.32.1, pkg/crypto/join_messages_test.go: TestComputeJoinRequestMIC
    assert join_request(identity(), 0x0102).hex() == "00080706050403020108070605040302010201e6e10c55"
    # brocaar/lorawan at 0508bca, phypayload_test.go: TestPHYPayloadJoinRequest
    who = identity(join_eui=bytes.fromhex("0102030401020304"), eui=bytes.fromhex("0203040502030405"))
    assert join_request(who, 0x102D).hex() == "00040302010403020105040302050403022d106a990e12"


@pytest.mark.parametrize(("rejoin_type", "mic"), [(0, "11da47bd"), (2, "2b459cf0")])
def test_a_rejoin_request_is_the_published_one(rejoin_type, mic):
    # The Things Network's lorawan-stack 3.32.1, pkg/crypto/join_messages_test.go: TestComputeRejoinRequestMIC
    session = replace(a_session(version=V1_1), s_nwk_s_int_key=ONES)
    phy = rejoin_request(identity(V1_1), session, 0x010203, rejoin_type, 0x0102)
    assert phy.hex() == f"c0{rejoin_type:02x}03020108070605040302010201{mic}"


def test_a_join_accept_is_read_as_published():
    # brocaar/lorawan at 0508bca, phypayload_test.go: TestPHYPayloadJoinAccept
    app_key = AesKey.parse("00112233445566778899aabbccddeeff")
    phy = bytes.fromhex("20493eeb51fba2116f810edb3742975142")
    accept = read_accept(identity(app_key=app_key), Question(JOIN_REQUEST, 0), phy)
    assert (accept.join_nonce, accept.net_id) == (0x570BC7, 0x221101)
    assert accept.session.dev_addr == DevAddr(0x02031980)
    assert (accept.rx1_dr_offset, accept.rx2_data_rate, accept.rx_delay_s, accept.cf_list) == (0, 0, 1, b"")
    # The Things Network's lorawan-stack 3.32.1, pkg/crypto/join_messages_test.go: TestJoinAcceptEncryption
    phy = bytes.fromhex("20c9fbb259e11649096a568a9e3b7117c3")
    accept = read_accept(identity(), Question(JOIN_REQUEST, 0), phy)
    assert (accept.join_nonce, accept.net_id, accept.session.dev_addr) == (0x010203, 0x010203, 0x01020304)
    # brocaar/lorawan at 0508bca, phypayload_test.go: ExampleNewPHYPayload_joinAcceptSend
    app_key = AesKey(bytes(range(1, 17)))
    phy = bytes([32, 35, 207, 51, 84, 137, 170, 227, 24, 60, 11, 224, 186, 168, 222, 229, 243])
    accept = read_accept(identity(app_key=app_key), Question(JOIN_REQUEST, 0), phy)
    assert (accept.join_nonce, accept.net_id, accept.session.dev_addr) == (0x010101, 0x020202, 0x01020304)


# The Things Network's lorawan-stack 3.32.1, pkg/crypto/key_derivation_test.go: TestKeyDerivation
STACK_KEY = AesKey.parse("bec499c69e9c939e413b663961636c61")
STACK_EUIS = {"join_eui": bytes.fromhex("0000001223224242"), "eui": bytes.fromhex("0042004213424341")}
STACK_BODY = bytes.fromhex("1c3bae" + "010102" + "04030201")  # JoinNonce ae3b1c, NetID 020101, all little endian
STACK_NONCE = 0x7369


def stack_accept(dl_settings, mic_key, prefix=b""):
    body = STACK_BODY + bytes([dl_settings, 1])
    return b"\x20" + aes_backwards(STACK_KEY, body + cmac(mic_key, prefix + b"\x20" + body))


def test_the_keys_of_1_0_are_the_published_ones():
    who = identity(app_key=STACK_KEY, **STACK_EUIS)
    session = read_accept(who, Question(JOIN_REQUEST, STACK_NONCE), stack_accept(0, STACK_KEY)).session
    assert session.app_s_key == AesKey.parse("8c1e0543a229088de6f84e74bb46bd62")
    network = {session.f_nwk_s_int_key, session.s_nwk_s_int_key, session.nwk_s_enc_key}
    assert network == {AesKey.parse("0db924ee6af90698e05fc7ce48303c01")}


def test_the_keys_of_1_1_are_the_published_ones():
    who = identity(V1_1, app_key=STACK_KEY, nwk_key=STACK_KEY, **STACK_EUIS)
    assert who.js_int_key == AesKey.parse("cb8e9ee114c3fb5ce472a5aa13ab1855")
    assert who.js_enc_key == AesKey.parse("bb711eefb9829b4a75866f8616bacd6d")
    signed = b"\xff" + who.join_eui[::-1] + STACK_NONCE.to_bytes(2, "little")
    phy = stack_accept(0x80, AesKey.parse("cb8e9ee114c3fb5ce472a5aa13ab1855"), signed)
    session = read_accept(who, Question(JOIN_REQUEST, STACK_NONCE), phy).session
    assert session.mac_version is V1_1
    assert session.app_s_key == AesKey.parse("b035cce24e4a040eb5cecbf21724412d")
    assert session.f_nwk_s_int_key == AesKey.parse("379084e7ce22ff191bff4b77536f2aa3")
    assert session.s_nwk_s_int_key == AesKey.parse("63c59309d53485bc5164dbf71627aeb9")
    assert session.nwk_s_enc_key == AesKey.parse("ce07a009a3970ac0519a099ed53e550b")


def test_an_accept_for_another_question_or_another_device_is_none():
    who = identity(V1_1, app_key=STACK_KEY, nwk_key=STACK_KEY, **STACK_EUIS)
    signed = b"\xff" + who.join_eui[::-1] + STACK_NONCE.to_bytes(2, "little")
    phy = stack_accept(0x80, who.js_int_key, signed)
    assert read_accept(who, Question(JOIN_REQUEST, STACK_NONCE), phy) is not None
    assert read_accept(who, Question(JOIN_REQUEST, STACK_NONCE + 1), phy) is None
    assert read_accept(who, Question(0, STACK_NONCE), phy) is None
    assert read_accept(replace(who, nwk_key=ONES), Question(JOIN_REQUEST, STACK_NONCE), phy) is None
    for bit in range(8, 8 * len(phy)):
        bad = bytearray(phy)
        bad[bit // 8] ^= 1 << bit % 8
        assert read_accept(who, Question(JOIN_REQUEST, STACK_NONCE), bytes(bad)) is None
    assert read_accept(who, Question(JOIN_REQUEST, STACK_NONCE), phy[:-1]) is None


# --- joining ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device_class", ["A", "C"])
@pytest.mark.parametrize("version", MacVersion)
@pytest.mark.parametrize("window", [1, 2])
def test_a_device_of_every_version_joins_in_either_window(version, device_class, window):
    terms = Terms(window=window)
    setting = Setting(a_profile(version=version, device_class=device_class), terms=terms).run(10 * MINUTE_US)
    [joined], device = setting.device.diary.joined, setting.device
    assert joined.mac_version is version
    assert setting.network.members[dev_eui(1)].session == device.session
    assert {uplink.payload[:6] for uplink in setting.network.uplinks if uplink.f_port == 7} == {b"report"}
    assert [sent.f_cnt for sent in device.diary.sent] == list(range(len(device.diary.sent)))
    assert setting.complaints() == []


def test_a_device_of_1_1_speaks_1_0_with_an_old_network():
    setting = Setting(a_profile(version=V1_1), terms=Terms(opt_neg=False)).run(10 * MINUTE_US)
    assert setting.device.diary.joined[0].mac_version is V1_0_3
    assert setting.network.uplinks[0].commands == (), "RekeyInd belongs to 1.1"
    assert setting.complaints() == []


def test_what_the_accept_sets_is_what_the_device_does():
    cf_list = EU868.cf_list((867_100_000, 867_300_000, 0, 867_700_000, 867_900_000))
    terms = Terms(rx_delay_s=5, rx1_dr_offset=2, rx2_data_rate=3, cf_list=cf_list)
    setting = Setting(a_profile(), answer=lambda uplink: Reply(window=1 + uplink.f_cnt % 2), terms=terms)
    parameters = setting.run(5 * HOUR_US).device.parameters
    assert (parameters.rx1_delay_us, parameters.rx1_dr_offset) == (5_000_000, 2)
    assert (parameters.rx2.frequency_hz, parameters.rx2.data_rate) == (869_525_000, 3)
    assert sorted(parameters.channels) == [0, 1, 2, 3, 4, 6, 7]
    assert parameters.channels[7].frequency_hz == 867_900_000
    used = {uplink.radio.frequency_hz for uplink in setting.network.uplinks}
    assert used == {channel.frequency_hz for channel in parameters.channels.values()}
    windows = Counter(received.window for received in setting.device.diary.received)
    assert min(windows["RX1"], windows["RX2"]) > 20
    assert sum(windows.values()) == len(setting.network.uplinks)
    assert setting.complaints() == []


def test_a_list_of_masks_leaves_the_named_channels():
    region = REGIONS["US915"]
    second = frozenset([*range(8, 16), 65])
    town = us915_town(1)
    terms = Terms(rx2_data_rate=8, cf_list=region.cf_list(enabled=second))
    setting = Setting(a_profile(region=region), terms=terms, town=town).run(2 * HOUR_US)
    assert setting.device.parameters.enabled == second
    assert setting.complaints() == []


def us915_town(bank):
    region = REGIONS["US915"]
    frequencies = [region.channels[8 * bank + number].frequency_hz for number in range(8)]
    service = (region.channels[64 + bank].frequency_hz, Lora(8, 500_000))
    return Town(1, region=region, frequencies_hz=frequencies, service_channel=service)


@pytest.mark.parametrize(
    ("terms", "version", "words"),
    [
        (Terms(rx1_dr_offset=6), V1_0_3, "RX1DROffset 6"),
        (Terms(rx2_data_rate=9), V1_0_3, "RX2DataRate 9"),
        (Terms(cf_list=bytes(15) + b"\x05"), V1_0_3, "CFList"),
        (Terms(cf_list=bytes(15) + b"\x01"), V1_0_3, "CFList"),
        (Terms(cf_list=(9_000_000).to_bytes(3, "little") + bytes(13)), V1_0_3, "900000000 Hz"),
    ],
)
def test_an_accept_with_impossible_settings_is_complained_about_and_used_without_them(terms, version, words):
    setting = Setting(a_profile(version=version), terms=terms).run(2 * MINUTE_US)
    [complaint] = setting.complaints()
    assert complaint.fault is Fault.JOIN_ACCEPT
    assert words in complaint.text
    parameters = setting.device.parameters
    assert (parameters.rx1_dr_offset, parameters.rx2, sorted(parameters.channels)) == (0, EU868.rx2, [0, 1, 2])


def test_masks_are_news_to_a_device_of_1_0_2():
    region = REGIONS["US915"]
    terms = Terms(rx2_data_rate=8, cf_list=region.cf_list(enabled=frozenset(range(8, 16))))
    profile = a_profile(region=region, version=MacVersion.V1_0_2)
    setting = Setting(profile, terms=terms, town=us915_town(1)).run(2 * HOUR_US)
    assert {complaint.fault for complaint in setting.complaints()} == {Fault.JOIN_ACCEPT}
    assert len(setting.device.parameters.enabled) == 72


# --- asking again -------------------------------------------------------------------------------------------------


def unheard(profile, hours):
    """What a device asks that nobody answers."""
    setting = Setting(profile, terms=None).run(hours * HOUR_US)
    return setting.device.diary.asked


@pytest.mark.parametrize(("version", "counts"), [(version, version >= V1_0_4) for version in MacVersion])
def test_nonces_grow_since_1_0_4_and_are_chance_before(version, counts):
    asked = unheard(a_profile(version=version, first_dev_nonce=300), 3)
    nonces = [one.nonce for one in asked]
    assert len(nonces) > 10
    if counts:
        assert nonces == list(range(300, 300 + len(nonces)))
    else:
        assert nonces != sorted(nonces)
        assert len(set(nonces)) == len(nonces)


def test_every_data_rate_and_channel_is_tried():
    asked = unheard(a_profile(), 12)
    assert [one.data_rate for one in asked[:12]] == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0]
    assert {one.channel for one in asked} == {0, 1, 2}


def test_join_requests_keep_to_their_share_of_the_time():
    # TS001-1.0.4, 7: 36 s in the first hour, 36 s in the next ten, 8.7 s in every 24 hours after that.
    asked = unheard(a_profile(), 60)
    lengths = {one.at_us: airtime_us(Lora(12 - one.data_rate, 125_000), 23) / 1e6 for one in asked}
    longest_s = max(lengths.values())

    def spent_s(from_h, until_h):
        return sum(s for at_us, s in lengths.items() if from_h * HOUR_US <= at_us < until_h * HOUR_US)

    assert 10 < spent_s(0, 1) <= 36 + longest_s
    assert 10 < spent_s(1, 11) <= 36 + longest_s
    assert 2 < spent_s(11, 35) <= 8.7 + longest_s
    for one, other in itertools.pairwise(asked):
        assert other.at_us - one.at_us > 7_000_000, "the windows are over, and some time by chance"


def test_us915_asks_in_another_bank_every_time_and_with_both_widths():
    # RP002-1.0.4, 2.5.2: 125 kHz channels with DR0 and 500 kHz channels with DR4 by turns.
    asked = unheard(a_profile(region=REGIONS["US915"]), 1)
    assert [one.data_rate for one in asked[:4]] == [0, 4, 0, 4]
    banks = [one.channel // 8 for one in asked if one.data_rate == 0]
    assert banks[:8] == list(range(8))
    assert {one.channel // 8 for one in asked if one.data_rate == 4} == {8}


@pytest.mark.parametrize("bank", [0, 1, 7])
def test_a_us915_device_finds_the_eight_channels_of_its_gateway(bank):
    town = us915_town(bank)
    setting = Setting(a_profile(region=REGIONS["US915"]), terms=Terms(rx2_data_rate=8), town=town).run(HOUR_US)
    assert len(setting.device.diary.joined) == 1
    assert setting.complaints() == []


@pytest.mark.parametrize("name", [name for name, region in REGIONS.items() if not region.fixed_plan])
@pytest.mark.parametrize("window", [1, 2])
def test_devices_of_every_plan_whose_channels_are_named_join_and_are_answered(name, window):
    region = REGIONS[name]
    town = Town(1, region=region, frequencies_hz=[channel.frequency_hz for channel in region.channels])
    terms = Terms(rx2_data_rate=region.rx2.data_rate, window=window)
    setting = Setting(a_profile(region=region), answer=lambda uplink: Reply(window=window), terms=terms, town=town).run(
        2 * HOUR_US
    )
    assert len(setting.device.diary.joined) == 1
    assert len(setting.device.diary.received) == len(setting.network.uplinks) > 20
    assert setting.complaints() == []


@pytest.mark.parametrize("name", ["CN470", "AU915"])
def test_devices_of_fixed_plans_join(name):
    region = REGIONS[name]
    frequencies = [region.channels[number].frequency_hz for number in range(8, 16)]
    town = Town(1, region=region, frequencies_hz=frequencies)
    terms = Terms(rx2_data_rate=region.rx2.data_rate)
    setting = Setting(a_profile(region=region), terms=terms, town=town).run(6 * HOUR_US)
    assert len(setting.device.diary.joined) == 1
    assert setting.complaints() == []


# --- JoinNonce ----------------------------------------------------------------------------------------------------


def power_cut(version, second_nonce):
    """A device that joins, loses its battery for a minute and joins again, with these JoinNonces."""
    habits = Habits(
        interval_us=MINUTE_US, first_us=0, absences=(Absence(10 * MINUTE_US, 11 * MINUTE_US, battery_out=True),)
    )
    setting = Setting(a_profile(version=version, habits=habits))
    setting.run(10 * MINUTE_US)
    setting.network.members[dev_eui(1)].join_nonce = second_nonce - 1
    return setting.run(30 * MINUTE_US)


@pytest.mark.parametrize("version", MacVersion)
def test_a_device_without_battery_forgets_its_session_and_joins_again(version):
    setting = power_cut(version, 2)
    diary = setting.device.diary
    assert [joined.join_nonce for joined in diary.joined] == [1, 2]
    assert not [sent for sent in diary.sent if 10 * MINUTE_US < sent.first_us < 11 * MINUTE_US]
    second = [sent for sent in diary.sent if sent.first_us > 11 * MINUTE_US]
    assert second[0].f_cnt == 0
    if version >= V1_0_4:
        nonces = [asked.nonce for asked in diary.asked]
        assert nonces == list(range(len(nonces))), "the counter of DevNonces was in flash"
    assert setting.complaints() == []


@pytest.mark.parametrize("version", MacVersion)
def test_a_join_nonce_used_twice_is_complained_about(version):
    setting = power_cut(version, 1)
    assert {complaint.fault for complaint in setting.complaints()} == {Fault.JOIN_NONCE}
    taken = [joined.join_nonce for joined in setting.device.diary.joined]
    assert taken == ([1, 2] if version >= V1_0_4 else [1, 1]), "only since 1.0.4 a device looks at it"


@pytest.mark.parametrize("version", [V1_0_4, V1_1])
def test_a_join_nonce_that_goes_back_is_not_taken(version):
    habits = Habits(
        interval_us=MINUTE_US, first_us=0, absences=(Absence(10 * MINUTE_US, 11 * MINUTE_US, battery_out=True),)
    )
    setting = Setting(a_profile(version=version, habits=habits))
    setting.network.members[dev_eui(1)].join_nonce = 50
    setting.run(10 * MINUTE_US)
    setting.network.members[dev_eui(1)].join_nonce = 40
    setting.run(12 * MINUTE_US)
    assert setting.device.session is None
    assert {complaint.fault for complaint in setting.complaints()} == {Fault.JOIN_NONCE}


# --- rejoining ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device_class", ["A", "C"])
@pytest.mark.parametrize("rejoin_type", [0, 2])
def test_a_forced_rejoin_gives_new_keys_and_type_2_leaves_the_radio_alone(rejoin_type, device_class):
    told = []

    def answer(uplink):
        if uplink.f_cnt == 3 and not told:
            told.append(uplink)
            request = mac.ForceRejoinReq(period=0, max_retries=2, rejoin_type=rejoin_type, data_rate=4)
            return Reply(commands=(request,))
        return conf(uplink)

    setting = Setting(a_profile(version=V1_1, device_class=device_class), answer=answer, terms=Terms(rx_delay_s=3))
    setting.run(10 * MINUTE_US)
    setting.network.terms = Terms(rx_delay_s=7)
    setting.run(HOUR_US)
    first, second = setting.device.diary.joined
    asked = setting.device.diary.asked[-1]
    assert (asked.kind, asked.nonce, asked.data_rate) == (rejoin_type, 0, 4)
    assert (first.kind, second.kind) == (None, rejoin_type)
    assert setting.device.parameters.rx1_delay_us == (7_000_000 if rejoin_type == 0 else 3_000_000)
    later = [uplink for uplink in setting.network.uplinks if uplink.session.dev_addr == second.dev_addr]
    assert [type(command) for command in later[0].commands][:1] == [mac.RekeyInd]
    assert [type(command) for command in later[1].commands][:1] == []
    assert setting.complaints() == []


def test_forced_rejoins_are_repeated_and_counted_when_nobody_answers():
    def answer(uplink):
        if uplink.f_cnt == 1:
            return Reply(commands=(mac.ForceRejoinReq(period=1, max_retries=2, rejoin_type=0, data_rate=5),))
        return conf(uplink)

    setting = Setting(a_profile(version=V1_1), answer=answer)
    setting.run(2 * MINUTE_US)
    setting.network.terms = None
    setting.run(HOUR_US)
    rejoins = [asked for asked in setting.device.diary.asked if asked.kind is not None]
    assert [asked.nonce for asked in rejoins] == [0, 1, 2]
    for one, other in itertools.pairwise(rejoins):
        assert 64_000_000 <= other.at_us - one.at_us <= 64_000_000 + 32_000_000 + 10_000_000  # LoRaWAN 1.1, 5.12
    assert len(setting.device.diary.joined) == 1
    assert setting.device.diary.sent[-1].first_us > rejoins[-1].at_us, "the old session goes on"
    assert setting.complaints() == []


def test_rejoins_of_type_1_come_from_the_owner_and_their_count_never_starts_again():
    habits = Habits(interval_us=10 * MINUTE_US, first_us=0, rejoin_every_us=HOUR_US)
    setting = Setting(a_profile(version=V1_1, habits=habits), answer=conf).run(4 * HOUR_US + 10 * MINUTE_US)
    rejoins = [asked for asked in setting.device.diary.asked if asked.kind is not None]
    assert [(asked.kind, asked.nonce) for asked in rejoins] == [(1, 0), (1, 1), (1, 2), (1, 3)]
    assert [joined.kind for joined in setting.device.diary.joined] == [None, 1, 1, 1, 1]
    assert setting.complaints() == []


def test_rejoins_of_type_0_come_after_so_many_frames():
    def answer(uplink):
        if uplink.f_cnt == 1:
            return Reply(commands=(mac.RejoinParamSetupReq(max_time_n=15, max_count_n=0),))
        return conf(uplink)

    habits = Habits(interval_us=MINUTE_US, first_us=0)
    setting = Setting(a_profile(version=V1_1, habits=habits), answer=answer).run(HOUR_US)
    rejoins = [asked for asked in setting.device.diary.asked if asked.kind == 0]
    assert len(rejoins) == len(setting.device.diary.joined) - 1 == 3
    sessions = Counter(sent.dev_addr for sent in setting.device.diary.sent)
    assert sorted(sessions.values())[1:] == [16, 16, 16]
    assert mac.RejoinParamSetupAns(time_ok=True) in setting.network.uplinks[2].commands
    assert setting.complaints() == []


def test_a_device_whose_rekey_nobody_confirms_joins_again():
    # LoRaWAN 1.1, 5.10: without RekeyConf within ADR_ACK_LIMIT uplinks the device goes back to joining.
    habits = Habits(interval_us=MINUTE_US, first_us=0)
    setting = Setting(a_profile(version=V1_1, habits=habits)).run(2 * HOUR_US)
    diary = setting.device.diary
    assert len(diary.joined) == 2
    assert sum(sent.dev_addr == diary.joined[0].dev_addr for sent in diary.sent) == EU868.adr_ack_limit


def test_keys_made_by_hand_are_those_of_the_vectors():
    """The scripted network itself, so that it is no wrong witness."""
    assert key_of(STACK_KEY, 6, STACK_EUIS["eui"][::-1]) == AesKey.parse("cb8e9ee114c3fb5ce472a5aa13ab1855")
    salt = (STACK_BODY[:3], STACK_EUIS["join_eui"][::-1], STACK_NONCE.to_bytes(2, "little"))
    assert key_of(STACK_KEY, 3, *salt) == AesKey.parse("63c59309d53485bc5164dbf71627aeb9")


def test_a_profile_is_either_otaa_or_abp():
    for wrong in (
        {"session": a_session(), "root_keys": root_keys(1, V1_0_3)},
        {"root_keys": None},
        {"join_eui": None},
        {"device_class": "B"},
    ):
        with pytest.raises(ValueError, match=r"device|class"):
            a_profile(**wrong)
    with pytest.raises(ValueError, match="two root keys"):
        a_profile(version=V1_1, root_keys=root_keys(1, V1_0_3))
    device = EndDevice(a_profile(), Chance(1))
    assert device.session is None
    assert parse(device.act(1_000_000).phy).join_eui == JOIN_EUI
