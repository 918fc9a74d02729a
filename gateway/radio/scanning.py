"""What is on the air where a gateway stands: the noise of each channel, and how loud the frames are that come in.

A board with a second radio (SX1261) measures the level of a channel some thousand times; that is the noise. Without it
the gateway listens for a while, and the loudness of what it hears says something of what it does not hear.

A driver may crash or hang, so the chip is in a process of its own here, too: `python -m gateway.radio.scanning` reads
one order from stdin and writes one JSON object a line; `watched` runs it and gives up on silence.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import GatewayError
from gateway.model import Crc
from gateway.radio.channels import plan_of
from gateway.radio.chip import ChipTrouble, TroubleKind, Unsent
from gateway.regions import region_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from gateway.radio.chip import Chip, ChipPlan

SAMPLES: Final = 2_000
"""Levels to measure on each channel; the library counts them in 16 bits."""

MOST_SAMPLES: Final = 65_535
START_PATIENCE_S: Final = 15.0
PATIENCE_S: Final = 12.0  # beyond what the order itself takes
POLL_S: Final = 0.01
_EVERY_S: Final = 1.0  # a sign of life while it listens


# --- measuring ------------------------------------------------------------------------------------------------------


def noise(levels: Mapping[int, int]) -> dict[str, Any] | None:
    """The levels of a channel in a few numbers: half and nine tenths of the time it was no louder than this, in dBm.

    None when nothing was measured.
    """
    measured = sorted((level, count) for level, count in levels.items() if count > 0)
    total = sum(count for _, count in measured)
    if total == 0:
        return None
    return {
        "samples": total,
        "median_dbm": _reached(measured, total * 0.5),
        "p90_dbm": _reached(measured, total * 0.9),
        "loudest_dbm": measured[-1][0],
        "levels": {str(level): count for level, count in measured},
    }


def loudness(heard: Iterable[tuple[float, float | None, bool]]) -> dict[str, Any]:
    """Frames of a channel in a few numbers, out of RSSI in dBm, SNR in dB (None with FSK), and whether it was whole."""
    frames = list(heard)
    levels: dict[int, int] = {}
    for rssi_dbm, _, _ in frames:
        levels[round(rssi_dbm)] = levels.get(round(rssi_dbm), 0) + 1
    snrs = sorted(snr for _, snr, _ in frames if snr is not None)
    measured = sorted(levels.items())
    return {
        "frames": len(frames),
        "damaged": sum(not whole for _, _, whole in frames),
        "median_dbm": _reached(measured, len(frames) * 0.5) if frames else None,
        "weakest_dbm": measured[0][0] if frames else None,
        "loudest_dbm": measured[-1][0] if frames else None,
        "median_snr_db": snrs[len(snrs) // 2] if snrs else None,
        "levels": {str(level): count for level, count in measured},
    }


def _reached(measured: list[tuple[int, int]], share: float) -> int:
    seen = 0
    for level, count in measured:
        seen += count
        if seen >= share:
            return level
    return measured[-1][0]


def frequencies_hz(plan: ChipPlan) -> list[int]:
    """What is to be scanned: each channel once, from the lowest."""
    beside = [channel for channel in (plan.service, plan.fsk) if channel is not None]
    return sorted({channel.frequency_hz for channel in (*plan.channels, *beside)})


def measure(chip: Chip, plan: ChipPlan, samples: int) -> Iterator[dict[str, Any]]:
    """The noise of each channel of a started chip whose board can scan; one that fails is told as such."""
    for frequency_hz in frequencies_hz(plan):
        try:
            levels = chip.spectral_scan(frequency_hz, samples)  # type: ignore[attr-defined]  # `can_scan` says so
        except ChipTrouble as trouble:
            if trouble.kind is not TroubleKind.OTHER:
                raise
            yield {"channel_hz": frequency_hz, "problem": trouble.problem}
            continue
        yield {"channel_hz": frequency_hz, **(noise(levels) or {"problem": "the scan measured nothing"})}


def listen(
    chip: Chip,
    plan: ChipPlan,
    for_s: float,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[dict[str, Any]]:
    """How loud what a started chip hears is, by channel, after listening for so long; before that signs of life."""
    heard: dict[int, list[tuple[float, float | None, bool]]] = {hz: [] for hz in frequencies_hz(plan)}
    began = told = monotonic()
    while (now := monotonic()) < began + for_s:
        for frame in chip.receive():
            heard.setdefault(frame.frequency_hz, []).append((frame.rssi_dbm, frame.snr_db, frame.crc is Crc.OK))
        if now >= told + _EVERY_S:
            told = now
            yield {"listened_s": round(now - began, 1), "frames": sum(map(len, heard.values()))}
        sleep(POLL_S)
    for frequency_hz, frames in sorted(heard.items()):
        yield {"channel_hz": frequency_hz, **loudness(frames)}


def carry(chip: Chip, frequency_hz: int, power_dbm: float, for_s: float, sleep: Callable[[float], None]) -> None:
    """A carrier without modulation for so long, and its end whatever happens."""
    refused: Unsent | None = chip.carrier(frequency_hz, power_dbm)  # type: ignore[attr-defined]  # looked for before
    if refused is not None:
        raise ChipTrouble(TroubleKind.BAD_PLAN, refused.detail)
    try:
        sleep(for_s)
    finally:
        chip.abort()


# --- the process ----------------------------------------------------------------------------------------------------


def main() -> int:
    """Do the order on stdin. What the driver prints to stdout never reaches ours."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    order = json.loads(sys.stdin.read())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the chip is stopped on the way

    def tell(**facts: Any) -> None:
        out.write(json.dumps(facts) + "\n")
        out.flush()

    try:
        _obey(order, tell)
    except GatewayError as trouble:
        kind = trouble.kind if isinstance(trouble, ChipTrouble) else TroubleKind.OTHER
        tell(trouble=kind.name, problem=trouble.problem, hint=trouble.hint)
    return 0


def _obey(order: dict[str, Any], tell: Callable[..., None]) -> None:
    module, _, function = order["driver"].partition(":")
    chip: Chip = getattr(importlib.import_module(module), function)(order["options"])
    plan = plan_of(region_named(order["region"]), extra_hz=order["extra_hz"], block=order["block"])
    try:
        chip.start(plan)
        can_scan = bool(getattr(chip, "can_scan", False))
        tell(started=chip.name, spectral=can_scan and order["listen"] is False)
        if order["carrier_hz"] is not None:
            if not hasattr(chip, "carrier"):
                raise ChipTrouble(TroubleKind.BAD_PLAN, f"{chip.name} sends no carrier")
            carry(chip, order["carrier_hz"], order["power_dbm"], order["for_s"], time.sleep)
        elif can_scan and not order["listen"]:
            for facts in measure(chip, plan, order["samples"]):
                tell(**facts)
        else:
            for facts in listen(chip, plan, order["for_s"]):
                tell(**facts)
        tell(done=True)
    finally:
        chip.stop()


def watched(
    order: Mapping[str, Any], *, start_patience_s: float = START_PATIENCE_S, patience_s: float = PATIENCE_S
) -> Iterator[dict[str, Any]]:
    """What the process says of the order, line by line.

    ChipTrouble: its own, HUNG when it falls silent (it is killed then), CRASHED when it ends without a last word.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.radio.scanning"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(dict(order)).encode())
        process.stdin.close()
        later_s = patience_s + (order["for_s"] if order["carrier_hz"] is not None else 0)
        for line in _lines(process, start_patience_s, later_s):
            facts = json.loads(line)
            if "trouble" in facts:
                raise ChipTrouble(TroubleKind[facts["trouble"]], facts["problem"], hint=facts["hint"])
            if "done" in facts:
                return
            yield facts
        raise ChipTrouble(TroubleKind.CRASHED, f"the driver ended without a word{_last_words(process)}")
    finally:
        _end(process)


def _lines(process: subprocess.Popen[bytes], first_s: float, later_s: float) -> Iterator[bytes]:
    assert process.stdout is not None
    descriptor, rest, wait_s = process.stdout.fileno(), b"", first_s
    while True:
        ready, _, _ = select.select([descriptor], [], [], wait_s)
        if not ready:
            process.kill()
            raise ChipTrouble(TroubleKind.HUNG, f"the driver has not come back for {wait_s:g} s")
        wait_s = later_s
        octets = os.read(descriptor, 65_536)
        if not octets:
            return
        *lines, rest = (rest + octets).split(b"\n")
        yield from lines


def _last_words(process: subprocess.Popen[bytes]) -> str:
    code = process.wait()
    assert process.stderr is not None
    said = process.stderr.read().decode("utf-8", "replace").strip().splitlines()
    how = f" (signal {-code})" if code < 0 else ""
    return how + (f": {said[-1][:200]}" if said else "")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let it silence the chip; if it does not, it ends without."""
    with contextlib.suppress(OSError):
        process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


if __name__ == "__main__":
    sys.exit(main())
