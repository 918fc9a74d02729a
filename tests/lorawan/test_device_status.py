"""DevStatusAns as measurements. Sources: TS001-1.0.4, 5.5 (layout, meaning of the battery levels)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gateway.lorawan.device_status import status_measurements


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
