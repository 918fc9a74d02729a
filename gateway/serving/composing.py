"""What the next downlink to a device says, and in which of its windows it fits: values only, nothing is sent here.

One counter makes one frame: both windows get the same bytes, because a frame that was handed to a radio may have been
on the air whatever is heard of it later. So what goes into a frame is what fits the windows it is meant for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.lorawan.frame import F_OPTS_MAX
from gateway.lorawan.mac import Answer, Heard, answer
from gateway.model import Lora
from gateway.serving.windows import Opening, openings_of

if TYPE_CHECKING:
    from gateway.lorawan.requests import Wanted
    from gateway.lorawan.windows import Windows
    from gateway.model import QueuedDownlink
    from gateway.regions.region import ReceiveWindow, Region


@dataclass(frozen=True, slots=True)
class Draft:
    """A downlink that is worth sending, not sealed yet."""

    answer: Answer
    openings: tuple[Opening, ...]  # never empty
    entry: QueuedDownlink | None = None  # what of the queue goes with it

    @property
    def f_port(self) -> int | None:
        """The port of its payload, if it has one."""
        if self.entry is not None:
            return self.entry.f_port
        return 0 if self.answer.port_0 else None

    @property
    def payload(self) -> bytes:
        """FRMPayload, plain."""
        return self.answer.port_0 if self.entry is None else self.entry.payload

    @property
    def f_opts(self) -> bytes:
        """MAC commands in the header, plain."""
        return self.answer.f_opts


@dataclass(frozen=True, slots=True)
class TooLong:
    """An entry that fits none of the device's windows, and why."""

    entry: QueuedDownlink
    reason: str


def compose(
    heard: Heard, region: Region, wanted: Wanted, windows: Windows, entry: QueuedDownlink | None
) -> Draft | TooLong | None:
    """The answer to an uplink; None when there is nothing worth an own downlink.

    What the device waits for (commands owed to it) goes before the queue: an entry that has no room beside it stays
    where it is, and the frame says that more waits.
    """
    openings = tuple(openings_of(windows))
    sizes = {opening.name: _room(region, opening.window, windows) for opening in openings}
    openings = tuple(opening for opening in openings if sizes[opening.name] is not None)
    if not openings:
        return None
    room = {name: size for name, size in sizes.items() if size is not None}
    if entry is None:
        return _of_commands(heard, region, wanted, openings, room)
    if len(entry.payload) > max(room.values()):
        return TooLong(entry, _limit(region, openings, room, len(entry.payload)))
    return _with_entry(heard, region, wanted, openings, room, entry)


def too_long_at(region: Region, window: ReceiveWindow, entry: QueuedDownlink) -> str | None:
    """Why an entry cannot go out in this one window; None when it can."""
    size = region.max_payload(window.data_rate, downlink=True)
    opening = Opening("RX2", 0, window)
    if size is not None and len(entry.payload) <= size:
        return None
    return _limit(region, (opening,), {"RX2": size or 0}, len(entry.payload))


def _of_commands(
    heard: Heard, region: Region, wanted: Wanted, openings: tuple[Opening, ...], room: dict[str, int]
) -> Draft | None:
    least = min(room.values())
    said = answer(heard, region, wanted, room=min(F_OPTS_MAX, least), room_port_0=least)
    return Draft(said, openings) if said.needed else None


def _with_entry(
    heard: Heard,
    region: Region,
    wanted: Wanted,
    openings: tuple[Opening, ...],
    room: dict[str, int],
    entry: QueuedDownlink,
) -> Draft:
    fitting = tuple(opening for opening in openings if len(entry.payload) <= room[opening.name])
    left = min(room[opening.name] for opening in fitting) - len(entry.payload)
    if heard.answers:
        owed = answer(heard, region, wanted, room=min(F_OPTS_MAX, *room.values()))
        if len(owed.f_opts) > left:
            return Draft(owed, openings)
    return Draft(answer(heard, region, wanted, room=min(F_OPTS_MAX, left)), fitting, entry)


def _room(region: Region, window: ReceiveWindow, windows: Windows) -> int | None:
    return region.max_payload(window.data_rate, downlink=True, dwell=windows.downlink_dwell)


def _limit(region: Region, openings: tuple[Opening, ...], room: dict[str, int], size: int) -> str:
    """`60 bytes, at most 51 at SF12`."""
    widest = max(openings, key=lambda opening: room[opening.name])
    modulation = region.downlink_data_rates.get(widest.window.data_rate)
    rate = f"SF{modulation.spreading_factor}" if isinstance(modulation, Lora) else "FSK"
    return f"{size} bytes, at most {room[widest.name]} at {rate}"
