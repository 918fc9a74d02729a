"""What the pieces of the line cost, in microseconds."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import heading, show
from bench.fleet import datagrams, device, register
from gateway.lorawan.frame import DataFrame
from gateway.lorawan.network import Network
from gateway.model import (
    AtCounter,
    Decoded,
    DevAddr,
    DownlinkRequest,
    Lora,
    OpenedUplink,
    Reading,
    Stamp,
    TimeQuality,
)
from gateway.radio.counter import TURN_US
from gateway.radio.schedule import Planned
from gateway.radio.transmitters import Transmitters
from gateway.regions.eu868 import EU868
from gateway.store.devices import DeviceRegistry
from gateway.store.known import KnownDevices
from gateway.store.records import decode, encode
from gateway.wire.semtech_udp import PushData, parse, read_push

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model import RadioFrame

STAMP = Stamp(1_795_428_902_000_000, TimeQuality.NTP, 50, "5ad7d1c56a554b7c9a3b0d5f1f0c9d11", 1_000_000)


def each_us(function: Callable[[], object], times: int) -> float:
    """Microseconds a call, the best of three rounds."""
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(times):
            function()
        best = min(best, (time.perf_counter() - began) / times)
    return best * 1e6


def run() -> None:
    """Print them."""
    heading("parts of the line, microseconds each, of the 200 that 5,000 frames a second leave")
    for devices in (1_000, 100_000):
        _lookup(devices)
    (datagram,) = datagrams(1, 1)

    def heard() -> RadioFrame:
        push = parse(datagram)
        assert isinstance(push, PushData)
        return read_push(push.json, push.eui.hex(), STAMP).frames[0]

    frame = heard()
    show("datagram to frame", f"{each_us(heard, 20_000):.1f} us")
    new = device(0)
    assert new.session is not None
    candidates = [(new.device, new.session)]

    def opened() -> object:
        network = Network(EU868)
        message = network.read(frame)
        assert isinstance(message, DataFrame)
        return network.open(frame, message, candidates)

    show("open, keys not cached", f"{each_us(opened, 5_000):.1f} us")
    uplink = opened()
    assert isinstance(uplink, OpenedUplink)
    reading = Reading.of(uplink, Decoded("heyliot/heywaste@1", {"distance": 900}))
    body = encode(reading, 1)
    show("record to bytes", f"{each_us(lambda: encode(reading, 1), 20_000):.1f} us", beside=f"{len(body)} bytes")
    show("bytes to record", f"{each_us(lambda: decode(body), 20_000):.1f} us")
    _admission()


def _admission() -> None:
    """A thousand answers a minute to one transmitter: until its hour is full, and then refused. Processor time."""
    transmitters, costs_us = Transmitters(EU868), dict[bool, list[float]]({True: [], False: []})
    for number in range(20_000):
        count_us = number * 60_000
        now = replace(STAMP, monotonic_us=STAMP.monotonic_us + count_us)
        rx1 = AtCounter((count_us + 800_000) % TURN_US)
        frequency_hz = 869_525_000 if number % 2 else 868_100_000
        answer = DownlinkRequest("", bytes(12), "roof", rx1, frequency_hz, Lora(7, 250_000 >> (number % 2)), 14.0)
        began = time.thread_time()
        schedule = transmitters.schedule("roof")
        schedule.over(count_us)
        planned = transmitters.plan(answer, count_us, now)
        if isinstance(planned, Planned):
            schedule.hand_over(planned)
        costs_us[isinstance(planned, Planned)].append((time.thread_time() - began) * 1e6)
    for what, costs in (("downlink admitted", costs_us[True]), ("downlink refused", costs_us[False])):
        costs.sort()
        worst = f"{len(costs):,d} of them, p99.9 {costs[len(costs) * 999 // 1000]:.0f} us"
        show(what, f"{costs[len(costs) // 2]:.1f} us", beside=worst)


def _lookup(devices: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        register(Path(name), devices)
        with DeviceRegistry.open(Path(name)) as registry:
            began = time.thread_time()
            known = KnownDevices()
            known.remember(registry.each())
            loading_s = time.thread_time() - began
    addresses = [DevAddr(0x26000000 + number) for number in range(devices)]
    began = time.thread_time()
    for address in addresses:
        known.candidates(address)
    cold = (time.thread_time() - began) / devices * 1e6
    hot = each_us(lambda: known.candidates(addresses[-1]), 100_000)
    show(
        f"lookup among {devices:,d} devices",
        f"{cold:.1f} us",
        beside=f"once each; {hot:.2f} us again; read at start in {loading_s:.2f} s",
    )
