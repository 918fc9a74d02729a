"""DevStatusAns as measurements. Sources: TS001-1.0.4, 5.5 (layout, meaning of the battery levels)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gateway.lorawan.device_status import reported_status, status_measurements
from gateway.lorawan.mac_commands import DevStatusAns
from gateway.model import Decoded, Measurement


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("06fe0a", {"battery": 100.0, "link_margin": 10}),
        ("06013f", {"battery": 0.0, "link_margin": -1}),
        ("068020", {"battery": 50.2, "link_margin": -32}),
        ("060005", {"external_power": True, "link_margin": 5}),
        ("06ff05", {"link_margin": 5}),
        ("0307" + "06fe0a", {"battery": 100.0, "link_margin": 10}),
        ("06fe", {}),  # cut short
        ("", {}),
    ],
)
@pytest.mark.parametrize("f_port", [0, 5, None])
def test_battery_and_margin(answer, said, f_port):
    stream = bytes.fromhex(answer)
    uplink = SimpleNamespace(
        f_port=f_port, payload=stream if f_port == 0 else b"\x06\x00\x00", f_opts=b"" if f_port == 0 else stream
    )
    assert {one.quantity: one.value for one in status_measurements(uplink)} == said


@pytest.mark.parametrize("battery", [0, 1, 2, 127, 128, 253, 254, 255])
@pytest.mark.parametrize("margin", [-32, 0, 31])
def test_what_a_reading_keeps_of_an_answer_is_the_answer(battery, margin):
    answer = DevStatusAns(battery, margin)
    uplink = SimpleNamespace(f_port=5, payload=b"", f_opts=answer.to_bytes())
    kept = SimpleNamespace(
        f_port=5,
        payload=b"",
        phy=bytes.fromhex("4004030201030100"),
        decoded=Decoded(None, None, status_measurements(uplink)),
    )
    assert reported_status(kept) == answer


@pytest.mark.parametrize("margin", [32, -33, float("inf"), float("nan"), "10", None])
def test_what_a_codec_calls_a_margin_is_no_answer(margin):
    found = () if margin is None else (Measurement("link_margin", margin, "dB"),)
    kept = SimpleNamespace(
        f_port=5, payload=b"", phy=bytes.fromhex("4004030201030100"), decoded=Decoded(None, None, found)
    )
    assert reported_status(kept) is None


def test_without_f_opts_there_was_no_answer():
    found = (Measurement("link_margin", 3, "dB"),)
    for phy in ("4004030201800100", "40"):
        kept = SimpleNamespace(f_port=5, payload=b"", phy=bytes.fromhex(phy), decoded=Decoded(None, None, found))
        assert reported_status(kept) is None
