"""The bench's smaller parts: its network server, relays, attenuators, reckoning, and the page."""

from __future__ import annotations

import base64
import json
import math
import socket
import sys
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil_tests import bench_file, charts, measure, test_hearing, test_time
from hil_tests.bench import Station
from hil_tests.figures import Figures, Grid, Histogram, Lines, Table
from hil_tests.judge import Frame, Judge, Order, read_error, read_frames
from hil_tests.parts import BenchTrouble, Channel
from hil_tests.report import Outcome, Run, page
from hil_tests.switches import CommandRelay, FixedAttenuator, ToldAttenuator, lcus
from hil_tests.virtual.gps import sentence

RXPK = {  # Lora-net/packet_forwarder, PROTOCOL.TXT, section 4: its first example
    "time": "2013-03-31T16:21:17.528002Z", "tmst": 3512348611, "chan": 2, "rfch": 0, "freq": 866.349812, "stat": 1,
    "modu": "LORA", "datr": "SF7BW125", "codr": "4/6", "rssi": -35, "lsnr": 5.1, "size": 32,
    "data": "+DS4CGaDCdG+48eJNM3Vai+zDpsR71Pn9CPA9uCON84=",  # printed there with - for + and without padding
}  # fmt: skip


def test_the_example_of_the_protocol_is_read():
    (frame,) = read_frames(json.dumps({"rxpk": [RXPK, {"data": "no"}, 7]}).encode(), 1.0)
    assert (frame.counter_us, frame.frequency_hz, frame.spreading_factor) == (3512348611, 866_349_812, 7)
    assert (frame.rssi_dbm, frame.snr_db, frame.channel, frame.whole, len(frame.phy)) == (-35, 5.1, 2, True, 32)


@pytest.mark.parametrize(
    ("body", "error"),
    [(b"", None), (b'{"txpk_ack":{"error":"NONE"}}', None), (b'{"txpk_ack":{"error":"TOO_LATE"}}', "TOO_LATE"),
     (b'{"txpk_ack":{"warn":"TX_POWER"}}', None), (b"[]", None)],
)  # fmt: skip
def test_a_tx_ack_is_read(body, error):
    assert read_error(body) == error


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["rxpk", "txpk_ack", "error", "tmst", "datr", "data"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=80) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_datagram_of_a_gateway_is_survived(body):
    assert isinstance(read_frames(body, 0.0), list)
    read_error(body)


def test_the_judge_acknowledges_sends_and_hears_what_became_of_it():
    with Judge() as judge, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gateway:
        gateway.settimeout(5)
        gateway.connect(("127.0.0.1", judge.port))
        with pytest.raises(BenchTrouble, match="has not asked for downlinks"):
            judge.send(Order(b"\x60", Channel(868_100_000, 7), 5))
        gateway.send(b"junk")
        gateway.send(b"\x02\x01\x02\x00" + bytes(8) + json.dumps({"rxpk": [RXPK]}).encode())
        assert gateway.recv(100) == b"\x02\x01\x02\x01"
        gateway.send(b"\x02\x03\x04\x02" + bytes(8))
        assert gateway.recv(100) == b"\x02\x03\x04\x04"
        assert judge.is_connected(1)
        assert judge.heard(base64.b64decode(RXPK["data"]), 1) == judge.frames[0]
        assert judge.heard(b"other", 0.01) is None
        token = judge.send(Order(b"\x60\x01", Channel(869_525_000, 12), 1 << 32 | 7, 27.0))
        asked = gateway.recv(1000)
        assert asked[0:1] + asked[3:4] == b"\x02\x03"
        txpk = json.loads(asked[4:])["txpk"]
        assert (txpk["tmst"], txpk["freq"], txpk["datr"], txpk["powe"], txpk["ipol"]) == (
            7, 869.525, "SF12BW125", 27.0, True,
        )  # fmt: skip
        gateway.send(b"\x02" + asked[1:3] + b"\x05" + bytes(8) + b'{"txpk_ack":{"error":"TOO_LATE"}}')
        assert judge.answer(token, 5) == "TOO_LATE"
        with pytest.raises(BenchTrouble, match="what became of a downlink"):
            judge.answer(token + 1, 0.01)


# --- switches -------------------------------------------------------------------------------------------------------


def test_a_relay_is_told_as_its_maker_says():
    assert lcus(1, closed=True) == bytes.fromhex("a00101a2")
    assert lcus(1, closed=False) == bytes.fromhex("a00100a1")
    assert lcus(4, closed=True) == bytes.fromhex("a00401a5")


def test_programs_switch_and_what_they_refuse_is_told(tmp_path):
    mark = tmp_path / "on"
    entry = bench_file.RelayEntry(
        on=(sys.executable, "-c", f"open({str(mark)!r}, 'w')"), off=(sys.executable, "-c", "raise SystemExit('no hub')")
    )
    relay = CommandRelay(entry, "the power relay")
    relay.switch(on=True)
    assert mark.exists()
    with pytest.raises(BenchTrouble, match=r"the power relay: .* ended with 1: no hub"):
        relay.switch(on=False)
    with pytest.raises(BenchTrouble, match="cannot be run"):
        CommandRelay(bench_file.RelayEntry(on=("/nowhere",), off=("x",)), "the power relay").switch(on=True)


def test_an_attenuator_takes_the_nearest_step(tmp_path):
    told = tmp_path / "told"
    program = (sys.executable, "-c", f"import sys; open({str(told)!r}, 'a').write(sys.argv[1] + ' ')", "{db:05.2f}")
    attenuator = ToldAttenuator(bench_file.AttenuatorEntry("a", program, highest_db=31.5, step_db=0.5))
    assert [attenuator.set(db) for db in (7.3, 7.4, 99, -5)] == [7.5, 7.5, 31.5, 0]
    assert told.read_text() == "07.50 31.50 00.00 "


class Mute:
    name, lowest_dbm, highest_dbm = "mute", 5, 22


@pytest.mark.parametrize(
    ("wanted", "power", "attenuation"), [(-80, 14, 4.0), (-76, 14, 0.0), (-85, 5, 0.0), (-110, None, None)]
)
def test_a_level_is_reached_by_attenuator_and_power_or_not_at_all(wanted, power, attenuation):
    attenuator = ToldAttenuator(bench_file.AttenuatorEntry("a", highest_db=4 if power == 14 else 0))
    station = Station(Mute(), attenuator, 90.0, None)
    level = station.level(wanted)
    assert (level and (level.power_dbm, level.attenuation_db, level.arrives_dbm)) == (
        power and (power, attenuation, wanted)
    )
    assert FixedAttenuator().set(5) == 0


# --- reckoning ------------------------------------------------------------------------------------------------------


def test_a_straight_line_and_its_doubt():
    slope, unsure = test_hearing.slope_of([(x, 0.9 * x + 3) for x in range(-110, -40, 10)])
    assert slope == pytest.approx(0.9)
    assert unsure == pytest.approx(0, abs=1e-6)
    assert test_hearing.slope_of([(1, 1)]) == (1.0, math.inf)


def test_a_sensitivity_lies_between_the_levels_around_it():
    assert test_hearing.tenth_lost([(-120, 0), (-126, 100), (-124, 20), (-122, 0)]) == pytest.approx(-123)
    assert test_hearing.tenth_lost([(-120, 0), (-121, 0)]) is None


@pytest.mark.parametrize(
    ("offset", "error", "words"),
    [
        (None, 0.4, "leave it"),
        (-215.4, 2.0, "rssi_offset_db = -217.4"),
        (None, -3.0, "the board's rssi_offset_db +3.0"),
    ],
)
def test_an_offset_is_proposed(offset, error, words):
    assert test_hearing.proposal(offset, error) == words


def frames(count, *, ppm=0.0, start=(1 << 32) - 5_000_000):
    return [
        Frame(b"", (start + at * 500_000) % (1 << 32), 0, 7, 125_000, -80, 9, 0, True, 100 + at * 0.5 * (1 - ppm / 1e6))
        for at in range(count)
    ]


def test_a_counter_is_followed_across_its_turn():
    assert test_time.counts_us(frames(30))[-1] - test_time.counts_us(frames(30))[0] == 29 * 500_000
    assert test_time.drift_ppm(frames(200, ppm=20)) == pytest.approx(20, rel=0.01)
    assert test_time.delays_ms(frames(10)) == [0.0] * 10


def test_a_nmea_sentence_has_the_check_sum_of_the_standard():
    # NMEA 0183's own much quoted example, as in u-blox' receiver descriptions and gpsd's documentation.
    body = "GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,"
    assert sentence(body) == f"${body}*47\r\n".encode()


# --- the page -------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=200)
@given(st.floats(-1e6, 1e6), st.floats(0.001, 1e6))
def test_ticks_are_few_and_inside(low, span):
    ticks = charts.ticks(low, low + span)
    assert 1 <= len(ticks) <= 12
    assert all(low - span * 0.01 <= tick <= low + span * 1.01 for tick in ticks)


@settings(deadline=None, max_examples=200)
@given(
    st.dictionaries(st.text(max_size=3), st.lists(st.floats(-1e6, 1e6) | st.integers(-20, 20), max_size=20), max_size=3)
)
def test_every_value_is_in_a_bar(values):
    edges, counts = charts.binned(values)
    assert {name: sum(bars) for name, bars in counts.items()} == {name: len(series) for name, series in values.items()}
    assert edges == sorted(edges)


class Checker(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.scripts = [], [], 0

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        self.fetched += [value for name, value in attrs if name in {"src", "href"} and not str(value).startswith("#")]


def test_the_page_stands_by_itself_and_nothing_of_a_modem_is_markup():
    evil = "<script>alert(1)</script>"
    figures = Figures()
    figures.fact(evil, evil, evil)
    figures.show(Table(evil, (evil,), [(evil * 3,)], evil))
    figures.show(Grid(evil, evil, [evil], evil, [evil], [[5.0]], 10, evil))
    figures.show(Lines(evil, evil, evil, {evil: [(1, 2), (3, 4)], "b": []}, diagonal=True))
    figures.show(Lines("empty", "x", "y", {}))
    figures.show(Histogram(evil, evil, {evil: [1, 2, 2], "b": []}))
    run = Run(bench_file.VIRTUAL, measure.PROFILES["short"], [(evil, evil)], log=evil)
    for kind in ("passed", "failed", "skipped"):
        run.outcomes[kind] = Outcome(evil, evil, kind, 1.0, evil, figures)
    checker = Checker()
    checker.feed(page(run))
    assert (checker.scripts, checker.fetched) == (0, [])
    assert "Bench failed" in page(run)
    assert "1 passed, 1 failed, 1 left out" in page(run)
