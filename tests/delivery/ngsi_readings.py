"""Readings for context brokers, the truth that must stand there in the end, and a carrier as stubborn as ours."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from contract_example import HEARD, record
from hypothesis import strategies as st

from gateway.delivery.sink import SinkUnavailable
from gateway.model import Decoded, DevEui, Measurement, Record
from gateway.wire.fiware_models import Rules, observations
from gateway.wire.ngsi import key_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.delivery.sink import Refusal, Sink

PLACE = {"latitude": "43.6108", "longitude": "3.8767"}
GLASS = {"kind": "glass", **PLACE}
ROOM = {"kind": "museum-room", **PLACE}
METER = {"kind": "water-meter", **PLACE}

T0_US = HEARD.utc_us
MINUTE_US = 60_000_000


def heard_at(minute: float) -> Any:
    return replace(HEARD, utc_us=T0_US + round(minute * MINUTE_US))


def measured(*said: tuple[Any, ...]) -> Decoded:
    """Measurements as (quantity, value, unit[, minute of the value])."""
    return Decoded(
        "a/b@1",
        {},
        tuple(
            Measurement(quantity, value, unit, T0_US + round(when[0] * MINUTE_US) if when else None)
            for quantity, value, unit, *when in said
        ),
    )


def reading_of(
    position: int, minute: float, *said: tuple[Any, ...], number: int = 1, tags: dict[str, str] = GLASS, **changes: Any
) -> Record:
    """A record: heard at a minute, with these measurements; device `number` has a DevEUI of its own."""
    return record(
        position,
        heard=heard_at(minute),
        decoded=measured(*said),
        dev_eui=DevEui(number.to_bytes(8, "big")),
        tags=tags,
        f_cnt=position,
        frame_id=f"{position:032x}",
        **changes,
    )


def level(position: int, minute: float, percent: float, number: int = 1) -> Record:
    """A waste container's reading."""
    return reading_of(position, minute, ("fill_level", percent, "%"), number=number)


def minutes_of(records: Iterable[Record]) -> list[float]:
    return [(one.reading.heard.utc_us - T0_US) / MINUTE_US for one in records]


def truth(records: Iterable[Record], rules: Rules | None = None) -> dict[tuple[str, str], dict[str, Any]]:
    """Of each entity and attribute the value that was observed last; of those observed together, the one kept last."""
    newest: dict[tuple[str, str], dict[str, tuple[int, Any]]] = {}
    for one in sorted(records, key=lambda one: one.position):
        for seen in observations(one.reading, rules or Rules()):
            there = newest.setdefault((seen.entity_id, seen.entity_type), {})
            values = key_values(seen)
            for name in seen.attributes:
                if name not in there or seen.time_ms >= there[name][0]:
                    there[name] = (seen.time_ms, values[name])
    return {key: {name: value for name, (_, value) in there.items()} for key, there in newest.items()}


SAID = {
    1: (GLASS, ["fill_level", "temperature", "battery"]),
    2: (ROOM, ["temperature", "humidity", "co2"]),
    3: (METER, ["volume", "water_temperature", "leak"]),
}


@st.composite
def weeks(draw):
    """Readings of three devices, not always in the order of their times, some with values older than themselves."""
    records = []
    for position in range(1, draw(st.integers(4, 24))):
        number = draw(st.sampled_from((1, 2, 3)))
        tags, quantities = SAID[number]
        minute = draw(st.one_of(st.just(position * 10), st.integers(0, 250)))
        chosen = draw(st.lists(st.sampled_from(quantities), unique=True))
        said = [
            (quantity, draw(st.booleans()) if quantity == "leak" else draw(st.integers(0, 90)), "%",
             *draw(st.sampled_from(((), (), (minute - 5,), (minute - 60,)))))
            for quantity in chosen
        ]  # fmt: skip
        records.append(reading_of(position, minute, *said, number=number, tags=tags))
    return records


class Carrier:
    """Carries records in order, as the drain's strict lane does, without its patience."""

    def __init__(self, *, size: int = 8, most_attempts: int = 50) -> None:
        self.size = size
        self.most_attempts = most_attempts
        self.reasons: list[SinkUnavailable] = []
        self.refusals: list[Refusal] = []

    async def carry(self, sink: Sink, records: Sequence[Record]) -> None:
        waiting = list(records)
        while waiting:
            try:
                async with sink.connect() as link:
                    while waiting:
                        batch = waiting[: self.size]
                        self.refusals += await link.deliver(batch)
                        waiting = waiting[len(batch) :]
            except SinkUnavailable as reason:
                self.reasons.append(reason)
                if len(self.reasons) == self.most_attempts:
                    raise
                waiting = [one for one in waiting if one.position not in reason.acknowledged]
