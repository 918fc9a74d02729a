"""The radio turns to other channels while devices are on the air: they leave those that are not heard any more."""

from __future__ import annotations

import asyncio

from patience import run_patiently
from test_city import City

from gateway.radio.channels import plan_for
from gateway.regions.eu868 import EU868
from gateway.serving.plan import network_plan
from gateway.tuning.tuner import as_planned
from gateway.wire.channel_plan import ChannelPlan, PlannedChannel

FOLLOWED_HZ = {867_100_000, 868_100_000, 868_300_000, 868_500_000}


def test_devices_leave_the_channels_that_are_not_heard_any_more(tmp_path):
    city = City(tmp_path, devices=8)
    run_patiently(story(city), city.pending)
    before, late = city.used_hz
    assert before - FOLLOWED_HZ  # they knew the usual eight
    assert late <= FOLLOWED_HZ
    assert not any(device.diary.complaints for device in city.devices)


async def story(city):
    moving = asyncio.create_task(city.radio.run(asyncio.get_running_loop().time()))
    async with city.home(0) as home:
        await city.until(60)
        channels = (PlannedChannel(hz, 125_000, range(7, 13)) for hz in FOLLOWED_HZ)
        heard = as_planned(plan_for(EU868, ChannelPlan.of(channels)))
        home.side.follow(network_plan(EU868, None, None, heard))
        asked = len(home.seen.readings)
        await city.until(240)
        told = len(home.seen.readings)
        await city.until(420)
        readings = [reading for _, reading in home.seen.readings]
    moving.cancel()
    city.used_hz = [{reading.frequency_hz for reading in part} for part in (readings[:asked], readings[told:])]
