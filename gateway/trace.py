"""What becomes of each packet, for whoever follows `tail --raw`: which server got it, and what came of its answer.

While nobody follows, nothing is remembered and nothing is made: each call ends at its first line. Only the air time of
downlinks is always counted, by who asked for it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.journal import Offered, Outcome, Step
from gateway.lorawan.frame import MType
from gateway.model import AtCounter
from gateway.radio.shares import AirtimeShares
from gateway.wire.trace_json import (
    Answered,
    downlink_json,
    frame_event_json,
    heard_json,
    kept_json,
    outcome_json,
    refused_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.console.feed import Feed
    from gateway.model import DevEui, DownlinkRequest, GatewayEui, OpenedUplink, RadioFrame, Record, Refused, Stamp
    from gateway.regions.region import Region

    Shape = Callable[[], dict[str, Any]]

SECOND_US: Final = 1_000_000
TURN_US: Final = 1 << 32  # the concentrator counts microseconds in 32 bits

LONGEST_DELAY_S: Final = 16
"""RX1 opens at most 15 s after the uplink (RxTimingSetup, TS001-1.0.4 section 5.8), RX2 a second later."""

FORGOTTEN_AFTER_US: Final = (LONGEST_DELAY_S + 2) * SECOND_US

MOST_REMEMBERED: Final = 4096  # frames that may still be answered: 18 s of the 171 a second that a chip can deliver


@dataclass(frozen=True, slots=True)
class _Uplink:
    frame: RadioFrame
    dev_eui: DevEui | None


class Trace:
    """A `journal.Onlooker`, and the line's, for the followers of one feed; what it publishes is called to be shaped."""

    def __init__(self, feed: Feed[Any], gateway_eui: GatewayEui, region: Region, now: Callable[[], Stamp]) -> None:
        self._feed = feed
        self._gateway_eui = gateway_eui
        self._region = region
        self._now = now
        self._uplinks: OrderedDict[tuple[str, int], _Uplink] = OrderedDict()
        self.shares = AirtimeShares(region)

    # --- what was heard

    def opened(self, uplink: OpenedUplink) -> None:
        """A frame of a device of ours."""
        if self._feed.followed_raw:
            self._remember(uplink.frame, uplink.device.dev_eui)
            self._publish(lambda: heard_json(self._gateway_eui, uplink))

    def refused(self, frame: RadioFrame, refused: Refused) -> None:
        """A frame that goes no further."""
        if self._feed.followed_raw:
            self._remember(frame, refused.dev_eui)
            self._publish(lambda: refused_json(self._gateway_eui, frame, refused))

    def kept(self, record: Record) -> None:
        """A reading is on disk."""
        if self._feed.followed_raw:
            now = self._now()
            self._publish(lambda: kept_json(record, now))

    # --- what servers and the way down tell

    def frames(
        self, lns: str, step: Step, frames: Sequence[RadioFrame], reason: str = "", *, final: bool = True
    ) -> None:
        """Something happened to frames at a network server."""
        if not self._feed.followed_raw:
            return
        now = self._now()
        for frame in frames:
            known = self._uplinks.get((frame.receiver, frame.counter_us))
            self._publish(_FrameEvent(step, frame, None if known is None else known.dev_eui, lns, reason, now, final))

    def downlink(self, event: Offered | Outcome) -> None:
        """Something happened to a downlink."""
        now = self._now()
        if (
            isinstance(event, Outcome)
            and event.way is not None
            and event.number is not None
            and event.on_air is not False
        ):
            self.shares.sent(event.asker, event.way, now.monotonic_us)
        if not self._feed.followed_raw:
            return
        uplink = None if event.way is None else self._answered(event.way, now.monotonic_us)
        if isinstance(event, Offered):
            self._publish(lambda: downlink_json(event.number, event.asker, event.way, uplink, now))
            return
        rival = event.lost_to
        lost_to = None if rival is None else {"downlink": rival.number, "lns": rival.asker}
        self._publish(
            lambda: outcome_json(event.number, event.asker, event.way, event.report, event.on_air, lost_to, uplink, now)
        )

    # --- inside

    def _publish(self, shape: Shape) -> None:
        self._feed.publish(shape, opened=False)

    def _remember(self, frame: RadioFrame, dev_eui: DevEui | None) -> None:
        self._uplinks[frame.receiver, frame.counter_us] = _Uplink(frame, dev_eui)
        if len(self._uplinks) > MOST_REMEMBERED:
            self._uplinks.popitem(last=False)

    def _answered(self, way: DownlinkRequest, now_us: int) -> Answered | None:
        """The uplink whose window it is: one that ended a whole number of seconds before, at the same receiver."""
        if not isinstance(way.timing, AtCounter):
            return None
        for delay_s in self._delays_s(way):
            ended_us = (way.timing.counter_us - delay_s * SECOND_US) % TURN_US
            found = self._uplinks.get((way.receiver, ended_us))
            if found is not None and now_us - found.frame.heard.monotonic_us < FORGOTTEN_AFTER_US:
                delay_us = delay_s * SECOND_US
                return Answered(found.frame, found.dev_eui, delay_us, self._window(found.frame, way, delay_us))
        return None

    def _delays_s(self, way: DownlinkRequest) -> Sequence[int]:
        """The most likely first: a frame that ended just as many seconds before another one is mistaken for it."""
        delays_s = range(1, LONGEST_DELAY_S + 1)
        if not _is_join_accept(way):
            return delays_s
        first_s = self._region.join_accept_delay1_us // SECOND_US
        return sorted(delays_s, key=lambda delay_s: delay_s not in {first_s, first_s + 1})

    def _window(self, uplink: RadioFrame, way: DownlinkRequest, delay_us: int) -> str:
        """Which window of the uplink it is, as far as the plan tells: a server may have told the device otherwise."""
        region = self._region
        if _is_join_accept(way):
            return "RX1" if delay_us <= region.join_accept_delay1_us else "RX2"
        data_rate = region.data_rate_index(uplink.modulation)
        try:
            rx1_hz = None if data_rate is None else region.rx1(uplink.frequency_hz, data_rate, 0).frequency_hz
        except ValueError:
            rx1_hz = None
        if rx1_hz != way.frequency_hz:
            return "RX2"
        rx2_too = region.rx2.frequency_hz == rx1_hz and way.modulation != uplink.modulation
        return "RX2" if rx2_too and region.downlink_data_rates.get(region.rx2.data_rate) == way.modulation else "RX1"


def _is_join_accept(way: DownlinkRequest) -> bool:
    return bool(way.phy) and way.phy[0] >> 5 == MType.JOIN_ACCEPT.value


@dataclass(frozen=True, slots=True)
class _FrameEvent:
    """Made for each frame and server: lighter than a closure over as many names."""

    step: Step
    frame: RadioFrame
    dev_eui: DevEui | None
    lns: str
    reason: str
    now: Stamp
    final: bool

    def __call__(self) -> dict[str, Any]:
        return frame_event_json(
            self.step.value, self.frame, self.dev_eui, self.lns, self.reason, self.now, final=self.final
        )
