"""What the law leaves to send: air time for each sub-band over a sliding hour, dwell time, radiated power.

Air time is booked when a transmission is admitted, counts for an hour from its end, and is given back when it turns
out that nothing was sent. An hour is any hour: a booking is refused when one of the hours with it in them would hold
more than the limit, so also when what it takes is spoken for by a transmission that is admitted but comes later.

**What a restart knows.** Bookings become rows of a file, a little after they are made. So the ledger holds an
invariant: what was booked in a sub-band within the hour and is not on disk is never more than its *tail*. After a stop
that was not orderly, the tail is taken as used, by every transmitter and from the moment of the restart; the law is
kept whenever the power went. While the disk takes no writing, the tail is all there is to send with.

**When it was.** Within a boot, the clock since boot says how long ago a booking was. Across boots the date says it, if
both ends of the span are dated; the uncertainty of both is counted against us. What cannot be dated counts as of now,
until it can.

Sources: ETSI EN 300 220-1 V3.1.1, clause 5.4 (duty cycle: the cumulative time of transmissions within an observation
interval of an hour); the limits themselves stand in `regions`.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING

from gateway.model import Stamp, TimeQuality, TxResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.regions.region import SubBand

HOUR_US = 3_600_000_000

WINDOW_US = HOUR_US + 1_000_000
"""How long a booking counts. A second more than the law asks for: the clock since boot, and the crystal that times
transmissions, may each be wrong by 100 millionths, which is 0.36 s in an hour."""

MOST_AHEAD_US = 512_000_000
"""No transmission is admitted further ahead (see `schedule`): a remembered one that seems to be is of another time."""

LONGEST_FRAME_US = 3_000_000
"""The tail of a narrow limit still has room for one long frame: 51 bytes at SF12 are on the air for 2.8 s."""

TAIL_SHARE = 10
"""The tail is the limit divided by this, if that is more: what an unforeseen stop costs of the next hour."""

ANYBODY = "*"
"""The transmitter of bookings that count for all of them."""

MOST_ACCOUNTS = 1024
"""Pairs of transmitter and sub-band, before those without a booking are forgotten."""

_DATED = frozenset({TimeQuality.GPS, TimeQuality.NTP, TimeQuality.CORRECTED})


@dataclass(frozen=True, slots=True)
class Denied:
    """Why a transmission may not be; `detail` is for a person."""

    result: TxResult
    detail: str
    against: str = ""  # the `ref` of the transmission that is in the way


def unlawful(band: SubBand, power_dbm_eirp: float, airtime_us: int) -> Denied | None:
    """What one transmission in this sub-band does that no transmission may, whatever was sent before."""
    if not power_dbm_eirp <= band.max_eirp_dbm:  # so that no number is no power
        return Denied(TxResult.TX_POWER, f"{band.name}: {power_dbm_eirp:g} dBm EIRP, at most {band.max_eirp_dbm:g}")
    if band.max_dwell_us is not None and airtime_us > band.max_dwell_us:
        most = f"at most {band.max_dwell_us / 1000:g} ms at once"
        return Denied(TxResult.DUTY_CYCLE, f"{band.name}: {airtime_us / 1000:.0f} ms on the air, {most}")
    return None


def tail_us(limit_us: int) -> int:
    """How much of an hour's limit may be booked and not yet on disk."""
    return min(limit_us, max(limit_us // TAIL_SHARE, LONGEST_FRAME_US))


def elapsed_us(then: Stamp, now: Stamp) -> int | None:
    """How long ago that was, at least; None when nobody knows. Negative for what is still to come."""
    if then.boot_id == now.boot_id:
        return now.monotonic_us - then.monotonic_us
    if then.quality in _DATED and now.quality in _DATED and None not in (then.uncertainty_ms, now.uncertainty_ms):
        uncertain_ms = (then.uncertainty_ms or 0) + (now.uncertainty_ms or 0)
        return now.utc_us - then.utc_us - 1000 * uncertain_ms
    return None


# --- what is remembered ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Airtime:
    """One transmission as the law counts it."""

    number: int  # names it for as long as it counts
    transmitter: str
    band: str  # the name of its sub-band
    airtime_us: int
    start: Stamp


class Stop(Enum):
    """How the run before this one ended, as its file shows."""

    ORDERLY = "everything is in the file"
    SUDDEN = "the last of it may be missing"
    UNREADABLE = "nobody knows what was sent"


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the file of an earlier run says."""

    airtimes: Sequence[Airtime] = ()
    stop: Stop = Stop.ORDERLY


@dataclass(frozen=True, slots=True)
class Changes:
    """What has to be written: new rows, and the numbers of rows that no longer count."""

    new: tuple[Airtime, ...] = ()
    gone: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.new or self.gone)

    def then(self, later: Changes) -> Changes:
        """Both, in one; what came and went meanwhile is left out."""
        known = {airtime.number for airtime in self.new}
        gone = set(later.gone)
        return Changes(
            (*(airtime for airtime in self.new if airtime.number not in gone), *later.new),
            (*self.gone, *(number for number in later.gone if number not in known)),
        )


@dataclass(frozen=True, slots=True)
class BandUse:
    """How much of a sub-band's hour a transmitter has used or promised, for `status`."""

    transmitter: str
    band: str
    used_us: int
    limit_us: int

    @property
    def left_us(self) -> int:
        """What may still be booked, as far as the sum says."""
        return max(0, self.limit_us - self.used_us)


# --- the ledger -----------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Booking:
    """A place in the ledger, to give back or to confirm. Whoever holds it reads `airtime` and leaves the rest alone."""

    airtime: Airtime
    start_us: int  # on the clock since this boot
    synced: bool = False
    settled: bool = False  # it counts, whatever comes

    @property
    def end_us(self) -> int:
        """When it is over, on the clock since this boot."""
        return self.start_us + self.airtime.airtime_us


def _start(booking: Booking) -> int:
    return booking.start_us


@dataclass(slots=True, eq=False)
class _Account:
    """One transmitter in one sub-band. Bookings lie in the order of their starts; a transmitter sends one at a time."""

    transmitter: str
    band: str
    limit_us: int
    total_us: int = 0
    bookings: list[Booking] = field(default_factory=list)
    unsynced: list[Booking] = field(default_factory=list)

    def put(self, booking: Booking) -> None:
        insort(self.bookings, booking, key=_start)
        self.total_us += booking.airtime.airtime_us
        if not booking.synced:
            self.unsynced.append(booking)

    def take(self, booking: Booking) -> None:
        place = bisect_right(self.bookings, booking.start_us, key=_start) - 1
        while place >= 0 and self.bookings[place] is not booking:
            place -= 1
        if place >= 0:
            self._delete(place, place + 1)

    def expire(self, now_us: int) -> list[Booking]:
        """Drop what no hour from now on can hold."""
        old = self.bookings
        first = 0
        while first < len(old) and old[first].end_us + WINDOW_US <= now_us:
            first += 1
        return self._delete(0, first) if first else []

    def _delete(self, first: int, last: int) -> list[Booking]:
        gone = self.bookings[first:last]
        del self.bookings[first:last]
        self.total_us -= sum(booking.airtime.airtime_us for booking in gone)
        self.unsynced = [booking for booking in self.unsynced if booking not in gone]
        return gone

    def unsynced_us(self) -> int:
        self.unsynced = [booking for booking in self.unsynced if not booking.synced]
        return sum(booking.airtime.airtime_us for booking in self.unsynced)

    def fullest_us(self, start_us: int, airtime_us: int) -> int:
        """What the fullest of all hours with this transmission in them would hold, itself included.

        An hour is fullest just after something begins: it then holds that and what ended less than an hour before.
        What is partly in an hour counts as a whole.
        """
        fullest, later_us = 0, 0
        for other in reversed(self.bookings):
            if other.start_us <= start_us:
                break
            if other.start_us - (start_us + airtime_us) < WINDOW_US:
                fullest = max(fullest, self.total_us - later_us - self._over_us(other.start_us - WINDOW_US))
            later_us += other.airtime.airtime_us
        return max(fullest, self.total_us - later_us - self._over_us(start_us - WINDOW_US)) + airtime_us

    def _over_us(self, until_us: int) -> int:
        over_us = 0
        for booking in self.bookings:
            if booking.end_us > until_us:
                break
            over_us += booking.airtime.airtime_us
        return over_us

    def free_us(self, airtime_us: int) -> int | None:
        """When so much is free, on the clock since boot, if nothing more is booked; None: never."""
        excess_us = self.total_us + airtime_us - self.limit_us
        if airtime_us > self.limit_us:
            return None
        for booking in self.bookings:
            excess_us -= booking.airtime.airtime_us
            if excess_us <= 0:
                return booking.end_us + WINDOW_US
        return None


class AirtimeLedger:
    """The bookings of all transmitters in all sub-bands that have a limit.

    `remembered` is what an earlier run wrote; with it, what is booked is to be written too (`changes`, `synced`), and
    no more is admitted than a restart would assume. Without it, nothing survives and nothing has to.

    `date` gives a stamp the best date there is (`host.dating`). Moments come as stamps; all of one run are of one boot.
    """

    def __init__(
        self,
        bands: Iterable[SubBand],
        remembered: Remembered | None = None,
        now: Stamp | None = None,
        date: Callable[[Stamp], Stamp] = lambda stamp: stamp,
    ) -> None:
        self._limits_us = {band.name: int(HOUR_US * band.duty_cycle) for band in bands if band.duty_cycle is not None}
        self._date = date
        self._remembers = remembered is not None
        self._accounts: dict[tuple[str, str], _Account] = {}
        self._loaded: list[Booking] = []
        self._undated: list[Booking] = []
        self._new: dict[int, Airtime] = {}
        self._gone: list[int] = []
        self._written: dict[int, Booking] = {}  # taken by `changes`, not yet `synced`
        self._numbers = count(1)
        if remembered is not None:
            assert now is not None, "what is remembered is as old as the clock says"
            self._resume(remembered, now)

    # --- admission

    def reserve(
        self, transmitter: str, band: SubBand, airtime_us: int, ahead_us: int, now: Stamp
    ) -> Booking | Denied | None:
        """Book a transmission that starts `ahead_us` after `now`; None where nothing limits it."""
        limit_us = self._limits_us.get(band.name)
        if limit_us is None:
            return None
        self.redate(now)
        account = self._account(transmitter, band.name, now.monotonic_us)
        self._expire(account, now.monotonic_us)
        start_us = now.monotonic_us + ahead_us
        if account.fullest_us(start_us, airtime_us) > limit_us:
            return _overdrawn(account, airtime_us, now.monotonic_us)
        if self._remembers and account.unsynced_us() + airtime_us > tail_us(limit_us):
            waiting = f"{_seconds(account.unsynced_us())} s are not on disk yet"
            return Denied(TxResult.DUTY_CYCLE, f"{band.name}: {waiting}, at most {_seconds(tail_us(limit_us))} s")
        start = replace(now, utc_us=now.utc_us + ahead_us, monotonic_us=start_us)
        booking = Booking(Airtime(next(self._numbers), transmitter, band.name, airtime_us, start), start_us)
        account.put(booking)
        self._note(booking)
        return booking

    def confirm(self, booking: Booking) -> None:
        """It was on the air, or nobody knows: it stays booked."""
        booking.settled = True

    def give_back(self, booking: Booking) -> bool:
        """Nothing was sent: free its time. False when it was settled before."""
        if booking.settled:
            return False
        booking.settled = True
        account = self._accounts.get((booking.airtime.transmitter, booking.airtime.band))
        if account is not None:
            account.take(booking)
        self._forget(booking)
        return True

    def uses(self, now: Stamp) -> tuple[BandUse, ...]:
        """What is used of each limit, for every transmitter that has sent within the hour or is about to."""
        self.redate(now)
        for account in self._accounts.values():
            self._expire(account, now.monotonic_us)
        return tuple(
            BandUse(account.transmitter, account.band, account.total_us, account.limit_us)
            for account in self._accounts.values()
            if account.bookings
        )

    # --- memory

    def changes(self) -> Changes:
        """What has come and gone since the last call, to be written together."""
        changes = Changes(tuple(self._new.values()), tuple(self._gone))
        self._new.clear()
        self._gone.clear()
        return changes

    @property
    def has_new(self) -> bool:
        """Whether something is booked that nobody has been asked to write."""
        return bool(self._new)

    def synced(self, changes: Changes) -> None:
        """These are on disk and survive a power cut."""
        for airtime in changes.new:
            booking = self._written.pop(airtime.number, None)
            if booking is not None:
                booking.synced = True

    def redate(self, now: Stamp) -> None:
        """Date what could not be dated so far."""
        if not self._undated or now.quality not in _DATED:
            return
        undated, self._undated = self._undated, []
        for booking in undated:
            ago_us = elapsed_us(self._date(booking.airtime.start), now)
            if ago_us is None:
                self._undated.append(booking)
                continue
            earlier_us = min(booking.start_us, now.monotonic_us - ago_us)
            holders = [account for account in self._accounts.values() if booking in account.bookings]
            for account in holders:
                account.take(booking)
            booking.start_us = earlier_us
            for account in holders:
                account.put(booking)

    def _resume(self, remembered: Remembered, now: Stamp) -> None:
        for airtime in remembered.airtimes:
            booking = Booking(airtime, now.monotonic_us, synced=True, settled=True)
            ago_us = elapsed_us(self._date(airtime.start), now)
            if ago_us is None:
                self._undated.append(booking)
            elif ago_us >= -MOST_AHEAD_US:
                booking.start_us -= ago_us
            if booking.end_us + WINDOW_US > now.monotonic_us:
                self._loaded.append(booking)
            else:
                self._gone.append(airtime.number)
        self._numbers = count(max((airtime.number for airtime in remembered.airtimes), default=0) + 1)
        if remembered.stop is not Stop.ORDERLY:
            for band, limit_us in self._limits_us.items():
                assumed_us = tail_us(limit_us) if remembered.stop is Stop.SUDDEN else limit_us
                airtime = Airtime(next(self._numbers), ANYBODY, band, assumed_us, now)
                booking = Booking(airtime, now.monotonic_us, settled=True)
                self._loaded.append(booking)
                self._note(booking)
        for airtime in [booking.airtime for booking in self._loaded]:
            if airtime.transmitter != ANYBODY:
                bands = [airtime.band] if airtime.band in self._limits_us else self._limits_us
                for band in bands:
                    self._account(airtime.transmitter, band, now.monotonic_us)

    def _account(self, transmitter: str, band: str, now_us: int) -> _Account:
        account = self._accounts.get((transmitter, band))
        if account is None:
            self._forget_idle(now_us)
            account = self._accounts[transmitter, band] = _Account(transmitter, band, self._limits_us[band])
            for booking in self._loaded:
                whose, where = booking.airtime.transmitter, booking.airtime.band
                # A sub-band that the law of today does not know may be part of any of them.
                if whose in (transmitter, ANYBODY) and (where == band or where not in self._limits_us):
                    account.put(booking)
        return account

    def _forget_idle(self, now_us: int) -> None:
        if len(self._accounts) >= MOST_ACCOUNTS:
            for key, account in tuple(self._accounts.items()):
                self._expire(account, now_us)
                if not account.bookings:
                    del self._accounts[key]

    def _expire(self, account: _Account, now_us: int) -> None:
        gone = account.expire(now_us)
        for booking in gone:
            self._forget(booking)
        if gone and self._loaded:
            self._loaded = [booking for booking in self._loaded if booking.end_us + WINDOW_US > now_us]

    def _note(self, booking: Booking) -> None:
        if self._remembers:
            self._new[booking.airtime.number] = booking.airtime
            self._written[booking.airtime.number] = booking

    def _forget(self, booking: Booking) -> None:
        if self._remembers:
            self._written.pop(booking.airtime.number, None)
            if self._new.pop(booking.airtime.number, None) is None:
                self._gone.append(booking.airtime.number)


def _overdrawn(account: _Account, airtime_us: int, now_us: int) -> Denied:
    used = f"{_seconds(account.total_us)} s of {_seconds(account.limit_us)} s used in the last hour"
    free_us = account.free_us(airtime_us)
    if free_us is None:
        words = f"{used}, {_seconds(airtime_us)} s at once are more than there ever is"
    else:
        words = f"{used}, free again in {-(-max(0, free_us - now_us) // 1_000_000)} s"
    return Denied(TxResult.DUTY_CYCLE, f"{account.band}: {words}")


def _seconds(span_us: int) -> str:
    return f"{span_us / 1_000_000:.1f}"
