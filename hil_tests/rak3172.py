"""A RAK3172 (or another module with RUI3 firmware) as reference node.

Facts: RAKwireless, "RUI3 AT Command Manual" (115200 baud; `OK` or an `AT_…` word after each command; events begin with
`+EVT:`), and its release notes: AT+PRECV=65533 since 3.4.0, AT+IQINVER and AT+SYNCWORD since 4.0. The bandwidth of
AT+P2P is 125 in older and 0 in newer firmware. IQ inversion holds for both directions, so it is set before each.
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

BAUD = 115_200
OLDEST = (4, 0)
ANSWER_S = 2.0
RESTART_S = 6.0
TX_MARGIN_S = 6.0
"""Beyond the air time of the longest frame at SF12 (2.5 s for what the bench sends)."""

ERRORS = {
    "AT_ERROR": "does not know how",
    "AT_PARAM_ERROR": "takes a value for wrong",
    "AT_BUSY_ERROR": "is busy with something else",
    "AT_TEST_PARAM_OVERFLOW": "takes a value for too long",
    "AT_NO_CLASSB_ENABLE": "has no class B",
    "AT_NO_NETWORK_JOINED": "has joined no network",
    "AT_RX_ERROR": "lost bytes of a command",
    "AT_MODE_NO_SUPPORT": "is in the other mode (LoRaWAN or P2P)",
    "AT_COMMAND_NOT_FOUND": "does not know this command",
    "AT_UNSUPPORTED_BAND": "was built for other frequencies",
    "AT_DUTYCYCLE_RESTRICTED": "waits for its own duty cycle",
}
"""The status words of the manual, and what they say of a modem."""


@dataclass(frozen=True, slots=True)
class Status:
    """The end of an answer. `error` is one of `ERRORS`, or another word that begins with AT_; None: OK."""

    error: str | None


@dataclass(frozen=True, slots=True)
class Value:
    """What was asked for."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Sent:
    """A frame is over: P2P, or an uplink with its windows."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A frame was received."""

    rssi_dbm: int
    snr_db: int
    payload: bytes
    window: int | None = None
    f_port: int | None = None


@dataclass(frozen=True, slots=True)
class Nothing:
    """The time of AT+PRECV is over."""


@dataclass(frozen=True, slots=True)
class Other:
    """Something for people: a banner, an echo."""


Said = Status | Value | Sent | Heard | Nothing | Other

_P2P = re.compile(r"\+EVT:RXP2P:(-?\d{1,3}):(-?\d{1,3}):((?:[0-9A-Fa-f]{2})*)", re.ASCII)
_WINDOW = re.compile(
    r"\+EVT:RX_([12BC]):(-?\d{1,3}):(-?\d{1,3}):(?:UNICAST|MULTICAST):(\d{1,3}):?((?:[0-9A-Fa-f]{2})*)", re.ASCII
)
_VALUE = re.compile(r"AT\+([A-Z0-9]{1,20})=(.{1,200})", re.ASCII)
_ERROR = re.compile(r"AT_[A-Z_]{2,40}", re.ASCII)


def read(text: str) -> Said:
    """What a line of the modem says."""
    if text == "OK":
        return Status(None)
    if _ERROR.fullmatch(text):
        return Status(text)
    if text in {"+EVT:TXP2P DONE", "+EVT:TX_DONE", "+EVT:SEND_CONFIRMED_OK"}:
        return Sent()
    if text.startswith("+EVT:RXP2P RECEIVE"):
        return Nothing()
    if (found := _P2P.fullmatch(text)) is not None:
        return Heard(int(found[1]), int(found[2]), bytes.fromhex(found[3]))
    if (found := _WINDOW.fullmatch(text)) is not None:
        window = int(found[1]) if found[1] in "12" else None
        return Heard(int(found[2]), int(found[3]), bytes.fromhex(found[5]), window, int(found[4]))
    if (found := _VALUE.fullmatch(text)) is not None:
        return Value(found[1], found[2])
    return Other()


class Rak3172:
    """See `parts.ReferenceNode`."""

    lowest_dbm, highest_dbm = 5, 22

    def __init__(self, name: str, port: str, baud: int = BAUD) -> None:
        self.name = name
        self._line = SerialLine(name, port, baud)
        self._told: dict[str, str] = {}
        self._bandwidth_125 = "0"
        self._listening = False

    def identify(self) -> str:
        """See `ReferenceNode.identify`."""
        for attempt in range(3):
            self._line.drain()
            self._line.write("AT")
            status, _ = self._line.until(lambda line: isinstance(read(line.text), Status), ANSWER_S)
            if status is not None:
                break
            if attempt == 2:
                raise BenchTrouble(
                    f"{self.name} does not answer",
                    hint=f"Is it a RAK3172 at {BAUD} baud? See its power, and that TX and RX are crossed; "
                    'a Wio-E5 is type = "wio-e5"',
                )
        version = self._ask("VER")
        found = re.search(r"RUI_(\d{1,4})\.(\d{1,4})", version, re.ASCII)
        if found is None or (int(found[1]), int(found[2])) < OLDEST:
            raise BenchTrouble(
                f"{self.name} has firmware {version}; RUI3 {OLDEST[0]}.{OLDEST[1]} or newer can send as a device does",
                hint="Flash the newest RAK3172 firmware with RAK's WisToolBox or STM32CubeProgrammer",
            )
        return f"RAK3172, {version}"

    def transmit(self, phy: bytes, channel: Channel, power_dbm: int) -> float:
        """See `ReferenceNode.transmit`."""
        self._stop_listening()
        self._tune(channel, power_dbm, inverted=False)
        self._command(f"AT+PSEND={phy.hex()}")
        return self._await_sent(TX_MARGIN_S).at_s

    def listen(self, channel: Channel, within_s: float) -> None:
        """See `ReferenceNode.listen`."""
        self._stop_listening()
        self._tune(channel, 14, inverted=True)
        self._command(f"AT+PRECV={min(round(within_s * 1000), 65_000)}")
        self._listening = True

    def received(self, within_s: float) -> Reception | None:
        """See `ReferenceNode.received`."""
        line, _ = self._line.until(lambda one: isinstance(read(one.text), Heard | Nothing), within_s)
        if line is None:
            self._stop_listening()
            return None
        self._listening = False  # one frame, or the end of the time
        said = read(line.text)
        return _reception(said, line) if isinstance(said, Heard) else None

    def become(self, who: Credentials, data_rate: int) -> None:
        """See `ReferenceNode.become`."""
        self._stop_listening()
        self._mode("1")
        for name, value in (
            ("NJM", "0"), ("BAND", "4"), ("CLASS", "A"), ("ADR", "0"), ("CFM", "0"), ("DCS", "0"),
            ("DEVEUI", who.dev_eui.hex()), ("DEVADDR", str(who.dev_addr)), ("NWKSKEY", who.nwk_s_key.hex()),
            ("APPSKEY", who.app_s_key.hex()), ("DR", str(data_rate)),
        ):  # fmt: skip
            self._command(f"AT+{name}={value}")

    def uplink(self, f_port: int, payload: bytes, within_s: float) -> Sequence[Reception]:
        """See `ReferenceNode.uplink`."""
        self._command(f"AT+SEND={f_port}:{payload.hex()}")
        done, before = self._line.until(lambda one: isinstance(read(one.text), Sent), within_s)
        if done is None:
            raise BenchTrouble(f"{self.name} has not finished its uplink after {within_s:g} s")
        # Some firmware tells of the window after it says that it is done.
        late, _ = self._line.until(lambda one: isinstance(read(one.text), Heard), 0.3)
        lines = [*before, *([late] if late is not None else [])]
        return [_reception(said, line) for line in lines if isinstance(said := read(line.text), Heard)]

    def close(self) -> None:
        """See `ReferenceNode.close`."""
        self._line.close()

    def _stop_listening(self) -> None:
        """A module that listens answers AT+PSEND with AT_BUSY_ERROR."""
        if self._listening:
            self._listening = False
            self._command("AT+PRECV=0")

    # --- below --------------------------------------------------------------------------------------------------------

    def _mode(self, mode: str) -> None:
        if self._told.get("NWM") == mode:
            return
        self._told.clear()
        if self._ask("NWM") != mode:
            self._line.write(f"AT+NWM={mode}")
            self._line.until(lambda line: line.text == "OK" or "Work Mode" in line.text, RESTART_S)
            self._line.until(lambda line: line.text == "OK", 0.5)
        self._told["NWM"] = mode

    def _tune(self, channel: Channel, power_dbm: int, *, inverted: bool) -> None:
        self._mode("0")
        wanted = f"{channel.frequency_hz}:{channel.spreading_factor}:{{}}:0:8:{power_dbm}"
        for name, value in (("SYNCWORD", "3444"), ("P2P", wanted), ("IQINVER", str(int(inverted)))):
            if self._told.get(name) == value:
                continue
            if name == "P2P":
                self._set_p2p(value)
            else:
                self._command(f"AT+{name}={value}")
            self._told[name] = value

    def _set_p2p(self, wanted: str) -> None:
        status = self._try(f"AT+P2P={wanted.format(self._bandwidth_125)}")
        if status.error == "AT_PARAM_ERROR":  # older firmware takes kilohertz
            self._bandwidth_125 = "125" if self._bandwidth_125 == "0" else "0"
            self._command(f"AT+P2P={wanted.format(self._bandwidth_125)}")
        elif status.error is not None:
            raise self._refused("AT+P2P", status.error)

    def _ask(self, name: str) -> str:
        self._line.write(f"AT+{name}=?")
        end, before = self._line.until(lambda line: isinstance(read(line.text), Status), ANSWER_S)
        for line in before:
            said = read(line.text)
            if isinstance(said, Value) and said.name == name:
                return said.value
        error = None if end is None else read(end.text)
        if isinstance(error, Status) and error.error is not None:
            raise self._refused(f"AT+{name}=?", error.error)
        raise BenchTrouble(f"{self.name} does not tell AT+{name}=?", hint="See that nothing else uses its serial line")

    def _command(self, command: str) -> None:
        until_s = time.monotonic() + ANSWER_S
        while (status := self._try(command)).error is not None:
            if status.error != "AT_BUSY_ERROR" or time.monotonic() > until_s:
                raise self._refused(command.partition("=")[0], status.error)
            time.sleep(0.1)

    def _try(self, command: str) -> Status:
        self._line.drain()
        self._line.write(command)
        line, _ = self._line.until(lambda one: isinstance(read(one.text), Status), ANSWER_S)
        status = None if line is None else read(line.text)
        if not isinstance(status, Status):
            raise BenchTrouble(
                f"{self.name} does not answer {command.partition('=')[0]}",
                hint="See its power; unplug it and plug it in",
            )
        return status

    def _await_sent(self, within_s: float) -> Line:
        line, _ = self._line.until(lambda one: isinstance(read(one.text), Sent), within_s)
        if line is None:
            raise BenchTrouble(
                f"{self.name} does not say that its frame was sent", hint="See its supply: 3.3 V, 100 mA"
            )
        return line

    def _refused(self, command: str, error: str) -> BenchTrouble:
        words = ERRORS.get(error, "refuses")
        return BenchTrouble(f"{self.name} {words}: {command} was answered with {error}")


def _reception(said: Heard, line: Line) -> Reception:
    return Reception(said.payload, said.rssi_dbm, said.snr_db, line.at_s, said.window, said.f_port)
