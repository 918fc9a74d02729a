"""Each fault does to a driver what such a fault does, and is over when it is over."""

import pytest
from simulator.usb_host import BrokenFetchError, Host, parse_packets

from gateway.errors import UsageError
from gateway.model import Lora
from gateway.simulator.sx1302.faults import ALSO_CALLED, EXPLAINED, ONCE, Fault, named
from gateway.simulator.sx1302.fifo import payload_crc
from gateway.simulator.sx1302.orders import fault_named

PHY = bytes.fromhex("400102030480010002a1b2c3d4e5f60718")
SF7 = Lora(7, 125_000)


@pytest.fixture
def host() -> Host:
    started = Host(pps_at_us=0).start()
    started.now_us = 3_000_000
    started.board.feed(b"", started.now_us)
    return started


def hear(host: Host, phy: bytes = PHY) -> int:
    """A loud frame passes; the bytes in the FIFO then."""
    host.now_us = host.put(phy, SF7).end_us + 20_000
    return host.pending()


@pytest.mark.parametrize(("fault", "byte"), [(Fault.STUCK_LOW, b"\x00"), (Fault.STUCK_HIGH, b"\xff")])
def test_a_stuck_bus_reads_the_same_everywhere_and_comes_back(host, fault, byte):
    hear(host)
    host.board.break_(fault)
    assert host.read(0x5606) == byte
    assert host.read(0x58C8, 2) == byte * 2
    assert host.spi(1, b"\xc0\x00") == byte * 2
    host.board.mend()
    assert host.read(0x5606) == b"\x10"
    assert [packet.payload for packet in host.fetch()] == [PHY]


def test_a_silent_bridge_answers_nothing_until_it_is_mended(host):
    host.board.break_(Fault.SILENT_BRIDGE)
    assert host.board.feed(bytes.fromhex("01000000"), host.now_us) == []
    host.board.mend()
    assert host.ask(1)


def test_an_unplugged_board_comes_back_as_after_power_came(host):
    hear(host)
    host.board.break_(Fault.UNPLUG)
    assert not host.board.plugged
    host.put(PHY, SF7)
    host.now_us += 200_000
    assert host.board.feed(bytes.fromhex("01000000"), host.now_us) == []
    assert len(host.happened("heard")) == 1  # nobody hears without power
    host.board.mend()
    assert host.board.plugged
    assert host.pending() == 0
    assert host.board.chip.channels == ()
    assert host.happened("lost")[0].facts["frames"] == 1
    assert int.from_bytes(host.ask(1)[:4], "big") == 0  # the bridge has started too
    host.start()
    assert hear(host) > 0


def test_a_hanging_gain_controller_hears_nothing_and_does_not_report_again(host):
    host.board.break_(Fault.AGC_HANG)
    assert hear(host) == 0
    with pytest.raises(AssertionError, match="read 5781 1 = 01"):
        host.start()  # the library reads it for ever
    host.board.mend()
    host.start()
    assert hear(host) > 0


def test_another_firmware_says_so(host):
    host.board.break_(Fault.AGC_VERSION)
    with pytest.raises(AssertionError, match="read 5790 1 = 0a"):
        host.start()
    host.board.mend()
    host.start()


# sx1302_hal, issue 154: the chip stays readable, AGC status 0x14, both parity bits set, a restart cures it.
def test_a_deaf_chip_answers_everything_and_hears_nothing_until_it_is_started_again(host):
    host.board.break_(Fault.DEAF)
    assert hear(host) == 0
    assert host.read(0x5781) == b"\x14"
    assert host.read(0x5780)[0] & host.read(0x6080)[0] & 1
    before = host.counter_us()
    host.now_us += 1_000_000
    assert host.counter_us() - before == 1_000_000
    host.start()
    assert host.read(0x5781) == b"\x00"
    assert hear(host) > 0


def test_a_chip_that_is_to_be_deaf_before_it_was_started_becomes_so_then():
    host = Host()
    host.board.break_(Fault.DEAF)
    host.start()
    assert host.read(0x5781) == b"\x14"
    assert hear(host) == 0
    host.board.mend()
    assert hear(host) > 0


def test_poison_is_a_packet_no_library_gets_past(host):
    hear(host)
    host.board.break_(Fault.POISON)
    good, poison = host.fetch()
    assert good.payload == PHY
    assert poison.channel > 9  # rx_buffer_pop: "channel is out of range"


def test_a_false_crc_is_one_the_library_finds(host):
    host.board.break_(Fault.FALSE_CRC)
    (packet,) = host.fetch()
    assert (packet.crc_present, packet.crc_wrong) == (True, False)
    assert packet.crc != payload_crc(packet.payload)  # sx1302_parse: "Payload CRC16 check failed"


def test_a_corrupt_byte_costs_the_fetch_it_is_in_and_no_more(host):
    host.board.break_(Fault.FIFO_CORRUPTION)
    hear(host)
    with pytest.raises(BrokenFetchError):
        host.fetch()
    hear(host)
    assert [packet.payload for packet in host.fetch()] == [PHY]
    assert [event.facts["fate"] for event in host.happened("heard")] == ["fifo-corruption", "stored"]


def test_half_a_packet_breaks_off(host):
    host.board.break_(Fault.HALF_PACKET)
    with pytest.raises(BrokenFetchError):
        parse_packets(host.read(0x4000, host.pending()))
    assert host.pending() == 0


def test_after_a_brown_out_nothing_is_left_but_the_bridge(host):
    hear(host)
    host.board.break_(Fault.BROWN_OUT)
    assert (host.pending(), host.counter_us(), host.board.chip.channels) == (0, 0, ())
    host.now_us += 1_000_000
    assert host.counter_us() == 0
    assert hear(host) == 0
    assert host.read(0x5606) == b"\x10"
    host.start()
    assert hear(host) > 0


def test_the_counter_jumps_a_minute(host):
    before = host.counter_us()
    host.board.break_(Fault.COUNTER_JUMP)
    assert host.counter_us() - before == 60_000_000
    host.send(at_count_us=host.counter_us() + 1_000_000)
    host.now_us += 2_000_000
    host.board.feed(b"", host.now_us)
    assert host.happened("sent")[0].facts["start_count_us"] == before + 61_000_000


def test_the_counter_stands_and_goes_on(host):
    before = host.counter_us()
    host.board.break_(Fault.COUNTER_STOP)
    host.now_us += 5_000_000
    assert host.counter_us() == before
    host.board.mend()
    host.now_us += 1_000
    assert host.counter_us() == before + 1_000


def test_a_stuck_transmitter_stays_scheduled(host):
    host.board.break_(Fault.TX_STUCK)
    host.send(at_count_us=4_000_000)
    host.now_us = 9_000_000
    assert host.tx_status() == 0x91
    assert host.happened("sent") == []
    host.board.mend()
    host.change(0x5200, 0x02, 0x00)
    assert host.tx_status() == 0x80


def test_without_pulses_the_latched_counter_stays_away(host):
    assert host.read(0x6101, 4) != bytes(4)
    host.board.break_(Fault.NO_PPS)
    assert host.read(0x6101, 4) == bytes(4)


def test_every_fault_is_explained_and_found_by_its_name():
    assert EXPLAINED.keys() == set(Fault)
    assert set(Fault) >= ONCE
    assert all(named(fault.value) is fault for fault in Fault)
    assert named("BROWN_OUT") is Fault.BROWN_OUT
    assert all(named(name) is fault for name, fault in ALSO_CALLED.items())


def test_an_unknown_fault_is_told_with_those_there_are():
    with pytest.raises(UsageError) as raised:
        fault_named("gremlins")
    assert "unplug" in raised.value.hint


@pytest.mark.parametrize("fault", Fault)
def test_no_fault_stops_the_bridge_for_good(host, fault):
    host.board.break_(fault)
    host.now_us += 1_000_000
    host.board.mend()
    assert host.ask(0)
    host.board.set_pin(0, 2, high=True, now_us=host.now_us)
    host.board.set_pin(0, 2, high=False, now_us=host.now_us)
    host.start()
    assert hear(host) > 0
