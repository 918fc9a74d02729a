"""Which gateway this is: by its concentrator, once that has been asked."""

from __future__ import annotations

import pytest

from gateway.host.identity import CHIP_EUI, chip_eui, gateway_eui, own_eui, remember_chip_eui
from gateway.model import GatewayEui

EUI = GatewayEui.parse("0016c001ff10a235")


def test_the_chip_names_the_gateway_from_its_first_start_on(tmp_path):
    assert chip_eui(tmp_path) is None
    assert own_eui(tmp_path) == gateway_eui()
    remember_chip_eui(tmp_path, EUI)
    assert own_eui(tmp_path) == chip_eui(tmp_path) == EUI


@pytest.mark.parametrize("content", [b"", b"0016c001ff10a2", b"\xff\xfe\x00", b"0016c001ff10a235 0016"])
def test_a_damaged_memory_is_none(tmp_path, content):
    (tmp_path / CHIP_EUI).write_bytes(content)
    assert own_eui(tmp_path) == gateway_eui()


def test_a_folder_that_takes_no_writing_is_no_reason_to_stop(tmp_path):
    remember_chip_eui(tmp_path / "absent", EUI)
    assert list(tmp_path.iterdir()) == []
