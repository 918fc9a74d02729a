"""Semtech's own library, unmodified, on the simulated board: it starts, hears, sends, stops; and each fault does to it
what that fault does on a roof.

LIBLORAGW names a libloragw.so, built by whoever runs this from Lora-net/sx1302_hal or its fork brocaar/sx1302_hal.
"""

import time

import pytest
from simulator.library_process import LIBRARY, GoneError, LibraryProcess
from simulator.served_site import Running, within

if not LIBRARY:
    pytest.skip("needs a libloragw.so: LIBLORAGW=/path/to/libloragw.so", allow_module_level=True)

CHANNELS_HZ = {868_100_000, 868_300_000, 868_500_000, 867_100_000, 867_300_000, 867_500_000, 867_700_000, 867_900_000}
QUIET = """
[city]
name = "Nobody"
seed = 1
[gateway]
latitude = 43.6
longitude = 3.9
[places]
"Far" = [43.9, 3.9]
[meters]
count = 1
interval = "29d"
name = "#"
places = ["Far"]
"""


@pytest.fixture
def site(tmp_path):
    (tmp_path / "quiet.toml").write_text(QUIET)
    with Running(tmp_path / "tty", scenario=tmp_path / "quiet.toml").serving() as served:
        yield served


@pytest.fixture
def library(site):
    with LibraryProcess(site.port.device) as process:
        process.call("start")
        yield process


def hear(site, library, phy: str = "40deadbeef", frequency_hz: int = 868_100_000, *rate: int) -> list:
    """A frame beside the antenna; what the library has of it."""
    site.say(f"uplink {phy} {frequency_hz} {' '.join(map(str, rate or (7,)))}")
    return library.call("receive", 4.0, 1)


def test_it_starts_and_knows_what_it_talks_to(site, library):
    assert library.call("eui") == site.site.eui.hex()
    assert library.call("examine")["version"] == 0x10
    assert library.call("temperature_c") == 25.0


def test_it_hears_every_channel_with_the_end_of_the_frame_to_the_microsecond(site, library):
    heard = [frame for frequency_hz in sorted(CHANNELS_HZ) for frame in hear(site, library, "40aa", frequency_hz)]
    assert {frame["frequency_hz"] for frame in heard} == CHANNELS_HZ
    assert [frame["counter_us"] for frame in heard] == [facts["count_us"] for facts in site.happened("heard")]
    assert [frame["channel"] for frame in heard] == [facts["channel"] for facts in site.happened("heard")]
    for frame, facts in zip(heard, site.happened("heard"), strict=True):
        assert frame["rssi_dbm"] == pytest.approx(facts["rssi_dbm"], abs=1)
        assert (frame["snr_db"], frame["crc"]) == (facts["snr_db"], "OK")


@pytest.mark.parametrize("spreading", range(7, 13))
def test_it_hears_every_spreading_factor_with_the_end_of_the_frame_to_the_microsecond(site, library, spreading):
    (frame,) = hear(site, library, "40" + "5a" * 16, 868_300_000, spreading)
    (facts,) = site.happened("heard")
    assert (frame["spreading_factor"], frame["counter_us"]) == (spreading, facts["count_us"])


def test_it_hears_the_service_channel(site, library):
    (frame,) = hear(site, library, "40cc", 868_300_000, 7, 250_000)
    assert (frame["channel"], frame["counter_us"]) == (8, site.happened("heard")[0]["count_us"])


@pytest.mark.parametrize("spreading", [0, *range(7, 13)])
def test_what_it_sends_starts_on_the_microsecond(site, library, spreading):
    sent = library.call("send", "60" + "c0" * 12, 300_000, 869_525_000, spreading, 14.0)
    assert sent["unsent"] is None
    assert within(5, lambda: site.happened("sent"))
    (facts,) = site.happened("sent")
    assert abs(facts["start_count_us"] - sent["at_us"]) <= 1
    assert (facts["phy"], facts["frequency_hz"], facts["power_dbm"]) == ("60" + "c0" * 12, 869_525_000, 14)
    assert library.call("tx_status") == "FREE"


def test_it_stops_and_starts_again_and_counts_anew(site, library):
    time.sleep(0.3)
    before = library.call("counter_us")
    library.call("stop")
    library.call("start")
    assert library.call("counter_us") < before
    assert hear(site, library)


def test_it_scans_the_spectrum(library):
    levels = library.call("scan", 868_100_000, 1_000)
    # The library gives its last two levels the same number, so that one of the two may hide the other.
    assert sum(count for _, count in levels) == pytest.approx(1_000, rel=0.05)
    assert max(levels, key=lambda level: level[1])[0] == pytest.approx(-114, abs=8)


# --- what breaks ------------------------------------------------------------------------------------------------------


def again(site, library) -> None:
    """Everything is whole: another process starts and hears."""
    library.kill()
    with LibraryProcess(site.port.device) as fresh:
        fresh.call("start")
        assert hear(site, fresh)


@pytest.mark.parametrize(
    ("fault", "trouble"), [("stuck-high", "BUS_HIGH"), ("unplug", "LOST"), ("stuck-low", None), ("brown-out", None)]
)
def test_a_dead_bus_is_seen_or_silent_and_heals(site, library, fault, trouble):
    before = library.call("counter_us")
    site.say(f"fault {fault}")
    assert within(5, lambda: site.happened("fault"))
    if trouble is not None:
        with pytest.raises(RuntimeError, match=trouble):
            library.call("receive", 1.0, 1)
    else:  # the library believes zeros: only the counter tells
        assert hear(site, library) == []
        stands_at = library.call("counter_us")
        time.sleep(0.1)
        assert library.call("counter_us") == stands_at != before
    site.say("fault clear")
    assert within(5, lambda: site.happened("clear"))
    again(site, library)


@pytest.mark.parametrize("fault", ["silent-bridge", "agc-hang"])
def test_a_call_that_never_comes_back_is_that_and_heals(site, library, fault):
    site.say(f"fault {fault}")
    assert within(5, lambda: site.happened("fault"))
    with pytest.raises(GoneError, match="did not come back"):
        library.call("start", within_s=4)
    site.say("fault clear")
    assert within(5, lambda: site.happened("clear"))
    again(site, library)


def test_the_wrong_firmware_is_refused(site, library):
    site.say("fault agc-version")
    assert within(5, lambda: site.happened("fault"))
    with pytest.raises(RuntimeError, match="FIRMWARE_SILENT"):
        library.call("start")


def test_a_deaf_chip_counts_on_and_hears_after_a_start(site, library):
    site.say("fault deaf")
    assert within(5, lambda: site.happened("fault"))
    before = library.call("counter_us")
    assert hear(site, library) == []
    assert library.call("counter_us") > before
    assert library.call("examine")["agc_status"] == 0x14
    library.call("start")
    assert hear(site, library)


@pytest.mark.parametrize("fault", ["poison", "false-crc", "fifo-corruption", "half-packet"])
def test_a_bad_packet_costs_itself_alone(site, library, fault):
    site.say(f"fault {fault}")
    assert within(5, lambda: site.happened("fault"))
    if fault == "fifo-corruption":
        assert hear(site, library, "40dead") == []
    assert [frame["phy"] for frame in hear(site, library, "40beef")] == ["40beef"]
    assert sum(library.call("examine")["faults"].values()) >= 1


def test_a_transmitter_that_never_fires_stays_scheduled(site, library):
    site.say("fault tx-stuck")
    assert within(5, lambda: site.happened("fault"))
    library.call("send", "60aa", 200_000, 869_525_000, 7, 14.0)
    time.sleep(0.5)
    assert library.call("tx_status") == "SCHEDULED"
