"""A process that drives a concentrator with a real libloragw through our binding, and does what it is told.

It may crash or hang: that is what it is there for. Run as a program, it is the child; `LibraryProcess` is its parent.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

LIBRARY = os.environ.get("LIBLORAGW", "")


class GoneError(Exception):
    """The process crashed, or did not answer in time."""


class LibraryProcess:
    """The parent's side: one call, one answer."""

    def __init__(self, path: Path | str) -> None:
        read, write = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, __file__, LIBRARY, str(path), str(write)],
            stdin=subprocess.PIPE,
            text=True,
            pass_fds=(write,),
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        os.close(write)
        self._answers = os.fdopen(read)

    def call(self, what: str, *arguments: Any, within_s: float = 20) -> Any:
        """What it returned; RuntimeError with the kind of trouble it raised, GoneError when it never came back."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([what, *arguments]) + "\n")
        self._process.stdin.flush()
        if not select.select([self._answers], [], [], within_s)[0]:
            raise GoneError(f"{what} did not come back")
        line = self._answers.readline()
        if not line:
            raise GoneError(f"{what} ended the process with {self._process.wait(5)}")
        answer = json.loads(line)
        if "trouble" in answer:
            raise RuntimeError(answer["trouble"])
        return answer["value"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._answers.close()

    def kill(self) -> None:
        """End it, whatever it is doing."""
        self._process.kill()
        self._process.wait()


def main() -> None:
    library, path, answers = sys.argv[1:]
    from gateway.model import AtCounter, Fsk, Lora
    from gateway.radio import channels
    from gateway.radio.chip import ChipTrouble, ChipTx
    from gateway.radio.libloragw import open_chip
    from gateway.regions import region_named

    chip = open_chip({"library": library, "board": "corecell-usb-868", "usb": path, "region": "EU868"})

    def receive(seconds: float, frames: int) -> list[dict[str, Any]]:
        until, heard = time.monotonic() + seconds, []
        while len(heard) < frames and time.monotonic() < until:
            heard += chip.receive()
            time.sleep(0.005)
        return [
            {
                "phy": frame.phy.hex(), "counter_us": frame.counter_us, "frequency_hz": frame.frequency_hz,
                "rssi_dbm": frame.rssi_dbm, "snr_db": frame.snr_db, "channel": frame.channel, "crc": frame.crc.name,
                "spreading_factor": getattr(frame.modulation, "spreading_factor", None),
            }
            for frame in heard
        ]  # fmt: skip

    def send(phy: str, ahead_us: int, frequency_hz: int, spreading: int, power_dbm: float) -> dict[str, Any]:
        at_us = (chip.counter_us() + ahead_us) % (1 << 32)
        modulation = Lora(spreading, 125_000) if spreading else Fsk(50_000, 25_000)
        unsent = chip.send(ChipTx(bytes.fromhex(phy), AtCounter(at_us), frequency_hz, modulation, power_dbm))
        return {"at_us": at_us, "unsent": unsent and unsent.detail}

    def examine() -> dict[str, Any]:
        found = chip.examine()
        return {"version": found.version, "agc_status": found.agc_status, "faults": dict(found.faults)}

    calls = {
        "start": lambda: chip.start(channels.plan_of(region_named("EU868"))),
        "stop": chip.stop, "eui": lambda: str(chip.eui()), "counter_us": chip.counter_us,
        "receive": receive, "send": send, "tx_status": lambda: chip.tx_status().name, "examine": examine,
        "scan": lambda *where: list(chip.spectral_scan(*where).items()), "temperature_c": chip.temperature_c,
    }  # fmt: skip
    with os.fdopen(int(answers), "w") as out:
        for line in sys.stdin:
            what, *arguments = json.loads(line)
            try:
                answer = {"value": calls[what](*arguments)}
            except ChipTrouble as trouble:
                answer = {"trouble": trouble.kind.name}
            out.write(json.dumps(answer) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
