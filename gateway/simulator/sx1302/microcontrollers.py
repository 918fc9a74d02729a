"""The two microcontrollers inside an SX1302, as far as their firmware speaks to the host.

AGC sets gains and switches the radios between receiving and sending; ARB gives packets to demodulators. The host loads
8 KiB into each, lets it go, and talks to it through a few registers. Only that talk is modelled: status words, versions
and echoes are those that Semtech's sx1302_hal 2.1.0 waits for (`loragw_sx1302.c`, sx1302_agc_start, sx1302_arb_start;
`loragw_lbt.c`).
"""

from __future__ import annotations

from typing import Self

AGC_VERSION_SX1250 = 10
AGC_VERSION_SX125X = 6
ARB_VERSION = 2

STALLED = 0x14
"""AGC's status word on gateways in the field that had gone deaf (sx1302_hal, issue 154)."""

_STARTED = 0x01
_RUNNING = 0x00
_LBT_ANSWERED = 0x0F
_CLEAR_TX = 0xFF

_AGC_STEPS: dict[tuple[int, int], int] = {
    # (status, command): status after it
    (0x01, 0x80): 0x02,  # gains of radio A
    (0x02, 0x20): 0x03,  # gains of radio B
    (0x03, 0x03): 0x04,  # analog gain, from and to
    (0x04, 0x04): 0x05,  # analog thresholds
    (0x05, 0x05): 0x06,  # decimator attenuation
    (0x06, 0x06): 0x07,  # decimator thresholds
    (0x07, 0x07): 0x08,  # channel attenuation
    (0x08, 0x08): 0x09,  # channel thresholds
    (0x09, 0x09): 0x0A,  # SX1250 alone: its power amplifier
    (0x09, 0x0A): 0x0B,
    (0x0A, 0x0A): 0x0B,  # start delay of the power amplifier
    (0x0B, 0x0B): _LBT_ANSWERED,  # listen before talk, on or off
    (_LBT_ANSWERED, 0x0F): _RUNNING,
}


class Agc:
    """The gain controller."""

    def __init__(self) -> None:
        self.status = _RUNNING
        self.running = False  # in its main loop: only then can the chip receive and send
        self.parity_error = False
        self.listens_before_talk = False
        self.mailbox_in = bytearray(4)
        self.mailbox_out = bytearray(4)
        self._loaded = False

    @classmethod
    def booted(cls, version: int) -> Self:
        """One whose firmware has just begun to run."""
        agc = cls()
        agc._loaded, agc.status = True, _STARTED
        agc.mailbox_out[0] = version
        return agc

    def stall(self) -> None:
        """Hang in the middle of the main loop, as some do after weeks."""
        self.status, self.running, self.parity_error, self._loaded = STALLED, False, True, False

    @property
    def stalled(self) -> bool:
        """Whether it hangs."""
        return self.status == STALLED

    def recover(self) -> None:
        """Go on as if nothing had been."""
        self.status, self.running, self.parity_error, self._loaded = _RUNNING, True, False, True

    def told(self, byte: int, value: int) -> None:
        """The host has written a byte of the mailbox; byte 3 is the command."""
        self.mailbox_in[byte] = value
        if not self._loaded:
            return
        if byte == 0 and value == _CLEAR_TX and self.running:
            self.status = _RUNNING
        if byte != 3:
            return
        following = _AGC_STEPS.get((self.status, value))
        if following is None:
            return
        if value == 0x0B:
            self.listens_before_talk = bool(self.mailbox_in[0])
        self.mailbox_out[:3] = self.mailbox_in[:3]
        self.status = following
        self.running = following == _RUNNING

    def initiated(self, rf_chain: int, *, blocked: bool) -> None:
        """Say that a transmission was begun, or not allowed to: what the host waits for with listen before talk."""
        self.status |= 1 << rf_chain | (0x40 << rf_chain if blocked else 0)


class Arb:
    """The arbiter."""

    def __init__(self) -> None:
        self.status = _RUNNING
        self.running = False
        self.parity_error = False
        self.debug_in = bytearray(4)
        self.debug_out = bytearray(16)
        self._loaded = False

    @classmethod
    def booted(cls) -> Self:
        """One whose firmware has just begun to run."""
        arb = cls()
        arb._loaded, arb.status = True, _STARTED
        arb.debug_out[0] = ARB_VERSION
        return arb

    @property
    def twice(self) -> int:
        """Spreading factors demodulated twice for their timestamps, bit 0 is SF5."""
        return self.debug_in[3]

    def told(self, byte: int, value: int) -> None:
        """The host has written a debug register; 1 in the second one lets it go on."""
        self.debug_in[byte] = value
        if self._loaded and byte == 1 and value == 1:
            self.status, self.running = _RUNNING, True
