"""What the network knows of a session's MAC layer, as one value.

`MacState` is what the device is believed to have, what it was asked and did not answer, and how it was heard. It
changes by what the device says (`mac.heard`), not by what we ask: a request that nobody answered changes nothing. The
store keeps it as one text (`to_json`), so what is not in it does not survive a restart.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from gateway.lorawan.adr import SAMPLES, Sample
from gateway.lorawan.mac_commands import DlChannelReq, NewChannelReq, read_downlink_commands, write_commands

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.lorawan.mac_commands import MacCommand
    from gateway.regions.region import Region

_FORMAT = 1


class RxSettings(NamedTuple):
    """Where and when a device listens. A class C device listens with the RX2 ones whenever it does nothing else."""

    rx1_delay_s: int
    rx1_dr_offset: int
    rx2_frequency_hz: int
    rx2_data_rate: int


def other_rx(rx: RxSettings, other: RxSettings) -> tuple[RxSettings, ...]:
    """What a device may have that was asked to go from one to the other: the delay is asked apart from the rest."""
    mixed = rx._replace(rx1_delay_s=other.rx1_delay_s), other._replace(rx1_delay_s=rx.rx1_delay_s)
    return tuple(dict.fromkeys(one for one in (other, *mixed) if one != rx))


class NamedChannel(NamedTuple):
    """An uplink channel that the network gave a device, beyond those every device of the region has."""

    ch_index: int
    frequency_hz: int
    min_data_rate: int
    max_data_rate: int


class TxParam(NamedTuple):
    """What TxParamSetupReq sets; `max_eirp` is an index of `MAX_EIRP_DBM`."""

    max_eirp: int
    uplink_dwell: bool
    downlink_dwell: bool


class AdrParam(NamedTuple):
    """What ADRParamSetupReq sets (1.1): exponents of 2."""

    limit_exp: int
    delay_exp: int


class RejoinParam(NamedTuple):
    """What RejoinParamSetupReq sets (1.1)."""

    max_time_n: int
    max_count_n: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A request on its way: the commands of one kind that belong together, and how often they were sent."""

    kind: str  # "RXParamSetup", "NewChannel 3": one of a kind at a time
    commands: tuple[MacCommand, ...]
    times: int = 0
    adr: bool = False  # whether the device had handed its data rate to the network when it was asked


class Shelved(NamedTuple):
    """What is not to be asked for a while: it was refused, or nobody answered."""

    kind: str
    until_f_cnt: int
    content: str = ""  # the commands refused, in hex: others of the kind may be asked. Empty: the whole kind waits


class InFlight(NamedTuple):
    """A confirmed downlink that is not acknowledged yet."""

    f_cnt: int
    ref: str
    uplinks: int = 0  # heard since it was sent


@dataclass(frozen=True, slots=True)
class RecentUplinks:
    """How the last uplinks were heard, packed: this is kept with every frame."""

    packed: bytes = b""

    _ROW = struct.Struct("<IbBB")  # counter, SNR in half dB, TXPower, gateways
    _NO_SNR = -128

    def with_uplink(self, sample: Sample) -> RecentUplinks:
        """One more; the oldest gives way."""
        half_db = self._NO_SNR if sample.snr_db is None else min(max(round(2 * sample.snr_db), -127), 127)
        row = self._ROW.pack(sample.f_cnt, half_db, sample.tx_power, min(sample.gateways, 255))
        return RecentUplinks(self.packed[-self._ROW.size * (SAMPLES - 1) :] + row)

    def samples(self) -> tuple[Sample, ...]:
        """The oldest first."""
        return tuple(
            Sample(f_cnt, None if half_db == self._NO_SNR else half_db / 2, tx_power, gateways)
            for f_cnt, half_db, tx_power, gateways in self._ROW.iter_unpack(self.packed)
        )


@dataclass(frozen=True, slots=True)
class MacState:
    """Everything known of a session's MAC layer besides keys and counters. See the functions of `mac.py`."""

    rx: RxSettings
    enabled: frozenset[int]  # uplink channels that are on
    rx_else: tuple[RxSettings, ...] = ()  # what the device may have instead of `rx`, when that is not sure
    rx1_unsure: bool = False  # RX1 of some channel may have been moved (DlChannelReq): only RX2 is where it is
    channels: tuple[NamedChannel, ...] = ()
    dl_frequencies_hz: tuple[tuple[int, int], ...] = ()  # channel and its RX1, where DlChannelReq moved it
    data_rate: int | None = None  # of the last uplink
    tx_power: int = 0
    nb_trans: int = 1
    max_duty_cycle: int = 0
    tx_param: TxParam | None = None  # None: what the region starts with
    adr_param: AdrParam | None = None
    rejoin_param: RejoinParam | None = None
    device_class: str = "A"  # of a 1.1 device, as it says itself
    # what refusals taught
    data_rate_highest: int | None = None
    tx_power_lowest: int = 0
    tx_power_highest: int | None = None
    # what it told
    battery: int | None = None  # as in DevStatusAns
    margin_db: int | None = None
    status_f_cnt: int | None = None  # the uplink that told it
    # what is going on
    asked: tuple[Asked, ...] = ()
    shelved: tuple[Shelved, ...] = ()
    orders: tuple[MacCommand, ...] = ()  # one-off requests that somebody wants sent
    sticky: frozenset[int] = frozenset()  # CIDs of answers that the device repeats until it hears a downlink
    sticky_uplinks: int = 0  # how often it has repeated them
    spoke: bool = False  # a downlink went out in answer to the last uplink
    in_flight: InFlight | None = None
    conf_f_cnts: tuple[int, ...] | None = None  # confirmed downlinks it may acknowledge; None: not known
    recent: RecentUplinks = field(default_factory=RecentUplinks)

    def to_json(self) -> str:
        """The state as text, some 100 to 400 bytes: what has its default is left out."""
        kept: dict[str, Any] = {"v": _FORMAT}
        for name, short, write, _ in _FIELDS:
            value = getattr(self, name)
            if value != _DEFAULTS[name]:
                kept[short] = write(value)
        return json.dumps(kept, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote; ValueError for anything else: a damaged state is not taken for a fresh one."""
        try:
            kept: dict[str, Any] = json.loads(text)
            if kept.pop("v") != _FORMAT:
                raise ValueError(f"a MAC state of another format than {_FORMAT}")
            values = {name: read(kept.pop(short)) for name, short, _, read in _FIELDS if short in kept}
            if kept:
                raise ValueError(f"a MAC state with unknown parts: {', '.join(sorted(kept))}")
            return cls(**values)
        except (TypeError, KeyError, AttributeError, struct.error) as damage:
            raise ValueError(f"no MAC state: {damage!r}") from damage


def initial(region: Region, *, device_class: str = "A", rx: RxSettings | None = None) -> MacState:
    """The state of a device that starts with the defaults of its region (ABP), or with these receive settings."""
    if rx is None:
        rx = RxSettings(region.receive_delay1_us // 1_000_000, 0, region.rx2.frequency_hz, region.rx2.data_rate)
    return MacState(rx, frozenset(range(len(region.channels))), device_class=device_class)


# --- as text ---------------------------------------------------------------------------------------------------------


def _int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is no number")
    return value


def _up_to(highest: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if not 0 <= _int(value) <= highest:
            raise ValueError(f"{value} is not from 0 to {highest}")
        return int(value)

    return read


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _same(value: Any) -> Any:
    return value


def _mask(channels: frozenset[int]) -> str:
    return f"{sum(1 << index for index in channels):x}"


def _unmask(text: Any) -> frozenset[int]:
    bits = int(_text(text), 16)
    if bits < 0:
        raise ValueError(f"{text!r} is no set of channels")
    return frozenset(index for index in range(bits.bit_length()) if bits >> index & 1)


def _numbers(kind: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda value: kind(*map(_int, value))


def _rows(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    return lambda value: tuple(read(row) for row in value)


def _commands(text: Any) -> tuple[MacCommand, ...]:
    commands, problem = read_downlink_commands(bytes.fromhex(_text(text)))
    if problem is not None:
        raise ValueError(problem)
    return commands


def _hex(commands: tuple[MacCommand, ...]) -> str:
    return write_commands(commands).hex()


def _read_channel(row: Any) -> NamedChannel:
    channel = NamedChannel(*map(_int, row))
    NewChannelReq(*channel)  # refuses what no request could have made
    return channel


def _read_moved(row: Any) -> tuple[int, int]:
    ch_index, frequency_hz = map(_int, row)
    DlChannelReq(ch_index, frequency_hz)
    return ch_index, frequency_hz


def _read_asked(row: Any) -> Asked:
    kind, written, times, adr = row
    commands = _commands(written)
    if not commands:
        raise ValueError(f"{kind!r} is asked without a command")
    return Asked(_text(kind), commands, _int(times), bool(adr))


def _read_shelved(row: Any) -> Shelved:
    kind, until_f_cnt, content = row
    return Shelved(_text(kind), _int(until_f_cnt), _text(content))


def _read_in_flight(row: Any) -> InFlight:
    f_cnt, ref, uplinks = row
    return InFlight(_int(f_cnt), _text(ref), _int(uplinks))


def _read_recent(text: Any) -> RecentUplinks:
    recent = RecentUplinks(base64.b64decode(_text(text), validate=True))
    recent.samples()  # whole rows only
    return recent


def _read_tx_param(row: Any) -> TxParam:
    max_eirp, uplink_dwell, downlink_dwell = row
    return TxParam(_int(max_eirp), bool(uplink_dwell), bool(downlink_dwell))


_FIELDS: tuple[tuple[str, str, Callable[[Any], Any], Callable[[Any], Any]], ...] = (
    # field, its name in the text, how it is written, how it is read
    ("rx", "rx", list, _numbers(RxSettings)),
    ("enabled", "en", _mask, _unmask),
    ("rx_else", "re", lambda value: [list(row) for row in value], _rows(_numbers(RxSettings))),
    ("rx1_unsure", "r1", int, bool),
    ("channels", "ch", lambda value: [list(row) for row in value], _rows(_read_channel)),
    ("dl_frequencies_hz", "dl", lambda value: [list(row) for row in value], _rows(_read_moved)),
    ("data_rate", "dr", _same, _up_to(15)),
    ("tx_power", "tp", _same, _up_to(15)),
    ("nb_trans", "nb", _same, _up_to(15)),
    ("max_duty_cycle", "dc", _same, _up_to(15)),
    ("tx_param", "tx", list, _read_tx_param),
    ("adr_param", "ap", list, _numbers(AdrParam)),
    ("rejoin_param", "rj", list, _numbers(RejoinParam)),
    ("device_class", "cl", _same, _text),
    ("data_rate_highest", "dh", _same, _up_to(15)),
    ("tx_power_lowest", "tl", _same, _up_to(15)),
    ("tx_power_highest", "th", _same, _up_to(15)),
    ("battery", "ba", _same, _up_to(255)),
    ("margin_db", "ma", _same, _int),
    ("status_f_cnt", "sf", _same, _int),
    ("asked", "as", lambda value: [[a.kind, _hex(a.commands), a.times, int(a.adr)] for a in value], _rows(_read_asked)),
    ("shelved", "sh", lambda value: [list(row) for row in value], _rows(_read_shelved)),
    ("orders", "or", _hex, _commands),
    ("sticky", "st", sorted, lambda value: frozenset(map(_int, value))),
    ("sticky_uplinks", "su", _same, _int),
    ("spoke", "sp", int, bool),
    ("in_flight", "if", list, _read_in_flight),
    ("conf_f_cnts", "cf", list, _rows(_int)),
    ("recent", "up", lambda value: base64.b64encode(value.packed).decode(), _read_recent),
)

_DEFAULTS: dict[str, Any] = {
    one.name: one.default if one.default_factory is not RecentUplinks else RecentUplinks() for one in fields(MacState)
}
