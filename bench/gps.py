"""What a GPS receiver costs, and how well the count of a concentrator follows it when its crystal wanders."""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING

from bench.figures import heading, show
from gateway.gps import ubx
from gateway.gps.receiver import Receiver
from gateway.gps.tongues import SerialTongue
from gateway.model import GpsMoment
from gateway.radio.gps_time import GpsTime
from gateway.simulator.chance import Chance
from gateway.simulator.gnss.receiver import SimulatedReceiver

if TYPE_CHECKING:
    from collections.abc import Callable

UTC_S = 1_795_428_000
SECOND_US = 1_000_000
SECONDS = 2_000
LINE_BYTES_S = 960  # 9600 baud


def run() -> None:
    """Print them."""
    heading("GPS, one core")
    for name, kinds in (("NMEA", ()), ("NMEA and UBX", (ubx.NAV_TIMEGPS, ubx.NAV_PVT, ubx.NAV_TIMELS))):
        octets, messages, seconds_s = _understood(kinds)
        show(
            f"{name}: understood", f"{octets / seconds_s / 1e6:.1f} MB/s",
            beside=f"{messages / seconds_s:,.0f} messages/s; a line of 9600 baud brings {LINE_BYTES_S} B/s",
        )  # fmt: skip
        show(f"{name}: processor for a second of a receiver", f"{seconds_s / SECONDS * 1e6:.0f} us")
    show("a pulse: the line laid anew", f"{_pulse_us():.0f} us", beside="once a second")
    show("GPS time of a frame", f"{_conversion_us():.2f} us", beside="of the 200 us a frame may take")
    for name, ppm in CRYSTALS.items():
        worst_us, usual_us, lost_us = _errors(ppm)
        show(
            f"error of a frame's GPS time, {name}", f"{usual_us * 1000:.0f} ns",
            beside=f"at most {worst_us * 1000:.0f} ns of 100,000; a minute without pulses: {lost_us:.1f} us",
        )  # fmt: skip


def _understood(kinds: tuple[int, ...]) -> tuple[int, int, float]:
    far = SimulatedReceiver(Chance(1))
    for kind in kinds:
        far.told(ubx.asks_for(kind))
    bursts = [far.burst(UTC_S + second) for second in range(SECONDS)]
    tongue, receiver, messages = SerialTongue(), Receiver(0), 0
    began_s = time.perf_counter()
    for second, burst in enumerate(bursts):
        now_us = second * SECOND_US
        receiver.heard(now_us)
        for at in range(0, len(burst), 64):  # as a serial line is read
            for said, at_us in tongue.feed(burst[at : at + 64], now_us):
                receiver.take(said, at_us)
                messages += 1
    return sum(map(len, bursts)), messages, time.perf_counter() - began_s


CRYSTALS: dict[str, Callable[[float], float]] = {
    "crystal of 2.5 ppm": lambda _: 2.5,
    "in the sun: 0.5 ppm to and fro in 20 min": lambda second: 2.5 + 0.5 * math.sin(second * 2 * math.pi / 1_200),
    "in the draught: 0.2 ppm to and fro in 40 s": lambda second: -12 + 0.2 * math.sin(second * 2 * math.pi / 40),
}
"""How much too fast it runs, in ppm, by the second."""

PULSE_NS = 30
"""Of a u-blox M8, RMS (UBX-15031086); the chip notes it in whole microseconds."""


class _Roof:
    """A crystal, pulses, and a receiver that names them."""

    def __init__(self, ppm: Callable[[float], float], seconds: int) -> None:
        self.dice = random.Random(1)
        self.begins = [1e8 + self.dice.random()]  # the count at the begin of each second
        for second in range(seconds):
            self.begins.append(self.begins[-1] + SECOND_US * (1 + ppm(second) / 1e6))
        self.time = GpsTime()

    def count(self, after_s: float) -> int:
        whole = int(after_s)
        begin, end = self.begins[whole : whole + 2]
        return int(begin + (end - begin) * (after_s - whole))

    def pulse(self, second: int) -> None:
        count = int(self.begins[second] + self.dice.gauss(0, PULSE_NS / 1000))
        mono_us = second * SECOND_US
        self.time.pulse(count, mono_us, GpsMoment(mono_us + 500_000, mono_us + 150_000, 500_000, 18))

    def error_us(self, after_s: float) -> float:
        found_us = self.time.gps_time_us(self.count(after_s))
        return math.inf if found_us is None else found_us - after_s * SECOND_US


def _errors(ppm: Callable[[float], float]) -> tuple[float, float, float]:
    """The worst, the usual (root mean square), and that a minute after the last pulse, in microseconds."""
    roof, errors = _Roof(ppm, 2_100), []
    for second in range(2_000):
        roof.pulse(second)
        if second >= 60:
            # A frame is timed by the line of the pulses so far: the last one is up to two seconds old.
            errors += [roof.error_us(second + 2 * roof.dice.random() - 0.5) for _ in range(50)]
    usual = math.sqrt(sum(error * error for error in errors) / len(errors))
    return max(map(abs, errors)), usual, abs(roof.error_us(2_059.5))


def _pulse_us() -> float:
    roof = _Roof(lambda _: 2.5, 1_001)
    began_s = time.perf_counter()
    for second in range(1_000):
        roof.pulse(second)
    return (time.perf_counter() - began_s) * 1000


def _conversion_us() -> float:
    roof = _Roof(lambda _: 2.5, 101)
    for second in range(100):
        roof.pulse(second)
    began_s = time.perf_counter()
    for count in range(100_000):
        roof.time.gps_time_us(190_000_000 + count)
    return (time.perf_counter() - began_s) * 10
