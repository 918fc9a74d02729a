"""Stores that have been used for a while: a fleet's records without the fleet."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from itertools import cycle, islice
from typing import TYPE_CHECKING

from bench.fleet import CODECS, datagrams, device, register
from gateway.decoding.catalogue import Catalogue, shipped_folder
from gateway.decoding.sandbox import Decoder
from gateway.host.clock import Clock
from gateway.lorawan.frame import DataFrame
from gateway.lorawan.network import Network
from gateway.model import Decoded, GatewayEui, OpenedUplink, Reading
from gateway.regions.eu868 import EU868
from gateway.store.cursors import CursorFile, Progress
from gateway.store.devices import DeviceRegistry
from gateway.store.log import RecordLog
from gateway.store.part import Tally
from gateway.store.records import decode, encode
from gateway.store.seals import SealRing
from gateway.wire.semtech_udp import PushData, parse, read_push

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

GATEWAY = GatewayEui(bytes.fromhex("0016c001ff10a235"))
MAX_BYTES = 4 << 30  # the default of store.max_size
GROUP = 1_000
AN_HOUR_US = 3_600_000_000
HEARD_US = 1_773_468_020_000_000  # when the meter's clock says it sent its payload: nothing to warn of


def bodies(devices: int) -> list[bytes]:
    """One record of each device, heard an hour ago, as the line would have made it."""
    now = Clock().stamp()
    heard = replace(now, utc_us=now.utc_us - AN_HOUR_US, boot_id=os.urandom(16).hex())
    network, decoded, made = Network(EU868), asyncio.run(_decoded()), []
    for number, datagram in enumerate(datagrams(devices, devices)):
        push, known = parse(datagram), device(number)
        assert isinstance(push, PushData)
        assert known.session is not None
        frame = read_push(push.json, push.eui.hex(), heard).frames[0]
        data = network.read(frame)
        assert isinstance(data, DataFrame)
        uplink = network.open(frame, data, [(known.device, known.session)])
        assert isinstance(uplink, OpenedUplink)
        made.append(encode(Reading.of(uplink, decoded[number % len(CODECS)]), number + 1))
    return made


async def _decoded() -> list[Decoded]:
    async with Decoder(Catalogue.load([shipped_folder()])) as decoder:
        return [await decoder.decode(codec, payload, port, {}, HEARD_US) for codec, port, payload in CODECS]


def open_log(folder: Path) -> tuple[RecordLog, SealRing]:
    """The end of a store's log, and its keys."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    seals = SealRing(folder, None)
    return RecordLog(folder / "log", str(GATEWAY), MAX_BYTES, seals), seals


def append(record_log: RecordLog, group: Sequence[bytes]) -> None:
    """One commit."""
    record_log.append(group, (), Tally(heard=len(group), stored=len(group)))


def outage(devices: int, records: int, span_s: float) -> Iterator[bytes]:
    """Records of a time that ended an hour ago: the devices in turn, each frame with a moment and a name of its own."""
    readings = [decode(body) for body in bodies(devices)]
    step_us = round(span_s * 1e6 / records)
    for number in range(records):
        reading = readings[number % devices]
        back_us = (records - number) * step_us
        measurements = tuple(
            one if one.time_us is None else replace(one, time_us=one.time_us - back_us)
            for one in reading.decoded.measurements
        )
        heard = replace(reading.heard, utc_us=reading.heard.utc_us - back_us)
        decoded, f_cnt = replace(reading.decoded, measurements=measurements), number // devices
        frame = {"frame_id": f"{number:032x}", "f_cnt": f_cnt, "heard": heard, "decoded": decoded}
        yield encode(replace(reading, **frame), number % devices + 1)


def fill(
    folder: Path, devices: int, records: int, *, destination: str | None = None, span_s: float | None = None
) -> None:
    """Make a store with that many records, cleanly closed; all of them still wait for the destination.

    With `span_s` they are from an outage that long, else the same few again and again.
    """
    register(folder, devices)
    record_log, seals = open_log(folder)
    if destination is not None:
        cursors = CursorFile(folder)
        cursors.save(record_log.epoch, [(destination, Progress.starting_at(0))])
        cursors.close()
    waiting = islice(cycle(bodies(devices)), records) if span_s is None else outage(devices, records, span_s)
    while group := list(islice(waiting, GROUP)):
        append(record_log, group)
    checkpoint(folder, record_log.epoch, record_log.head)
    record_log.close()
    seals.close()


def checkpoint(folder: Path, epoch: str, position: int) -> None:
    """The registry is current as of this position."""
    with DeviceRegistry.open(folder) as registry:
        registry.checkpoint(epoch, position, ())
