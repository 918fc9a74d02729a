"""What of a reading leaves for one destination: chosen parts, pseudonyms instead of names, places and times cut.

Pseudonyms would be worth little if the rest of the reading gave the device away. So with a key for them, what was on
the air (whoever listens there knows whose it is) and what may name a household in its own words leave only where
`fields` asks for them by name. In the same way raw and unread payloads stay where positions are cut: nobody knows
where in them a position is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from gateway.model import Decoded, DevAddr, DevEui
from gateway.wire.own_json import FIELDS, IDS, json_bytes, reading_bytes, reading_json, rfc3339, rfc3339_us

if TYPE_CHECKING:
    from gateway.model import Device, Measurement, Reading, Record, Stamp
    from gateway.wire.pseudonym import Pseudonyms

NAMING: Final = frozenset({"dev_addr", "tags", "f_cnt", "payload", "data", "warnings", "problem", "radio"})
"""Parts of a reading that may say whose it is; with pseudonyms they have to be asked for."""

UNCUT: Final = frozenset({"payload", "data"})
"""Parts that may hold a position which cannot be found for sure; where positions are cut, they have to be asked for."""

POSITIONS: Final = frozenset({"latitude", "longitude", "lat", "lon", "lng"})
"""What positions are called, in tags, measurements and a codec's data."""

_COUNTERS: Final = frozenset({"first_f_cnt", "last_f_cnt"})
_DEPTH: Final = 64


@dataclass(frozen=True, slots=True)
class Privacy:
    """What one destination gets to see. By default everything. ValueError for what cannot be."""

    fields: tuple[str, ...] = ()  # keys of a reading (`own_json.FIELDS`); empty: all
    pseudonyms: Pseudonyms | None = None
    position_decimals: int | None = None  # of a degree: 3 is about a hundred metres, 2 a kilometre
    time_step_s: int | None = None  # times are set back to a multiple of this
    _keys: frozenset[str] | None = field(init=False, repr=False)  # None: all

    def __post_init__(self) -> None:
        """Check, and derive which keys leave."""
        unknown = [name for name in self.fields if name not in FIELDS]
        if unknown:
            raise ValueError(f"fields: a reading has no {', '.join(unknown)}; it has {', '.join(FIELDS)}")
        if self.position_decimals is not None and not 0 <= self.position_decimals <= 7:
            raise ValueError("a position is cut to 0 to 7 decimals")
        if self.time_step_s is not None and self.time_step_s < 1:
            raise ValueError("times are cut to whole seconds or more")
        kept_back = NAMING if self.pseudonyms is not None else frozenset()
        kept_back |= UNCUT if self.position_decimals is not None else frozenset()
        keys = {*self.fields, *IDS} if self.fields else {*FIELDS} - kept_back
        object.__setattr__(self, "_keys", None if keys == {*FIELDS} else frozenset(keys))

    @property
    def keys(self) -> frozenset[str]:
        """The keys of a reading that leave."""
        return frozenset(FIELDS) if self._keys is None else self._keys

    @property
    def hides_devices(self) -> bool:
        """Whether the destination knows devices by pseudonyms only, so that it cannot ask for downlinks either."""
        return self.pseudonyms is not None

    def dev_eui(self, reading: Reading) -> str:
        """What the destination calls the device: 16 hex."""
        plain = reading.dev_eui.hex()
        return plain if self.pseudonyms is None else self.pseudonyms.of("dev_eui", plain)

    def frame_id(self, reading: Reading) -> str:
        """What the destination calls the frame: the same from every gateway that heard it and has the same key."""
        return reading.frame_id if self.pseudonyms is None else self.pseudonyms.of("id", reading.frame_id)

    def record_id(self, record: Record) -> str:
        """What the destination calls this copy."""
        return record.record_id if self.pseudonyms is None else self.pseudonyms.of("record_id", record.record_id)

    def reading(self, record: Record) -> dict[str, Any]:
        """What leaves of a reading, in our own JSON, keys in the usual order."""
        reading = reading_json(replace(record, reading=self._cut(record.reading)))
        if self.pseudonyms is not None:
            reading["id"], reading["record_id"] = self.frame_id(record.reading), self.record_id(record)
            reading["dev_eui"] = reading["name"] = self.dev_eui(record.reading)
        return reading if self._keys is None else {key: value for key, value in reading.items() if key in self._keys}

    def reading_bytes(self, record: Record) -> bytes:
        """The same as one line of JSON without line break; it fails for no reading."""
        if self.pseudonyms is None and self.position_decimals is None and self.time_step_s is None:
            return reading_bytes(record, self.fields)
        return json_bytes(self.reading(record))

    def narrowed(self, reading: Reading) -> Reading:
        """The reading for words that have a place for each of its parts: what does not leave is empty, not left out."""
        cut = self._cut(reading)
        if self._keys is None and self.pseudonyms is None:
            return cut
        decoded, has = cut.decoded, self.keys.__contains__
        known_as = self.known_as(reading.dev_eui)
        name = reading.name if self.pseudonyms is None else str(known_as)
        return replace(
            cut,
            frame_id=self.frame_id(reading),
            dev_eui=known_as,
            dev_addr=reading.dev_addr if has("dev_addr") else DevAddr(0),
            join_eui=None,
            name=name if has("name") else "",
            tags=cut.tags if has("tags") else {},
            payload=reading.payload if has("payload") else b"",
            f_cnt=reading.f_cnt if has("f_cnt") else 0,
            f_port=reading.f_port if has("f_port") else None,
            confirmed=reading.confirmed and has("confirmed"),
            adr=reading.adr and has("adr"),
            decoded=Decoded(
                codec=decoded.codec if has("codec") else None,
                data=decoded.data if has("data") else None,
                measurements=decoded.measurements if has("measurements") else (),
                warnings=decoded.warnings if has("warnings") else (),
                problem=decoded.problem if has("problem") else None,
            ),
        )

    def device(self, device: Device) -> Device | None:
        """The device as words tell of it that something happened to; None: nothing is told of a single one."""
        if self.pseudonyms is not None:
            return None
        if self._keys is None and self.position_decimals is None:
            return device
        has, tags = self.keys.__contains__, device.tags
        if self.position_decimals is not None:
            tags = _places_cut(tags, self.position_decimals, _DEPTH)
        return replace(
            device,
            name=device.name if has("name") else "",
            codec=device.codec if has("codec") else None,
            tags=tags if has("tags") else {},
            join_eui=device.join_eui if self._keys is None else None,
        )

    def known_as(self, dev_eui: DevEui) -> DevEui:
        """The number under which the destination knows the device."""
        return dev_eui if self.pseudonyms is None else DevEui.parse(self.pseudonyms.of("dev_eui", dev_eui.hex()))

    def stamp(self, stamp: Stamp) -> Stamp:
        """The moment as the destination may know it."""
        return stamp if self.time_step_s is None else replace(stamp, utc_us=self._cut_time(stamp.utc_us))

    def coordinate(self, degrees: float) -> float:
        """A latitude or longitude as the destination may know it."""
        return degrees if self.position_decimals is None else round(degrees, self.position_decimals)

    def facts(self, topic: str, facts: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What leaves of a fact of the gateway under this topic ("status", "balance", "{dev_eui}/join"); None: nothing.

        To whom devices have no names, nothing is told of a single one. A join says no more than a reading would.
        """
        if self.pseudonyms is not None:
            if "/" in topic:
                return None
            facts = self._nameless(facts)
        if self.position_decimals is not None:
            facts = _places_cut(facts, self.position_decimals, _DEPTH)
        return self._like_a_reading(facts) if topic.endswith("/join") else facts

    def _like_a_reading(self, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        told = {key: value for key, value in facts.items() if key in self.keys or key not in FIELDS}
        if self.time_step_s is not None and "time" in told:
            told["time"] = rfc3339(self._cut_time(rfc3339_us(told["time"])))
        return told

    def _nameless(self, facts: Any) -> Any:
        match facts:
            case Mapping():
                return {
                    key: self._pseudonym(value) if key == "dev_eui" else self._nameless(value)
                    for key, value in facts.items()
                    if key not in _COUNTERS
                }
            case list() | tuple():
                return [self._nameless(fact) for fact in facts]
            case _:
                return facts

    def _pseudonym(self, dev_eui: object) -> str | None:
        return None if self.pseudonyms is None or dev_eui is None else self.pseudonyms.of("dev_eui", str(dev_eui))

    # --- cutting

    def _cut(self, reading: Reading) -> Reading:
        if self.position_decimals is None and self.time_step_s is None:
            return reading
        decoded = reading.decoded
        measurements = tuple(self._cut_measurement(measurement) for measurement in decoded.measurements)
        data = decoded.data
        tags = reading.tags
        if self.position_decimals is not None:
            data = None if data is None else _places_cut(data, self.position_decimals, _DEPTH)
            tags = _places_cut(tags, self.position_decimals, _DEPTH)
        return replace(
            reading,
            heard=replace(reading.heard, utc_us=self._cut_time(reading.heard.utc_us)),
            tags=tags,
            decoded=replace(decoded, measurements=measurements, data=data),
        )

    def _cut_measurement(self, measurement: Measurement) -> Measurement:
        value = measurement.value
        if self.position_decimals is not None and measurement.quantity in POSITIONS and isinstance(value, float):
            value = round(value, self.position_decimals)
        when = measurement.time_us
        return replace(measurement, value=value, time_us=None if when is None else self._cut_time(when))

    def _cut_time(self, utc_us: int) -> int:
        return utc_us if self.time_step_s is None else utc_us - utc_us % (self.time_step_s * 1_000_000)


EVERYTHING: Final = Privacy()
"""For a destination from which nothing is kept back."""


def _places_cut(value: Any, decimals: int, depth: int) -> Any:
    """The same with every position in it cut; one that is no number is left out, because it cannot be."""
    match value:
        case Mapping():
            cut = {
                key: _coordinate_cut(item, decimals)
                if str(key).lower() in POSITIONS
                else _places_cut(item, decimals, depth - 1)
                for key, item in (value.items() if depth else ())
            }
            return {key: item for key, item in cut.items() if item is not _NOTHING}
        case str() | bytes() | bytearray():
            return value
        case Sequence():
            return [_places_cut(item, decimals, depth - 1) for item in (value if depth else ())]
        case _:
            return value


_NOTHING: Final = object()


def _coordinate_cut(value: object, decimals: int) -> object:
    if value is None:
        return None
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        return _NOTHING
    return f"{number:.{decimals}f}" if isinstance(value, str) else round(number, decimals)
