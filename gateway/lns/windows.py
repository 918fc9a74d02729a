"""Whom a downlink answers: the receiver whose counter its time is told in."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

SECOND_US: Final = 1_000_000
TURN_US: Final = 1 << 32  # the concentrator counts microseconds in 32 bits

LONGEST_DELAY_S: Final = 16
"""RX1 opens at most 15 s after the uplink (RxTimingSetup, TS001-1.0.4 section 5.8), RX2 a second later."""

FORGET_AFTER_US: Final = (LONGEST_DELAY_S + 2) * SECOND_US
MOST_REMEMBERED: Final = 4096  # more than the 171 frames a second that a chip can deliver, for as long


class RecentUplinks:
    """Remembers at which count of which receiver frames were heard, for as long as they can be answered."""

    def __init__(self) -> None:
        self._heard: OrderedDict[int, tuple[str, int]] = OrderedDict()

    def note(self, counter_us: int, receiver: str, now_us: int) -> None:
        """A frame went to the network server; `now_us` is monotonic."""
        self._heard[counter_us] = receiver, now_us
        self._heard.move_to_end(counter_us)
        while len(self._heard) > MOST_REMEMBERED or next(iter(self._heard.values()))[1] < now_us - FORGET_AFTER_US:
            self._heard.popitem(last=False)

    def receiver_of(self, counter_us: int) -> str | None:
        """Who heard the uplink that a downlink at this counter value answers; None when there is none.

        A window opens a whole number of seconds after the end of the uplink, to the microsecond: no other protocol
        field says which of several receivers a time is meant for.
        """
        for delay_s in range(1, LONGEST_DELAY_S + 1):
            found = self._heard.get((counter_us - delay_s * SECOND_US) % TURN_US)
            if found is not None:
                return found[0]
        return None
