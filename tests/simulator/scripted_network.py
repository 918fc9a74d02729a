"""A network that does as it is told: for devices that are to be proved right, and that have to notice what is wrong.

Join accepts are made here by hand, from the primitives of `cryptography` and the pages of the specification, neither
with the gateway's network side nor with the devices' own code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.cmac import CMAC

from gateway.lorawan import mac_commands as mac
from gateway.lorawan.crypto import KeySchedules, crypt_f_opts, crypt_payload
from gateway.lorawan.downlink import seal_downlink
from gateway.lorawan.frame import DataFrame, Direction, JoinRequest, RejoinRequest, parse
from gateway.lorawan.mac_commands import read_uplink_commands, write_commands
from gateway.model import (
    AesKey,
    AtCounter,
    Crc,
    DevAddr,
    DevEui,
    DownlinkRequest,
    Immediately,
    JoinEui,
    Lora,
    MacVersion,
    RootKeys,
    Session,
)
from gateway.regions.eu868 import EU868
from gateway.simulator.air import Position
from gateway.simulator.chance import Chance
from gateway.simulator.chip import TxRefused
from gateway.simulator.end_device.mac import EndDevice
from gateway.simulator.end_device.profile import Habits, Profile
from gateway.simulator.sensors import Measure
from gateway.simulator.town import Town

LEAD_US = 50_000
NET_ID = 0x000001
MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US


def aes(key, blocks):
    encryptor = Cipher(AES(key), ECB()).encryptor()
    return encryptor.update(blocks) + encryptor.finalize()


def aes_backwards(key, blocks):
    decryptor = Cipher(AES(key), ECB()).decryptor()
    return decryptor.update(blocks) + decryptor.finalize()


def cmac(key, message):
    running = CMAC(AES(key))
    running.update(message)
    return running.finalize()[:4]


def key_of(root, kind, *parts):
    return AesKey(aes(root, (bytes([kind]) + b"".join(parts)).ljust(16, b"\0")))


def root_keys(number, version):
    app_key = AesKey(bytes([number]) * 15 + b"\x01")
    return RootKeys(app_key, AesKey(bytes([number]) * 15 + b"\x02") if version.is_1_1 else None)


def dev_eui(number):
    return DevEui(bytes.fromhex("02c17e") + number.to_bytes(5, "big"))


JOIN_EUI = JoinEui(bytes.fromhex("02c17e00000000ff"))


def report(now_us, f_cnt):
    """Ten bytes that say which report it is."""
    return Measure(7, b"report" + f_cnt.to_bytes(4, "big"))


def a_profile(number=1, version=MacVersion.V1_0_3, *, habits=None, region=EU868, **changes):
    keys = {"join_eui": JOIN_EUI, "root_keys": root_keys(number, version)}
    if changes.get("session") is not None:
        keys = {}
    return Profile(
        dev_eui=dev_eui(number),
        mac_version=version,
        region=region,
        report=changes.pop("report", report),
        habits=habits or Habits(interval_us=5 * MINUTE_US, first_us=1_000_000),
        **{**keys, **changes},
    )


def a_session(number=1, version=MacVersion.V1_0_3, dev_addr=None):
    f_key, s_key, enc_key, app_key = (AesKey(bytes([number, kind] * 8)) for kind in range(4))
    if not version.is_1_1:
        s_key = enc_key = f_key
    return Session(
        dev_eui=dev_eui(number),
        dev_addr=DevAddr(0x0200_0000 + number) if dev_addr is None else dev_addr,
        mac_version=version,
        f_nwk_s_int_key=f_key,
        s_nwk_s_int_key=s_key,
        nwk_s_enc_key=enc_key,
        app_s_key=app_key,
    )


@dataclass
class Uplink:
    """What the network made of a frame."""

    session: Session
    f_cnt: int
    f_port: int | None
    payload: bytes
    commands: tuple
    frame: DataFrame
    radio: object
    chip: object
    repeated: bool


@dataclass
class Reply:
    """What goes back in RX1, or in RX2."""

    f_port: int | None = None
    payload: bytes = b""
    commands: tuple = ()
    confirmed: bool = False
    ack: bool | None = None  # None: when the uplink was confirmed
    f_pending: bool = False
    window: int = 1
    late_us: int = 0
    f_cnt: int | None = None  # None: the next
    change: object = None  # a function of the sealed bytes


@dataclass
class Terms:
    """The settings of join accepts."""

    rx_delay_s: int = 1
    rx1_dr_offset: int = 0
    rx2_data_rate: int = 0
    cf_list: bytes = b""
    opt_neg: bool = True
    window: int = 1
    late_us: int = 0


USUAL = Terms()
NEAR = Position(150, 0)


@dataclass
class Member:
    """A device as the network knows it."""

    profile: Profile
    session: Session | None = None
    join_nonce: int = 0
    down: dict = field(default_factory=dict)
    last_up: int = -1
    rx1_delay_us: int = 1_000_000
    rx1_dr_offset: int = 0
    rx2: tuple = ()
    last_acked: int | None = None


class ScriptedNetwork:
    """`answer(uplink)` gives a Reply, or None. `terms` are those of the next accepts; None: joins are not answered."""

    def __init__(self, town, answer=None, terms=USUAL):
        self.town = town
        self.answer = answer or (lambda uplink: None)
        self.terms = terms
        self.members = {}
        self.uplinks = []
        self.joins = []
        self.refused = []
        self.deaf = False
        self.keys = KeySchedules()
        self._refs = 0
        self._seen = set()

    def admit(self, *devices):
        for device in devices:
            member = self.members[device.profile.dev_eui] = Member(device.profile)
            region = device.profile.region
            member.rx2 = (region.rx2.frequency_hz, region.rx2.data_rate)
            member.session = device.profile.session

    def hear(self, chip, radio):
        if self.deaf or radio.crc is not Crc.OK:
            return
        if (radio.phy, radio.frequency_hz, radio.counter_us) in self._seen:
            return  # another gateway of ours
        self._seen.add((radio.phy, radio.frequency_hz, radio.counter_us))
        match parse(radio.phy):
            case JoinRequest() as request:
                self._join(chip, radio, request)
            case RejoinRequest() as request:
                self._rejoin(chip, radio, request)
            case DataFrame() as frame:
                self._data(chip, radio, frame)

    # --- joins ------------------------------------------------------------------------------------------------------

    def _join(self, chip, radio, request):
        member = self.members.get(request.dev_eui)
        if member is None:
            return
        keys = member.profile.root_keys
        nwk_key = keys.nwk_key or keys.app_key
        assert cmac(nwk_key, radio.phy[:-4]) == radio.phy[-4:]
        self.joins.append(request)
        if self.terms is not None:
            self.accept(chip, radio, member, 0xFF, request.dev_nonce)

    def _rejoin(self, chip, radio, request):
        member = self.members[request.dev_eui]
        js_int_key = key_of(member.profile.root_keys.nwk_key, 6, request.dev_eui[::-1])
        key = js_int_key if request.rejoin_type == 1 else member.session.s_nwk_s_int_key
        assert cmac(key, radio.phy[:-4]) == radio.phy[-4:]
        self.joins.append(request)
        if self.terms is not None:
            self.accept(chip, radio, member, request.rejoin_type, request.rj_count)

    def accept(self, chip, radio, member, join_req_type, nonce, join_nonce=None):
        terms, profile = self.terms, member.profile
        member.join_nonce = member.join_nonce + 1 if join_nonce is None else join_nonce
        dev_addr = 0x0300_0000 + int.from_bytes(profile.dev_eui[-2:], "big") * 256 + member.join_nonce % 256
        opt_neg = terms.opt_neg and profile.mac_version.is_1_1
        body = member.join_nonce.to_bytes(3, "little") + NET_ID.to_bytes(3, "little") + dev_addr.to_bytes(4, "little")
        body += bytes([opt_neg << 7 | terms.rx1_dr_offset << 4 | terms.rx2_data_rate, terms.rx_delay_s]) + terms.cf_list
        keys, join_eui, eui = profile.root_keys, profile.join_eui[::-1], profile.dev_eui[::-1]
        root, nonce_bytes = keys.nwk_key or keys.app_key, nonce.to_bytes(2, "little")
        if opt_neg:
            signed = bytes([join_req_type]) + join_eui + nonce_bytes + b"\x20" + body
            mic = cmac(key_of(root, 6, eui), signed)
            salt = (body[:3], join_eui, nonce_bytes)
            f_key, s_key, enc_key = (key_of(root, kind, *salt) for kind in (1, 3, 4))
            app_s_key = key_of(keys.app_key, 2, *salt)
        else:
            mic = cmac(root, b"\x20" + body)
            salt = (body[:3], body[3:6], nonce_bytes)
            f_key = s_key = enc_key = key_of(root, 1, *salt)
            app_s_key = key_of(root, 2, *salt)
        version = profile.mac_version
        member.session = Session(
            dev_eui=profile.dev_eui,
            dev_addr=DevAddr(dev_addr),
            mac_version=version if opt_neg or not version.is_1_1 else MacVersion.V1_0_3,
            f_nwk_s_int_key=f_key,
            s_nwk_s_int_key=s_key,
            nwk_s_enc_key=enc_key,
            app_s_key=app_s_key,
        )
        wraps = root if join_req_type == 0xFF else key_of(root, 5, eui)
        phy = b"\x20" + aes_backwards(wraps, body + mic)
        region = profile.region
        joining_rx1 = (0, (region.rx2.frequency_hz, region.rx2.data_rate))
        offset, rx2 = joining_rx1 if join_req_type == 0xFF else (member.rx1_dr_offset, member.rx2)
        self._send(chip, radio, member, phy, 5_000_000, offset, rx2, terms.window, terms.late_us)
        member.down, member.last_up, member.last_acked = {}, -1, None
        if join_req_type != 2:
            member.rx1_delay_us = max(terms.rx_delay_s, 1) * 1_000_000
            member.rx1_dr_offset = terms.rx1_dr_offset
            member.rx2 = (region.rx2.frequency_hz, terms.rx2_data_rate)

    # --- data -------------------------------------------------------------------------------------------------------

    def _data(self, chip, radio, frame):
        known = [m for m in self.members.values() if m.session is not None and m.session.dev_addr == frame.dev_addr]
        for member in known:
            self._read(chip, radio, frame, member)

    def _read(self, chip, radio, frame, member):
        session = member.session
        f_cnt = (member.last_up & ~0xFFFF | frame.f_cnt16) if member.last_up >= 0 else frame.f_cnt16
        if f_cnt < member.last_up:
            f_cnt += 0x10000
        f_opts, payload = frame.f_opts, frame.frm_payload
        if f_opts and session.mac_version.is_1_1:
            f_opts = crypt_f_opts(self.keys.of(session.nwk_s_enc_key), Direction.UP, session.dev_addr, f_cnt, f_opts)
        key = self.keys.of(session.app_s_key if frame.f_port else session.nwk_s_enc_key)
        payload = crypt_payload(key, Direction.UP, session.dev_addr, f_cnt, payload)
        commands = read_uplink_commands(payload if frame.f_port == 0 else f_opts)
        assert commands.problem is None
        repeated = f_cnt == member.last_up
        member.last_up = f_cnt
        uplink = Uplink(session, f_cnt, frame.f_port, payload, commands.commands, frame, radio, chip, repeated)
        self.uplinks.append(uplink)
        reply = self.answer(uplink)
        if reply is not None:
            self.reply(uplink, reply)

    def reply(self, uplink, reply):
        member = self.members[uplink.session.dev_eui]
        phy = self.sealed(member, reply, acks=uplink)
        self._send(
            uplink.chip,
            uplink.radio,
            member,
            phy,
            member.rx1_delay_us,
            member.rx1_dr_offset,
            member.rx2,
            reply.window,
            reply.late_us,
        )

    def sealed(self, member, reply, acks=None):
        session = member.session
        counter = "app" if session.mac_version.is_1_1 and reply.f_port else "net"
        f_cnt = member.down.get(counter, 0) if reply.f_cnt is None else reply.f_cnt
        member.down[counter] = f_cnt + 1
        ack = reply.ack
        if ack is None:
            ack = acks is not None and acks.frame.confirmed
        phy = seal_downlink(
            session,
            f_cnt=f_cnt,
            f_port=reply.f_port,
            payload=write_commands(reply.commands) if reply.f_port == 0 else reply.payload,
            f_opts=b"" if reply.f_port == 0 else write_commands(reply.commands),
            confirmed=reply.confirmed,
            ack=ack,
            conf_f_cnt=0 if acks is None else acks.f_cnt,
            f_pending=reply.f_pending,
            schedules=self.keys,
        )
        return phy if reply.change is None else reply.change(phy)

    def push(self, chip, device, reply):
        """To a device of class C, now."""
        member = self.members[device.profile.dev_eui]
        hz, data_rate = member.rx2
        modulation = member.profile.region.downlink_data_rates[data_rate]
        self._submit(chip, self.sealed(member, reply), Immediately(), hz, modulation)

    def _send(self, chip, radio, member, phy, delay_us, offset, rx2, window, late_us):
        region = member.profile.region
        at_us = (radio.counter_us + delay_us + late_us) % (1 << 32)
        if window == 1:
            data_rate = region.data_rate_index(radio.modulation)
            rx1 = region.rx1(radio.frequency_hz, data_rate, offset)
            hz, data_rate = rx1.frequency_hz, rx1.data_rate
        else:
            hz, data_rate = rx2
            at_us = (at_us + 1_000_000) % (1 << 32)
        self._submit(chip, phy, AtCounter(at_us), hz, region.downlink_data_rates[data_rate])

    def _submit(self, chip, phy, timing, hz, modulation):
        self._refs += 1
        assert isinstance(modulation, Lora)
        self.put(chip, DownlinkRequest(str(self._refs), phy, "roof-1", timing, hz, modulation, 16.0))

    def put(self, chip, request):
        """Tell the chip shortly before the time: it can have one transmission in mind."""
        now_us = self.town.now_us
        due_us = now_us
        if isinstance(request.timing, AtCounter):
            ahead_us = (request.timing.counter_us - chip.counter_us()) % (1 << 32)
            due_us = now_us + ahead_us - LEAD_US
        self.town.air.arrange(due_us, partial(self._program, chip, request))

    def _program(self, chip, request):
        answer = chip.send(request)
        if not isinstance(answer, TxRefused):
            return
        if isinstance(request.timing, AtCounter):
            self.refused.append(answer)
        else:
            self.town.air.arrange(self.town.now_us + LEAD_US, partial(self._program, chip, request))


class Setting:
    """A town with its scripted network and some devices close to the gateway."""

    def __init__(self, *profiles, answer=None, terms=USUAL, seed=1, clock_ppm=0.0, town=None, near=NEAR):
        self.town = Town(seed) if town is None else town
        self.network = ScriptedNetwork(self.town, answer, terms)
        self.devices = [EndDevice(profile, Chance(seed).about(profile.dev_eui)) for profile in profiles]
        self.network.admit(*self.devices)
        for device in self.devices:
            self.town.neighbourhood.settle(device, near, clock_ppm=clock_ppm)

    @property
    def device(self):
        [device] = self.devices
        return device

    @property
    def chip(self):
        return self.town.chips[0]

    def run(self, until_us):
        self.town.run(until_us, self.network.hear)
        return self

    def complaints(self, *apart_from):
        return self.town.neighbourhood.every_complaint(apart_from=apart_from)


def conf(uplink):
    """What every network of 1.1 answers."""
    answers = {
        mac.RekeyInd: mac.RekeyConf(),
        mac.ResetInd: mac.ResetConf(),
        mac.DeviceModeInd: mac.DeviceModeConf(mac.CLASS_C),
    }
    commands = tuple(answers[type(command)] for command in uplink.commands if type(command) in answers)
    return Reply(commands=commands) if commands else None
