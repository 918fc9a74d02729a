"""The drivers of the bench's modems: what modems say is understood, and what they refuse is said in words.

Lines of real modems: RAKwireless, "RUI3 AT Command Manual" (docs.rakwireless.com), a RAK3172's log in its forum
(`+EVT:RXP2P:-28:5:48656C6C…`), Seeed, "LoRa-E5 AT Command Specification" V1.0, sections 3.2, 4.25 and 4.28, and a
Wio-E5's log in Seeed's wiki (`+CMSGHEX: RXWIN1, RSSI -30, SNR 6.0`).
"""

from __future__ import annotations

import contextlib
import os
import threading
import tty

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import AesKey, DevAddr, DevEui
from gateway.simulator.sx1302.pty import Port
from hil_tests import rak3172, wio_e5
from hil_tests.parts import BenchTrouble, Channel, Credentials
from hil_tests.serial_line import LONGEST_LINE, LineReader
from hil_tests.virtual.lab import Lab

pytest.importorskip("serial", reason="needs pyserial: pip install pyserial")

CHANNEL = Channel(868_100_000, 7)
WHO = Credentials(DevEui(bytes(range(8))), DevAddr(0x01020304), AesKey(bytes(16)), AesKey(bytes(16)))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("OK", rak3172.Status(None)),
        ("AT_PARAM_ERROR", rak3172.Status("AT_PARAM_ERROR")),
        ("AT_BUSY_ERROR", rak3172.Status("AT_BUSY_ERROR")),
        ("AT+VER=RUI_4.1.0_RAK3172-E", rak3172.Value("VER", "RUI_4.1.0_RAK3172-E")),
        ("+EVT:TXP2P DONE", rak3172.Sent()),
        ("+EVT:TX_DONE", rak3172.Sent()),
        ("+EVT:RXP2P RECEIVE TIMEOUT", rak3172.Nothing()),
        ("+EVT:RXP2P:-28:5:48656C6C6F2052616B33313732", rak3172.Heard(-28, 5, b"Hello Rak3172")),
        ("+EVT:RX_1:-70:8:UNICAST:1:1234", rak3172.Heard(-70, 8, b"\x12\x34", 1, 1)),
        ("+EVT:RX_2:-107:-3:UNICAST:2:4321", rak3172.Heard(-107, -3, b"\x43\x21", 2, 2)),
        ("Current Work Mode: LoRa P2P.", rak3172.Other()),
        ("+EVT:RXP2P:-28:5:486", rak3172.Other()),
    ],
)
def test_lines_of_a_rak3172_are_understood(line, said):
    assert rak3172.read(line) == said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("+AT: OK", wio_e5.Answer("AT", "OK")),
        ("+VER: 4.0.11", wio_e5.Answer("VER", "4.0.11")),
        ("+TEST: ERROR(-12)", wio_e5.Refused("TEST", -12)),
        ("+TEST: TX DONE", wio_e5.Sent()),
        ("+TEST: LEN:250, RSSI:-106, SNR:10", wio_e5.Levels(-106, 10)),
        ('+TEST: RX "6505A7"', wio_e5.Payload(b"\x65\x05\xa7")),
        ("+CMSGHEX: RXWIN1, RSSI -30, SNR 6.0", wio_e5.Levels(-30, 6.0, 1)),
        ("+MSG: RXWIN2, RSSI -101, SNR -16.0", wio_e5.Levels(-101, -16.0, 2)),
        ('+MSGHEX: PORT: 1; RX: "0564"', wio_e5.Payload(b"\x05\x64", 1)),
        ("+MSGHEX: Done", wio_e5.Sent()),
        ("+MSGHEX: LoRaWAN modem is busy", wio_e5.Busy()),
        ("+MSGHEX: No band in 13469ms", wio_e5.Busy()),
        ("+INFO: Input timeout", wio_e5.Answer("INFO", "Input timeout")),
        ("hello", wio_e5.Other()),
    ],
)
def test_lines_of_a_wio_e5_are_understood(line, said):
    assert wio_e5.read(line) == said


TALK = st.sampled_from(
    ["+EVT:", "RXP2P", "RX_1", ":", "-70", "8", "UNICAST", "0A1b", "AT_", "AT+", "=", "+TEST: ", "RXWIN1", ", RSSI ",
     '"', "ERROR(", "-1", ")", "SNR", "LEN:", "²", "\0", "9" * 40]
)  # fmt: skip
ANYTHING = st.one_of(st.text(max_size=120), st.lists(TALK, max_size=12).map("".join))


@settings(deadline=None, max_examples=300)
@given(ANYTHING)
def test_whatever_a_modem_says_is_something(line):
    assert isinstance(rak3172.read(line), rak3172.Said)
    assert isinstance(wio_e5.read(line), wio_e5.Said)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.binary(max_size=60), max_size=12))
def test_lines_are_the_same_however_their_bytes_come(pieces):
    whole, broken = LineReader(), LineReader()
    octets = b"".join(pieces) + b"\n"
    expected = [line.text for line in whole.feed(octets, 0.0)]
    assert [line.text for piece in [*pieces, b"\n"] for line in broken.feed(piece, 0.0)] == expected


def test_noise_without_an_end_costs_no_memory():
    reader = LineReader()
    lines = [line for _ in range(100) for line in reader.feed(b"x" * 1000, 0.0)]
    assert all(len(line.text) <= LONGEST_LINE for line in lines)
    assert len(lines) >= 30


COMMANDS = st.sampled_from(
    ["AT", "AT+VER=?", "AT+NWM=0", "AT+P2P=868100000:7:0:0:8:14", "AT+PSEND=00", "AT+PRECV=100", "AT+SEND=2:00",
     "AT+NJM=0", "AT+NWM=1", "AT+MODE=TEST", "AT+TEST=RXLRPKT", 'AT+TEST=TXLRPKT,"00"', "AT+MODE=LWABP",
     'AT+MSGHEX="00"', "AT+DR=5"]
)  # fmt: skip
ORDERS = st.text(max_size=60) | COMMANDS | st.tuples(COMMANDS, st.text(max_size=4)).map("".join)


@settings(deadline=None, max_examples=150)
@given(st.lists(ORDERS, max_size=15))
def test_the_models_of_modems_answer_anything(lines):
    said = []
    lab = Lab({"rak": "rak3172", "e5": "wio-e5"}, lambda *_: None, lambda name, line: said.append(line), usb=False)
    for at, line in enumerate(lines):
        for modem in lab.modems.values():
            before = len(said)
            modem.feed(line)
            assert len(said) > before or not line.strip()
        lab.advance(50_000 * (at + 1))
    lab.advance(10_000_000)


# --- drivers --------------------------------------------------------------------------------------------------------


class Scripted:
    """A modem on a pseudo-terminal that answers by a function of the line; None: nothing."""

    def __init__(self, answer):
        self._answer = answer
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self.told: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        rest = b""
        with contextlib.suppress(OSError):  # unplugged
            while True:
                *lines, rest = (rest + os.read(self._master, 1000)).split(b"\r\n")
                for line in map(bytes.decode, lines):
                    self.told.append(line)
                    for word in self._answer(line) or ():
                        os.write(self._master, word.encode() + b"\r\n")

    def close(self):
        os.close(self._slave)
        os.close(self._master)
        self._thread.join(2)


@pytest.fixture
def scripted():
    made = []

    def make(answer):
        made.append(Scripted(answer))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    for module in (rak3172, wio_e5):
        monkeypatch.setattr(module, "ANSWER_S", 0.2)
        monkeypatch.setattr(module, "TX_MARGIN_S", 0.3)


def rui3(version="RUI_4.1.0_RAK3172-E", **others):
    def answer(line):
        for begin, words in others.items():
            if line.startswith(f"AT+{begin}"):
                return words
        return (
            [f"AT+VER={version}", "OK"] if line == "AT+VER=?" else ["AT+NWM=0", "OK"] if line == "AT+NWM=?" else ["OK"]
        )

    return answer


def refused(node, what):
    try:
        with pytest.raises(BenchTrouble) as trouble:
            what(node)
        return "\n".join(trouble.value.lines())
    finally:
        node.close()


@pytest.mark.parametrize(
    ("answer", "what", "words"),
    [
        (lambda line: None, lambda node: node.identify(), "does not answer"),
        (rui3("V1.0.4"), lambda node: node.identify(), "has firmware V1.0.4; RUI3 4.0 or newer"),
        (rui3("RUI_3.5.4_RAK3172-E"), lambda node: node.identify(), "Flash the newest"),
        (rui3(PSEND=["AT_BUSY_ERROR"]), lambda node: node.transmit(b"\0", CHANNEL, 14), "is busy with something else"),
        (rui3(PSEND=["AT_PARAM_ERROR"]), lambda node: node.transmit(b"\0", CHANNEL, 14), "takes a value for wrong"),
        (rui3(PSEND=["AT_NEW_WORD"]), lambda node: node.transmit(b"\0", CHANNEL, 14), "answered with AT_NEW_WORD"),
        (rui3(), lambda node: node.transmit(b"\0", CHANNEL, 14), "does not say that its frame was sent"),
        (rui3(SYNCWORD=["AT_COMMAND_NOT_FOUND"]), lambda node: node.listen(CHANNEL, 1), "does not know this command"),
        (rui3(DEVADDR=None), lambda node: node.become(WHO, 5), "does not answer AT+DEVADDR"),
    ],
)
def test_what_a_rak3172_refuses_is_said_in_words(scripted, answer, what, words):
    assert words in refused(rak3172.Rak3172("rak", scripted(answer).port), what)


def e5(**others):
    def answer(line):
        for begin, words in others.items():
            if begin in line:
                return words
        head = line.removeprefix("AT").removeprefix("+").partition("=")
        return [f"+{head[0] or 'AT'}: {head[2].split(',')[0] or 'OK'}"]

    return answer


@pytest.mark.parametrize(
    ("answer", "what", "words"),
    [
        (lambda line: ["OK"], lambda node: node.identify(), "does not answer"),
        (e5(VER=["+VER: ERROR(-10)"]), lambda node: node.identify(), "does not know this command"),
        (e5(RFCFG=["+TEST: ERROR(-1)"]), lambda node: node.transmit(b"\0", CHANNEL, 14), "takes a value for wrong"),
        (e5(TXLRPKT=["+TEST: ERROR(-12)"]), lambda node: node.transmit(b"\0", CHANNEL, 14), "in its present mode"),
        (e5(), lambda node: node.transmit(b"\0", CHANNEL, 14), "does not say that its frame was sent"),
        (e5(MODE=["+MODE: ERROR(-99)"]), lambda node: node.become(WHO, 5), "answered with ERROR(-99)"),
        (e5(MSGHEX=["+MSGHEX: ERROR(-1)"]), lambda node: node.uplink(1, b"\0", 0.2), "takes a value for wrong"),
        (e5(MSGHEX=None), lambda node: node.uplink(1, b"\0", 0.2), "has not finished its uplink"),
    ],
)
def test_what_a_wio_e5_refuses_is_said_in_words(scripted, answer, what, words):
    assert words in refused(wio_e5.WioE5("e5", scripted(answer).port), what)


def test_the_older_spelling_of_a_bandwidth_is_found(scripted):
    def answer(line):
        if line.startswith("AT+P2P="):
            return ["OK"] if ":125:" in line else ["AT_PARAM_ERROR"]
        return ["OK", "+EVT:TXP2P DONE"] if line.startswith("AT+PSEND") else rui3()(line)

    modem = scripted(answer)
    node = rak3172.Rak3172("rak", modem.port)
    node.transmit(b"\x40", CHANNEL, 14)
    node.close()
    wanted = ["AT+P2P=868100000:7:0:0:8:14", "AT+P2P=868100000:7:125:0:8:14"]
    assert [line for line in modem.told if line.startswith("AT+P2P=")] == wanted
    assert modem.told[-1] == "AT+PSEND=40"


def test_a_modem_that_is_unplugged_is_told(tmp_path):
    port = Port(tmp_path / "tty")
    port.plug()
    node = wio_e5.WioE5("e5", str(port.path))
    port.unplug()
    with pytest.raises(BenchTrouble, match="went away"):
        node.identify()
    node.close()


def test_a_port_that_is_not_there_is_told(tmp_path):
    with pytest.raises(BenchTrouble, match="cannot be opened"):
        wio_e5.WioE5("e5", str(tmp_path / "tty"))
