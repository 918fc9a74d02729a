"""A scenario whose devices join: on file, in a neighbourhood, and as a store is told of them."""

from dataclasses import replace

import pytest
from scripted_network import HOUR_US, MINUTE_US, ScriptedNetwork, conf

from gateway.errors import SettingsError
from gateway.simulator.chance import Chance
from gateway.simulator.joiners import settle_joiners
from gateway.simulator.scenario_file import load_scenario, read_scenario
from gateway.simulator.town import START_UTC_US, Town

CITY = b"""
[city]
[gateway]
latitude = 43.6
longitude = 3.9
[places]
"here" = [43.601, 3.901]
[rooms]
count = 5
interval = "5min"
joining = 4
class_c = 1
lorawan_1_1 = 2
"""


def test_a_scenario_says_who_joins():
    scenario = read_scenario(CITY, "city.toml")
    residents, joiners = list(scenario.residents()), list(scenario.joiners())
    assert [len(residents), len(joiners)] == [1, 4]
    assert [joiner.device.device_class for joiner in joiners] == ["C", "A", "A", "A"]
    assert [joiner.device.mac_version.value for joiner in joiners] == ["1.1.0", "1.1.0", "1.0.3", "1.0.3"]
    assert [joiner.root_keys.nwk_key is None for joiner in joiners] == [False, False, True, True]
    assert scenario.joining_devices() == [(joiner.device, joiner.root_keys) for joiner in joiners]
    euis = {resident.device.dev_eui for resident in residents} | {joiner.device.dev_eui for joiner in joiners}
    assert len(euis) == 5


def test_more_joiners_than_devices_and_more_of_class_c_than_joiners_are_refused():
    text = CITY.replace(b"joining = 4", b"joining = 6").replace(b"class_c = 1", b"class_c = 7")
    with pytest.raises(SettingsError) as caught:
        read_scenario(text, "city.toml")
    assert {problem.key for problem in caught.value.problems} == {"rooms.joining", "rooms.class_c"}


def test_the_others_of_a_group_stay_who_they_were():
    city = load_scenario()
    before = {resident.device.dev_eui: resident for resident in city.residents()}
    changed = replace(city, groups=tuple(replace(group, joining=2) for group in city.groups))
    after = list(changed.residents())
    assert len(after) == len(before) - 8
    for resident in after:
        assert resident.session == before[resident.device.dev_eui].session
        assert resident.position == before[resident.device.dev_eui].position
        assert resident.device == before[resident.device.dev_eui].device


def test_they_join_and_report_what_their_sensors_see():
    scenario = read_scenario(CITY, "city.toml")
    town, joiners = Town(1), list(scenario.joiners())
    settle_joiners(joiners, town.neighbourhood, Chance(1), start_utc_us=START_UTC_US)
    network = ScriptedNetwork(town, conf)
    network.admit(*town.neighbourhood.devices)
    town.run(2 * HOUR_US, network.hear)
    devices = town.neighbourhood.devices
    assert all(device.session is not None for device in devices)
    first = {joiner.device.dev_eui: joiner for joiner in joiners}
    for uplink in network.uplinks:
        if uplink.f_port:
            joiner = first[uplink.session.dev_eui]
            assert uplink.f_port == joiner.sensor.measure(0, 0).f_port
            assert len(uplink.payload) == len(joiner.sensor.measure(0, 0).payload)
    assert len(network.uplinks) > 60
    assert town.neighbourhood.every_complaint() == []


def test_a_city_that_starts_again_does_not_repeat_its_nonces():
    joiner = next(read_scenario(CITY, "city.toml").joiners())
    first, later = joiner.profile(START_UTC_US), joiner.profile(START_UTC_US + 2 * MINUTE_US)
    assert later.first_dev_nonce == first.first_dev_nonce + 2
