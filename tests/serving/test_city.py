"""Two hundred devices and a gateway of their own: they join, report, are told, lose it for an hour and come back.

The devices are the simulator's: a second reading of the specification, which complains of every counter, window and
command that a device may complain of. What was on the air is judged by the regulation written down once more
(`law`). The gateway is the product's own line, store, network side, schedule and ledger.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from home import Home
from law import Sent, violations
from patience import Pending, run_patiently
from town_radio import TownRadio

from gateway.model import AesKey, DevAddr, DevEui, Device, DownlinkState, JoinEui, Lora, MacVersion, RootKeys, Session
from gateway.regions.eu868 import EU868
from gateway.simulator.air import Position
from gateway.simulator.end_device.mac import EndDevice
from gateway.simulator.end_device.profile import Absence, Habits, Profile
from gateway.simulator.sensors import Measure
from gateway.simulator.town import Town
from gateway.store.devices import DeviceRegistry, NewDevice
from gateway.wire.own_downlink import DownlinkAsked

DEVICES = 200
HOUR_US = 3_600_000_000
MINUTE_US = 60_000_000
JOIN_EUI = JoinEui(bytes.fromhex("70b3d57ed0000000"))
VERSIONS = tuple(MacVersion)


def report(now_us, f_cnt):
    return Measure(2, (now_us // 1_000_000).to_bytes(6, "big") + f_cnt.to_bytes(4, "big"))


def dev_eui(number):
    return DevEui(bytes.fromhex("02c17e") + number.to_bytes(5, "big"))


def profile(number, dice):
    """A device of the city: every version and class, most join, some have sessions, three share one address."""
    version = VERSIONS[number % len(VERSIONS)]
    habits = {
        "interval_us": dice.randrange(4, 9) * MINUTE_US,
        "first_us": dice.randrange(1, 600) * 1_000_000,
        "confirmed_every": dice.choice((0, 0, 5, 10)),
        "link_check_every": dice.choice((0, 20)),
        "time_every": 0 if version < MacVersion.V1_0_3 else dice.choice((0, 25)),
    }
    if number % 40 == 7:  # its battery is changed
        habits["absences"] = (Absence(40 * MINUTE_US, 55 * MINUTE_US, battery_out=True),)
    device_class = "C" if number % 7 == 3 else "A"
    if number % 10 != 5:
        keys = RootKeys(AesKey(dice.randbytes(16)), AesKey(dice.randbytes(16)) if version.is_1_1 else None)
        return Profile(
            dev_eui(number), version, EU868, report, Habits(**habits), device_class,
            join_eui=JOIN_EUI, root_keys=keys, first_dev_nonce=dice.randrange(1000),
        )  # fmt: skip
    shared = number % 60 == 5
    f_key, s_key, enc_key, app_key = (AesKey(dice.randbytes(16)) for _ in range(4))
    if not version.is_1_1:
        s_key = enc_key = f_key
    address = DevAddr(0x0012_3456 if shared else 0x0100_0000 + number)
    if number % 40 == 15:  # a year away, counting
        habits["absences"] = (Absence(30 * MINUTE_US, 50 * MINUTE_US, f_cnt_passed=100_000),)
    return Profile(
        dev_eui(number), version, EU868, report, Habits(**habits), device_class,
        session=Session(dev_eui(number), address, version, f_key, s_key, enc_key, app_key),
        first_f_cnt=65_500 if number % 20 == 5 else 0, shared_address=shared,
    )  # fmt: skip


def entered(folder, profiles):
    with DeviceRegistry.open(folder) as registry:
        registry.add_all(
            [
                NewDevice(
                    Device(
                        one.dev_eui, f"device {number}", mac_version=one.mac_version, device_class=one.device_class,
                        join_eui=one.join_eui,
                    ),
                    session=one.session,
                    root_keys=one.root_keys,
                )
                for number, one in enumerate(profiles)
            ]
        )  # fmt: skip


class City:
    """The town, and what it takes to tell its story."""

    def __init__(self, folder, devices=DEVICES, seed=1):
        self.folder = folder
        self.dice = random.Random(seed)
        self.pending = Pending()
        self.town = Town(seed)
        self.profiles = [profile(number, self.dice) for number in range(devices)]
        entered(folder / "0", self.profiles)
        chance = self.town.chance.about("devices")
        self.devices = [EndDevice(one, chance.about(one.dev_eui)) for one in self.profiles]
        for device in self.devices:
            place = Position(self.dice.uniform(-1200, 1200), self.dice.uniform(-1200, 1200))
            self.town.neighbourhood.settle(device, place, wall_loss_db=self.dice.uniform(0, 10))
        self.radio = TownRadio(self.town, EU868)
        self.readings = []

    def home(self, life):
        return Home(self.folder / str(life), self.radio, EU868, self.town.stamp, self.pending)

    async def until(self, minutes):
        loop = asyncio.get_running_loop()
        await asyncio.sleep(minutes * 60 - loop.time())

    def sent(self):
        """What the gateway had on the air, for the judge of the law."""
        return [
            Sent(
                one.sender, one.start_us, one.airtime_us, one.frequency_hz,
                one.modulation.bandwidth_hz if isinstance(one.modulation, Lora) else 125_000, one.power_dbm_eirp,
            )
            for one in self.radio.on_air
        ]  # fmt: skip


async def story(city):
    moving = asyncio.create_task(city.radio.run(asyncio.get_running_loop().time()))
    async with city.home(0) as home:
        await city.until(45)
        for number, device in enumerate(city.devices):
            if number % 4 == 0:
                confirmed, dev_eui = number % 8 == 0, device.profile.dev_eui
                asked = DownlinkAsked(9, b"hello", None, confirmed=confirmed, ref=str(dev_eui))
                await home.side.desk.ask(dev_eui, asked, "test")
        await city.until(100)
        city.readings.append(home.seen.readings)
        await home.kill(city.folder / "1")
    await city.until(160)  # an hour without a gateway
    async with city.home(1) as home:
        await city.until(240)
        city.readings.append(home.seen.readings)
        city.asked = home.side.desk.queue.listed()
    moving.cancel()


def test_two_hundred_devices_and_the_law(tmp_path):
    city = City(tmp_path)
    run_patiently(story(city), city.pending)
    assert city.town.neighbourhood.every_complaint() == []
    assert violations(city.sent()) == []
    joiners = [device for device in city.devices if device.profile.root_keys is not None]
    assert [str(device.profile.dev_eui) for device in joiners if not device.diary.joined] == []
    _everybody_reports_before_and_after(city)
    _adr_reached_them(city)
    _downlinks_arrived_once(city)


def _everybody_reports_before_and_after(city):
    everybody = {device.profile.dev_eui for device in city.devices}
    for life in city.readings:
        assert everybody - {reading.dev_eui for _, reading in life} == set()
    kept = Counter((reading.dev_eui, reading.dev_addr, reading.f_cnt) for life in city.readings for _, reading in life)
    assert max(kept.values()) == 1
    sent = {
        (device.profile.dev_eui, frame.dev_addr, frame.f_cnt) for device in city.devices for frame in device.diary.sent
    }
    assert set(kept) <= sent
    acknowledged = {
        (device.profile.dev_eui, frame.dev_addr, frame.f_cnt)
        for device in city.devices
        for frame in device.diary.sent
        if frame.acknowledged
    }
    assert len(acknowledged) > 100
    assert acknowledged <= set(kept)  # nobody was told that a reading is kept which is not


def _adr_reached_them(city):
    rates = Counter(device.parameters.data_rate for device in city.devices if device.profile.adr)
    assert rates[5] > len(city.devices) // 2


def _downlinks_arrived_once(city):
    arrived = {device.profile.dev_eui: len(device.diary.downlinks) for device in city.devices}
    states = Counter(entry.state for entry in city.asked)
    assert states[DownlinkState.SENT] + states[DownlinkState.ACKNOWLEDGED] > len(city.asked) * 0.8
    for entry in city.asked:
        if entry.state is DownlinkState.ACKNOWLEDGED:
            assert arrived[entry.dev_eui] >= 1
        if not entry.confirmed:
            assert arrived[entry.dev_eui] <= 1
