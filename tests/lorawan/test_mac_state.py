"""The MAC state as text: comes back as it was, is short, and is never made of damage."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mac_bench import Town

from gateway.lorawan import mac_commands as mac
from gateway.lorawan.adr import SAMPLES, Sample
from gateway.lorawan.mac_state import (
    AdrParam,
    Asked,
    InFlight,
    MacState,
    NamedChannel,
    RecentUplinks,
    RejoinParam,
    RxSettings,
    Shelved,
    TxParam,
    initial,
    other_rx,
)
from gateway.regions import REGIONS
from gateway.regions.eu868 import EU868

FRESH = initial(EU868)
BUSY = MacState(
    rx=RxSettings(5, 1, 869_525_000, 3),
    enabled=frozenset({0, 1, 2, 3, 71}),
    rx_else=(RxSettings(1, 0, 869_525_000, 0),),
    rx1_unsure=True,
    channels=(NamedChannel(3, 867_100_000, 0, 5),),
    dl_frequencies_hz=((3, 868_900_000),),
    data_rate=5,
    tx_power=2,
    nb_trans=3,
    max_duty_cycle=7,
    tx_param=TxParam(5, True, False),
    adr_param=AdrParam(6, 5),
    rejoin_param=RejoinParam(3, 4),
    device_class="C",
    data_rate_highest=4,
    tx_power_lowest=1,
    tx_power_highest=6,
    battery=254,
    margin_db=-3,
    status_f_cnt=70_000,
    asked=(Asked("NewChannel 4", (mac.NewChannelReq(4, 867_300_000, 0, 5),), 2, adr=True),),
    shelved=(Shelved("LinkADR", 99, "0312040045"), Shelved("DutyCycle", 98)),
    orders=(mac.ForceRejoinReq(1, 2, 0, 3),),
    sticky=frozenset({5, 8}),
    sticky_uplinks=2,
    spoke=True,
    in_flight=InFlight(12, "ref-1"),
    conf_f_cnts=(12, 9),
    recent=RecentUplinks().with_uplink(Sample(7, -12.5, 2, 3)).with_uplink(Sample(8, None, 2, 300)),
)


def test_every_field_that_is_not_its_default_comes_back():
    assert {name for name in MacState.__slots__ if getattr(BUSY, name) == getattr(FRESH, name)} == set()
    assert MacState.from_json(BUSY.to_json()) == BUSY
    assert MacState.from_json(FRESH.to_json()) == FRESH
    assert MacState.from_json(replace(FRESH, conf_f_cnts=()).to_json()).conf_f_cnts == ()


def test_a_state_takes_little_room():
    assert len(FRESH.to_json()) < 60
    full = FRESH
    for f_cnt in range(100):
        full = replace(full, recent=full.recent.with_uplink(Sample(f_cnt, -7.3, 0, 1)))
    assert len(full.to_json()) < 260


def test_the_last_uplinks_are_kept_in_their_order():
    recent = RecentUplinks()
    for f_cnt in range(SAMPLES + 5):
        recent = recent.with_uplink(Sample(f_cnt, f_cnt / 4, 1, 2))
    samples = recent.samples()
    assert [sample.f_cnt for sample in samples] == list(range(5, SAMPLES + 5))
    assert samples[-1] == Sample(24, 6.0, 1, 2)


@pytest.mark.parametrize(("snr_db", "kept"), [(-200.0, -63.5), (200.0, 63.5), (None, None), (-20.25, -20.0)])
def test_an_snr_is_kept_to_half_a_decibel(snr_db, kept):
    assert RecentUplinks().with_uplink(Sample(0, snr_db, 0, 1)).samples()[0].snr_db == kept


def test_between_two_settings_there_are_two_on_the_way():
    one, two = RxSettings(1, 0, 869_525_000, 0), RxSettings(5, 1, 869_525_000, 3)
    assert set(other_rx(one, two)) == {two, RxSettings(5, 0, 869_525_000, 0), RxSettings(1, 1, 869_525_000, 3)}
    assert other_rx(one, one) == ()
    assert other_rx(one, one._replace(rx1_delay_s=5)) == (one._replace(rx1_delay_s=5),)


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{}",
        "[1]",
        "null",
        '"v"',
        '{"v":2,"rx":[1,0,869525000,0],"en":"7"}',
        '{"v":1,"en":"7"}',
        '{"v":1,"rx":[1,0,869525000],"en":"7"}',
        '{"v":1,"rx":[1,0,869525000,null],"en":"7"}',
        '{"v":1,"rx":[1,0,869525000,0],"en":"-7"}',
        '{"v":1,"rx":[1,0,869525000,0],"en":7}',
        '{"v":1,"rx":[1,0,869525000,0],"en":"7","new":1}',
        '{"v":1,"rx":[1,0,869525000,0],"en":"7","up":"AAA="}',
        '{"v":1,"rx":[1,0,869525000,0],"en":"7","up":"no base64"}',
        '{"v":1,"rx":[1,0,869525000,0],"en":"7","as":[["LinkADR","03",1,0]]}',
        '{"v":1,"rx":[1,0,869525000,0],"en":"7","as":[["LinkADR",1]]}',
        '{"v":1,"rx":[1,0,869525000,0],"en":"7","sh":[[1,2,"x"]]}',
        '{"v":1,"rx":[1,0,869525000,0],"en":"7","dr":"5"}',
        '{"v":1,"rx":[1,0,869525000,0],"en":"7","as":[["LinkADR","",1,0]]}',
        '{"v":1,"rx":[1,0,869525000,0],"en":"7","dr":16}',
        '{"v":1,"rx":[1,0,869525000,0],"en":"7","nb":-1}',
        '{"v":1,"rx":[1,0,869525000,0],"en":"7","dl":[[]]}',
        '{"v":1,"rx":[1,0,869525000,0],"en":"7","ch":[[300,867100000,0,5]]}',
        '{"v":1,"rx":[1,0,869525000,0],"en":"7","if":[1,2,3]}',
    ],
)
def test_damage_is_no_state(damage):
    with pytest.raises(ValueError):
        MacState.from_json(damage)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(json.loads(BUSY.to_json()))), _JSON, st.sampled_from(["EU868", "US915", "AS923-1"]))
def test_any_other_value_in_any_part_is_refused_or_can_be_lived_with(part, value, name):
    """Also in another region than it was written in: somebody changed the settings."""
    kept = json.loads(BUSY.to_json())
    kept[part] = value
    try:
        state = MacState.from_json(json.dumps(kept))
    except ValueError:
        return
    assert MacState.from_json(state.to_json()) == state
    town = Town(region=REGIONS[name], frequency_hz=REGIONS[name].channels[0].frequency_hz, data_rate=3)
    town.state = state
    for _ in range(2):
        town.send(town.hear(town.uplink()))
    assert MacState.from_json(town.state.to_json()) == town.state
