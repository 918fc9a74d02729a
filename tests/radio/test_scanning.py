"""What is on the air, from a chip that can measure it, one that only hears, and drivers that hang or die."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_scan_driver import ScriptedChip

from gateway.radio.channels import plan_of
from gateway.radio.chip import ChipTrouble, TroubleKind
from gateway.radio.scanning import carry, frequencies_hz, listen, loudness, measure, noise, watched
from gateway.regions import region_named

PLAN = plan_of(region_named("EU868"))
HERE = Path(__file__).parent


def test_noise_is_where_it_lies_half_and_nine_tenths_of_the_time():
    assert noise({-120: 50, -116: 35, -100: 10, -60: 5, -40: 0}) == {
        "samples": 100, "median_dbm": -120, "p90_dbm": -100, "loudest_dbm": -60,
        "levels": {"-120": 50, "-116": 35, "-100": 10, "-60": 5},
    }  # fmt: skip


@pytest.mark.parametrize("levels", [{}, {-120: 0}])
def test_nothing_measured_is_no_silence(levels):
    assert noise(levels) is None


@settings(deadline=None)
@given(st.dictionaries(st.integers(-140, 0), st.integers(0, 65_535), max_size=33))
def test_the_numbers_of_any_histogram_are_in_order(levels):
    found = noise(levels)
    if found is not None:
        assert found["median_dbm"] <= found["p90_dbm"] <= found["loudest_dbm"]
        assert found["samples"] == sum(levels.values())


def test_a_channel_without_frames_has_no_loudness():
    assert loudness([]) == {
        "frames": 0, "damaged": 0, "median_dbm": None, "weakest_dbm": None, "loudest_dbm": None, "median_snr_db": None,
        "levels": {},
    }  # fmt: skip


def test_each_channel_is_measured_once_the_service_and_fsk_channels_too():
    measured = list(measure(ScriptedChip("well"), PLAN, 2_000))
    assert [facts["channel_hz"] for facts in measured] == frequencies_hz(PLAN)
    assert 868_800_000 in frequencies_hz(PLAN)
    assert len(set(frequencies_hz(PLAN))) == len(frequencies_hz(PLAN)) == 9
    assert all((facts["median_dbm"], facts["loudest_dbm"]) == (-116, -80) for facts in measured)


def test_a_channel_that_cannot_be_measured_costs_itself_alone():
    measured = {facts["channel_hz"]: facts for facts in measure(ScriptedChip("fails at 868.3"), PLAN, 500)}
    assert measured[868_300_000] == {"channel_hz": 868_300_000, "problem": "the spectral scan does not end"}
    assert measured[868_500_000]["samples"] == 500


def test_without_a_second_radio_the_frames_tell():
    clock = iter(range(1_000))
    told = list(listen(ScriptedChip("listens"), PLAN, 3.0, monotonic=lambda: float(next(clock)), sleep=lambda _: None))
    assert told[0]["frames"] == 3
    channels = {facts["channel_hz"]: facts for facts in told if "channel_hz" in facts}
    assert channels[868_100_000] == {
        "channel_hz": 868_100_000, "frames": 3, "damaged": 1, "median_dbm": -100, "weakest_dbm": -120,
        "loudest_dbm": -100, "median_snr_db": 5.0, "levels": {"-100": 2, "-120": 1},
    }  # fmt: skip
    assert channels[867_100_000]["frames"] == 0


def test_a_carrier_ends_whatever_happens():
    chip = ScriptedChip("well")
    carry(chip, 868_100_000, 14.0, 1.0, lambda _: None)
    assert chip.done == [(868_100_000, 14.0), "off"]

    def interrupted(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry(chip, 868_100_000, 14.0, 1.0, interrupted)
    assert chip.done[-1] == "off"


def test_a_carrier_that_is_refused_was_never_on():
    chip = ScriptedChip("well")
    with pytest.raises(ChipTrouble, match="too weak"):
        carry(chip, 868_100_000, -20.0, 1.0, lambda _: None)
    assert "off" not in chip.done


# --- in a process of its own ----------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _found_by_children(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))


def order(does, **changes):
    return {
        "driver": "scripted_scan_driver:open_chip", "options": {"does": does}, "region": "EU868", "block": None,
        "extra_hz": None, "samples": 200, "listen": False, "for_s": 0.1, "carrier_hz": None, "power_dbm": 0.0,
    } | changes  # fmt: skip


def test_the_process_tells_line_by_line_and_the_library_s_chatter_is_not_among_it():
    first, *channels = watched(order("well"))
    assert first == {"started": "a chip on paper", "spectral": True}
    assert len(channels) == 9


def test_the_process_listens_when_it_is_told_to():
    first, *told = watched(order("well", listen=True))
    assert first["spectral"] is False
    assert sum(facts["frames"] for facts in told if "channel_hz" in facts) == 3


def test_a_trouble_of_the_chip_crosses_the_border():
    with pytest.raises(ChipTrouble, match="nothing answers") as trouble:
        list(watched(order("is not there")))
    assert trouble.value.kind is TroubleKind.NOT_THERE
    assert trouble.value.hint


def test_a_driver_that_dies_is_told_with_its_signal():
    with pytest.raises(ChipTrouble, match="signal 11") as trouble:
        list(watched(order("dies")))
    assert trouble.value.kind is TroubleKind.CRASHED


def test_a_driver_that_hangs_is_ended():
    with pytest.raises(ChipTrouble, match="has not come back") as trouble:
        list(watched(order("hangs"), start_patience_s=1.0))
    assert trouble.value.kind is TroubleKind.HUNG
