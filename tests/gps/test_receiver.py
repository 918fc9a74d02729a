"""What is known of a receiver from what it says; a simulated one speaks, whose time and place are known.

The simulation writes its messages by itself (`simulator.gnss`), apart from what reads them here.
"""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.gps import gpsd, nmea, ubx
from gateway.gps.framing import Cutter, Sentence
from gateway.gps.place import Place
from gateway.gps.receiver import BELIEVED_AFTER, LATE_US, GpsState, Receiver
from gateway.gps.tongues import GpsdTongue, SerialTongue
from gateway.model import GpsMoment, PositionSource
from gateway.simulator.chance import Chance
from gateway.simulator.gnss.receiver import EXPLAINED, Fault, SimulatedReceiver, fault_named

UTC_S = 1_795_428_000  # 2026-11-23T10:00:00Z
GPS_S = UTC_S - 315_964_800 + 18
UP_US = 77_000_000_000  # the clock since boot at that moment


class Roof:
    """A receiver that speaks so long after each second, and what is made of it."""

    def __init__(self, *asked, latency_us=120_000, **options):
        self.far = SimulatedReceiver(Chance(1), **options)
        self.tongue, self.receiver = SerialTongue(), Receiver(UP_US)
        self.latency_us = latency_us
        self.second = 0
        for kind in asked:
            self.far.told(ubx.asks_for(kind))

    @property
    def now_us(self):
        return UP_US + self.second * 1_000_000 + self.latency_us

    def speak(self, seconds=1, size=32):
        """Let it speak of so many seconds, at 9600 baud."""
        for _ in range(seconds):
            octets = self.far.burst(UTC_S + self.second)
            for at in range(0, len(octets), size):
                piece = octets[at : at + size]
                self.receiver.heard(self.now_us)
                for said, at_us in self.tongue.feed(piece, self.now_us + (at + len(piece)) * 1_041):
                    self.receiver.take(said, at_us)
            self.second += 1
        return self

    @property
    def moment(self):
        return self.receiver.moment(self.now_us)

    @property
    def verdict(self):
        return self.receiver.verdict(self.now_us)


ALL_UBX = (ubx.NAV_TIMEGPS, ubx.NAV_PVT, ubx.NAV_TIMELS)


@pytest.mark.parametrize("asked", [(), ALL_UBX], ids=["NMEA", "UBX"])
def test_time_and_place_are_what_they_are(asked):
    roof = Roof(*asked).speak(10)
    moment = roof.moment
    true_us = GPS_S * 1_000_000 + moment.monotonic_us - UP_US
    assert abs(moment.gps_time_us - true_us) <= moment.off_us == LATE_US
    assert (moment.leap_s, moment.utc_us - moment.gps_time_us) == (18, (315_964_800 - 18) * 1_000_000)
    place = roof.receiver.position(roof.now_us)
    assert place.latitude == pytest.approx(43.6119, abs=2e-5)
    assert place.longitude == pytest.approx(3.8772, abs=2e-5)
    assert place.altitude_m == pytest.approx(57, abs=1.5)
    assert place.source is PositionSource.GPS
    assert roof.verdict.state is GpsState.FIX
    assert roof.verdict.evidence.startswith("fix 3D, 9 satellites")


def test_a_receiver_that_speaks_ubx_alone_tells_the_time_too():
    """As the one of `test_ubx`, whose epochs are 362 us before the second."""
    receiver = Receiver(0)
    for second in range(4):
        receiver.heard(second * 1_000_000)
        utc_us = 1_795_428_000_000_000 + second * 1_000_000 - 362
        receiver.take(ubx.Pvt(utc_us, 3, True, 26, 53.45, -2.24, 42.7, 1.5, 26), second * 1_000_000)
        receiver.take(nmea.Zda(utc_us + 362), second * 1_000_000 + 50_000)
    assert receiver.moment(3_000_000).utc_us == 1_795_428_003_000_000 - 362 + LATE_US
    assert receiver.counts["jump"] == 0


def test_what_ubx_knows_better_is_said():
    assert "its time within 40 ns" in Roof(*ALL_UBX).speak(5).verdict.evidence
    assert Roof(*ALL_UBX).speak(5).receiver.told_leap_s == 18
    assert Roof().speak(5).receiver.told_leap_s is None


def test_a_time_is_believed_after_three_seconds_that_follow_each_other():
    roof = Roof().speak(BELIEVED_AFTER - 1)
    assert roof.moment is None
    assert "being watched" in roof.verdict.evidence
    assert roof.speak().moment is not None


def test_without_a_fix_there_is_no_time_and_the_antenna_is_to_be_checked():
    roof = Roof().speak(5)
    roof.far.faults.add(Fault.NO_FIX)
    roof.speak(70)
    assert roof.moment is None
    assert roof.receiver.position(roof.now_us) is None
    assert roof.receiver.last_position is not None
    assert roof.verdict.state is GpsState.NO_FIX
    assert roof.verdict.evidence == "no fix for 70 s, 2 satellites in view"
    assert "antenna" in roof.verdict.hint
    roof.far.faults.clear()
    assert roof.speak(BELIEVED_AFTER).moment is not None


def test_a_cold_start_is_given_time():
    roof = Roof()
    roof.far.faults.add(Fault.NO_FIX)
    assert "cold start" in roof.speak(60).verdict.hint
    assert "antenna" in roof.speak(900).verdict.hint


@pytest.mark.parametrize("asked", [(), ALL_UBX], ids=["NMEA", "UBX"])
def test_a_week_number_that_turned_over_is_told_and_not_believed(asked):
    roof = Roof(*asked)
    roof.far.faults.add(Fault.WRONG_WEEK)
    roof.speak(10)
    assert roof.moment is None
    assert roof.verdict.state is GpsState.REFUSED
    assert "2007-04-09" in roof.verdict.evidence
    assert "turned over" in roof.verdict.evidence


@pytest.mark.parametrize("asked", [(), ALL_UBX], ids=["NMEA", "UBX"])
def test_a_jump_is_counted_and_what_follows_has_to_prove_itself(asked):
    roof = Roof(*asked).speak(5)
    roof.far.faults.add(Fault.JUMP)
    assert roof.speak().moment is None
    roof.far.faults.clear()
    assert roof.speak().moment is None
    assert roof.speak(BELIEVED_AFTER).moment is not None
    assert roof.receiver.counts["jump"] == 2


def test_gps_time_is_right_before_the_leap_seconds_are_known():
    """Its UTC is two seconds off, as it may be for 12.5 minutes after a cold start; UBX tells that it does not know."""
    roof = Roof(*ALL_UBX)
    roof.far.faults.add(Fault.NO_LEAP)
    moment = roof.speak(5).moment
    true_us = GPS_S * 1_000_000 + moment.monotonic_us - UP_US
    assert abs(moment.gps_time_us - true_us) <= LATE_US
    assert moment.leap_s == 18  # by the table


def test_silence_noise_and_damage_are_told_apart():
    roof = Roof()
    assert roof.verdict.state is GpsState.SILENT
    roof.speak(5)
    roof.far.faults.add(Fault.DAMAGED)
    roof.speak(10)
    assert roof.verdict.state is GpsState.GARBLED
    assert roof.tongue.odd["damaged"] >= 50
    roof.far.faults = {Fault.SILENCE}
    roof.speak(10)
    assert roof.verdict.state is GpsState.SILENT
    assert roof.moment is None
    roof.far.faults = {Fault.GARBAGE}
    roof.speak(10)
    assert (roof.verdict.state, "gps.baud" in roof.verdict.hint) == (GpsState.GARBLED, True)


def test_a_receiver_that_never_said_anything_is_not_garbled_and_one_that_said_only_noise_is():
    roof = Roof()
    assert not roof.receiver.is_garbled
    roof.far.faults.add(Fault.GARBAGE)
    assert roof.speak(3).receiver.is_garbled
    roof.far.faults.clear()
    assert not roof.speak().receiver.is_garbled


@given(st.lists(st.sampled_from([*Fault, None]), min_size=1, max_size=40), st.booleans(), st.integers(1, 900_000))
@settings(deadline=None, max_examples=25)
def test_whatever_happens_a_moment_is_true_or_none(faults, speaks_ubx, latency_us):
    roof = Roof(*(ALL_UBX if speaks_ubx else ()), latency_us=latency_us)
    for fault in faults:
        roof.far.faults = {fault} - {None}
        roof.speak()
        moment = roof.moment
        if moment is not None and not {Fault.JUMP, Fault.NO_LEAP} & set(faults):
            true_us = GPS_S * 1_000_000 + moment.monotonic_us - UP_US
            assert abs(moment.gps_time_us - true_us) <= LATE_US
        assert roof.verdict.evidence


# --- the simulated receiver against published layouts


def test_every_fault_is_explained_and_found_by_name():
    assert set(EXPLAINED) == set(Fault)
    assert all(fault_named(str(fault).upper().replace("-", "_")) is fault for fault in Fault)


def test_it_speaks_ubx_only_when_asked_and_refuses_what_it_has_not():
    far = SimulatedReceiver(Chance(1))
    assert all(isinstance(message, Sentence) for message in Cutter().feed(far.burst(UTC_S)))
    (ack,) = Cutter().feed(far.told(ubx.asks_for(ubx.NAV_PVT)))
    (nak,) = Cutter().feed(far.told(ubx.asks_for(0x0135)))
    assert (ubx.parse(ack).taken, ubx.parse(nak).taken) == (True, False)
    assert sum(not isinstance(message, Sentence) for message in Cutter().feed(far.burst(UTC_S))) == 1


# --- when it was said

ZDA = b"$GPZDA,082710.00,16,09,2002,00,00*64\r\n"


def test_what_is_said_is_of_the_moment_at_which_the_talk_began():
    tongue = SerialTongue()
    assert tongue.feed(ZDA[:10], 1_000_000) == []
    assert [at_us for _, at_us in tongue.feed(ZDA[10:], 1_030_000)] == [1_000_000]
    assert [at_us for _, at_us in tongue.feed(ZDA, 1_080_000)] == [1_000_000]
    assert [at_us for _, at_us in tongue.feed(ZDA, 2_010_000)] == [2_010_000]  # after a pause


def test_of_who_never_pauses_each_word_is_of_its_own_moment():
    tongue = SerialTongue()
    told = [tongue.feed(ZDA, now_us)[0][1] for now_us in range(1_000_000, 4_000_000, 50_000)]
    assert told[:19] == [1_000_000] * 19  # 900 ms may be one talk
    assert told[19:] == list(range(1_950_000, 4_000_000, 50_000))


# --- gpsd

TPV = '{{"class":"TPV","mode":3,"time":"2026-11-23T10:00:{:02d}.000Z","lat":43.6,"lon":3.9,"altMSL":57.0,"eph":3.5}}\n'
PPS = '{{"class":"PPS","real_sec":{0},"real_nsec":0,"clock_sec":{1},"clock_nsec":{2},"precision":-20}}\n'


def through_gpsd(lines, step_us=1_000_000):
    tongue, receiver = GpsdTongue(), Receiver(UP_US)
    for number, line in enumerate(lines):
        now_us = UP_US + number * step_us + 150_000
        receiver.heard(now_us)
        for said, at_us in tongue.feed(line.encode(), now_us):
            receiver.take(said, at_us, wall_less_us=0)
    return receiver, now_us


def test_gpsd_tells_time_and_place():
    receiver, now_us = through_gpsd([TPV.format(second) for second in range(5)])
    moment = receiver.moment(now_us)
    assert abs(moment.gps_time_us - (GPS_S * 1_000_000 + moment.monotonic_us - UP_US)) <= LATE_US
    assert receiver.position(now_us).accuracy_m == 3.5


def test_a_pulse_that_gpsd_saw_is_exact_although_the_wall_clock_is_not():
    """The wall clock shows 1970 here: what counts is how it stands to the clock since boot."""
    seen_us = UP_US + 4_000_000 + 25
    lines = [TPV.format(second) for second in range(4)]
    lines.append(TPV.format(4) + PPS.format(UTC_S + 4, seen_us // 1_000_000, seen_us % 1_000_000 * 1000))
    receiver, now_us = through_gpsd(lines)
    assert receiver.moment(now_us) == GpsMoment((GPS_S + 4) * 1_000_000, seen_us, 100, 18)


def test_gpsd_without_a_receiver_says_so():
    receiver, now_us = through_gpsd(['{"class":"DEVICES","devices":[]}\n'])
    assert receiver.verdict(now_us).evidence == "gpsd has no receiver"


def test_lines_of_gpsd_that_never_end_are_given_up():
    tongue = GpsdTongue()
    for _ in range(100):
        assert tongue.feed(b"x" * 4_096, 0) == []
    assert tongue.odd["noise"] >= 1
    assert tongue.feed(b'\n{"class":"SKY","uSat":3}\n', 0) == [(gpsd.Sky(3, None), 0)]


# --- place


def test_fixes_that_scatter_are_one_place_and_a_carried_gateway_is_another():
    place = Place()
    for number in range(200):
        place.fix(43.6 + 2e-5 * math.sin(number), 3.9 + 2e-5 * math.cos(number), 57.0, 3.0, number)
    found = place.position(PositionSource.GPS)
    assert (found.latitude, found.longitude) == (pytest.approx(43.6, abs=2e-6), pytest.approx(3.9, abs=2e-6))
    place.fix(43.7, 3.9, 57.0, 3.0, 1_000)  # one reflection
    assert place.position(PositionSource.GPS).latitude == pytest.approx(43.6, abs=2e-6)
    for number in range(10):
        place.fix(43.7, 3.9, 12.0, 3.0, 2_000 + number)
    moved = place.position(PositionSource.GPS)
    assert (moved.latitude, moved.altitude_m) == (43.7, 12.0)


def test_the_date_line_is_no_border():
    place = Place()
    for number in range(100):
        place.fix(-17.0, 179.99999 if number % 2 else -179.99999, 3.0, 3.0, number)
    assert abs(place.position(PositionSource.GPS).longitude) == pytest.approx(180, abs=1e-4)


@pytest.mark.parametrize(
    ("status", "evidence", "hint"),
    [
        ("SHORT", "no fix for 10 s; the receiver finds its antenna short", "short circuit"),
        ("OPEN", "no fix for 10 s; the receiver finds no antenna on its socket", "cold start"),
        ("OK", "no fix for 10 s", "cold start"),
    ],
)
def test_what_a_receiver_finds_on_its_socket_is_told_while_it_has_no_fix(status, evidence, hint):
    receiver = Receiver(0)
    for second in range(10):
        receiver.heard(second * 1_000_000)
        receiver.take(nmea.Rmc(None, False, None, None), second * 1_000_000)
    receiver.take(nmea.Antenna(status), 9_000_000)
    assert receiver.verdict(10_000_000).evidence == evidence
    assert hint in receiver.verdict(10_000_000).hint


def test_dead_reckoning_and_simulation_are_no_place():
    receiver = Receiver(0)
    for quality in (0, 6, 7, 8):
        receiver.take(nmea.Gga(quality, 43.6, 3.9, 57.0, 9, 1.0), 1_000_000)
    assert receiver.last_position is None
