"""Readings to a real mosquitto in each format: what writing them costs, and how many a second are confirmed."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.bare_mqtt import published_per_s
from bench.figures import heading, show, times
from bench.fill import GATEWAY, bodies
from bench.machine import OURS
from bench.servers import mosquitto, mosquitto_program
from gateway.delivery.mqtt import MqttSink
from gateway.lines.mqtt import Broker
from gateway.model import Record
from gateway.regions.eu868 import EU868
from gateway.store.records import decode
from gateway.wire.chirpstack_events import ChirpstackWords
from gateway.wire.home_assistant import HomeAssistant
from gateway.wire.own_topics import OwnWords
from gateway.wire.ttn_events import TtnWords

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.delivery.mqtt import Words

DEVICES = 3_000
READINGS = 12_000
IN_FLIGHT = 32
HALF = IN_FLIGHT // 2  # a lane of the drain
FORMATS: Mapping[str, Callable[[], Words]] = {
    "gateway": partial(OwnWords, GATEWAY),
    "gateway, all new to Home Assistant": lambda: OwnWords(
        GATEWAY, home_assistant=HomeAssistant("homeassistant", "lorawan")
    ),
    "chirpstack": partial(ChirpstackWords, GATEWAY, EU868, "waste"),
    "ttn": partial(TtnWords, GATEWAY, "waste"),
}


def run() -> None:
    """Print the figures."""
    program = mosquitto_program()
    heading(f"readings into mosquitto in each format, two lanes of {HALF}")
    if program is None:
        print("  skipped: apt-get install mosquitto")
        return
    records = [Record(GATEWAY, "0badcafe", position, decode(body)) for position, body in enumerate(bodies(DEVICES), 1)]
    os.sched_setaffinity(0, OURS)
    for name, words in FORMATS.items():
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, mosquitto(Path(folder), program) as port:
            written_us, messages, size = _written(words(), records)
            rate, used_us = asyncio.run(_carried(port, words(), records))
            limit = published_per_s(port, bytes(size // messages), IN_FLIGHT)
        show(
            name, f"{rate:,.0f} readings/s", aim="3,000",
            beside=f"{times(rate, limit)} the broker's own {limit:,.0f}/s; {used_us:.0f} us of processor each",
        )  # fmt: skip
        per = messages / len(records)
        show(
            "  of that, writing it",
            f"{written_us:.0f} us",
            beside=f"{per:.2f} messages, {size / len(records):,.0f} bytes",
        )


def _written(words: Words, records: Sequence[Record]) -> tuple[float, int, int]:
    """Microseconds a record; messages and bytes of all."""
    began = time.process_time()
    said = [message for record in records for message in words.of_record(record)]
    took_s = time.process_time() - began
    return took_s / len(records) * 1e6, len(said), sum(len(message.payload) for message in said)


async def _carried(port: int, words: Words, records: Sequence[Record]) -> tuple[float, float]:
    """Readings a second until each is confirmed, and microseconds of processor for each."""
    broker = Broker(f"mqtt://127.0.0.1:{port}", "bench", in_flight=4 * IN_FLIGHT)
    async with MqttSink("bench", broker, words).connect() as link:

        async def lane(first: int) -> None:
            for start in range(first, READINGS, IN_FLIGHT):
                batch = [records[(start + offset) % len(records)] for offset in range(HALF)]
                assert not await link.deliver(batch)

        began, used = time.perf_counter(), time.process_time()
        await asyncio.gather(lane(0), lane(HALF))
        took_s, used_s = time.perf_counter() - began, time.process_time() - used
    return READINGS / took_s, used_s / READINGS * 1e6
