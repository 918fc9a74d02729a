"""What is known of a receiver from all it has said: the fix, the time, the place, and what a person should be told.

**The time of a message.** A receiver says what time it was at its last epoch, some time after that, and how long after
depends on its maker and on what else it has to say: anything within a second. So what a message alone tells is within
half a second, which names the second of a pulse without doubt. The pulse itself is exact, and comes by another way: to
the concentrator's counter (`radio.gps_time`), or to the kernel and from there by gpsd.

A time is believed after three epochs with a fix in a row that follow each other as the clock since boot does. A date
that cannot be is told and never believed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from gateway.gps import gpsd, nmea, ubx
from gateway.gps.place import Place
from gateway.gps.scales import SECOND_US, gps_of_utc, leap_seconds, refusal, table_leap_s, utc_of_gps
from gateway.model import GpsMoment, PositionSource

if TYPE_CHECKING:
    from gateway.model import Position

Said = nmea.Said | ubx.Said | gpsd.Said

LATE_US: Final = SECOND_US // 2
"""A message comes within a second after its epoch; taken to come in the middle of that, it is off by so much."""

FOLLOWS_US: Final = 400_000
"""Epochs of a receiver follow each other as the clock does within so much; a jump is more."""

SAME_EPOCH_US: Final = 40_000
"""Epochs of receivers are at least 50 ms apart (20 Hz)."""

BELIEVED_AFTER: Final = 3

FRESH_US: Final = 3 * SECOND_US
"""What was said longer ago is no state any more: receivers speak every second."""

HOPE_US: Final = 15 * 60 * SECOND_US
"""A receiver that starts cold needs 30 s with sky, and 12.5 minutes to hear the leap seconds."""

METRES_PER_HDOP: Final = 5.0
"""A receiver that tells only how the satellites stand is off by so much for each unit (user equivalent range error, GPS
Standard Positioning Service Performance Standard 2020, table A.4-3: about 4 m, and some for the ground around it)."""


class GpsState(StrEnum):
    """How it is."""

    FAILED = "failed"  # the device cannot be had
    SILENT = "silent"  # it is open and says nothing
    GARBLED = "garbled"  # it says something, and nobody understands it
    NO_FIX = "no fix"
    REFUSED = "refused"  # a fix, and a date that cannot be
    FIX = "fix"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state, why, and what to do."""

    state: GpsState
    evidence: str
    hint: str = ""


@dataclass(slots=True)
class _Fix:
    """The fix as far as it was told last."""

    dimensions: int = 0  # 0 none
    at_us: int | None = None
    satellites: int | None = None
    accuracy_ns: int | None = None


class Receiver:
    """One receiver since it was opened. Every call brings its time, microseconds of the clock since boot."""

    def __init__(self, now_us: int) -> None:
        self._since_us = now_us
        self._heard_us: int | None = None  # bytes, whatever they were
        self._understood_us: int | None = None
        self._fix = _Fix()
        self._fixed_us: int | None = None  # the last moment with a fix
        self._in_view: dict[str, int] = {}
        self._antenna = ""
        self._leap_s: int | None = None
        self._exact_us: int | None = None  # when it last told the time on a better way than by NMEA
        self._epoch: tuple[int, int] | None = None  # GPS time and when it was told
        self._steady = 0
        self._refused = ""
        self._moment: GpsMoment | None = None
        self._place = Place()
        self._has_device = True  # gpsd, so far
        self.counts: Counter[str] = Counter()  # what was understood, and what was odd

    # --- what it says

    def heard(self, now_us: int) -> None:
        """Bytes came, whatever they were."""
        self._heard_us = now_us

    def take(self, said: Said, at_us: int, wall_less_us: int = 0) -> None:
        """Take a message in whose burst began at this moment; `wall_less_us` is the wall clock less that since boot."""
        self._understood_us = at_us
        self.counts[type(said).__name__.lower()] += 1
        match said:
            case nmea.Rmc() | nmea.Gga() | nmea.Zda() | nmea.Gsa() | nmea.Gsv() | nmea.Antenna():
                self._take_nmea(said, at_us)
            case ubx.TimeGps() | ubx.Pvt() | ubx.Status() | ubx.TimeLs() | ubx.Ack():
                self._take_ubx(said, at_us)
            case gpsd.Tpv() | gpsd.Sky() | gpsd.Pps() | gpsd.Devices() | gpsd.Fault():
                self._take_gpsd(said, at_us, wall_less_us)

    def _take_nmea(self, said: nmea.Said, at_us: int) -> None:
        match said:
            case nmea.Rmc(utc_us, valid, latitude, longitude):
                self._fixed(max(2, self._fix.dimensions) if valid else 0, at_us)
                self._placed(latitude, longitude, None, None, at_us, valid=valid)
                self._told_utc(utc_us, at_us)
            case nmea.Gga(quality, latitude, longitude, altitude_m, satellites, hdop):
                self._fix.satellites = satellites
                accuracy_m = None if hdop is None else hdop * METRES_PER_HDOP
                self._placed(latitude, longitude, altitude_m, accuracy_m, at_us, valid=quality not in {0, 6, 7, 8})
            case nmea.Gsa(fix):
                if self._fix.dimensions and fix > 1:  # one system may have none where another has
                    self._fix.dimensions = fix
            case nmea.Gsv(talker, _, _, in_view):
                self._in_view[talker] = in_view
            case nmea.Zda(utc_us):
                self._told_utc(utc_us, at_us)
            case nmea.Antenna(status):
                self._antenna = status

    def _take_ubx(self, said: ubx.Said, at_us: int) -> None:
        match said:
            case ubx.TimeGps(gps_time_us, leap_s, accuracy_ns):
                self._leap_s = self._leap_s if leap_s is None else leap_s
                self._fix.accuracy_ns = accuracy_ns
                self._told_gps(gps_time_us, at_us)
            case ubx.Pvt():
                self._fixed(said.fix if said.fix_ok and said.fix >= 2 else 0, at_us)
                self._fix.satellites, self._fix.accuracy_ns = said.satellites, said.time_accuracy_ns
                ok = said.fix_ok and said.fix in {2, 3, 4}
                self._placed(said.latitude, said.longitude, said.altitude_m, said.accuracy_m, at_us, valid=ok)
                self._told_utc(said.utc_us, at_us)
            case ubx.Status(fix, fix_ok):
                self._fixed(fix if fix_ok and fix >= 2 else 0, at_us)
            case ubx.TimeLs(leap_s):
                self._leap_s = self._leap_s if leap_s is None else leap_s
            case ubx.Ack():
                pass

    def _take_gpsd(self, said: gpsd.Said, at_us: int, wall_less_us: int) -> None:
        match said:
            case gpsd.Tpv():
                self._fixed(said.mode if said.mode >= 2 else 0, at_us)
                self._leap_s = self._leap_s if said.leap_s is None else said.leap_s
                fixed = said.mode >= 2
                self._placed(said.latitude, said.longitude, said.altitude_m, said.accuracy_m, at_us, valid=fixed)
                self._told_utc(said.utc_us, at_us)
            case gpsd.Sky(used, in_view):
                self._fix.satellites = self._fix.satellites if used is None else used
                if in_view is not None:
                    self._in_view = {"": in_view}
            case gpsd.Pps(utc_us, wall_us, off_us):
                self._pulsed(utc_us, wall_us - wall_less_us, off_us, at_us)
            case gpsd.Devices(paths):
                self._has_device = bool(paths)
            case gpsd.Fault():
                pass

    # --- the fix and the place

    def _fixed(self, dimensions: int, at_us: int) -> None:
        self._fix.dimensions, self._fix.at_us = dimensions, at_us
        if dimensions:
            self._fixed_us = at_us
        else:
            self._steady, self._epoch = 0, None

    def _placed(
        self, latitude: float | None, longitude: float | None, altitude_m: float | None, accuracy_m: float | None,
        at_us: int, *, valid: bool,
    ) -> None:  # fmt: skip
        if valid and latitude is not None and longitude is not None:
            self._place.fix(latitude, longitude, altitude_m, accuracy_m, at_us)

    def position(self, now_us: int) -> Position | None:
        """Where the fixes of this receiver lie; None before the first, and without a fix for a minute."""
        if self._fixed_us is None or now_us - self._fixed_us > 20 * FRESH_US:
            return None
        return self._place.position(PositionSource.GPS)

    @property
    def last_position(self) -> Position | None:
        """Where the last fix was, however long ago."""
        return self._place.position(PositionSource.GPS)

    # --- the time

    def _told_utc(self, utc_us: int | None, at_us: int) -> None:
        """The time in UTC of an epoch, where nothing tells it better."""
        if self._exact_us is not None and at_us - self._exact_us < FRESH_US:
            return
        if utc_us is not None:
            self._epoch_told(gps_of_utc(utc_us, self._leap_s), at_us)

    def _told_gps(self, gps_us: int | None, at_us: int) -> None:
        if gps_us is not None:
            self._exact_us = at_us
            self._epoch_told(gps_us, at_us)

    def _epoch_told(self, gps_us: int, at_us: int) -> None:
        if not self._fix.dimensions or self._fix.at_us is None or at_us - self._fix.at_us > FRESH_US:
            return
        before, self._epoch = self._epoch, (gps_us, at_us)
        if before is None:
            self._steady = 1
        elif abs(gps_us - before[0]) < SAME_EPOCH_US:  # another message of it, rounded in another way
            self._epoch = before
            return
        elif abs(gps_us - before[0] - (at_us - before[1])) > FOLLOWS_US:
            self.counts["jump"] += 1
            self._steady, self._moment = 1, None
        else:
            self._steady += 1
        self._refused = refusal(utc_of_gps(gps_us, self._leap_s))
        if self._refused:
            self._moment = None
        elif self._steady >= BELIEVED_AFTER and not self._has_pulse(at_us):
            self._moment = GpsMoment(gps_us + LATE_US, at_us, LATE_US, self.leap_s(gps_us))

    def _pulsed(self, utc_us: int, pulse_us: int, off_us: int, at_us: int) -> None:
        """A pulse that the kernel saw, named by gpsd."""
        if self._refused or self._steady < BELIEVED_AFTER or abs(at_us - pulse_us) > 2 * SECOND_US:
            return
        leap_s = leap_seconds(utc_us) if self._leap_s is None else self._leap_s
        self._moment = GpsMoment(gps_of_utc(utc_us, leap_s), pulse_us, max(100, off_us), leap_s)

    def _has_pulse(self, now_us: int) -> bool:
        moment = self._moment
        return moment is not None and moment.off_us < LATE_US and now_us - moment.monotonic_us < FRESH_US

    def leap_s(self, gps_us: int) -> int:
        """The leap seconds, by the receiver or by the table."""
        return table_leap_s(gps_us) if self._leap_s is None else self._leap_s

    def moment(self, now_us: int) -> GpsMoment | None:
        """The last moment whose time it told; None when that is not fresh."""
        moment = self._moment
        return None if moment is None or now_us - moment.monotonic_us > FRESH_US else moment

    @property
    def is_garbled(self) -> bool:
        """Whether it has said something, and nothing that was understood."""
        return self._heard_us is not None and self._understood_us is None

    # --- for a person

    def verdict(self, now_us: int) -> Verdict:
        """How it is."""
        if not self._has_device:
            return Verdict(
                GpsState.FAILED, "gpsd has no receiver", "Plug it in; DEVICES in /etc/default/gpsd names one that stays"
            )
        if self._heard_us is None or now_us - self._heard_us > 2 * FRESH_US:
            words = f"nothing came for {_span(now_us - (self._heard_us or self._since_us))}"
            return Verdict(GpsState.SILENT, words, "See whether gps.device is the receiver's, and that it has power")
        if self._understood_us is None or now_us - self._understood_us > 2 * FRESH_US:
            return Verdict(
                GpsState.GARBLED,
                "what comes is neither NMEA nor UBX",
                "Set gps.baud to the speed of the receiver: 9600 is usual, 38400 and 115200 occur",
            )
        if self._refused:
            return Verdict(GpsState.REFUSED, self._refused, "The receiver needs newer firmware; it is not believed")
        if not self._has_fix(now_us):
            return self._no_fix(now_us)
        return Verdict(GpsState.FIX, self._fix_words())

    def _has_fix(self, now_us: int) -> bool:
        return bool(self._fix.dimensions) and self._fix.at_us is not None and now_us - self._fix.at_us <= 2 * FRESH_US

    def _no_fix(self, now_us: int) -> Verdict:
        since_us = self._since_us if self._fixed_us is None else self._fixed_us
        words = f"no fix for {_span(now_us - since_us)}"
        if self._in_view:
            words += f", {sum(self._in_view.values())} satellites in view"
        if self._antenna == "SHORT":
            hint = "The antenna or its cable has a short circuit: unscrew it, and try another one"
            return Verdict(GpsState.NO_FIX, f"{words}; the receiver finds its antenna short", hint)
        if self._antenna == "OPEN":  # some with an antenna of their own say so always, and it means nothing
            words += "; the receiver finds no antenna on its socket"
        if self._fixed_us is None and now_us - since_us < HOPE_US:
            return Verdict(GpsState.NO_FIX, words, "A cold start takes some minutes under open sky")
        return Verdict(GpsState.NO_FIX, words, "Check the antenna: its cable, and that it sees the sky")

    def _fix_words(self) -> str:
        dimensions = {2: "2D", 3: "3D", 4: "3D, with dead reckoning", 5: "of time alone"}
        words = f"fix {dimensions.get(self._fix.dimensions, '2D')}"
        if self._fix.satellites is not None:
            words += f", {self._fix.satellites} satellites"
        if self._fix.accuracy_ns is not None:
            words += f", its time within {_nanoseconds(self._fix.accuracy_ns)}"
        if self._steady < BELIEVED_AFTER:
            words += ", its time is being watched"
        return words

    @property
    def satellites(self) -> int | None:
        """How many the fix rests on."""
        return self._fix.satellites

    @property
    def told_leap_s(self) -> int | None:
        """The leap seconds, where the receiver knows them itself."""
        return self._leap_s


def _nanoseconds(ns: int) -> str:
    return f"{ns} ns" if ns < 10_000 else f"{ns / 1000:.0f} µs" if ns < 10_000_000 else f"{ns / 1e6:.0f} ms"


def _span(us: int) -> str:
    seconds = max(0, us) // SECOND_US
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7_200 else f"{seconds // 3_600} h"
