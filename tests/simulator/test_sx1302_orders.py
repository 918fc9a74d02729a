"""Lines for the simulated concentrator: understood, or told why not."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator.usb_host import Host

from gateway.errors import UsageError
from gateway.model import Lora
from gateway.simulator.scenario_file import load_scenario
from gateway.simulator.sx1302.faults import Fault
from gateway.simulator.sx1302.orders import Break, Mend, Uplink, Warm, parse_order
from gateway.simulator.sx1302.site import Site


@pytest.mark.parametrize(
    ("line", "order"),
    [
        ("", None),
        ("  fault   clear ", Mend()),
        ("fault unplug", Break(Fault.UNPLUG)),
        ("fault Stuck_At_0xFF", Break(Fault.STUCK_HIGH)),
        ("temperature -20", Warm(-20)),
        ("uplink 40aa 868100000 7", Uplink(b"\x40\xaa", 868_100_000, Lora(7, 125_000), -60)),
        ("uplink 40 868300000 8 250000", Uplink(b"\x40", 868_300_000, Lora(8, 250_000), -60)),
        ("uplink 40 868300000 12 125000 -139", Uplink(b"\x40", 868_300_000, Lora(12, 125_000), -139)),
    ],
)
def test_each_line_is_understood(line, order):
    assert parse_order(line) == order


@pytest.mark.parametrize(
    "line",
    ["fault", "fault gremlins", "dance", "temperature", "temperature hot",
     "temperature 999", "temperature --5", "uplink", "uplink zz 868100000 7", "uplink 40 868100000", "uplink 40 1 7",
     "uplink 40 868100000 13", "uplink 40 868100000 7 333", "uplink 40 868100000 7 125000 99",
     f"uplink {'00' * 256} 868100000 7", "uplink 40 868100000 7 125000 -60 1", f"uplink 40 {'9' * 5000} 7"],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_words(line):
    with pytest.raises(UsageError) as raised:
        parse_order(line)
    assert len(str(raised.value)) < 200


@settings(deadline=None)
@given(line=st.text(max_size=80) | st.from_regex(r"(fault|uplink) [0-9a-f]{0,6} -?[0-9]{0,12} [0-9]{1,3} ?.{0,9}"))
def test_any_line_is_an_order_or_refused(line):
    with contextlib.suppress(UsageError):
        parse_order(line)


# With a noise figure of 6 dB the floors of the SX1276 datasheet (-7.5 dB at SF7, -20 dB at SF12) are -124.5, -137 dBm.
@pytest.mark.parametrize(
    ("spreading", "level_dbm", "share"), [(7, -60, 1.0), (7, -120, 1.0), (7, -135, 0.0), (12, -133, 1.0)]
)
def test_a_frame_arrives_as_loud_as_was_asked_for(spreading, level_dbm, share):
    events = []
    site = Site(load_scenario(), events.append, start_utc_us=0)
    host = Host()
    host.board = site.board
    host.start()
    now_us, whole = 0, 0
    for number in range(12):
        site.obey(f"uplink 40{number:02x}dead 868100000 {spreading} 125000 {level_dbm}")
        phy = f"40{number:02x}dead"
        now_us += 2_000_000
        while site.now_us < now_us:
            site.advance(now_us)
        whole += any(
            event.name == "heard" and event.facts["phy"] == phy and event.facts["crc"] == "ok" for event in events
        )
    assert whole / 12 == pytest.approx(share, abs=0.35)
