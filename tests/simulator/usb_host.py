"""The driver's side of the USB bridge, by hand: requests in Semtech's layout, answers taken apart again.

Layouts: sx1302_hal 2.1.0, `loragw_mcu.c`, `loragw_usb.c` and `sx1250_usb.c` (the wire), `loragw_sx1302_rx.c` (packets).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gateway.simulator.air import Air, Position, Transmission
from gateway.simulator.chance import Chance
from gateway.simulator.sx1302.board import Board, Event

RECORDED = Path(__file__).parent / "recorded"
EUI = bytes.fromhex("0016c001ff0a0b0c")
FIRMWARE = bytes(range(1, 256)) * 17  # anything but Semtech's


def recorded(name: str) -> list[str]:
    """The lines of a recording, without its comments."""
    return [line for line in (RECORDED / name).read_text().splitlines() if line and not line.startswith("#")]


@dataclass
class Received:
    """One packet of the FIFO, read as Semtech's library reads it."""

    payload: bytes
    channel: int
    crc_present: bool
    coding_rate: int
    spreading_factor: int
    modem: int
    frequency_error: int
    crc_wrong: bool
    best_timed: bool
    snr_db: float
    channel_rssi: int
    signal_rssi: int
    timestamp: int
    crc: int
    metrics: bytes


class BrokenFetchError(Exception):
    """What makes the library throw away a whole fetch."""


def parse_packets(data: bytes) -> list[Received]:
    """Every packet of a fetch."""
    found = []
    while data:
        assert data[:2] == b"\xa5\xc0"
        size, tail = data[2], data[9 + data[2] :]
        if len(tail) < 13:
            raise BrokenFetchError
        metrics = 2 * tail[12]
        whole = data[: 23 + size + metrics]
        if len(whole) < 23 + size + metrics or sum(whole[:-1]) % 256 != whole[-1]:
            raise BrokenFetchError
        error = int.from_bytes(data[6:9], "little") & 0xFFFFF
        found.append(
            Received(
                payload=data[9 : 9 + size],
                channel=data[3],
                crc_present=bool(data[4] & 1),
                coding_rate=data[4] >> 1 & 7,
                spreading_factor=data[4] >> 4,
                modem=data[5],
                frequency_error=error - (1 << 20) if error >> 19 else error,
                crc_wrong=bool(tail[0] & 1),
                best_timed=bool(tail[0] & 0x10),
                snr_db=(tail[1] - 256 if tail[1] > 127 else tail[1]) / 4,
                channel_rssi=tail[2],
                signal_rssi=tail[3],
                timestamp=int.from_bytes(tail[6:10], "little"),
                crc=int.from_bytes(tail[10:12], "little"),
                metrics=tail[13 : 13 + metrics],
            )
        )
        data = data[len(whole) :]
    return found


@dataclass
class Host:
    """A driver that owns the clock: it starts the chip, polls it, sends, and moves time between."""

    seed: int = 7
    fine_timestamps: bool = False
    pps_at_us: int | None = None
    crystal_ppm: int = 0
    now_us: int = 0
    events: list[Event] = field(default_factory=list)
    air: Air = field(init=False)
    board: Board = field(init=False)

    def __post_init__(self):
        chance = Chance(self.seed)
        self.air = Air(chance)
        self.board = Board(
            self.air,
            chance,
            self.events.append,
            eui=EUI,
            antenna_gain_dbi=0.0,
            fine_timestamps=self.fine_timestamps,
            pps_at_us=self.pps_at_us,
            crystal_ppm=self.crystal_ppm,
        )

    # --- requests ---------------------------------------------------------------------------------------------------

    def ask(self, order: int, payload: bytes = b"") -> bytes:
        """One request; the payload of its answer."""
        (answer,) = self.board.feed(
            bytes([9]) + len(payload).to_bytes(2, "big") + bytes([order]) + payload, self.now_us
        )
        assert answer[0] == 9
        assert answer[3] == order | 0x40
        assert len(answer) == 4 + int.from_bytes(answer[1:3], "big")
        return answer[4:]

    def spi(self, target: int, frame: bytes) -> bytes:
        """One raw frame: what came back."""
        answer = self.ask(5, bytes([0, 1, target, *len(frame).to_bytes(2, "big")]) + frame)
        assert answer[:3] == bytes([0, 1, 0])
        assert int.from_bytes(answer[3:5], "big") == len(frame)
        return answer[5:]

    def read(self, address: int, size: int = 1) -> bytes:
        """Bytes of the SX1302."""
        return self.spi(0, bytes([0, address >> 8, address & 0xFF, 0]) + bytes(size))[4:]

    def write(self, address: int, data: bytes) -> None:
        """Bytes to the SX1302."""
        self.spi(0, bytes([0, 0x80 | address >> 8, address & 0xFF]) + data)

    def change(self, address: int, mask: int, value: int) -> None:
        """Some bits of a byte."""
        answer = self.ask(5, bytes([0, 2, address >> 8, address & 0xFF, mask, value]))
        assert answer[:3] == bytes([0, 2, 0])
        assert answer[4] == answer[3] & ~mask & 0xFF | value

    def play(self, line: str) -> tuple[bytes, bytes] | None:  # noqa: C901 - one case a word
        """One line of a recording: what came and what the library had accepted, where it looked."""
        words, _, accepted = line.partition(" = ")
        came = b""
        match words.split():
            case ["ping"]:
                came = self.ask(0)
            case ["status"]:
                came = self.ask(1)
            case ["pin", *numbers]:
                came = self.ask(4, bytes(map(int, numbers)))
            case ["change", address, mask, value]:
                self.change(int(address, 16), int(mask, 16), int(value, 16))
            case ["write", address, "firmware", size]:
                self.write(int(address, 16), FIRMWARE[: int(size)])
            case ["write", address, data]:
                self.write(int(address, 16), bytes.fromhex(data))
            case ["read", address, size]:
                came = self.read(int(address, 16), int(size))
                if int(address, 16) < 0x4000:
                    assert came == FIRMWARE[: int(size)]  # sx1302_agc_load_firmware compares
            case ["radio", name, data]:
                came = self.spi(0, bytes([1 + "ab".index(name)]) + bytes.fromhex(data))[1:]
            case ["listener", data]:
                came = self.spi(1, bytes.fromhex(data))
            case _:
                raise AssertionError(line)
        return (came, bytes.fromhex(accepted)) if accepted else None

    def start(self) -> Host:
        """Start the chip as Semtech's packet forwarder does: EU868, precision timestamps when it is an SX1303."""
        for line in recorded("sx1302_hal_start.txt")[:-5]:
            if (checked := self.play(line)) is not None:
                assert checked[0] == checked[1], line
        if self.fine_timestamps:
            self.change(0x58C0, 0x04, 0x00)  # LEGACY_TIMESTAMP off, as timestamp_counter_mode does
            self.write(0x608C, b"\xff")
        return self

    # --- what a driver does all day ---------------------------------------------------------------------------------

    def pending(self) -> int:
        """Bytes in the FIFO."""
        return int.from_bytes(self.read(0x58C8, 2), "big")

    def fetch(self) -> list[Received]:
        """Everything in the FIFO."""
        return parse_packets(self.read(0x4000, size)) if (size := self.pending()) else []

    def counter_us(self) -> int:
        """The counter, 27 bits of microseconds."""
        return int.from_bytes(self.read(0x6105, 4), "big") // 32

    def send(self, *, at_count_us: int | None = None, line: int = 0, chain: int = 0) -> None:
        """The recorded LoRa (0) or FSK (1) transmission, for another time when one is given."""
        for words in recorded("sx1302_hal_send.txt")[line].split(" ; "):
            self.play(words)
            if (
                words == "change 5200 02 00" and at_count_us is not None
            ):  # what it was armed for: sx1302_send, TIMESTAMPED
                ticks = (at_count_us * 32 - (0xB935 if line == 0 else 0)) % (1 << 32)
                self.write(0x5201, ticks.to_bytes(4, "big"))

    def tx_status(self) -> int:
        """The word in the status register of path A."""
        return self.read(0x5211)[0]

    # --- the air ----------------------------------------------------------------------------------------------------

    def put(
        self, phy: bytes, lora, *, frequency_hz: int = 868_100_000, start_us: int | None = None, **more
    ) -> Transmission:
        """A loud frame on the air."""
        from gateway.radio.airtime import airtime_us

        transmission = Transmission(
            **{
                "phy": phy,
                "sender": f"device {len(self.events)} {phy.hex()[:8]} {frequency_hz}",
                "position": Position(100, 0),
                "start_us": self.now_us if start_us is None else start_us,
                "airtime_us": airtime_us(lora, len(phy)),
                "frequency_hz": frequency_hz,
                "modulation": lora,
                "power_dbm_eirp": 14.0,
                **more,
            }
        )
        self.air.put(transmission)
        return transmission

    def happened(self, name: str) -> list[Event]:
        """The events of this name."""
        return [event for event in self.events if event.name == name]
