"""The gateway's GPS on real files: a pseudo-terminal with a simulated receiver behind it, a gpsd on a socket."""

import asyncio
import contextlib
import fcntl
import logging
import time

import pytest
from gps.served_receiver import SPEED, Served, up_us

from gateway.gps import watch
from gateway.gps.receiver import GpsState
from gateway.gps.watch import Gps, GpsSetting
from gateway.gps.wires import SerialWire
from gateway.model import GpsMoment, Position, PositionSource, Stamp, TimeQuality

pytest.importorskip("serial", reason="pip install pyserial")

MARKET = Position(43.0, 3.0, 12.0, PositionSource.SETTINGS)


class Machine:
    """The clock that is told, and what it knew before."""

    def __init__(self, quality=TimeQuality.UNSYNCED, utc_us=0, uncertainty_ms=None):
        self.quality, self.utc_us, self.uncertainty_ms = quality, utc_us, uncertainty_ms
        self.began_us = up_us()
        self.told = []

    def stamp(self):
        now_us = up_us()
        return Stamp(self.utc_us + now_us - self.began_us, self.quality, self.uncertainty_ms, "b", now_us)

    def network(self):
        return self.stamp() if self.quality is TimeQuality.NTP else None

    def tell(self, utc_us, uncertainty_ms, monotonic_us):
        self.told.append((utc_us, uncertainty_ms, monotonic_us))
        return True


@contextlib.asynccontextmanager
async def running(device, machine=None, **setting):
    machine = machine or Machine()
    gps = Gps(GpsSetting(str(device), **setting), machine.stamp, machine.tell, machine.network)
    task = asyncio.create_task(gps.run())
    try:
        yield gps
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def until(holds, within_s=12):
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


@pytest.fixture
def served(tmp_path):
    with Served(tmp_path / "tty").serving() as one:
        yield one


async def test_a_receiver_tells_clock_and_place(served, tmp_path):
    machine = Machine()
    async with running(tmp_path / "tty", machine, is_ublox=True, configured=MARKET) as gps:
        assert gps.position() == MARKET
        await until(lambda: machine.told)
        utc_us, uncertainty_ms, monotonic_us = machine.told[0]
        true_us = served.utc_us() - (up_us() - monotonic_us)
        assert abs(utc_us - true_us) <= uncertainty_ms * 1000 == 500_000
        assert gps.verdict().state is GpsState.FIX
        assert gps.position().latitude == pytest.approx(43.6119, abs=1e-4)
        facts = gps.facts()
        assert (facts["leap_s"], facts["leap_source"], facts["satellites"]) == (18, "receiver", 9)
        assert facts["said"]["timegps"] >= 3  # it was asked for UBX


async def test_a_pulse_is_told_instead_once_somebody_sees_it(served, tmp_path):
    machine = Machine()
    async with running(tmp_path / "tty", machine) as gps:
        await until(lambda: machine.told)
        gps.watch(
            lambda: GpsMoment(1_479_463_218_000_000, up_us() - 100_000, 300, 18),
            lambda: "the pulse is seen",
        )
        await until(lambda: machine.told[-1][1] == 1)
        assert machine.told[-1][0] == 1_795_428_000_000_000
        assert gps.verdict().evidence.endswith("; the pulse is seen")


async def test_a_receiver_that_is_unplugged_is_found_again(served, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(watch, "WAITS_S", (0.05,))
    async with running(tmp_path / "tty") as gps:
        await until(lambda: gps.moment() is not None)
        served.say("fault unplug")
        await until(lambda: gps.verdict().state is GpsState.FAILED)
        assert gps.moment() is None
        await until(lambda: "there is no" in gps.verdict().evidence)
        assert "by-id" in gps.verdict().hint
        await asyncio.sleep(0.3)  # tried a few times
        served.say("fault clear")
        await until(lambda: gps.moment() is not None)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 2  # gone; not there: each once


async def test_a_fix_that_comes_and_goes_is_said_once(served, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    async with running(tmp_path / "tty") as gps:
        for fault, state in [("clear", GpsState.FIX), ("no-fix", GpsState.NO_FIX)] * 3:
            served.say(f"fault {fault}")
            await until(lambda state=state: gps.verdict().state is state)
    said = [record.getMessage() for record in caplog.records if record.name == "gateway.gps.watch"]
    assert sum("fix 3D" in line for line in said) == 1
    assert sum("no fix for" in line for line in said) == 1


@pytest.mark.parametrize(
    ("fault", "state", "evidence"),
    [
        ("no-fix", GpsState.NO_FIX, "no fix for"),
        ("wrong-week", GpsState.REFUSED, "turned over"),
        ("silence", GpsState.SILENT, "nothing came"),
    ],
)
async def test_each_fault_is_told_with_its_cure_and_no_time(served, tmp_path, fault, state, evidence):
    machine = Machine()
    served.say(f"fault {fault}")
    async with running(tmp_path / "tty", machine) as gps:
        await until(lambda: gps.verdict().state is state)
        await asyncio.sleep(5 / SPEED)
        assert evidence in gps.verdict().evidence
        assert gps.verdict().hint
        assert (machine.told, gps.moment()) == ([], None)


async def test_the_speed_is_found_out(served, tmp_path, monkeypatch):
    """A pseudo-terminal has no speed: noise stands for another one, until the speed has been changed twice."""
    monkeypatch.setattr(watch, "TRY_US", 1_200_000)
    served.say("fault garbage")
    async with running(tmp_path / "tty") as gps:
        assert gps.facts()["baud"] == watch.BAUDS[0]
        await until(lambda: gps.facts()["baud"] == watch.BAUDS[2])
        served.say("fault clear")
        await until(lambda: gps.facts()["state"] == "fix")
        assert gps.facts()["baud"] == watch.BAUDS[2]


async def test_a_speed_that_is_set_stays_and_is_named_as_the_cure(served, tmp_path):
    served.say("fault garbage")
    async with running(tmp_path / "tty", baud=9600) as gps:
        await until(lambda: gps.verdict().state is GpsState.GARBLED)
        await asyncio.sleep(5 / SPEED)
        assert gps.facts()["baud"] == 9600
        assert "gps.baud" in gps.verdict().hint


async def test_a_receiver_that_ntp_contradicts_is_not_believed(served, tmp_path):
    machine = Machine(TimeQuality.NTP, served.utc_us() - 3_600_000_000, 20)
    async with running(tmp_path / "tty", machine) as gps:
        await until(lambda: gps.verdict().state is GpsState.REFUSED)
        assert "it is +3600" in gps.verdict().evidence
        assert gps.moment() is None
        machine.utc_us += 3_600_000_000
        await until(lambda: gps.moment() is not None)


async def test_a_second_is_named_by_ntp_where_that_is_better_than_a_late_message(tmp_path):
    with Served(tmp_path / "tty", latency_us=1_300_000).serving() as served:
        machine = Machine(TimeQuality.NTP, served.utc_us(), 20)
        async with running(tmp_path / "tty", machine) as gps:
            await until(lambda: gps.moment() is not None)
            moment = gps.moment()
            true_us = served.utc_us() - (up_us() - moment.monotonic_us)
            assert moment.off_us == 20_000
            assert abs(moment.utc_us - true_us) < 100_000
            machine.quality = TimeQuality.UNSYNCED  # nobody knows better: half a second would be the promise
            moment = gps.moment()
            true_us = served.utc_us() - (up_us() - moment.monotonic_us)
            assert 500_000 < true_us - moment.utc_us < 1_000_000


# --- what is wrong with a device


async def trouble(device, **setting):
    async with running(device, **setting) as gps:
        await until(lambda: gps.verdict().evidence != "it is being opened")
        return gps.verdict()


async def test_a_device_that_is_not_there(tmp_path):
    verdict = await trouble(tmp_path / "none")
    assert (verdict.state, verdict.evidence) == (GpsState.FAILED, f"there is no {tmp_path}/none")


async def test_a_device_that_is_no_serial_line(tmp_path):
    (tmp_path / "file").write_text("text")
    assert "cannot be opened as a serial line" in (await trouble(tmp_path / "file")).evidence


async def test_a_device_that_another_program_has(served, tmp_path):
    with (tmp_path / "tty").open("rb", buffering=0) as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        verdict = await trouble(tmp_path / "tty")
    assert "another program" in verdict.evidence
    assert "gpsd://" in verdict.hint


# --- gpsd


class Gpsd:
    """A gpsd that tells what it is given, after it was asked to."""

    def __init__(self):
        self.asked = []
        self.writers = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.hang_up()
        self._server.close()

    async def _serve(self, reader, writer):
        writer.write(b'{"class":"VERSION","release":"3.25"}\r\n')
        self.asked.append(await reader.readline())
        self.writers.append(writer)

    def tell(self, line):
        for writer in self.writers:
            writer.write(line.encode() + b"\r\n")

    def hang_up(self):
        for writer in self.writers:
            writer.close()
        self.writers.clear()


def tpv(utc_us, mode=3):
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(utc_us // 1_000_000))
    return f'{{"class":"TPV","mode":{mode},"time":"{seconds}.000Z","lat":43.6,"lon":3.9,"leapseconds":18}}'


async def test_gpsd_is_watched_and_dialed_again(monkeypatch):
    monkeypatch.setattr(watch, "WAITS_S", (0.05,))
    async with Gpsd() as gpsd, running(f"gpsd://127.0.0.1:{gpsd.port}") as gps:
        await until(lambda: gpsd.asked)
        assert gpsd.asked[0] == b'?WATCH={"enable":true,"json":true,"pps":true};\n'
        second_us = 1_795_428_000_000_000
        for number in range(4):
            gpsd.tell(tpv(second_us + number * 1_000_000))
            await asyncio.sleep(1 / SPEED)
        assert gps.moment().leap_s == 18
        assert gps.facts()["baud"] is None
        gpsd.hang_up()
        await until(lambda: len(gpsd.asked) == 2)


async def test_no_gpsd_is_told_with_the_way_to_get_it():
    verdict = await trouble("gpsd://localhost:1")
    assert "gpsd does not answer on localhost:1" in verdict.evidence
    assert "apt install gpsd" in verdict.hint


@pytest.mark.parametrize(
    ("device", "place"),
    [
        ("gpsd://localhost:2947", ("localhost", 2947)),
        ("gpsd://localhost", ("localhost", 2947)),
        ("gpsd://[::1]:3000", ("::1", 3000)),
        ("gpsd://[::1]", ("::1", 2947)),
        ("/dev/ttyAMA0", None),
    ],
)
def test_where_gpsd_is(device, place):
    assert GpsSetting(device).gpsd == place


async def test_no_receiver_is_no_trouble():
    machine = Machine()
    gps = Gps(GpsSetting(None, configured=MARKET), machine.stamp, machine.tell)
    await gps.run()
    assert (gps.facts(), gps.position(), gps.moment()) == (None, MARKET, None)


@pytest.mark.parametrize(
    ("error", "words"),
    [(PermissionError(13, "Permission denied"), "dialout"), (OSError(5, "Input/output error"), "Name the receiver")],
)
def test_what_the_system_says_becomes_a_cure(error, words):
    assert words in SerialWire("/dev/ttyAMA0", 9600)._why(error).hint
