"""A modem that speaks RAKwireless' RUI3 dialect: as much of it as the bench uses, with its manners.

Sources: RAKwireless, "RUI3 AT Command Manual"; release notes of RUI3 v3.4.0 (PRECV 65533 and 65534), v4.0 (IQINVER,
SYNCWORD); events as users' logs show them (`+EVT:RXP2P:-28:5:48656C…`, `+EVT:TXP2P DONE`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.model import AesKey, DevAddr, DevEui, Lora
from hil_tests.virtual.node import Caught, Personality, Tuning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hil_tests.virtual.node import Node

VERSION = "RUI_4.1.0_RAK3172-E"
PUBLIC = "3444"
BANDWIDTHS_HZ = {0: 125_000, 1: 250_000, 2: 500_000, 125: 125_000, 250: 250_000, 500: 500_000}
_NO_WINDOW, _TX_TOO = 65_535, 65_533


class Rui3:
    """The modem behind a serial line: `feed` takes lines, `say` is called with what it says."""

    def __init__(self, node: Node, now_us: Callable[[], int], say: Callable[[str], None]) -> None:
        self._node = node
        self._now_us = now_us
        self._say = say
        self._values = {
            "VER": VERSION, "NWM": "1", "P2P": "868000000:7:0:0:8:14", "SYNCWORD": PUBLIC, "IQINVER": "0",
            "CAD": "0", "ENCRY": "0", "NJM": "1", "BAND": "4", "CLASS": "A", "CFM": "0", "ADR": "1", "DR": "0",
            "DCS": "1", "DEVEUI": "0000000000000000", "DEVADDR": "00000000", "NWKSKEY": "0" * 32, "APPSKEY": "0" * 32,
            "PRECV": "0", "LPM": "0", "RX2DR": "0",
        }  # fmt: skip

    def feed(self, line: str) -> None:
        """One line from whoever drives it, without its end."""
        line = line.strip()
        if not line:
            return
        found = re.fullmatch(r"AT(?:\+([A-Z0-9]+)(?:(=)(.*))?)?", line, re.IGNORECASE)
        if found is None:
            self._say("AT_COMMAND_NOT_FOUND")
            return
        name, has_value, value = (found[1] or "").upper(), found[2], found[3]
        if not name:
            self._say("OK")
        elif has_value and value == "?":
            self._ask(name)
        elif has_value:
            self._tell(name, value)
        else:
            self._say("AT_COMMAND_NOT_FOUND")

    def _ask(self, name: str) -> None:
        if name not in self._values:
            self._say("AT_COMMAND_NOT_FOUND")
            return
        self._say(f"AT+{name}={self._values[name]}")
        self._say("OK")

    def _tell(self, name: str, value: str) -> None:
        special = {"NWM": self._mode, "PSEND": self._send, "PRECV": self._receive, "SEND": self._uplink}
        if name in special:
            special[name](value)
        elif name not in self._values or name == "VER":
            self._say("AT_COMMAND_NOT_FOUND")
        elif not _WANTED.get(name, _ANY).fullmatch(value):
            self._say("AT_PARAM_ERROR")
        elif name in {"P2P", "IQINVER", "SYNCWORD"} and (self._p2p is False or self._node.sending):
            self._say("AT_BUSY_ERROR" if self._node.sending else "AT_MODE_NO_SUPPORT")
        else:
            self._values[name] = value.upper()
            self._say("OK")

    @property
    def _p2p(self) -> bool:
        return self._values["NWM"] == "0"

    def _mode(self, value: str) -> None:
        if value not in {"0", "1"}:
            self._say("AT_PARAM_ERROR")
            return
        changed, self._values["NWM"] = self._values["NWM"] != value, value
        self._node.stop_listening()
        if changed:  # the module starts again, and says so instead of OK
            self._say("Current Work Mode: LoRa P2P." if value == "0" else "Current Work Mode: LoRaWAN.")
        self._say("OK")

    def _tuning(self) -> tuple[Tuning, int]:
        frequency, factor, bandwidth, _, _, power = map(int, self._values["P2P"].split(":"))
        lora = Lora(factor, BANDWIDTHS_HZ[bandwidth])
        public = self._values["SYNCWORD"] == PUBLIC
        return Tuning(frequency, lora, self._values["IQINVER"] == "1", public), power

    def _send(self, value: str) -> None:
        if not self._p2p:
            self._say("AT_MODE_NO_SUPPORT")
        elif not re.fullmatch(r"(?:[0-9a-fA-F]{2}){1,255}", value):
            self._say("AT_PARAM_ERROR")
        elif self._values["PRECV"] not in {"0", str(_TX_TOO)}:
            self._say("AT_BUSY_ERROR")
        else:
            tuning, power = self._tuning()
            busy = self._node.transmit(bytes.fromhex(value), tuning, power, lambda: self._say("+EVT:TXP2P DONE"))
            self._say("OK" if busy is None else "AT_BUSY_ERROR")

    def _receive(self, value: str) -> None:
        if not self._p2p:
            self._say("AT_MODE_NO_SUPPORT")
            return
        if not value.isdecimal() or int(value) > _NO_WINDOW:
            self._say("AT_PARAM_ERROR")
            return
        if self._node.sending:
            self._say("AT_BUSY_ERROR")
            return
        self._values["PRECV"] = value
        window = int(value)
        if window == 0:
            self._node.stop_listening()
        else:
            until_us = self._now_us() + window * 1000 if window < _TX_TOO else None
            self._node.listen(self._tuning()[0], until_us, self._heard)
        self._say("OK")

    def _heard(self, caught: Caught | None) -> None:
        window = int(self._values["PRECV"])
        if window not in {_TX_TOO, _TX_TOO + 1}:
            self._values["PRECV"] = "0"
            self._node.stop_listening()
        if caught is None:
            self._say("+EVT:RXP2P RECEIVE TIMEOUT")
        else:
            payload = caught.payload.hex().upper()
            self._say(f"+EVT:RXP2P:{round(caught.rssi_dbm)}:{round(caught.snr_db)}:{payload}")

    def _uplink(self, value: str) -> None:
        found = re.fullmatch(r"(\d{1,3}):((?:[0-9a-fA-F]{2}){1,242})", value)
        if self._p2p:
            self._say("AT_MODE_NO_SUPPORT")
        elif found is None or not 1 <= int(found[1]) <= 223:
            self._say("AT_PARAM_ERROR")
        elif self._values["NJM"] == "1":
            self._say("AT_NO_NETWORK_JOINED")
        else:
            values = self._values
            who = Personality(
                DevEui.parse(values["DEVEUI"]), DevAddr.parse(values["DEVADDR"]), AesKey.parse(values["NWKSKEY"]),
                AesKey.parse(values["APPSKEY"]), int(values["DR"]),
            )  # fmt: skip
            busy = self._node.uplink(who, int(found[1]), bytes.fromhex(found[2]), self._windows_over)
            self._say("OK" if busy is None else "AT_BUSY_ERROR")

    def _windows_over(self, caught: Sequence[Caught]) -> None:
        for one in caught:
            window, payload = (one.window or "RX1")[-1], one.payload.hex().upper()
            self._say(f"+EVT:RX_{window}:{round(one.rssi_dbm)}:{round(one.snr_db)}:UNICAST:{one.f_port or 0}:{payload}")
        self._say("+EVT:TX_DONE")


_ANY = re.compile(r".{0,64}")
_WANTED = {
    "P2P": re.compile(
        r"[1-9]\d{8}:(?:[6-9]|1[0-2]):(?:0|1|2|125|250|500):[0-3]:(?:[5-9]|\d\d):(?:[5-9]|1\d|2[0-2])", re.ASCII
    ),
    "SYNCWORD": re.compile(r"[0-9a-fA-F]{4}"),
    "IQINVER": re.compile("[01]"),
    "CAD": re.compile("[01]"),
    "ENCRY": re.compile("[01]"),
    "NJM": re.compile("[01]"),
    "CFM": re.compile("[01]"),
    "ADR": re.compile("[01]"),
    "DR": re.compile("[0-7]"),
    "DEVEUI": re.compile("[0-9a-fA-F]{16}"),
    "DEVADDR": re.compile("[0-9a-fA-F]{8}"),
    "NWKSKEY": re.compile("[0-9a-fA-F]{32}"),
    "APPSKEY": re.compile("[0-9a-fA-F]{32}"),
}
