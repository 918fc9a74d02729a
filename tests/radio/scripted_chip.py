"""A chip that does as it is told, well or badly, inside a real radio process.

The option `script` is a list of faults, `what@call#number`: at the n-th call of `receive` (`send`, `start`, …) it
hangs, spins, exits, crashes, raises, or says what cannot be. A fault with a `!` at its end is there in every process;
others only until the file `marks` says that they have happened. What it was told goes into the file `log`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from gateway.model import AtCounter, Crc, Lora
from gateway.radio.airtime import airtime_us
from gateway.radio.chip import ChipTrouble, Examination, RawFrame, TroubleKind, TxState

TURN = 1 << 32

FORBIDDEN_HZ = 863_100_000  # it does not start with this channel, and says so
FATAL_HZ = 863_300_000  # it dies of this one


def now_us():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def open_chip(options):
    if options.get("no_driver"):
        raise ChipTrouble(TroubleKind.NO_DRIVER, "there is no libscripted.so")
    return ScriptedChip(options)


class ScriptedChip:
    name = "a scripted chip"

    def __init__(self, options):
        self._log = options.get("log")
        self._marks = options.get("marks")
        self._every = int(options.get("every", 0))  # a frame at each n-th poll
        self._faults = {}
        for entry in filter(None, str(options.get("script", "")).split()):
            what, _, when = entry.partition("@")
            call, _, number = when.partition("#")
            always = number.endswith("!")
            self._faults[call, int(number.rstrip("!") or 1)] = what, always, entry
        self._calls = Counter()
        self._pps_us = options.get("pps_us")
        self._begun_us = now_us()
        self._frozen_us = None
        self._emission = None
        self._registers = {"version": 0x10, "agc_status": 0, "arb_status": 0}
        self._odd = []
        self._heard = 0

    def _do(self, call, detail=""):
        self._calls[call] += 1
        if self._log and call not in {"receive", "counter", "examine", "status"}:
            with Path(self._log).open("a") as log:
                log.write(f"{os.getpid()} {call} {detail}\n")
        what, always, entry = self._faults.get((call, self._calls[call]), (None, False, ""))
        if what is None or (not always and self._happened(entry)):
            return
        getattr(self, f"_{what}")()

    def _happened(self, entry):
        marks = Path(self._marks)
        if marks.exists() and entry in marks.read_text().split():
            return True
        with marks.open("a") as marks:
            marks.write(entry + "\n")
        return False

    # faults

    def _hang(self):
        time.sleep(3600)

    def _spin(self):
        while True:
            pass

    def _exit(self):
        os.write(1, b"ERROR: this is the end\n")
        os._exit(7)

    def _segv(self):
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        ctypes.string_at(0)

    def _kill(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def _bug(self):
        raise ZeroDivisionError("in a driver")

    def _lost(self):
        raise ChipTrouble(TroubleKind.LOST, "the bus answers no more")

    def _absent(self):
        raise ChipTrouble(TroubleKind.NOT_THERE, "there is no /dev/spidev9.9")

    def _forbidden(self):
        raise ChipTrouble(TroubleKind.NO_PERMISSION, "/dev/spidev0.0 may not be opened")

    def _stuck(self):
        self._frozen_us = self._counter()

    def _jump(self):
        self._begun_us -= 30_000_000

    def _zeros(self):
        self._registers = {"version": 0, "agc_status": 0, "arb_status": 0}

    def _parity(self):
        self._registers |= {"agc_parity_error": True, "arb_parity_error": True}

    def _garbage(self):
        self._odd = [None, "frame", self._frame(rssi_dbm=float("nan")), self._frame(frequency_hz=-1)]

    def _shout(self):
        os.write(int(sys.argv[-2]), b"\xff\xff\xff not a message")

    # the chip

    def start(self, plan):
        self._plan = plan
        self._do("start", ",".join(str(channel.frequency_hz) for channel in plan.channels))
        if any(channel.frequency_hz == FORBIDDEN_HZ for channel in plan.channels):
            raise ChipTrouble(TroubleKind.BAD_PLAN, "the board has no filter for 863.1 MHz")
        if any(channel.frequency_hz == FATAL_HZ for channel in plan.channels):
            os.abort()
        self._begun_us = now_us()
        self._frozen_us = None
        self._emission = None
        self._registers = {"version": 0x10, "agc_status": 0, "arb_status": 0}

    def receive(self):
        self._do("receive")
        odd, self._odd = self._odd, []
        if self._every and self._calls["receive"] % self._every == 0:
            return [*odd, self._frame()]
        return odd

    def _frame(self, **changes):
        self._heard += 1
        phy = b"\x40" + os.getpid().to_bytes(4, "little") + bytes(3) + self._heard.to_bytes(4, "little") + bytes(4)
        phy += now_us().to_bytes(8, "little")
        values = {
            "phy": phy, "counter_us": self._counter(), "frequency_hz": 868_100_000, "modulation": Lora(7, 125_000),
            "rssi_dbm": -90.0, "snr_db": 7.5, "channel": 0, "rf_chain": 1, "crc": Crc.OK,
        }  # fmt: skip
        return RawFrame(**(values | changes))

    def send(self, tx):
        assert isinstance(tx.when, AtCounter)
        ahead_us = (tx.when.counter_us - self._counter()) % TURN
        self._do("send", f"{now_us() + ahead_us} {tx.when.counter_us} {tx.phy.hex()}")
        start_us = now_us() + ahead_us
        self._emission = start_us, start_us + airtime_us(tx.modulation, len(tx.phy), crc=tx.payload_crc)

    def abort(self):
        self._do("abort")
        self._emission = None

    def tx_status(self):
        self._do("status")
        if self._emission is None or now_us() >= self._emission[1]:
            return TxState.FREE
        return TxState.SCHEDULED if now_us() < self._emission[0] else TxState.EMITTING

    def _counter(self):
        return (now_us() - self._begun_us) % TURN

    def counter_us(self):
        self._do("counter")
        return self._counter() if self._frozen_us is None else self._frozen_us

    def pps_counter_us(self):
        """The counter at the last pulse; pulses come when this clock shows whole seconds, and `pps_us` more."""
        if self._pps_us is None:
            return None
        at_us = (now_us() - self._pps_us) // 1_000_000 * 1_000_000 + self._pps_us
        return (at_us - self._begun_us) % TURN if at_us > self._begun_us else None

    def temperature_c(self):
        return 31.5

    def eui(self):
        return None

    def examine(self):
        self._do("examine")
        return Examination(temperature_c=31.5, **self._registers)

    def reset(self, level):
        self._do("reset", level.name)

    def stop(self):
        self._do("stop")
