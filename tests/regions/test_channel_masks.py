"""LinkADRReq's channel masks, and the CFList of a join accept."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.regions import REGIONS, region_named
from gateway.regions.cf_lists import CfList

PLANS = [pytest.param(plan, id=name) for name, plan in REGIONS.items()]


def _span(first, last):
    return frozenset(range(first, last + 1))


def _all(plan):
    return frozenset(range(plan.channels_max))


@st.composite
def plan_and_channels(draw):
    """A plan and some of its channels, often whole banks of them."""
    plan = draw(st.sampled_from(list(REGIONS.values())))
    banks = draw(st.sets(st.sampled_from(range(0, plan.channels_max, 16))))
    wanted = {channel for bank in banks for channel in range(bank, min(bank + 16, plan.channels_max))}
    return plan, frozenset(wanted ^ draw(st.sets(st.sampled_from(range(plan.channels_max)), max_size=20)))


# The ChMaskCntl of each plan: what each value does to a device that has all channels on (the first rows) or one on,
# with this mask. LoRaMac-node 4.7.0, Region*LinkAdrReq and RegionCN470*LinkAdrChMaskUpdate; The Things Stack 3.32.1,
# pkg/band/band_test.go and channel_mask.go (but ChMaskCntl 5, which moves the wide channels too in LoRaMac-node and
# in RP002-1.0.4, 2.5.5); for 96 channels parseChMask96 there.
ALL_72, NARROW = _span(0, 71), _span(0, 63)
COMMANDS = [
    ("EU868", {0, 1, 2}, 0, 0b101, {0, 2}),
    ("EU868", {1}, 0, 0xFFFF, _span(0, 15)),
    ("EU868", {1}, 6, 0, {0, 1, 2}),
    ("AS923-2", {1}, 6, 0b1, {0, 1}),
    ("US915", ALL_72, 0, 0x00FF, ALL_72 - _span(8, 15)),
    ("US915", ALL_72, 3, 0x8001, ALL_72 - _span(49, 62)),
    ("US915", {0, 71}, 4, 0x0003, {0, 64, 65}),
    ("US915", {0, 71}, 4, 0xFF00, {0}),
    ("US915", {0}, 5, 0x0002, _span(8, 15) | {65}),
    ("US915", {0}, 5, 0xFF81, _span(0, 7) | _span(56, 63) | {64, 71}),
    ("US915", {0}, 6, 0x0001, NARROW | {64}),
    ("US915", {0}, 6, 0x00FF, ALL_72),
    ("US915", ALL_72, 7, 0x0002, {65}),
    ("US915", ALL_72, 7, 0xFF00, frozenset()),
    ("AU915", {0}, 5, 0x0001, _span(0, 7) | {64}),
    ("AU915", {0}, 6, 0x0000, NARROW),
    ("CN470", _span(0, 95), 5, 0x0001, _span(0, 80)),
    ("CN470", {0}, 6, 0, _span(0, 95)),
    ("CN470-20A", _span(0, 63), 3, 0x0001, _span(0, 48)),
    ("CN470-20A", {0}, 6, 0, _span(0, 63)),
    ("CN470-20B", _span(0, 63), 7, 0xFFFF, frozenset()),
    ("CN470-26A", _span(0, 47), 2, 0x0001, _span(0, 32)),
    ("CN470-26A", {0}, 3, 0, _span(0, 47)),
    ("CN470-26B", _span(0, 47), 4, 0xFFFF, frozenset()),
]


@pytest.mark.parametrize(("name", "enabled", "ch_mask_cntl", "ch_mask", "after"), COMMANDS)
def test_each_command_does_what_others_understand_by_it(name, enabled, ch_mask_cntl, ch_mask, after):
    plan = region_named(name)
    defined = frozenset(range(len(plan.channels)))
    assert plan.masked(frozenset(enabled), defined, ch_mask_cntl, ch_mask) == after


RESERVED = {
    "EU868": {1, 2, 3, 4, 5, 7}, "AS923-1": {1, 2, 3, 4, 5, 7}, "US915": set(), "AU915": set(), "CN470": {7},
    "CN470-20A": {4, 5}, "CN470-20B": {4, 5}, "CN470-26A": {5, 6, 7}, "CN470-26B": {5, 6, 7},
}  # fmt: skip


@pytest.mark.parametrize("name", RESERVED)
def test_a_reserved_command_is_refused_with_its_whole_block(name):
    plan = region_named(name)
    defined = frozenset(range(len(plan.channels)))
    reserved = {cntl for cntl in range(8) if plan.masked(defined, defined, cntl, 0xFFFF) is None}
    assert reserved == RESERVED[name]
    for cntl in reserved | {-1, 8}:
        assert plan.masked_by(defined, defined, ((0, 1), (cntl, 1))) is None


def test_a_block_of_commands_is_judged_by_what_it_leads_to():
    eu868 = region_named("EU868")
    defined = frozenset({0, 1, 2, 5})
    assert eu868.masked_by(frozenset({0}), defined, ((0, 0b100001),)) == {0, 5}
    assert eu868.masked_by(frozenset({0}), defined, ((0, 0b001000),)) is None  # not defined
    assert eu868.masked_by(frozenset({0}), defined, ((0, 0),)) is None  # none left
    assert eu868.masked_by(frozenset({0}), defined, ((0, 0), (6, 0))) == defined
    us915 = region_named("US915")
    assert us915.masked_by(ALL_72, ALL_72, ((7, 0), (0, 0xFF00))) == _span(8, 15)


# brocaar/lorawan (Go), band/band_us902_928_test.go, GetLinkADRReqPayloadsForEnabledUplinkChannelIndices; the last is
# from Helium's erlang-lorawan, src/lora_chmask.erl, bits_test_.
@pytest.mark.parametrize(
    ("wanted", "blocks"),
    [
        (_span(0, 7), ((7, 0), (0, 0x00FF))),
        (_span(8, 23), ((7, 0), (0, 0xFF00), (1, 0x00FF))),
        (_span(64, 71), ((7, 0x00FF),)),
        (_span(8, 15) | {65}, ((7, 2), (0, 65280))),
    ],
)
def test_the_blocks_for_the_united_states_are_those_of_another_network(wanted, blocks):
    assert region_named("US915").mask_blocks(wanted) == blocks


@pytest.mark.parametrize(
    ("name", "wanted", "blocks"),
    [
        ("EU868", frozenset({0, 1, 2, 7}), ((0, 0b10000111),)),
        ("US915", ALL_72, ((6, 0x00FF),)),
        ("US915", NARROW - {20}, ((6, 0), (1, 0xFFEF))),
        ("AU915", _span(16, 23) | {66}, ((7, 0x0004), (1, 0x00FF))),
        ("CN470", _span(0, 95), ((6, 0),)),
        ("CN470-26A", _span(0, 15), ((4, 0), (0, 0xFFFF))),
        ("CN470-20B", _span(0, 63), ((6, 0),)),
    ],
)
def test_few_commands_say_much(name, wanted, blocks):
    assert region_named(name).mask_blocks(wanted) == blocks


@given(plan_and_channels())
@settings(deadline=None, max_examples=150)
def test_the_blocks_lead_to_exactly_the_wanted_channels_from_any_state(chosen):
    plan, wanted = chosen
    defined = _all(plan)
    if not wanted:
        with pytest.raises(ValueError, match="without channels"):
            plan.mask_blocks(wanted)
        return
    blocks = plan.mask_blocks(wanted)
    for enabled in (frozenset(), defined, defined - wanted):
        assert plan.masked_by(enabled, defined, blocks) == wanted
    assert all(0 <= cntl <= 7 and 0 <= mask <= 0xFFFF for cntl, mask in blocks)


@given(plan_and_channels())
@settings(deadline=None, max_examples=60)
def test_no_shorter_block_leads_there(chosen):
    plan, wanted = chosen
    if not wanted:
        return
    blocks, everything = plan.mask_blocks(wanted), _all(plan)
    bits = [sum(1 << (c % 16) for c in wanted if c // 16 == bank) for bank in range(-(-plan.channels_max // 16))]
    useful = [*enumerate(bits), *((cntl, bits[-1]) for cntl in (3, 4, 6, 7) if cntl >= len(bits))]
    for shorter in itertools.permutations(useful, min(len(blocks) - 1, 2)):
        # Whatever starts all on and all off and ends at the wanted ends there from every state.
        ends = {plan.masked_by(enabled, everything, shorter) for enabled in (frozenset(), everything)}
        assert ends != {wanted} or (not plan.fixed_plan and wanted == everything)


def test_a_channel_without_a_bit_cannot_be_wanted():
    with pytest.raises(ValueError, match="no channel mask of this plan has the channel 16"):
        region_named("EU868").mask_blocks(frozenset({0, 16}))
    with pytest.raises(ValueError, match="has the channel 72"):
        region_named("US915").mask_blocks(frozenset({72}))


@given(st.sampled_from(list(REGIONS.values())), st.integers(-1, 9), st.integers(0, 0xFFFF), st.sets(st.integers(0, 95)))
@settings(deadline=None, max_examples=200)
def test_any_command_ends_within_the_plan(plan, ch_mask_cntl, ch_mask, enabled):
    enabled = frozenset(enabled) & _all(plan)
    after = plan.masked(enabled, _all(plan), ch_mask_cntl, ch_mask)
    assert after is None or after <= _all(plan)


# --- CFList ----------------------------------------------------------------------------------------------------------

# ChirpStack 4.19, lrwn/src/cflist.rs; the last one is the CFList of test_cf_list in lrwn/src/region/us915.rs.
FREQUENCIES = (867_100_000, 867_300_000, 867_500_000, 867_700_000, 867_900_000)
FREQUENCY_LIST = bytes.fromhex("184f84e85684b85e84886684586e8400")
MASKS = [
    (_span(0, 7), bytes.fromhex("ff000000000000000000000000000001")),
    (_span(16, 23), bytes.fromhex("0000ff00000000000000000000000001")),
    (_span(8, 15), bytes.fromhex("00ff0000000000000000000000000001")),
]


# Helium's erlang-lorawan, src/lora_chmask.erl, join_cf_list_test_.
HELIUM = [
    ("EU868", (867.1, 867.3, 867.5, 867.7, 867.9), FREQUENCY_LIST.hex()),
    ("AS923-1", (923.6, 923.8, 924.0, 924.2, 924.4), "20ee8cf0f58cc0fd8c90058d600d8d00"),
    ("AS923-3", (917.0, 917.2, 917.4, 917.6, 917.8), "50ec8b20f48bf0fb8bc0038c900b8c00"),
    ("AS923-4", (917.7, 917.9, 918.1, 918.3, 918.5), "a8078c780f8c48178c181f8ce8268c00"),
    ("KR920", (922.7, 922.9, 923.1, 923.3), "f8ca8cc8d28c98da8c68e28c00000000"),
]


@pytest.mark.parametrize(("name", "mhz", "listed"), HELIUM)
def test_five_frequencies_are_the_published_bytes(name, mhz, listed):
    plan, frequencies = region_named(name), tuple(round(one * 1_000_000) for one in mhz)
    assert plan.cf_list(frequencies) == bytes.fromhex(listed)
    assert plan.read_cf_list(bytes.fromhex(listed)) == CfList(frequencies_hz=frequencies)


# RP002-1.0.3, page 33, as Helium's erlang-lorawan has it.
def test_bits_of_channels_that_are_not_there_are_ignored_and_no_bits_at_all_mean_all_channels():
    us915 = region_named("US915")
    for nothing in ("00" * 15 + "01", "00" * 9 + "ff" * 6 + "01"):
        assert us915.read_cf_list(bytes.fromhex(nothing)) == CfList(enabled=ALL_72)
    assert us915.read_cf_list(bytes.fromhex("01" + "00" * 8 + "ff" * 6 + "01")) == CfList(enabled=frozenset({0}))
    assert region_named("CN470").read_cf_list(bytes.fromhex("00" * 11 + "80ffffff01")).enabled == {95}


@pytest.mark.parametrize(("enabled", "listed"), MASKS)
def test_channel_masks_are_the_published_bytes(enabled, listed):
    for name in ("US915", "AU915"):
        assert region_named(name).cf_list(enabled=enabled) == listed
        assert region_named(name).read_cf_list(listed) == CfList(enabled=enabled)


@pytest.mark.parametrize("plan", PLANS)
def test_nothing_to_say_is_no_list(plan):
    assert plan.cf_list() is None
    if not plan.fixed_plan:
        assert plan.cf_list([0, 0]) is None


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_takes_one_kind_of_list_alone(plan):
    if plan.fixed_plan:
        with pytest.raises(ValueError, match="fixed channels"):
            plan.cf_list([plan.lowest_hz])
        assert plan.read_cf_list(FREQUENCY_LIST) is None
    else:
        with pytest.raises(ValueError, match="not of channel masks"):
            plan.cf_list(enabled=frozenset({1}))
        assert plan.read_cf_list(MASKS[0][1]) is None


@pytest.mark.parametrize(
    ("name", "frequencies", "enabled", "problem"),
    [
        ("EU868", [862_900_000], None, "862900000 Hz is outside of every band of EU868"),
        ("EU868", [868_100_000, 868_650_000], None, "868650000 Hz is outside"),
        ("EU868", [867_100_050], None, "a CFList cannot name 867100050 Hz"),
        ("EU868", 6 * [867_100_000], None, "has 5 frequencies, 6 do not fit"),
        ("US915", [], frozenset(), "one must stay on"),
        ("US915", [], frozenset({72}), "channels 0 to 71"),
        ("CN470-26A", [], frozenset({48}), "channels 0 to 47"),
    ],
)
def test_a_list_that_no_device_could_use_is_not_made(name, frequencies, enabled, problem):
    with pytest.raises(ValueError, match=problem):
        region_named(name).cf_list(frequencies, enabled)


@given(st.data(), st.sampled_from([plan for plan in REGIONS.values() if not plan.fixed_plan]))
@settings(deadline=None, max_examples=100)
def test_frequencies_come_back(data, plan):
    steps = st.integers(plan.lowest_hz // 100, plan.highest_hz // 100)
    legal = steps.map(lambda step: step * 100).filter(plan.downlink_frequency_ok)
    wanted = data.draw(st.lists(st.just(0) | legal, max_size=5))
    listed = plan.cf_list(wanted)
    if listed is None:
        assert not any(wanted)
        return
    assert len(listed) == 16
    read = plan.read_cf_list(listed).frequencies_hz
    assert [*read, *(5 * [0])][: len(wanted)] == wanted
    assert read[-1]


@given(plan_and_channels())
@settings(deadline=None, max_examples=100)
def test_channels_come_back(chosen):
    plan, wanted = chosen
    if plan.fixed_plan and wanted:
        listed = plan.cf_list(enabled=wanted)
        assert len(listed) == 16
        assert plan.read_cf_list(listed).enabled == wanted


@given(st.binary(max_size=20) | st.binary(min_size=16, max_size=16), st.sampled_from(list(REGIONS.values())))
@settings(deadline=None, max_examples=300)
def test_any_bytes_are_a_list_or_none(listed, plan):
    read = plan.read_cf_list(listed)
    if len(listed) != 16 or listed[15] != (1 if plan.fixed_plan else 0):
        assert read is None
    elif plan.fixed_plan:
        assert read.enabled <= _all(plan)
    else:
        assert len(read.frequencies_hz) <= 5
        assert all(hz == 0 or 100_000_000 <= hz < 1_677_721_600 for hz in read.frequencies_hz)


def test_a_reserved_frequency_leaves_its_channel_undefined():
    listed = bytes.fromhex("010000184f8400000000000000000000")
    assert region_named("EU868").read_cf_list(listed) == CfList(frequencies_hz=(0, 867_100_000))
