"""Semtech's UDP protocol between packet forwarders and servers (GWMP), version 1 and 2: bytes to values and back.

Two layers, because an acknowledgement must leave before anybody looks at the JSON:

    datagram  <->  PushData, PushAck, PullData, PullResp, PullAck, TxAck      header, token, EUI; the JSON stays bytes
    JSON      <->  Push (frames, stat), DownlinkRequest, TxAnswer             read_push, write_push, read_txpk, …

Both ends are here: a server reads PUSH_DATA and writes PULL_RESP, a gateway does the opposite. No reader here raises:
what cannot be used is a `Fault` with a reason of `Malformed`, and one bad packet never costs its neighbours.

Two rules decide about a key. What a frame cannot do without (`tmst`, `freq`, `stat`, `modu`, `datr`, `codr`, `rssi`,
`size`, `data`) refuses the packet when it is missing or impossible. What stands beside it (`tmms`, `ftime`, `foff`,
`hpw`) costs only itself. Unknown keys are nobody's business.

Sources: PROTOCOL.md revision 1.6 and the forwarder of Semtech's sx1302_hal 2.1.0; PROTOCOL.TXT 1.2 of their
packet_forwarder for version 1; what ChirpStack Gateway Bridge 4 and The Things Stack 3 accept and send.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

import orjson

from gateway.model import (
    AtCounter,
    AtGpsTime,
    DownlinkRequest,
    Fsk,
    GatewayEui,
    Immediately,
    Lora,
    LrFhss,
    RadioFrame,
    Stamp,
    TimeQuality,
    TxResult,
)
from gateway.wire.semtech_json import (
    Fault,
    Malformed,
    Unusable,
    extra,
    flag,
    load,
    load_object,
    number,
    salvage,
    text,
    unfit,
    whole,
)
from gateway.wire.semtech_words import (
    COUNTER_MAX,
    CRCS,
    RSSI_DBM,
    SNR_DB,
    TX_WORD_OF,
    TX_WORDS,
    mhz,
    modulation_words,
    payload_words,
    read_frequency,
    read_modulation,
    read_payload,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "MAX_DATAGRAM",
    "Datagram",
    "Fault",
    "Malformed",
    "PullAck",
    "PullData",
    "PullResp",
    "Push",
    "PushAck",
    "PushData",
    "Stat",
    "TxAck",
    "TxAnswer",
    "parse",
    "read_push",
    "read_tx_ack",
    "read_txpk",
    "write_push",
    "write_tx_ack",
    "write_txpk",
]

VERSIONS: Final = (1, 2)
MAX_DATAGRAM: Final = 65_507  # the payload of one UDP datagram over IPv4
MAX_RXPK: Final = 700  # the shortest readable rxpk has 104 characters: no datagram holds more of them
MAX_ANTENNAS: Final = 64  # of `rsig`; boards have up to eight

GPS_EPOCH_S: Final = 315_964_800  # 1980-01-06T00:00:00Z in Unix seconds
GPS_LEAP_S: Final = 18  # GPS is ahead of UTC by this much since 2017-01-01; no further leap second has been announced
# Before 2017 the leap seconds were fewer, and a receiver whose week counter turned over is 19.6 years behind: such a
# time is none. 2100 bounds the other side.
GPS_PLAUSIBLE_MS: Final = (
    (1_483_228_800 - GPS_EPOCH_S + GPS_LEAP_S) * 1000,
    (4_102_444_800 - GPS_EPOCH_S + GPS_LEAP_S) * 1000,
)


# --- datagrams ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PushAck:
    """The server has a PUSH_DATA."""

    KIND: ClassVar = 0x01
    version: int
    token: bytes  # two opaque bytes: implementations differ in how they print them, never in how they echo them

    def encode(self) -> bytes:
        """The datagram."""
        return bytes((self.version, *self.token, self.KIND))


@dataclass(frozen=True, slots=True)
class PullAck:
    """The server has a PULL_DATA: the way down is open."""

    KIND: ClassVar = 0x04
    version: int
    token: bytes

    def encode(self) -> bytes:
        """The datagram."""
        return bytes((self.version, *self.token, self.KIND))


@dataclass(frozen=True, slots=True)
class PushData:
    """Frames and status on their way up; `json` is read by `read_push` once the acknowledgement has left."""

    KIND: ClassVar = 0x00
    version: int
    token: bytes
    eui: GatewayEui
    json: bytes

    def encode(self) -> bytes:
        """The datagram."""
        return bytes((self.version, *self.token, self.KIND)) + self.eui + self.json

    def ack(self) -> PushAck:
        """What the server answers at once."""
        return PushAck(self.version, self.token)


@dataclass(frozen=True, slots=True)
class PullData:
    """A gateway says where its downlinks go: to the address this came from."""

    KIND: ClassVar = 0x02
    version: int
    token: bytes
    eui: GatewayEui

    def encode(self) -> bytes:
        """The datagram."""
        return bytes((self.version, *self.token, self.KIND)) + self.eui

    def ack(self) -> PullAck:
        """What the server answers at once."""
        return PullAck(self.version, self.token)


@dataclass(frozen=True, slots=True)
class PullResp:
    """A downlink; names no gateway, the address it goes to is all there is. `json` is read by `read_txpk`."""

    KIND: ClassVar = 0x03
    version: int
    token: bytes  # means nothing in version 1
    json: bytes

    def encode(self) -> bytes:
        """The datagram."""
        return bytes((self.version, *self.token, self.KIND)) + self.json


@dataclass(frozen=True, slots=True)
class TxAck:
    """What became of a PULL_RESP, under its token; version 1 has none. `json` is read by `read_tx_ack`."""

    KIND: ClassVar = 0x05
    version: int
    token: bytes
    eui: GatewayEui
    json: bytes = b""

    def encode(self) -> bytes:
        """The datagram."""
        return bytes((self.version, *self.token, self.KIND)) + self.eui + self.json


Datagram = PushData | PushAck | PullData | PullResp | PullAck | TxAck


def parse(datagram: bytes) -> Datagram | Fault:
    """One datagram without looking at its JSON. What follows a complete message of fixed length is ignored."""
    if len(datagram) < 4:
        return Fault(Malformed.SHORT)
    version, kind = datagram[0], datagram[3]
    if version not in VERSIONS:
        return Fault(Malformed.VERSION)
    token = datagram[1:3]
    match kind:
        case PushAck.KIND:
            return PushAck(version, token)
        case PullAck.KIND:
            return PullAck(version, token)
        case PullResp.KIND:
            return PullResp(version, token, datagram[4:])
        case PushData.KIND | PullData.KIND | TxAck.KIND if len(datagram) < 12:
            return Fault(Malformed.NO_EUI)
        case PushData.KIND:
            return PushData(version, token, GatewayEui(datagram[4:12]), datagram[12:])
        case PullData.KIND:
            return PullData(version, token, GatewayEui(datagram[4:12]))
        case TxAck.KIND:
            return TxAck(version, token, GatewayEui(datagram[4:12]), datagram[12:])
        case _:
            return Fault(Malformed.KIND)


# --- up: rxpk and stat ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stat:
    """How a gateway says it is, every 30 s or so. The counters count since the previous one; None: not said."""

    time_utc_s: int | None = None  # its system clock, Unix seconds
    latitude: float | None = None
    longitude: float | None = None
    altitude_m: float | None = None
    rxnb: int | None = None  # frames received
    rxok: int | None = None  # of these, CRC good
    rxfw: int | None = None  # of these, forwarded
    ackr: float | None = None  # percent of PUSH_DATA acknowledged
    dwnb: int | None = None  # PULL_RESP received
    txnb: int | None = None  # frames emitted
    temperature_c: float | None = None


@dataclass(frozen=True, slots=True)
class Push:
    """What a PUSH_DATA carried: the frames that can be used, and why the others cannot."""

    frames: list[RadioFrame]
    stat: Stat | None = None
    faults: Sequence[Fault] = ()


def read_push(json: bytes, receiver: str, heard: Stamp) -> Push:
    """The frames and the status in the JSON of a PUSH_DATA. Every rxpk is judged by itself.

    `receiver` goes into the frames as it is. `heard` is the host's stamp of the arrival; a frame with a GPS time
    (`tmms`) gets that instead. `time` is ignored: nobody promises where it comes from.
    """
    body, faults = _body(json)
    rxpks, stat = body.get("rxpk"), body.get("stat")
    frames: list[RadioFrame] = []
    if type(rxpks) is list:
        if len(rxpks) > MAX_RXPK:
            faults.append(Fault(Malformed.TOO_MANY, "rxpk"))
        for rxpk in rxpks[:MAX_RXPK]:
            try:
                frames.append(_frame(rxpk, receiver, heard))
            except Unusable as unusable:
                faults.append(unusable.fault)
    elif stat is None or rxpks is not None:
        faults.append(unfit("rxpk", rxpks).fault)
    if stat is not None and type(stat) is not dict:
        faults.append(Fault(Malformed.WRONG_TYPE, "stat"))
        stat = None
    return Push(frames, None if stat is None else _stat(stat), faults)


def _body(json: bytes) -> tuple[dict[str, Any], list[Fault]]:
    try:
        body = load(json)
    except Unusable as unusable:
        body, faults = salvage(json, MAX_RXPK)
        return body, faults or [unusable.fault]  # no fault in a packet: then the damage lies between them
    if type(body) is not dict:
        return {"rxpk": []}, [Fault(Malformed.NOT_AN_OBJECT)]
    return body, []


def _frame(rxpk: Any, receiver: str, heard: Stamp) -> RadioFrame:
    if type(rxpk) is not dict:
        raise Unusable(Malformed.NOT_AN_OBJECT, "rxpk")
    modulation = read_modulation(rxpk)
    signal, rssi = rxpk, "rssi"
    if rxpk.get("rsig"):
        signal, rssi = _strongest(rxpk["rsig"]), "rssic"
    gps_ms = extra(rxpk, "tmms", *GPS_PLAUSIBLE_MS) if "tmms" in rxpk else None
    return RadioFrame(
        read_payload(rxpk),
        heard if gps_ms is None else _gps_stamp(gps_ms, heard),
        read_frequency(rxpk),
        modulation,
        number(signal, rssi, *RSSI_DBM),
        # No SNR with FSK, whatever some forwarders write there.
        number(signal, "lsnr", *SNR_DB) if type(modulation) is Lora and signal.get("lsnr") is not None else None,
        whole(signal, "chan", 0, 255) if signal.get("chan") is not None else 0,
        whole(rxpk, "rfch", 0, 255) if rxpk.get("rfch") is not None else 0,
        whole(rxpk, "tmst", 0, COUNTER_MAX),
        CRCS[whole(rxpk, "stat", -1, 1)],
        receiver,
        None if gps_ms is None else gps_ms * 1000,
        extra(signal, "ftime", 0, 999_999_999) if "ftime" in signal else None,
        extra(signal, "foff", -10_000_000, 10_000_000) if "foff" in signal else None,
    )


def _strongest(rsig: Any) -> dict[str, Any]:
    """The antenna that heard best: one transmission is one frame, however many antennas the gateway has."""
    if type(rsig) is not list:
        raise Unusable(Malformed.WRONG_TYPE, "rsig")
    best: dict[str, Any] | None = None
    best_rank = (-math.inf, -math.inf)
    for antenna in rsig[:MAX_ANTENNAS]:
        if type(antenna) is not dict:
            continue
        try:
            rank = (
                number(antenna, "lsnr", *SNR_DB) if antenna.get("lsnr") is not None else -math.inf,
                number(antenna, "rssic", *RSSI_DBM),
            )
        except Unusable:
            continue
        if best is None or rank > best_rank:
            best, best_rank = antenna, rank
    if best is None:
        raise Unusable(Malformed.IMPOSSIBLE_VALUE, "rsig")
    return best


def _gps_stamp(gps_ms: int, host: Stamp) -> Stamp:
    utc_us = (gps_ms + (GPS_EPOCH_S - GPS_LEAP_S) * 1000) * 1000
    return Stamp(utc_us, TimeQuality.GPS, 1, host.boot_id, host.monotonic_us)  # 1 ms: what `tmms` resolves


def _stat(stat: dict[str, Any]) -> Stat:
    def count(key: str) -> int | None:
        return extra(stat, key, 0, COUNTER_MAX)

    def measure(key: str, low: float, high: float) -> float | None:
        try:
            return number(stat, key, low, high)
        except Unusable:
            return None

    latitude, longitude = measure("lati", -90, 90), measure("long", -180, 180)
    altitude_m = measure("alti", -1_000, 100_000)
    if latitude is None or longitude is None or (latitude == longitude == 0 and not altitude_m):
        latitude = longitude = altitude_m = None  # zeros are how some say that they have no fix
    return Stat(
        time_utc_s=_stat_time(stat.get("time")),
        latitude=latitude,
        longitude=longitude,
        altitude_m=altitude_m,
        rxnb=count("rxnb"),
        rxok=count("rxok"),
        rxfw=count("rxfw"),
        ackr=measure("ackr", 0, 100),
        dwnb=count("dwnb"),
        txnb=count("txnb"),
        temperature_c=measure("temp", -100, 200),
    )


def _stat_time(said: object) -> int | None:
    """`2014-01-12 08:59:28 GMT`: unlike the time of an rxpk, and the zone is always UTC whatever word stands there."""
    if type(said) is not str:
        return None
    try:
        return int(datetime.fromisoformat(said[:19]).replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None


def write_push(frames: Iterable[RadioFrame] = (), stat: Stat | None = None) -> bytes:
    """The JSON of a PUSH_DATA. ValueError for a modulation the protocol has no word for."""
    body: dict[str, Any] = {}
    if rxpks := [_rxpk(frame) for frame in frames]:
        body["rxpk"] = rxpks
    if stat is not None:
        body["stat"] = _written_stat(stat)
    return orjson.dumps(body)


def _rxpk(frame: RadioFrame) -> dict[str, Any]:
    rxpk: dict[str, Any] = {"tmst": frame.counter_us}
    if frame.heard.quality in (TimeQuality.GPS, TimeQuality.NTP):  # a server takes it for the gateway's clock
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=frame.heard.utc_us)
        rxpk["time"] = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if frame.gps_time_us is not None:
        rxpk["tmms"] = frame.gps_time_us // 1000
    if frame.fine_time_ns is not None:
        rxpk["ftime"] = frame.fine_time_ns
    rxpk |= {"chan": frame.channel, "rfch": frame.rf_chain, "freq": mhz(frame.frequency_hz), "stat": frame.crc.value}
    rxpk |= modulation_words(frame.modulation)
    rxpk["rssi"] = round(frame.rssi_dbm)  # strict readers want a whole number
    if frame.snr_db is not None:
        rxpk["lsnr"] = round(frame.snr_db, 1)
    if frame.frequency_offset_hz is not None:
        rxpk["foff"] = frame.frequency_offset_hz
    return rxpk | payload_words(frame.phy)


def _written_stat(stat: Stat) -> dict[str, Any]:
    time = None if stat.time_utc_s is None else datetime.fromtimestamp(stat.time_utc_s, UTC)
    words = {
        "time": None if time is None else time.strftime("%Y-%m-%d %H:%M:%S GMT"),
        "lati": stat.latitude,
        "long": stat.longitude,
        "alti": None if stat.altitude_m is None else round(stat.altitude_m),
        "rxnb": stat.rxnb,
        "rxok": stat.rxok,
        "rxfw": stat.rxfw,
        "ackr": stat.ackr,
        "dwnb": stat.dwnb,
        "txnb": stat.txnb,
        "temp": stat.temperature_c,
    }
    return {key: value for key, value in words.items() if value is not None}


# --- down: txpk and what became of it -------------------------------------------------------------------------------


def read_txpk(json: bytes, *, ref: str, receiver: str, default_power_dbm_eirp: float = 14.0) -> DownlinkRequest | Fault:
    """The downlink in the JSON of a PULL_RESP. `imme` overrides `tmst`, which overrides `tmms`.

    `powe` may be left out; 14 dBm EIRP is within the law of every region in most of its bands.
    """
    try:
        return _request(load_object(json, "txpk"), ref, receiver, default_power_dbm_eirp)
    except Unusable as unusable:
        return unusable.fault


def _request(txpk: dict[str, Any], ref: str, receiver: str, default_power_dbm_eirp: float) -> DownlinkRequest:
    modulation = read_modulation(txpk)
    if isinstance(modulation, LrFhss):
        raise Unusable(Malformed.UNKNOWN_MODULATION, "modu")  # no gateway can send it
    timing: AtCounter | AtGpsTime | Immediately
    if flag(txpk, "imme"):
        timing = Immediately()
    elif txpk.get("tmst") is not None or txpk.get("tmms") is None:
        timing = AtCounter(whole(txpk, "tmst", 0, COUNTER_MAX))
    else:
        timing = AtGpsTime(whole(txpk, "tmms", 0, GPS_PLAUSIBLE_MS[1]) * 1000)
    return DownlinkRequest(
        ref=ref,
        phy=read_payload(txpk),
        receiver=receiver,
        timing=timing,
        frequency_hz=read_frequency(txpk),
        modulation=modulation,
        power_dbm_eirp=number(txpk, "powe", -128, 127) if txpk.get("powe") is not None else default_power_dbm_eirp,
        invert_polarity=flag(txpk, "ipol"),
        payload_crc=not flag(txpk, "ncrc"),
        preamble_symbols=whole(txpk, "prea", 1, 65_535) if txpk.get("prea") is not None else None,
        rf_chain=whole(txpk, "rfch", 0, 255) if txpk.get("rfch") is not None else 0,
    )


def write_txpk(request: DownlinkRequest) -> bytes:
    """The JSON of a PULL_RESP, with every key the reference forwarder insists on.

    `powe` is rounded down to whole dBm: many forwarders read no more, and up would break the limit. ValueError for a
    modulation the protocol has no word for.
    """
    txpk: dict[str, Any] = {}
    match request.timing:
        case AtCounter(counter_us):
            txpk |= {"imme": False, "tmst": counter_us}
        case AtGpsTime(gps_time_us):
            txpk |= {"imme": False, "tmms": gps_time_us // 1000}
        case Immediately():
            txpk["imme"] = True
    txpk |= {"freq": mhz(request.frequency_hz), "rfch": request.rf_chain, "powe": math.floor(request.power_dbm_eirp)}
    txpk |= modulation_words(request.modulation)
    if isinstance(request.modulation, Fsk):
        # A deviation is mandatory; half the bit rate is what The Things Stack sends (25 kHz at 50 kbit/s, RP002).
        deviation_hz = request.modulation.deviation_hz
        txpk["fdev"] = request.modulation.bit_rate // 2 if deviation_hz is None else deviation_hz
    else:
        txpk["ipol"] = request.invert_polarity
    if request.preamble_symbols is not None:
        txpk["prea"] = request.preamble_symbols
    txpk["ncrc"] = not request.payload_crc
    return orjson.dumps({"txpk": txpk | payload_words(request.phy)})


@dataclass(frozen=True, slots=True)
class TxAnswer:
    """What a forwarder said of a PULL_RESP. `detail` is its word, safe to show: printable ASCII and short."""

    result: TxResult
    detail: str = ""


def read_tx_ack(json: bytes) -> TxAnswer | Fault:
    """The JSON of a TX_ACK; none at all, or a lone NUL as Kerlink's iBTS sends it, is a yes. A warning is a yes too."""
    if not json.strip(b"\0 \r\n\t"):
        return TxAnswer(TxResult.SENT)
    try:
        answer = load_object(json, "txpk_ack")
        if answer.get("error") not in (None, "", "NONE"):
            word = text(answer, "error")
            return TxAnswer(TX_WORDS.get(word, TxResult.UNKNOWN), _shown(word))
        if answer.get("warn") in (None, ""):
            return TxAnswer(TxResult.SENT)
        value = answer.get("value")
        limit = f" {value}" if isinstance(value, str | int | float) else ""
        return TxAnswer(TxResult.SENT, _shown(text(answer, "warn") + limit))
    except Unusable as unusable:
        if unusable.fault == Fault(Malformed.MISSING_KEY, "txpk_ack"):  # an object without a complaint
            return TxAnswer(TxResult.SENT)
        return unusable.fault


def write_tx_ack(result: TxResult, *, power_used_dbm: int | None = None) -> bytes:
    """The JSON of a TX_ACK: nothing for a yes, else one of the protocol's own words.

    `power_used_dbm` with a yes warns that the frame went out with that power instead of the one asked for.
    """
    word = TX_WORD_OF[result]
    if word != "NONE":
        return orjson.dumps({"txpk_ack": {"error": word}})
    if power_used_dbm is not None:
        return orjson.dumps({"txpk_ack": {"warn": "TX_POWER", "value": power_used_dbm}})
    return b""


def _shown(text: str) -> str:
    return text[:64].encode("unicode_escape").decode("ascii")[:80]
