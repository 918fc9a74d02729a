"""The concentrator's microsecond counter: 32 bits, and turning over every 71 min 35 s.

A value read from the chip or told by a packet forwarder is `counter_us`. What is reckoned with is a *count*, which
never turns and whose low 32 bits are the counter: `count_us`. The two are never compared with each other.

Source of the numbers: Semtech's sx1302_hal 2.1.0. Its chip counts 32 MHz ticks in 32 bits; the library makes
microseconds of them and keeps the upper five bits by itself.
"""

from __future__ import annotations

TURN_US = 1 << 32
"""A turn of the counter."""

COMPARATOR_TURN_US = 1 << 27
"""A turn of what the chip starts a transmission by: only the low 27 bits of a start time reach it.

A start that has passed fires when those bits come round again, up to 134 s later; one further ahead than that fires
too soon. The library checks neither.
"""

AHEAD_US = 10_000_000
"""A forwarder whose counter is suddenly so far ahead of where it should be has started anew."""

BEHIND_US = 200_000
"""One whose counter is so far behind has started anew, or the network was slow this once. Nobody can tell which, so its
word is believed: an estimate that is too late costs less than one that calls every start too late."""

DRIFT_PPM = 100
"""How far the crystals of a forwarder and of this machine may run apart, in microseconds a second."""


def microseconds_until(counter_us: int, now_us: int) -> int:
    """Signed distance to a counter value: negative when it has passed, across the turn too. Either may be a count."""
    ahead = (counter_us - now_us) % TURN_US
    return ahead - TURN_US if ahead >= TURN_US // 2 else ahead


def count_of(counter_us: int, near_us: int) -> int:
    """The count that a counter value stands for: of all with these low 32 bits, the nearest to `near_us`."""
    return near_us + microseconds_until(counter_us, near_us)


class CounterEstimate:
    """What the counter of a distant packet forwarder shows now, as far as its frames have told.

    A frame is told after it was heard, never before, so the estimate is late by what the network took, and a start that
    it calls too late is too late. Frames that come faster than others improve it; between them it ages by the drift of
    two crystals, always to the late side.
    """

    def __init__(self) -> None:
        self._count_us: int | None = None
        self._host_us = 0

    def heard(self, counter_us: int, host_us: int) -> bool:
        """Learn from a frame that ended at `counter_us` and was told at `host_us`.

        True when this is another count than before: it is the first frame, or the forwarder seems to have begun anew.
        """
        expected_us = self.at(host_us)
        if expected_us is None:
            self._count_us, self._host_us = counter_us, host_us
            return True
        count_us = count_of(counter_us, expected_us)
        behind_us = expected_us - count_us
        if behind_us < 0 or behind_us > BEHIND_US:
            self._count_us, self._host_us = count_us, host_us
        return behind_us < -AHEAD_US or behind_us > BEHIND_US

    def at(self, host_us: int) -> int | None:
        """The count at a moment of the host's clock; None before the first frame."""
        if self._count_us is None:
            return None
        elapsed_us = host_us - self._host_us
        return self._count_us + elapsed_us - abs(elapsed_us) * DRIFT_PPM // 1_000_000
