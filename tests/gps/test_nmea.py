"""NMEA sentences read as published examples say they mean."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.gps import nmea
from gateway.gps.framing import MalformedMessage
from gateway.gps.nmea import Antenna, Gga, Gsa, Gsv, Rmc, Zda

PLACE = {"latitude": 47 + 17.11437 / 60, "longitude": 8 + 33.91522 / 60}

# u-blox M8 protocol specification (UBX-13003221), section 31: its examples. Dates by `date -u -d 2002-12-09T08:35:59Z
# +%s` and so on.
UBLOX = [
    ("GPRMC,083559.00,A,4717.11437,N,00833.91522,E,0.004,77.52,091202,,,A", Rmc(1_039_422_959_000_000, True, **PLACE)),
    (
        "GPGGA,092725.00,4717.11399,N,00833.91590,E,1,08,1.01,499.6,M,48.0,M,,",
        Gga(1, 47 + 17.11399 / 60, 8 + 33.91590 / 60, 499.6, 8, 1.01),
    ),
    ("GPZDA,082710.00,16,09,2002,00,00", Zda(1_032_164_830_000_000)),
    ("GPGSA,A,3,23,29,07,08,09,18,26,28,,,,,1.94,1.18,1.54", Gsa(3, 8)),
    ("GPGSV,3,1,10,23,38,230,44,29,71,156,47,07,29,116,41,08,09,081,36", Gsv("GP", 3, 1, 10, (44, 47, 41, 36))),
]

# semuconsulting/pyubx2, tests/pygpsdata-MIXED2.log: two receivers of one moment, the one in UBX says the same.
CAPTURED = [
    ("GNRMC,090802.00,A,5327.03976,N,00214.41006,W,0.030,,220221,,,A,V",
     Rmc(1_613_984_882_000_000, True, 53 + 27.03976 / 60, -(2 + 14.41006 / 60))),
    # No fix yet: everything is empty but what the sentence is about.
    ("GNRMC,,V,,,,,,,,,,N,V", Rmc(None, False, None, None)),
    ("GNGGA,,,,,,0,00,99.99,,,,,,", Gga(0, None, None, None, 0, 99.99)),
    ("GNGSA,A,1,,,,,,,,,,,,,99.99,99.99,99.99,1", Gsa(1, 0)),
    ("GAGSV,1,1,00,0", Gsv("GA", 1, 1, 0, ())),
    ("GBGSV,2,2,06,14,55,175,46,40,29,043,18,B", Gsv("GB", 2, 2, 6, (46, 18))),
    ("GLGSV,1,1,02,66,57,223,,67,42,315,23", Gsv("GL", 1, 1, 2, (23,))),
    ("GPZDA,,,,,00,00", Zda(None)),
    # A u-blox 7 at its start, and a Quectel L80 without an antenna, as published logs have them.
    ("GPTXT,01,01,02,ANTSTATUS=OK", Antenna("OK")),
    ("GPTXT,01,01,02,ANTSTATUS=OPEN", Antenna("OPEN")),
    ("GPTXT,01,01,02,ANTENNA OPEN", Antenna("OPEN")),
    ("GPTXT,01,01,02,u-blox ag - www.u-blox.com", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), UBLOX + CAPTURED)
def test_examples_of_makers_and_receivers(text, said):
    assert nmea.parse(text) == said


def test_south_and_west_are_negative_and_fractions_of_a_second_are_kept():
    said = nmea.parse("GNRMC,235959.123456,A,3324.5000,S,07030.0000,W,0,0,311299,,,A")
    assert (said.latitude, said.longitude) == (-(33 + 24.5 / 60), -70.5)
    assert said.utc_us == 946_684_799_123_456  # date -u -d 1999-12-31T23:59:59Z +%s


def test_twelve_fields_of_older_receivers_are_enough():
    assert nmea.parse("GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W").utc_us == 764_426_119_000_000


def test_a_leap_second_has_no_place_on_this_scale():
    assert nmea.parse("GPRMC,235960.00,A,4717.11437,N,00833.91522,E,0.004,77.52,311216,,,A").utc_us is None


@pytest.mark.parametrize("text", ["PUBX,00,1", "GPVTG,1", "GPTXT,01,01,02,ANTSTATUS=INIT", "", "$", "GPRM", "XXXXXXXX"])
def test_what_is_of_no_use_is_none(text):
    assert nmea.parse(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "GPRMC,083559.00,A,4717.11437,N",  # too few
        "GPRMC,993559.00,A,4717.11437,N,00833.91522,E,0.004,77.52,091202,,,A",
        "GPRMC,083559.00,A,4717.11437,N,00833.91522,E,0.004,77.52,310202,,,A",  # 31 February
        "GPRMC,083559.00,A,4760.11437,N,00833.91522,E,0.004,77.52,091202,,,A",  # 60 minutes
        "GPRMC,083559.00,A,9917.11437,N,00833.91522,E,0.004,77.52,091202,,,A",
        "GPRMC,083559.00,A,4717.11437,X,00833.91522,E,0.004,77.52,091202,,,A",
        "GPRMC,083559.00,A,4717.11437,,00833.91522,E,0.004,77.52,091202,,,A",
        "GPRMC,+83559.00,A,4717.11437,N,00833.91522,E,0.004,77.52,091202,,,A",
        "GPGGA,092725.00,4717.11399,N,00833.91590,E,1,08,1.01,499.6,F,48.0,M,,",  # feet
        "GPGGA,092725.00,4717.11399,N,00833.91590,E,1,08,nan,499.6,M,48.0,M,,",
        "GPGGA,092725.00,4717.11399,N,00833.91590,E,1,08,1.01,1e9,M,48.0,M,,",
        "GPZDA,082710.00,16,13,2002,00,00",
        "GPGSA,A,4,,,,,,,,,,,,,,,",
        "GPGSV,x,1,10",
    ],
)
def test_what_cannot_be_is_refused_with_the_name_of_the_sentence(text):
    with pytest.raises(MalformedMessage, match=r"^GP"):
        nmea.parse(text)


fields = st.lists(
    st.text("0123456789.,-NSEWAVM*", max_size=12) | st.sampled_from(["4717.11437", "N", "00833.91522", "E", "091202"]),
    max_size=20,
)


@given(st.sampled_from(["RMC", "GGA", "ZDA", "GSA", "GSV"]), fields)
@settings(deadline=None, max_examples=200)
def test_no_sentence_does_worse_than_be_refused(kind, fields):
    try:
        said = nmea.parse(",".join([f"GN{kind}", *fields]))
    except MalformedMessage:
        return
    assert type(said).__name__.upper() == kind
    if isinstance(said, Rmc | Gga) and said.latitude is not None:
        assert -91 < said.latitude < 91
