"""The LNS protocol of LoRa Basics Station, from the station's side: JSON texts to values and back.

A station asks where to go (`router_query`, `read_router`), tells what it is (`write_version`), and is told by the
server how to hear (`RouterConfig`). From then on frames go up (`write_uplink`) and downlinks come down (`Dnmsg`,
`Dnsched`); each that was on the air is told (`write_dntxed`). Protocol version 2, as Semtech's Station 2.0.6 speaks it.
What a server says is judged here: what cannot be used raises MalformedMessage, and costs only itself.

Numbers: `xtime` has 63 bits and never passes through a float. DevAddr and MIC are signed 32-bit numbers on this wire.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.lorawan.net_id import NET_ID_MAX, address_bits, dev_addr_in
from gateway.model import DevEui, Fsk, Lora
from gateway.wire.station_json import MalformedMessage, clean, load_object, mux_time, number, optional, text, whole
from gateway.wire.station_names import dashed, id6, read_id6
from gateway.wire.station_plan import read_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.model import GatewayEui, Modulation
    from gateway.wire.channel_plan import ChannelPlan

PROTOCOL: Final = 2

SCHEDULE_MAX: Final = 128
"""Entries of one dnsched: as many as Station's own queue holds."""

DATA_RATES: Final = 16

_MIC_SIZE: Final = 4
_DATA_MIN: Final = 12  # MHDR, FHDR and MIC
_JOIN_SIZE: Final = 23
_DATA = struct.Struct("<BIBH")  # MHDR, DevAddr, FCtrl, FCnt
_JOIN = struct.Struct("<B8s8sHi")  # MHDR, JoinEUI, DevEUI, DevNonce, MIC; an EUI is little endian on the air
_MIC = struct.Struct("<i")
_FSK_BIT_RATE: Final = 50_000
_FSK_DEVIATION_HZ: Final = 25_000  # RP002-1.0.4: the one FSK data rate there is

# --- finding the server ---------------------------------------------------------------------------------------------


def router_query(eui: GatewayEui) -> bytes:
    """What is asked at `/router-info`."""
    return orjson.dumps({"router": id6(eui)})


@dataclass(frozen=True, slots=True)
class Router:
    """Where the data connection goes."""

    uri: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The server does not want this gateway, in its own words."""

    error: str


def read_router(answer: str | bytes) -> Router | Rejected:
    """The answer at `/router-info`; MalformedMessage when it is none."""
    message = load_object(answer)
    error, uri = message.get("error"), message.get("uri")
    if isinstance(error, str) and error:
        return Rejected(clean(error))
    if not isinstance(uri, str) or not re.fullmatch(r"wss?://[^\s/]+(/\S*)?", uri) or len(uri) > 512:
        raise MalformedMessage(f"no usable uri in the answer to the router query: {clean(repr(uri))}")
    return Router(uri)


# --- from the server ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RouterConfig:
    """How the server wants this gateway to hear, and what of it it wants to be told."""

    region: str
    frequency_range_hz: tuple[int, int]
    data_rates: tuple[Lora | Fsk | None, ...]  # sixteen, for both directions
    downlink_only: frozenset[int]  # of these
    plan: ChannelPlan
    net_ids: tuple[int, ...] | None = None  # None: every DevAddr passes
    join_euis: tuple[tuple[int, int], ...] = ()  # inclusive; empty: every JoinEUI passes
    max_eirp_dbm: float | None = None
    test_switches: frozenset[str] = frozenset()  # of nocca, nodc, nodwell, device_mode: those that are on
    beacons: bool = False
    capital_euis: bool = False  # it spelled JoinEUI, and wants to read that
    mux_time_s: float | None = None

    def data_rate_of(self, modulation: Modulation) -> int | None:
        """The index of what a frame was received with; None: the server has no name for it."""
        for index, known in enumerate(self.data_rates):
            if index in self.downlink_only:
                continue
            match known, modulation:
                case Lora(spreading_factor=factor, bandwidth_hz=width), Lora() if (
                    modulation.spreading_factor == factor and modulation.bandwidth_hz == width
                ):
                    return index
                case Fsk(), Fsk():
                    return index
                case _:
                    pass
        return None

    def wants_dev_addr(self, dev_addr: int) -> bool:
        """Whether a DevAddr belongs to one of the networks that the server listed.

        Station itself compares seven bits whatever the type of a NetID, and so loses every uplink of a network with a
        NetID of type 3 or 6. Here each type has its own prefix (TS002-1.1.0, chapter 13).
        """
        if self.net_ids is None:
            return True
        return any(dev_addr >> address_bits(net) == dev_addr_in(net, 0) >> address_bits(net) for net in self.net_ids)

    def wants_join_eui(self, join_eui: int) -> bool:
        """Whether a JoinEUI is in one of the server's ranges."""
        return not self.join_euis or any(low <= join_eui <= high for low, high in self.join_euis)


@dataclass(frozen=True, slots=True)
class Place:
    """Where on the air: an index of the server's data rates and a frequency."""

    data_rate: int
    frequency_hz: int


@dataclass(frozen=True, slots=True)
class Dnmsg:
    """A downlink for a device of class A (`rx1`, `rx2`, `xtime`), B (`ping`) or C (`rx2`, perhaps `rx1`)."""

    diid: int
    dev_eui: DevEui
    device_class: str  # "A", "B" or "C"
    pdu: bytes
    priority: int = 0
    rctx: int | None = None
    xtime: int | None = None  # of the uplink it answers
    rx_delay_s: int = 1
    rx1: Place | None = None
    rx2: Place | None = None
    ping: Place | None = None
    gps_time_us: int | None = None
    payload_crc: bool = False
    preamble_symbols: int | None = None
    mux_time_s: float | None = None


@dataclass(frozen=True, slots=True)
class Scheduled:
    """One entry of a dnsched: at `xtime` or at `gps_time_us`."""

    diid: int
    place: Place
    pdu: bytes
    xtime: int | None
    gps_time_us: int | None
    priority: int = 0
    rctx: int | None = None
    payload_crc: bool = False
    preamble_symbols: int | None = None


@dataclass(frozen=True, slots=True)
class Dnsched:
    """Transmissions that answer nobody: multicast, beacons. Nobody is told whether they were sent."""

    entries: tuple[Scheduled, ...]
    faults: tuple[str, ...] = ()  # of the entries that could not be read
    mux_time_s: float | None = None


@dataclass(frozen=True, slots=True)
class Timesync:
    """The answer to our own (`tx_time_us` is what we sent), or the server's word on time."""

    tx_time_us: float | None = None
    xtime: int | None = None
    gps_time_us: int | None = None
    mux_time_s: float | None = None


@dataclass(frozen=True, slots=True)
class GetXtime:
    """The server asks what the radios' clocks show."""

    mux_time_s: float | None = None


@dataclass(frozen=True, slots=True)
class RemoteCode:
    """The server wants something executed here: `runcmd` or `rmtsh`. It is not."""

    kind: str
    wanted: str  # for the log


@dataclass(frozen=True, slots=True)
class ServerWords:
    """Something for people: an error or an alarm."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A message this version has no use for."""

    kind: str


FromServer = RouterConfig | Dnmsg | Dnsched | Timesync | GetXtime | RemoteCode | ServerWords | Unknown


def read(said: str | bytes) -> FromServer:
    """One message of the data connection; MalformedMessage says what is wrong with it."""
    message = load_object(said)
    kind = message.get("msgtype")
    if not isinstance(kind, str):
        if isinstance(message.get("error"), str):
            return ServerWords("error", clean(message["error"]))
        raise MalformedMessage("no msgtype")
    reader = _READERS.get(kind)
    return Unknown(clean(kind, 40)) if reader is None else reader(message)


class UnusableConfig(MalformedMessage):
    """A router_config this gateway cannot follow: there is no going on with this server."""


def _router_config(message: dict[str, Any]) -> RouterConfig:
    try:
        return _config(message)
    except MalformedMessage as fault:
        raise UnusableConfig(str(fault)) from None


def _config(message: dict[str, Any]) -> RouterConfig:
    data_rates, downlink_only = _data_rates(message.get("DRs"))
    capital = "JoinEUI" in message
    eirp = message.get("max_eirp")
    return RouterConfig(
        region=clean(text(message, "region"), 40),
        frequency_range_hz=_range(message.get("freq_range"), "freq_range", (1 << 32) - 1),
        data_rates=data_rates,
        downlink_only=downlink_only,
        plan=read_plan(message, data_rates),
        net_ids=_net_ids(message.get("NetID")),
        join_euis=_join_euis(message.get("JoinEUI" if capital else "JoinEui")),
        max_eirp_dbm=None if eirp is None else number(message, "max_eirp", -40, 60),
        test_switches=frozenset(key for key in ("nocca", "nodc", "nodwell", "device_mode") if message.get(key)),
        beacons=bool(message.get("bcning")),
        capital_euis=capital,
        mux_time_s=mux_time(message),
    )


def _data_rates(rows: object) -> tuple[tuple[Lora | Fsk | None, ...], frozenset[int]]:
    if not isinstance(rows, list) or len(rows) > DATA_RATES:
        raise MalformedMessage("DRs is no list of at most 16 data rates")
    found: list[Lora | Fsk | None] = [_data_rate(row) for row in rows]
    if not any(found):
        raise MalformedMessage("DRs has no data rate at all")
    found += [None] * (DATA_RATES - len(found))
    return tuple(found), frozenset(index for index, row in enumerate(rows) if found[index] and row[2])


def _data_rate(row: object) -> Lora | Fsk | None:
    match row:
        case [-1, int(), int()]:
            return None
        case [0, int(), 0 | 1]:
            return Fsk(_FSK_BIT_RATE, _FSK_DEVIATION_HZ)
        case [int(factor), 125 | 250 | 500 as width, 0 | 1] if 7 <= factor <= 12:
            return Lora(factor, width * 1000)
        case _:
            raise MalformedMessage(f"DRs has {clean(repr(row), 60)}, which is no data rate")


def _net_ids(value: object) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(type(net) is int and 0 <= net <= NET_ID_MAX for net in value):
        raise MalformedMessage("NetID is no list of NetIDs")
    return tuple(value)


def _join_euis(value: object) -> tuple[tuple[int, int], ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise MalformedMessage("JoinEui is no list of ranges")
    return tuple(_range(pair, "JoinEui", (1 << 64) - 1) for pair in value)


def _range(pair: object, where: str, most: int) -> tuple[int, int]:
    match pair:
        case [int(low), int(high)] if type(low) is int and type(high) is int:
            # Servers in C print 64 bits with a sign.
            low, high = low & most if -most <= low < 0 else low, high & most if -most <= high < 0 else high
            if 0 <= low <= high <= most:
                return low, high
    raise MalformedMessage(f"{where} has {clean(repr(pair), 60)}, which is no range")


def _dnmsg(message: dict[str, Any]) -> Dnmsg:
    device_class = {0: "A", 1: "B", 2: "C"}.get(whole(message, "dC", 0, 2), "")
    xtime = optional(message, "xtime", (1 << 63) - 1) or None  # 0 stands for none
    gps_time_us = optional(message, "gpstime", (1 << 63) - 1) or None
    found = Dnmsg(
        diid=whole(message, "diid" if "diid" in message else "seqno", -(1 << 63), (1 << 63) - 1),
        dev_eui=_dev_eui(message),
        device_class=device_class,
        pdu=_pdu(message),
        priority=optional(message, "priority", 255) or 0,
        rctx=optional(message, "rctx", (1 << 63) - 1),
        xtime=xtime,
        rx_delay_s=max(1, optional(message, "RxDelay", 15) or 0),
        rx1=_place(message, "RX1DR", "RX1Freq"),
        rx2=_place(message, "RX2DR", "RX2Freq"),
        ping=_place(message, "DR", "Freq"),
        gps_time_us=gps_time_us,
        payload_crc=bool(message.get("addcrc")),
        preamble_symbols=_preamble(message),
        mux_time_s=mux_time(message),
    )
    if device_class == "B":
        if found.ping is None or gps_time_us is None:
            raise MalformedMessage("dnmsg of class B without DR, Freq and gpstime")
    elif found.rx1 is None and found.rx2 is None:
        raise MalformedMessage("dnmsg with neither RX1 nor RX2")
    elif xtime is None and (device_class == "A" or found.rx2 is None):
        raise MalformedMessage("dnmsg without the xtime that its window counts from")
    return found


def _dnsched(message: dict[str, Any]) -> Dnsched:
    schedule = message.get("schedule")
    if not isinstance(schedule, list) or len(schedule) > SCHEDULE_MAX:
        raise MalformedMessage(f"dnsched without a schedule of at most {SCHEDULE_MAX} entries")
    entries, faults = [], []
    for entry in schedule:
        try:
            entries.append(_scheduled(entry))
        except MalformedMessage as fault:
            faults.append(str(fault))
    return Dnsched(tuple(entries), tuple(faults), mux_time(message))


def _scheduled(entry: object) -> Scheduled:
    if not isinstance(entry, dict):
        raise MalformedMessage("an entry of dnsched is no object")
    place = _place(entry, "DR", "Freq")
    xtime = optional(entry, "xtime", (1 << 63) - 1) or None
    gps_time_us = optional(entry, "gpstime", (1 << 63) - 1) or None
    if gps_time_us is None and entry.get("ontime") is not None:
        gps_time_us = round(number(entry, "ontime", 0, 1e11) * 1e6)
    if place is None or (xtime is None and gps_time_us is None):
        raise MalformedMessage("an entry of dnsched says not where, or not when")
    return Scheduled(
        diid=optional(entry, "diid", (1 << 63) - 1) or 0,
        place=place,
        pdu=_pdu(entry),
        xtime=xtime,
        gps_time_us=gps_time_us,
        priority=optional(entry, "priority", 255) or 0,
        rctx=optional(entry, "rctx", (1 << 63) - 1),
        payload_crc=bool(entry.get("addcrc")),
        preamble_symbols=_preamble(entry),
    )


def _timesync(message: dict[str, Any]) -> Timesync:
    return Timesync(
        tx_time_us=None if message.get("txtime") is None else number(message, "txtime", 0, 2.0**63),
        xtime=optional(message, "xtime", (1 << 63) - 1) or None,
        gps_time_us=optional(message, "gpstime", (1 << 63) - 1) or None,
        mux_time_s=mux_time(message),
    )


def _run_command(message: dict[str, Any]) -> RemoteCode:
    arguments = message.get("arguments")
    words = [message.get("command"), *(arguments if isinstance(arguments, list) else [])]
    return RemoteCode("runcmd", clean(" ".join(str(word) for word in words[:20])))


_READERS: Final[Mapping[str, Callable[[dict[str, Any]], FromServer]]] = {
    "router_config": _router_config,
    "dnmsg": _dnmsg,
    "dnsched": _dnsched,
    "timesync": _timesync,
    "getxtime": lambda message: GetXtime(mux_time(message)),
    "runcmd": _run_command,
    "rmtsh": lambda message: RemoteCode("rmtsh", f"a shell for {clean(str(message.get('user')), 40)}"),
    "error": lambda message: ServerWords("error", clean(str(message.get("error", "")))),
    "alarm": lambda message: ServerWords("alarm", clean(str(message.get("text", "")))),
}


# --- to the server --------------------------------------------------------------------------------------------------


class Unsent(StrEnum):
    """Why a frame is not told to this server."""

    MALFORMED = "malformed"  # no LoRaWAN frame of the first version
    NOT_UPLINK = "not_uplink"  # somebody's downlink
    REJOIN = "rejoin"  # the protocol's rejoin message has no words for any rejoin request that exists
    NET_ID = "net_id"  # the server listed other networks
    JOIN_EUI = "join_eui"  # the server listed other JoinEUIs
    NO_DATA_RATE = "no_data_rate"  # received with a modulation that is not in the server's table


@dataclass(frozen=True, slots=True)
class Reception:
    """When, where and how well a frame was heard."""

    data_rate: int
    frequency_hz: int
    rctx: int
    xtime: int
    gps_time_us: int | None  # microseconds since 1980-01-06
    fine_time_ns: int | None
    rssi_dbm: float
    snr_db: float | None
    rx_time_s: float  # UTC
    ref_time_s: float = 0.0  # the server's own clock now, as far as it told; 0: not yet


def write_version(station: str, *, package: str | None, model: str, features: str = "") -> bytes:
    """What is said first on the data connection."""
    return orjson.dumps(
        {
            "msgtype": "version",
            "station": station,
            "firmware": None,
            "package": package,
            "model": model,
            "protocol": PROTOCOL,
            "features": features,
        }
    )


def write_uplink(phy: bytes, reception: Reception, config: RouterConfig) -> bytes | Unsent:
    """The message for a frame, `updf`, `jreq`, `rejoin` or `propdf`; or why the server is not told of it."""
    fields = uplink_fields(phy, config)
    if isinstance(fields, Unsent):
        return fields
    fields["RefTime"] = reception.ref_time_s
    fields["DR"] = reception.data_rate
    fields["Freq"] = reception.frequency_hz
    fields["upinfo"] = {
        "rctx": reception.rctx,
        "xtime": reception.xtime,
        "gpstime": reception.gps_time_us or 0,
        "fts": -1 if reception.fine_time_ns is None else reception.fine_time_ns,
        "rssi": round(reception.rssi_dbm),
        "snr": reception.snr_db or 0.0,
        "rxtime": reception.rx_time_s,
    }
    return orjson.dumps(fields)


def uplink_fields(phy: bytes, config: RouterConfig) -> dict[str, Any] | Unsent:
    """What the frame itself says, in Station's words, in its order."""
    if not phy:
        return Unsent.MALFORMED
    mtype = phy[0] >> 5
    if phy[0] & 0x1F or (len(phy) < _DATA_MIN and mtype != 7):
        return Unsent.MALFORMED
    match mtype:
        case 2 | 4:
            return _data_fields(phy, config)
        case 0:
            return _join_fields(phy, config, "jreq") if len(phy) == _JOIN_SIZE else Unsent.MALFORMED
        case 6:
            return _join_fields(phy, config, "rejoin") if len(phy) == _JOIN_SIZE else Unsent.REJOIN
        case 7:
            return {"msgtype": "propdf", "FRMPayload": phy.hex().upper()}
        case _:
            return Unsent.NOT_UPLINK


def _data_fields(phy: bytes, config: RouterConfig) -> dict[str, Any] | Unsent:
    mhdr, dev_addr, f_ctrl, f_cnt = _DATA.unpack_from(phy)
    port_at = _DATA.size + (f_ctrl & 0xF)
    mic_at = len(phy) - _MIC_SIZE
    if port_at > mic_at:
        return Unsent.MALFORMED
    if not config.wants_dev_addr(dev_addr):
        return Unsent.NET_ID
    return {
        "msgtype": "updf",
        "MHdr": mhdr,
        "DevAddr": dev_addr - (1 << 32) if dev_addr >> 31 else dev_addr,
        "FCtrl": f_ctrl,
        "FCnt": f_cnt,
        "FOpts": phy[_DATA.size : port_at].hex().upper(),
        "FPort": -1 if port_at == mic_at else phy[port_at],
        "FRMPayload": phy[port_at + 1 : mic_at].hex().upper(),
        "MIC": _MIC.unpack_from(phy, mic_at)[0],
    }


def _join_fields(phy: bytes, config: RouterConfig, kind: str) -> dict[str, Any] | Unsent:
    mhdr, join_eui, dev_eui, dev_nonce, mic = _JOIN.unpack(phy)
    if not config.wants_join_eui(int.from_bytes(join_eui, "little")):
        return Unsent.JOIN_EUI
    return {
        "msgtype": kind,
        "MHdr": mhdr,
        "JoinEUI" if config.capital_euis else "JoinEui": join_eui[::-1].hex("-").upper(),
        "DevEUI" if config.capital_euis else "DevEui": dev_eui[::-1].hex("-").upper(),
        "DevNonce": dev_nonce,
        "MIC": mic,
    }


def write_dntxed(
    dnmsg: Dnmsg, place: Place, *, rctx: int, xtime: int, tx_time_s: float, gps_time_us: int | None
) -> bytes:
    """A downlink was on the air: there, and then. There is no message for one that was not."""
    return orjson.dumps(
        {
            "msgtype": "dntxed",
            "seqno": dnmsg.diid,
            "diid": dnmsg.diid,
            "DR": place.data_rate,
            "Freq": place.frequency_hz,
            "DevEui": dashed(dnmsg.dev_eui),
            "rctx": rctx,
            "xtime": xtime,
            "txtime": tx_time_s,
            "gpstime": gps_time_us or 0,
        }
    )


def write_timesync(tx_time_us: int) -> bytes:
    """Ask for the server's time; `tx_time_us` comes back in the answer."""
    return orjson.dumps({"msgtype": "timesync", "txtime": tx_time_us})


def write_getxtime(xtimes: tuple[int, ...], *, mono_s: float, utc_s: float, mux_time_s: float) -> bytes:
    """What the radios' clocks show now; there is room for four."""
    padded = [*xtimes, 0, 0, 0, 0][:4]
    return orjson.dumps(
        {"msgtype": "getxtime", "MuxTime": mux_time_s, "ustime": mono_s, "UTCtime": utc_s, "xtimes": padded}
    )


def write_alarm(words: str) -> bytes:
    """A sentence for whoever looks after the gateway on the server's side."""
    return orjson.dumps({"msgtype": "alarm", "text": words})


# --- the values of keys ---------------------------------------------------------------------------------------------


def _place(message: dict[str, Any], rate_key: str, frequency_key: str) -> Place | None:
    if message.get(rate_key) is None and message.get(frequency_key) is None:
        return None
    if not message.get(frequency_key):  # a frequency of 0 is how some servers write "no window"
        if message.get(frequency_key) is None:
            raise MalformedMessage(f"{rate_key} without {frequency_key}")
        return None
    return Place(whole(message, rate_key, 0, DATA_RATES - 1), whole(message, frequency_key, 100_000_000, 3_000_000_000))


def _pdu(message: dict[str, Any]) -> bytes:
    try:
        pdu = bytes.fromhex(text(message, "pdu"))
    except ValueError as error:
        if isinstance(error, MalformedMessage):
            raise
        raise MalformedMessage("pdu is not written in hex digits") from None
    if not 1 <= len(pdu) <= 255:
        raise MalformedMessage(f"pdu of {len(pdu)} bytes, a frame has 1 to 255")
    return pdu


def _dev_eui(message: dict[str, Any]) -> DevEui:
    try:
        return DevEui(read_id6(text(message, "DevEui" if "DevEui" in message else "DevEUI")))
    except MalformedMessage:
        raise
    except ValueError:
        raise MalformedMessage("DevEui is no EUI") from None


def _preamble(message: dict[str, Any]) -> int | None:
    return optional(message, "preamble", 65_535) or None
