"""Which chip answers: fakes that behave like each on its bus, and lines on which nothing sensible answers."""

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.radio.chip import ChipTrouble, TroubleKind
from gateway.radio.probing import Bridge, judge, probe_usb


def sx1302(version):
    """Reads of an SX1302: target, address, a dummy byte, then data."""

    def transfer(out):
        read = out[0] == 0 and not out[1] & 0x80 and (out[1] << 8 | out[2]) == 0x5606 if len(out) > 3 else False
        return bytes(4) + bytes([version]) + bytes(len(out) - 5) if read else bytes(len(out))

    return transfer


def sx1301(out):
    """Reads of an SX1301: address, data. Register 1 holds 103 (Semtech's lora_gateway, `loragw_reg.c`)."""
    return bytes([0]) + bytes([103] if out[0] == 1 else [0]) + bytes(len(out) - 2)


def sx1301_behind_an_fpga(out):
    """The same behind a multiplexer: one byte more in front."""
    return (bytes(2) + bytes([103] if out[:2] == b"\x00\x01" else [0]) + bytes(8))[: len(out)]


@pytest.mark.parametrize(("version", "chip"), [(0x10, "SX1302"), (0x12, "SX1303")])
def test_both_chips_are_known_by_their_version(version, chip):
    assert judge(sx1302(version), "/dev/spidev0.0").chip == chip


@pytest.mark.parametrize(
    ("transfer", "kind", "said"),
    [
        (sx1301, TroubleKind.WRONG_CHIP, "SX1301"),
        (sx1301_behind_an_fpga, TroubleKind.WRONG_CHIP, "SX1301"),
        (sx1302(0x37), TroubleKind.WRONG_CHIP, "0x37"),
        (lambda out: bytes(len(out)), TroubleKind.BUS_LOW, "zeros"),
        (lambda out: b"\xff" * len(out), TroubleKind.BUS_HIGH, "ones"),
    ],
)
def test_whatever_else_answers_is_told_with_a_cure(transfer, kind, said):
    with pytest.raises(ChipTrouble, match=said) as trouble:
        judge(transfer, "/dev/spidev0.0")
    assert trouble.value.kind is kind
    assert trouble.value.hint


@settings(deadline=None, max_examples=100)
@given(st.binary(min_size=8, max_size=8))
def test_whatever_a_bus_answers_it_is_a_chip_or_a_trouble(noise):
    try:
        said = judge(lambda out: noise[: len(out)], "/dev/spidev0.0").chip
    except ChipTrouble as trouble:
        said = trouble.hint
    assert said in {"SX1302", "SX1303"} or len(said) > 20


# --- the bridge -----------------------------------------------------------------------------------------------------


class CorecellBridge(threading.Thread):
    """A bridge on a pseudo-terminal, as far as a probe asks; `spoil` changes what it answers."""

    def __init__(self, spoil=lambda answer: answer):
        super().__init__(daemon=True)
        self.master, self._slave = os.openpty()
        os.set_blocking(self.master, True)
        self.path = os.ttyname(self._slave)
        self.pins = []
        self._spoil = spoil
        self.start()

    def run(self):
        while True:
            try:
                head = self._exactly(4)
                payload = self._exactly(int.from_bytes(head[1:3], "big"))
            except OSError:
                return
            answer = self._answer(head[3], payload)
            whole = head[:1] + len(answer).to_bytes(2, "big") + bytes([head[3] | 0x40]) + answer
            os.write(self.master, self._spoil(whole))

    def _exactly(self, size):
        data = b""
        while len(data) < size:
            data += os.read(self.master, size - len(data))
        return data

    def _answer(self, order, payload):
        match order:
            case 0:
                return bytes(range(12)) + b"V01.00.00"
            case 4:
                self.pins.append(tuple(payload))
                return b"\x00"
            case 5:
                return bytes([payload[0], 1, 0]) + payload[3:5] + bytes(4) + b"\x10" + bytes(len(payload) - 10)
        return b""

    def close(self):
        os.close(self._slave)
        os.close(self.master)


@pytest.fixture
def make_bridge():
    pytest.importorskip("serial", reason="needs pyserial: pip install pyserial")
    bridges = []

    def make(*arguments):
        bridges.append(CorecellBridge(*arguments))
        return bridges[-1]

    yield make
    for bridge in bridges:
        bridge.close()


def test_a_chip_behind_the_bridge_is_reset_and_named(make_bridge):
    bridge = make_bridge()
    found = probe_usb(bridge.path)
    assert found is not None
    assert (found.chip, found.bridge) == ("SX1302", "V01.00.00")
    # PA1 power, PA2 reset up and down, PA8 SX1261 down and up: `lgw_usb_open` of sx1302_hal 2.1.0.
    assert bridge.pins == [(0, 1, 1), (0, 2, 1), (0, 2, 0), (0, 8, 0), (0, 8, 1)]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda answer: b"", "does not answer"),
        (lambda answer: b"AT\r\nERROR\r\n", "answers with 41 54 0d 0a"),
        (lambda answer: answer[:8], "stops in the middle"),
        (lambda answer: answer[:1] + b"\xff\xff" + answer[3:], "answers with"),
    ],
    ids=["silent", "a modem", "half an answer", "a length beyond reason"],
)
def test_what_is_no_bridge_is_not_waited_for(make_bridge, spoil, said):
    bridge = make_bridge(spoil)
    with pytest.raises(ChipTrouble, match=said) as trouble:
        probe_usb(bridge.path, patience_s=0.1)
    assert trouble.value.kind is TroubleKind.NOT_THERE
    assert "/dev/serial/by-id" in trouble.value.hint


class Line:
    """A serial line that answers what it is told to."""

    def __init__(self, answers):
        self._answers = answers

    def reset_input_buffer(self):
        pass

    def write(self, data):
        pass

    def read(self, size):
        taken, self._answers = self._answers[:size], self._answers[size:]
        return taken

    def close(self):
        pass


@settings(deadline=None, max_examples=200)
@given(st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(lambda rest: b"\x01\x00\x15\x40" + rest)))
def test_whatever_a_line_answers_it_is_a_firmware_or_a_trouble(noise):
    try:
        said = Bridge(Line(noise), "/dev/ttyACM0").ping()
    except ChipTrouble as trouble:
        said = trouble.hint
    assert said.isprintable()
    assert len(said) == 9 or "/dev/serial/by-id" in said
