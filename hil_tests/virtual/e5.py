"""A modem that speaks the dialect of Seeed's LoRa-E5 (Wio-E5): as much of it as the bench uses, with its manners.

Source: Seeed, "LoRa-E5 AT Command Specification" V1.0 (commands, TEST mode, error codes -1 to -24), and logs that users
published (`+TEST: LEN:…, RSSI:…, SNR:…`, `+MSGHEX: RXWIN1, RSSI …, SNR …`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.model import AesKey, DevAddr, DevEui, Lora
from hil_tests.virtual.node import Caught, Personality, Tuning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hil_tests.virtual.node import Node

VERSION = "4.0.11"
_RFCFG = re.compile(
    r"RFCFG,(\d{3}(?:\.\d{1,6})?),SF(\d{1,2}),(125|250|500),(\d{1,5}),(\d{1,5}),(-?\d{1,2}),(ON|OFF),(ON|OFF),(ON|OFF)",
    re.IGNORECASE,
)


class E5:
    """The modem behind a serial line: `feed` takes lines, `say` is called with what it says."""

    def __init__(self, node: Node, now_us: Callable[[], int], say: Callable[[str], None]) -> None:
        self._node = node
        self._now_us = now_us
        self._say = say
        self._mode = "LWOTAA"
        self._tuning = Tuning(868_100_000, Lora(7, 125_000), inverted=False, public=False)
        self._power = 14
        self._dr, self._port = 0, 8
        self._dev_eui, self._dev_addr = DevEui(bytes(8)), DevAddr(0)
        self._keys = {"NWKSKEY": AesKey(bytes(16)), "APPSKEY": AesKey(bytes(16))}

    def feed(self, line: str) -> None:
        """One line from whoever drives it, without its end."""
        text = line.replace(" ", "").strip()
        if not text:
            return
        if not re.fullmatch(r"AT(?:\+[A-Za-z0-9]+(?:=.*)?)?", text, re.IGNORECASE):
            self._say("+AT: ERROR(-11)")
            return
        name, _, value = text[3:].partition("=")
        known: dict[str, Callable[[str], None]] = {
            "": lambda _: self._say("+AT: OK"),
            "VER": lambda _: self._say(f"+VER: {VERSION}"),
            "MODE": self._set_mode,
            "TEST": self._test,
            "ID": self._id,
            "KEY": self._key,
            "DR": self._data_rate,
            "ADR": lambda word: self._echo("ADR", word, r"ON|OFF"),
            "PORT": self._set_port,
            "CLASS": lambda word: self._echo("CLASS", word, r"[AC]"),
            "LW": lambda word: self._echo("LW", word, r"DC,(?:ON|OFF)"),
            "MSGHEX": self._uplink,
        }
        command = known.get(name.upper())
        if command is None:
            self._say(f"+{name.upper()[:12]}: ERROR(-10)")
        else:
            command(value)

    def _echo(self, name: str, word: str, wanted: str) -> None:
        ok = re.fullmatch(wanted, word, re.IGNORECASE)
        self._say(f"+{name}: {word.upper()}" if ok else f"+{name}: ERROR(-1)")

    def _set_mode(self, value: str) -> None:
        if value.upper() not in {"TEST", "LWABP", "LWOTAA"}:
            self._say("+MODE: ERROR(-1)")
            return
        self._mode = value.upper()
        self._node.stop_listening()
        self._say(f"+MODE: {self._mode}")

    # --- test mode ----------------------------------------------------------------------------------------------------

    def _test(self, value: str) -> None:
        if self._mode != "TEST":
            self._say("+TEST: ERROR(-12)")
        elif (found := _RFCFG.fullmatch(value)) is not None:
            self._configure(found)
        elif (sent := re.fullmatch(r'TXLRPKT,"?((?:[0-9a-fA-F]{2}){1,255})"?', value, re.IGNORECASE)) is not None:
            self._send(sent[1])
        elif value.upper() == "RXLRPKT":
            self._node.listen(self._tuning, None, self._heard)
            self._say("+TEST: RXLRPKT")
        elif value.upper() == "STOP":
            self._node.stop_listening()
            self._say("+TEST: STOP")
        else:
            self._say("+TEST: ERROR(-1)")

    def _configure(self, found: re.Match[str]) -> None:
        frequency_hz, factor, power = round(float(found[1]) * 1e6), int(found[2]), int(found[6])
        if not (7 <= factor <= 12 and power <= 22):
            self._say("+TEST: ERROR(-1)")
            return
        crc, inverted, public = (found[group].upper() == "ON" for group in (7, 8, 9))
        self._tuning = Tuning(frequency_hz, Lora(factor, int(found[3]) * 1000), inverted, public)
        self._power = power
        words = {True: "ON", False: "OFF"}
        self._say(
            f"+TEST: RFCFG F:{frequency_hz}, SF{factor}, BW{found[3]}K, TXPR:{found[4]}, RXPR:{found[5]}, "
            f"POW:{power}dBm, CRC:{words[crc]}, IQ:{words[inverted]}, NET:{words[public]}"
        )

    def _send(self, text: str) -> None:
        self._node.stop_listening()
        busy = self._node.transmit(bytes.fromhex(text), self._tuning, self._power, lambda: self._say("+TEST: TX DONE"))
        self._say(f'+TEST: TXLRPKT "{text.upper()}"' if busy is None else "+TEST: ERROR(-12)")

    def _heard(self, caught: Caught | None) -> None:
        if caught is not None:
            size, rssi, snr = len(caught.payload), round(caught.rssi_dbm), round(caught.snr_db)
            self._say(f"+TEST: LEN:{size}, RSSI:{rssi}, SNR:{snr}")
            self._say(f'+TEST: RX "{caught.payload.hex().upper()}"')

    # --- LoRaWAN ------------------------------------------------------------------------------------------------------

    def _id(self, value: str) -> None:
        found = re.fullmatch(r'(DevEui|DevAddr),"?([0-9a-fA-F]{8,16})"?', value, re.IGNORECASE)
        if found is not None and found[1].upper() == "DEVEUI" and len(found[2]) == 16:
            self._dev_eui = DevEui.parse(found[2])
            self._say(f"+ID: DevEui, {self._dev_eui.hex(':').upper()}")
        elif found is not None and found[1].upper() == "DEVADDR" and len(found[2]) == 8:
            self._dev_addr = DevAddr.parse(found[2])
            self._say(f"+ID: DevAddr, {found[2].upper()}")
        else:
            self._say("+ID: ERROR(-1)")

    def _key(self, value: str) -> None:
        found = re.fullmatch(r'(NWKSKEY|APPSKEY),"?([0-9a-fA-F]{32})"?', value, re.IGNORECASE)
        if found is None:
            self._say("+KEY: ERROR(-1)")
            return
        self._keys[found[1].upper()] = AesKey.parse(found[2])
        self._say(f"+KEY: {found[1].upper()} {found[2].upper()}")

    def _data_rate(self, value: str) -> None:
        found = re.fullmatch(r"(?:DR)?([0-7])", value, re.IGNORECASE)
        if found is not None:
            self._dr = int(found[1])
            self._say(f"+DR: DR{self._dr}")
        else:
            self._echo("DR", value, "EU868")

    def _set_port(self, value: str) -> None:
        if value.isdecimal() and 1 <= int(value) <= 255:
            self._port = int(value)
            self._say(f"+PORT: {value}")
        else:
            self._say("+PORT: ERROR(-1)")

    def _uplink(self, value: str) -> None:
        found = re.fullmatch(r'"?((?:[0-9a-fA-F]{2}){1,242})"?', value)
        if found is None:
            self._say("+MSGHEX: ERROR(-1)")
            return
        if self._mode != "LWABP":
            self._say("+MSGHEX: ERROR(-12)" if self._mode == "TEST" else "+MSGHEX: Please join network first")
            return
        who = Personality(self._dev_eui, self._dev_addr, self._keys["NWKSKEY"], self._keys["APPSKEY"], self._dr)
        busy = self._node.uplink(who, self._port, bytes.fromhex(found[1]), self._windows_over)
        self._say("+MSGHEX: Start" if busy is None else "+MSGHEX: LoRaWAN modem is busy")

    def _windows_over(self, caught: Sequence[Caught]) -> None:
        for one in caught:
            if one.f_port:
                self._say(f'+MSGHEX: PORT: {one.f_port}; RX: "{one.payload.hex().upper()}"')
            self._say(f"+MSGHEX: RXWIN{(one.window or 'RX1')[-1]}, RSSI {round(one.rssi_dbm)}, SNR {one.snr_db:.1f}")
        self._say("+MSGHEX: Done")
