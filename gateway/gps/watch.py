"""The gateway's GPS: listens for as long as the gateway runs, and tells whoever asks what time and where it is.

A receiver may be unplugged, have no antenna, speak at another speed or tell nonsense. Each is a state with its evidence
and its cure, is looked at again, and stops nothing.

The system clock is not set here. That wants a privilege and a steady hand, and chrony has both; it takes the same
receiver by way of gpsd. What the gateway dates by itself it dates by GPS as soon as there is a time, on a machine
without any network too.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.gps import ubx
from gateway.gps.receiver import GpsState, Receiver, Verdict
from gateway.gps.scales import gps_of_utc
from gateway.gps.tongues import GpsdTongue, SerialTongue
from gateway.gps.wires import GpsdWire, SerialWire, WireTrouble
from gateway.model import GpsMoment

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.gps.tongues import Tongue
    from gateway.gps.wires import Wire
    from gateway.model import Position, Stamp

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""How often the state is looked at while nothing comes."""

WAITS_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Before the next attempt; a receiver that is plugged in again is back within half a minute."""

BAUDS: Final = (9_600, 38_400, 115_200, 4_800, 57_600, 19_200, 230_400)
"""Speeds to try, the usual ones first: 9600 is that of u-blox to generation 8 and of most others, 38400 that of 9 and
10, 4800 that of the NMEA standard."""

TRY_US: Final = 3_500_000
"""A receiver speaks every second: what it said in three and nobody understood was said at another speed."""

SAY_AGAIN_US: Final = 600_000_000
"""A state is said aloud once in so long."""

SAME_SECOND_US: Final = 500_000
"""Further apart, and GPS and NTP mean another second: then nobody can say which of them is right."""

_GPSD_PORT: Final = 2_947
_PLACE: Final = re.compile(r"(\[[^\]]+\]|[^:\[\]]+)(?::(\d+))?/?")  # an IPv6 address stands in brackets


@dataclass(frozen=True, slots=True)
class GpsSetting:
    """Which receiver. `device` is a path, or `gpsd://HOST:PORT`, or None for none; `baud` None: it is found out."""

    device: str | None
    baud: int | None = None
    is_ublox: bool = False  # may be asked for what it does not say by itself
    configured: Position | None = None  # where the settings say that the gateway stands

    @property
    def gpsd(self) -> tuple[str, int] | None:
        """Where gpsd is, if it is gpsd."""
        if self.device is None or not self.device.startswith("gpsd://"):
            return None
        found = _PLACE.fullmatch(self.device.removeprefix("gpsd://"))
        if found is None:
            raise ValueError(f"{self.device} names no gpsd")
        return found[1].strip("[]"), int(found[2] or _GPSD_PORT)


class Gps:
    """One receiver, from its opening to the end.

    `tell` takes a time for the gateway's clock, and may refuse it; `network` says what time it is by NTP alone.
    """

    def __init__(
        self,
        setting: GpsSetting,
        stamp: Callable[[], Stamp],
        tell: Callable[[int, int, int], bool],
        network: Callable[[], Stamp | None] = lambda: None,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._setting = setting
        self._stamp = stamp
        self._tell = tell
        self._network = network
        self._wall_ns = wall_ns
        self._receiver: Receiver | None = None  # while the wire is open
        self._tongue: Tongue | None = None
        self._trouble: WireTrouble | None = None
        self._last_place: Position | None = None
        self._told_us: int | None = None  # the last moment that the clock was told
        self._baud = 0  # which of the speeds
        self._failures = 0
        self._said_state: GpsState | None = None
        self._said_us: dict[GpsState, int] = {}  # when each was last said aloud
        self._pulse: Callable[[], GpsMoment | None] = lambda: None
        self._pulse_words: Callable[[], str] = lambda: ""

    def watch(self, pulse: Callable[[], GpsMoment | None], words: Callable[[], str]) -> None:
        """Somebody who sees the pulse: the last one as a moment, and how it is in words."""
        self._pulse, self._pulse_words = pulse, words

    # --- what everybody asks

    def moment(self) -> GpsMoment | None:
        """A moment of the last seconds whose GPS time is known; None without a fix, or when NTP contradicts it.

        By NTP where that is better than the receiver's messages: some are late by more than a second.
        """
        moment = None if self._receiver is None else self._receiver.moment(self._stamp().monotonic_us)
        network = self._network()
        if moment is None or network is None:
            return moment
        if _contradicted(moment, network):
            return None
        off_us = (network.uncertainty_ms or 0) * 1000
        if off_us >= moment.off_us:
            return moment
        return GpsMoment(gps_of_utc(network.utc_us, moment.leap_s), network.monotonic_us, off_us, moment.leap_s)

    def position(self) -> Position | None:
        """Where the gateway stands: by the receiver while it has a fix, else by the settings, else by its last one."""
        now_us = self._stamp().monotonic_us
        found = None
        if self._receiver is not None:
            found = self._receiver.position(now_us)
            self._last_place = self._receiver.last_position or self._last_place
        return found or self._setting.configured or self._last_place

    def verdict(self) -> Verdict:
        """How it is, with the cure of what is wrong."""
        if self._receiver is None:
            trouble = self._trouble or WireTrouble("it is being opened", "")
            return Verdict(GpsState.FAILED, trouble.problem, trouble.hint)
        now_us = self._stamp().monotonic_us
        verdict = self._receiver.verdict(now_us)
        if verdict.state is not GpsState.FIX:
            return verdict
        moment, network = self._receiver.moment(now_us), self._network()
        if moment is not None and network is not None and (apart_us := _contradicted(moment, network)):
            words = f"{verdict.evidence}; it is {apart_us / 1e6:+.1f} s from NTP and not believed"
            return Verdict(GpsState.REFUSED, words, "One of them is wrong: see the NTP servers, and the receiver's sky")
        return Verdict(verdict.state, "; ".join(filter(None, (verdict.evidence, self._pulse_words()))))

    def facts(self) -> dict[str, Any] | None:
        """The GPS part of `status`; None when there is no receiver."""
        if self._setting.device is None:
            return None
        verdict, receiver = self.verdict(), self._receiver
        moment = self.moment()
        return {
            "device": self._setting.device,
            "state": str(verdict.state),
            "evidence": verdict.evidence,
            "hint": verdict.hint,
            "satellites": None if receiver is None else receiver.satellites,
            "gps_time_s": None if moment is None else moment.gps_time_us // 1_000_000,
            "leap_s": None if moment is None else moment.leap_s,
            "leap_source": "receiver" if receiver is not None and receiver.told_leap_s is not None else "table",
            "baud": None if self._setting.gpsd else self._speed,
            "said": {} if receiver is None else dict(receiver.counts),
            "odd": {} if self._tongue is None else dict(self._tongue.odd),
        }

    # --- listening

    async def run(self) -> None:
        """Listen for as long as the gateway runs; nothing to do when there is no receiver."""
        while self._setting.device is not None:
            try:
                await self._listen()
            except WireTrouble as trouble:
                self._note(trouble)
            except Exception as error:  # a mistake of ours: the gateway goes on without GPS, and it is tried again
                log.exception("GPS failed")
                self._note(WireTrouble(f"it failed: {error!r}", "Report this; the log has more"))
            self._receiver = self._tongue = None
            if self._failures:
                await asyncio.sleep(WAITS_S[min(self._failures, len(WAITS_S)) - 1])

    async def _listen(self) -> None:
        """Open the wire and hear until it is gone, or until it must be another speed."""
        async with self._wire() as wire:
            self._tongue = SerialTongue() if self._setting.gpsd is None else GpsdTongue()
            self._receiver = receiver = Receiver(opened_us := self._stamp().monotonic_us)
            while True:
                try:
                    async with asyncio.timeout(LOOK_S):
                        octets = await wire.read()
                except TimeoutError:
                    octets = b""
                now_us = self._stamp().monotonic_us
                if octets:
                    self._hear(receiver, octets, now_us)
                self._log_state(receiver, now_us)
                if now_us - opened_us > TRY_US and self._wrong_speed(receiver):
                    self._baud += 1
                    return

    def _hear(self, receiver: Receiver, octets: bytes, now_us: int) -> None:
        assert self._tongue is not None
        receiver.heard(now_us)
        said = self._tongue.feed(octets, now_us)
        if not said:
            return
        wall_less_us = self._wall_ns() // 1000 - now_us
        for meant, at_us in said:
            receiver.take(meant, at_us, wall_less_us)
        if self._failures:
            log.info("GPS: %s is back after %d attempts", self._setting.device, self._failures)
        self._failures, self._trouble = 0, None
        self._tell_clock(receiver, now_us)

    def _tell_clock(self, receiver: Receiver, now_us: int) -> None:
        """The better one of what the messages tell and of what the pulse does, once for each."""
        moment = receiver.moment(now_us)
        if moment is None:
            return
        pulse = self._pulse()
        if pulse is not None and pulse.off_us < moment.off_us and now_us - pulse.monotonic_us < 3_000_000:
            moment = pulse
        if self._told_us is None or moment.monotonic_us > self._told_us:
            self._told_us = moment.monotonic_us
            self._tell(moment.utc_us, -(-moment.off_us // 1000), moment.monotonic_us)

    def _wire(self) -> Wire:
        if (gpsd := self._setting.gpsd) is not None:
            return GpsdWire(*gpsd)
        asks = (ubx.NAV_TIMEGPS, ubx.NAV_PVT, ubx.NAV_TIMELS) if self._setting.is_ublox else ()
        return SerialWire(str(self._setting.device), self._speed, b"".join(map(ubx.asks_for, asks)))

    @property
    def _speed(self) -> int:
        return self._setting.baud or BAUDS[self._baud % len(BAUDS)]

    def _wrong_speed(self, receiver: Receiver) -> bool:
        return self._setting.baud is None and self._setting.gpsd is None and receiver.is_garbled

    # --- what is said of it

    def _note(self, trouble: WireTrouble) -> None:
        self._failures += 1
        first = self._trouble is None or self._trouble.problem != trouble.problem
        self._trouble, self._said_state = trouble, None
        log.log(logging.WARNING if first else logging.DEBUG, "GPS: %s (%s)", trouble.problem, trouble.hint)

    def _log_state(self, receiver: Receiver, now_us: int) -> None:
        verdict = receiver.verdict(now_us)
        if verdict.state is self._said_state:
            return
        said_us = self._said_us.get(verdict.state)
        if said_us is not None and now_us - said_us < SAY_AGAIN_US:
            level = logging.DEBUG  # one that comes and goes, as under a tree
        elif self._said_state is None or verdict.state in {GpsState.FIX, GpsState.NO_FIX}:
            level = logging.INFO
        else:
            level = logging.WARNING
        if level > logging.DEBUG:
            self._said_us[verdict.state] = now_us
        log.log(level, "GPS: %s", verdict.evidence)
        self._said_state = verdict.state


def _contradicted(moment: GpsMoment, network: Stamp) -> int:
    """By how much NTP is elsewhere; 0 when it may mean the same second."""
    apart_us = moment.utc_us + network.monotonic_us - moment.monotonic_us - network.utc_us
    allowed_us = moment.off_us + (network.uncertainty_ms or 0) * 1000 + SAME_SECOND_US
    return apart_us if abs(apart_us) > allowed_us else 0
