"""A driver for `scanning`: a chip that scans, hears, hangs or dies, by the option `does`."""

from __future__ import annotations

import os
import signal
import time

from gateway.model import Crc, Lora
from gateway.radio.chip import ChipTrouble, RawFrame, TroubleKind, Unsent


def open_chip(options):
    return ScriptedChip(str(options["does"]))


class ScriptedChip:
    name = "a chip on paper"

    def __init__(self, does):
        self._does = does
        self._heard = [
            RawFrame(b"\x40", 0, 868_100_000, Lora(7, 125_000), rssi_dbm, snr_db, 0, 0, crc)
            for rssi_dbm, snr_db, crc in ((-100.0, 5.0, Crc.OK), (-120.0, -8.0, Crc.BAD), (-100.4, 6.0, Crc.OK))
        ]
        self.done = []

    @property
    def can_scan(self):
        return self._does != "listens"

    def start(self, plan):
        os.write(1, b"chatter of a C library\n")
        match self._does:
            case "hangs":
                time.sleep(60)
            case "dies":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "is not there":
                raise ChipTrouble(TroubleKind.NOT_THERE, "nothing answers on /dev/spidev0.0")

    def receive(self):
        heard, self._heard = self._heard, []
        return heard

    def spectral_scan(self, frequency_hz, samples):
        if self._does == "fails at 868.3" and frequency_hz == 868_300_000:
            raise ChipTrouble(TroubleKind.OTHER, "the spectral scan does not end")
        return {-116: samples - 100, -80: 100, -40: 0}

    def carrier(self, frequency_hz, power_dbm):
        self.done.append((frequency_hz, power_dbm))
        return Unsent(None, "too weak") if power_dbm < -10 else None

    def abort(self):
        self.done.append("off")

    def stop(self):
        pass
