"""What a device has to say against its network: rules of the specification that a downlink has broken."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """The rule that was broken."""

    BAD_MIC = "bad_mic"  # it has the device's address and nobody's signature
    COUNTER_BACK = "counter_back"  # authentic, and its counter is behind one that was on the air before
    COUNTER_REUSED = "counter_reused"  # one counter, two frames: the key stream is spent twice
    REPEATED = "repeated"  # the very same frame once more
    COUNTER_GAP = "counter_gap"  # further ahead than MAX_FCNT_GAP lets a device before 1.0.4 follow
    JOIN_NONCE = "join_nonce"  # not above the last one, or used before
    JOIN_ACCEPT = "join_accept"  # authentic, with settings that the device's plan or version does not have
    UNREADABLE_ACCEPT = "unreadable_accept"  # a join accept that nobody who asked can open
    UNASKED_ACK = "unasked_ack"  # an acknowledgement, and nothing to acknowledge
    UNASKED_ANSWER = "unasked_answer"  # the answer of a MAC command that was not sent
    UNKNOWN_COMMAND = "unknown_command"  # a MAC command that this version does not have, or one cut short
    REFUSED_COMMAND = "refused_command"  # a MAC command that the device cannot obey
    COMMANDS_IN_RXC = "commands_in_rxc"  # MAC commands belong into the windows of class A (TS001-1.0.4, 17)
    TOO_LONG = "too_long"  # more bytes than the data rate of the window allows
    MALFORMED = "malformed"  # no LoRaWAN frame
    OUTSIDE_WINDOWS = "outside_windows"  # sent when or where the device does not listen


@dataclass(frozen=True, slots=True)
class Complaint:
    """One broken rule, with what is needed to find out why."""

    fault: Fault
    at_us: int  # on the clock of whoever complains, at the end of the frame
    text: str

    def __str__(self) -> str:
        return f"{self.at_us / 1_000_000:.6f} s: {self.fault.value}: {self.text}"
