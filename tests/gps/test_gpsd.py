"""gpsd's reports, as its manual and running gpsds have them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.gps import gpsd
from gateway.gps.framing import MalformedMessage
from gateway.gps.gpsd import Devices, Fault, Pps, Sky, Tpv

# gpsd_json(5), the examples of TPV and SKY (of gpsd 3.17: no altMSL, no sums of satellites).
MANUAL_TPV = b"""{"class":"TPV","device":"/dev/pts/1", "time":"2005-06-08T10:34:48.283Z","ept":0.005,
    "lat":46.498293369,"lon":7.567411672,"alt":1343.127, "eph":36.000,"epv":32.321,
    "track":10.3788,"speed":0.091,"climb":-0.085,"mode":3}"""
MANUAL_SKY = b"""{"class":"SKY","device":"/dev/pts/1", "time":"2005-07-08T11:28:07.114Z",
    "xdop":1.55,"hdop":1.24,"pdop":1.99, "satellites":[
        {"PRN":23,"el":6,"az":84,"ss":0,"used":false}, {"PRN":28,"el":7,"az":160,"ss":0,"used":false},
        {"PRN":8,"el":66,"az":189,"ss":44,"used":true}, {"PRN":29,"el":13,"az":273,"ss":0,"used":false}]}"""
# gpsd_json(5), the example of PPS.
MANUAL_PPS = b"""{"class":"PPS","device":"/dev/ttyUSB0", "real_sec":1330212592, "real_nsec":343182,
     "clock_sec":1330212592,"clock_nsec":343184, "precision":-3}"""
# A gpsd with a pulse from the kernel, as public clients have it in their tests.
RUNNING_PPS = (
    b'{"class":"PPS","device":"/dev/pps0","real_sec":1666298551,"real_nsec":0,"clock_sec":1666298551,'
    b'"clock_nsec":1881,"precision":-20}'
)
# A newer gpsd over NMEA: the height above the ellipsoid and above the sea.
GPSFAKE_TPV = (
    b'{"class":"TPV","device":"/dev/pts/1","mode":3,"time":"2026-09-24T12:35:19.000Z","lat":39.904187167,'
    b'"lon":116.390742667,"altHAE":36.0,"altMSL":44.0,"alt":44.0,"epv":18.4,"eph":17.1,"leapseconds":18}'
)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (MANUAL_TPV, Tpv(3, 1_118_226_888_283_000, None, 46.498293369, 7.567411672, 1343.127, 36.0)),
        (GPSFAKE_TPV, Tpv(3, 1_790_253_319_000_000, 18, 39.904187167, 116.390742667, 44.0, 17.1)),
        (MANUAL_SKY, Sky(1, 4)),
        (b'{"class":"SKY","device":"/dev/pts/1","hdop":0.9,"uSat":12}', Sky(12, None)),
        (MANUAL_PPS, Pps(1_330_212_592_000_343, 1_330_212_592_000_343, 125_000)),
        (RUNNING_PPS, Pps(1_666_298_551_000_000, 1_666_298_551_000_001, 1)),
        (b'{"class":"TPV","device":"/dev/ttyAMA0","mode":1}', Tpv(1, None, None, None, None, None, None)),
        (b'{"class":"DEVICES","devices":[]}', Devices(())),
        (
            b'{"class":"DEVICES","devices":[{"class":"DEVICE","path":"/dev/ttyUSB0"},{"path":"/dev/pps0"}]}',
            Devices(("/dev/ttyUSB0",)),
        ),
        (b'{"class":"ERROR","message":"Unrecognized request"}', Fault("Unrecognized request")),
        (b'{"class":"VERSION","release":"3.22","rev":"3.22","proto_major":3,"proto_minor":14}', None),
        (b'{"class":"WATCH","enable":true,"json":true}', None),
    ],
)
def test_reports_mean_what_the_manual_says(line, said):
    assert gpsd.parse(line) == said


@pytest.mark.parametrize(
    "line",
    [
        b"", b"no json", b"[]", b'{"mode":3}', b'{"class":7}', b"[" * 10_000,
        b'{"class":"TPV","mode":true}', b'{"class":"TPV","mode":9}', b'{"class":"TPV","lat":1e999}',
        b'{"class":"TPV","lat":NaN}', b'{"class":"TPV","time":"2020-01-01T00:00:00"}',
        b'{"class":"TPV","time":"2020-01-01T00:00:00+02:00"}', b'{"class":"TPV","time":"2020-01-01T00:00:00.1e999Z"}',
        b'{"class":"PPS","real_sec":1234}', b'{"class":"DEVICES"}', b'{"class":"DEVICES","devices":7}',
        b'{"class":"PPS","real_sec":1e999,"real_nsec":0,"clock_sec":0,"clock_nsec":0}',
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(line):
    with pytest.raises(MalformedMessage):
        gpsd.parse(line)


values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.lists(st.none(), max_size=2)
)
reports = st.fixed_dictionaries(
    {"class": st.sampled_from(["TPV", "SKY", "PPS", "DEVICES", "ERROR", "VERSION"])},
    optional=dict.fromkeys(
        ["mode", "time", "lat", "lon", "altMSL", "eph", "leapseconds", "uSat", "nSat", "satellites", "devices",
         "real_sec", "real_nsec", "clock_sec", "clock_nsec", "precision", "message"],
        values,
    ),
)  # fmt: skip


@given(reports.map(lambda report: json.dumps(report).encode()) | st.binary(max_size=60))
@settings(deadline=None, max_examples=200)
def test_no_line_does_worse_than_be_refused(line):
    try:
        said = gpsd.parse(line)
    except MalformedMessage:
        return
    if isinstance(said, Tpv) and said.latitude is not None:
        assert -90 <= said.latitude <= 90
