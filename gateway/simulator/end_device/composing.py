"""What goes into one uplink: the report, the MAC commands, or one of them first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.lorawan.frame import F_OPTS_MAX
from gateway.lorawan.mac_commands import size_of, write_commands

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.lorawan.mac_commands import MacCommand
    from gateway.simulator.end_device.diary import Sent
    from gateway.simulator.sensors import Measure


@dataclass(frozen=True, slots=True)
class Composed:
    """The content of a frame, plain."""

    f_port: int | None
    payload: bytes
    f_opts: bytes
    commands: tuple[MacCommand, ...]
    with_report: bool  # or there was none; else the report waits for the next frame
    too_long: bool = False  # the report does not fit at this data rate at all, and is left out


@dataclass(slots=True)
class Outgoing:
    """A frame that is being sent, up to `tries` times."""

    sent: Sent
    f_opts: bytes
    conf_f_cnt: int  # of the downlink that it acknowledges
    tries: int
    slows_down: bool

    @property
    def size(self) -> int:
        """Bytes that count against the most a data rate carries."""
        return len(self.sent.payload) + len(self.f_opts)


def compose(measure: Measure | None, commands: Sequence[MacCommand], room: int, *, payload_first: bool) -> Composed:
    """The next frame, of at most `room` bytes of FRMPayload and FOpts.

    Commands that do not fit beside the report get a frame of their own on port 0; after such a one (`payload_first`) it
    is the report's turn, with as many commands as fit beside it.
    """
    too_long = measure is not None and len(measure.payload) > room
    report = None if too_long else measure
    beside = min(F_OPTS_MAX, room - (0 if report is None else len(report.payload)))
    fitting = _first(commands, beside)
    if len(fitting) < len(commands) and not payload_first:
        alone = _first(commands, room)
        return Composed(0, write_commands(alone), b"", alone, with_report=measure is None)
    return Composed(
        f_port=None if report is None else report.f_port,
        payload=b"" if report is None else report.payload,
        f_opts=write_commands(fitting),
        commands=fitting,
        with_report=True,
        too_long=too_long,
    )


def _first(commands: Sequence[MacCommand], room: int) -> tuple[MacCommand, ...]:
    """The first of them that fit."""
    count = len(commands)
    while count and size_of(commands[:count]) > room:
        count -= 1
    return tuple(commands[:count])
