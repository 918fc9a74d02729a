"""What can go wrong with a concentrator, by name: each is something that was seen on a roof or in a laboratory."""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """A fault on demand. The text beside each is what `--help` says."""

    STUCK_LOW = "stuck-low"
    STUCK_HIGH = "stuck-high"
    UNPLUG = "unplug"
    SILENT_BRIDGE = "silent-bridge"
    AGC_HANG = "agc-hang"
    AGC_VERSION = "agc-version"
    DEAF = "deaf"
    POISON = "poison"
    FALSE_CRC = "false-crc"
    FIFO_CORRUPTION = "fifo-corruption"
    HALF_PACKET = "half-packet"
    BROWN_OUT = "brown-out"
    COUNTER_JUMP = "counter-jump"
    COUNTER_STOP = "counter-stop"
    TX_STUCK = "tx-stuck"
    NO_PPS = "no-pps"


EXPLAINED: dict[Fault, str] = {
    Fault.STUCK_LOW: "every byte read from the chip is 0x00",
    Fault.STUCK_HIGH: "every byte read from the chip is 0xFF",
    Fault.UNPLUG: "the USB device disappears; cleared, it is back as after power came",
    Fault.SILENT_BRIDGE: "the USB bridge takes requests and answers none",
    Fault.AGC_HANG: "the gain controller hangs: nothing is heard, and no start succeeds",
    Fault.AGC_VERSION: "the gain controller reports another version of its firmware",
    Fault.DEAF: "the gain controller stalls: all is answered, nothing heard, until a reset",
    Fault.POISON: "once: a packet on a channel that does not exist",
    Fault.FALSE_CRC: "once: a packet that says its CRC is right, and it is not",
    Fault.FIFO_CORRUPTION: "once: the next packet heard has a wrong byte in the buffer",
    Fault.HALF_PACKET: "once: half a packet in the buffer",
    Fault.BROWN_OUT: "once: the power dips, and the chip has forgotten everything",
    Fault.COUNTER_JUMP: "once: the counter jumps ahead by a minute",
    Fault.COUNTER_STOP: "the counter stands still",
    Fault.TX_STUCK: "what is to be sent stays scheduled",
    Fault.NO_PPS: "the pulse of the GPS stays away",
}

ONCE = frozenset(
    {
        Fault.POISON,
        Fault.FALSE_CRC,
        Fault.FIFO_CORRUPTION,
        Fault.HALF_PACKET,
        Fault.BROWN_OUT,
        Fault.COUNTER_JUMP,
    }
)
"""Those that happen and are over; the others last until they are cleared."""

ALSO_CALLED = {
    "stuck-at-0": Fault.STUCK_LOW,
    "stuck-at-0x00": Fault.STUCK_LOW,
    "stuck-at-0xff": Fault.STUCK_HIGH,
    "poison-packet": Fault.POISON,
    "brownout": Fault.BROWN_OUT,
}


def named(name: str) -> Fault | None:
    """The fault of that name, however it is spelt; None when there is none."""
    plain = name.strip().lower().replace("_", "-")
    return ALSO_CALLED.get(plain) or (Fault(plain) if plain in set(Fault) else None)
