"""A chip on somebody else's air: asked over a socket, answered as of the moment it was asked, broken like any other."""

from __future__ import annotations

import socket
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import AtCounter, Crc, Immediately, Lora, TxResult
from gateway.radio.channels import plan_of
from gateway.radio.chip import ChipTrouble, ChipTx, OnPps, Reset, TroubleKind, TxState, Unsent
from gateway.radio.pipe import PipeFault
from gateway.regions.eu868 import EU868
from gateway.simulator.air import Air, Position, Transmission
from gateway.simulator.chance import Chance
from gateway.simulator.real_time import VirtualChip
from gateway.simulator.shared_air import LONGEST, SharedChip, answered, asked_at

PLAN = plan_of(EU868)


class Keeper:
    """Keeps an air and one chip on it, and answers requests as of the time they carry."""

    def __init__(self, path):
        self.now_us = 0
        self.air = Air(Chance(1).about("air"))
        self.chip = VirtualChip(None, clock_us=lambda: self.now_us, air=self.air)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen()
        self.guests = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while True:
            guest, _ = self._listener.accept()
            self.guests.append(guest)
            if not guest.recv(1, socket.MSG_PEEK):
                guest.close()
                return
            while packet := guest.recv(LONGEST):
                self.now_us = max(self.now_us, asked_at(packet))
                guest.send(answered(self.chip, packet))
            guest.close()

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as last:
            last.connect(self._listener.getsockname())
            last.shutdown(socket.SHUT_RDWR)
            self._thread.join(5)
        self._listener.close()


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "air")
    yield keeper
    keeper.close()


@pytest.fixture
def clock():
    return [1_000_000]


@pytest.fixture
def chip(keeper, tmp_path, clock):
    chip = SharedChip(str(tmp_path / "air"), clock_us=lambda: clock[0])
    chip.start(PLAN)
    yield chip
    chip.stop()


def downlink(**changes):
    values = {
        "phy": b"\x60" + bytes(12), "when": Immediately(), "frequency_hz": 869_525_000, "modulation": Lora(9, 125_000),
        "power_dbm": 14.0,
    }  # fmt: skip
    return ChipTx(**(values | changes))


def test_it_hears_who_else_is_on_the_air(chip, keeper, clock):
    lora = Lora(7, 125_000)
    keeper.air.put(Transmission(b"\x40hello", "somebody", Position(30, 0), 1_500_000, 46_336, 868_100_000, lora, 14.0))
    clock[0] = 1_546_335
    assert chip.receive() == []
    clock[0] = 1_546_336
    (frame,) = chip.receive()
    assert (frame.phy, frame.frequency_hz, frame.modulation, frame.crc) == (b"\x40hello", 868_100_000, lora, Crc.OK)
    assert frame.counter_us == 546_336 == chip.counter_us()


def test_its_counter_shows_what_it_showed_when_it_was_asked(chip, clock):
    clock[0] += 123_456
    assert chip.counter_us() == 123_456
    assert chip.examine().version == 0x10
    assert (chip.temperature_c(), chip.eui()) == (25.0, None)


def test_its_pulse_comes_with_the_seconds_and_starts_what_waits_for_it(chip, keeper, clock):
    clock[0] += 1_500_000
    pulse_us = chip.pps_counter_us()
    assert pulse_us is not None
    assert 500_000 < pulse_us <= 1_500_000 == chip.counter_us()
    assert chip.send(downlink(when=OnPps.NEXT)) is None
    clock[0] += 1_000_000
    assert chip.tx_status() is not TxState.SCHEDULED


def test_a_downlink_starts_on_its_microsecond_and_can_be_aborted(chip, keeper, clock):
    heard = []

    class Ear:
        def preamble_over(self, transmission, beside):
            heard.append(transmission)

        def frame_over(self, transmission, beside):
            pass

    keeper.air.attach(Ear())
    assert chip.send(downlink(when=AtCounter(40_000))) is None
    assert chip.tx_status() is TxState.SCHEDULED
    clock[0] += 60_000
    assert chip.tx_status() is TxState.EMITTING
    clock[0] += 500_000
    assert chip.tx_status() is TxState.FREE
    chip.receive()
    assert [one.start_us for one in heard] == [1_040_000]
    assert chip.send(downlink(when=AtCounter(700_000))) is None
    chip.abort()
    assert chip.tx_status() is TxState.FREE


def test_what_it_does_not_send_is_said_as_by_any_chip(chip):
    refused = chip.send(downlink(frequency_hz=915_000_000))
    assert isinstance(refused, Unsent)
    assert (refused.result, "EU868" in refused.detail) == (TxResult.TX_FREQ, True)


def trouble(call):
    with pytest.raises(ChipTrouble) as raised:
        call()
    return raised.value.kind


def test_an_air_that_is_not_there_or_goes_away_is_trouble(chip, keeper, tmp_path):
    assert trouble(lambda: SharedChip(str(tmp_path / "none")).start(PLAN)) is TroubleKind.NOT_THERE
    assert trouble(SharedChip(str(tmp_path / "none")).receive) is TroubleKind.NOT_THERE
    keeper.guests[0].shutdown(socket.SHUT_RDWR)
    assert trouble(chip.receive) is TroubleKind.LOST
    chip.reset(Reset.CHIP)
    chip.start(PLAN)
    assert chip.receive() == []


def test_trouble_of_the_chip_crosses_the_socket(chip, keeper):
    keeper.chip.stop()
    assert trouble(chip.receive) is TroubleKind.NOT_THERE


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.binary(max_size=40), st.tuples(st.integers(0, 12), st.binary(max_size=60)).map(
    lambda pair: bytes((pair[0],)) + bytes(8) + pair[1])))  # fmt: skip
def test_a_request_is_answered_or_refused(packet):
    chip = VirtualChip(None, clock_us=lambda: 0, air=Air(Chance(1)))
    try:
        answer = answered(chip, packet)
    except PipeFault:
        return
    assert answer[0] in {0, 1, 2}
