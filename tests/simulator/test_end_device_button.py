"""A device's button: the next report leaves at once, as soon as its band may be used, and only once."""

from __future__ import annotations

from scripted_network import a_profile, a_session

from gateway.simulator.air import Air, Position
from gateway.simulator.chance import Chance
from gateway.simulator.end_device.mac import EndDevice
from gateway.simulator.end_device.profile import Habits
from gateway.simulator.neighbourhood import Neighbourhood

NEVER_US = 1 << 60
SELDOM = Habits(interval_us=NEVER_US, first_us=NEVER_US, jitter=0.0)


def test_a_pressed_device_reports_at_once_and_then_when_its_band_is_free():
    air = Air(Chance(1))
    neighbourhood = Neighbourhood(air, Chance(2))
    device = EndDevice(a_profile(session=a_session(), habits=SELDOM, adr=False, data_rate=5), Chance(3))
    neighbourhood.settle(device, Position(30, 0), clock_ppm=0.0)
    air.advance(10_000_000)
    assert not device.diary.sent
    neighbourhood.press(device)
    air.advance(10_000_001)
    assert [sent.first_us for sent in device.diary.sent] == [10_000_001]  # the microsecond after
    air.advance(200_000_000)
    assert len(device.diary.sent) == 1
    neighbourhood.press(device)
    neighbourhood.press(device)
    air.advance(400_000_000)
    assert [sent.first_us for sent in device.diary.sent] == [10_000_001, 200_000_001]


def test_a_button_pressed_while_it_listens_counts_when_the_windows_are_over():
    air = Air(Chance(1))
    neighbourhood = Neighbourhood(air, Chance(2))
    device = EndDevice(a_profile(session=a_session(), habits=SELDOM, adr=False, data_rate=5), Chance(3))
    neighbourhood.settle(device, Position(30, 0), clock_ppm=0.0)
    neighbourhood.press(device)
    air.advance(1_000_000)
    assert device.windows
    neighbourhood.press(device)
    air.advance(1_500_000)
    assert len(device.diary.sent) == 1
    air.advance(60_000_000)
    assert len(device.diary.sent) == 2
