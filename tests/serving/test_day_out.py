"""A day without the network server, in virtual time: history arrives whole and in order, nothing late is on the air.

Forty devices are served by somebody else's network server, ten by the gateway itself. After an hour the backhaul is
gone for a day, and then comes back. The server answers whatever it is told, history too, as ChirpStack 4 does
(chirpstack/src/uplink/data.rs, downlink/data.rs): what becomes of that is the gateway's business. The devices are the
simulator's, which notice what arrives in which window.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict

from home import Home
from law import Sent, violations
from patience import Pending, run_patiently
from test_city import JOIN_EUI, MINUTE_US, dev_eui, entered
from town_radio import TownRadio

from gateway.history import KeptFrames
from gateway.lines.dialing import Unreachable
from gateway.lns.backlog import WithHistory
from gateway.lns.chirpstack_mqtt import ChirpstackMqttServer, ChirpstackMqttSettings
from gateway.lns.filters import Filter
from gateway.lns.server import Forwarding, Reception
from gateway.lorawan.downlink import seal_downlink
from gateway.lorawan.frame import DataFrame, MType, parse
from gateway.model import AesKey, Crc, DevAddr, GatewayEui, Lora, MacVersion, RootKeys, Session
from gateway.regions.eu868 import EU868
from gateway.simulator.air import Position
from gateway.simulator.end_device.mac import EndDevice
from gateway.simulator.end_device.profile import Habits, Profile
from gateway.simulator.sensors import Measure
from gateway.simulator.town import Town
from gateway.wire.chirpstack import DOWNLINK_FRAME, DOWNLINK_TX_ACK, UPLINK_FRAME, read
from gateway.wire.protobuf import encode

EUI = GatewayEui(bytes.fromhex("0016c001ff10a235"))
STRANGERS, OWN = 40, 10
HOUR_S = 3600
AWAY_S, BACK_S, END_S = HOUR_S, 25 * HOUR_S, 27 * HOUR_S
LATENCY_S = 0.05
RX1_US, RX2_US = 1_000_000, 2_000_000  # RP002-1.0.4, 2.4: RECEIVE_DELAY1, RECEIVE_DELAY2


def report(now_us, f_cnt):
    return Measure(2, f_cnt.to_bytes(4, "big"))


def stranger(number, dice):
    keys = [AesKey(dice.randbytes(16)) for _ in range(2)]
    session = Session(dev_eui(1000 + number), DevAddr(0x2601_0000 + number), MacVersion.V1_0_3, *[keys[0]] * 3, keys[1])
    habits = Habits(
        interval_us=dice.randrange(13, 18) * MINUTE_US, first_us=dice.randrange(1, 600) * 1_000_000,
        confirmed_every=dice.choice((0, 4)),
    )  # fmt: skip
    return Profile(
        dev_eui(1000 + number), MacVersion.V1_0_3, EU868, report, habits, session=session, data_rate=5, adr=False
    )


def own(number, dice):
    habits = Habits(interval_us=20 * MINUTE_US, first_us=dice.randrange(1, 600) * 1_000_000, confirmed_every=3)
    keys = RootKeys(AesKey(dice.randbytes(16)), None)
    return Profile(
        dev_eui(number), MacVersion.V1_0_4, EU868, report, habits, join_eui=JOIN_EUI, root_keys=keys
    )  # fmt: skip


class Line:
    """What `MqttLine` is to its user, to a broker that answers soon."""

    def __init__(self, broker):
        self._broker = broker
        self.gone = asyncio.get_running_loop().create_future()
        self.inbox = asyncio.Queue()
        self._number = 0

    def send(self, topic, payload, answered, *, retain=False):
        self._number = number = self._number % 0xFFFF + 1
        asyncio.get_running_loop().call_later(LATENCY_S, self._arrived, topic, payload, answered, number)
        return number

    def _arrived(self, topic, payload, answered, number):
        if not self.gone.done():
            answered(number, 0, "")
            self._broker.server.told(topic, payload, self)

    async def ask_for(self, topic):
        pass

    async def incoming(self):
        while not self.gone.done():
            yield await self.inbox.get()
        raise Unreachable(self.gone.result())

    async def leave(self):
        self.drop("left")

    def drop(self, why):
        if not self.gone.done():
            self.gone.set_result(why)


class Backhaul:
    """The way to the broker, there or not."""

    def __init__(self, server):
        self.server = server
        self.is_there = True
        self._lines = []

    async def dial(self, broker, will):
        await asyncio.sleep(LATENCY_S)
        if not self.is_there:
            raise Unreachable("no route")
        self._lines.append(Line(self))
        return self._lines[-1]

    def cut(self):
        self.is_there = False
        for line in self._lines:
            line.drop("the modem is gone")


class ChirpStackLike:
    """Answers each confirmed uplink in RX1 and RX2 of the frame it came with, whenever it comes."""

    def __init__(self, profiles):
        self._sessions = {profile.session.dev_addr: profile.session for profile in profiles}
        self._f_cnt_down = defaultdict(int)
        self.got = []  # (dev_addr, f_cnt, whether it is history, GPS time), in the order of coming
        self.asked = 0
        self.statuses = []

    def told(self, topic, payload, line):
        if topic.endswith("event/ack"):
            self.statuses.append([each.get("status", "IGNORED") for each in read(DOWNLINK_TX_ACK, payload)["items"]])
        if not topic.endswith("event/up"):
            return
        up = read(UPLINK_FRAME, payload)
        message, rx_info = parse(up["phy_payload"]), up["rx_info"]
        if not isinstance(message, DataFrame):
            return
        is_history = rx_info.get("metadata") == {"buffered": "true"}
        self.got.append((message.dev_addr, message.f_cnt16, is_history, rx_info.get("time_since_gps_epoch")))
        if message.mtype is MType.CONFIRMED_DATA_UP and message.dev_addr in self._sessions:
            answer = self._answer(message, up["tx_info"], rx_info["context"])
            asyncio.get_running_loop().call_later(LATENCY_S, line.inbox.put_nowait, answer)

    def _answer(self, message, tx_info, context):
        self.asked += 1
        f_cnt, self._f_cnt_down[message.dev_addr] = (
            self._f_cnt_down[message.dev_addr],
            self._f_cnt_down[message.dev_addr] + 1,
        )
        phy = seal_downlink(self._sessions[message.dev_addr], f_cnt=f_cnt, f_port=None, ack=True)
        lora = tx_info["modulation"]["lora"]
        places = (
            (1, tx_info["frequency"], lora["spreading_factor"]),
            (2, 869_525_000, 12),
        )
        items = [
            {
                "phy_payload": phy,
                "tx_info": {
                    "frequency": frequency_hz, "power": 16, "timing": {"delay": {"delay": delay_s * 10**9}},
                    "modulation": {
                        "lora": {
                            "bandwidth": 125_000, "spreading_factor": spreading_factor, "code_rate": "CR_4_5",
                            "polarization_inversion": True,
                        }
                    },
                    "context": context,
                },
            }
            for delay_s, frequency_hz, spreading_factor in places
        ]  # fmt: skip
        body = encode(DOWNLINK_FRAME, {"downlink_id": self.asked, "gateway_id": str(EUI), "items": items})
        return f"eu868/gateway/{EUI}/command/down", body


class Story:
    def __init__(self, folder):
        self.folder = folder
        dice = random.Random(6)
        self.pending = Pending()
        self.town = Town(6)
        self.strangers = [stranger(number, dice) for number in range(STRANGERS)]
        self.own = [own(number, dice) for number in range(OWN)]
        entered(folder, self.own)
        chance = self.town.chance.about("devices")
        self.devices = [EndDevice(one, chance.about(one.dev_eui)) for one in [*self.strangers, *self.own]]
        for device in self.devices:
            self.town.neighbourhood.settle(device, Position(dice.uniform(-300, 300), dice.uniform(-300, 300)))
        self.radio = TownRadio(self.town, EU868)
        self.server = ChirpStackLike(self.strangers)
        self.backhaul = Backhaul(self.server)
        self.taken = []

    async def tell(self):
        moving = asyncio.create_task(self.radio.run(asyncio.get_running_loop().time()))
        async with Home(self.folder, self.radio, EU868, self.town.stamp, self.pending) as home:
            reception, wishes = Reception(lambda: "roof-1"), Filter()
            settings = ChirpstackMqttSettings("city", "mqtt://city", EUI)
            city = ChirpstackMqttServer(settings, home.side.line.carry, self.town.stamp, reception, self.backhaul.dial)
            keeper = KeptFrames(home.store, "city", answers=True)
            forwarding = Forwarding([(WithHistory(city, wishes, keeper, self.town.stamp), wishes)], reception)
            home.line.forward_to(forwarding)
            duties = [asyncio.create_task(duty) for duty in forwarding.duties()]
            await self._until(AWAY_S)
            self.backhaul.cut()
            await self._until(BACK_S)
            self.backhaul.is_there = True
            await self._until(END_S)
            (self.facts,) = forwarding.facts()
            self.failures = forwarding.failures
            for duty in duties:
                duty.cancel()
            await asyncio.gather(*duties, return_exceptions=True)
            self.heard = [(frame.heard, frame.phy) for frame, _ in home.seen.refusals if frame.crc is Crc.OK]
            self.readings = home.seen.readings
        # Closed: what was heard last is through, and what is only counted is written, too.
        self.books, self.taken_frames = home.store.books(), home.line.taken
        moving.cancel()

    async def _until(self, at_s):
        await asyncio.sleep(at_s - asyncio.get_running_loop().time())


def test_a_day_without_the_network_server(tmp_path):
    story = Story(tmp_path / "data")
    run_patiently(story.tell(), story.pending)
    assert story.failures == {}
    heard = _heard_of_strangers(story)
    assert len(heard) > 3000
    _history_is_whole_and_in_order(story, heard)
    _nothing_late_was_on_the_air(story)
    assert story.town.neighbourhood.every_complaint() == []
    assert violations([_sent(one) for one in story.radio.on_air]) == []
    # The custody balance: whatever was heard is stored or filtered, nothing dropped, nothing counted twice.
    assert story.books.balance == 0
    assert story.books.stored == len(story.readings)
    assert story.taken_frames == story.books.stored + sum(story.books.filtered.values())
    assert sum(story.books.dropped.values()) == 0


def _heard_of_strangers(story):
    """(dev_addr, f_cnt) to the times it was heard: what is confirmed comes again when nobody answers."""
    addresses = {profile.session.dev_addr for profile in story.strangers}
    found = {}
    for stamp, phy in story.heard:
        message = parse(phy)
        if isinstance(message, DataFrame) and message.dev_addr in addresses:
            found.setdefault((message.dev_addr, message.f_cnt16), []).append(stamp)
    return found


def _history_is_whole_and_in_order(story, heard):
    got = story.server.got
    own_addresses = {frame.dev_addr for d in story.devices[STRANGERS:] for frame in d.diary.sent}
    assert not own_addresses & {dev_addr for dev_addr, *_ in got}
    last_s = END_S - 60  # what was heard last may still be under way
    settled = {key for key, stamps in heard.items() if stamps[0].monotonic_us < last_s * 1_000_000}
    assert settled <= {(dev_addr, f_cnt) for dev_addr, f_cnt, *_ in got} <= set(heard)
    for profile in story.strangers:
        mine = [f_cnt for dev_addr, f_cnt, *_ in got if dev_addr == profile.session.dev_addr]
        assert mine == sorted(mine)
    history = [(dev_addr, f_cnt, gps_ns) for dev_addr, f_cnt, is_history, gps_ns in got if is_history]
    assert len(history) == len(set(history)) > 2500
    for dev_addr, f_cnt, gps_ns in history:
        # GPS time is 18 s ahead of UTC and began on 1980-01-06.
        gps_us = [stamp.utc_us - 315_964_800_000_000 + 18_000_000 for stamp in heard[dev_addr, f_cnt]]
        assert gps_ns // 1000 in gps_us
    assert story.facts["history"]["owed_devices"] == 0
    assert story.facts["history"]["skipped"] == {}


def _nothing_late_was_on_the_air(story):
    ends = {(frame.dev_addr, frame.f_cnt): frame for device in story.devices for frame in device.diary.sent}
    assert ends
    received = [
        (device.profile, received) for device in story.devices[:STRANGERS] for received in device.diary.received
    ]
    assert {received.window for _, received in received} == {"RX1"}
    assert len(received) > 30
    for _, one in received:  # while the server was there, and not when it was given history
        assert not AWAY_S * 1_000_000 < one.at_us < BACK_S * 1_000_000
    to_strangers = [one for one in story.radio.on_air if _address(one.phy) in story.server._sessions]
    assert len(to_strangers) == len(received)  # whatever went out for them was heard in a window: none was late
    assert story.facts["downlinks_swallowed"] > 100
    assert ["TOO_LATE", "TOO_LATE"] in story.server.statuses


def _address(phy):
    message = parse(phy)
    return message.dev_addr if isinstance(message, DataFrame) else None


def _sent(one):
    return Sent(
        one.sender, one.start_us, one.airtime_us, one.frequency_hz,
        one.modulation.bandwidth_hz if isinstance(one.modulation, Lora) else 125_000, one.power_dbm_eirp,
    )  # fmt: skip
