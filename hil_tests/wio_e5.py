"""A Seeed Wio-E5 (LoRa-E5) as reference node.

Facts: Seeed, "LoRa-E5 AT Command Specification" V1.0: 9600 baud, TEST mode (`AT+TEST=RFCFG,…,[CRC],[IQ],[NET]`, where
NET is the sync word of LoRaWAN), error codes of section 3.2, and users' logs of `+TEST: LEN:…` and `+MSGHEX: RXWIN…`.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hil_tests.parts import BenchTrouble, Channel, Credentials, Reception
from hil_tests.serial_line import Line, SerialLine

if TYPE_CHECKING:
    from collections.abc import Sequence

BAUD = 9600
ANSWER_S = 2.0
TX_MARGIN_S = 6.0
BUSY_S = 20.0

ERRORS = {
    -1: "takes a value for wrong",
    -10: "does not know this command",
    -11: "takes the command for malformed",
    -12: "cannot do this in its present mode",
    -20: "was given too many values",
    -21: "was given a line that is too long",
    -22: "missed the end of a line",
    -23: "met a character it does not know",
    -24: "could not read a line",
}
"""The error codes of the specification, and what they say of a modem."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`+TAG: text`."""

    tag: str
    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """`+TAG: ERROR(-1)`."""

    tag: str
    code: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A frame is over: in TEST mode, or an uplink with its windows."""


@dataclass(frozen=True, slots=True)
class Levels:
    """How a frame was received: the line before its bytes in TEST mode, behind them in LoRaWAN mode."""

    rssi_dbm: int
    snr_db: float
    window: int | None = None


@dataclass(frozen=True, slots=True)
class Payload:
    """The bytes of a received frame."""

    payload: bytes
    f_port: int | None = None


@dataclass(frozen=True, slots=True)
class Busy:
    """`+MSGHEX: LoRaWAN modem is busy`, `No free channel`, `No band in …ms`: later."""


@dataclass(frozen=True, slots=True)
class Other:
    """Something for people."""


Said = Answer | Refused | Sent | Levels | Payload | Busy | Other

_TAGGED = re.compile(r"\+([A-Z0-9]{1,12}): ?(.*)", re.ASCII)
_ERROR = re.compile(r"ERROR\((-?\d{1,3})\)", re.ASCII)
_TEST_LEVELS = re.compile(r"LEN: ?\d{1,3}, ?RSSI: ?(-?\d{1,3}), ?SNR: ?(-?\d{1,3})", re.ASCII)
_TEST_BYTES = re.compile(r'RX "((?:[0-9A-Fa-f]{2})*)"', re.ASCII)
_WINDOW = re.compile(r"RXWIN([12]), ?RSSI ?(-?\d{1,3}), ?SNR ?(-?\d{1,3}(?:\.\d)?)", re.ASCII)
_PORT = re.compile(r'PORT: ?(\d{1,3}); ?RX: ?"((?:[0-9A-Fa-f]{2})*)"', re.ASCII)


def read(text: str) -> Said:
    """What a line of the modem says."""
    tagged = _TAGGED.fullmatch(text)
    if tagged is None:
        return Other()
    tag, rest = tagged[1], tagged[2]
    if (found := _ERROR.fullmatch(rest)) is not None:
        return Refused(tag, int(found[1]))
    if rest in {"TX DONE", "Done"}:
        return Sent()
    if (found := _TEST_LEVELS.fullmatch(rest)) is not None:
        return Levels(int(found[1]), int(found[2]))
    if (found := _TEST_BYTES.fullmatch(rest)) is not None:
        return Payload(bytes.fromhex(found[1]))
    if (found := _WINDOW.fullmatch(rest)) is not None:
        return Levels(int(found[2]), float(found[3]), int(found[1]))
    if (found := _PORT.fullmatch(rest)) is not None:
        return Payload(bytes.fromhex(found[2]), int(found[1]))
    if "modem is busy" in rest or rest.startswith(("No free channel", "No band in")):
        return Busy()
    return Answer(tag, rest)


class WioE5:
    """See `parts.ReferenceNode`."""

    lowest_dbm, highest_dbm = -9, 22

    def __init__(self, name: str, port: str, baud: int = BAUD) -> None:
        self.name = name
        self._line = SerialLine(name, port, baud)
        self._mode_now = self._tuned = ""

    def identify(self) -> str:
        """See `ReferenceNode.identify`."""
        for attempt in range(3):
            self._line.drain()
            self._line.write("AT")
            line, _ = self._line.until(lambda one: read(one.text) == Answer("AT", "OK"), ANSWER_S)
            if line is not None:
                break
            if attempt == 2:
                raise BenchTrouble(
                    f"{self.name} does not answer",
                    hint=f'Is it a Wio-E5 with Seeed\'s AT firmware at {BAUD} baud? A RAK3172 is type = "rak3172"',
                )
        return f"Wio-E5, {self._command('AT+VER', 'VER').text}"

    def transmit(self, phy: bytes, channel: Channel, power_dbm: int) -> float:
        """See `ReferenceNode.transmit`."""
        self._tune(channel, power_dbm, inverted=False)
        self._command(f'AT+TEST=TXLRPKT,"{phy.hex().upper()}"', "TEST", begins="TXLRPKT")
        line, _ = self._line.until(lambda one: isinstance(read(one.text), Sent), TX_MARGIN_S)
        if line is None:
            raise BenchTrouble(
                f"{self.name} does not say that its frame was sent", hint="See its supply: 3.3 V, 120 mA"
            )
        return line.at_s

    def listen(self, channel: Channel, within_s: float) -> None:  # noqa: ARG002 - it listens until it is told otherwise
        """See `ReferenceNode.listen`."""
        self._tune(channel, 14, inverted=True)
        self._command("AT+TEST=RXLRPKT", "TEST", begins="RXLRPKT")

    def received(self, within_s: float) -> Reception | None:
        """See `ReferenceNode.received`."""
        levels_line, _ = self._line.until(lambda one: isinstance(read(one.text), Levels), within_s)
        if levels_line is None:
            return None
        line, _ = self._line.until(lambda one: isinstance(read(one.text), Payload), 1.0)
        levels, payload = read(levels_line.text), None if line is None else read(line.text)
        if not (isinstance(levels, Levels) and isinstance(payload, Payload)):
            return None
        return Reception(payload.payload, levels.rssi_dbm, levels.snr_db, levels_line.at_s)

    def become(self, who: Credentials, data_rate: int) -> None:
        """See `ReferenceNode.become`."""
        self._mode("LWABP")
        for command, tag in (
            (f'AT+ID=DevEui,"{who.dev_eui.hex().upper()}"', "ID"),
            (f'AT+ID=DevAddr,"{who.dev_addr}"', "ID"),
            (f'AT+KEY=NWKSKEY,"{who.nwk_s_key.hex()}"', "KEY"),
            (f'AT+KEY=APPSKEY,"{who.app_s_key.hex()}"', "KEY"),
            ("AT+DR=EU868", "DR"),
            (f"AT+DR={data_rate}", "DR"),
            ("AT+ADR=OFF", "ADR"),
            ("AT+CLASS=A", "CLASS"),
            ("AT+LW=DC,OFF", "LW"),
        ):
            self._command(command, tag)

    def uplink(self, f_port: int, payload: bytes, within_s: float) -> Sequence[Reception]:
        """See `ReferenceNode.uplink`."""
        self._command(f"AT+PORT={f_port}", "PORT")
        until_s = time.monotonic() + BUSY_S
        while True:
            self._line.write(f'AT+MSGHEX="{payload.hex().upper()}"')
            done, before = self._line.until(lambda one: isinstance(read(one.text), Sent | Busy | Refused), within_s)
            said = None if done is None else read(done.text)
            if isinstance(said, Sent):
                return _in_windows(before)
            if isinstance(said, Refused):
                raise self._refused("AT+MSGHEX", said.code)
            if said is None or time.monotonic() > until_s:
                raise BenchTrouble(f"{self.name} has not finished its uplink after {within_s:g} s")
            time.sleep(0.5)

    def close(self) -> None:
        """See `ReferenceNode.close`."""
        self._line.close()

    # --- below --------------------------------------------------------------------------------------------------------

    def _mode(self, mode: str) -> None:
        if self._mode_now != mode:
            self._command(f"AT+MODE={mode}", "MODE")
            self._mode_now, self._tuned = mode, ""

    def _tune(self, channel: Channel, power_dbm: int, *, inverted: bool) -> None:
        self._mode("TEST")
        megahertz, kilohertz = f"{channel.frequency_hz / 1e6:.6f}".rstrip("0"), channel.bandwidth_hz // 1000
        wanted = (
            f"AT+TEST=RFCFG,{megahertz.rstrip('.')},SF{channel.spreading_factor},{kilohertz},8,8,{power_dbm},"
            f"ON,{'ON' if inverted else 'OFF'},ON"
        )
        if self._tuned != wanted:
            self._command(wanted, "TEST", begins="RFCFG")
            self._tuned = wanted

    def _command(self, command: str, tag: str, begins: str = "") -> Answer:
        self._line.drain()
        self._line.write(command)

        def ends(line: Line) -> bool:
            said = read(line.text)
            fits = isinstance(said, Answer) and said.tag == tag and said.text.startswith(begins)
            return fits or isinstance(said, Refused)

        line, _ = self._line.until(ends, ANSWER_S)
        said = None if line is None else read(line.text)
        if isinstance(said, Answer):
            return said
        short = command.split(",", 1)[0]
        if isinstance(said, Refused):
            raise self._refused(short, said.code)
        raise BenchTrouble(f"{self.name} does not answer {short}", hint="See its power; unplug it and plug it in")

    def _refused(self, command: str, code: int) -> BenchTrouble:
        words = ERRORS.get(code, "refuses")
        return BenchTrouble(f"{self.name} {words}: {command} was answered with ERROR({code})")


def _in_windows(lines: Sequence[Line]) -> list[Reception]:
    """Bytes come before the levels; an acknowledgement has none."""
    found: list[Reception] = []
    payload = Payload(b"")
    for line in lines:
        said = read(line.text)
        if isinstance(said, Payload):
            payload = said
        elif isinstance(said, Levels):
            found.append(Reception(payload.payload, said.rssi_dbm, said.snr_db, line.at_s, said.window, payload.f_port))
            payload = Payload(b"")
    return found
