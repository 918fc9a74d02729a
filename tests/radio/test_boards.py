"""Every board of the table against the limits of the library and the makers' own numbers; what settings change."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import UsageError
from gateway.radio.board import Bus, Drive, Pause, Pin, TemperatureCompensation, TxGain
from gateway.radio.board_table import BOARDS, GENERIC, REFERENCE
from gateway.radio.boards import Overrides, extended, named, resolve, sold_for
from gateway.regions import REGIONS

SOLD = [(board.name, region) for board in BOARDS.values() for region in REGIONS if sold_for(board, region)]


@pytest.mark.parametrize(("name", "region"), SOLD)
def test_each_board_can_be_had_for_each_region_it_is_made_for(name, region):
    board = resolve(name, region)
    # The limits of `lgw_txgain_setconf` and `com_path`, sx1302_hal 2.1.0.
    assert all(gain.pa_gain in {0, 1} and 0 <= gain.pwr_idx <= 22 for gain in board.gains)
    assert len(board.path) < 50
    assert board.gains[-1].power_dbm == 27
    powers = [gain.power_dbm for gain in board.gains]
    assert powers == sorted(set(powers))
    assert board.rssi_offset_db in {-215.4, -207.0}
    assert board.source


@pytest.mark.parametrize("board", BOARDS.values(), ids=lambda board: board.name)
def test_more_power_never_has_a_lower_index(board):
    """A wrong entry would send stronger than asked: so two of RAK's published table for AS923 are left out."""
    for table in board.tables:
        for weaker, stronger in itertools.pairwise(table.gains):
            assert (weaker.pa_gain, weaker.pwr_idx) < (stronger.pa_gain, stronger.pwr_idx)


# The makers' numbers, as ChirpStack Concentratord 4.7.1 has them in its own spelling (config/vendor).
PUBLISHED = [
    ("rak2287", "EU868", Bus.SPI, "/dev/spidev0.0", 17, None, None, -215.4, "27:1/22", "u"),
    ("rak2287", "CN470", Bus.SPI, "/dev/spidev0.0", 17, None, None, -207.0, "27:1/15", "u"),
    ("rak5146", "AS923-2", Bus.SPI, "/dev/spidev0.0", 17, None, None, -215.4, "12:1/6", "u"),
    ("wm1302", "US915", Bus.SPI, "/dev/spidev0.0", 17, 18, 0x39, -215.4, "14:0/17", "n"),
    ("pg1302", "EU868", Bus.SPI, "/dev/spidev0.0", 23, None, None, -215.4, "14:0/18", "n"),
    ("emb-lr1302", "KR920", Bus.SPI, "/dev/spidev0.0", 4, 17, 0x3B, -215.4, "27:1/14", "n"),
    ("sx1302c490gw1", "EU433", Bus.SPI, "/dev/spidev0.0", 23, 18, 0x3B, -207.0, "0:0/2", "u"),
    ("sx1302css923gw1", "AS923", Bus.USB, "/dev/ttyACM0", None, None, None, -215.4, "26:1/8", "u"),
    ("waveshare-sx1302", "EU868", Bus.SPI, "/dev/spidev0.0", 23, 18, 0x39, -215.4, "20:1/3", "n"),
    ("mtcap3-003u00", "US915", Bus.SPI, "/dev/spidev1.0", None, None, None, -215.4, "18:0/20", "n"),
    ("mtac-003e00-ap2", "EU868", Bus.SPI, "/dev/spidev1.0", None, None, 0x49, -215.4, "16:0/17", "n"),
]


@pytest.mark.parametrize(
    ("name", "region", "bus", "path", "reset", "power", "sensor", "rssi_offset_db", "gain", "gnss"), PUBLISHED
)
def test_the_makers_numbers(name, region, bus, path, reset, power, sensor, rssi_offset_db, gain, gnss):
    board = resolve(name, region)
    assert (board.bus, board.path) == (bus, path)
    assert (board.reset, board.power) == (reset and Pin(reset), power and Pin(power))
    assert board.temperature_sensor == sensor
    assert board.rssi_offset_db == rssi_offset_db
    assert TxGain.parse(gain) in board.gains
    assert board.gnss_family.startswith(gnss)


def test_single_input_is_a_matter_of_the_board():
    assert resolve("rak5146", "EU868").single_input == (False, False)
    assert resolve("rak2287", "EU868").single_input == (True, False)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("rak2287", "rak2287"), ("RAK 2287", "rak2287"), ("rak_2287", "rak2287"), ("seeed_wm1302", "wm1302"),
        ("semtech_sx1302css868gw1", "sx1302css868gw1"), ("corecell", "sx1302c868gw1"),
        ("waveshare_sx1302_lorawan_gateway_hat", "waveshare-sx1302"), ("multitech_mtac_003e00", "mtac-003e00"),
    ],
)  # fmt: skip
def test_a_board_is_known_by_the_names_people_use(written, meant):
    assert named(written).name == meant


def refused(*arguments):
    with pytest.raises(UsageError) as refusal:
        resolve(*arguments)
    assert refusal.value.hint
    return refusal.value.problem


def test_a_misspelt_board_offers_the_nearest():
    assert "did you mean 'rak2287'?" in refused("rak2278", "EU868")


def test_a_board_nobody_knows_lists_those_there_are():
    assert "wm1302" in refused("quantum", "EU868")


def test_a_board_of_another_region_offers_those_of_this_one():
    told = refused("sx1302c915gw1", "EU868")
    assert "not made for EU868" in told
    assert "sx1302c868gw1" in told


def test_settings_change_what_they_name_and_nothing_else():
    usual = resolve("wm1302", "EU868")
    board = resolve(
        "wm1302", "EU868",
        Overrides(spi="/dev/spidev1.1", reset="pinctrl-rp1:25", temperature_sensor="none", rssi_offset_db=-210.0,
                  tx_gains=("12:0/15", "14:0/17"), sx1261="/dev/spidev0.1"),
    )  # fmt: skip
    assert (board.path, board.reset, board.temperature_sensor) == ("/dev/spidev1.1", Pin(25, "pinctrl-rp1"), None)
    assert (board.rssi_offset_db, board.gains[-1]) == (-210.0, TxGain(14, 0, 17))
    assert (board.has_sx1261, board.sx1261_spi) == (True, "/dev/spidev0.1")
    assert (board.power, board.i2c, board.compensation) == (usual.power, usual.i2c, usual.compensation)


def test_over_usb_a_board_has_no_pins_and_no_sensor_of_ours():
    board = resolve("wm1302", "EU868", Overrides(usb="/dev/ttyACM1"))
    assert (board.bus, board.path, board.pins(), board.reset_steps()) == (Bus.USB, "/dev/ttyACM1", (), ())
    assert board.temperature_sensor is None


def test_without_a_board_bus_and_pin_suffice():
    board = resolve(None, "EU868", Overrides(spi="/dev/spidev0.0", reset="pinctrl-bcm2711:17"))
    assert (board.name, board.reset) == (GENERIC.name, Pin(17, "pinctrl-bcm2711"))
    assert set(REFERENCE) <= set(board.gains)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (Overrides(spi="/dev/spidev0.0", usb="/dev/ttyACM0"), "both set"),
        (Overrides(reset="pinctrl-bcm2711:"), "is no pin"),
        (Overrides(reset="a b:3"), "is no pin"),
        (Overrides(temperature_sensor="57"), "an I2C address"),
        (Overrides(tx_gains=("14:2/17",)), "is no power"),
        (Overrides(tx_gains=("14:0/23",)), "is no power"),
        (Overrides(tx_gains=("14:0/17", "14:0/18")), "twice"),
        (Overrides(tx_gains=("12:0/17", "14:0/15")), "is not more than"),
        (Overrides(rssi_offset_db=215.4), "rssi_offset_db"),
        (Overrides(usb="/dev/" + "x" * 45), "too long"),
        (Overrides(sx1261="usb"), "sx1261"),
    ],
)
def test_what_cannot_be_is_said_before_any_pin_is_touched(overrides, said):
    assert said in refused("rak2287", "EU868", overrides)


def test_a_board_without_usb_is_not_looked_for_there():
    assert "spi alone" in refused("pg1302", "EU868", Overrides(usb="/dev/ttyACM0"))


def test_the_reset_is_that_of_semtech_s_script():
    """tools/reset_lgw.sh: power, then reset up and down, then SX1261 down and up, 0.1 s each."""
    assert resolve("lr1302", "EU868").reset_steps() == (
        Drive(Pin(18), high=True), Pause(0.1),
        Drive(Pin(17), high=True), Pause(0.1), Drive(Pin(17), high=False), Pause(0.1),
        Drive(Pin(5), high=False), Pause(0.1), Drive(Pin(5), high=True), Pause(0.1),
    )  # fmt: skip


@settings(deadline=None)
@given(st.floats(-40, 40, allow_nan=False), st.sampled_from(SOLD))
def test_never_more_power_than_asked(power_dbm, sold):
    gain = resolve(*sold).gain_for(power_dbm)
    assert gain is None or gain.power_dbm <= power_dbm


@pytest.mark.parametrize("table", [table.gains for board in BOARDS.values() for table in board.tables])
def test_below_the_table_less_is_sent_than_the_weakest_entry_and_called_more(table):
    below = [gain for gain in extended(table) if not gain.measured]
    for gain in below:
        assert gain.power_dbm < table[0].power_dbm
        assert gain.pwr_idx < table[0].pwr_idx
        # SX1302CSS923GW1, the one table that reaches down: 15 steps are 12 dB.
        assert gain.power_dbm >= table[0].power_dbm - 0.8 * (table[0].pwr_idx - gain.pwr_idx)


def test_the_temperature_is_worth_a_decibel_at_room_temperature():
    """sx1302_hal 2.1.0, `sx1302_rssi_get_temperature_offset`: +1.02 dB at 25 °C with the usual coefficients."""
    assert TemperatureCompensation().decibels(25) == pytest.approx(1.02, abs=0.005)


@settings(deadline=None)
@given(st.text(max_size=30))
def test_whatever_stands_for_a_pin_or_a_power_it_is_one_or_a_problem(text):
    for kind in (Pin, TxGain):
        try:
            read = str(kind.parse(text))
        except ValueError as problem:
            read = str(problem)
        assert read
