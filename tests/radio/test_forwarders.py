"""Who called, where downlinks go, and what a technician is told about it. Pure: time is a number."""

from __future__ import annotations

import pytest

from gateway.model import GatewayEui
from gateway.radio.forwarders import SILENT_AFTER_US, Forwarders, News, show_address
from gateway.wire.semtech_udp import Stat

S = 1_000_000
UP, DOWN, ELSEWHERE = ("10.0.0.7", 40001), ("10.0.0.7", 40002), ("10.0.0.8", 50001)


def eui(number: int) -> GatewayEui:
    return GatewayEui(number.to_bytes(8, "big"))


ONE = eui(0x0016C001F1500812)


def test_news_is_told_once_and_only_when_it_is_news():
    forwarders = Forwarders()
    assert forwarders.push(ONE, 2, UP, 0)[1] is News.NEW
    assert forwarders.pull(ONE, 2, DOWN, 1)[1] is None
    assert forwarders.push(ONE, 2, ELSEWHERE, 2)[1] is None  # uplinks may come from anywhere
    assert forwarders.pull(ONE, 2, ELSEWHERE, 3)[1] is News.MOVED
    assert forwarders.pull(ONE, 2, ELSEWHERE, 4)[1] is None
    assert forwarders.push(ONE, 2, UP, 4 + SILENT_AFTER_US)[1] is None
    assert forwarders.push(ONE, 2, UP, 5 + 2 * SILENT_AFTER_US)[1] is News.BACK


def test_a_move_keeps_the_address_before_it():
    forwarders = Forwarders()
    forwarders.pull(ONE, 2, DOWN, 0)
    forwarder, _ = forwarders.pull(ONE, 2, ELSEWHERE, 1)
    assert (forwarder.moved_from, forwarder.pull_address) == (DOWN, ELSEWHERE)


def test_a_push_says_nothing_about_the_way_down():
    forwarders = Forwarders()
    forwarder, _ = forwarders.push(ONE, 2, UP, 0)
    assert forwarder.downlink_address(0) is None
    forwarders.pull(ONE, 2, DOWN, 0)
    forwarders.push(ONE, 2, UP, SILENT_AFTER_US)
    assert forwarder.downlink_address(SILENT_AFTER_US) == DOWN
    assert forwarder.downlink_address(SILENT_AFTER_US + 1) is None


def test_a_forwarder_that_changes_its_version_is_answered_in_the_new_one():
    forwarders = Forwarders()
    forwarders.push(ONE, 1, UP, 0)
    assert forwarders.push(ONE, 2, UP, 1)[0].version == 2


@pytest.mark.parametrize("receiver", ["0016c001f1500812", "0016C001F1500812"])
def test_a_receiver_is_found_by_its_eui_however_it_is_spelled(receiver):
    forwarders = Forwarders()
    forwarder, _ = forwarders.push(ONE, 2, UP, 0)
    assert forwarders.find(receiver) is forwarder
    assert forwarder.receiver == "0016c001f1500812"


def test_when_there_are_too_many_the_stalest_goes_and_open_ways_down_go_last():
    forwarders = Forwarders(most=3)
    forwarders.pull(eui(1), 2, DOWN, 0)
    forwarders.push(eui(2), 2, UP, 1)
    forwarders.push(eui(3), 2, UP, 2)
    forwarders.push(eui(4), 2, UP, 3)
    assert {forwarder.eui for forwarder in forwarders} == {eui(1), eui(3), eui(4)}
    forwarders.push(eui(3), 2, UP, 4)
    forwarders.push(eui(5), 2, UP, 5)
    assert {forwarder.eui for forwarder in forwarders} == {eui(1), eui(3), eui(5)}
    forwarders.push(eui(6), 2, UP, SILENT_AFTER_US + 1)  # the way down of the first has closed: it is the stalest
    assert {forwarder.eui for forwarder in forwarders} == {eui(3), eui(5), eui(6)}


def test_a_flood_of_pulls_still_leaves_a_bounded_number():
    forwarders = Forwarders(most=3)
    for number in range(100):
        forwarders.pull(eui(number), 2, DOWN, number)
    assert {forwarder.eui for forwarder in forwarders} == {eui(97), eui(98), eui(99)}


def verdict(forwarders: Forwarders, now_us: int) -> tuple[str, str]:
    return forwarders.verdict(now_us, "10.0.0.1:1700")


def test_nobody_ever_called():
    state, evidence = verdict(Forwarders(), 0)
    assert state == "waiting"
    assert evidence == "No packet forwarder has called on 10.0.0.1:1700 yet. Point its server_address here."


@pytest.mark.parametrize(
    ("age_s", "said"),
    [(0, "the last 0 s ago"), (80, "the last 80 s ago"), (600, "the last 10 min ago"), (90_000, "the last 25 h ago")],
)
def test_a_forwarder_that_hears(age_s, said):
    forwarders = Forwarders()
    forwarder, _ = forwarders.push(ONE, 2, UP, 0)
    forwarder.frames, forwarder.last_frame_us = 2, 0
    forwarders.push(ONE, 2, UP, age_s * S)
    forwarders.pull(ONE, 2, DOWN, age_s * S)
    state, evidence = verdict(forwarders, age_s * S)
    assert state == "hearing"
    assert evidence == f"0016c001f1500812 at 10.0.0.7:40002 calls; 2 frames, {said}."


def test_a_forwarder_without_downlink_path_is_told_which_setting_to_look_at():
    forwarders = Forwarders()
    forwarders.push(ONE, 2, UP, 0)
    assert "no downlink can reach it: check its serv_port_down" in verdict(forwarders, 0)[1]


def test_a_forwarder_that_only_pulls_is_told_which_setting_to_look_at():
    forwarders = Forwarders()
    forwarders.pull(ONE, 2, DOWN, 0)
    assert "neither frames nor status: check its serv_port_up" in verdict(forwarders, 0)[1]
    forwarders.push(ONE, 2, UP, 0)
    assert "has heard no frame yet" in verdict(forwarders, 0)[1]


def test_all_gone():
    forwarders = Forwarders()
    forwarders.push(ONE, 2, UP, 0)
    assert verdict(forwarders, SILENT_AFTER_US)[0] == "hearing"
    state, evidence = verdict(forwarders, 300 * S)
    assert state == "silent"
    assert evidence.startswith("No packet forwarder has called for 5 min; the last was 0016c001f1500812 at 10.0.0.7:")
    assert evidence.endswith("leads to 10.0.0.1:1700.")


def test_one_of_several_gone_is_named_and_a_crowd_is_counted():
    forwarders = Forwarders()
    forwarders.push(ONE, 2, UP, 0)
    forwarders.push(eui(2), 2, UP, 100 * S)
    assert "0016c001f1500812 at 10.0.0.7:40001 has been silent for 100 s." in verdict(forwarders, 100 * S)[1]
    for number in range(10, 20):
        forwarders.push(eui(number), 2, UP, 100 * S)
    assert verdict(forwarders, 100 * S)[1].endswith("9 more have called.")


def test_facts_of_the_last_status_are_passed_on():
    forwarders = Forwarders()
    forwarder, _ = forwarders.push(ONE, 1, UP, 0)
    assert forwarder.facts(0)["rxnb"] is None
    forwarder.stat = Stat(rxnb=0, rxok=7, ackr=98.5)
    facts = forwarder.facts(1_550_000)
    assert (facts["rxnb"], facts["rxok"], facts["rxfw"], facts["ackr"]) == (0, 7, None, 98.5)
    assert (facts["last_push_s"], facts["last_pull_s"], facts["version"]) == (1.6, None, 1)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (("127.0.0.1", 1700), "127.0.0.1:1700"),
        (("::1", 1700, 0, 0), "[::1]:1700"),
        (("::ffff:10.0.0.7", 1700, 0, 0), "10.0.0.7:1700"),
    ],
)
def test_addresses_are_shown_as_people_write_them(address, shown):
    assert show_address(address) == shown
