"""A `Chip` behind Semtech's library, which is told nothing it might take wrongly and believed nothing it cannot know.

What the library does badly by itself is done here, on its insides where the build shows them (`Library.shows_inside`):

* It reads as many bytes as the chip says are waiting into a buffer of 4096, and a bus without power says 65535: it
  crashes. The count is read here, judged, and only so much is fetched.
* One bad packet costs a whole fetch, or every fetch from then on. The bytes are sieved before it sees them (`fifo`).
* A read that fails leaves the counter at whatever was in memory, and success is returned. Its inner function, which
  tells, is called instead.
* It chooses the power by itself, stronger than asked where its table ends. It gets a table of one entry for each frame.

What cannot be helped from here (a start that never returns, a read of a silent bridge) needs whoever watches the
process. The library keeps one concentrator in static variables: one `Chip` in a process, one thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import time
from collections import Counter
from ctypes import byref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from gateway.model import AtCounter, GatewayEui, TxResult
from gateway.radio import gpio, probing
from gateway.radio import libloragw_abi as abi
from gateway.radio import libloragw_setup as structures
from gateway.radio import libloragw_words as words
from gateway.radio.board import Bus
from gateway.radio.boards import Overrides, resolve
from gateway.radio.chip import ChipTrouble, Examination, Reset, TroubleKind, TxState, Unsent
from gateway.radio.claim import Claim
from gateway.radio.counter import COMPARATOR_TURN_US, microseconds_until
from gateway.radio.fifo import sieve
from gateway.radio.libloragw_library import load
from gateway.radio.voice import Voice
from gateway.regions import region_named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.radio.board import BoardSettings
    from gateway.radio.chip import ChipPlan, ChipTx, Option, RawFrame
    from gateway.radio.libloragw_library import Library
    from gateway.radio.libloragw_setup import LbtPlan

log = logging.getLogger(__name__)

MOST_PACKETS: Final = 255
"""`lgw_receive` takes no more at a time; a full receive buffer holds 178 of the shortest."""

ASSUMED_C: Final = 25.0
"""The temperature of a board without a sensor, for its loudness: without any, the fork reckons with 0 °C, 1 dB less."""

FAILURES_IN_A_ROW: Final = 3
"""So often something may fail before it is said to be broken."""

SCAN_PATIENCE_S: Final = 5.0
_CANARY: Final = b"\xa5" * 64
_TEMPERATURE_EVERY_S: Final = 10.0


class Probe(Protocol):
    """Looks which chip is there; `probing` has those for SPI and USB."""

    def __call__(self, path: str, /) -> probing.Found | None: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around the library, and what tests put in its place."""

    open_lines: Callable[..., gpio.Lines] = gpio.open_lines
    probe_spi: Probe = probing.probe_spi
    probe_usb: Probe = probing.probe_usb
    power_cycle_usb: Callable[[str], None] = probing.power_cycle_usb
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic


def open_chip(options: Mapping[str, Option]) -> LibloragwChip:
    """The chip that the settings describe; nothing is touched yet but the library.

    Options: `library` (path), `board` (name or None), `region`, and what `Overrides` has, `tx_gains` as words of one
    text. ChipTrouble (NO_DRIVER) for the library, UsageError for a board that cannot be.
    """
    wanted = Overrides.of(options)
    board = options.get("board")
    resolved = resolve(None if board is None else str(board), str(options.get("region", "EU868")), wanted)
    voice = Voice(log.debug)  # what is asked of the library before it is trusted makes it complain
    try:
        chip = LibloragwChip(load(Path(str(options.get("library", "/usr/lib/libloragw.so")))), resolved, voice)
    except BaseException:
        voice.close()
        raise
    voice.forget()
    voice.say = _to_stderr
    return chip


def _to_stderr(line: str) -> None:
    """Whoever started the radio process listens there, and has the last words of one that crashed or hangs."""
    with contextlib.suppress(OSError):
        os.write(2, f"libloragw: {line}\n".encode())


class LibloragwChip:
    """See `chip.Chip`. Takes the voice over: `stop` does not close it, `close` does."""

    def __init__(
        self, library: Library, board: BoardSettings, voice: Voice, around: Surroundings = Surroundings()
    ) -> None:
        self._library = library
        self._board = board
        self._voice = voice
        self._around = around
        self._claim: Claim | None = None
        self._lines: gpio.Lines = gpio.NoLines()
        self._plan: ChipPlan | None = None
        self._lbt: LbtPlan | None = None
        self._started = False
        self._chip = board.chip
        self._faults: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._correction_db = 0.0
        self._corrected_at = 0.0
        self._packets = (abi.PktRx * (MOST_PACKETS + 1))()
        self._canary = ctypes.addressof(self._packets) + MOST_PACKETS * ctypes.sizeof(abi.PktRx)
        ctypes.memmove(self._canary, _CANARY, len(_CANARY))

    @property
    def name(self) -> str:
        """Chip, board, bus and library."""
        return f"{self._chip} ({self._board.product}) on {self._board.path} with {self._library.name}"

    # --- from off to on and back ------------------------------------------------------------------------------------

    def start(self, plan: ChipPlan) -> None:
        """See `Chip.start`."""
        if self._started:
            self.stop()
        made = structures.setup(plan, self._board, region_named(plan.region))
        self._plan, self._lbt = plan, made.lbt
        try:
            self._take()
            self._reset_and_look()
            self._configure(made)
            self._begin()
        except BaseException:
            self._let_go()
            raise

    def stop(self) -> None:
        """See `Chip.stop`."""
        if self._started:
            self._started = False
            if self._library.lgw_stop() != abi.SUCCESS:
                log.debug("libloragw did not stop cleanly: %s", "; ".join(self._voice.said()[-3:]))
        self._let_go()

    def close(self) -> None:
        """Stop, and give stdout back to who had it."""
        self.stop()
        self._voice.close()

    def reset(self, level: Reset) -> None:
        """See `Chip.reset`. Over USB the bridge resets the chip when it is opened again, at the next start."""
        self.stop()
        try:
            self._take()
            if self._board.bus is Bus.SPI:
                steps = self._board.power_cycle_steps() if level is Reset.POWER else self._board.reset_steps()
                gpio.carry_out(steps, self._lines, sleep=self._around.sleep)
            elif level is Reset.POWER:
                self._around.power_cycle_usb(self._board.path)
        finally:
            self._let_go()

    def _take(self) -> None:
        if self._claim is None:
            self._claim = Claim(self._board.path, self._board.bus)
        self._lines.close()
        self._lines = self._around.open_lines(self._board.pins(), through=self._board.gpio)

    def _let_go(self) -> None:
        self._started = False
        with contextlib.suppress(ChipTrouble, OSError):
            self._lines.close()
        self._lines = gpio.NoLines()
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    def _reset_and_look(self) -> None:
        gpio.carry_out(self._board.reset_steps(), self._lines, sleep=self._around.sleep)
        probe = self._around.probe_usb if self._board.bus is Bus.USB else self._around.probe_spi
        found = probe(self._board.path)
        if found is not None:
            self._chip = found.chip
            log.info("an %s answers on %s%s", found.chip, self._board.path, f", {found.bridge}" if found.bridge else "")

    def _configure(self, made: structures.Setup) -> None:
        library, board = self._library, self._board
        self._voice.forget()
        if library.is_fork and board.temperature_sensor is not None:
            library.lgw_i2c_set_path(board.i2c.encode())
            library.lgw_i2c_set_temp_sensor_addr(board.temperature_sensor)
        told = [
            ("the board", library.lgw_board_setconf(byref(made.board))),
            *((f"radio {at}", library.lgw_rxrf_setconf(at, byref(radio))) for at, radio in enumerate(made.radios)),
            *((f"channel {at}", library.lgw_rxif_setconf(at, byref(one))) for at, one in enumerate(made.channels)),
            ("the rates", library.lgw_demod_setconf(byref(abi.ConfDemod(abi.MULTI_SF_ALL)))),
            ("fine time", library.lgw_ftime_setconf(byref(made.ftime))),
            ("the second radio", library.lgw_sx1261_setconf(byref(made.sx1261))),
            ("the power", library.lgw_txgain_setconf(0, byref(structures.gain_table(board.gains[0])))),
        ]
        for what, answer in told:
            if answer != abi.SUCCESS:
                raise ChipTrouble(TroubleKind.BAD_PLAN, f"the library refuses {what}: {'; '.join(self._voice.said())}")

    def _begin(self) -> None:
        if self._library.lgw_start() != abi.SUCCESS:
            trouble = self._bus_trouble() or words.cause(self._voice.said(), f"{self._board.product} does not start")
            if self._library.has("lgw_com_close"):
                self._library.lgw_com_close()  # a failed start leaves it open, and lgw_stop does nothing then
            raise trouble
        self._started = True
        self._failures.clear()
        self._drop_fetched()
        version = self._register(abi.REGISTER_VERSION)
        self._chip = probing.CHIPS.get(version, self._chip)
        self._correct(now=True)

    def _bus_trouble(self) -> ChipTrouble | None:
        """What a failed start was really about, if the bus is dead."""
        value = ctypes.c_uint8()
        if self._library.lgw_com_r(0, abi.REGISTER_VERSION, byref(value)) != abi.SUCCESS:
            return None
        dead = {0x00: TroubleKind.BUS_LOW, 0xFF: TroubleKind.BUS_HIGH}.get(value.value)
        what = "zeros" if value.value == 0 else "ones"
        said = f"{self._board.product} on {self._board.path} answers with {what} alone"
        return None if dead is None else ChipTrouble(dead, said)

    # --- hearing ----------------------------------------------------------------------------------------------------

    def receive(self) -> Sequence[RawFrame]:
        """See `Chip.receive`."""
        if self._library.rx_buffer is None:
            return self._receive_blindly()
        if self._library.rx_buffer.buffer_pkt_nb == 0:  # else a fetch whose temperature could not be read
            waiting = self._waiting()
            self._counters()  # counts the turns, and tells when the bus has gone
            if waiting == 0 or not self._fetch(waiting):
                return ()
        return self._parse(self._library.rx_buffer.buffer_pkt_nb)

    def _waiting(self) -> int:
        """Bytes in the chip's buffer. Read twice: the two bytes of the count may be read across a change."""
        counts = (ctypes.c_uint8 * 2)()
        most = 0
        for _ in range(2):
            if self._library.lgw_com_rb(0, abi.REGISTER_FIFO_COUNT, counts, 2) != abi.SUCCESS:
                raise self._lost()
            most = max(most, counts[0] << 8 | counts[1])
        if most == 0xFFFF:
            raise ChipTrouble(TroubleKind.BUS_HIGH, f"{self._board.path} answers with ones alone")
        if most > abi.FIFO_SIZE:
            raise ChipTrouble(
                TroubleKind.FIFO_FAULT, f"the chip says that {most} bytes wait in a buffer of {abi.FIFO_SIZE}"
            )
        return most

    def _fetch(self, waiting: int) -> bool:
        """Bring what waits into the library's buffer, sieved; whether there is a packet."""
        buffer = self._library.rx_buffer
        assert buffer is not None
        self._drop_fetched()
        if self._library.lgw_mem_rb(abi.FIFO_ADDRESS, buffer.buffer, waiting, True) != abi.SUCCESS:
            raise self._lost()
        sieved = sieve(bytes(buffer.buffer[:waiting]))
        if sieved.faults:
            self._faults.update(sieved.faults)
            log.warning("the receive buffer held %s", ", ".join(f"{n} x {what}" for what, n in sieved.faults.items()))
        if sieved.count == 0:
            return False
        ctypes.memmove(buffer.buffer, sieved.packets, len(sieved.packets))
        buffer.buffer_size, buffer.buffer_index = len(sieved.packets), 0
        buffer.buffer_pkt_nb = sieved.count
        return True

    def _parse(self, expected: int) -> Sequence[RawFrame]:
        count = self._library.lgw_receive(MOST_PACKETS, self._packets)
        if count < 0 and words.temperature_failed(self._said()):
            self._again_or(TroubleKind.NO_SENSOR, "temperature", "the temperature sensor answers no more")
            return ()
        if not 0 < count <= expected:
            self._drop_fetched()
            self._faults["fifo_fault"] += 1
            self._again_or(TroubleKind.FIFO_FAULT, "fifo_fault", f"{expected} packets were fetched, {count} parsed")
            return ()
        self._failures.clear()
        return self._frames(count)

    def _receive_blindly(self) -> Sequence[RawFrame]:
        """As the library does it. What it had parsed when it gave up is in our array; how many, it says."""
        waiting = self._waiting()
        count = self._library.lgw_receive(MOST_PACKETS, self._packets)
        if count > MOST_PACKETS:
            raise ChipTrouble(TroubleKind.FIFO_FAULT, f"the library claims {count} packets of {MOST_PACKETS}")
        if count > 0 or (count == 0 and not waiting):
            self._failures.clear()
            return self._frames(count)
        said = self._said()
        if words.temperature_failed(said):
            self._again_or(TroubleKind.NO_SENSOR, "temperature", "the temperature sensor answers no more")
            return ()
        good = min(words.failed_packet(said) or 0, MOST_PACKETS)
        self._faults["fifo_fault" if count == 0 else "poison_packet"] += 1
        if good == 0:  # one that the library never gets past is met again at each call
            self._again_or(TroubleKind.FIFO_FAULT, "fifo_fault", "what is in the receive buffer cannot be read")
        return self._frames(good)

    def _said(self) -> Sequence[str]:
        said = self._voice.said()
        self._voice.forget()
        return said

    def _frames(self, count: int) -> list[RawFrame]:
        if ctypes.string_at(self._canary, len(_CANARY)) != _CANARY:
            raise ChipTrouble(TroubleKind.NO_DRIVER, f"{self._library.path} writes beyond what it was given")
        self._correct()
        heard = []
        for frame in structures.frames(iter(self._packets[:count]), self._correction_db):
            if frame is None:
                self._faults["garbage"] += 1
            else:
                heard.append(frame)
        return heard

    def _drop_fetched(self) -> None:
        if (buffer := self._library.rx_buffer) is not None:
            buffer.buffer_size = buffer.buffer_index = buffer.buffer_pkt_nb = 0

    def _again_or(self, kind: TroubleKind, what: str, problem: str) -> None:
        """Once may be chance; so often in a row is a fault."""
        self._failures[what] += 1
        if self._failures[what] >= FAILURES_IN_A_ROW:
            self._drop_fetched()
            raise ChipTrouble(kind, problem)

    # --- sending ----------------------------------------------------------------------------------------------------

    def send(self, tx: ChipTx) -> Unsent | None:
        """See `Chip.send`."""
        assert self._plan is not None, "not started"
        gain = self._board.gain_for(tx.power_dbm)
        if gain is None:
            weakest = self._board.gains[0].power_dbm
            return Unsent(TxResult.TX_POWER, f"{tx.power_dbm:g} dBm at the connector; the board's least is {weakest}")
        packet = structures.transmission(tx, gain, self._plan, self._lbt)
        if isinstance(packet, Unsent):
            return packet
        return self._unready(tx) or self._send(packet, structures.gain_table(gain))

    def carrier(self, frequency_hz: int, power_dbm: float) -> Unsent | None:
        """Send a carrier without modulation until `abort`. Against the law outside of a shielded room."""
        assert self._plan is not None, "not started"
        gain = self._board.gain_for(power_dbm)
        if gain is None:
            return Unsent(TxResult.TX_POWER, f"the board's least is {self._board.gains[0].power_dbm} dBm")
        return self._send(structures.carrier(frequency_hz, gain), structures.gain_table(gain))

    def _unready(self, tx: ChipTx) -> Unsent | None:
        """The chip overwrites what waits, and starts by 27 bits of the counter: the library looks at neither."""
        state = self.tx_status()
        if state in {TxState.SCHEDULED, TxState.EMITTING}:
            return Unsent(TxResult.COLLISION_PACKET, "the transmitter has something to send already")
        if isinstance(tx.when, AtCounter):
            ahead_us = microseconds_until(tx.when.counter_us, self.counter_us())
            if ahead_us <= 0:
                return Unsent(TxResult.TOO_LATE, f"its start was {-ahead_us} µs ago")
            if ahead_us >= COMPARATOR_TURN_US:
                return Unsent(
                    TxResult.TOO_EARLY, f"{ahead_us / 1e6:.0f} s ahead; a chip sees {COMPARATOR_TURN_US / 1e6:.0f}"
                )
        return None

    def _send(self, packet: abi.PktTx, table: abi.TxGainLut) -> Unsent | None:
        self._voice.forget()
        if self._library.lgw_txgain_setconf(0, byref(table)) != abi.SUCCESS:
            return Unsent(TxResult.TX_POWER, f"the library refuses the power {packet.rf_power} dBm")
        answer = self._library.lgw_send(byref(packet))
        if answer == abi.SUCCESS:
            return None
        if answer == abi.LBT_NOT_ALLOWED:
            return Unsent(TxResult.COLLISION_PACKET, "somebody else was on the channel (listen before talk)")
        said = "; ".join(words.plain(line) for line in self._voice.said()[-2:]) or "no reason given"
        if self._board.bus is Bus.USB and self._library.has("lgw_com_flush"):
            self._library.lgw_com_flush()  # it may still be collecting writes, and refuses every read until then
        self._register(abi.REGISTER_VERSION)  # LOST, if that is what it is
        return Unsent(TxResult.UNKNOWN, f"the library does not send it: {said}")

    def abort(self) -> None:
        """See `Chip.abort`."""
        if self._library.lgw_abort_tx(0) != abi.SUCCESS:
            self._register(abi.REGISTER_VERSION)
            raise ChipTrouble(TroubleKind.STUCK, "the transmitter does not stop")

    def tx_status(self) -> TxState:
        """See `Chip.tx_status`."""
        code = ctypes.c_uint8()
        if self._library.lgw_status(0, abi.TX_STATUS, byref(code)) != abi.SUCCESS:
            raise self._lost()
        return TxState(code.value) if code.value <= TxState.EMITTING else TxState.UNKNOWN

    # --- looking ----------------------------------------------------------------------------------------------------

    def counter_us(self) -> int:
        """See `Chip.counter_us`."""
        if self._library.counter is not None:
            return self._counters()[0]
        self._register(abi.REGISTER_VERSION)  # the next call would not tell that the bus is gone
        counter = ctypes.c_uint32()
        self._library.lgw_get_instcnt(byref(counter))
        return counter.value

    def pps_counter_us(self) -> int | None:
        """See `Chip.pps_counter_us`."""
        if self._library.counter is not None:
            return self._counters()[1] or None
        counter = ctypes.c_uint32()
        self._library.lgw_get_trigcnt(byref(counter))
        return counter.value or None

    def temperature_c(self) -> float | None:
        """See `Chip.temperature_c`."""
        if self._board.bus is Bus.SPI and self._library.is_fork and self._board.temperature_sensor is None:
            return None
        celsius = ctypes.c_float()
        if self._library.lgw_get_temperature(byref(celsius)) != abi.SUCCESS:
            return None
        return celsius.value if -60 < celsius.value < 150 else None

    def eui(self) -> GatewayEui | None:
        """See `Chip.eui`."""
        number = ctypes.c_uint64()
        if self._library.lgw_get_eui(byref(number)) != abi.SUCCESS:
            return None
        return GatewayEui(number.value.to_bytes(8, "big")) if number.value not in {0, (1 << 64) - 1} else None

    def examine(self) -> Examination:
        """See `Chip.examine`."""
        return Examination(
            version=self._register(abi.REGISTER_VERSION),
            agc_status=self._register(abi.REGISTER_AGC_STATUS),
            arb_status=self._register(abi.REGISTER_ARB_STATUS),
            agc_parity_error=bool(self._register(abi.REGISTER_AGC_CONTROL) & abi.PARITY_ERROR),
            arb_parity_error=bool(self._register(abi.REGISTER_ARB_CONTROL) & abi.PARITY_ERROR),
            temperature_c=self.temperature_c(),
            faults=dict(self._faults),
        )

    @property
    def can_scan(self) -> bool:
        """Whether the board has the second radio that scans."""
        return self._board.has_sx1261

    def spectral_scan(self, frequency_hz: int, samples: int) -> dict[int, int]:
        """How often each level was measured there, by dBm, over 125 kHz. ChipTrouble when it does not end."""
        if not self._board.has_sx1261:
            raise ChipTrouble(TroubleKind.BAD_PLAN, "the board has no second radio (SX1261) to scan with")
        self._voice.forget()
        if self._library.lgw_spectral_scan_start(frequency_hz, samples) != abi.SUCCESS:
            raise self._scan_trouble("cannot be started")
        deadline = self._around.monotonic() + SCAN_PATIENCE_S
        status = ctypes.c_int()
        while status.value != 3:  # LGW_SPECTRAL_SCAN_STATUS_COMPLETED
            failed = self._library.lgw_spectral_scan_get_status(byref(status)) != abi.SUCCESS
            if failed or status.value == 2 or self._around.monotonic() > deadline:
                self._library.lgw_spectral_scan_abort()
                raise self._scan_trouble("does not end")
            self._around.sleep(0.01)
        levels, counts = (ctypes.c_int16 * abi.SCAN_LEVELS)(), (ctypes.c_uint16 * abi.SCAN_LEVELS)()
        if self._library.lgw_spectral_scan_get_results(levels, counts) != abi.SUCCESS:
            raise self._scan_trouble("has no result")
        return dict(zip(levels, counts, strict=True))

    def _scan_trouble(self, what: str) -> ChipTrouble:
        said = "; ".join(words.plain(line) for line in self._voice.said()[-2:])
        return ChipTrouble(TroubleKind.OTHER, f"the spectral scan {what}{f': {said}' if said else ''}")

    # --- underneath -------------------------------------------------------------------------------------------------

    def _counters(self) -> tuple[int, int]:
        """The counter now and at the last PPS."""
        now, at_pps = ctypes.c_uint32(), ctypes.c_uint32()
        if self._library.timestamp_counter_get(self._library.counter, byref(now), byref(at_pps)) != abi.SUCCESS:
            raise self._lost()
        return now.value, at_pps.value

    def _register(self, address: int) -> int:
        value = ctypes.c_uint8()
        if self._library.lgw_com_r(0, address, byref(value)) != abi.SUCCESS:
            raise self._lost()
        return value.value

    def _lost(self) -> ChipTrouble:
        return ChipTrouble(TroubleKind.LOST, f"{self._board.path} takes no message any more")

    def _correct(self, *, now: bool = False) -> None:
        """What the fork leaves out of the loudness: without a sensor on I2C it reckons with 0 °C, over USB too."""
        if not self._library.is_fork or self._board.temperature_sensor is not None:
            return
        at = self._around.monotonic()
        if now or at - self._corrected_at > _TEMPERATURE_EVERY_S:
            celsius = self.temperature_c() if self._board.bus is Bus.USB else None
            compensation = self._board.compensation
            self._correction_db = compensation.decibels(
                ASSUMED_C if celsius is None else celsius
            ) - compensation.decibels(0)
            self._corrected_at = at
