"""Two hundred devices and a gateway of their own: they join, report, are told, lose it for an hour and come back.

The devices are the simulator's: a second reading of the specification, which complains of every counter, window and
command that a device may complain of. What was on the air is judged by the regulation written down once more
(`law`). The gateway is the product's own line, store, network side, schedule and ledger.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from home import Home
from law import Sent, violations
from patience import Pending, run_patiently
from town_radio import TownRadio

from gateway.lorawan.uplink import seal
from gateway.model import AesKey, DevAddr, DevEui, Device, JoinEui, Lora, MacVersion, RootKeys, Session
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
            angle_m = Position(self.dice.uniform(-2500, 2500), self.dice.uniform(-2500, 2500))
            self.town.neighbourhood.settle(device, angle_m, wall_loss_db=self.dice.uniform(0, 20))
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


async def story(city, asked):
    moving = asyncio.create_task(city.radio.run(asyncio.get_running_loop().time()))
    async with city.home(0) as home:
        await city.until(30)
        for number, device in enumerate(city.devices):
            if number % 4 == 0:
                await ask(home, device.profile.dev_eui, confirmed=number % 8 == 0)
                asked.append(device.profile.dev_eui)
        await city.until(70)
        city.readings += home.seen.readings
        await home.kill(city.folder / "1")
    await city.until(130)  # an hour without a gateway
    async with city.home(1) as home:
        await city.until(200)
        city.readings += home.seen.readings
        city.listed = home.side.desk.queue.listed()
        city.facts = home.side.facts()
    moving.cancel()


async def ask(home, dev_eui, *, confirmed):
    await home.side.desk.ask(dev_eui, DownlinkAsked(9, b"hello", None, confirmed=confirmed, ref=str(dev_eui)), "test")


def test_a_city_of_its_own(tmp_path):
    city, asked = City(tmp_path), []
    run_patiently(story(city, asked), city.pending)
    complaints = city.town.neighbourhood.every_complaint()
    print(Counter(one.fault for one in complaints), *complaints[:20], sep="\n")
    print(city.facts, Counter(str(entry.state) for entry in city.listed))
    assert not complaints
    assert not violations(city.sent())
    print(
        "joined",
        sum(bool(d.diary.joined) for d in city.devices),
        "of",
        sum(d.profile.session is None for d in city.devices),
    )
    heard = {r.dev_eui for _, r in city.readings}
    print("heard", len(heard), "readings", len(city.readings))
    print(
        "attempts",
        sum(len(d.diary.asked) for d in city.devices),
        "sessions",
        sum(len(d.diary.joined) for d in city.devices),
    )
    print(
        "DRs",
        Counter(d.parameters.data_rate for d in city.devices),
        Counter(d.parameters.nb_trans for d in city.devices),
    )
    print(
        "conf",
        sum(s.confirmed for d in city.devices for s in d.diary.sent),
        sum(s.acknowledged for d in city.devices for s in d.diary.sent),
    )
    air = Counter()
    for one in city.sent():
        air[one.frequency_hz] += one.airtime_us / 1e6
    print("air", air, len(city.sent()))
    first = [(d.diary.joined[0].at_us / 60e6) for d in city.devices if d.diary.joined]
    print("join minutes", sorted(round(x) for x in first)[::10])
    assert 0
